//! The one place of this crate that names atomics and locks.

pub(crate) use crossbeam::queue::SegQueue;
pub use std::sync::{Arc, Weak};
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};
