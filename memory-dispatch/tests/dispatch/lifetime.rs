//! What lives how long: devices, views, handles, spaces.

use crate::board::{ATTRS, Board, Door, counting};
use memory_core::{AccessRules, BusFault, Memory, Methods, Plug, Region, RegionRef, TxAttrs, Width};
use memory_dispatch::{MemorySystem, SpaceConfig, VcpuHandle, chain};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// What was seen of a device's end.
#[derive(Default)]
struct Ends {
    count: AtomicUsize,
    /// Drops that came inside an access, or with the writers' lock held.
    wrong: AtomicUsize,
}

/// What a device does to itself when it is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    Unmap,
    Disable,
    Move,
    DropRegion,
    Unplug,
}

struct Device {
    memory: Memory,
    ends: Arc<Ends>,
    region: Mutex<Option<Region>>,
    /// The guard that keeps it plugged in, for it to let go of.
    plug: Arc<Mutex<Option<Plug<Device>>>>,
    deed: Mutex<Deed>,
    value: AtomicU64,
}

impl Device {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.value.load(Ordering::SeqCst))
    }

    fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let deed = *self.deed.lock().unwrap();
        let region = || self.region.lock().unwrap().as_ref().map(|region| region.by_ref().clone()).unwrap();
        match deed {
            Deed::Nothing => {}
            Deed::Unmap => region().unmap().unwrap(),
            Deed::Disable => region().set_enabled(false).unwrap(),
            Deed::Move => region().set_address(0x5000).unwrap(),
            Deed::DropRegion => drop(self.region.lock().unwrap().take()),
            Deed::Unplug => drop(self.plug.lock().unwrap().take()),
        }
        assert_eq!(self.ends.count.load(Ordering::SeqCst), 0, "alive as long as it is called");
        self.value.store(value, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.ends.count.fetch_add(1, Ordering::SeqCst);
        if !chain::is_idle() || self.memory.is_inside_transaction() {
            self.ends.wrong.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Plugged {
    device: Weak<Device>,
    region: RegionRef,
    ends: Arc<Ends>,
    plug: Arc<Mutex<Option<Plug<Device>>>>,
}

const AT: u64 = 0x1000;

/// Plugs a device in and maps its registers at `AT`.
fn plug(memory: &Memory, root: &RegionRef, deed: Deed) -> Plugged {
    let (ends, plug) = (Arc::<Ends>::default(), Arc::<Mutex<_>>::default());
    let device = Arc::new(Device {
        memory: memory.clone(),
        ends: ends.clone(),
        region: Mutex::default(),
        plug: plug.clone(),
        deed: Mutex::new(deed),
        value: AtomicU64::new(7),
    });
    let weak = Arc::downgrade(&device);
    let owner = memory.owner("/machine/device", weak.clone());
    let callbacks = Methods::new(&device, Device::read, Device::write);
    let region = memory.mmio("regs", 0x100u64, AccessRules::new(), callbacks).owner(&owner).build().unwrap();
    root.map(AT, &region).unwrap();
    let by_ref = region.by_ref().clone();
    *device.region.lock().unwrap() = Some(region);
    *plug.lock().unwrap() = Some(memory.plug(&owner, device));
    Plugged { device: weak, region: by_ref, ends, plug }
}

impl Plugged {
    fn unplug(&self) {
        let plug = self.plug.lock().unwrap().take();
        drop(plug);
    }

    fn drops(&self) -> usize {
        assert_eq!(self.ends.wrong.load(Ordering::SeqCst), 0, "dropped in a wrong place");
        self.ends.count.load(Ordering::SeqCst)
    }
}

fn board() -> Board {
    Board::new(Door::Space, SpaceConfig::default())
}

/// A handle, and how often it was kicked.
fn kicked(board: &Board) -> (VcpuHandle, Arc<AtomicUsize>) {
    let kicks = Arc::<AtomicUsize>::default();
    let count = kicks.clone();
    let kick = move || {
        count.fetch_add(1, Ordering::SeqCst);
    };
    (board.space.handle(kick), kicks)
}

fn load(vcpu: &mut VcpuHandle) -> Result<u64, BusFault> {
    vcpu.load(AT, Width::W4, ATTRS)
}

#[test]
fn a_device_that_nobody_is_on_goes_with_its_plug() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    assert_eq!(board.space.load(AT, Width::W4, ATTRS), Ok(7));
    plugged.unplug();
    assert_eq!(plugged.drops(), 1);
    assert_eq!(board.space.load(AT, Width::W4, ATTRS), Err(BusFault::DECODE));
    assert_eq!(board.space.with_view(|view| view.len()), 0);
}

#[test]
fn a_handle_that_is_not_parked_is_kicked_and_keeps_the_device_until_it_parks() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    let (mut vcpu, kicks) = kicked(&board);
    assert_eq!(load(&mut vcpu), Ok(7));
    plugged.unplug();
    assert_eq!(kicks.load(Ordering::SeqCst), 1);
    assert_eq!((board.system.reclaim(), plugged.drops()), (1, 0));
    vcpu.park();
    assert_eq!(plugged.drops(), 0, "parking is no place for destructors");
    assert_eq!((board.system.reclaim(), plugged.drops()), (0, 1));
    assert_eq!(load(&mut vcpu), Err(BusFault::DECODE));
}

