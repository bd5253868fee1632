//! Who ends a device, when and where.

use crate::machine::{ATTRS, Canary, Machine, Mailbox, Remains};
use crate::model::Model;
use loom::thread;
use memory_core::{BusFault, Plug, RamBlock, Region, Width};
use memory_dispatch::{Direction, Listener, Refusal, Section, VcpuHandle};
use std::sync::{Arc, Mutex, Weak};

pub const MAP_GUARD: Model = Model {
    name: "map-guard",
    proves: "a device whose memory is mapped by the host ends once, and after the guard",
    threads: 2,
    preemptions: Some(5),
    run: map_guard,
};

fn map_guard() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let canary = Arc::new(canary);
    let owner = machine.owner(&canary);
    let ram = machine.system.memory().ram("vram", RamBlock::anonymous(0x1000u64).unwrap()).owner(&owner);
    let _ram = machine.keep_at(0, ram.build().unwrap());
    let plug = machine.system.memory().plug(&owner, canary);
    let host = thread::spawn({
        let (machine, remains) = (machine.clone(), remains.clone());
        move || {
            let Ok(mut guard) = machine.space.map(0, 8, Direction::Write, ATTRS) else { return };
            assert!(guard.write(0, &[1]));
            assert_eq!(remains.drops(), 0, "memory is written whose device has ended");
            let mut bytes = [0];
            assert!(guard.read(0, &mut bytes));
            assert_eq!((bytes, remains.drops()), ([1], 0));
            drop(guard);
        }
    });
    drop(plug);
    host.join().unwrap();
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const RETIRED: Model = Model {
    name: "retire-list",
    proves: "a device ends exactly once, on the thread that took it away and never on one that reads",
    threads: 3,
    preemptions: Some(3),
    run: retired,
};

fn retired() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let mut handle = machine.handle();
    let with = thread::spawn(move || {
        let found = handle.load(0, Width::W4, ATTRS);
        assert!(found == Ok(42) || found == Err(BusFault::DECODE), "{found:?}");
    });
    let without = thread::spawn({
        let machine = machine.clone();
        move || {
            let found = machine.load(0);
            assert!(found == Ok(42) || found == Err(BusFault::DECODE), "{found:?}");
        }
    });
    drop(plug);
    with.join().unwrap();
    without.join().unwrap();
    machine.system.reclaim();
    assert_eq!((remains.drops(), remains.on()), (1, Some(thread::current().id())));
}

pub const HANDLE_IN_TRANSACTION: Model = Model {
    name: "handle-dropped-in-transaction",
    proves: "a handle that is dropped inside a transaction ends nothing there, hangs nobody and leaks nothing",
    threads: 2,
    preemptions: Some(5),
    run: handle_in_transaction,
};

fn handle_in_transaction() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let mut handle = machine.handle();
    handle.load(0, Width::W4, ATTRS).unwrap();
    let (_, ram) = machine.ram(0x1000);
    let dropper = thread::spawn({
        let machine = machine.clone();
        let remains = remains.clone();
        move || {
            let transaction = machine.system.memory().begin().unwrap();
            ram.unmap().unwrap();
            drop(handle);
            // no place for destructors, whoever asks for them
            machine.system.reclaim();
            assert_ne!(remains.on(), Some(thread::current().id()), "a device ended inside a transaction");
            transaction.commit().unwrap();
        }
    });
    drop(plug);
    dropper.join().unwrap();
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const HANDLE_IN_LISTENER: Model = Model {
    name: "handle-dropped-in-listener",
    proves: "a handle that is dropped inside a listener ends nothing there, hangs nobody and leaks nothing",
    threads: 2,
    preemptions: Some(5),
    run: handle_in_listener,
};

/// Drops a handle when it is told that what is at 0x1000 goes.
struct Dropper {
    handle: Mutex<Option<VcpuHandle>>,
    machine: Weak<Machine>,
    remains: Arc<Remains>,
}

impl Listener for Dropper {
    fn region_del(&self, section: &Section) -> Result<(), Refusal> {
        if section.range().start() == 0x1000 {
            let handle = self.handle.lock().unwrap().take();
            drop(handle);
            // no place for destructors, whoever asks for them
            self.machine.upgrade().unwrap().system.reclaim();
            let here = thread::current().id();
            assert_ne!(self.remains.on(), Some(here), "a device ended inside a listener");
        }
        Ok(())
    }
}

