//! The DRAM controller of the bridge: what its registers say is shown where.

use crate::dram::{PAM_REGISTERS, Pam, RamSplit, Smram, SmramControl, SmramSetting, Tseg, hide_unclaimed};
use crate::pci::ConfigSpace;
use crate::realize::Realize;
use crate::sync::Arc;
use bitflags::bitflags;
use memory_core::{MemoryError, Region, RegionRef};

/// Asks for the size of the extended TSEG (QEMU's own register): reads say so many MiB after all ones were written.
const EXT_TSEG_MBYTES: usize = 0x50;
/// The first of the registers of programmable attribute maps.
const PAM: usize = 0x90;
/// Hides the memory at 0x30000 (QEMU's own register).
const F_SMBASE: usize = 0x9c;
/// SMRAM control.
const SMRAM: usize = 0x9d;
/// Extended SMRAM control.
const ESMRAMC: usize = 0x9e;

/// Asks whether [`F_SMBASE`] is there.
const SMBASE_QUERY: u8 = 0xff;
/// The answer.
const SMBASE_IN_RAM: u8 = 1;
/// Hides the memory until the next reset.
const SMBASE_LOCK: u8 = 2;

bitflags! {
    /// [`ESMRAMC`].
    struct Extended: u8 {
        /// SMRAM shows as high memory.
        const H_SMRAME = 1 << 7;
        /// Caches are not modelled: these read as 1.
        const CACHES = 0b11_1000;
        /// The size of the top of low RAM.
        const TSEG_SZ = 0b110;
        /// The top of low RAM is hidden.
        const T_EN = 1;
        const WRITABLE = Self::H_SMRAME.bits() | Self::TSEG_SZ.bits() | Self::T_EN.bits();
    }
}

/// RAM of so much and more is cut at 2 GiB, so that the windows for PCI Express find room below 4 GiB.
const MOST_LOWMEM: u64 = 0xb000_0000;
const LOWMEM: u64 = 0x8000_0000;
const MIB: u64 = 1 << 20;

/// Whether a write of `len` bytes at `offset` changes one of the registers.
pub(super) fn is_hit(offset: usize, len: usize) -> bool {
    let overlaps = |start: usize, end: usize| offset < end && start < offset + len;
    overlaps(EXT_TSEG_MBYTES, EXT_TSEG_MBYTES + 2) || overlaps(PAM, ESMRAMC + 1)
}

/// The registers after a reset, with an extended TSEG of so many MiB.
pub(super) fn reset(config: &mut ConfigSpace, extended_tseg: u16) {
    config.set_word(EXT_TSEG_MBYTES, 0);
    config.set(PAM, &[0; PAM_REGISTERS]);
    config.set_byte(F_SMBASE, 0);
    config.set_writable(F_SMBASE, &[smbase_writable(0)]);
    config.set_byte(SMRAM, SmramControl::C_BASE_SEG.bits());
    config.set_byte(ESMRAMC, Extended::CACHES.bits());
    protect(config, extended_tseg);
}

