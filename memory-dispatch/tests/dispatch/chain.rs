//! The chain guard: devices that reach for devices.

use crate::board::{ATTRS, Board, Door, each_door};
use memory_core::{AccessRules, BusFault, Mmio, Owner, TxAttrs, Width};
use memory_dispatch::chain::{self, MAX_CHAIN};
use memory_dispatch::{AddressSpace, Listener, Refusal, Section, SpaceConfig};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::Duration;

/// A write makes it load from a target, and it remembers what it got.
struct Poker {
    space: Weak<AddressSpace>,
    target: AtomicU64,
    got: Mutex<Vec<Result<u64, BusFault>>>,
    calls: AtomicUsize,
}

impl Poker {
    fn got(&self) -> Vec<Result<u64, BusFault>> {
        std::mem::take(&mut self.got.lock().unwrap())
    }

    fn aim(&self, target: u64) {
        self.target.store(target, Ordering::SeqCst);
    }
}

/// Both directions do the same, so that pokers can poke each other.
impl Mmio for Poker {
    fn read(&self, _: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let space = self.space.upgrade().ok_or(BusFault::DECODE)?;
        let got = space.load(self.target.load(Ordering::SeqCst), width, attrs);
        self.got.lock().unwrap().push(got);
        Ok(got.unwrap_or(0x5a))
    }

    fn write(&self, offset: u64, width: Width, _: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        self.read(offset, width, attrs).map(|_| ())
    }
}

fn board() -> Board {
    Board::new(Door::Handle, SpaceConfig::default())
}

fn poker(board: &mut Board, address: u64, rules: AccessRules, owner: Option<&Owner>) -> Arc<Poker> {
    let poker = Arc::new(Poker {
        space: Arc::downgrade(&board.space),
        target: AtomicU64::new(0),
        got: Mutex::default(),
        calls: AtomicUsize::new(0),
    });
    let mut regs = board.memory().mmio(format!("poker{address:x}"), 0x100u64, rules, poker.clone());
    if let Some(owner) = owner {
        regs = regs.owner(owner);
    }
    let regs = regs.build().unwrap();
    board.map(address, regs);
    poker
}

#[test]
fn a_device_that_reaches_itself_gets_an_access_error() {
    let mut board = board();
    let a = poker(&mut board, 0x1000, AccessRules::new(), None);
    a.aim(0x1010);
    assert_eq!(board.store(0x1000, Width::W4, 1), Ok(()), "the access itself is fine");
    assert_eq!((a.got(), a.calls.load(Ordering::SeqCst)), (vec![Err(BusFault::ACCESS)], 1));
    assert_eq!(board.load(0x1000, Width::W4), Ok(0x5a), "and so is the next one");
}

#[test]
fn a_device_that_is_reached_again_through_another_gets_an_access_error() {
    let mut board = board();
    let a = poker(&mut board, 0x1000, AccessRules::new(), None);
    let b = poker(&mut board, 0x2000, AccessRules::new(), None);
    a.aim(0x2000);
    b.aim(0x1000);
    board.store(0x1000, Width::W4, 1).unwrap();
    assert_eq!((a.got(), b.got()), (vec![Ok(0x5a)], vec![Err(BusFault::ACCESS)]));
    board.ram(0x8000, 0x1000, 3);
    b.aim(0x8000);
    board.store(0x1000, Width::W1, 1).unwrap();
    assert_eq!((a.got(), b.got()), (vec![Ok(3)], vec![Ok(3)]), "there is nothing wrong with a chain");
}

#[test]
fn all_regions_of_one_owner_are_one_device() {
    let mut board = board();
    let device: Arc<()> = Arc::new(());
    let owner = board.memory().owner("/machine/device", Arc::downgrade(&device) as _);
    let a = poker(&mut board, 0x1000, AccessRules::new(), Some(&owner));
    let b = poker(&mut board, 0x2000, AccessRules::new(), Some(&owner));
    a.aim(0x2000);
    board.store(0x1000, Width::W4, 1).unwrap();
    assert_eq!((a.got(), b.calls.load(Ordering::SeqCst)), (vec![Err(BusFault::ACCESS)], 0));
}

#[test]
fn a_region_that_allows_it_is_entered_again_but_not_for_ever() {
    let mut board = board();
    let a = poker(&mut board, 0x1000, AccessRules::new().allow_reentry("a test"), None);
    a.aim(0x1000);
    board.store(0x1000, Width::W4, 1).unwrap();
    assert_eq!(a.calls.load(Ordering::SeqCst), MAX_CHAIN);
    let got = a.got();
    assert_eq!((got.len(), got[0]), (MAX_CHAIN, Err(BusFault::ACCESS)));
    assert!(chain::is_idle());
}

#[test]
fn a_chain_through_many_devices_is_bounded() {
    let mut board = board();
    let pokers: Vec<_> = (0..MAX_CHAIN as u64 + 4)
        .map(|i| poker(&mut board, 0x1_0000 + i * 0x1000, AccessRules::new(), None))
        .collect();
    for (i, poker) in pokers.iter().enumerate() {
        poker.aim(0x1_0000 + (i as u64 + 1) * 0x1000);
    }
    board.store(0x1_0000, Width::W4, 1).unwrap();
    let called = pokers.iter().filter(|poker| poker.calls.load(Ordering::SeqCst) == 1).count();
    assert_eq!(called, MAX_CHAIN);
    assert_eq!(pokers[MAX_CHAIN - 1].got(), [Err(BusFault::ACCESS)]);
    assert!(chain::is_idle());
}

