//! Time, and timers.

use crate::deferred::Work;
use crate::sync::{
    Arc, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak, fence, thread,
};
use memory_dispatch::{Entry, EntryKind, chain};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What a due timer runs.
type Fire = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Queue {
    /// Nanoseconds of a stepped clock.
    stepped: u64,
    /// What is due when. The second part of the key tells timers with the same deadline apart.
    due: BTreeMap<(u64, u64), Fire>,
    next_id: u64,
    /// What devices have put off.
    work: Vec<Arc<Work>>,
    /// The machine stands still: no timer runs.
    paused: bool,
}

/// The clock does not stand still.
const RUNS: u64 = u64::MAX;

/// How often in a row deferred work may schedule deferred work, before a stepped clock leaves the rest for its next step.
const MOST_ROUNDS: usize = 16;

struct Shared {
    /// When a real clock read 0.
    start: Option<Instant>,
    /// How often the two after it have begun and ended to change: odd while they do.
    turns: AtomicU64,
    /// Nanoseconds that a real clock has stood still, without the present time.
    lost: AtomicU64,
    /// What a real clock reads while it stands still, [`RUNS`] while it does not.
    stopped_at: AtomicU64,
    /// Held for an instant, never while a timer runs; also while the three before are changed.
    queue: Mutex<Queue>,
    changed: Condvar,
    thread: OnceLock<()>,
}

/// Nanoseconds since the machine was made: of the host's clock, or stepped by hand. Clones are the same clock.
///
/// Timers of a real clock run on a thread of the clock; those of a stepped one inside [`Clock::step`], in the order of
/// their deadlines. A timer enters its device through the re-entrancy guard, as an access does. What devices
/// have [deferred](crate::Deferred) runs in the same place, before timers.
#[derive(Clone)]
pub struct Clock {
    shared: Arc<Shared>,
}

impl Clock {
    /// A clock that runs with the host's.
    pub fn real() -> Self {
        Self::new(Some(Instant::now()))
    }

    /// A clock that stands still until it is stepped.
    pub fn stepped() -> Self {
        Self::new(None)
    }

