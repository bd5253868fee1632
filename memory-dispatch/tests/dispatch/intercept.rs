//! Doorbells and queued writes.

use crate::board::{ATTRS, Board, Door, big, each_door};
use memory_core::{
    AccessRules, AddrRange, BusFault, Endian, EventNotifier, IoEvent, MemoryError, Mmio, RamBlock, RegionRef,
    TxAttrs, Width,
};
use memory_dispatch::{
    AddressSpace, COALESCED_RING, CoalescedRing, CoalescedWrite, Direction, DmaQueue, Locked, LockedDevice,
    SpaceConfig,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::time::Duration;

/// Notes what is written, and may do something at each write.
#[derive(Default)]
struct Port {
    written: Mutex<Vec<(u64, u64)>>,
    at_write: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

impl Port {
    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.written.lock().unwrap())
    }
}

impl Mmio for Port {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.written.lock().unwrap().len() as u64)
    }

    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.written.lock().unwrap().push((offset, value));
        if let Some(at_write) = self.at_write.get() {
            at_write(value);
        }
        Ok(())
    }
}

/// 0x100 bytes of registers at `address`.
fn port(board: &mut Board, address: u64, rules: AccessRules) -> (Arc<Port>, RegionRef) {
    let port = Arc::new(Port::default());
    let region =
        board.memory().mmio("port", 0x100u64, rules.valid_unaligned(), port.clone()).build().unwrap();
    (port, board.map(address, region))
}

fn range(start: u64, last: u64) -> AddrRange {
    AddrRange::new(start, last).unwrap()
}

fn event() -> EventNotifier {
    EventNotifier::new().unwrap()
}

#[test]
fn a_write_that_hits_signals_and_does_not_reach_the_callback() {
    each_door(SpaceConfig::default(), |board| {
        let (port, region) = port(board, 0x1000, AccessRules::new());
        let (any, four, seven) = (event(), event(), event());
        region.add_ioevent(IoEvent::new(0, Width::W1, any.clone()).any_width()).unwrap();
        region.add_ioevent(IoEvent::new(8, Width::W4, four.clone())).unwrap();
        region.add_ioevent(IoEvent::new(8, Width::W2, seven.clone()).value(7)).unwrap();
        for width in Width::ALL {
            board.store(0x1000, width, 1).unwrap();
        }
        board.store(0x1008, Width::W4, 9).unwrap();
        board.store(0x1008, Width::W2, 7).unwrap();
        assert_eq!((any.take(), four.take(), seven.take()), (4, 1, 1));
        assert!(port.take().is_empty());
        // another value, width or offset
        board.store(0x1008, Width::W2, 8).unwrap();
        board.store(0x1008, Width::W1, 7).unwrap();
        board.store(0x100a, Width::W2, 7).unwrap();
        assert_eq!(port.take(), [(8, 8), (8, 7), (0xa, 7)]);
        // a transfer's piece is a write as well; reads hit nothing
        board.write(0x1008, &[1, 2, 3, 4]).unwrap();
        board.load(0x1008, Width::W4).unwrap();
        assert_eq!((any.take(), four.take(), seven.take()), (0, 1, 0));
    });
}

#[test]
fn what_is_refused_signals_nothing() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, region) =
        port(&mut board, 0, AccessRules::new().accepts(|request| request.attrs.requester != 5));
    let bell = event();
    region.add_ioevent(IoEvent::new(0, Width::W4, bell.clone())).unwrap();
    let store = |attrs: TxAttrs| board.space.store(0, Width::W4, 1, attrs);
    assert_eq!(store(TxAttrs::requester(5)), Err(BusFault::DECODE));
    assert_eq!(store(TxAttrs::DEBUG), Err(BusFault::ACCESS));
    region.set_read_only(true).unwrap();
    assert_eq!(store(ATTRS), Err(BusFault::DECODE));
    assert_eq!(bell.take(), 0);
    region.set_read_only(false).unwrap();
    store(ATTRS).unwrap();
    assert_eq!((bell.take(), port.take().len()), (1, 0));
}