#[test]
fn dma_out_of_a_callback_sees_transfers_and_writes_refused_alike() {
    struct Bulk(Weak<AddressSpace>, Mutex<Vec<Result<(), BusFault>>>);
    impl Mmio for Bulk {
        fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
            Ok(0)
        }
        fn write(&self, _: u64, _: Width, _: u64, attrs: TxAttrs) -> Result<(), BusFault> {
            let space = self.0.upgrade().ok_or(BusFault::DECODE)?;
            let mut bytes = [9; 8];
            // four bytes of RAM and four of the device's own registers
            let read = space.read(0xffc, &mut bytes, attrs);
            assert_eq!(bytes[4..], [0; 4]);
            let write = space.write(0xffc, &[1; 8], attrs);
            self.1.lock().unwrap().extend([read, write]);
            Ok(())
        }
    }
    let mut board = board();
    let ram = board.ram(0, 0x1000, 0);
    let bulk = Arc::new(Bulk(Arc::downgrade(&board.space), Mutex::default()));
    let regs = board.memory().mmio("bulk", 0x100u64, AccessRules::new(), bulk.clone()).build().unwrap();
    board.map(0x1000, regs);
    board.store(0x1000, Width::W4, 0).unwrap();
    assert_eq!(*bulk.1.lock().unwrap(), [Err(BusFault::ACCESS); 2]);
    assert_eq!(ram.load(0xffc, Width::W4), Some(0x0101_0101), "what is no device was written");
}

/// Callbacks that wait until two threads are inside at once.
#[derive(Default)]
struct Meeting {
    inside: Mutex<usize>,
    came: Condvar,
}

impl Mmio for Meeting {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let mut inside = self.inside.lock().unwrap();
        *inside += 1;
        self.came.notify_all();
        let (inside, waited) = self
            .came
            .wait_timeout_while(inside, Duration::from_secs(60), |inside| *inside < 2)
            .map_err(|_| BusFault::ERROR)?;
        if waited.timed_out() { Err(BusFault::ERROR) } else { Ok(*inside as u64) }
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

#[test]
fn two_threads_in_one_device_are_no_re_entry_and_no_lock_keeps_them_apart() {
    let mut board = board();
    let device = Arc::<Meeting>::default();
    let regs = board.memory().mmio("meeting", 0x100u64, AccessRules::new(), device).build().unwrap();
    board.map(0x1000, regs);
    let space = &board.space;
    std::thread::scope(|scope| {
        let threads = [0; 2].map(|_| scope.spawn(move || space.load(0x1000, Width::W4, ATTRS)));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(2));
        }
    });
}

#[test]
fn a_panic_inside_a_device_leaves_no_link_behind() {
    struct Panics;
    impl Mmio for Panics {
        fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
            panic!("on purpose")
        }
        fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
            Ok(())
        }
    }
    let mut board = board();
    let regs = board.memory().mmio("panics", 0x100u64, AccessRules::new(), Arc::new(Panics)).build().unwrap();
    board.map(0x1000, regs);
    let space = board.space.clone();
    let load = std::panic::AssertUnwindSafe(|| space.load(0x1000, Width::W4, ATTRS));
    assert!(std::panic::catch_unwind(load).is_err());
    assert!(chain::is_idle());
    assert_eq!(board.store(0x1000, Width::W4, 0), Ok(()));
}

/// Reaches for a device and for memory whenever something is told.
struct Reaches(OnceLock<Weak<AddressSpace>>, Mutex<Vec<(Result<u64, BusFault>, bool)>>);

impl Listener for Reaches {
    fn region_add(&self, _: &Section) -> Result<(), Refusal> {
        let Some(space) = self.0.get().and_then(Weak::upgrade) else { return Ok(()) };
        let ram = space.store(0x8000, Width::W4, 7, ATTRS).is_ok();
        self.1.lock().unwrap().push((space.load(0x1000, Width::W4, ATTRS), ram));
        Ok(())
    }
}

#[test]
fn no_device_runs_inside_a_transaction_or_a_listener_and_memory_is_reached() {
    each_door(SpaceConfig::default(), |board| {
        let device = board.mmio(0x1000, 0x100, AccessRules::new(), 0);
        board.ram(0x8000, 0x1000, 0);
        let transaction = board.memory().begin().unwrap();
        let level = board.memory().begin().unwrap();
        assert_eq!(board.load(0x1000, Width::W4), Err(BusFault::ACCESS));
        assert_eq!(board.store(0x1000, Width::W4, 1), Err(BusFault::ACCESS));
        assert_eq!(board.read(0x1000, 4), (vec![0; 4], Err(BusFault::ACCESS)));
        assert_eq!(board.write(0x7ffe, &[1; 4]), Err(BusFault::DECODE), "no device is met on the way");
        assert_eq!(board.load(0x8000, Width::W2), Ok(0x0101));
        drop(level);
        assert_eq!(board.load(0x1000, Width::W4), Err(BusFault::ACCESS), "a level is left, and not the lock");
        // another machine's devices are as far away: they may change this one's map
        let mut other = Board::new(Door::Space, SpaceConfig::default());
        let _device = other.mmio(0, 0x100, AccessRules::new(), 0);
        assert_eq!(other.load(0, Width::W1), Err(BusFault::ACCESS));
        drop(transaction);
        let reaches = Arc::new(Reaches(OnceLock::new(), Mutex::default()));
        let _guard = board.system.listen(reaches.clone(), 0, None).unwrap();
        reaches.0.set(Arc::downgrade(&board.space)).unwrap();
        board.ram(0x1_0000, 0x1000, 0);
        assert_eq!(*reaches.1.lock().unwrap(), [(Err(BusFault::ACCESS), true)]);
        assert!(device.calls().is_empty());
        assert!(board.load(0x1000, Width::W4).is_ok() && other.load(0, Width::W1).is_ok());
    });
    assert!(chain::is_idle());
}
