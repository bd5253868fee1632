//! Listeners that come and go.

use crate::machine::Machine;
use crate::model::Model;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use memory_core::{AddrRange, RegionId};
use memory_dispatch::{AddressSpace, Listener, ListenerGuard, Refusal, Section, SpaceConfig};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// A map made of what it is told.
#[derive(Default)]
struct Map(Mutex<BTreeMap<u64, (AddrRange, RegionId)>>);

impl Listener for Map {
    fn region_add(&self, section: &Section) -> Result<(), Refusal> {
        let entry = (section.range(), section.read().unwrap().region());
        let before = self.0.lock().unwrap().insert(section.range().start(), entry);
        assert!(before.is_none(), "added twice: {before:?}");
        Ok(())
    }

    fn region_del(&self, section: &Section) -> Result<(), Refusal> {
        let entry = (section.range(), section.read().unwrap().region());
        let before = self.0.lock().unwrap().remove(&section.range().start());
        assert_eq!(before, Some(entry), "what goes was there");
        Ok(())
    }
}

impl Map {
    fn assert_shows(&self, space: &AddressSpace) {
        let told: Vec<_> = self.0.lock().unwrap().values().copied().collect();
        let shown: Vec<_> = space.with_view(|view| {
            view.ranges().map(|range| (range.range(), range.read().unwrap().target().region())).collect()
        });
        assert_eq!(told, shown);
    }
}

pub const REGISTERED: Model = Model {
    name: "listener-registered",
    proves: "what a listener is told at its registration and by commits beside it makes up the map",
    threads: 3,
    preemptions: Some(3),
    run: registered,
};

fn registered() {
    let machine = Machine::new();
    let (_, first) = machine.ram(0);
    let (_, second) = machine.ram(0x1000);
    let map = Arc::<Map>::default();
    let registers = thread::spawn({
        let (machine, map) = (machine.clone(), map.clone());
        move || -> ListenerGuard { machine.system.listen(map, 0, Some(&machine.space)).unwrap() }
    });
    let moves = thread::spawn(move || {
        second.set_address(0x3000).unwrap();
        second
    });
    first.set_address(0x2000).unwrap();
    let guard = registers.join().unwrap();
    let _second = moves.join().unwrap();
    map.assert_shows(&machine.space);
    guard.unregister().unwrap();
    assert!(map.0.lock().unwrap().is_empty());
}

pub const UNREGISTERED: Model = Model {
    name: "listener-dropped",
    proves: "a listener whose guard is dropped beside a commit ends with an empty map",
    threads: 2,
    preemptions: Some(5),
    run: unregistered,
};

fn unregistered() {
    let machine = Machine::new();
    let (_, ram) = machine.ram(0);
    let map = Arc::<Map>::default();
    let guard = machine.system.listen(map.clone(), 0, Some(&machine.space)).unwrap();
    let moves = thread::spawn(move || {
        ram.set_address(0x2000).unwrap();
        ram
    });
    drop(guard);
    let _ram = moves.join().unwrap();
    assert!(map.0.lock().unwrap().is_empty());
}

pub const SPACE_DROPPED: Model = Model {
    name: "listener-space-dropped",
    proves: "a listener that is unregistered while its space goes is told that every range is gone, once",
    threads: 2,
    preemptions: Some(5),
    run: space_dropped,
};

fn space_dropped() {
    let machine = Machine::new();
    let (_, _ram) = machine.ram(0);
    let space = machine.system.address_space("second", &machine.root, SpaceConfig::default()).unwrap();
    let map = Arc::<Map>::default();
    let guard = machine.system.listen(map.clone(), 0, Some(&space)).unwrap();
    // references to spaces are `std`'s, so both sides touch something for the checker to try both orders
    let step = Arc::new(AtomicUsize::new(0));
    let other_step = step.clone();
    let drops = thread::spawn(move || {
        other_step.fetch_add(1, Ordering::Relaxed);
        drop(space);
    });
    step.fetch_add(1, Ordering::Relaxed);
    guard.unregister().unwrap();
    drops.join().unwrap();
    assert!(map.0.lock().unwrap().is_empty());
}