#[test]
fn values_are_compared_in_the_order_of_the_device() {
    for config in [SpaceConfig::default(), big()] {
        let mut board = Board::new(Door::Space, config);
        for (index, endian) in [Endian::Little, Endian::Big, Endian::Native].into_iter().enumerate() {
            let address = index as u64 * 0x1000;
            let (port, region) = port(&mut board, address, AccessRules::new().endian(endian));
            // what the device gets for a write is what its doorbell compares
            board.space.store(address + 4, Width::W4, 0x1122_3344, ATTRS).unwrap();
            let value = port.take()[0].1;
            let bell = event();
            region.add_ioevent(IoEvent::new(4, Width::W4, bell.clone()).value(value)).unwrap();
            board.space.store(address + 4, Width::W4, 0x1122_3344, ATTRS).unwrap();
            assert_eq!((bell.take(), port.take().len()), (1, 0), "{endian:?}");
        }
    }
}

#[test]
fn events_that_one_write_could_hit_together_are_refused() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (_, region) = port(&mut board, 0, AccessRules::new());
    let bell = event();
    let at = |width: Width| IoEvent::new(0x10, width, bell.clone());
    region.add_ioevent(at(Width::W4).value(1)).unwrap();
    region.add_ioevent(at(Width::W4).value(2)).unwrap();
    region.add_ioevent(at(Width::W2)).unwrap();
    let refused = |event| matches!(region.add_ioevent(event), Err(MemoryError::IoEvent { .. }));
    assert!(refused(at(Width::W4).value(1)), "the same");
    assert!(refused(at(Width::W4)), "any value");
    assert!(refused(at(Width::W4).any_width()), "any width");
    assert!(refused(at(Width::W2).value(5)));
    assert!(refused(IoEvent { value: Some(1), width: None, ..at(Width::W1) }), "a value of no width");
    assert!(refused(IoEvent::new(0xfe, Width::W4, bell.clone())), "beyond the end");
    assert!(matches!(board.root.add_ioevent(at(Width::W1)), Err(MemoryError::WrongKind { .. })));
    let other = IoEvent { event: event(), ..at(Width::W2) };
    assert!(region.remove_ioevent(&other).is_err(), "another notifier");
    region.remove_ioevent(&at(Width::W2)).unwrap();
    assert!(region.remove_ioevent(&at(Width::W2)).is_err());
    region.add_ioevent(at(Width::W2).value(5)).unwrap();
}

#[test]
fn a_doorbell_follows_its_region() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, region) = port(&mut board, 0x1000, AccessRules::new());
    let bell = event();
    region.add_ioevent(IoEvent::new(0x80, Width::W4, bell.clone())).unwrap();
    let space = board.space.clone();
    let rings = |address: u64| {
        // what is not there is no matter here
        let _unassigned = space.store(address, Width::W4, 1, ATTRS);
        (bell.take(), port.take().len())
    };
    assert_eq!(rings(0x1080), (1, 0));
    region.set_address(0x3000).unwrap();
    assert_eq!((rings(0x1080), rings(0x3080)), ((0, 0), (1, 0)));
    let alias = board.memory().alias("alias", &region, 0x40, 0x80u64).build().unwrap();
    let alias = board.map(0x8000, alias);
    assert_eq!((rings(0x8040), rings(0x3080)), ((1, 0), (1, 0)), "seen at two places");
    alias.set_size(0x40u64).unwrap();
    assert_eq!(rings(0x8040), (0, 0), "cut off");
    let cover = board.memory().reservation("cover", 2u64).build().unwrap();
    let cover = board.map(0x3080, cover);
    assert_eq!(rings(0x3080), (0, 0), "hidden where it begins");
    cover.set_address(0x3082).unwrap();
    assert_eq!(rings(0x3080), (1, 0), "the start address chooses");
    region.set_enabled(false).unwrap();
    assert_eq!(rings(0x3080), (0, 0));
    region.set_enabled(true).unwrap();
    region.remove_ioevent(&IoEvent::new(0x80, Width::W4, bell.clone())).unwrap();
    assert_eq!(rings(0x3080), (0, 1));
}

