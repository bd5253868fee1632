use super::*;
use crate::RamBlock;

fn memory() -> (Memory, Region) {
    let memory = Memory::new();
    let system = memory.container("system", Size::FULL).build().unwrap();
    (memory, system)
}

fn container(memory: &Memory, name: &str, size: u64) -> Region {
    memory.container(name, size).build().unwrap()
}

fn children(memory: &Memory, region: &RegionRef) -> Vec<String> {
    let names = |tree: &Tree| {
        let node = tree.get(region.id()).unwrap();
        node.children().map(|id| tree.get(id).unwrap().name().to_string()).collect()
    };
    memory.read(names).unwrap()
}

#[test]
fn the_last_mapped_of_equal_priority_is_on_top_and_moving_counts_as_mapping() {
    let (memory, system) = memory();
    let [a, b, c] = ["a", "b", "c"].map(|name| container(&memory, name, 0x1000));
    system.map_overlap(0, &a, 0).unwrap();
    system.map_overlap(0, &b, 0).unwrap();
    system.map_overlap(0, &c, -1).unwrap();
    assert_eq!(children(&memory, &system), ["b", "a", "c"]);
    a.set_address(0).unwrap();
    assert_eq!(children(&memory, &system), ["b", "a", "c"], "the address that it has is no move");
    a.set_address(8).unwrap();
    assert_eq!(children(&memory, &system), ["a", "b", "c"]);
    b.set_size(0x2000u64).unwrap();
    b.set_enabled(false).unwrap();
    assert_eq!(children(&memory, &system), ["a", "b", "c"], "size and enabled are no mapping");
    c.set_priority(7).unwrap();
    assert_eq!(children(&memory, &system), ["c", "a", "b"]);
}

#[test]
fn plain_mappings_must_not_overlap_at_the_commit_but_may_inside_the_transaction() {
    let (memory, system) = memory();
    let [a, b, c] = ["a", "b", "c"].map(|name| container(&memory, name, 0x1000));
    system.map(0x1000, &a).unwrap();
    system.map(0x2000, &b).unwrap();
    let error = system.map(0x1fff, &c).unwrap_err();
    assert_eq!(
        error.to_string(),
        "in `system`, `a` at 0000000000001000-0000000000001fff overlaps `c` at \
         0000000000001fff-0000000000002ffe with the same priority, and neither mapping allows it"
    );
    assert_eq!(c.address().unwrap(), None, "nothing half done");
    // two of them are swapped
    memory
        .transaction(|_| {
            a.set_address(0x2000)?;
            b.set_address(0x1000)
        })
        .unwrap();
    assert_eq!((a.address().unwrap(), b.address().unwrap()), (Some(0x2000), Some(0x1000)));
    system.map_with(0x1800, &c, Mapping { priority: 1, ..Mapping::default() }).unwrap();
    assert!(c.set_priority(0).is_err(), "the promise stays with the mapping");
    b.set_enabled(false).unwrap();
    a.set_enabled(false).unwrap();
    c.set_priority(0).unwrap();
    assert!(b.set_enabled(true).is_err());
    assert!(a.set_size(0x10u64).is_ok() && c.set_size(0x10u64).is_ok() && b.set_enabled(true).is_err());
}

#[test]
fn a_level_that_is_dropped_or_fails_leaves_the_tree_as_it_was() {
    let (memory, system) = memory();
    let [a, b, c] = ["a", "b", "c"].map(|name| container(&memory, name, 0x1000));
    for region in [&a, &b, &c] {
        system.map_overlap(0, region, 0).unwrap();
    }
    let result: Result<(), MemoryError> = memory.transaction(|_| {
        a.set_address(4)?;
        let inner: Result<(), MemoryError> = memory.transaction(|_| {
            b.set_priority(9)?;
            c.unmap()?;
            assert_eq!(children(&memory, &system), ["b", "a"]);
            Err(MemoryError::Unbalanced)
        });
        assert!(inner.is_err());
        assert_eq!(children(&memory, &system), ["a", "c", "b"]);
        Ok(())
    });
    result.unwrap();
    assert_eq!(children(&memory, &system), ["a", "c", "b"]);
    let level = memory.begin().unwrap();
    b.set_size(1u64).unwrap();
    b.set_read_only(true).unwrap();
    b.set_address(3).unwrap();
    drop(level);
    assert_eq!(children(&memory, &system), ["a", "c", "b"]);
    assert_eq!(b.size().unwrap(), Size::from(0x1000u64));
    assert!(!b.flags().unwrap().contains(Flags::READ_ONLY));
}

