//! Removal: `detach`, and waiting until nobody is inside.

use crate::board::{ATTRS, Board, Door};
use memory_core::{
    AccessRules, AddrRange, BusFault, Iommu, IommuEntry, Memory, Methods, Permissions, Plug, Region, Size,
    SpaceId, TxAttrs, Width,
};
use memory_dispatch::{
    AddressSpace, Detached, Direction, DmaMemory, Entry, EntryKind, Laggard, Listener, MemorySystem, Refusal,
    Section, SpaceConfig, VcpuHandle, WaitError, chain,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

const AT: u64 = 0x1000;

/// What a device does in its callback.
enum Deed {
    Nothing,
    /// Meets another thread twice: once it is inside, and before it leaves.
    Meet(Arc<Barrier>),
    /// Lets go of its own plug.
    DetachSelf,
    /// Detaches itself and waits for that.
    WaitForSelf,
    /// Meets the test, and then waits for the removal of what that has put into the slot meanwhile.
    WaitFor(Arc<Barrier>, Slot),
}

/// Where a test puts what it has detached.
type Slot = Arc<Mutex<Option<Detached>>>;

struct Device {
    system: MemorySystem,
    plug: Mutex<Option<Plug<Device>>>,
    region: Mutex<Option<Region>>,
    deed: Mutex<Deed>,
    waited: Mutex<Vec<Result<(), WaitError>>>,
    calls: AtomicUsize,
    /// Nobody may be inside any more.
    gone: Arc<AtomicBool>,
    drops: Arc<AtomicUsize>,
}

impl Device {
    fn act(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!self.gone.load(Ordering::SeqCst), "inside after the wait for it has ended");
        let deed = std::mem::replace(&mut *self.deed.lock().unwrap(), Deed::Nothing);
        match deed {
            Deed::Nothing => {}
            Deed::Meet(meet) => {
                meet.wait();
                meet.wait();
            }
            Deed::DetachSelf => drop(self.detach()),
            Deed::WaitForSelf => self.wait_for(&self.detach()),
            Deed::WaitFor(meet, slot) => {
                meet.wait();
                meet.wait();
                let other = slot.lock().unwrap().clone().unwrap();
                self.wait_for(&other);
                meet.wait();
                meet.wait();
            }
        }
        assert!(!self.gone.load(Ordering::SeqCst), "the wait has ended with somebody inside");
    }

    fn detach(&self) -> Detached {
        let plug = self.plug.lock().unwrap().take().unwrap();
        self.system.detach(plug)
    }

    fn wait_for(&self, other: &Detached) {
        let waited = wait(other);
        self.waited.lock().unwrap().push(waited);
    }

    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.act();
        Ok(7)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.act();
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        assert!(chain::is_idle() && !self.system.memory().is_inside_transaction());
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// A device as a test knows it: without keeping it alive.
struct Seen {
    device: Weak<Device>,
    entry: Entry,
    gone: Arc<AtomicBool>,
    drops: Arc<AtomicUsize>,
}

impl Seen {
    fn device(&self) -> Arc<Device> {
        self.device.upgrade().expect("alive")
    }

    fn set(&self, deed: Deed) {
        *self.device().deed.lock().unwrap() = deed;
    }

    fn detach(&self) -> Detached {
        self.device().detach()
    }

    fn drops(&self) -> usize {
        self.drops.load(Ordering::SeqCst)
    }
}

/// A time that has come.
fn now() -> Instant {
    Instant::now()
}

/// Waits until a time that no test gets to unless nobody wakes the waiter.
fn wait(detached: &Detached) -> Result<(), WaitError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let waited = detached.wait(deadline);
    assert!(Instant::now() < deadline, "nobody woke the waiter");
    waited
}