#[test]
fn a_handles_next_access_lets_go_of_the_old_map() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    let (mut vcpu, _) = kicked(&board);
    load(&mut vcpu).unwrap();
    plugged.unplug();
    assert_eq!(load(&mut vcpu), Err(BusFault::DECODE));
    assert_eq!(plugged.drops(), 0, "an access is no place for destructors");
    assert_eq!((board.system.reclaim(), plugged.drops()), (0, 1));
}

#[test]
fn a_parked_handle_holds_nothing_and_is_not_kicked() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    let (mut vcpu, kicks) = kicked(&board);
    load(&mut vcpu).unwrap();
    vcpu.park();
    plugged.unplug();
    assert_eq!((plugged.drops(), kicks.load(Ordering::SeqCst)), (1, 0));
    drop(vcpu);
}

#[test]
fn a_dropped_handle_holds_nothing() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    let (mut vcpu, kicks) = kicked(&board);
    load(&mut vcpu).unwrap();
    drop(vcpu);
    plugged.unplug();
    assert_eq!((plugged.drops(), kicks.load(Ordering::SeqCst)), (1, 0));
}

#[test]
fn a_device_that_was_hidden_before_it_is_unplugged_has_laggards_kicked_too() {
    for hide in [RegionRef::unmap, |region: &RegionRef| region.set_enabled(false)] {
        let board = board();
        let plugged = plug(board.memory(), &board.root, Deed::Nothing);
        let (mut vcpu, kicks) = kicked(&board);
        load(&mut vcpu).unwrap();
        hide(&plugged.region).unwrap();
        assert_eq!(kicks.load(Ordering::SeqCst), 0, "a change of the map waits for nobody");
        plugged.unplug();
        assert_eq!(kicks.load(Ordering::SeqCst), 1, "but a device that goes does");
        vcpu.park();
        board.system.reclaim();
        assert_eq!(plugged.drops(), 1);
    }
}

#[test]
fn a_device_may_take_itself_off_the_map_in_its_own_callback() {
    for deed in [Deed::Unmap, Deed::Disable, Deed::Move, Deed::DropRegion] {
        let board = board();
        let plugged = plug(board.memory(), &board.root, deed);
        let (mut vcpu, _) = kicked(&board);
        assert_eq!(vcpu.store(AT, Width::W4, 9, ATTRS), Ok(()), "the access in flight ends as it began");
        assert_eq!(plugged.device.upgrade().unwrap().value.load(Ordering::SeqCst), 9);
        assert_eq!(load(&mut vcpu), Err(BusFault::DECODE));
        let moved = vcpu.load(0x5000, Width::W4, ATTRS);
        assert_eq!(moved, if deed == Deed::Move { Ok(9) } else { Err(BusFault::DECODE) });
        vcpu.park();
        plugged.unplug();
        board.system.reclaim();
        assert_eq!(plugged.drops(), 1);
    }
}

