//! The content of the memory of registers.

use super::registers::IOMEM;
use memory_core::Width;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Words of 32 bits that are not 0, by their offsets, multiples of 4 below [`IOMEM`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub(super) struct Iomem(BTreeMap<u32, u32>);

impl From<Vec<(u32, u32)>> for Iomem {
    fn from(words: Vec<(u32, u32)>) -> Self {
        let inside = |(offset, value): &(u32, u32)| {
            u64::from(*offset) < IOMEM && offset.is_multiple_of(4) && *value != 0
        };
        Self(words.into_iter().filter(inside).collect())
    }
}

impl From<Iomem> for Vec<(u32, u32)> {
    fn from(iomem: Iomem) -> Self {
        iomem.0.into_iter().collect()
    }
}

impl Iomem {
    fn word(offset: u64) -> u32 {
        u32::try_from((offset % IOMEM) & !3).unwrap_or_default()
    }

    /// Reads 1, 2 or 4 aligned bytes.
    pub(super) fn load(&self, offset: u64, width: Width) -> u64 {
        let word = self.0.get(&Self::word(offset)).copied().unwrap_or_default();
        read_part(word, offset, width)
    }

    /// Writes 1, 2 or 4 aligned bytes.
    pub(super) fn store(&mut self, offset: u64, width: Width, value: u64) {
        let at = Self::word(offset);
        let mut word = self.0.get(&at).copied().unwrap_or_default();
        write_part(&mut word, offset, width, value);
        if word == 0 {
            self.0.remove(&at);
        } else {
            self.0.insert(at, word);
        }
    }
}

/// The bytes of `word` from that of an offset on; what is above the word is 0.
pub(super) fn read_part(word: u32, offset: u64, width: Width) -> u64 {
    u64::from(word) >> (8 * (offset & 3)) & width.mask()
}

/// Replaces the bytes of `word` from that of an offset on.
pub(super) fn write_part(word: &mut u32, offset: u64, width: Width, value: u64) {
    let shift = 8 * (offset & 3);
    let (mask, value) = (width.mask() << shift, (value & width.mask()) << shift);
    let [a, b, c, d, ..] = (u64::from(*word) & !mask | value).to_le_bytes();
    *word = u32::from_le_bytes([a, b, c, d]);
}
