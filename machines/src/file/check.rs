//! What only shows when all of a file has been read.

use memory_core::{AddrRange, Size};

use super::{FileError, MachineSpec, RegionKind, RegionSpec};

/// Checks that sizes exist and that no region, and no window of an alias, ends above 2^64.
pub(super) fn machine(spec: &MachineSpec) -> Result<(), FileError> {
    for region in &spec.regions {
        let size = spec.size_of(region.size).ok_or_else(|| {
            region.origin.error("size", "\"memory\" stands for `machine.memory`, which is missing")
        })?;
        if let Some(placement) = &region.placement {
            fits(region, "at", placement.at, size)?;
        }
        if let RegionKind::Alias { offset, .. } = &region.kind {
            fits(region, "offset", *offset, size)?;
        }
    }
    Ok(())
}

/// Checks that `size` bytes from `start`, which `key` says, end at or below 2^64.
fn fits(region: &RegionSpec, key: &str, start: u64, size: Size) -> Result<(), FileError> {
    if size.is_zero() || AddrRange::from_size(start, size).is_some() {
        return Ok(());
    }
    Err(region.origin.error(key, format!("`{key}` {start:#x} and size {size} end above 2^64")))
}
