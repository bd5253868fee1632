//! Handles that are kicked, wake and park.

use crate::machine::{ATTRS, Canary, Count, Machine, Remains};
use crate::model::Model;
use loom::thread;
use memory_core::{BusFault, Plug, Region, Width};
use memory_dispatch::VcpuHandle;
use std::sync::Arc;

pub const ACTIVE: Model = Model {
    name: "handle-active",
    proves: "a removal kicks every handle that stays on an old map, and the device ends when that handle parks",
    threads: 2,
    preemptions: None,
    run: || removal(true),
};

pub const WAKES: Model = Model {
    name: "handle-wakes",
    proves: "a parked handle that wakes during a removal is kicked, or takes up the new map",
    threads: 2,
    preemptions: None,
    run: || removal(false),
};

/// A machine with a device that a handle knows, or a parked one does not.
struct Scene {
    machine: Arc<Machine>,
    plug: Plug<Canary>,
    _regs: Region,
    remains: Arc<Remains>,
    kicks: Count,
    handle: VcpuHandle,
}

fn scene() -> Scene {
    let machine = Machine::new();
    let (canary, remains) = Canary::new();
    let (plug, regs) = machine.plugged(0, canary);
    let kicks = Count::default();
    let kick = kicks.clone();
    let handle = machine.space.handle(move || kick.add());
    Scene { machine, plug, _regs: regs, remains, kicks, handle }
}

fn removal(active: bool) {
    let Scene { machine, plug, _regs, remains, kicks, mut handle } = scene();
    if active {
        handle.load(0, Width::W4, ATTRS).unwrap();
    }
    let vcpu = thread::spawn(move || {
        let found = handle.load(0, Width::W4, ATTRS);
        assert!(found == Ok(42) || found == Err(BusFault::DECODE), "{found:?}");
        handle
    });
    drop(plug);
    let mut handle = vcpu.join().unwrap();
    machine.system.reclaim();
    assert!(remains.drops() == 1 || kicks.get() > 0, "a handle stays on an old map and nobody tells it");
    handle.park();
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}

pub const PARKS: Model = Model {
    name: "handle-parks",
    proves: "a handle that parks says that there is something to reclaim, or the removal has seen to it",
    threads: 2,
    preemptions: None,
    run: || leaves(true),
};

pub const WAKES_TELLS: Model = Model {
    name: "handle-wakes-tells",
    proves: "a handle that wakes and sees the map replaced says that there is something to reclaim, or the removal has seen to it",
    threads: 2,
    preemptions: Some(5),
    run: || leaves(false),
};

fn leaves(parks: bool) {
    let Scene { machine, plug, _regs, remains, mut handle, .. } = scene();
    let told = Count::default();
    let tell = told.clone();
    assert!(machine.system.on_reclaimable(move || tell.add()));
    if parks {
        handle.load(0, Width::W4, ATTRS).unwrap();
    }
    let before = told.get();
    let vcpu = thread::spawn(move || {
        if parks {
            handle.park();
        } else if handle.load(0, Width::W4, ATTRS).is_ok() {
            // on the old map: kicked, and so it parks
            handle.park();
        }
        handle
    });
    drop(plug);
    let _handle = vcpu.join().unwrap();
    assert!(remains.drops() == 1 || told.get() > before, "nobody is told to reclaim");
    machine.system.reclaim();
    assert_eq!(remains.drops(), 1);
}