#[test]
fn a_doorbell_goes_with_its_region_and_with_its_device() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let (port, bell) = (Arc::new(Port::default()), event());
    let weak: Weak<Port> = Arc::downgrade(&port);
    let owner = board.memory().owner("/port", weak.clone());
    let make = || {
        let region = board.memory().mmio("port", 0x100u64, AccessRules::new(), weak.clone()).owner(&owner);
        let region = region.build().unwrap();
        region.add_ioevent(IoEvent::new(0x80, Width::W4, bell.clone())).unwrap();
        board.root.map(0x1000, &region).unwrap();
        region
    };
    let ring = || board.space.store(0x1080, Width::W4, 1, ATTRS).map(|()| bell.take());
    let region = make();
    assert_eq!(ring(), Ok(1));
    drop(region);
    assert_eq!((ring(), bell.take()), (Err(BusFault::DECODE), 0));
    let plug = board.memory().plug(&owner, port.clone());
    let region = make();
    assert_eq!(ring(), Ok(1));
    drop(plug);
    assert_eq!((ring(), bell.take(), port.take().len()), (Err(BusFault::DECODE), 0, 0));
    // what is there now takes writes itself
    let (next, other) = (Arc::new(Port::default()), board.memory());
    let next_region = other.mmio("next", 0x100u64, AccessRules::new(), next.clone()).build().unwrap();
    board.root.map(0x1000, &next_region).unwrap();
    assert_eq!((ring(), next.take()), (Ok(0), vec![(0x80, 1)]));
    drop(region);
}

#[test]
fn a_transaction_that_is_taken_back_leaves_doorbells_as_they_were() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, region) = port(&mut board, 0, AccessRules::new());
    let (first, second) = (event(), event());
    region.add_ioevent(IoEvent::new(0, Width::W4, first.clone())).unwrap();
    let transaction = board.memory().begin().unwrap();
    region.remove_ioevent(&IoEvent::new(0, Width::W4, first.clone())).unwrap();
    region.add_ioevent(IoEvent::new(0, Width::W4, second.clone())).unwrap();
    region.add_coalesced(range(0, 0xff)).unwrap();
    drop(transaction);
    board.space.store(0, Width::W4, 1, ATTRS).unwrap();
    assert_eq!((first.take(), second.take(), port.take().len()), (1, 0, 0));
}

/// A port at 0 with a queue for all but its last 16 bytes, on a machine that queues.
fn queued(board: &mut Board) -> (Arc<Port>, RegionRef) {
    board.system.coalesce(true);
    let (port, region) = port(board, 0, AccessRules::new());
    region.add_coalesced(range(0, 0xef)).unwrap();
    (port, region)
}

#[test]
fn queued_writes_are_carried_out_in_order_at_each_point_that_notices() {
    each_door(SpaceConfig::default(), |board| {
        let (port, region) = queued(board);
        let (other, flushed) = self::port(board, 0x1000, AccessRules::new());
        let fill = |board: &mut Board| {
            for value in 0..3 {
                board.store(4 * value, Width::W4, value).unwrap();
            }
            assert!(port.take().is_empty(), "queued");
        };
        let all = [(0, 0), (4, 1), (8, 2)];
        fill(board);
        board.load(0, Width::W4).unwrap();
        assert_eq!(port.take(), all, "a read");
        fill(board);
        board.store(0xf0, Width::W4, 9).unwrap();
        assert_eq!(port.take(), [&all[..], &[(0xf0, 9)]].concat(), "a write that is not queued");
        fill(board);
        board.load(0x1000, Width::W4).unwrap();
        assert!(port.take().is_empty(), "a region that nobody said is to be flushed");
        board.system.flush_coalesced();
        assert_eq!(port.take(), all, "on demand");
        flushed.set_flush_coalesced(true).unwrap();
        fill(board);
        board.store(0x1000, Width::W4, 1).unwrap();
        assert_eq!((port.take(), other.take().len()), (all.to_vec(), 1), "a region that is");
        fill(board);
        drop(board.memory().begin().unwrap());
        assert_eq!(port.take(), all, "a transaction");
        fill(board);
        region.clear_coalesced().unwrap();
        assert_eq!(port.take(), all);
        board.store(0, Width::W4, 5).unwrap();
        assert_eq!(port.take(), [(0, 5)], "queued no more");
        region.add_coalesced(range(0, 0xef)).unwrap();
        fill(board);
        board.system.coalesce(false);
        assert_eq!(port.take(), all, "switched off");
    });
}

