//! Waiting until nobody is inside a device.

use crate::machine::{ATTRS, Canary, Machine, Mailbox};
use crate::model::Model;
use loom::thread;
use memory_core::{BusFault, Mmio, Plug, TxAttrs, Width};
use memory_dispatch::{Detached, EntryKind, MemorySystem};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// No model takes that long; the checker's waits do not time out anyway.
fn ever() -> Instant {
    Instant::now() + Duration::from_secs(1_000_000)
}

pub const ACCESS: Model = Model {
    name: "wait-access",
    proves: "wait returns when an access without a handle is over, and nobody is inside from then on",
    threads: 3,
    preemptions: Some(3),
    run: access,
};

fn access() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let readers = [0, 4].map(|at| {
        let machine = machine.clone();
        thread::spawn(move || {
            let found = machine.load(at);
            assert!(found == Ok(42) || found == Err(BusFault::DECODE), "{found:?}");
        })
    });
    machine.system.detach(plug).wait(ever()).unwrap();
    remains.forbid();
    for reader in readers {
        reader.join().unwrap();
    }
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const HANDLE: Model = Model {
    name: "wait-handle",
    proves: "a handle that holds an old map is kicked, and when it parks a wait ends",
    threads: 2,
    preemptions: Some(5),
    run: handle,
};

fn handle() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let kicked = Mailbox::new();
    let kick = kicked.clone();
    let mut handle = machine.space.handle(move || kick.put(()));
    let vcpu = thread::spawn(move || {
        // on the old map: halts, until it is kicked
        if handle.load(0, Width::W4, ATTRS).is_ok() {
            kicked.take();
            handle.park();
        }
    });
    machine.system.detach(plug).wait(ever()).unwrap();
    remains.forbid();
    vcpu.join().unwrap();
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const MOVES_ON: Model = Model {
    name: "wait-handle-moves-on",
    proves: "a handle that makes a further access leaves the old map, and a wait ends",
    threads: 2,
    preemptions: Some(5),
    run: moves_on,
};

fn moves_on() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let kicked = Mailbox::new();
    let kick = kicked.clone();
    let mut handle = machine.space.handle(move || kick.put(()));
    let vcpu = thread::spawn(move || {
        if handle.load(0, Width::W4, ATTRS).is_ok() {
            kicked.take();
            assert_eq!(handle.load(0, Width::W4, ATTRS), Err(BusFault::DECODE));
        }
        handle
    });
    machine.system.detach(plug).wait(ever()).unwrap();
    remains.forbid();
    let _handle = vcpu.join().unwrap();
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const ENTRY: Model = Model {
    name: "wait-entry",
    proves: "wait returns when a timer has left the device, and none enters from then on",
    threads: 2,
    preemptions: None,
    run: entry,
};

fn entry() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let device = plug.device().unwrap().clone();
    let entry = machine.system.entry(plug.owner());
    let timer = thread::spawn(move || {
        if let Ok(_inside) = entry.enter(EntryKind::Timer) {
            device.visit();
        }
        device
    });
    machine.system.detach(plug).wait(ever()).unwrap();
    remains.forbid();
    drop(timer.join().unwrap());
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const ITSELF: Model = Model {
    name: "wait-itself",
    proves: "a device that removes itself in its callback is waited for until the callback has returned",
    threads: 2,
    preemptions: None,
    run: itself,
};

/// A device that removes itself when it is read.
struct SelfRemoving {
    canary: Canary,
    system: MemorySystem,
    plug: Mutex<Option<Plug<SelfRemoving>>>,
    gone: Arc<Mailbox<Detached>>,
}

impl Mmio for SelfRemoving {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let plug = self.plug.lock().unwrap().take();
        if let Some(plug) = plug {
            let detached = self.system.detach(plug);
            assert!(detached.wait(Instant::now()).is_err(), "a device waits for itself");
            self.gone.put(detached);
            self.canary.visit();
        }
        Ok(42)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

fn itself() {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let gone = Mailbox::new();
    let device =
        SelfRemoving { canary, system: machine.system.clone(), plug: Mutex::default(), gone: gone.clone() };
    let (plug, _regs) = machine.plugged(0, device);
    let device = plug.device().unwrap().clone();
    *device.plug.lock().unwrap() = Some(plug);
    drop(device);
    let vcpu = thread::spawn({
        let machine = machine.clone();
        move || assert_eq!(machine.load(0), Ok(42))
    });
    // it may still be inside; what it does there is not forbidden before the wait is over
    gone.take().wait(ever()).unwrap();
    remains.forbid();
    vcpu.join().unwrap();
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}
