//! The registers of both DMA testers, 32 bits each. The device is the project's own: this is its datasheet.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// Bytes of the register block.
pub const SIZE: u64 = 0x20;
/// The most bytes that one copy moves; [`LEN`] holds no more.
pub const MAX_LEN: u32 = 0x1000;

/// Low half of the address that is read.
pub const SRC_LOW: u64 = 0x00;
/// High half of the address that is read.
pub const SRC_HIGH: u64 = 0x04;
/// Low half of the address that is written.
pub const DST_LOW: u64 = 0x08;
/// High half of the address that is written.
pub const DST_HIGH: u64 = 0x0c;
/// Bytes to copy; what is above [`MAX_LEN`] counts as [`MAX_LEN`].
pub const LEN: u64 = 0x10;
/// A write of anything starts a copy and takes as long as the copy; reads 0.
pub const GO: u64 = 0x14;
/// See [`Status`]; ignores writes.
pub const STATUS: u64 = 0x18;

bitflags! {
    /// The bits of [`STATUS`]: how the last copy ended.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Status: u32 {
        /// A copy has come to its end.
        const DONE = 1;
        /// Its source could not be read; nothing was written.
        const READ_FAULT = 2;
        /// Its destination could not be written.
        const WRITE_FAULT = 4;
    }
}

/// One copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The address that is read.
    pub src: u64,
    /// The address that is written.
    pub dst: u64,
    /// Bytes, at most [`MAX_LEN`].
    pub len: usize,
}

/// The registers as they are saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registers {
    /// [`SRC_LOW`] and [`SRC_HIGH`].
    pub src: u64,
    /// [`DST_LOW`] and [`DST_HIGH`].
    pub dst: u64,
    /// [`LEN`].
    pub len: u32,
    /// [`STATUS`].
    pub status: u32,
}

impl Registers {
    /// With the bits that do not exist cleared.
    #[must_use]
    pub fn masked(self) -> Self {
        Self { len: self.len.min(MAX_LEN), status: Status::from_bits_truncate(self.status).bits(), ..self }
    }

    /// What a read of `offset` gives. Offsets without a register read 0.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            SRC_LOW => self.src as u32,
            SRC_HIGH => (self.src >> 32) as u32,
            DST_LOW => self.dst as u32,
            DST_HIGH => (self.dst >> 32) as u32,
            LEN => self.len,
            STATUS => self.status,
            _ => 0,
        }
    }

    /// Takes a write, and returns the copy that it starts. Offsets without a register ignore it.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Copy> {
        match offset {
            SRC_LOW => set_low(&mut self.src, value),
            SRC_HIGH => set_high(&mut self.src, value),
            DST_LOW => set_low(&mut self.dst, value),
            DST_HIGH => set_high(&mut self.dst, value),
            LEN => self.len = value.min(MAX_LEN),
            GO => {
                self.status = 0;
                return Some(Copy { src: self.src, dst: self.dst, len: self.len as usize });
            }
            _ => {}
        }
        None
    }

    /// Notes how a copy ended.
    pub fn finish(&mut self, faults: Status) {
        self.status = (faults | Status::DONE).bits();
    }
}

fn set_low(register: &mut u64, value: u32) {
    *register = *register & !u64::from(u32::MAX) | u64::from(value);
}

fn set_high(register: &mut u64, value: u32) {
    *register = *register & u64::from(u32::MAX) | u64::from(value) << 32;
}