fn plug_at(system: &MemorySystem, root: &Region, path: &str, address: u64) -> Seen {
    let (gone, drops) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let device = Arc::new(Device {
        system: system.clone(),
        plug: Mutex::default(),
        region: Mutex::default(),
        deed: Mutex::new(Deed::Nothing),
        waited: Mutex::default(),
        calls: AtomicUsize::default(),
        gone: gone.clone(),
        drops: drops.clone(),
    });
    let memory: &Memory = system.memory();
    let weak: Weak<Device> = Arc::downgrade(&device);
    let owner = memory.owner(path, weak.clone());
    let callbacks = Methods::new(&device, Device::read, Device::write);
    let region = memory.mmio("regs", 0x100u64, AccessRules::new(), callbacks).owner(&owner).build().unwrap();
    root.map(address, &region).unwrap();
    *device.region.lock().unwrap() = Some(region);
    let plug = memory.plug(&owner, device.clone());
    *device.plug.lock().unwrap() = Some(plug);
    Seen { device: weak, entry: system.entry(owner.id()), gone, drops }
}

fn plug(board: &Board) -> Seen {
    plug_at(&board.system, &board.root, "/machine/device", AT)
}

fn board() -> Board {
    Board::new(Door::Space, SpaceConfig::default())
}

fn load(space: &AddressSpace) -> Result<u64, BusFault> {
    space.load(AT, Width::W4, ATTRS)
}

fn laggards(detached: &Detached) -> Vec<Laggard> {
    match detached.wait(now()) {
        Ok(()) => Vec::new(),
        Err(WaitError::Deadline { laggards, .. }) => laggards,
        Err(error) => panic!("{error}"),
    }
}

fn handle(name: &str) -> Laggard {
    Laggard::Handle(name.into())
}

#[test]
fn a_device_that_nobody_is_in_is_gone_when_detach_returns() {
    let board = board();
    let seen = plug(&board);
    assert_eq!(load(&board.space), Ok(7));
    let detached = seen.detach();
    assert_eq!((load(&board.space), seen.drops()), (Err(BusFault::DECODE), 1));
    assert_eq!(detached.wait(now()), Ok(()));
    assert_eq!(detached.path(), "/machine/device");
}

