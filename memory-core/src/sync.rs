//! The one place of this crate that names atomics and locks.

pub(crate) use crossbeam::queue::SegQueue;
pub(crate) use dashmap::DashMap;
pub use std::sync::{Arc, Weak};
pub(crate) use std::sync::{
    Condvar, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, compiler_fence, fence},
};
pub(crate) use std::{thread, thread_local};
