//! Views that are published while other threads read: the old map or the new one, never a mixture.

use crate::board::{ATTRS, Board, Call, Door, Recorder};
use memory_core::{AccessRules, ByteOrder, RamBlock, RegionRef, Size, Width};
use memory_dispatch::{MemorySystem, SpaceConfig};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const COMMITS: u64 = if cfg!(miri) { 20 } else { 3_000 };

#[test]
fn two_registers_that_change_in_one_transaction_change_together() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    // four registers, of which two show at a time: 0x11 with 0x22, or 0x33 with 0x44
    let firsts = [0x11u8, 0x22, 0x33, 0x44];
    let regions = firsts.map(|first| {
        let device = Recorder::new(ByteOrder::Little, first);
        let rules = AccessRules::new().valid(Width::W1..=Width::W1);
        let region = board.memory().mmio("reg", 1u64, rules, device).build().unwrap();
        board.keep(region)
    });
    let [a, b, c, d] = &regions;
    let memory = board.memory().clone();
    for (region, address) in [(a, 0x1000), (b, 0x1001), (c, 0x2000), (d, 0x2001)] {
        board.root.map(address, region).unwrap();
    }
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Barrier::new(4);
    let space = &board.space;
    let (stop, reads, start) = (&stop, &reads, &start);
    std::thread::scope(|scope| {
        for use_handle in [true, true, false] {
            scope.spawn(move || {
                let mut vcpu = space.handle(|| ());
                let mut seen = [false; 2];
                start.wait();
                let mut last = false;
                while !last {
                    // looked at first: a thread that comes late reads once all the same
                    last = stop.load(Ordering::Relaxed);
                    let mut bytes = [0; 2];
                    if use_handle {
                        vcpu.read(0x1000, &mut bytes, ATTRS).unwrap();
                    } else {
                        space.read(0x1000, &mut bytes, ATTRS).unwrap();
                    }
                    match bytes {
                        [0x11, 0x22] => seen[0] = true,
                        [0x33, 0x44] => seen[1] = true,
                        other => panic!("a mixture: {other:x?}"),
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                assert!(seen.contains(&true));
            });
        }
        start.wait();
        for i in 0..COMMITS {
            let (near, far) = if i % 2 == 0 { (0x2000, 0x1000) } else { (0x1000, 0x2000) };
            let moved = memory.transaction(|_| {
                a.set_address(near)?;
                b.set_address(near + 1)?;
                c.set_address(far)?;
                d.set_address(far + 1)
            });
            moved.unwrap();
            // an access that begins after the commit sees it
            let expected = if i % 2 == 0 { 0x33 } else { 0x11 };
            assert_eq!(space.load(0x1000, Width::W1, ATTRS), Ok(expected));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > 0);
    assert_eq!(board.system.reclaim(), 0, "all replaced views are gone");
}

#[test]
fn an_access_sees_a_commit_that_another_thread_finished_before() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let ram = board.memory().ram("ram", crate::board::counting(0x4000, 0)).build().unwrap();
    for page in 0..4u8 {
        // each page of the block says its number
        board.map(
            0x10_0000 + 0x1000 * u64::from(page),
            board.memory().reservation("r", 1u64).build().unwrap(),
        );
    }
    let ram = board.keep(ram);
    let window = board.memory().alias("window", &ram, 0, 0x1000u64).build().unwrap();
    let window = board.map(0, window);
    board.root.map(0x20_0000, &ram).unwrap();
    for page in 0..4u64 {
        board.store(0x20_0000 + page * 0x1000, Width::W1, page).unwrap();
    }
    let finished = AtomicU64::new(0);
    let (space, finished) = (&board.space, &finished);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut vcpu = space.handle(|| ());
            let mut last = 0;
            while last < COMMITS {
                let before = finished.load(Ordering::SeqCst);
                let page = vcpu.load(0, Width::W1, ATTRS).unwrap();
                let after = finished.load(Ordering::SeqCst);
                // the map was one of those from `before` to the one that may just be being published
                let possible = (before..=after + 1).any(|commit| commit % 4 == page);
                assert!(possible, "page {page} between commits {before} and {after}");
                last = after;
            }
        });
        for commit in 1..=COMMITS {
            window.set_alias_offset(commit % 4 * 0x1000).unwrap();
            finished.store(commit, Ordering::SeqCst);
        }
    });
}