#[test]
fn a_handle_on_an_old_map_is_named_and_its_park_or_next_access_ends_the_wait() {
    type Leave = fn(&mut VcpuHandle);
    let leaves: [Leave; 3] = [
        VcpuHandle::park,
        |vcpu| assert_eq!(vcpu.load(AT, Width::W4, ATTRS), Err(BusFault::DECODE)),
        // elsewhere, too: what counts is the map, not the address
        |vcpu| assert_eq!(vcpu.load(0, Width::W1, ATTRS), Ok(0)),
    ];
    for leave in leaves {
        let mut board = board();
        board.ram(0, 0x1000, 0);
        let seen = plug(&board);
        let kicks = Arc::<AtomicUsize>::default();
        let count = kicks.clone();
        let mut vcpu = board.space.handle_named("vcpu 0", move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let mut other = board.space.handle_named("vcpu 1", || ());
        assert_eq!(vcpu.load(AT, Width::W4, ATTRS), Ok(7));
        assert_eq!(other.load(0, Width::W1, ATTRS), Ok(0));
        other.park();
        let detached = seen.detach();
        assert_eq!(kicks.load(Ordering::SeqCst), 1);
        assert_eq!(laggards(&detached), [handle("vcpu 0")], "a parked one holds nothing up");
        leave(&mut vcpu);
        assert_eq!(seen.drops(), 0, "an access is no place for destructors");
        assert_eq!((detached.wait(now()), seen.drops()), (Ok(()), 1));
    }
}

#[test]
fn a_handle_that_has_lagged_behind_since_an_earlier_commit_is_waited_for_too() {
    let board = board();
    let seen = plug(&board);
    let mut vcpu = board.space.handle_named("vcpu 0", || ());
    vcpu.load(AT, Width::W4, ATTRS).unwrap();
    let window = board.memory().reservation("window", 0x10u64).build().unwrap();
    board.root.map(0x8000, &window).unwrap();
    seen.device().region.lock().unwrap().as_ref().unwrap().unmap().unwrap();
    window.set_address(0x9000).unwrap();
    let detached = seen.detach();
    assert_eq!(laggards(&detached), [handle("vcpu 0")]);
    vcpu.park();
    assert_eq!(laggards(&detached), []);
}

#[test]
fn a_map_that_does_not_show_the_device_is_not_waited_for() {
    let mut board = board();
    board.ram(0, 0x1000, 0);
    let mut vcpu = board.space.handle_named("vcpu 0", || ());
    vcpu.load(0, Width::W4, ATTRS).unwrap();
    let seen = plug(&board);
    let detached = seen.detach();
    assert!(board.system.reclaim() > 0, "the handle is on the map of before");
    assert_eq!(laggards(&detached), []);
}

#[test]
fn a_wait_ends_when_the_last_thread_leaves_by_whatever_door_it_came() {
    for by_handle in [false, true] {
        let board = board();
        let seen = plug(&board);
        let meet = Arc::new(Barrier::new(2));
        seen.set(Deed::Meet(meet.clone()));
        std::thread::scope(|scope| {
            let space = &board.space;
            scope.spawn(move || {
                if by_handle {
                    let mut vcpu = space.handle_named("vcpu 0", || ());
                    assert_eq!(
                        vcpu.load(AT, Width::W4, ATTRS),
                        Ok(7),
                        "an access in flight ends as it began"
                    );
                } else {
                    assert_eq!(load(space), Ok(7));
                }
            });
            meet.wait();
            let detached = seen.detach();
            let expected = if by_handle { handle("vcpu 0") } else { Laggard::Access };
            assert_eq!(laggards(&detached), [expected]);
            let waiter = scope.spawn(move || wait(&detached));
            meet.wait();
            assert_eq!(waiter.join().unwrap(), Ok(()));
        });
        assert_eq!(seen.drops(), 1);
    }
}

#[test]
fn an_access_that_came_through_an_iommu_is_waited_for() {
    struct Onto(SpaceId);
    impl Iommu for Onto {
        fn translate(&self, address: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
            let permissions = Permissions::all();
            Some(IommuEntry { space: self.0, translated: address, mask: 0xfff, permissions })
        }
    }
    let board = board();
    let seen = plug(&board);
    let onto = Arc::new(Onto(board.space.id()));
    let iommu = board.memory().iommu("iommu", Size::FULL, Arc::downgrade(&onto)).build().unwrap();
    let master = board.system.address_space("master", &iommu, SpaceConfig::default()).unwrap();
    let meet = Arc::new(Barrier::new(2));
    seen.set(Deed::Meet(meet.clone()));
    std::thread::scope(|scope| {
        let space = &master;
        scope.spawn(move || {
            // the handle is on the map of its own space, which has not changed
            let mut vcpu = space.handle_named("vcpu 0", || ());
            assert_eq!(vcpu.load(AT, Width::W4, ATTRS), Ok(7));
        });
        meet.wait();
        let detached = seen.detach();
        assert_eq!(laggards(&detached), [Laggard::Access]);
        let waiter = scope.spawn(move || wait(&detached));
        meet.wait();
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn what_is_no_access_is_waited_for_and_let_in_no_more() {
    let board = board();
    let seen = plug(&board);
    let (timer, again) = (seen.entry.enter(EntryKind::Timer).unwrap(), seen.entry.clone());
    let (inside, leave) = (Barrier::new(2), Barrier::new(2));
    let (inside, leave) = (&inside, &leave);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _link = again.enter(EntryKind::EventHandler).unwrap();
            inside.wait();
            leave.wait();
        });
        inside.wait();
        let detached = seen.detach();
        assert!(matches!(detached.wait(now()), Err(WaitError::Inside { .. })), "in a timer of the device");
        drop(timer);
        assert_eq!(laggards(&detached), [Laggard::Entry(EntryKind::EventHandler)]);
        assert_eq!(seen.entry.enter(EntryKind::Timer).unwrap_err(), BusFault::ACCESS);
        let error = detached.wait(now()).unwrap_err();
        assert_eq!(error.to_string(), "`/machine/device` is still used by an eventfd handler");
        let waiter = scope.spawn(move || wait(&detached));
        leave.wait();
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
    assert!(chain::is_idle(), "an entry that was refused leaves nothing on the chain");
}

#[test]
fn pins_keep_the_device_and_hold_up_no_wait() {
    let board = board();
    let seen = plug(&board);
    let here = AddrRange::new(AT, AT).unwrap();
    let section = board.space.find(here).unwrap();
    let window = board.space.window(AddrRange::new(AT, AT + 0xf).unwrap(), ATTRS);
    let guard = board.space.map(AT, 4, Direction::Write, ATTRS).unwrap();
    let detached = seen.detach();
    assert_eq!((laggards(&detached), seen.drops()), (vec![], 0));
    drop((section, guard));
    drop(window);
    board.system.reclaim();
    assert_eq!(seen.drops(), 1);
}

#[test]
fn a_wait_inside_the_devices_own_callback_is_refused() {
    let board = board();
    let seen = plug(&board);
    seen.set(Deed::WaitForSelf);
    let device = seen.device();
    assert_eq!(load(&board.space), Ok(7));
    let waited = std::mem::take(&mut *device.waited.lock().unwrap());
    assert_eq!(waited, [Err(WaitError::Inside { device: "/machine/device".into() })]);
    drop(device);
    board.system.reclaim();
    assert_eq!((load(&board.space), seen.drops()), (Err(BusFault::DECODE), 1));
}

#[test]
fn two_devices_whose_callbacks_wait_for_each_other_get_errors() {
    let board = board();
    let first = plug_at(&board.system, &board.root, "/machine/first", AT);
    let second = plug_at(&board.system, &board.root, "/machine/second", 0x2000);
    let both = [first.device(), second.device()];
    let meet = Arc::new(Barrier::new(3));
    let slots = [Slot::default(), Slot::default()];
    first.set(Deed::WaitFor(meet.clone(), slots[1].clone()));
    second.set(Deed::WaitFor(meet.clone(), slots[0].clone()));
    std::thread::scope(|scope| {
        for address in [AT, 0x2000] {
            let space = &board.space;
            scope.spawn(move || space.load(address, Width::W4, ATTRS).unwrap());
        }
        meet.wait();
        for (device, slot) in both.iter().zip(&slots) {
            *slot.lock().unwrap() = Some(device.detach());
        }
        meet.wait();
        // both have waited, and are inside still
        meet.wait();
        for (device, path) in both.iter().zip(["/machine/second", "/machine/first"]) {
            assert_eq!(*device.waited.lock().unwrap(), [Err(WaitError::Inside { device: path.into() })]);
        }
        for slot in &slots {
            assert_eq!(laggards(slot.lock().unwrap().as_ref().unwrap()), [Laggard::Access]);
        }
        meet.wait();
    });
    for slot in &slots {
        assert_eq!(wait(slot.lock().unwrap().as_ref().unwrap()), Ok(()));
    }
    drop(both);
    board.system.reclaim();
    assert_eq!((first.drops(), second.drops()), (1, 1));
}

#[test]
fn a_device_that_detaches_itself_is_waited_for_by_another_thread() {
    let board = board();
    let seen = plug(&board);
    seen.set(Deed::DetachSelf);
    let mut vcpu = board.space.handle_named("vcpu 0", || ());
    assert_eq!(vcpu.load(AT, Width::W4, ATTRS), Ok(7));
    assert_eq!((vcpu.load(AT, Width::W4, ATTRS), seen.drops()), (Err(BusFault::DECODE), 0));
    assert_eq!((board.system.reclaim(), seen.drops()), (0, 1));
}

#[test]
fn a_wait_inside_a_transaction_is_refused_and_one_of_another_thread_is_waited_for() {
    let board = board();
    let seen = plug(&board);
    let transaction = board.memory().begin().unwrap();
    let on_another_thread = || {
        let detached = seen.detach();
        let asked = laggards(&detached);
        (detached, asked)
    };
    let (detached, asked) = std::thread::scope(|scope| scope.spawn(on_another_thread).join().unwrap());
    assert_eq!(asked, [Laggard::Transaction]);
    assert!(matches!(wait(&detached), Err(WaitError::Inside { .. })));
    assert!(seen.entry.enter(EntryKind::Timer).is_err(), "no device is entered inside a transaction");
    let elsewhere = || seen.entry.enter(EntryKind::Timer).is_ok();
    assert!(std::thread::scope(|scope| scope.spawn(elsewhere).join().unwrap()), "it is still plugged in");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(&detached));
        // taken back or not: what is destroyed is destroyed
        drop(transaction);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
    assert_eq!(seen.drops(), 1);
}

#[test]
fn a_listener_may_detach_but_not_wait() {
    /// Detaches another device when a range goes.
    struct Detaches(Arc<Device>, Mutex<Vec<Result<(), WaitError>>>);
    impl Listener for Detaches {
        fn region_del(&self, _: &Section) -> Result<(), Refusal> {
            if self.0.plug.lock().unwrap().is_some() {
                self.1.lock().unwrap().push(self.0.detach().wait(now()));
            }
            Ok(())
        }
    }
    let board = board();
    let seen = plug(&board);
    let other = plug_at(&board.system, &board.root, "/machine/other", 0x2000);
    let listener = Arc::new(Detaches(seen.device(), Mutex::default()));
    let guard = board.system.listen(listener.clone(), 0, Some(&board.space)).unwrap();
    assert_eq!(laggards(&other.detach()), []);
    let waited = std::mem::take(&mut *listener.1.lock().unwrap());
    assert_eq!(waited, [Err(WaitError::Inside { device: "/machine/device".into() })]);
    assert_eq!(load(&board.space), Err(BusFault::DECODE), "gone when the commit was over");
    drop((guard, listener));
    board.system.reclaim();
    assert_eq!((seen.drops(), other.drops()), (1, 1));
}

#[test]
fn a_space_that_goes_while_its_map_is_shared_hides_no_laggard() {
    let mut board = board();
    let seen = plug(&board);
    let alias = board.memory().alias("all", &board.root, 0, Size::FULL).build().unwrap();
    let alias = board.keep(alias);
    let other = board.system.address_space("other", &alias, SpaceConfig::default()).unwrap();
    let mut vcpu = board.space.handle_named("vcpu 0", || ());
    vcpu.load(AT, Width::W4, ATTRS).unwrap();
    assert_eq!(board.space.generation(), other.generation(), "one view");
    // the handle stays behind on it; then the other space goes while a transaction is in the way of listing the view
    let detached = seen.detach();
    let transaction = board.memory().begin().unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            drop(other);
            laggards(&detached)
        });
        assert_eq!(asked.join().unwrap(), [Laggard::Transaction]);
    });
    drop(transaction);
    assert_eq!(laggards(&detached), [handle("vcpu 0")]);
    vcpu.park();
    assert_eq!(laggards(&detached), []);
}