#[test]
fn a_split_access_goes_on_when_its_first_piece_takes_the_device_off_the_map() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::DropRegion);
    // eight bytes are two callbacks, of which the second comes after the region is gone
    assert_eq!(board.space.store(AT, Width::W8, 0x0000_0002_0000_0001, ATTRS), Ok(()));
    assert_eq!(plugged.device.upgrade().unwrap().value.load(Ordering::SeqCst), 2);
    plugged.unplug();
    assert_eq!(plugged.drops(), 1);
}

#[test]
fn a_device_may_unplug_itself_and_is_dropped_when_the_access_is_over() {
    for use_handle in [false, true] {
        let board = board();
        let plugged = plug(board.memory(), &board.root, Deed::Unplug);
        let (mut vcpu, _) = kicked(&board);
        if use_handle {
            vcpu.store(AT, Width::W4, 9, ATTRS).unwrap();
        } else {
            board.space.store(AT, Width::W4, 9, ATTRS).unwrap();
        }
        assert_eq!(plugged.drops(), 0);
        assert_eq!(load(&mut vcpu), Err(BusFault::DECODE));
        vcpu.park();
        assert_eq!((board.system.reclaim(), plugged.drops()), (0, 1));
    }
}

#[test]
fn a_plug_that_is_dropped_in_a_transaction_takes_effect_at_its_end_whatever_that_is() {
    for commit in [false, true] {
        let board = board();
        let plugged = plug(board.memory(), &board.root, Deed::Nothing);
        let transaction = board.memory().begin().unwrap();
        plugged.unplug();
        let elsewhere = || board.space.load(AT, Width::W4, ATTRS);
        let loaded = std::thread::scope(|scope| scope.spawn(elsewhere).join().unwrap());
        assert_eq!((plugged.drops(), loaded), (0, Ok(7)));
        if commit {
            transaction.commit().unwrap();
        } else {
            drop(transaction);
        }
        assert_eq!(board.space.load(AT, Width::W4, ATTRS), Err(BusFault::DECODE));
        board.system.reclaim();
        assert_eq!(plugged.drops(), 1);
    }
}

