//! Work that a device puts off until nobody is in the middle of anything.

use crate::clock::Clock;
use crate::sync::{Arc, AtomicBool, Ordering, Weak};
use memory_dispatch::{Entry, EntryKind};
use std::fmt;

/// Work as the clock's queue holds it.
pub(crate) struct Work {
    run: Box<dyn Fn() + Send + Sync>,
    scheduled: AtomicBool,
}

impl Work {
    /// Runs if it is scheduled still.
    pub(crate) fn run(&self) {
        // taken back first: work that schedules itself runs again
        if self.scheduled.swap(false, Ordering::SeqCst) {
            (self.run)();
        }
    }
}

/// Work that a device may put off, from [`Realize::deferred`](crate::Realize::deferred). QEMU's name: bottom half.
///
/// What has been scheduled runs soon, once however often it was scheduled, outside of any access: on the clock's thread,
/// or in [`Clock::step`] of a stepped clock, so that a test decides when. It enters its device through the re-entrancy
/// guard, as a timer does: DMA into the device itself is refused. A device that was unplugged runs nothing any
/// more. Dropping it cancels it.
///
/// ```
/// use devices::{Clock, Deferred};
/// use memory_dispatch::MemorySystem;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::sync::{Arc, Weak};
///
/// let (system, clock) = (MemorySystem::new(), Clock::stepped());
/// let device = Arc::new(AtomicU32::new(0));
/// let weak: Weak<AtomicU32> = Arc::downgrade(&device);
/// let entry = system.entry(system.memory().owner("/machine/device", weak).id());
/// let work = Deferred::new(&clock, entry, &device, |count| _ = count.fetch_add(1, Ordering::SeqCst));
/// work.schedule();
/// work.schedule();
/// assert_eq!(device.load(Ordering::SeqCst), 0);
/// clock.step(0);
/// assert_eq!(device.load(Ordering::SeqCst), 1);
/// ```
pub struct Deferred {
    clock: Clock,
    work: Arc<Work>,
}