#[test]
fn a_waiter_that_sleeps_is_woken_by_a_park_by_an_access_and_by_a_handle_that_goes() {
    /// What is left of the handle stays, and does nothing more.
    type Leave = fn(VcpuHandle) -> Option<VcpuHandle>;
    let leaves: [Leave; 3] = [
        |mut vcpu| {
            vcpu.park();
            Some(vcpu)
        },
        |mut vcpu| {
            assert_eq!(vcpu.load(AT, Width::W4, ATTRS), Err(BusFault::DECODE));
            Some(vcpu)
        },
        |vcpu| {
            drop(vcpu);
            None
        },
    ];
    for leave in leaves {
        for round in 0..100 {
            let board = board();
            let seen = plug(&board);
            let mut vcpu = board.space.handle_named("vcpu 0", || ());
            vcpu.load(AT, Width::W4, ATTRS).unwrap();
            let detached = seen.detach();
            let begin = Barrier::new(2);
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    begin.wait();
                    wait(&detached)
                });
                begin.wait();
                // sooner or later: before the waiter looks, while it looks, when it sleeps
                (0..round).for_each(|_| std::thread::yield_now());
                let _rest = leave(vcpu);
                assert_eq!(waiter.join().unwrap(), Ok(()));
            });
        }
    }
}