#[test]
fn what_a_removed_region_alone_held_is_not_dropped_inside_an_access() {
    /// Callbacks that a region holds strongly, and no view any more.
    struct Held(Memory, Arc<Ends>);
    impl memory_core::Mmio for Held {
        fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
            Ok(0)
        }
        fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
            Ok(())
        }
    }
    impl Drop for Held {
        fn drop(&mut self) {
            self.1.count.fetch_add(1, Ordering::SeqCst);
            if !chain::is_idle() || self.0.is_inside_transaction() {
                self.1.wrong.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::DropRegion);
    // the device's own region is exchanged for one that nobody ever mapped
    let ends = Arc::<Ends>::default();
    let held = Arc::new(Held(board.memory().clone(), ends.clone()));
    let unseen = board.memory().mmio("unseen", 4u64, AccessRules::new(), held).build().unwrap();
    let device = plugged.device.upgrade().unwrap();
    let region = device.region.lock().unwrap().replace(unseen);
    drop(device);
    board.space.store(AT, Width::W4, 1, ATTRS).unwrap();
    assert_eq!(ends.count.load(Ordering::SeqCst), 0);
    board.system.reclaim();
    assert_eq!((ends.count.load(Ordering::SeqCst), ends.wrong.load(Ordering::SeqCst)), (1, 0));
    drop(region);
    plugged.unplug();
    assert_eq!(plugged.drops(), 1);
}

#[test]
fn somebody_is_told_when_there_is_something_to_reclaim() {
    let board = board();
    let told = Arc::<AtomicUsize>::default();
    let count = told.clone();
    assert!(board.system.on_reclaimable(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    assert!(!board.system.on_reclaimable(|| ()), "only one is told");
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    let (mut vcpu, _) = kicked(&board);
    load(&mut vcpu).unwrap();
    plugged.unplug();
    let before = told.load(Ordering::SeqCst);
    vcpu.park();
    assert!(told.load(Ordering::SeqCst) > before, "the last one has left the old map");
    board.system.reclaim();

    let plugged = plug(board.memory(), &board.root, Deed::Unmap);
    let before = told.load(Ordering::SeqCst);
    board.space.store(AT, Width::W4, 1, ATTRS).unwrap();
    assert!(told.load(Ordering::SeqCst) > before, "a commit inside an access leaves its old view behind");
    assert_eq!(board.system.reclaim(), 0);
    plugged.unplug();
    assert_eq!(plugged.drops(), 1);
}

#[test]
fn the_reclaim_list_is_no_longer_than_the_views_that_are_pinned() {
    let mut board = board();
    // views that one handle outlasts
    const EACH: u64 = if cfg!(miri) { 5 } else { 100 };
    board.ram(0, 0x1000, 0);
    let window = board.memory().reservation("window", 0x10u64).build().unwrap();
    let window = board.map(0x2000, window);
    let mut handles: Vec<_> = (0..3).map(|_| board.space.handle(|| ())).collect();
    for i in 0..3 * EACH {
        window.set_address(0x2000 + i * 0x10).unwrap();
        if i % EACH == 0 {
            handles[(i / EACH) as usize].load(0, Width::W1, ATTRS).unwrap();
        }
        assert!(board.system.reclaim() as u64 <= 1 + i / EACH);
    }
    assert_eq!(board.system.reclaim(), 3);
    handles.pop();
    assert_eq!(board.system.reclaim(), 2);
    handles.iter_mut().for_each(VcpuHandle::park);
    assert_eq!(board.system.reclaim(), 0);
}

#[test]
fn spaces_that_show_the_same_share_a_view_until_they_do_not() {
    let mut board = board();
    board.ram(0, 0x1000, 0);
    let alias = board.memory().alias("all", &board.root, 0, memory_core::Size::FULL).build().unwrap();
    let other = board.system.address_space("other", &alias, SpaceConfig::default()).unwrap();
    let same = |board: &Board| board.space.with_view(|a| other.with_view(|b| std::ptr::eq(a, b)));
    assert!(same(&board));
    assert_eq!(board.space.generation(), other.generation());
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    assert!(same(&board));
    let (mut one, mut two) = (board.space.handle(|| ()), other.handle(|| ()));
    assert_eq!((load(&mut one), load(&mut two)), (Ok(7), Ok(7)));
    plugged.unplug();
    assert_eq!(board.system.reclaim(), 1, "one view, though it was replaced twice");
    one.park();
    assert_eq!((board.system.reclaim(), plugged.drops()), (1, 0));
    two.park();
    assert_eq!((board.system.reclaim(), plugged.drops()), (0, 1));
    alias.set_alias_offset(0).unwrap();
    assert!(same(&board), "a value that holds already is no change");
    alias.set_size(0x1000u64).unwrap();
    assert!(!same(&board));
    assert_eq!(other.load(0x10, Width::W1, ATTRS), Ok(0x10));
}

#[test]
fn a_space_that_goes_lets_its_devices_go() {
    let board = board();
    let root = board.memory().container("second", memory_core::Size::FULL).build().unwrap();
    let space = board.system.address_space("second", &root, SpaceConfig::default()).unwrap();
    let plugged = plug(board.memory(), &root, Deed::Nothing);
    assert_eq!(space.load(AT, Width::W4, ATTRS), Ok(7));
    assert_eq!(board.system.spaces().len(), 2);
    drop(space);
    assert_eq!(board.system.spaces().len(), 1);
    plugged.unplug();
    assert_eq!((board.system.reclaim(), plugged.drops()), (0, 1));
}

#[test]
fn a_space_that_goes_leaves_no_last_reference_to_a_handle_of_another() {
    let mut board = board();
    let inner = board.memory().container("inner", memory_core::Size::FULL).build().unwrap();
    let inner = board.keep(inner);
    let plugged = plug(board.memory(), &inner, Deed::Nothing);
    let [first_root, second_root] = ["first", "second"].map(|name| {
        let root = board.memory().alias(name, &inner, 0, memory_core::Size::FULL).build().unwrap();
        board.keep(root)
    });
    let space = |root| board.system.address_space("space", root, SpaceConfig::default()).unwrap();
    let (first, second) = (space(&first_root), space(&second_root));
    assert_eq!(first.generation(), second.generation(), "one view");
    let mut vcpu = first.handle(|| ());
    assert_eq!(load(&mut vcpu), Ok(7));
    // the first space moves on while the second stays; then that one goes, and the handle alone is left behind
    first_root.set_size(0x800u64).unwrap();
    drop(second);
    plugged.unplug();
    board.system.reclaim();
    assert_eq!(plugged.drops(), 0, "a vCPU is on the old view");
    assert!(load(&mut vcpu).is_err());
    assert_eq!(plugged.drops(), 0, "an access is no place for destructors");
    assert_eq!((board.system.reclaim(), plugged.drops()), (0, 1));
}

#[test]
fn a_machine_that_goes_takes_everything_with_it() {
    let system = MemorySystem::new();
    let root = system.memory().container("system", memory_core::Size::FULL).build().unwrap();
    let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
    let block = counting(0x1000, 0);
    let weak = Arc::downgrade(&block);
    let ram = system.memory().ram("ram", block).build().unwrap();
    root.map(0, &ram).unwrap();
    let plugged = plug(system.memory(), &root, Deed::Nothing);
    let mut vcpu = space.handle(|| ());
    assert_eq!(load(&mut vcpu), Ok(7));
    plugged.unplug();
    drop(system);
    drop(vcpu);
    drop((ram, root));
    drop(space);
    assert_eq!((plugged.drops(), weak.strong_count()), (1, 0));
}

#[test]
fn devices_that_come_and_go_under_running_threads_are_dropped_once_each() {
    const ROUNDS: usize = if cfg!(miri) { 10 } else { 300 };
    let mut board = board();
    board.ram(0x10_0000, 0x1000, 0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (space, system, stop) = (&board.space, &board.system, &stop);
    let all: Vec<_> = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let mut vcpu = space.handle(|| ());
                let mut turn = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    match load(&mut vcpu) {
                        Ok(7) | Err(BusFault::DECODE) => {}
                        other => panic!("{other:?}"),
                    }
                    turn += 1;
                    if turn.is_multiple_of(64) {
                        vcpu.park();
                        system.reclaim();
                    }
                }
            });
        }
        let all = (0..ROUNDS)
            .map(|_| {
                let plugged = plug(system.memory(), &board.root, Deed::Nothing);
                assert_eq!(space.load(AT, Width::W4, ATTRS), Ok(7));
                plugged.unplug();
                plugged
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        all
    });
    assert_eq!(board.system.reclaim(), 0);
    assert!(all.iter().all(|plugged| plugged.drops() == 1));
}

