//! The one place of this crate that names atomics, locks and concurrent containers.

pub(crate) use arc_swap::{ArcSwap, Cache, Guard};
pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};
pub(crate) use dashmap::DashMap;
pub use std::sync::{Arc, Weak};
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
};
pub(crate) use std::{thread, thread_local};