fn handle_in_listener() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let mut handle = machine.handle();
    handle.load(0, Width::W4, ATTRS).unwrap();
    let (_, ram) = machine.ram(0x1000);
    let (handle, machine_too) = (Mutex::new(Some(handle)), Arc::downgrade(&machine));
    let dropper = Dropper { handle, machine: machine_too, remains: remains.clone() };
    let guard = machine.system.listen(Arc::new(dropper), 0, None).unwrap();
    let writer = thread::spawn(move || ram.unmap().unwrap());
    drop(plug);
    writer.join().unwrap();
    drop(guard);
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const REMOVED_IN_TRANSACTION: Model = Model {
    name: "removed-in-transaction",
    proves: "a region and a plug that are dropped inside a transaction stay on the map until its end, and then go",
    threads: 2,
    preemptions: Some(5),
    run: removed_in_transaction,
};

fn removed_in_transaction() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let (_, ram) = machine.ram(0x1000);
    let (_, other) = machine.ram(0x2000);
    let dropper = thread::spawn({
        let (machine, remains) = (machine.clone(), remains.clone());
        move || {
            let transaction = machine.system.memory().begin().unwrap();
            drop(ram);
            drop(plug);
            // both are there: memory, and a device, which is entered by nobody inside a transaction
            assert_eq!([0, 0x1000].map(|at| machine.load(at)), [Err(BusFault::ACCESS), Ok(0)]);
            assert_eq!(remains.drops(), 0);
            transaction.commit().unwrap();
        }
    });
    other.set_address(0x3000).unwrap();
    dropper.join().unwrap();
    assert_eq!([0, 0x1000].map(|at| machine.load(at)), [Err(BusFault::DECODE); 2]);
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const REMOVED_IN_LISTENER: Model = Model {
    name: "removed-in-listener",
    proves: "a region and a plug that are dropped inside a listener stay on the map until the end of the commit, and then go",
    threads: 2,
    preemptions: Some(3),
    run: removed_in_listener,
};

/// Drops what it has at the first thing that it is told of, while a device is still there.
struct Remover {
    dropped: Mutex<Option<(Region, Plug<Canary>)>>,
    remains: Arc<Remains>,
}

impl Listener for Remover {
    fn region_del(&self, _: &Section) -> Result<(), Refusal> {
        let dropped = self.dropped.lock().unwrap().take();
        if dropped.is_some() {
            drop(dropped);
            assert_eq!(self.remains.drops(), 0, "a device ended inside a listener");
        }
        Ok(())
    }
}

fn removed_in_listener() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let (_, ram) = machine.ram(0x1000);
    let (_, moved) = machine.ram(0x2000);
    let (_, other) = machine.ram(0x3000);
    let dropped = Mutex::new(Some((ram, plug)));
    let remover = Arc::new(Remover { dropped, remains: remains.clone() });
    let guard = machine.system.listen(remover, 0, None).unwrap();
    let writer = thread::spawn(move || moved.unmap().unwrap());
    other.set_address(0x4000).unwrap();
    writer.join().unwrap();
    assert_eq!([0, 0x1000].map(|at| machine.load(at)), [Err(BusFault::DECODE); 2]);
    drop(guard);
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const CONDEMNED: Model = Model {
    name: "region-dropped-meanwhile",
    proves: "a region that is dropped while another thread is in a transaction is off the map at the end of both",
    threads: 2,
    preemptions: Some(5),
    run: condemned,
};

fn condemned() {
    let machine = Machine::new();
    let (_, ram) = machine.ram(0);
    let (_, other) = machine.ram(0x1000);
    let box_ = Mailbox::new();
    let writer = thread::spawn({
        let box_ = box_.clone();
        move || {
            other.set_address(0x2000).unwrap();
            box_.put(other);
        }
    });
    drop(ram);
    writer.join().unwrap();
    assert_eq!(machine.load(0), Err(BusFault::DECODE));
    let other = box_.take();
    assert_eq!((machine.load(0x2000), machine.load(0x1000)), (Ok(0), Err(BusFault::DECODE)));
    drop(other);
}
