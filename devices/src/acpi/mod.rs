//! Fixed hardware of ACPI (ACPI 6, section 4.8), for the chipsets that have it: the PM1 event and control registers, the power
//! management timer, general-purpose events.
//!
//! The parts are state with methods, which a chipset holds under its own lock, and maps where it has them.

mod gpe;
mod pm1;
mod pm_timer;
#[cfg(test)]
mod tests;

pub(crate) use gpe::Gpe;
pub(crate) use pm_timer::PmTimer;
pub(crate) use pm1::{Pm1, Pm1Event, Sleep};

/// A write to some bytes of a register of 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    /// Offset of the register, a multiple of 4.
    pub(crate) register: u64,
    /// What is written, at its place in the register; 0 where nothing is.
    pub(crate) value: u32,
    /// Ones where something is written.
    pub(crate) mask: u32,
}

impl Write {
    /// An aligned write of at most 4 bytes at `offset`.
    pub(crate) fn new(offset: u64, width: memory_core::Width, value: u64) -> Self {
        let shift = 8 * (offset & 3);
        let mask = width.mask() << shift;
        Self { register: offset & !3, value: low(value << shift & mask), mask: low(mask) }
    }

    /// The register as it is when all its written bits are taken.
    pub(crate) fn merged(self, old: u32) -> u32 {
        old & !self.mask | self.value
    }

    /// The low and the high half as writes of their own.
    pub(crate) fn halves(self) -> [(u16, u16); 2] {
        let half = |value: u32, shift: u32| u16::try_from(value >> shift & 0xffff).unwrap_or_default();
        [0, 16].map(|shift| (half(self.value, shift), half(self.mask, shift)))
    }
}

/// What a read of `width` bytes at `offset` gives of the register of 32 bits that holds them.
pub(crate) fn part(register: u32, offset: u64, width: memory_core::Width) -> u64 {
    u64::from(register) >> (8 * (offset & 3)) & width.mask()
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default()
}
