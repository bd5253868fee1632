//! The chipset configuration registers of the ICH9 (datasheet 316972, section 10): 16 KiB of memory where RCBA says.

use crate::acpi::{Write, part};
use memory_core::Width;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes.
pub(super) const SIZE: u64 = 0x4000;
/// General control and status.
const GCS: u32 = 0x3410;
/// GCS: the watchdog resets nothing.
const NO_REBOOT: u32 = 1 << 5;

/// Registers that are not 0 after power on: which pin each function uses, and which requests the pins lead to.
const POWER_ON: [(u32, u32); 12] = [
    (0x3100, 0x0004_2210),
    (0x3108, 0x1000_4321),
    (0x310c, 0x0021_4321),
    (0x3110, 0x0000_0001),
    (0x3114, 0x3000_0321),
    (0x3118, 0x0000_0001),
    (0x3140, 0x0000_3210),
    (0x3144, 0x3210_3210),
    (0x3148, 0x0000_3210),
    (0x314c, 0x0000_3210),
    (0x3150, 0x0000_3210),
    (GCS, NO_REBOOT),
];

/// Registers that guests have changed, by offset; all others are as after power on. They keep what is written.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub(super) struct ChipConfig(BTreeMap<u32, u32>);

impl From<Vec<(u32, u32)>> for ChipConfig {
    fn from(words: Vec<(u32, u32)>) -> Self {
        let inside = |(offset, _): &(u32, u32)| u64::from(*offset) < SIZE && offset.is_multiple_of(4);
        Self(words.into_iter().filter(inside).collect())
    }
}

impl From<ChipConfig> for Vec<(u32, u32)> {
    fn from(config: ChipConfig) -> Self {
        config.0.into_iter().collect()
    }
}

impl ChipConfig {
    fn word(&self, offset: u32) -> u32 {
        let fresh = || POWER_ON.iter().find(|(at, _)| *at == offset).map_or(0, |(_, value)| *value);
        self.0.get(&offset).copied().unwrap_or_else(fresh)
    }

    /// Reads at most 4 aligned bytes.
    pub(super) fn read(&self, offset: u64, width: Width) -> u64 {
        let register = u32::try_from((offset % SIZE) & !3).unwrap_or_default();
        part(self.word(register), offset, width)
    }

    /// Writes.
    pub(super) fn write(&mut self, write: Write) {
        let register = u32::try_from(write.register % SIZE).unwrap_or_default();
        self.0.insert(register, write.merged(self.word(register)));
    }

    /// Whether the guest wants no reset of the watchdog.
    pub(super) fn no_reboot(&self) -> bool {
        self.word(GCS) & NO_REBOOT != 0
    }
}
