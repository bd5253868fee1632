//! Who is at it, and whether he does anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread that does nothing for this long hangs: it waits for a wake-up that was lost, or for itself.
const HANG: Duration = Duration::from_secs(60);

/// A thread that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    /// What it has done.
    beats: AtomicU64,
    ended: AtomicBool,
}

impl Watched {
    /// One that has done nothing yet.
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), beats: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    /// It has done a further thing.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs what it does; it has ended then, by a panic too.
    pub(super) fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        let _ended = SetAtEnd(&self.ended);
        work()
    }
}

/// Set when this is dropped, by a panic too.
pub(super) struct SetAtEnd<'a>(pub(super) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Tells all to stop at `end`, and waits until they have. Threads that hang cannot be stopped: they are named, and the
/// process ends.
pub(super) fn watch(all: &[Watched], stop: &AtomicBool, end: Instant) {
    let hang = watch_for(all, stop, end, HANG);
    if !hang.is_empty() {
        eprintln!("{} hangs", hang.join(" and "));
        std::process::abort();
    }
}

/// As [`watch`], but returns the names of those that have not ended and did nothing for `hang`: nobody, if all have ended.
fn watch_for<'a>(all: &'a [Watched], stop: &AtomicBool, end: Instant, hang: Duration) -> Vec<&'a str> {
    let mut last: Vec<(u64, Instant)> = all.iter().map(|_| (0, Instant::now())).collect();
    loop {
        if Instant::now() >= end {
            stop.store(true, Ordering::Relaxed);
        }
        let mut hanging = Vec::new();
        let mut running = false;
        for (one, last) in all.iter().zip(&mut last).filter(|(one, _)| !one.ended.load(Ordering::Acquire)) {
            running = true;
            let beats = one.beats.load(Ordering::Relaxed);
            if beats != last.0 {
                *last = (beats, Instant::now());
            } else if last.1.elapsed() > hang {
                hanging.push(one.name.as_str());
            }
        }
        if !running || !hanging.is_empty() {
            return hanging;
        }
        thread::park_timeout(Duration::from_millis(20).min(hang));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_thread_that_hangs_is_named_also_after_its_round_is_over() {
        let all = ["one that beats", "one that hangs", "one that has ended"].map(Watched::new);
        let (stop, released) = (AtomicBool::new(false), AtomicBool::new(false));
        let (release, wait) = channel::<()>();
        thread::scope(|scope| {
            let [beats, hangs, ends] = &all;
            let released = &released;
            scope.spawn(move || {
                beats.during(|| {
                    while !released.load(Ordering::Relaxed) {
                        beats.beat();
                        thread::yield_now();
                    }
                });
            });
            // what it waits for does not come before it was found out
            scope.spawn(move || hangs.during(|| wait.recv()));
            ends.during(|| ());
            let hang = watch_for(&all, &stop, Instant::now() + NOW, Duration::from_millis(300));
            assert_eq!(hang, ["one that hangs"]);
            assert!(stop.load(Ordering::Relaxed));
            release.send(()).unwrap();
            released.store(true, Ordering::Relaxed);
        });
        assert!(watch_for(&all, &stop, Instant::now(), NOW).is_empty(), "all have ended");
    }

    #[test]
    fn a_thread_that_panics_has_ended() {
        let all = [Watched::new("one that panics")];
        let panics = std::panic::AssertUnwindSafe(|| all[0].during(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(watch_for(&all, &AtomicBool::new(false), Instant::now() + NOW, NOW).is_empty());
    }
}