    fn new(start: Option<Instant>) -> Self {
        let shared = Shared {
            start,
            turns: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            stopped_at: AtomicU64::new(RUNS),
            queue: Mutex::default(),
            changed: Condvar::new(),
            thread: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue()
    }

    /// Nanoseconds since the clock was made.
    pub fn now(&self) -> u64 {
        match self.shared.start {
            Some(start) => self.shared.since(start),
            None => self.queue().stepped,
        }
    }

    /// Has timers wait until [`Clock::resume`], while the machine stands still. Time stands still, too, unless the clock is
    /// stepped: who steps it moves it all the same. Deferred work runs as ever.
    pub fn pause(&self) {
        let mut queue = self.queue();
        if !std::mem::replace(&mut queue.paused, true)
            && let Some(start) = self.shared.start
        {
            self.shared.turn(|lost, stopped_at| {
                let now = nanos(start).saturating_sub(lost.load(Ordering::Relaxed));
                stopped_at.store(now, Ordering::Relaxed);
            });
        }
    }

    /// Goes on after [`Clock::pause`], with the time at which it was paused.
    pub fn resume(&self) {
        let mut queue = self.queue();
        if std::mem::replace(&mut queue.paused, false)
            && let Some(start) = self.shared.start
        {
            self.shared.turn(|lost, stopped_at| {
                let stood = nanos(start).saturating_sub(stopped_at.load(Ordering::Relaxed));
                lost.store(stood, Ordering::Relaxed);
                stopped_at.store(RUNS, Ordering::Relaxed);
            });
        }
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Whether the clock is stepped by hand.
    pub fn is_stepped(&self) -> bool {
        self.shared.start.is_none()
    }

    /// When the next timer is due, unless the clock is paused.
    pub fn next_deadline(&self) -> Option<u64> {
        let queue = self.queue();
        let mut due = queue.due.keys().take_while(|_| !queue.paused);
        due.next().map(|(deadline, _)| *deadline)
    }

    /// Whether something is left to do before time goes on: deferred work, or a timer that is due, unless the clock is paused.
    pub fn is_due(&self) -> bool {
        let now = self.now();
        let queue = self.queue();
        let timer = queue.due.keys().next().is_some_and(|(deadline, _)| *deadline <= now);
        !queue.work.is_empty() || (timer && !queue.paused)
    }

    /// Moves a stepped clock on by `nanos` and runs what becomes due on the way, each timer at its own time, and
    /// deferred work before. A real clock is not moved.
    ///
    /// Timers and deferred work do not run inside an access: a thread that is inside a device moves the clock only,
    /// and what has become due runs at the next step.
    pub fn step(&self, nanos: u64) {
        let target = self.now().saturating_add(nanos);
        if !self.is_stepped() {
            return;
        }
        if !chain::is_idle() {
            let mut queue = self.queue();
            queue.stepped = queue.stepped.max(target);
            return;
        }
        loop {
            self.run_deferred();
            let mut queue = self.queue();
            match queue.pop_due(target) {
                Some((deadline, fire)) => {
                    queue.stepped = queue.stepped.max(deadline);
                    drop(queue);
                    fire();
                }
                None => {
                    queue.stepped = queue.stepped.max(target);
                    return;
                }
            }
        }
    }

    /// A timer that calls `fire` on `device`, which is held weakly and entered by `entry`. A device that was unplugged has
    /// no more timers.
    pub fn timer<D: Send + Sync + 'static>(&self, entry: Entry, device: &Arc<D>, fire: fn(&D)) -> Timer {
        let device: Weak<D> = Arc::downgrade(device);
        let fire = move || {
            if let Some(device) = device.upgrade()
                && let Ok(_link) = entry.enter(EntryKind::Timer)
            {
                fire(&device);
            }
        };
        let mut queue = self.queue();
        queue.next_id += 1;
        Timer { clock: self.clone(), id: queue.next_id, fire: Arc::new(fire), armed: Mutex::new(None) }
    }

    /// Has deferred work run soon.
    pub(crate) fn defer(&self, work: Arc<Work>) {
        self.queue().work.push(work);
        self.start_thread();
        self.shared.changed.notify_all();
    }

    fn run_deferred(&self) {
        for _ in 0..MOST_ROUNDS {
            let batch = self.queue().take_work();
            if batch.is_empty() {
                return;
            }
            batch.iter().for_each(|work| work.run());
        }
    }

    /// Starts the thread that a real clock's timers run on.
    fn start_thread(&self) {
        if self.is_stepped() {
            return;
        }
        self.shared.thread.get_or_init(|| {
            let shared = Arc::downgrade(&self.shared);
            let spawned = thread::Builder::new().name("timers".into()).spawn(move || run_timers(&shared));
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread for timers: they never fire");
            }
        });
    }
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Shared {
    /// What a real clock reads that was started at `start`.
    ///
    /// The host's time is read between two looks at `turns`. If these are alike it was read before a pause or resume that
    /// comes next has read it, which the fences see to: time never goes back.
    fn since(&self, start: Instant) -> u64 {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            let (lost, stopped) =
                (self.lost.load(Ordering::Acquire), self.stopped_at.load(Ordering::Acquire));
            let now = if stopped == RUNS { nanos(start).saturating_sub(lost) } else { stopped };
            fence(Ordering::SeqCst);
            if turns.is_multiple_of(2) && self.turns.load(Ordering::Relaxed) == turns {
                return now;
            }
            thread::yield_now();
        }
    }

    /// Changes how much time was lost, and what the clock reads while it stands still, with the queue locked.
    fn turn(&self, change: impl FnOnce(&AtomicU64, &AtomicU64)) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        change(&self.lost, &self.stopped_at);
        self.turns.store(turns + 2, Ordering::Release);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take_work(&mut self) -> Vec<Arc<Work>> {
        std::mem::take(&mut self.work)
    }

    fn pop_due(&mut self, now: u64) -> Option<(u64, Fire)> {
        if self.paused {
            return None;
        }
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((deadline, _), fire) = entry.remove_entry();
        Some((deadline, fire))
    }
}

/// Runs timers and deferred work until their clock is gone.
fn run_timers(clock: &Weak<Shared>) {
    // the thread looks now and then whether the clock is still there
    const LOOK: Duration = Duration::from_millis(200);
    while let Some(shared) = clock.upgrade() {
        let Some(start) = shared.start else { return };
        let mut queue = shared.queue();
        let batch = queue.take_work();
        if !batch.is_empty() {
            drop(queue);
            batch.iter().for_each(|work| work.run());
            // a timer has its turn, too, while work schedules itself again and again
            queue = shared.queue();
        }
        if let Some((_, fire)) = queue.pop_due(shared.since(start)) {
            drop(queue);
            fire();
            continue;
        }
        if !queue.work.is_empty() {
            continue;
        }
        let next = queue.due.keys().next().map(|(deadline, _)| *deadline);
        let next = next.filter(|_| !queue.paused);
        let left = |next: u64| Duration::from_nanos(next.saturating_sub(shared.since(start)));
        let wait = next.map_or(LOOK, |next| left(next).min(LOOK));
        drop(shared.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.changed.notify_all();
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).field("stepped", &self.is_stepped()).finish()
    }
}

