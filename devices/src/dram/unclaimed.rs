//! What PCI answers where no function does.

use crate::realize::Realize;
use crate::sync::Arc;
use memory_core::{AccessRules, BusFault, MemoryError, Mmio, Region, RegionRef, TxAttrs, Width};

/// The VGA window and the areas of [`Pam`](super::Pam): all that a host bridge shows PCI in place of RAM.
const START: u64 = 0xa_0000;
const SIZE: u64 = 0x6_0000;

/// Maps into `pci` what hides RAM below 1 MiB from those who are shown PCI there: reads that no function claims end
/// in a master abort,
/// which reads all ones.
///
/// QEMU's PCI has a hole there, and RAM shows through; few see it, as its PCs have a VGA and an image of firmware for all of it.
///
/// # Errors
/// As for every region that is made.
pub fn hide_unclaimed(ctx: &Realize<'_>, pci: &RegionRef) -> Result<Region, MemoryError> {
    let unclaimed = ctx.memory().mmio("pci-unclaimed", SIZE, AccessRules::new(), Arc::new(Nobody));
    let unclaimed = unclaimed.owner(ctx.owner()).build()?;
    pci.map_overlap(START, &unclaimed, i32::MIN)?;
    Ok(unclaimed)
}

/// Who answers.
struct Nobody;

impl Mmio for Nobody {
    fn read(&self, _: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(width.mask())
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}
