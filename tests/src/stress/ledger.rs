//! What was seen to be wrong, and what has to balance at the end.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wrongs that are kept; what is wrong once is often wrong a million times.
const KEPT: usize = 16;

/// The books of a run. Any thread writes them, devices in their callbacks and destructors too.
#[derive(Debug, Default)]
pub struct Ledger {
    wrongs: Mutex<Vec<String>>,
    failed: AtomicBool,
    /// Serial numbers of the cards that were made and not dropped.
    alive: Mutex<HashSet<u64>>,
    /// Cards that were made.
    pub plugged: AtomicU64,
    /// Writes that reached the counting registers of cards.
    pub counted: AtomicU64,
    /// Epochs that were made, and dropped.
    pub epochs: Balance,
    /// Waiters for bounce buffers that registered, and were woken.
    pub bounces: Balance,
    /// Kicks of handles.
    pub kicks: AtomicU64,
    /// Whether something may be reclaimed.
    pub reclaimable: AtomicBool,
    /// Nanoseconds, the largest seen.
    grace: AtomicU64,
    /// Replaced views in use at a time, the most seen.
    retired: AtomicU64,
}

/// Two counts that have to be equal when all is quiet.
#[derive(Debug, Default)]
pub struct Balance {
    /// What came.
    pub come: AtomicU64,
    /// What went.
    pub gone: AtomicU64,
}

impl Balance {
    /// How many have come and not gone.
    pub fn left(&self) -> i128 {
        i128::from(self.come.load(Ordering::SeqCst)) - i128::from(self.gone.load(Ordering::SeqCst))
    }
}

impl Ledger {
    /// Notes that something is wrong: the run fails, and ends soon.
    pub fn wrong(&self, what: impl Display) {
        let mut wrongs = lock(&self.wrongs);
        if wrongs.len() < KEPT {
            wrongs.push(what.to_string());
        }
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Notes that something is wrong unless `right`.
    pub fn check(&self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong(what());
        }
    }

    /// Whether something is wrong.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// What is wrong.
    pub fn wrongs(&self) -> Vec<String> {
        lock(&self.wrongs).clone()
    }

    /// A card is made.
    pub fn born(&self, serial: u64) {
        self.plugged.fetch_add(1, Ordering::SeqCst);
        let new = lock(&self.alive).insert(serial);
        self.check(new, || format!("card {serial} is made twice"));
    }

    /// A card's destructor runs.
    pub fn died(&self, serial: u64) {
        let known = lock(&self.alive).remove(&serial);
        self.check(known, || format!("card {serial} is dropped twice"));
    }

    /// Whether a card was made and not dropped.
    pub fn is_alive(&self, serial: u64) -> bool {
        lock(&self.alive).contains(&serial)
    }

    /// The cards that were made and not dropped, ascending.
    pub fn alive(&self) -> Vec<u64> {
        let mut alive: Vec<u64> = lock(&self.alive).iter().copied().collect();
        alive.sort_unstable();
        alive
    }

    /// The last reader has left a map, this long after it was replaced.
    pub fn note_grace(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.grace.fetch_max(nanos, Ordering::Relaxed);
    }

    /// The longest time from the replacement of a map to its last reader's leaving.
    pub fn grace(&self) -> Duration {
        Duration::from_nanos(self.grace.load(Ordering::Relaxed))
    }

    /// So many replaced views are in use.
    pub fn note_retired(&self, views: usize) {
        self.retired.fetch_max(views as u64, Ordering::Relaxed);
    }

    /// The most replaced views that were in use at a time.
    pub fn retired(&self) -> u64 {
        self.retired.load(Ordering::Relaxed)
    }
}

/// What a mutex protects, whoever panicked while he held it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