#[test]
fn nothing_of_an_open_transaction_shows() {
    let mut board = Board::new(Door::Handle, SpaceConfig::default());
    let device = board.mmio(0x1000, 0x100, AccessRules::new(), 0);
    let memory = board.memory().clone();
    let generation = board.space.generation();
    let transaction = memory.begin().unwrap();
    let other = memory.reservation("cover", 0x100u64).build().unwrap();
    board.root.map_overlap(0x1000, &other, 5).unwrap();
    let space = board.space.clone();
    let load = std::thread::spawn(move || space.load(0x1000, Width::W1, ATTRS)).join().unwrap();
    assert_eq!((load, device.calls()), (Ok(0), vec![Call::Read(0, 1)]));
    assert_eq!(board.space.generation(), generation);
    drop(transaction);
    assert_eq!(board.load(0x1000, Width::W1), Ok(0));
    let transaction = memory.begin().unwrap();
    board.root.map_overlap(0x1000, &other, 5).unwrap();
    transaction.commit().unwrap();
    assert!(board.load(0x1000, Width::W1).is_err());
    assert_ne!(board.space.generation(), generation);
}

/// A root with one child that covers it is looked through; what makes it more than that may touch neither of the two.
#[test]
fn a_child_that_is_enabled_beside_the_only_one_is_seen() {
    let system = MemorySystem::new();
    let memory = system.memory();
    let container = |name: &str| memory.container(name, Size::FULL).build().unwrap();
    let ram = |name: &str, size: u64| memory.ram(name, RamBlock::anonymous(size).unwrap());
    let (outer, root) = (container("outer"), container("root"));
    let only = memory.container("only", Size::FULL).build().unwrap();
    let inside = ram("inside", 0x1000).build().unwrap();
    only.map(0, &inside).unwrap();
    root.map_overlap(0, &only, 0).unwrap();
    let alias = memory.alias("alias", &root, 0, Size::FULL).build().unwrap();
    outer.map(0, &alias).unwrap();
    let beside = ram("beside", 0x1000).disabled().build().unwrap();
    root.map_overlap(0x8000, &beside, 1).unwrap();
    let spaces =
        [&root, &outer].map(|root| system.address_space("space", root, SpaceConfig::default()).unwrap());
    let sees = |address| spaces.each_ref().map(|space| space.load(address, Width::W4, ATTRS).is_ok());
    assert_eq!((sees(0), sees(0x8000)), ([true; 2], [false; 2]));
    beside.set_enabled(true).unwrap();
    assert_eq!((sees(0), sees(0x8000)), ([true; 2], [true; 2]));
    beside.set_enabled(false).unwrap();
    assert_eq!((sees(0), sees(0x8000)), ([true; 2], [false; 2]));
    // the alias is smaller than its target from here on, and not looked through
    alias.set_size(0x800u64).unwrap();
    assert_eq!((sees(0), sees(0x900)), ([true; 2], [true, false]));
    // a root that shows nothing, and then something
    only.set_enabled(false).unwrap();
    assert_eq!(sees(0), [false; 2]);
    beside.set_enabled(true).unwrap();
    assert_eq!(sees(0x8000), [true, false]);
    only.set_enabled(true).unwrap();
    assert_eq!(sees(0), [true; 2]);
}

#[test]
fn what_roots_are_looked_through_to_is_seen_wherever_else_the_way_there_is_shown() {
    let system = MemorySystem::new();
    let memory = system.memory();
    let container = |name| memory.container(name, 0x1_0000u64).build().unwrap();
    let target = container("target");
    // bus masters' roots: a container with an alias that is all of the target
    let masters = [(); 3].map(|()| {
        let whole = memory.alias("whole", &target, 0, 0x1_0000u64).build().unwrap();
        let master = container("master");
        master.map(0, &whole).unwrap();
        (master, whole)
    });
    // what each has elsewhere: the container mapped beside something, an alias of it, an alias of the alias in it
    let [placed, aliased, far] = ["placed", "aliased", "far"].map(container);
    let beside = memory.ram("beside", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    placed.map_overlap(0xf000, &beside, 1).unwrap();
    placed.map(0, &masters[0].0).unwrap();
    let again = memory.alias("again", &masters[1].0, 0x1000, 0x1000u64).build().unwrap();
    aliased.map(0x8000, &again).unwrap();
    let part = memory.alias("part", &masters[2].1, 0x1000, 0x1000u64).build().unwrap();
    far.map(0x4000, &part).unwrap();
    let space = |root: &RegionRef| system.address_space("space", root, SpaceConfig::default()).unwrap();
    let roots = masters.each_ref().map(|(master, _)| (space(master), 0x1000));
    let elsewhere = [(space(&placed), 0x1000), (space(&aliased), 0x8000), (space(&far), 0x4000)];
    let ram = memory.ram("ram", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    for into in [0, 0x10, 0] {
        target.map(0x1000 + into, &ram).unwrap();
        roots[0].0.store(0x1000 + into, Width::W1, 0x40 + into, ATTRS).unwrap();
        for (space, at) in roots.iter().chain(&elsewhere) {
            assert_eq!(space.load(at + into, Width::W1, ATTRS), Ok(0x40 + into), "{at:#x}");
        }
        ram.unmap().unwrap();
        for (space, at) in roots.iter().chain(&elsewhere) {
            assert!(space.load(at + into, Width::W1, ATTRS).is_err(), "{at:#x} after unmapping");
        }
    }
}
