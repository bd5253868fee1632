//! The one place of this crate that names atomics, locks and threads.

pub(crate) use std::sync::Condvar;
pub use std::sync::atomic::AtomicU32;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
pub use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
pub(crate) use std::thread;