#[test]
fn a_handle_that_took_up_the_old_map_while_it_was_replaced_is_kicked() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 2_000 };
    let board = board();
    let (mut vcpu, kicks) = kicked(&board);
    let meet = std::sync::Barrier::new(2);
    let untold = AtomicUsize::new(0);
    let (meet, kicks, untold) = (&meet, &kicks, &untold);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..ROUNDS {
                vcpu.park();
                kicks.store(0, Ordering::SeqCst);
                meet.wait();
                let on_old_map = load(&mut vcpu) == Ok(7);
                meet.wait();
                let kicked = kicks.load(Ordering::SeqCst) > 0;
                if on_old_map && !kicked {
                    untold.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        for _ in 0..ROUNDS {
            let plugged = plug(board.memory(), &board.root, Deed::Nothing);
            meet.wait();
            plugged.unplug();
            meet.wait();
        }
    });
    assert_eq!(untold.load(Ordering::SeqCst), 0, "nobody told the handle to let go");
}

#[test]
fn a_space_made_in_a_transaction_that_was_taken_back_shows_its_root_after_the_next_one() {
    let board = board();
    let mut made = None;
    let taken_back: Result<(), memory_core::MemoryError> = board.memory().transaction(|_| {
        made = Some(board.system.address_space("late", &board.root, SpaceConfig::default())?);
        Err(memory_core::MemoryError::Unbalanced)
    });
    assert!(taken_back.is_err());
    let late = made.unwrap();
    assert_eq!(late.load(AT, Width::W4, ATTRS), Err(BusFault::DECODE));
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    assert_eq!(late.load(AT, Width::W4, ATTRS), Ok(7));
    plugged.unplug();
}

