//! The one module of this crate that names atomics, locks and threads.
//!
//! Everything else imports them from here, so that a model checker's versions can take their place.

pub(crate) use std::sync::Condvar;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
pub use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
pub use std::thread;
