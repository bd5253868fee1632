//! The content of a flash that has no file, as a snapshot has it.

use crate::DeviceError;
use crate::sync::Arc;
use memory_core::RamBlock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Bytes that are left out together if they are all erased.
const PAGE: u64 = 0x1000;
const ERASED: u8 = 0xff;

/// Host memory that goes with the state: stretches that are not erased, as hexadecimal digits by hexadecimal offset.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(from = "Stretches", into = "Stretches")]
pub(super) struct Content {
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
    /// Whether there is something that was saved.
    pub(super) fn is_empty(&self) -> bool {
        self.saved.is_empty()
    }

    /// Puts what was saved into erased memory, whose content is the state's from now on.
    pub(super) fn attach(&mut self, memory: &Arc<RamBlock>) -> Result<(), DeviceError> {
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
