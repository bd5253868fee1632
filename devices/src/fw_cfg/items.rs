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
    pub(super) fn content(&self, host: &Host) -> Result<Vec<u8>, DeviceError> {
        match (&self.file, &self.text) {
            (Some(file), None) => {
                let path = host.resolve(file);
                std::fs::read(&path).map_err(|source| DeviceError::File { path, source })
            }
            (None, Some(text)) => Ok(text.clone().into_bytes()),
            _ => Err(refuse(&self.name, "needs either `file` or `text`")),
        }
    }
}

/// A name as the directory holds it.
fn padded_name(name: &str) -> Result<[u8; FILE_NAME], DeviceError> {
    let bytes = name.as_bytes();
    let mut padded = [0; FILE_NAME];
    let space = padded.get_mut(..bytes.len()).filter(|space| (1..FILE_NAME).contains(&space.len()));
    let space = space.ok_or_else(|| refuse(name, "is no name of 1 to 55 bytes"))?;
    space.copy_from_slice(bytes);
    if bytes.contains(&0) {
        return Err(refuse(name, "has a 0 in its name"));
    }
    Ok(padded)
}

/// The items by key.
#[derive(Debug, Default)]
pub(crate) struct Items {
    items: BTreeMap<u16, Box<[u8]>>,
}

impl Items {
    /// The items that are always there, with an empty directory.
    pub(crate) fn new(cpus: u32) -> Self {
        let mut items = Self::default();
        items.add(KEY_SIGNATURE, SIGNATURE);
        items.add(KEY_ID, &ID.to_le_bytes());
        items.add(KEY_NB_CPUS, &u16::try_from(cpus).unwrap_or(u16::MAX).to_le_bytes());
        items.add(KEY_FILE_DIR, &0_u32.to_be_bytes());
        items
    }

    /// Adds `files` with a directory of them, in their order.
    pub(crate) fn add_files(&mut self, files: &[FwCfgFile], host: &Host) -> Result<(), DeviceError> {
        let contents = files.iter().map(|file| Ok((file.name.as_str(), file.content(host)?)));
        self.add_directory(contents.collect::<Result<Vec<_>, DeviceError>>()?)
    }

    /// Adds files of names and contents with their directory, in their order.
    pub(crate) fn add_directory<'a>(
        &mut self,
        files: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
    ) -> Result<(), DeviceError> {
        let mut entries = Vec::new();
        let mut names = BTreeSet::new();
        let mut keys = KEY_FILE_FIRST..KEY_FILE_END;
        for (name, content) in files {
            let padded = padded_name(name)?;
            if !names.insert(padded) {
                return Err(refuse(name, "is there twice"));
            }
            let key = keys.next().ok_or_else(|| refuse(name, "is one file too many"))?;
            let size = u32::try_from(content.len()).map_err(|_| refuse(name, "is 4 GiB or more"))?;
            entries.extend(size.to_be_bytes());
            entries.extend(key.to_be_bytes());
            entries.extend([0, 0]);
            entries.extend(padded);
            self.add(key, &content);
        }
        let mut directory = u32::try_from(names.len()).unwrap_or_default().to_be_bytes().to_vec();
        directory.append(&mut entries);
        self.add(KEY_FILE_DIR, &directory);
        Ok(())
    }

    /// Adds an item, instead of what the key had.
    pub(crate) fn add(&mut self, key: u16, content: &[u8]) {
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
