//! Publication of a map.

use crate::machine::{ATTRS, Constant, Machine};
use crate::model::Model;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use memory_core::{MemoryError, RamBlock, Region, Size, Width};
use memory_dispatch::SpaceConfig;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub const TWO_CHANGES: Model = Model {
    name: "publish-two-changes",
    proves: "an access, with a handle or without, sees all of a transaction or nothing of it",
    threads: 3,
    preemptions: Some(3),
    run: two_changes,
};

fn two_changes() {
    let machine = Machine::new();
    let before: [Region; 2] = [0, 4].map(|at| machine.mmio(at, 4, &Arc::new(Constant(1))));
    let after: [Region; 2] = [0, 4].map(|_| machine.regs(4, &Arc::new(Constant(2))));
    let mut handle = machine.handle();
    let mut bytes = [0; 8];
    handle.read(0, &mut bytes, ATTRS).unwrap();
    let with = thread::spawn(move || {
        let mut bytes = [0; 8];
        handle.read(0, &mut bytes, ATTRS).unwrap();
        assert_eq!(bytes[0], bytes[4], "a mixture of two maps");
        handle
    });
    let without = thread::spawn({
        let machine = machine.clone();
        move || {
            let mut bytes = [0; 8];
            machine.space.read(0, &mut bytes, ATTRS).unwrap();
            assert_eq!(bytes[0], bytes[4], "a mixture of two maps");
        }
    });
    let changes = |_: &_| {
        for ((at, before), after) in [0, 4].into_iter().zip(&before).zip(&after) {
            before.unmap()?;
            machine.root.map(at, after)?;
        }
        Ok::<_, MemoryError>(())
    };
    machine.system.memory().transaction(changes).unwrap();
    let mut handle = with.join().unwrap();
    without.join().unwrap();
    handle.read(0, &mut bytes, ATTRS).unwrap();
    assert_eq!(bytes, [2, 0, 0, 0, 2, 0, 0, 0]);
}

pub const COMMITTED: Model = Model {
    name: "publish-committed",
    proves: "an access that begins after a commit has returned sees the new map, whatever its handle remembers",
    threads: 2,
    preemptions: Some(5),
    run: committed,
};

fn committed() {
    let machine = Machine::new();
    let (_, before) = machine.ram(0);
    let mut handle = machine.handle();
    // at hand from now on
    assert_eq!(handle.load(0, Width::W4, ATTRS), Ok(0));
    let done = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let done = done.clone();
        move || {
            let done = done.load(Ordering::Acquire);
            let found = handle.load(0, Width::W4, ATTRS);
            assert!(found.is_err() || (found == Ok(0) && !done), "{found:?} after the commit");
            let found = handle.space().load(0, Width::W4, ATTRS);
            assert!(found.is_err() || (found == Ok(0) && !done), "{found:?} after the commit");
        }
    });
    before.unmap().unwrap();
    done.store(true, Ordering::Release);
    reader.join().unwrap();
}

pub const ROMD: Model = Model {
    name: "romd-switch",
    proves: "beside a switch of a ROM device each read gives all of the array's data or of the callback's, and the callback's after it",
    threads: 3,
    preemptions: Some(3),
    run: romd,
};

fn romd() {
    const ARRAY: u64 = 0x1111_1111;
    const CALLBACK: u64 = 0x2222_2222;
    let machine = Machine::new();
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    assert!(block.fill(0, 0x1000, 0x11));
    let device = Arc::new(Constant(CALLBACK));
    let flash = machine.system.memory().rom_device("flash", block, Default::default(), device);
    let flash = machine.keep_at(0, flash.build().unwrap());
    let switched = Arc::new(AtomicBool::new(false));
    let reader = |mut read: Box<dyn FnMut(&mut [u8]) + Send>| {
        let switched = switched.clone();
        thread::spawn(move || {
            let switched = switched.load(Ordering::Acquire);
            // as registers it is two pieces, as memory one
            let mut bytes = [0; 8];
            read(&mut bytes);
            let found = u64::from_le_bytes(bytes);
            assert!(
                found == CALLBACK << 32 | CALLBACK || found == ARRAY << 32 | ARRAY && !switched,
                "{found:#x}"
            );
        })
    };
    let mut handle = machine.handle();
    // at hand from now on
    assert_eq!(handle.load(0, Width::W8, ATTRS), Ok(ARRAY << 32 | ARRAY));
    let with = reader(Box::new(move |bytes| {
        let word = handle.load(0, Width::W4, ATTRS).unwrap();
        bytes.copy_from_slice(&(word << 32 | word).to_le_bytes());
    }));
    let space = machine.space.clone();
    let without = reader(Box::new(move |bytes| space.read(0, bytes, ATTRS).unwrap()));
    flash.set_romd(false).unwrap();
    switched.store(true, Ordering::Release);
    with.join().unwrap();
    without.join().unwrap();
    flash.set_romd(true).unwrap();
    assert_eq!(machine.load(0), Ok(ARRAY));
}

pub const SPACE_MADE_AGAIN: Model = Model {
    name: "publish-space-made-again",
    proves: "a space shows the present map, also if another one that showed the same root went meanwhile",
    threads: 2,
    preemptions: Some(3),
    run: space_made_again,
};

fn space_made_again() {
    let machine = Machine::new();
    let bus = machine.system.memory().container("bus", Size::FULL).build().unwrap();
    let (_, ram) = machine.ram(0);
    ram.unmap().unwrap();
    let far = machine.system.memory().ram("far", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    bus.map(0, &ram).unwrap();
    bus.map(0x8000, &far).unwrap();
    let space = || machine.system.address_space("bus", &bus, SpaceConfig::default()).unwrap();
    let before = space();
    // references to spaces are `std`'s, so both sides touch something for the checker to try both orders
    let step = Arc::new(AtomicBool::new(false));
    let other_step = step.clone();
    let drops = thread::spawn(move || {
        other_step.store(true, Ordering::Relaxed);
        drop(before);
    });
    step.load(Ordering::Relaxed);
    ram.set_address(0x1000).unwrap();
    let after = space();
    assert!(after.load(0x1000, Width::W4, ATTRS).is_ok(), "the present map");
    assert!(after.load(0, Width::W4, ATTRS).is_err(), "the map of before");
    drops.join().unwrap();
}
