//! How the VGA's window reaches video memory: four planes behind latches, or a byte at a time.
//!
//! Plane `p` of address `a` is byte `4 * a + p` of video memory.

use super::registers::*;
use memory_core::{RamBlock, Width};
use serde::{Deserialize, Serialize};

/// What decides where an access goes.
pub(super) struct Planes<'a> {
    pub(super) memory: &'a RamBlock,
    pub(super) size: u64,
    pub(super) sequencer: &'a Bank,
    pub(super) graphics: &'a Bank,
    /// A mode of the display interface is set: all planes are chained.
    pub(super) linear: bool,
    pub(super) bank_offset: u64,
}

/// The bytes that the last read has loaded, one of each plane.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(transparent)]
pub(super) struct Latches(u32);

/// All bits of a plane's byte where the plane's bit is set.
fn spread(planes: u8) -> u32 {
    (0..4).filter(|plane| planes >> plane & 1 != 0).map(|plane| 0xff << (8 * plane)).sum()
}

/// A byte for each plane.
fn repeat(value: u8) -> u32 {
    u32::from(value) * 0x0101_0101
}

impl Planes<'_> {
    fn chain_4(&self) -> bool {
        self.linear || self.sequencer.get(SR_MEMORY_MODE) & SR_CHAIN_4 != 0
    }

    fn plane_mask(&self) -> u8 {
        if self.linear { 0xf } else { self.sequencer.get(SR_PLANE_WRITE) & 0xf }
    }

    /// The address in the planes of an offset in the window of 128 KiB at 0xa0000, if the window shows there.
    fn address(&self, offset: u64) -> Option<u64> {
        match self.graphics.get(GR_MISC) >> 2 & 3 {
            0 => Some(offset),
            1 => (offset < 0x1_0000).then_some(offset + self.bank_offset),
            2 => (0x1_0000..0x1_8000).contains(&offset).then(|| offset - 0x1_0000),
            _ => (offset >= 0x1_8000).then(|| offset - 0x1_8000),
        }
    }

    /// Where video memory shows as it is, if it does: where in the window, how much, from which offset on.
    pub(super) fn direct(&self) -> Option<(u64, u64, u64)> {
        if self.plane_mask() != 0xf || !self.chain_4() {
            return None;
        }
        let (base, size, offset) = match self.graphics.get(GR_MISC) >> 2 & 3 {
            0 => (0, 0x2_0000, 0),
            1 => (0, 0x1_0000, self.bank_offset),
            2 => (0x1_0000, 0x8000, 0),
            _ => (0x1_8000, 0x8000, 0),
        };
        (offset + size <= self.size).then_some((base, size, offset))
    }

    fn byte(&self, at: u64) -> u8 {
        u8::try_from(self.memory.load(at, Width::W1).unwrap_or(0xff)).unwrap_or(0xff)
    }

    /// Reads a byte of the window.
    pub(super) fn read(&self, latches: &mut Latches, offset: u64) -> u8 {
        let Some(address) = self.address(offset) else { return 0xff };
        if self.chain_4() {
            return self.byte(address);
        }
        let mode = self.graphics.get(GR_MODE);
        let word =
            |address: u64| self.memory.load(4 * address, Width::W4).unwrap_or(u64::from(u32::MAX)) as u32;
        if mode & 0x10 != 0 {
            // even addresses are planes 0 and 2, odd ones 1 and 3
            let plane = u64::from(self.graphics.get(GR_READ_MAP) & 2) | address & 1;
            return self.byte(2 * (address & !1) + plane);
        }
        latches.0 = word(address);
        if mode & 0x08 == 0 {
            let plane = self.graphics.get(GR_READ_MAP) & 3;
            return latches.0.to_le_bytes().get(usize::from(plane)).copied().unwrap_or(0xff);
        }
        let care = spread(self.graphics.get(GR_COLOR_DONT_CARE));
        let differs = (latches.0 ^ spread(self.graphics.get(GR_COLOR_COMPARE))) & care;
        let [a, b, c, d] = differs.to_le_bytes();
        !(a | b | c | d)
    }

    /// Writes a byte of the window.
    pub(super) fn write(&self, latches: Latches, offset: u64, value: u8) {
        let Some(address) = self.address(offset) else { return };
        if self.chain_4() {
            if self.plane_mask() >> (address & 3) & 1 != 0 {
                let _ = self.memory.store(address, Width::W1, value.into());
            }
            return;
        }
        let mode = self.graphics.get(GR_MODE);
        if self.sequencer.get(SR_MEMORY_MODE) & SR_SEQUENTIAL == 0 {
            let plane = u64::from(self.graphics.get(GR_READ_MAP) & 2) | address & 1;
            if self.plane_mask() >> plane & 1 != 0 {
                let _ = self.memory.store(2 * (address & !1) + plane, Width::W1, value.into());
            }
            return;
        }
        let mask = spread(self.plane_mask());
        let value = self.combine(latches.0, value, mode & 3);
        let old = self.memory.load(4 * address, Width::W4).unwrap_or_default() as u32;
        let new = old & !mask | value & mask;
        let _ = self.memory.store(4 * address, Width::W4, new.into());
    }

    /// What a write of a byte is for each plane, in the write modes 0 to 3.
    fn combine(&self, latches: u32, value: u8, mode: u8) -> u32 {
        let rotation = self.graphics.get(GR_DATA_ROTATE);
        let rotated = value.rotate_right(u32::from(rotation & 7));
        let bits = self.graphics.get(GR_BIT_MASK);
        let set_reset = spread(self.graphics.get(GR_SET_RESET));
        let (data, bits) = match mode {
            0 => {
                let enabled = spread(self.graphics.get(GR_ENABLE_SET_RESET));
                (repeat(rotated) & !enabled | set_reset & enabled, bits)
            }
            1 => return latches,
            2 => (spread(value & 0xf), bits),
            _ => (set_reset, bits & rotated),
        };
        let data = match rotation >> 3 & 3 {
            0 => data,
            1 => data & latches,
            2 => data | latches,
            _ => data ^ latches,
        };
        let bits = repeat(bits);
        data & bits | latches & !bits
    }
}