#[test]
fn a_handle_that_parks_leaves_no_write_behind() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, _) = queued(&mut board);
    let mut handle = board.space.handle(|| ());
    handle.store(0, Width::W4, 1, ATTRS).unwrap();
    assert!(port.take().is_empty());
    handle.park();
    assert_eq!(port.take(), [(0, 1)]);
}

#[test]
fn a_full_ring_is_carried_out_and_nothing_is_lost() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, _) = queued(&mut board);
    let count = COALESCED_RING as u64 + 10;
    for value in 0..count {
        board.space.store(0, Width::W4, value, ATTRS).unwrap();
    }
    board.system.flush_coalesced();
    assert_eq!(port.take(), (0..count).map(|value| (0, value)).collect::<Vec<_>>());
}

#[test]
fn writes_of_two_producers_keep_each_one_s_order() {
    const WRITES: u64 = 5000;
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, _) = queued(&mut board);
    let barrier = Barrier::new(3);
    std::thread::scope(|scope| {
        for producer in 0..3u64 {
            let (barrier, space) = (&barrier, board.space.clone());
            scope.spawn(move || {
                let mut handle = space.handle(|| ());
                barrier.wait();
                for value in 0..WRITES {
                    handle.store(4 * producer, Width::W4, value, ATTRS).unwrap();
                    if value % 97 == 0 {
                        handle.load(0xf0, Width::W1, ATTRS).unwrap();
                    }
                }
            });
        }
    });
    let written = port.take();
    for producer in 0..3 {
        let mine = written.iter().filter(|(offset, _)| *offset == 4 * producer).map(|(_, value)| *value);
        assert!(mine.eq(0..WRITES), "producer {producer}");
    }
}

/// A thread is about to queue a write, on a map that lets it, when the region stops to be coalesced. Its next write, which is
/// not queued any more, must not overtake that one.
#[test]
fn a_write_that_is_queued_on_an_old_map_is_not_overtaken_by_the_thread_s_next() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    board.system.coalesce(true);
    let (about, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let first = AtomicBool::new(true);
    let (tell, wait) = (about.clone(), go.clone());
    // asked when the map has been looked at, and before the write is queued
    let rules = AccessRules::new().accepts(move |_| {
        if first.swap(false, Ordering::SeqCst) {
            tell.wait();
            wait.wait();
        }
        true
    });
    let (port, region) = port(&mut board, 0, rules);
    region.add_coalesced(range(0, 0xef)).unwrap();
    let space = board.space.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut handle = space.handle(|| ());
            handle.store(0, Width::W4, 1, ATTRS).unwrap();
            handle.store(0, Width::W4, 2, ATTRS).unwrap();
        });
        about.wait();
        region.clear_coalesced().unwrap();
        go.wait();
    });
    assert_eq!(port.take(), [(0, 1), (0, 2)]);
}

/// A device in whose callback a region is read that is flushed.
#[test]
fn writes_to_a_device_that_the_thread_is_inside_wait_until_it_is_outside() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, _) = queued(&mut board);
    let (other, flushed) = self::port(&mut board, 0x1000, AccessRules::new());
    flushed.set_flush_coalesced(true).unwrap();
    let weak: Weak<AddressSpace> = Arc::downgrade(&board.space);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let (this, inside) = (Arc::downgrade(&port), weak.clone());
    let at_write = move |value| {
        if value != 0xbb {
            return;
        }
        let space = inside.upgrade().unwrap();
        // one for this device comes from somebody else, and one of its own
        std::thread::scope(|scope| {
            let space = &space;
            scope.spawn(move || space.store(0, Width::W4, 0xcc, ATTRS).unwrap());
        });
        let own = space.store(4, Width::W4, 0xdd, ATTRS);
        space.load(0x1000, Width::W4, ATTRS).unwrap();
        note.lock().unwrap().push((own, this.upgrade().unwrap().written.lock().unwrap().len()));
    };
    assert!(port.at_write.set(Box::new(at_write)).is_ok());
    board.space.store(0xf0, Width::W4, 0xbb, ATTRS).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(Err(BusFault::ACCESS), 1)], "refused as ever, and not entered again");
    assert_eq!(port.take(), [(0xf0, 0xbb), (0, 0xcc)], "carried out when the access was over");
    assert!(other.take().is_empty());
}

