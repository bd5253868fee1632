//! Writes that are queued, and writes that signal.

use crate::machine::{Count, Machine};
use crate::model::Model;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use memory_core::{AddrRange, BusFault, EventNotifier, IoEvent, Mmio, TxAttrs, Width};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Notes what is written.
#[derive(Default)]
struct Fifo {
    /// Held for an instant, in which the checker makes no step.
    written: Mutex<Vec<u64>>,
    /// Touched by each write, so that the checker tries all orders of them.
    step: AtomicUsize,
    reads: Count,
}

impl Mmio for Fifo {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.reads.add();
        Ok(self.written.lock().unwrap().len() as u64)
    }

    fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.step.fetch_add(1, Ordering::Relaxed);
        self.written.lock().unwrap().push(value);
        Ok(())
    }
}

pub const COALESCED: Model = Model {
    name: "coalesced-ring",
    proves: "of queued writes none is lost or done twice, and those of one producer keep their order",
    threads: 3,
    preemptions: Some(3),
    run: coalesced,
};

fn coalesced() {
    let machine = Machine::new();
    machine.system.coalesce(true);
    let fifo = Arc::<Fifo>::default();
    let regs = machine.mmio(0, 0x10, &fifo);
    regs.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
    let producers = [10, 20].map(|first| {
        let machine = machine.clone();
        thread::spawn(move || {
            (first..first + 2).for_each(|value| machine.store(0, value).unwrap());
            machine.system.flush_coalesced();
        })
    });
    for producer in producers {
        producer.join().unwrap();
    }
    // a read notices all that came before it
    assert_eq!(machine.load(8), Ok(4));
    let written = fifo.written.lock().unwrap().clone();
    for first in [10, 20] {
        let of_one: Vec<_> = written.iter().filter(|value| (first..first + 2).contains(*value)).collect();
        assert_eq!(of_one, [&first, &(first + 1)], "of {written:?}");
    }
}

pub const FLUSHED: Model = Model {
    name: "coalesced-before-access",
    proves: "an access finds done whatever its own thread has queued before, also if another thread carries it out",
    threads: 2,
    preemptions: None,
    run: flushed,
};

fn flushed() {
    let machine = Machine::new();
    machine.system.coalesce(true);
    let fifo = Arc::<Fifo>::default();
    let regs = machine.mmio(0, 0x10, &fifo);
    regs.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
    let other = thread::spawn({
        let machine = machine.clone();
        move || machine.system.flush_coalesced()
    });
    machine.store(0, 7).unwrap();
    machine.store(0, 8).unwrap();
    assert_eq!(machine.load(8), Ok(2));
    other.join().unwrap();
}

pub const IOEVENT: Model = Model {
    name: "ioeventfd-moved",
    proves: "while a doorbell moves, each write to its old or new place signals once or finds nothing, and never runs the callback",
    threads: 3,
    preemptions: Some(3),
    run: ioevent,
};

fn ioevent() {
    let machine = Machine::new();
    let fifo = Arc::<Fifo>::default();
    let regs = machine.mmio(0, 0x10, &fifo);
    let event = EventNotifier::new().unwrap();
    regs.add_ioevent(IoEvent::new(0, Width::W4, event.clone())).unwrap();
    let guests = [0, 0x1000].map(|at| {
        let machine = machine.clone();
        thread::spawn(move || match machine.store(at, 1) {
            Ok(()) => 1,
            Err(fault) => {
                assert_eq!(fault, BusFault::DECODE);
                0
            }
        })
    });
    regs.set_address(0x1000).unwrap();
    let hits: u64 = guests.map(|guest| guest.join().unwrap()).into_iter().sum();
    assert_eq!(event.take(), hits);
    assert!(fifo.written.lock().unwrap().is_empty());
    machine.store(0x1000, 1).unwrap();
    assert_eq!((event.take(), machine.store(0, 1)), (1, Err(BusFault::DECODE)));
}