#[test]
fn levels_closed_out_of_order_are_an_error_and_roll_back() {
    let (memory, system) = memory();
    let a = container(&memory, "a", 0x1000);
    let outer = memory.begin().unwrap();
    let inner = memory.begin().unwrap();
    system.map(0, &a).unwrap();
    assert!(matches!(outer.commit(), Err(MemoryError::Unbalanced)));
    assert!(inner.commit().is_err());
    assert_eq!(a.address().unwrap(), None);
    assert!(!memory.is_inside_transaction());
}

#[test]
fn a_panic_inside_a_transaction_rolls_it_back_and_frees_the_lock() {
    let (memory, system) = memory();
    let a = container(&memory, "a", 0x1000);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        memory.transaction(|_| -> Result<(), MemoryError> {
            system.map(0, &a)?;
            panic!("on purpose")
        })
    }));
    assert!(result.is_err());
    assert_eq!(a.address().unwrap(), None);
    system.map(0, &a).unwrap();
}

#[test]
fn a_panic_while_the_tree_is_looked_at_takes_the_level_back_and_frees_the_lock() {
    let (memory, system) = memory();
    let a = container(&memory, "a", 0x1000);
    let panics =
        || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| memory.read(|_| panic!("once"))));
    assert!(panics().is_err() && !memory.is_inside_transaction());
    let level = memory.begin().unwrap();
    system.map(0, &a).unwrap();
    assert!(panics().is_err() && memory.is_inside_transaction());
    level.commit().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(a.address().unwrap(), Some(0)));
    });
}

#[test]
fn cycles_are_refused_directly_and_through_aliases_and_parents() {
    let (memory, system) = memory();
    let [a, b] = ["a", "b"].map(|name| container(&memory, name, 0x1000));
    assert!(matches!(a.map(0, &a), Err(MemoryError::Cycle { .. })));
    a.map(0, &b).unwrap();
    assert!(matches!(b.map(0, &a), Err(MemoryError::Cycle { .. })));
    let through = memory.alias("through", &a, 0, 0x1000u64).build().unwrap();
    assert!(matches!(b.map(0, &through), Err(MemoryError::Cycle { .. })));
    let twice = memory.alias("twice", &through, 0, 0x1000u64).build().unwrap();
    assert!(matches!(a.map_overlap(0, &twice, 1), Err(MemoryError::Cycle { .. })));
    system.map(0, &twice).unwrap();
    assert!(matches!(through.map(0, &system), Err(MemoryError::WrongKind { .. })));
}

#[test]
fn ends_above_2_to_the_64_are_errors_and_the_top_is_not() {
    let (memory, system) = memory();
    let a = container(&memory, "a", 0x1000);
    assert!(matches!(system.map(u64::MAX, &a), Err(MemoryError::AddressOverflow { .. })));
    system.map(u64::MAX - 0xfff, &a).unwrap();
    assert!(matches!(a.set_size(0x1001u64), Err(MemoryError::AddressOverflow { .. })));
    let alias = memory.alias("top", &system, u64::MAX, 2u64).build();
    assert!(matches!(alias, Err(MemoryError::AliasOverflow { .. })));
    let alias = memory.alias("top", &system, u64::MAX, 1u64).build().unwrap();
    assert!(
        alias.set_size(2u64).is_err() && alias.set_alias_offset(0).is_ok() && alias.set_size(2u64).is_ok()
    );
}

