//! Devices that several threads are in, or that reach for each other.

use crate::machine::{ATTRS, Canary, Count, Machine};
use crate::model::Model;
use loom::thread;
use memory_core::{BusFault, TxAttrs, Width};
use memory_dispatch::{DmaQueue, EntryKind, Locked, LockedDevice};
use std::sync::Arc;

pub const TWO_THREADS: Model = Model {
    name: "two-threads-in-a-device",
    proves: "threads that are in one device at a time, by accesses and a timer, are not taken for re-entry",
    threads: 3,
    preemptions: None,
    run: two_threads,
};

fn two_threads() {
    let machine = Machine::new();
    let (canary, _) = Canary::new();
    let (plug, _regs) = machine.plugged(0, canary);
    let entry = machine.system.entry(plug.owner());
    let mut handle = machine.handle();
    let with = thread::spawn(move || assert_eq!(handle.load(0, Width::W4, ATTRS), Ok(42)));
    let without = thread::spawn({
        let machine = machine.clone();
        move || assert_eq!(machine.load(4), Ok(42))
    });
    {
        let _inside = entry.enter(EntryKind::Timer).unwrap();
        plug.device().unwrap().visit();
        assert_eq!(machine.load(0), Err(BusFault::ACCESS), "but on this thread it is");
    }
    with.join().unwrap();
    without.join().unwrap();
}

pub const DMA: Model = Model {
    name: "dma-into-each-other",
    proves: "two locked devices that DMA into each other from two threads both come to an end, each having got its data",
    threads: 2,
    preemptions: None,
    run: dma,
};

/// Asks its peer for a register when its own is written.
struct Peer {
    register: u64,
    peer: u64,
    got: Count,
}

impl LockedDevice for Peer {
    fn read(&mut self, _: u64, _: Width, _: TxAttrs, _: &mut DmaQueue) -> Result<u64, BusFault> {
        Ok(self.register)
    }

    fn write(
        &mut self,
        _: u64,
        _: Width,
        value: u64,
        _: TxAttrs,
        dma: &mut DmaQueue,
    ) -> Result<(), BusFault> {
        self.register = value;
        dma.read(0, self.peer, 4);
        Ok(())
    }

    fn dma_done(&mut self, _: u64, data: &[u8], result: Result<(), BusFault>, _: &mut DmaQueue) {
        assert_eq!(result, Ok(()));
        assert!([0, 7].contains(&data[0]), "{data:?}");
        self.got.add();
    }
}

fn dma() {
    let machine = Machine::new();
    let got = Count::default();
    let peers = [(0, 0x1000), (0x1000, 0)].map(|(at, peer)| {
        let device = Peer { register: 0, peer, got: got.clone() };
        machine.mmio(at, 0x10, &Arc::new(Locked::new(device, &machine.space, ATTRS)))
    });
    let other = thread::spawn({
        let machine = machine.clone();
        move || machine.store(0, 7).unwrap()
    });
    machine.store(0x1000, 7).unwrap();
    other.join().unwrap();
    assert_eq!(got.get(), 2);
    drop(peers);
}
