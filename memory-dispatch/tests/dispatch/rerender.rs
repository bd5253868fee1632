//! Changes that are seen by way of something else than what changed last.

use crate::board::{ATTRS, counting};
use memory_core::{Region, Size, Width};
use memory_dispatch::{Listener, MemorySystem, Refusal, Section, SpaceConfig};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn system() -> (MemorySystem, Region) {
    let system = MemorySystem::new();
    system.check_rendering();
    let root = system.memory().container("root", Size::FULL).build().unwrap();
    (system, root)
}

#[test]
fn what_a_container_showed_before_it_shrank_and_moved_in_one_transaction_is_gone() {
    let (system, root) = system();
    let memory = system.memory();
    let bus = memory.container("bus", 0x8000u64).build().unwrap();
    let low = memory.ram("low", counting(0x1000, 0)).build().unwrap();
    let high = memory.ram("high", counting(0x1000, 0)).build().unwrap();
    bus.map(0, &low).unwrap();
    bus.map(0x6000, &high).unwrap();
    root.map(0x1_0000, &bus).unwrap();
    let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
    assert!(space.load(0x1_6000, Width::W4, ATTRS).is_ok());
    let moved = memory.transaction(|_| {
        bus.set_size(0x1000u64)?;
        bus.set_address(0x4_0000)
    });
    moved.unwrap();
    assert!(space.load(0x4_0000, Width::W4, ATTRS).is_ok());
    assert!(space.load(0x1_6000, Width::W4, ATTRS).is_err());
}

#[test]
fn an_alias_that_comes_to_show_all_of_a_target_which_shrinks_shows_no_more_than_that() {
    let (system, _root) = system();
    let memory = system.memory();
    let ram = memory.ram("ram", counting(0x2000, 0)).build().unwrap();
    let alias = memory.alias("alias", &ram, 0, 0x1000u64).build().unwrap();
    let placed = memory.alias("placed", &ram, 0, 0x1000u64).build().unwrap();
    let master = memory.container("master", Size::FULL).build().unwrap();
    master.map(0, &placed).unwrap();
    let spaces = [&alias, &placed, &master]
        .map(|root| system.address_space("space", root, SpaceConfig::default()).unwrap());
    let shows = |address| spaces.each_ref().map(|space| space.load(address, Width::W4, ATTRS).is_ok());
    assert_eq!(shows(0xf00), [true; 3]);
    ram.set_size(0x800u64).unwrap();
    assert_eq!(shows(0xf00), [false; 3]);
    ram.set_size(0x2000u64).unwrap();
    assert_eq!(shows(0xf00), [true; 3]);
    ram.set_size(0u64).unwrap();
    assert_eq!(shows(0), [false; 3]);
}

/// Panics once when it is told that something goes.
#[derive(Default)]
struct Panics(AtomicBool);

impl Listener for Panics {
    fn region_del(&self, _: &Section) -> Result<(), Refusal> {
        assert!(self.0.swap(true, Ordering::Relaxed), "once");
        Ok(())
    }
}

#[test]
fn a_removal_that_a_listener_panicked_at_is_seen_after_the_next_commit() {
    let (system, root) = system();
    let memory = system.memory();
    let near = memory.ram("near", counting(0x1000, 0)).build().unwrap();
    let far = memory.ram("far", counting(0x1000, 0)).build().unwrap();
    root.map(0, &near).unwrap();
    root.map(0x8000, &far).unwrap();
    let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
    let _guard = system.listen(Arc::new(Panics::default()), 0, None).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(near))).is_err());
    far.set_address(0x9000).unwrap();
    assert!(space.load(0, Width::W4, ATTRS).is_err());
    assert!(space.load(0x9000, Width::W4, ATTRS).is_ok());
}
