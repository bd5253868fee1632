//! What models have in place of `arc_swap`, of which a model checker sees nothing.
//!
//! A plain lock would hide the very races that `Cache` allows: it looks at the pointer with a relaxed load, and so may go
//! on with a view that was replaced long ago. So there is a version beside the slot, which [`Cache`] loads relaxed; the
//! slot itself is locked. What `arc_swap` does inside (debts, its own generations) is its own to prove.

use loom::sync::atomic::AtomicU64;
use loom::sync::{Arc, Mutex};
use std::ops::Deref;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

struct Slot<T> {
    version: u64,
    value: Arc<T>,
}

/// As `arc_swap::ArcSwap`.
pub(crate) struct ArcSwap<T> {
    version: AtomicU64,
    slot: Mutex<Slot<T>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { version: AtomicU64::new(0), slot: Mutex::new(Slot { version: 0, value }) }
    }

    fn versioned(&self) -> (u64, Arc<T>) {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        (slot.version, slot.value.clone())
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.versioned().1
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        Guard(self.load_full())
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.version += 1;
        let old = std::mem::replace(&mut slot.value, value);
        self.version.store(slot.version, Ordering::SeqCst);
        old
    }
}

/// As `arc_swap::Guard`.
pub(crate) struct Guard<P>(P);

impl<P> Deref for Guard<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.0
    }
}

/// As `arc_swap::Cache`.
pub(crate) struct Cache<A, P> {
    swap: A,
    version: u64,
    value: P,
}

impl<T, A: Deref<Target = ArcSwap<T>>> Cache<A, Arc<T>> {
    pub(crate) fn new(swap: A) -> Self {
        let (version, value) = swap.versioned();
        Self { swap, version, value }
    }

    pub(crate) fn load(&mut self) -> &Arc<T> {
        if self.swap.version.load(Ordering::Relaxed) != self.version {
            (self.version, self.value) = self.swap.versioned();
        }
        &self.value
    }
}
