//! A client of the dirty log that starts and stops while workers write, and what has to be named in between.

use super::ledger::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages that a worker remembers in a session.
const MOST: usize = 256;

/// Sessions of a client of the dirty log: odd numbers, with even ones for the times between.
///
/// A write counts if the number was the same odd one before and after: it began after the start had returned, and
/// ended before the stop began. Who stops makes the number even first, and then waits for writers that are at it.
#[derive(Debug)]
pub struct Sessions {
    number: AtomicU64,
    /// By worker: the session, and the pages written in it. Held during a write.
    written: Vec<Mutex<(u64, Vec<u64>)>>,
}

impl Sessions {
    /// No session yet, of so many workers.
    pub fn new(workers: usize) -> Self {
        let written = (0..workers).map(|_| Mutex::default()).collect();
        Self { number: AtomicU64::new(0), written }
    }

    /// Begins or ends a session.
    pub fn turn(&self) -> u64 {
        self.number.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Runs a write by `worker` to `page`, which has to be named if that was in a session.
    pub fn during(&self, worker: usize, page: u64, write: impl FnOnce()) {
        let Some(written) = self.written.get(worker) else { return write() };
        let mut written = lock(written);
        let number = self.number.load(Ordering::SeqCst);
        write();
        if number.is_multiple_of(2) || self.number.load(Ordering::SeqCst) != number {
            return;
        }
        if written.0 != number {
            *written = (number, Vec::new());
        }
        if written.1.len() < MOST && !written.1.contains(&page) {
            written.1.push(page);
        }
    }

    /// The pages that were written in a session that has ended.
    pub fn written(&self, number: u64) -> Vec<u64> {
        let all = self.written.iter().map(lock).filter(|written| written.0 == number);
        all.flat_map(|written| written.1.clone()).collect()
    }
}