#[test]
fn queued_writes_reach_a_device_before_it_goes_and_not_after() {
    for by_detach in [true, false] {
        let board = board();
        board.system.coalesce(true);
        let seen = plug(&board);
        let device = seen.device();
        let add = |region: &Region| region.add_coalesced(AddrRange::new(0, 3).unwrap());
        add(device.region.lock().unwrap().as_ref().unwrap()).unwrap();
        board.space.store(AT, Width::W4, 1, ATTRS).unwrap();
        assert_eq!(device.calls.load(Ordering::SeqCst), 0, "queued");
        let mut detached = None;
        if by_detach {
            detached = Some(device.detach());
        } else {
            drop(device.plug.lock().unwrap().take());
        }
        assert_eq!(device.calls.load(Ordering::SeqCst), 1, "what was written before it went");
        if let Some(detached) = detached {
            wait(&detached).unwrap();
        }
        // a vCPU that was still on the old map
        seen.gone.store(true, Ordering::SeqCst);
        board.system.flush_coalesced();
        drop(device);
        board.system.reclaim();
        assert_eq!(seen.drops(), 1);
    }
}

#[test]
fn a_write_that_is_queued_on_the_old_map_is_dropped_when_the_device_is_gone() {
    let board = board();
    board.system.coalesce(true);
    let seen = plug(&board);
    let device = seen.device();
    let add = |region: &Region| region.add_coalesced(AddrRange::new(0, 3).unwrap());
    add(device.region.lock().unwrap().as_ref().unwrap()).unwrap();
    // queued beside a transaction, whose beginning was the last time that writes were carried out before the device goes
    let transaction = board.memory().begin().unwrap();
    let detached = device.detach();
    std::thread::scope(|scope| {
        scope.spawn(|| board.space.store(AT, Width::W4, 1, ATTRS).unwrap()).join().unwrap()
    });
    drop(transaction);
    wait(&detached).unwrap();
    seen.gone.store(true, Ordering::SeqCst);
    board.system.flush_coalesced();
    assert_eq!(device.calls.load(Ordering::SeqCst), 0);
    assert!(seen.entry.enter(EntryKind::Drain).is_err());
    drop(device);
    board.system.reclaim();
    assert_eq!(seen.drops(), 1, "nothing that was queued keeps it");
}