/// A port in whose callback a thread waits, and what tells that it is there and lets it go on. The flag says that it was let.
fn stuck(board: &mut Board) -> (RegionRef, Receiver<()>, Sender<()>, Arc<AtomicBool>) {
    let (port, region) = queued(board);
    let (here, is_here) = channel();
    let (go_on, goes_on) = channel();
    let (goes_on, was_let) = (Mutex::new(goes_on), Arc::<AtomicBool>::default());
    let note = was_let.clone();
    let at_write = move |_| {
        here.send(()).unwrap();
        // not for ever: a test that hangs says nothing
        let let_on = goes_on.lock().unwrap().recv_timeout(Duration::from_secs(5)).is_ok();
        note.store(let_on, Ordering::SeqCst);
    };
    assert!(port.at_write.set(Box::new(at_write)).is_ok());
    (region, is_here, go_on, was_let)
}

#[test]
fn who_changes_the_map_or_drops_a_region_waits_for_no_other_thread_s_drain() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (region, is_here, go_on, was_let) = stuck(&mut board);
    let dropped = board.memory().reservation("dropped", 0x1000u64).build().unwrap();
    board.root.map(0x8000, &dropped).unwrap();
    let owner = board.memory().owner("/machine/unplugged", Weak::<Port>::new());
    let plug = board.memory().plug(&owner, Arc::new(Port::default()));
    board.space.store(0, Width::W4, 1, ATTRS).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| board.system.flush_coalesced());
        is_here.recv().unwrap();
        // what the callback waits for may be a lock that this thread has
        board.memory().transaction(|_| region.set_address(0x4000)).unwrap();
        drop(dropped);
        drop(plug);
        assert!(board.memory().read(|tree| tree.regions().count()).is_ok());
        go_on.send(()).unwrap();
    });
    assert!(was_let.load(Ordering::SeqCst), "somebody waited for the drain");
}

#[test]
fn who_drops_a_region_or_a_space_runs_no_device() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, _) = queued(&mut board);
    let dropped = board.memory().reservation("dropped", 0x1000u64).build().unwrap();
    board.root.map(0x8000, &dropped).unwrap();
    let space = board.system.address_space("dropped", &board.root, SpaceConfig::default()).unwrap();
    board.space.store(0, Width::W4, 1, ATTRS).unwrap();
    drop(dropped);
    drop(space);
    assert!(port.take().is_empty());
    board.system.flush_coalesced();
    assert_eq!(port.take(), [(0, 1)]);
}

#[test]
fn a_device_that_changes_the_map_in_its_callback_meets_no_other_device_there() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (other, _) = queued(&mut board);
    let (port, moved) = port(&mut board, 0x1000, AccessRules::new());
    let lock = Arc::<Mutex<()>>::default();
    let (held, seen) = (lock.clone(), Arc::new(Mutex::new(Vec::new())));
    let (note, asked) = (seen.clone(), other.clone());
    let at_write = move |value| {
        let _held = held.lock().unwrap();
        moved.set_address(value).unwrap();
        note.lock().unwrap().extend(asked.take());
    };
    assert!(port.at_write.set(Box::new(at_write)).is_ok());
    // the other one wants the lock as well
    let wanted = lock.clone();
    assert!(other.at_write.set(Box::new(move |_| drop(wanted.try_lock().unwrap()))).is_ok());
    board.space.store(0, Width::W4, 7, ATTRS).unwrap();
    board.space.store(0x1000, Width::W4, 0x2000, ATTRS).unwrap();
    assert_eq!((seen.lock().unwrap().len(), other.take()), (0, vec![(0, 7)]), "when the access was over");
}

/// A device behind a lock that changes its own map in its callback.
struct Mover {
    bar: RegionRef,
}

