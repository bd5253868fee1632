//! What nearly every access is: one of RAM, or one call of a callback that nothing stands in the way of.
//!
//! All of it goes into the code of the caller, and decides nothing that the general way would decide otherwise. What is
//! not plain gets `None` and has changed nothing.

use super::found::Found;
use crate::chain;
use memory_core::{Backing, BusFault, ByteOrder, TxAttrs, TxFlags, Width};
use std::hint::cold_path;

/// The value of host memory, which is little-endian there, in the order of a space, and back.
#[inline(always)]
pub(crate) fn ordered(order: ByteOrder, width: Width, value: u64) -> u64 {
    match order {
        ByteOrder::Little => value,
        ByteOrder::Big => {
            // a branch, which is foreseen: what is loaded does not wait for the order of the space
            cold_path();
            width.swap_bytes(value)
        }
    }
}

/// The width of a transfer that is not cut wherever a device takes it in one call. One of 8 bytes may be: rules that name no
/// width have it in two pieces. One that ends beyond 2^64 is cut there.
#[inline(always)]
pub(crate) fn piece(address: u64, len: usize) -> Option<Width> {
    let width = match len {
        1 => Width::W1,
        2 => Width::W2,
        4 => Width::W4,
        _ => return None,
    };
    address.checked_add(width.bytes() - 1).map(|_| width)
}

/// Whether the initiator may reach devices, and is no debugger.
#[inline(always)]
fn runs_devices(attrs: TxAttrs) -> bool {
    !attrs.flags.intersects(TxFlags::MEMORY_ONLY.union(TxFlags::DEBUG))
}

/// A load from what was found at an address.
#[inline(always)]
pub(crate) fn load(
    found: Option<&Found<'_>>,
    width: Width,
    attrs: TxAttrs,
    order: ByteOrder,
) -> Option<Result<u64, BusFault>> {
    let found = found?;
    let part = found.range.read()?;
    let offset = found.offset(part);
    if let (Some(device), direct) = found.range.device() {
        if !direct.takes(offset, width) || !found.is_undisturbed() || !runs_devices(attrs) {
            return None;
        }
        let result = match chain::enter(part.target().guard(), direct.reentry()) {
            Ok(_link) => device.read(offset, width, attrs),
            Err(fault) => Err(fault),
        };
        return Some(result.map(|value| direct.reordered(width, value, order)));
    }
    match part.target().backing() {
        Backing::Ram(block) if found.holds(width) => {
            block.load(offset, width).map(|value| Ok(ordered(order, width, value)))
        }
        _ => None,
    }
}

/// As [`load`].
#[inline(always)]
pub(crate) fn store(
    found: Option<&Found<'_>>,
    width: Width,
    value: u64,
    attrs: TxAttrs,
    order: ByteOrder,
) -> Option<Result<(), BusFault>> {
    let found = found?;
    if !found.range.is_simple() || found.is_read_only() {
        return None;
    }
    // who answers reads answers writes
    let part = found.range.read()?;
    let offset = found.offset(part);
    if let (Some(device), direct) = found.range.device() {
        if !direct.takes(offset, width) || !found.is_undisturbed() || !runs_devices(attrs) {
            return None;
        }
        return Some(match chain::enter(part.target().guard(), direct.reentry()) {
            Ok(_link) => device.write(offset, width, direct.reordered(width, value, order), attrs),
            Err(fault) => Err(fault),
        });
    }
    match part.target().backing() {
        Backing::Ram(block) if found.holds(width) => {
            block.store(offset, width, ordered(order, width, value)).then_some(Ok(()))
        }
        _ => None,
    }
}