#[test]
fn a_snapshot_of_guest_memory_asks_no_iommu_that_was_unplugged() {
    ask_after_removal(false);
}

#[test]
fn a_snapshot_asks_no_iommu_that_had_no_region_left_when_it_was_unplugged() {
    ask_after_removal(true);
}

fn ask_after_removal(region_first: bool) {
    struct Onto(SpaceId, AtomicUsize);
    impl Iommu for Onto {
        fn translate(&self, address: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
            self.1.fetch_add(1, Ordering::SeqCst);
            let permissions = Permissions::all();
            Some(IommuEntry { space: self.0, translated: address, mask: 0xfff, permissions })
        }
    }
    let mut board = board();
    board.ram(0, 0x1000, 7);
    let device = Arc::new(Onto(board.space.id(), AtomicUsize::default()));
    let weak: Weak<Onto> = Arc::downgrade(&device);
    let owner = board.memory().owner("/machine/iommu", weak.clone());
    let iommu = board.memory().iommu("iommu", Size::FULL, weak).owner(&owner).build().unwrap();
    let master = board.system.address_space("master", &iommu, SpaceConfig::default()).unwrap();
    let plug = board.memory().plug(&owner, device.clone());
    let snapshot = DmaMemory::new(&master, ATTRS);
    assert_eq!(snapshot.read_obj::<u8>(GuestAddress(0)).unwrap(), 7);
    let asked = device.1.load(Ordering::SeqCst);
    if region_first {
        drop(iommu);
    }
    let detached = board.system.detach(plug);
    assert_eq!(laggards(&detached), [], "a snapshot is a pin");
    assert!(snapshot.read_obj::<u8>(GuestAddress(0)).is_err());
    assert_eq!(device.1.load(Ordering::SeqCst), asked);
}