impl LockedDevice for Mover {
    fn read(&mut self, _: u64, _: Width, _: TxAttrs, _: &mut DmaQueue) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&mut self, _: u64, _: Width, value: u64, _: TxAttrs, _: &mut DmaQueue) -> Result<(), BusFault> {
        self.bar.set_address(value).map_err(|_| BusFault::ERROR)
    }
}

#[test]
fn a_device_that_changes_the_map_under_its_lock_loses_nobody_s_queued_write() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, _) = queued(&mut board);
    let bar = board.memory().reservation("bar", 0x1000u64).build().unwrap();
    let bar = board.map(0x1_0000, bar);
    let mover = Arc::new(Locked::new(Mover { bar: bar.clone() }, &board.space, ATTRS));
    let regs = board.memory().mmio("mover", 0x10u64, AccessRules::new(), mover).build().unwrap();
    board.map(0x2000, regs);
    board.space.store(0, Width::W4, 7, ATTRS).unwrap();
    board.space.store(0x2000, Width::W4, 0x5_0000, ATTRS).unwrap();
    assert_eq!(bar.address().unwrap(), Some(0x5_0000));
    board.system.flush_coalesced();
    assert_eq!(port.take(), [(0, 7)]);
}

#[test]
fn a_queued_write_reaches_its_device_wherever_that_has_gone() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, region) = queued(&mut board);
    let weak = Arc::downgrade(&port);
    // queued on a map that another thread replaces: the transaction has begun already
    let transaction = board.memory().begin().unwrap();
    region.set_address(0x8000).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| board.space.store(0, Width::W4, 1, ATTRS).unwrap()).join().unwrap()
    });
    board.system.flush_coalesced();
    assert!(port.take().is_empty(), "nothing is carried out inside a transaction");
    transaction.commit().unwrap();
    assert_eq!(port.take(), [(0, 1)]);
    drop(port);
    drop(board);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_write_inside_a_transaction_is_neither_queued_nor_does_it_signal() {
    each_door(SpaceConfig::default(), |board| {
        let (port, region) = queued(board);
        let bell = event();
        region.add_ioevent(IoEvent::new(0xf0, Width::W4, bell.clone())).unwrap();
        let transaction = board.memory().begin().unwrap();
        for address in [0, 0xf0] {
            assert_eq!(board.store(address, Width::W4, 7), Err(BusFault::ACCESS));
        }
        drop(transaction);
        board.system.flush_coalesced();
        assert_eq!((port.take(), bell.take()), (vec![], 0));
    });
}

#[test]
fn queued_writes_that_lead_to_each_other_come_to_an_end() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    board.system.coalesce(true);
    let (first, there) = port(&mut board, 0x1000, AccessRules::new());
    let (second, back) = port(&mut board, 0x2000, AccessRules::new());
    there.add_coalesced(range(0, 3)).unwrap();
    back.add_coalesced(range(0, 3)).unwrap();
    let faults = Arc::<Mutex<Vec<BusFault>>>::default();
    for (port, to) in [(&first, 0x2000), (&second, 0x1000)] {
        let (space, faults) = (Arc::downgrade(&board.space), faults.clone());
        let weak = Arc::downgrade(port);
        let pass_on = move |value| {
            // the guard ends the chain long before that
            if weak.upgrade().is_some_and(|port| port.written.lock().unwrap().len() > 3) {
                return;
            }
            let space = space.upgrade().unwrap();
            if let Err(fault) = space.store(to, Width::W4, value, ATTRS) {
                faults.lock().unwrap().push(fault);
            }
        };
        assert!(port.at_write.set(Box::new(pass_on)).is_ok());
    }
    board.store(0x1000, Width::W4, 7).unwrap();
    board.system.flush_coalesced();
    assert_eq!((first.take(), second.take()), (vec![(0, 7)], vec![(0, 7)]));
    assert_eq!(*faults.lock().unwrap(), [BusFault::ACCESS], "as it would be if nothing was queued");
}

#[test]
fn queued_writes_reach_the_device_before_its_doorbell_rings() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    board.system.coalesce(true);
    let (port, region) = port(&mut board, 0x1000, AccessRules::new());
    let bell = event();
    region.add_coalesced(range(0, 3)).unwrap();
    region.add_ioevent(IoEvent::new(8, Width::W4, bell.clone())).unwrap();
    let heard = bell.clone();
    assert!(port.at_write.set(Box::new(move |_| assert_eq!(heard.take(), 0, "too early"))).is_ok());
    board.store(0x1000, Width::W4, 7).unwrap();
    board.store(0x1008, Width::W4, 1).unwrap();
    assert_eq!((port.take(), bell.take()), (vec![(0, 7)], 1));
}

