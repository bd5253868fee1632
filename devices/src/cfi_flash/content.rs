//! The content of a flash: a file, or memory that a snapshot has.

use crate::sync::Arc;
use crate::{DeviceError, Host};
use memory_core::RamBlock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Bytes that are left out together if they are all erased.
const PAGE: u64 = 0x1000;
const ERASED: u8 = 0xff;

/// Host memory that goes with the state: stretches that are not erased, as hexadecimal digits by hexadecimal offset.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(from = "Stretches", into = "Stretches")]
pub(crate) struct Content {
    saved: Stretches,
    /// Once there is such memory it counts, not what was saved.
    memory: Option<Arc<RamBlock>>,
}

type Stretches = BTreeMap<String, String>;

impl From<Stretches> for Content {
    fn from(saved: Stretches) -> Self {
        Self { saved, memory: None }
    }
}

impl From<Content> for Stretches {
    fn from(content: Content) -> Self {
        let Some(memory) = content.memory else { return content.saved };
        let size = u64::try_from(memory.size().bytes()).unwrap_or(u64::MAX);
        let page = |offset: u64| {
            let mut bytes = vec![ERASED; usize::try_from(PAGE.min(size - offset)).unwrap_or_default()];
            let there = memory.read(offset, &mut bytes) && bytes.iter().any(|byte| *byte != ERASED);
            there.then(|| (format!("{offset:#x}"), digits(&bytes)))
        };
        (0..size).step_by(0x1000).filter_map(page).collect()
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // writing to a string cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

impl Content {
    /// The memory of a flash of `size` bytes: `file`, or else memory with what was saved, whose content is the state's from now
    /// on. The file stays as it is if it is `read_only`, or if the machine is only looked at.
    pub(crate) fn memory(
        &mut self,
        host: &Host,
        file: Option<&Path>,
        size: u64,
        read_only: bool,
    ) -> Result<Arc<RamBlock>, DeviceError> {
        if let Some(file) = file {
            if !self.is_empty() {
                let reason = "a flash with a `file` has its content there, not in its state".to_owned();
                return Err(DeviceError::Property { property: "state", reason });
            }
            return map_file(&host.resolve(file), size, read_only || host.looking);
        }
        let memory = RamBlock::anonymous(size)?;
        let _ = memory.fill(0, size, ERASED);
        self.attach(&memory)?;
        Ok(memory)
    }

    /// Whether there is something that was saved.
    fn is_empty(&self) -> bool {
        self.saved.is_empty()
    }

    /// Puts what was saved into erased memory, whose content is the state's from now on.
    fn attach(&mut self, memory: &Arc<RamBlock>) -> Result<(), DeviceError> {
        for (offset, digits) in std::mem::take(&mut self.saved) {
            let address = offset.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let written =
                address.zip(bytes(&digits)).is_some_and(|(address, bytes)| memory.write(address, &bytes));
            if !written {
                let reason = format!("content at {offset:?} is no bytes of this flash in hexadecimal");
                return Err(DeviceError::Property { property: "state", reason });
            }
        }
        self.memory = Some(memory.clone());
        Ok(())
    }
}

/// The file's content as memory of the guest's; a copy if the file is to stay as it is.
fn map_file(path: &Path, size: u64, copy: bool) -> Result<Arc<RamBlock>, DeviceError> {
    let failed = |source| DeviceError::File { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).write(!copy).open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length != size {
        let path = path.display();
        let reason = format!("{path} has {length} bytes ({length:#x}), the flash has {size} ({size:#x})");
        return Err(DeviceError::Property { property: "file", reason });
    }
    let map: fn(File, u64, u64) -> _ = if copy { RamBlock::private_file } else { RamBlock::shared_file };
    Ok(map(file, 0, size)?)
}
