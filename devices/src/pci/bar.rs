//! Base address registers: what a function wants mapped, and where the guest has put it.

use super::config::ConfigSpace;
use super::registers::{BASE_ADDRESS_0, BRIDGE_ROM_ADDRESS, COMMAND, Command, ROM_ADDRESS, ROM_ENABLE};
use memory_core::RegionRef;

/// What a base address register decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarKind {
    /// Ports.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes this register and the next one.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM, which has its own register and its own bit that enables it.
    Rom,
}

impl BarKind {
    /// The low bits of the register, which cannot be written.
    pub(super) fn low_bits(self) -> u32 {
        match self {
            Self::Io => 1,
            Self::Memory32 { prefetchable } => u32::from(prefetchable) << 3,
            Self::Memory64 { prefetchable } => 4 | u32::from(prefetchable) << 3,
            Self::Rom => 0,
        }
    }

    pub(super) fn is_64(self) -> bool {
        matches!(self, Self::Memory64 { .. })
    }

    /// The fewest bytes that a register of the kind can say.
    pub(super) fn least(self) -> u64 {
        match self {
            Self::Io => 4,
            Self::Memory32 { .. } | Self::Memory64 { .. } => 0x10,
            Self::Rom => 0x800,
        }
    }
}

/// A base address register of a function, and the region that shows where it says.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// 0 to 5, and [`ROM_BAR`] for the ROM.
    pub(super) index: u8,
    pub(super) kind: BarKind,
    /// Bytes, a power of two.
    pub(super) size: u64,
    pub(super) region: RegionRef,
}

/// The number of the ROM's register among those of a function.
pub(super) const ROM_BAR: u8 = 6;

impl Bar {
    /// Where the register is.
    pub(super) fn register(&self, bridge: bool) -> usize {
        match self.index {
            ROM_BAR if bridge => BRIDGE_ROM_ADDRESS,
            ROM_BAR => ROM_ADDRESS,
            index => BASE_ADDRESS_0 + 4 * usize::from(index),
        }
    }

    /// The register as it is after a reset, and which bits of it can be written.
    pub(super) fn install(&self, config: &mut ConfigSpace, bridge: bool) {
        let at = self.register(bridge);
        let mask = !(self.size - 1);
        self.reset(config, bridge);
        if self.kind.is_64() {
            config.set_writable(at, &mask.to_le_bytes());
            config.set_fixed(at, &[0xf]);
        } else {
            let enable = if self.kind == BarKind::Rom { ROM_ENABLE } else { 0 };
            config.set_writable(at, &(mask as u32 | enable).to_le_bytes());
            config.set_fixed(at, &[if self.kind == BarKind::Rom { 0 } else { 0xf }]);
        }
    }

    /// Forgets the address.
    pub(super) fn reset(&self, config: &mut ConfigSpace, bridge: bool) {
        let (at, low) = (self.register(bridge), self.kind.low_bits());
        if self.kind.is_64() { config.set_quad(at, low.into()) } else { config.set_long(at, low) }
    }

    /// Where the guest wants the region to show, if anywhere. An address of 0 is none, nor is one whose end wraps or
    /// reaches the last byte that the register can say, as on the PCs that QEMU has.
    pub(super) fn address(&self, config: &ConfigSpace, bridge: bool) -> Option<u64> {
        let command = Command::from_bits_retain(config.word(COMMAND));
        let at = self.register(bridge);
        let wanted = if self.kind == BarKind::Io { Command::IO } else { Command::MEMORY };
        let value = if self.kind.is_64() { config.quad(at) } else { config.long(at).into() };
        if !command.contains(wanted) || self.kind == BarKind::Rom && value & u64::from(ROM_ENABLE) == 0 {
            return None;
        }
        let address = value & !(self.size - 1);
        let last = address.checked_add(self.size - 1)?;
        let most = if self.kind.is_64() { u64::MAX } else { u32::MAX.into() };
        (address != 0 && last < most).then_some(address)
    }
}
