//! Host-side access: bounce buffers and dirty logs.

use crate::machine::{ATTRS, Constant, Count, Machine};
use crate::model::Model;
use loom::thread;
use memory_core::{DirtyClients, RamBlock, Region, Width};
use memory_dispatch::{BOUNCE_BUDGET, Direction, MapError};
use std::sync::Arc;

pub const BOUNCE: Model = Model {
    name: "bounce-budget",
    proves: "whoever found all bounce buffers in use and asked to be told is told once when one comes free",
    threads: 3,
    preemptions: Some(3),
    run: bounce,
};

fn bounce() {
    let machine = Machine::new();
    let _regs = machine.mmio(0, 0x10000, &Arc::new(Constant(0)));
    let mappers = [0, 0x8000].map(|at| {
        let machine = machine.clone();
        thread::spawn(move || {
            let told = Count::default();
            let busy = match machine.space.map(at, BOUNCE_BUDGET, Direction::Write, ATTRS) {
                Ok(guard) => {
                    drop(guard);
                    false
                }
                Err(MapError::Busy) => {
                    let tell = told.clone();
                    machine.space.when_bounce_is_free(move || tell.add());
                    true
                }
                Err(error) => panic!("{error}"),
            };
            (busy, told)
        })
    });
    let guard = machine.space.map(0x4000, BOUNCE_BUDGET, Direction::Write, ATTRS);
    drop(guard);
    for (busy, told) in mappers.map(|mapper| mapper.join().unwrap()) {
        assert_eq!(told.get(), usize::from(busy), "a waiter is lost, or told twice");
    }
    machine.space.map(0, BOUNCE_BUDGET, Direction::Write, ATTRS).unwrap();
}

pub const DIRTY_BIT: Model = Model {
    name: "dirty-bit",
    proves: "a write beside a snapshot is seen with its data, or its page is still marked for the next one",
    threads: 3,
    preemptions: None,
    run: dirty_bit,
};

fn dirty_bit() {
    let (machine, block, _ram) = logged();
    let stores = [0, 8].map(|at| -> Write {
        let machine = machine.clone();
        Box::new(move || machine.space.store(at, Width::W8, 7, ATTRS).unwrap())
    });
    write_beside_a_snapshot(&block, stores);
}

pub const AT_HAND: Model = Model {
    name: "dirty-bit-at-hand",
    proves: "a write to memory that a handle has at hand, or a compare-exchange, beside a snapshot is not lost either",
    threads: 3,
    preemptions: None,
    run: at_hand,
};

fn at_hand() {
    let (machine, block, _ram) = logged();
    let mut handle = machine.handle();
    handle.load(0, Width::W8, ATTRS).unwrap();
    let stores: Write = Box::new(move || handle.store(0, Width::W8, 7, ATTRS).unwrap());
    let space = machine.space.clone();
    let replaces: Write =
        Box::new(move || assert_eq!(space.compare_exchange(8, Width::W8, 0, 7, ATTRS), Ok(Ok(0))));
    write_beside_a_snapshot(&block, [stores, replaces]);
}

/// Writes 7 to one of the first two words of a block.
type Write = Box<dyn FnOnce() + Send>;

/// A machine with memory of which writes are noted.
fn logged() -> (Arc<Machine>, Arc<RamBlock>, Region) {
    let machine = Machine::new();
    let (block, ram) = machine.ram(0);
    block.dirty().start(DirtyClients::MIGRATION);
    (machine, block, ram)
}

fn write_beside_a_snapshot(block: &RamBlock, writes: [Write; 2]) {
    let writers = writes.map(thread::spawn);
    let snapshot = block.dirty().snapshot_and_clear(DirtyClients::MIGRATION, 0, 0x1000);
    let sent = [0, 8].map(|at| snapshot.is_dirty(0, 0x1000).then(|| block.load(at, Width::W8).unwrap()));
    for writer in writers {
        writer.join().unwrap();
    }
    for sent in sent {
        let again = block.dirty().is_dirty(DirtyClients::MIGRATION, 0, 0x1000);
        assert!(sent == Some(7) || again, "a write is lost");
    }
}

pub const LOG_START: Model = Model {
    name: "dirty-log-start",
    proves: "a write through an old map beside the start of a log is there to be read, or its page is marked",
    threads: 3,
    preemptions: Some(3),
    run: log_start,
};

fn log_start() {
    let machine = Machine::new();
    let (block, ram) = machine.ram(0);
    let mut handle = machine.handle();
    handle.load(0, Width::W8, ATTRS).unwrap();
    let mut window = machine.space.map(8, 8, Direction::Write, ATTRS).unwrap();
    let through_handle = thread::spawn(move || handle.store(0, Width::W8, 7, ATTRS).unwrap());
    let through_guard = thread::spawn(move || assert!(window.write(0, &[7])));
    ram.set_log(DirtyClients::MIGRATION, true).unwrap();
    let sent = [0, 8].map(|at| block.load(at, Width::W8).unwrap());
    through_handle.join().unwrap();
    through_guard.join().unwrap();
    for sent in sent {
        let marked = block.dirty().is_dirty(DirtyClients::MIGRATION, 0, 0x1000);
        assert!(sent == 7 || marked, "a write is lost");
    }
}
