//! RAM below and above 4 GiB.

use crate::host::RamLayout;
use crate::realize::Realize;
use memory_core::{MemoryError, Region, RegionRef, Size};

/// 4 GiB.
const FOUR_GIB: u64 = 1 << 32;

/// Shows RAM from 0 up to where the hole for devices begins, and what is left of it from 4 GiB on, as the regions
/// `ram-below-4g` and `ram-above-4g`, and tells the devices that come after.
#[derive(Debug)]
pub struct RamSplit {
    below: u64,
    _shown: Vec<Region>,
}

impl RamSplit {
    /// Maps `ram` into `system`. RAM of `most` bytes or more is cut after `lowmem` bytes; the rest of it is above 4 GiB.
    ///
    /// # Errors
    /// As for every region that is made, and if `system` is taken there.
    pub fn new(
        ctx: &Realize<'_>,
        system: &RegionRef,
        ram: &RegionRef,
        (most, lowmem): (u64, u64),
    ) -> Result<Self, MemoryError> {
        // RAM of 2^64 bytes is no RAM that a host has
        let size = u64::try_from(ram.size()?.bytes()).unwrap_or(u64::MAX);
        let below = if size >= most { lowmem.min(size) } else { size };
        let alias = |name, offset, size: u64| {
            ctx.memory().alias(name, ram, offset, Size::from(size)).owner(ctx.owner()).build()
        };
        let low = alias("ram-below-4g", 0, below)?;
        system.map(0, &low)?;
        // the first bridge of a machine is the one
        let _ = ctx.host().layout.set(RamLayout { below_4g: below, above_4g: size - below });
        let mut shown = vec![low];
        if size > below {
            let high = alias("ram-above-4g", below, size - below)?;
            system.map(FOUR_GIB, &high)?;
            shown.push(high);
        }
        Ok(Self { below, _shown: shown })
    }

    /// Bytes of RAM below 4 GiB, from address 0 on.
    pub fn below(&self) -> u64 {
        self.below
    }
}
