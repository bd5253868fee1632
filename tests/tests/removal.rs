//! Removal of devices that threads of the machine are in: timers, deferred work, resets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

use devices::{Clock, Deferred, Timer};
use memory_core::Plug;
use memory_dispatch::{Detached, Entry, EntryKind, Laggard, MemorySystem, WaitError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::time::{Duration, Instant};

/// A device that the test meets while it is inside, and again before it leaves.
struct Device {
    meet: Barrier,
    runs: AtomicUsize,
    drops: Arc<AtomicUsize>,
    timer: Mutex<Option<Timer>>,
    work: Mutex<Option<Deferred>>,
    detached: Mutex<Vec<Result<(), WaitError>>>,
    plug: Mutex<Option<(MemorySystem, Plug<Device>)>>,
}

impl Device {
    fn run(&self) {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.meet.wait();
        self.meet.wait();
    }

    /// Takes itself off the map, which nobody can wait for here.
    fn detach_itself(&self) {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if let Some((system, plug)) = self.plug.lock().unwrap().take() {
            let waited = system.detach(plug).wait(Instant::now());
            self.detached.lock().unwrap().push(waited);
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

struct Board {
    system: MemorySystem,
    device: Weak<Device>,
    drops: Arc<AtomicUsize>,
    entry: Entry,
}

/// A device with a timer and deferred work that call `run`.
fn board(clock: &Clock, run: fn(&Device)) -> Board {
    let (system, drops) = (MemorySystem::new(), Arc::<AtomicUsize>::default());
    let device = Arc::new(Device {
        meet: Barrier::new(2),
        runs: AtomicUsize::default(),
        drops: drops.clone(),
        timer: Mutex::default(),
        work: Mutex::default(),
        detached: Mutex::default(),
        plug: Mutex::default(),
    });
    let weak: Weak<Device> = Arc::downgrade(&device);
    let owner = system.memory().owner("/machine/device", weak.clone());
    let entry = system.entry(owner.id());
    *device.timer.lock().unwrap() = Some(clock.timer(entry.clone(), &device, run));
    *device.work.lock().unwrap() = Some(Deferred::new(clock, entry.clone(), &device, run));
    let plug = system.memory().plug(&owner, device.clone());
    *device.plug.lock().unwrap() = Some((system.clone(), plug));
    Board { system, device: weak, drops, entry }
}

impl Board {
    fn device(&self) -> Arc<Device> {
        self.device.upgrade().unwrap()
    }

    fn detach(&self) -> Detached {
        let plug = self.device().plug.lock().unwrap().take();
        let (system, plug) = plug.unwrap();
        system.detach(plug)
    }
}

/// Waits, for longer than any test takes.
fn wait(detached: &Detached) {
    let deadline = Instant::now() + Duration::from_secs(60);
    detached.wait(deadline).unwrap();
    assert!(Instant::now() < deadline, "nobody woke the waiter");
}

fn still_inside(detached: &Detached, kind: EntryKind) {
    match detached.wait(Instant::now()) {
        Err(WaitError::Deadline { laggards, .. }) => assert_eq!(laggards, [Laggard::Entry(kind)]),
        other => panic!("{other:?}"),
    }
}

fn set_timer(device: &Device) {
    let timer = device.timer.lock().unwrap();
    let timer = timer.as_ref().unwrap();
    timer.set(timer.clock().now());
}

fn schedule(device: &Device) {
    device.work.lock().unwrap().as_ref().unwrap().schedule();
}

#[test]
fn a_timer_or_deferred_work_on_the_clocks_thread_is_waited_for_and_runs_no_more() {
    type Start = fn(&Device);
    let starts: [(Start, EntryKind); 2] = [(set_timer, EntryKind::Timer), (schedule, EntryKind::Deferred)];
    for (start, kind) in starts {
        let clock = Clock::real();
        let board = board(&clock, Device::run);
        let device = board.device();
        start(&device);
        device.meet.wait();
        let detached = board.detach();
        still_inside(&detached, kind);
        // what is started now does not run: the door is closed
        start(&device);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&detached));
            device.meet.wait();
            waiter.join().unwrap();
        });
        // the clock's thread has been there again when this has run, which came later
        let later = self::board(&clock, Device::run);
        let other = later.device();
        schedule(&other);
        set_timer(&other);
        for _ in 0..2 {
            other.meet.wait();
            other.meet.wait();
        }
        assert_eq!(device.runs.load(Ordering::SeqCst), 1);
        drop(device);
        board.system.reclaim();
        assert_eq!(board.drops.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_timer_or_deferred_work_may_detach_its_device_and_not_wait_for_that() {
    for start in [set_timer as fn(&Device), schedule] {
        let clock = Clock::stepped();
        let board = board(&clock, Device::detach_itself);
        let device = board.device();
        start(&device);
        clock.step(1);
        let waited = std::mem::take(&mut *device.detached.lock().unwrap());
        assert_eq!(waited, [Err(WaitError::Inside { device: "/machine/device".into() })]);
        start(&device);
        clock.step(1);
        assert_eq!(device.runs.load(Ordering::SeqCst), 1, "an unplugged device runs nothing");
        assert!(board.entry.enter(EntryKind::Reset).is_err());
        drop(device);
        board.system.reclaim();
        assert_eq!(board.drops.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_reset_of_another_thread_is_waited_for() {
    let board = board(&Clock::stepped(), Device::run);
    let device = board.device();
    std::thread::scope(|scope| {
        let (entry, inside) = (&board.entry, &device);
        scope.spawn(move || {
            let _link = entry.enter(EntryKind::Reset).unwrap();
            inside.run();
        });
        device.meet.wait();
        let detached = board.detach();
        still_inside(&detached, EntryKind::Reset);
        let waiter = scope.spawn(move || wait(&detached));
        device.meet.wait();
        waiter.join().unwrap();
    });
}