#[test]
fn dropping_a_handle_removes_the_region_also_inside_a_transaction() {
    let (memory, system) = memory();
    let [a, b, c] = ["a", "b", "c"].map(|name| container(&memory, name, 0x1000));
    system.map(0, &a).unwrap();
    a.map(0, &b).unwrap();
    system.map(0x1000, &c).unwrap();
    let gone = a.by_ref().clone();
    drop(a);
    assert_eq!(b.address().unwrap(), None);
    assert!(matches!(gone.address(), Err(MemoryError::Gone(_))));
    let level = memory.begin().unwrap();
    drop(c);
    assert_eq!(children(&memory, &system), ["c"], "queued");
    drop(level);
    assert!(children(&memory, &system).is_empty(), "and not undone");
}

#[test]
fn ram_identifiers_are_unique_while_they_live() {
    let memory = Memory::new();
    let block = || RamBlock::anonymous(0x1000u64).unwrap();
    let first = memory.ram("ram", block()).build().unwrap();
    let error = memory.ram("ram", block()).build().unwrap_err();
    assert!(matches!(error, MemoryError::DuplicateIdentifier(name) if name == "ram"));
    let other = memory.ram("ram", block()).identifier("ram.1").build().unwrap();
    drop(first);
    assert!(memory.ram("ram", block()).build().is_ok());
    drop(other);
}

#[test]
fn regions_of_an_unplugged_device_are_unmapped_and_stay_so() {
    let (memory, system) = memory();
    let device = Arc::new(5u32);
    let weak: crate::sync::Weak<u32> = Arc::downgrade(&device);
    let owner = memory.owner("/dev", weak);
    let regs = memory.container("regs", 16u64).owner(&owner).build().unwrap();
    system.map(0, &regs).unwrap();
    let plug = memory.plug(&owner, device.clone());
    drop(plug);
    assert_eq!(regs.address().unwrap(), None);
    assert!(matches!(system.map(0, &regs), Err(MemoryError::Unplugged(_))));
    assert_eq!(Arc::strong_count(&device), 1);
}

#[test]
fn an_unplugged_owner_gets_no_region_whether_it_had_one_or_not() {
    let (memory, _system) = memory();
    let device = Arc::new(5u32);
    for regions in 0..2 {
        let weak: crate::sync::Weak<u32> = Arc::downgrade(&device);
        let owner = memory.owner("/dev", weak);
        let build = || memory.container("regs", 16u64).owner(&owner).build();
        drop((0..regions).map(|_| build().unwrap()).collect::<Vec<_>>());
        drop(memory.plug(&owner, device.clone()));
        assert!(matches!(build(), Err(MemoryError::Unplugged(_))), "{regions}");
    }
}

#[test]
fn writers_on_other_threads_wait_for_the_transaction() {
    let (memory, system) = memory();
    let a = container(&memory, "a", 0x1000);
    let level = memory.begin().unwrap();
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (to, region) = (system.by_ref().clone(), a.by_ref().clone());
        let handle = scope.spawn(move || {
            sender.send(()).unwrap();
            to.map(0, &region).unwrap();
        });
        receiver.recv().unwrap();
        assert!(children(&memory, &system).is_empty());
        level.commit().unwrap();
        handle.join().unwrap();
    });
    assert_eq!(a.address().unwrap(), Some(0));
}

/// A region that was dropped while another thread was in a transaction is off the map when the dropping thread's next one
/// begins, even if it gets the writers' lock before the other thread has looked at what was dropped: here that one is kept
/// in the callback of a resize, which comes in between.
#[test]
fn what_a_thread_dropped_is_off_the_map_in_its_next_transaction() {
    use std::sync::Barrier;
    let (memory, system) = memory();
    let [old, new] = ["old", "new"].map(|name| container(&memory, name, 0x1000));
    system.map(0x1000, &old).unwrap();
    let (begun, resized) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let meet = resized.clone();
    let block = RamBlock::builder(0x10000u64).resizeable(0x1000u64, move |_| {
        meet.wait();
        meet.wait();
    });
    let ram = memory.ram("ram", block.build().unwrap()).build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let transaction = memory.begin().unwrap();
            begun.wait();
            begun.wait();
            ram.resize_ram(0x2000u64).unwrap();
            transaction.commit().unwrap();
        });
        begun.wait();
        drop(old);
        begun.wait();
        resized.wait();
        let mapped = system.map(0x1000, &new);
        resized.wait();
        mapped.unwrap();
    });
}
