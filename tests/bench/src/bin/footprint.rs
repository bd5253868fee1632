//! What views and commits allocate, printed as JSON.
#![forbid(unsafe_code)]

use memory_core::{AccessRules, BusFault, MemoryError, Mmio, Size, TxAttrs, Width};
use memory_dispatch::{MemorySystem, SpaceConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RANGES: u64 = 10_000;
const STRIDE: u64 = 0x2000;

struct Register;

impl Mmio for Register {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

fn main() -> Result<(), MemoryError> {
    let system = MemorySystem::new();
    let memory = system.memory();
    let root = memory.container("system", Size::FULL).build()?;
    let mut regions = Vec::new();
    memory.transaction(|_| {
        for index in 0..RANGES {
            let name = format!("register{index}");
            let region = memory.mmio(name, 0x1000u64, AccessRules::new(), Arc::new(Register)).build()?;
            root.map(index * STRIDE, &region)?;
            regions.push(region);
        }
        Ok::<(), MemoryError>(())
    })?;
    let counted = Region::new(ALLOCATOR);
    let first = system.address_space("first", &root, SpaceConfig::default())?;
    let first_view = live(counted.change());
    // two children, so that no view is shared with the first space
    let further = memory.container("further", Size::FULL).build()?;
    let alias = memory.alias("all", &root, 0, RANGES * STRIDE).build()?;
    let beside = memory.container("beside", 0x1000u64).build()?;
    further.map(0, &alias)?;
    further.map(1 << 60, &beside)?;
    let counted = Region::new(ALLOCATOR);
    let second = system.address_space("second", &further, SpaceConfig::default())?;
    let further_view = live(counted.change());
    let shown = [&first, &second].map(|space| space.with_view(|view| view.len() as u64));
    assert_eq!(shown, [RANGES; 2], "each range shows in both");
    drop(second);
    system.reclaim();
    let region = regions.get(2_500).ok_or(MemoryError::Unbalanced)?;
    let mut commits: Vec<usize> = Vec::new();
    for turn in 0..41 {
        let counted = Region::new(ALLOCATOR);
        region.set_address(2_500 * STRIDE + if turn % 2 == 0 { 0x800 } else { 0 })?;
        commits.push(counted.change().bytes_allocated);
    }
    commits.sort_unstable();
    let commit = commits.get(commits.len() / 2).copied().unwrap_or_default();
    println!(
        "{{\"ranges\": {RANGES}, \"first_view\": {first_view}, \"further_view\": {further_view}, \"commit\": {commit}}}"
    );
    Ok(())
}

/// Bytes that were allocated and not freed again.
fn live(change: Stats) -> i64 {
    change.bytes_allocated as i64 - change.bytes_deallocated as i64
}