impl Deferred {
    /// Work that calls `run` on `device`, which is held weakly and entered by `entry`, where `clock` runs its timers.
    pub fn new<D: Send + Sync + 'static>(clock: &Clock, entry: Entry, device: &Arc<D>, run: fn(&D)) -> Self {
        let device: Weak<D> = Arc::downgrade(device);
        let run = move || {
            if let Some(device) = device.upgrade()
                && let Ok(_link) = entry.enter(EntryKind::Deferred)
            {
                run(&device);
            }
        };
        let work = Work { run: Box::new(run), scheduled: AtomicBool::new(false) };
        Self { clock: clock.clone(), work: Arc::new(work) }
    }

    /// Has the work run soon, but not inside this call. From any thread, with any lock held.
    pub fn schedule(&self) {
        if !self.work.scheduled.swap(true, Ordering::SeqCst) {
            self.clock.defer(self.work.clone());
        }
    }

    /// Takes the schedule back, unless the work runs on another thread right now.
    pub fn cancel(&self) {
        self.work.scheduled.store(false, Ordering::SeqCst);
    }

    /// Whether the work has been scheduled and has not begun.
    pub fn is_scheduled(&self) -> bool {
        self.work.scheduled.load(Ordering::SeqCst)
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("scheduled", &self.is_scheduled()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;
    use memory_dispatch::{MemorySystem, chain};
    use std::time::Duration;

    /// Device whose work notes that it ran, and may schedule itself again.
    #[derive(Default)]
    struct Worker {
        runs: Mutex<Vec<u64>>,
        clock: Mutex<Option<Clock>>,
        again: Mutex<Option<Arc<Deferred>>>,
        told: Mutex<Option<std::sync::mpsc::Sender<bool>>>,
    }

    impl Worker {
        fn work(&self) {
            let now = self.clock.lock().unwrap().as_ref().unwrap().now();
            self.runs.lock().unwrap().push(now);
            if let Some(again) = &*self.again.lock().unwrap() {
                again.schedule();
            }
            if let Some(told) = &*self.told.lock().unwrap() {
                told.send(!chain::is_idle()).unwrap();
            }
        }

        fn runs(&self) -> Vec<u64> {
            std::mem::take(&mut self.runs.lock().unwrap())
        }
    }

    fn worker(clock: &Clock) -> (MemorySystem, Arc<Worker>, Arc<Deferred>, memory_core::Plug<Worker>) {
        let system = MemorySystem::new();
        let worker = Arc::<Worker>::default();
        *worker.clock.lock().unwrap() = Some(clock.clone());
        let weak: Weak<Worker> = Arc::downgrade(&worker);
        let owner = system.memory().owner("/machine/worker", weak);
        let plug = system.memory().plug(&owner, worker.clone());
        let work = Deferred::new(clock, system.entry(owner.id()), &worker, Worker::work);
        (system, worker, Arc::new(work), plug)
    }

    #[test]
    fn work_runs_once_in_the_next_step_before_timers() {
        let clock = Clock::stepped();
        let (system, worker, work, plug) = worker(&clock);
        let timer = clock.timer(system.entry(plug.owner()), &worker, Worker::work);
        timer.set(3);
        work.schedule();
        work.schedule();
        assert!(work.is_scheduled() && worker.runs().is_empty());
        clock.step(5);
        assert_eq!(worker.runs(), [0, 3]);
        work.schedule();
        work.cancel();
        clock.step(0);
        assert!(worker.runs().is_empty());
        work.schedule();
        clock.step(0);
        assert_eq!(worker.runs(), [5], "a schedule after one that was taken back");
    }

    #[test]
    fn work_that_a_timer_schedules_runs_at_the_timers_time() {
        let clock = Clock::stepped();
        let (system, worker, work, plug) = worker(&clock);
        let timer = clock.timer(system.entry(plug.owner()), &work, |work: &Deferred| work.schedule());
        timer.set(10);
        clock.step(100);
        assert_eq!(worker.runs(), [10]);
    }

    #[test]
    fn work_that_schedules_itself_for_ever_does_not_hang_the_clock() {
        let clock = Clock::stepped();
        let (_system, worker, work, _plug) = worker(&clock);
        *worker.again.lock().unwrap() = Some(work.clone());
        work.schedule();
        clock.step(1);
        assert!(worker.runs().len() > 1 && work.is_scheduled());
        *worker.again.lock().unwrap() = None;
        clock.step(1);
        assert_eq!((worker.runs().len(), work.is_scheduled()), (1, false));
    }

    #[test]
    fn nothing_runs_while_the_stepping_thread_is_inside_a_device() {
        let clock = Clock::stepped();
        let (system, worker, work, plug) = worker(&clock);
        let timer = clock.timer(system.entry(plug.owner()), &worker, Worker::work);
        timer.set(1);
        work.schedule();
        let inside = chain::enter(u64::MAX, false).unwrap();
        clock.step(10);
        assert_eq!((worker.runs().len(), clock.now()), (0, 10));
        drop(inside);
        clock.step(0);
        assert_eq!(worker.runs(), [10, 10], "late, and not lost");
    }

    #[test]
    fn work_of_a_device_that_was_unplugged_or_dropped_does_nothing() {
        let clock = Clock::stepped();
        let (_system, worker, work, plug) = worker(&clock);
        work.schedule();
        drop(plug);
        clock.step(1);
        assert!(worker.runs().is_empty());
        work.schedule();
        drop(worker);
        clock.step(1);
        assert!(!work.is_scheduled());
    }

    #[test]
    fn a_real_clock_runs_work_on_its_own_thread_inside_the_device() {
        let clock = Clock::real();
        let (_system, worker, work, _plug) = worker(&clock);
        let (sender, receiver) = std::sync::mpsc::channel();
        *worker.told.lock().unwrap() = Some(sender);
        work.schedule();
        assert!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), "through the guard");
    }
}