/// Something that happens once at a time. Dropping it cancels it.
pub struct Timer {
    clock: Clock,
    id: u64,
    fire: Fire,
    /// The deadline that it was last set to.
    armed: Mutex<Option<u64>>,
}

impl Timer {
    /// Fires at `deadline`, in nanoseconds of the clock, instead of when it was set to before. A deadline that has
    /// passed fires at once, though not inside this call.
    pub fn set(&self, deadline: u64) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut queue = self.clock.queue();
        if let Some(old) = armed.replace(deadline) {
            queue.due.remove(&(old, self.id));
        }
        queue.due.insert((deadline, self.id), self.fire.clone());
        drop(queue);
        self.clock.start_thread();
        self.clock.shared.changed.notify_all();
    }

    /// Does not fire any more, unless it is firing on another thread right now.
    pub fn cancel(&self) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = armed.take() {
            self.clock.queue().due.remove(&(old, self.id));
        }
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory_dispatch::MemorySystem;

    struct Log {
        clock: Clock,
        seen: Mutex<Vec<u64>>,
    }

    impl Log {
        fn note(&self) {
            self.seen.lock().unwrap().push(self.clock.now());
        }
    }

    fn entry() -> Entry {
        let system = MemorySystem::new();
        let nobody: Weak<()> = Weak::new();
        system.entry(system.memory().owner("/machine/device", nobody).id())
    }

    fn log(clock: &Clock) -> Arc<Log> {
        Arc::new(Log { clock: clock.clone(), seen: Mutex::default() })
    }

    #[test]
    fn stepping_runs_timers_in_order_each_at_its_time() {
        let clock = Clock::stepped();
        let log = log(&clock);
        let timers: Vec<_> = (0..3).map(|_| clock.timer(entry(), &log, Log::note)).collect();
        for (timer, deadline) in timers.iter().zip([30, 10, 20]) {
            timer.set(deadline);
        }
        timers[2].set(25);
        clock.step(26);
        assert_eq!((*log.seen.lock().unwrap()).clone(), [10, 25]);
        assert_eq!((clock.now(), clock.next_deadline()), (26, Some(30)));
        timers[0].cancel();
        clock.step(100);
        assert_eq!(log.seen.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_timer_of_a_device_that_is_gone_does_nothing() {
        let clock = Clock::stepped();
        let log = log(&clock);
        let timer = clock.timer(entry(), &log, Log::note);
        timer.set(1);
        drop(log);
        clock.step(2);
        assert_eq!(clock.next_deadline(), None);
    }

    #[test]
    fn a_paused_clock_fires_nothing_and_goes_on_where_it_stood() {
        let stepped = Clock::stepped();
        let log = log(&stepped);
        let timer = stepped.timer(entry(), &log, Log::note);
        timer.set(10);
        stepped.pause();
        stepped.step(20);
        assert_eq!((stepped.now(), stepped.next_deadline()), (20, None));
        assert!(log.seen.lock().unwrap().is_empty());
        stepped.resume();
        stepped.step(0);
        assert_eq!((*log.seen.lock().unwrap()).clone(), [20]);

        let real = Clock::real();
        real.pause();
        let stood = real.now();
        let before = Instant::now();
        while before.elapsed() < Duration::from_millis(2) {
            thread::yield_now();
        }
        assert_eq!(real.now(), stood);
        let resumed = Instant::now();
        real.resume();
        let passed = real.now() - stood;
        assert!(u128::from(passed) <= resumed.elapsed().as_nanos(), "{passed}");
    }

    #[test]
    fn a_real_clock_that_is_paused_and_resumed_goes_back_for_nobody() {
        let clock = Clock::real();
        let (latest, done) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while done.load(Ordering::Relaxed) == 0 {
                        let before = latest.load(Ordering::SeqCst);
                        let now = clock.now();
                        assert!(now >= before, "{now} after {before}");
                        latest.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(300) {
                clock.pause();
                clock.resume();
            }
            done.store(1, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_real_clock_fires_from_its_own_thread() {
        let clock = Clock::real();
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Arc::new(Mutex::new(sender));
        let timer = clock.timer(entry(), &sender, |sender| sender.lock().unwrap().send(()).unwrap());
        timer.set(clock.now() + 1000);
        receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