/// Answers what was asked, and says which bits of the registers a guest can change now.
pub(super) fn protect(config: &mut ConfigSpace, extended_tseg: u16) {
    config.set_writable(PAM, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
    let has_extended = extended_tseg > 0;
    config.set_writable(EXT_TSEG_MBYTES, if has_extended { &[0xff; 2] } else { &[0; 2] });
    protect_smbase(config);
    answer_tseg(config, extended_tseg);
    let mut control = SmramControl::from_bits_retain(config.byte(SMRAM));
    let mut writable = (SmramControl::WRITABLE, Extended::WRITABLE);
    if control.contains(SmramControl::D_LCK) {
        control.remove(SmramControl::D_OPEN);
        config.set_byte(SMRAM, control.bits());
        writable = (SmramControl::D_CLS, Extended::empty());
    }
    config.set_writable(SMRAM, &[writable.0.bits(), writable.1.bits()]);
}

/// The answer to a question for the size of the extended TSEG, which is asked by writing all ones.
fn answer_tseg(config: &mut ConfigSpace, extended_tseg: u16) {
    if extended_tseg > 0 && config.word(EXT_TSEG_MBYTES) == u16::MAX {
        config.set_word(EXT_TSEG_MBYTES, extended_tseg);
    }
}

/// Which bits of [`F_SMBASE`] a guest can change, when it holds one of the values that it comes to rest at.
fn smbase_writable(value: u8) -> u8 {
    match value {
        0 => 0xff,
        SMBASE_IN_RAM => SMBASE_LOCK,
        _ => 0,
    }
}

/// Until it was asked for the register reads as 0; then it says that it is there and takes the lock; then it stays.
fn protect_smbase(config: &mut ConfigSpace) {
    let value = match (config.byte(F_SMBASE), config.writable(F_SMBASE)) {
        (SMBASE_QUERY, 0xff) => SMBASE_IN_RAM,
        (_, 0xff) => 0,
        (value, _) if value & SMBASE_LOCK != 0 => SMBASE_LOCK,
        (value, _) => value,
    };
    config.set_byte(F_SMBASE, value);
    config.set_writable(F_SMBASE, &[smbase_writable(value)]);
}

/// The registers come from a snapshot, which has no bits that say what a guest can change.
pub(super) fn restore(config: &mut ConfigSpace, extended_tseg: u16) {
    config.set_writable(F_SMBASE, &[smbase_writable(config.byte(F_SMBASE))]);
    protect(config, extended_tseg);
}

/// The parts of the map that the bridge changes.
#[derive(Debug)]
pub(super) struct Dram {
    system: RegionRef,
    split: RamSplit,
    pam: Pam,
    smram: Smram,
    _unclaimed: Region,
}

impl Dram {
    pub(super) fn new<D: Send + Sync + 'static>(
        ctx: &mut Realize<'_>,
        device: &Arc<D>,
        system: &RegionRef,
        ram: &RegionRef,
        pci: &RegionRef,
    ) -> Result<Self, MemoryError> {
        let split = RamSplit::new(ctx, system, ram, (MOST_LOWMEM, LOWMEM))?;
        let pam = Pam::new(ctx, system, pci)?;
        let smram = Smram::new(ctx, system, ram, pci)?.extended(ctx, device, system, ram)?;
        let unclaimed = hide_unclaimed(ctx, pci)?;
        Ok(Self { system: system.clone(), split, pam, smram, _unclaimed: unclaimed })
    }

    /// Makes the map what the registers say. Called by one thread at a time.
    pub(super) fn follow(&self, config: &ConfigSpace, extended_tseg: u16) -> Result<(), MemoryError> {
        let pam = std::array::from_fn(|index| config.byte(PAM + index));
        let control = SmramControl::from_bits_retain(config.byte(SMRAM));
        let extended = Extended::from_bits_retain(config.byte(ESMRAMC));
        let enabled = control.contains(SmramControl::G_SMRAME);
        let tseg =
            (enabled && extended.contains(Extended::T_EN)).then(|| self.tseg(&extended, extended_tseg));
        let setting = SmramSetting {
            open: control.contains(SmramControl::D_OPEN),
            enabled,
            high: extended.contains(Extended::H_SMRAME),
            tseg: tseg.flatten(),
            smbase: config.byte(F_SMBASE) == SMBASE_LOCK,
        };
        self.system.memory().transaction(|_| {
            self.pam.set(pam)?;
            self.smram.set(setting)
        })
    }

    /// The top of low RAM that is hidden, if there is so much.
    fn tseg(&self, extended: &Extended, extended_tseg: u16) -> Option<Tseg> {
        let mbytes = match extended.bits() & Extended::TSEG_SZ.bits() {
            0b000 => 1,
            0b010 => 2,
            0b100 => 8,
            _ => u64::from(extended_tseg),
        };
        let size = mbytes * MIB;
        let start = self.split.below().checked_sub(size).filter(|_| size > 0)?;
        Some(Tseg { start, size })
    }
}