#[test]
fn a_reader_sees_its_own_queued_writes_whoever_drains() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    board.system.coalesce(true);
    let (_port, region) = port(&mut board, 0x1000, AccessRules::new());
    region.add_coalesced(range(0, 3)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let drainers = || {
            while !over.load(Ordering::Relaxed) {
                board.system.flush_coalesced();
            }
        };
        scope.spawn(drainers);
        let missed = (1..=500_000u64).find(|count| {
            board.space.store(0x1000, Width::W4, *count, ATTRS).unwrap();
            board.space.load(0x1008, Width::W4, ATTRS) != Ok(*count)
        });
        over.store(true, Ordering::Relaxed);
        assert_eq!(missed, None);
    });
}

/// An accelerator's ring, filled by the test.
#[derive(Default)]
struct Kernel(Mutex<VecDeque<CoalescedWrite>>);

impl Kernel {
    fn push(&self, space: &AddressSpace, address: u64, value: u64, len: usize) {
        let (space, bytes) = (space.id(), value.to_le_bytes());
        self.0.lock().unwrap().push_back(CoalescedWrite { space, address, bytes, len });
    }
}

impl CoalescedRing for Kernel {
    fn take(&self) -> Option<CoalescedWrite> {
        self.0.lock().unwrap().pop_front()
    }
}

#[test]
fn an_accelerators_ring_is_emptied_in_order_before_a_look_a_flush_and_a_transaction() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (port, region) = port(&mut board, 0x1000, AccessRules::new());
    region.set_flush_coalesced(true).unwrap();
    let kernel = Arc::new(Kernel::default());
    board.system.set_coalesced_ring(kernel.clone());
    let looks: [&dyn Fn(); 3] = [
        &|| assert_eq!(board.space.load(0x1080, Width::W4, ATTRS), Ok(2)),
        &|| board.system.flush_coalesced(),
        &|| {
            let begun = board.memory().transaction(|_| Ok::<_, MemoryError>(port.take().len()));
            assert_eq!(begun.unwrap(), 2);
        },
    ];
    for (index, look) in looks.into_iter().enumerate() {
        kernel.push(&board.space, 0x1008, 0x1_0000_0005, 4);
        kernel.push(&board.space, 0x1001, 0x77, 1);
        look();
        let expected = if index == 2 { vec![] } else { vec![(8, 5), (1, 0x77)] };
        assert_eq!(port.take(), expected);
    }
}

#[test]
fn what_an_accelerator_has_queued_goes_where_the_map_was_before_the_commit() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (first, region) = port(&mut board, 0x1000, AccessRules::new());
    let (second, other) = port(&mut board, 0x2000, AccessRules::new());
    let kernel = Arc::new(Kernel::default());
    board.system.set_coalesced_ring(kernel.clone());
    let transaction = board.memory().transaction(|_| {
        // while the transaction is under way: its beginning has not seen it
        kernel.push(&board.space, 0x1008, 5, 4);
        region.set_address(0x3000)?;
        other.set_address(0x1000)
    });
    transaction.unwrap();
    assert_eq!((first.take(), second.take()), (vec![(8, 5)], vec![]));
    // nobody is there, or the accelerator is gone
    kernel.push(&board.space, 0x8000, 5, 4);
    board.system.flush_coalesced();
    kernel.push(&board.space, 0x1008, 6, 4);
    drop(kernel);
    board.system.flush_coalesced();
    assert_eq!((first.take(), second.take()), (vec![], vec![]));
}