#[test]
fn a_section_holds_its_owner_until_it_is_dropped_and_not_longer() {
    let board = board();
    let plugged = plug(board.memory(), &board.root, Deed::Nothing);
    let here = memory_core::AddrRange::new(AT, AT).unwrap();
    let section = board.space.find(here).unwrap();
    let copy = section.clone();
    plugged.unplug();
    assert_eq!((board.system.reclaim(), plugged.drops()), (0, 0), "off the map, and held");
    assert!(board.space.find(here).is_none());
    drop(section);
    board.system.reclaim();
    assert_eq!(plugged.drops(), 0);
    // the last pin goes inside an access: the destructor waits for its end
    let link = chain::enter(u64::MAX, false).unwrap();
    drop(copy);
    board.system.reclaim();
    assert_eq!(plugged.drops(), 0);
    drop(link);
    board.system.reclaim();
    assert_eq!(plugged.drops(), 1);
}

/// A device that has another one, which it unplugs when it goes.
struct Link {
    next: Option<Plug<Link>>,
    _regs: Region,
    nested: Arc<Nested>,
}

/// How many destructors of links are at it, the most that were, and those that are done.
#[derive(Default)]
struct Nested {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
}

impl Drop for Link {
    fn drop(&mut self) {
        let nested = self.nested.clone();
        let now = nested.now.fetch_add(1, Ordering::SeqCst) + 1;
        nested.most.fetch_max(now, Ordering::SeqCst);
        drop(self.next.take());
        nested.now.fetch_sub(1, Ordering::SeqCst);
        nested.done.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn devices_that_unplug_each_other_when_they_go_end_one_after_the_other() {
    const LINKS: usize = 50;
    for visible in [true, false] {
        let board = Board::new(Door::Space, SpaceConfig::default());
        let nested = Arc::<Nested>::default();
        let mut next = None;
        for index in 0..LINKS {
            let object: Weak<Link> = Weak::new();
            let owner = board.memory().owner(format!("/link{index}"), object);
            let block = counting(0x1000, 0);
            let regs = board.memory().ram("regs", block).owner(&owner).build().unwrap();
            if visible {
                board.root.map(index as u64 * 0x1000, &regs).unwrap();
            }
            let link = Link { next: next.take(), _regs: regs, nested: nested.clone() };
            next = Some(board.memory().plug(&owner, Arc::new(link)));
        }
        drop(next);
        let counts = [&nested.most, &nested.done].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts, [1, LINKS], "visible: {visible}");
    }
}
