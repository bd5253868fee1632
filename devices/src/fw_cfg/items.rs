//! The items that a guest can select.

use super::registers::*;
use crate::{DeviceError, Host};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A file of the property `files`: its content is either that of a file or a text.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FwCfgFile {
    /// The name that the guest sees, 1 to 55 bytes; by convention `opt/` and the name of whoever makes it.
    pub name: String,
    /// A file of the host. It is read once, when the machine starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The content itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

fn refuse(name: &str, reason: &str) -> DeviceError {
    DeviceError::Property { property: "files", reason: format!("`{name}` {reason}") }
}

impl FwCfgFile {
    fn content(&self, host: &Host) -> Result<Vec<u8>, DeviceError> {
        match (&self.file, &self.text) {
            (Some(file), None) => {
                let path = host.resolve(file);
                std::fs::read(&path).map_err(|source| DeviceError::File { path, source })
            }
            (None, Some(text)) => Ok(text.clone().into_bytes()),
            _ => Err(refuse(&self.name, "needs either `file` or `text`")),
        }
    }

    /// The name as the directory holds it.
    fn padded_name(&self) -> Result<[u8; FILE_NAME], DeviceError> {
        let name = self.name.as_bytes();
        let mut padded = [0; FILE_NAME];
        let space = padded.get_mut(..name.len()).filter(|space| (1..FILE_NAME).contains(&space.len()));
        let space = space.ok_or_else(|| refuse(&self.name, "is no name of 1 to 55 bytes"))?;
        space.copy_from_slice(name);
        if name.contains(&0) {
            return Err(refuse(&self.name, "has a 0 in its name"));
        }
        Ok(padded)
    }
}

/// The items by key.
#[derive(Debug, Default)]
pub(crate) struct Items {
    items: BTreeMap<u16, Box<[u8]>>,
}

impl Items {
    /// The items that are always there, and `files` with their directory.
    pub(crate) fn new(files: &[FwCfgFile], host: &Host) -> Result<Self, DeviceError> {
        let mut items = Self::default();
        let harts = u16::try_from(host.harts).unwrap_or(u16::MAX);
        items.add(KEY_SIGNATURE, SIGNATURE);
        items.add(KEY_ID, &ID.to_le_bytes());
        items.add(KEY_NB_CPUS, &harts.to_le_bytes());
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        let mut keys = KEY_FILE_FIRST..KEY_FILE_END;
        for file in files {
            let name = file.padded_name()?;
            if !names.insert(name) {
                return Err(refuse(&file.name, "is there twice"));
            }
            let key = keys.next().ok_or_else(|| refuse(&file.name, "is one file too many"))?;
            let content = file.content(host)?;
            let size = u32::try_from(content.len()).map_err(|_| refuse(&file.name, "is 4 GiB or more"))?;
            entries.extend(size.to_be_bytes());
            entries.extend(key.to_be_bytes());
            entries.extend([0, 0]);
            entries.extend(name);
            items.add(key, &content);
        }
        let mut directory = u32::try_from(names.len()).unwrap_or_default().to_be_bytes().to_vec();
        directory.append(&mut entries);
        items.add(KEY_FILE_DIR, &directory);
        Ok(items)
    }

    fn add(&mut self, key: u16, content: &[u8]) {
        self.items.insert(key, content.into());
    }

    /// The item of a key as a guest writes it. One that is not there is empty.
    pub(crate) fn get(&self, key: u16) -> &[u8] {
        self.items.get(&(key & !KEY_WRITE_CHANNEL)).map_or(&[], |item| item)
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}