#[test]
fn what_is_coalesced_already_or_not_at_all_changes_nothing() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let (_, region) = port(&mut board, 0x1000, AccessRules::new());
    region.add_ioevent(IoEvent::new(0xf0, Width::W4, event())).unwrap();
    let before = board.space.generation();
    region.clear_coalesced().unwrap();
    assert_eq!(board.space.generation(), before);
    region.add_coalesced(range(0, 0x1f)).unwrap();
    let coalesced = board.space.generation();
    assert_ne!(coalesced, before);
    region.add_coalesced(range(8, 0xf)).unwrap();
    region.add_coalesced(range(0, 0x1f)).unwrap();
    assert_eq!(board.space.generation(), coalesced);
    region.clear_coalesced().unwrap();
    assert_ne!(board.space.generation(), coalesced);
}

#[test]
fn queued_writes_are_carried_out_before_a_rom_devices_memory_is_read() {
    each_door(SpaceConfig::default(), |board| {
        board.system.coalesce(true);
        let port = Arc::new(Port::default());
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        let flash = board.memory().rom_device("flash", block.clone(), AccessRules::new(), port.clone());
        let flash = board.map(0, flash.build().unwrap());
        flash.add_coalesced(range(0, 0xff)).unwrap();
        // 1 programs, 2 leaves the mode and comes back to it with the next write
        let (device, memory) = (flash.clone(), block.clone());
        let at_write = move |value| match value {
            1 => assert!(memory.store(0x100, Width::W4, 0x1234)),
            _ => device.set_romd(value != 2).unwrap(),
        };
        assert!(port.at_write.set(Box::new(at_write)).is_ok());
        board.store(0, Width::W4, 1).unwrap();
        assert!(port.take().is_empty(), "queued");
        assert_eq!(board.load_as(TxAttrs::DEBUG, 0x100, Width::W4), Ok(0), "a debugger sets nothing off");
        assert_eq!(board.load(0x100, Width::W4), Ok(0x1234));
        board.store(0, Width::W4, 2).unwrap();
        assert_eq!(board.load(0x100, Width::W4), Ok(2), "the callback, which was called twice");
        board.store(0, Width::W4, 3).unwrap();
        board.load(0x100, Width::W4).unwrap();
        assert_eq!(board.read(0x100, 2), (vec![0x34, 0x12], Ok(())));
        board.store(0, Width::W4, 2).unwrap();
        assert_eq!(board.read(0x100, 2), (vec![4, 0], Ok(())));
        board.store(0, Width::W4, 3).unwrap();
        board.load(0x100, Width::W4).unwrap();
        board.store(0, Width::W4, 1).unwrap();
        assert!(board.space.page(0, false).is_none(), "a page that is lent would not wait");
        let guard = board.space.map(0x100, 4, Direction::Read, ATTRS).unwrap();
        let mut bytes = [0; 4];
        assert!(guard.read(0, &mut bytes) && !guard.is_direct());
        assert_eq!((bytes, port.take().len()), ([0x34, 0x12, 0, 0], 6));
    });
}

#[test]
fn what_has_no_callbacks_waits_for_no_queued_writes() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = board.memory().ram("ram", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    assert!(matches!(ram.set_flush_coalesced(true), Err(MemoryError::WrongKind { .. })));
    assert!(matches!(board.root.set_flush_coalesced(true), Err(MemoryError::WrongKind { .. })));
}

#[test]
fn a_drain_that_reaches_another_machine_finds_done_what_is_queued_there() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let mut other = Board::new(Door::Space, SpaceConfig::default());
    // devices are told apart by numbers of their machine: these are to be others
    (0..100).for_each(|_| _ = other.memory().unique());
    let ((bridge, _), (port, _)) = (queued(&mut board), queued(&mut other));
    let (space, seen) = (other.space.clone(), Arc::<Mutex<Vec<_>>>::default());
    let note = seen.clone();
    let at_write = move |value| {
        space.store(0, Width::W4, value, ATTRS).unwrap();
        note.lock().unwrap().push(space.load(0xf0, Width::W4, ATTRS));
    };
    assert!(bridge.at_write.set(Box::new(at_write)).is_ok());
    other.space.store(4, Width::W4, 1, ATTRS).unwrap();
    board.space.store(0, Width::W4, 2, ATTRS).unwrap();
    board.system.flush_coalesced();
    assert_eq!(*seen.lock().unwrap(), [Ok(2)]);
    assert_eq!(port.take(), [(4, 1), (0, 2)]);
}