/// The device's callbacks look whether a wait for it has ended: before, and after they have given others a chance.
#[test]
fn a_wait_that_has_ended_means_that_nobody_is_inside_however_threads_come_and_go() {
    const ROUNDS: usize = 400;
    let board = board();
    let (stop, reached) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (space, stop, reached) = (&board.space, &stop, &reached);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                reached.fetch_add(usize::from(load(space).is_ok()), Ordering::Relaxed);
            }
        });
        scope.spawn(move || {
            let kicked = Arc::<AtomicBool>::default();
            let kick = kicked.clone();
            let mut vcpu = space.handle_named("vcpu 0", move || kick.store(true, Ordering::SeqCst));
            while !stop.load(Ordering::Relaxed) {
                let found = vcpu.load(AT, Width::W4, ATTRS).is_ok();
                reached.fetch_add(usize::from(found), Ordering::Relaxed);
                if kicked.swap(false, Ordering::SeqCst) {
                    vcpu.park();
                }
            }
        });
        for round in 0..ROUNDS {
            let seen = plug(&board);
            let before = reached.load(Ordering::Relaxed);
            while round % 4 == 0 && reached.load(Ordering::Relaxed) < before + 2 {
                std::thread::yield_now();
            }
            let detached = seen.detach();
            wait(&detached).unwrap();
            seen.gone.store(true, Ordering::SeqCst);
            assert_eq!(seen.drops(), 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reached.load(Ordering::Relaxed) > ROUNDS / 4);
}

/// Panics once when it is told that something goes.
#[derive(Default)]
struct Panics(AtomicBool);

impl Listener for Panics {
    fn region_del(&self, _: &Section) -> Result<(), Refusal> {
        assert!(self.0.swap(true, Ordering::SeqCst), "on purpose");
        Ok(())
    }
}

#[test]
fn a_removal_that_a_listener_panicked_at_is_done_by_who_waits_for_it() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let memory = board.memory();
    let seen = plug_at(&board.system, &board.root, "/machine/device", AT);
    let spare = memory.container("spare", Size::FULL).build().unwrap();
    let _guard = board.system.listen(Arc::new(Panics::default()), 0, None).unwrap();
    let level = memory.begin().unwrap();
    let detached = seen.detach();
    let errands = Arc::<AtomicUsize>::default();
    let count = errands.clone();
    memory.when_free(move || _ = count.fetch_add(1, Ordering::SeqCst));
    drop(spare);
    assert!(catch_unwind(AssertUnwindSafe(|| level.commit())).is_err());
    assert_eq!((seen.drops(), memory.is_inside_transaction()), (0, false), "no device ends in a panic");
    wait(&detached).unwrap();
    seen.gone.store(true, Ordering::SeqCst);
    assert!(board.space.load(AT, Width::W4, ATTRS).is_err());
    assert!(seen.entry.enter(EntryKind::Timer).is_err());
    assert_eq!((seen.drops(), errands.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn errands_behind_one_that_panics_are_run_by_the_next_transaction() {
    let memory = Memory::new();
    let level = memory.begin().unwrap();
    let errands = Arc::<AtomicUsize>::default();
    memory.when_free(|| panic!("on purpose"));
    let count = errands.clone();
    memory.when_free(move || _ = count.fetch_add(1, Ordering::SeqCst));
    assert!(catch_unwind(AssertUnwindSafe(|| level.commit())).is_err());
    memory.read(|_| assert_eq!(errands.load(Ordering::SeqCst), 1)).unwrap();
}
