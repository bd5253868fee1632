//! The DRAM interface of the bridge: what its registers say is shown where.

use crate::dram::{PAM_REGISTERS, Pam, RamSplit, Smram, SmramControl, SmramSetting, hide_unclaimed};
use crate::pci::ConfigSpace;
use crate::realize::Realize;
use crate::sync::{Mutex, PoisonError};
use memory_core::{MemoryError, Region, RegionRef};

/// The first of the registers of programmable attribute maps.
pub(super) const PAM: usize = 0x59;
/// SMRAM control.
pub(super) const SMRAM: usize = 0x72;

/// RAM of so much and more is cut below the hole for devices.
const MOST_LOWMEM: u64 = 0xe000_0000;
/// There, at a whole number of GiB.
const LOWMEM: u64 = 0xc000_0000;

/// The registers after a reset.
pub(super) fn reset(config: &mut ConfigSpace) {
    config.set(PAM, &[0; PAM_REGISTERS]);
    config.set_byte(SMRAM, SmramControl::C_BASE_SEG.bits());
    protect(config);
}

/// Which bits of the registers a guest can change now.
pub(super) fn protect(config: &mut ConfigSpace) {
    config.set_writable(PAM, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
    let mut control = SmramControl::from_bits_retain(config.byte(SMRAM));
    let mut writable = SmramControl::WRITABLE;
    if control.contains(SmramControl::D_LCK) {
        control.remove(SmramControl::D_OPEN);
        config.set_byte(SMRAM, control.bits());
        writable.remove(SmramControl::D_LCK | SmramControl::D_OPEN);
    }
    config.set_writable(SMRAM, &[writable.bits()]);
}

/// The parts of the map that the bridge changes.
#[derive(Debug)]
pub(super) struct Dram {
    /// Held while the map is made what the registers say. Lock order: before the function's and the writers' lock.
    follow: Mutex<()>,
    _split: RamSplit,
    pam: Pam,
    smram: Smram,
    _unclaimed: Region,
}

impl Dram {
    pub(super) fn new(
        ctx: &mut Realize<'_>,
        system: &RegionRef,
        ram: &RegionRef,
        pci: &RegionRef,
    ) -> Result<Self, MemoryError> {
        let split = RamSplit::new(ctx, system, ram, (MOST_LOWMEM, LOWMEM))?;
        let pam = Pam::new(ctx, system, pci)?;
        let smram = Smram::new(ctx, system, ram, pci)?;
        let unclaimed = hide_unclaimed(ctx, pci)?;
        Ok(Self { follow: Mutex::default(), _split: split, pam, smram, _unclaimed: unclaimed })
    }

    /// Makes the map what the registers say that `look` reads.
    pub(super) fn follow(
        &self,
        system: &RegionRef,
        look: impl FnOnce() -> ([u8; PAM_REGISTERS], SmramControl),
    ) -> Result<(), MemoryError> {
        let _follow = self.follow.lock().unwrap_or_else(PoisonError::into_inner);
        let (pam, control) = look();
        system.memory().transaction(|_| {
            self.pam.set(pam)?;
            self.smram.set(SmramSetting {
                open: control.contains(SmramControl::D_OPEN),
                enabled: control.contains(SmramControl::G_SMRAME),
                ..SmramSetting::default()
            })
        })
    }
}
