//! The registers of the controller, 32 bits each. The device is the project's own: this is its datasheet.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// Bytes of the register block.
pub const SIZE: u64 = 0x1_0000;

/// Says which device this is: reads [`ID_VALUE`], ignores writes.
pub const ID: u64 = 0x00;
/// See [`Control`].
pub const CONTROL: u64 = 0x04;
/// Number of the 32 KiB bank of video memory at the start of the legacy area. Bits beyond the last bank are not
/// implemented: they are ignored and read as 0.
pub const BANK_LOW: u64 = 0x08;
/// The same for the bank at 32 KiB of the area.
pub const BANK_HIGH: u64 = 0x0c;

/// "FLMC" in ASCII, first letter in the lowest byte.
pub const ID_VALUE: u32 = 0x434d_4c46;

bitflags! {
    /// The bits of [`CONTROL`]; the others read as 0.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Control: u32 {
        /// The legacy window shows the PCI bus; without it the RAM below.
        const WINDOW_OPEN = 1;
    }
}

/// The registers as they are saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registers {
    /// [`CONTROL`].
    pub control: u32,
    /// [`BANK_LOW`].
    pub bank_low: u32,
    /// [`BANK_HIGH`].
    pub bank_high: u32,
}

impl Default for Registers {
    /// After power on the window is open and shows the banks at 64 KiB and 128 KiB.
    fn default() -> Self {
        Self { control: Control::WINDOW_OPEN.bits(), bank_low: 2, bank_high: 4 }
    }
}

impl Registers {
    /// With the bits that do not exist cleared; `last_bank` is the number of banks, a power of two, less one.
    pub fn masked(self, last_bank: u32) -> Self {
        Self {
            control: Control::from_bits_truncate(self.control).bits(),
            bank_low: self.bank_low & last_bank,
            bank_high: self.bank_high & last_bank,
        }
    }

    /// Whether the window is open.
    pub fn window_open(self) -> bool {
        Control::from_bits_truncate(self.control).contains(Control::WINDOW_OPEN)
    }
}
