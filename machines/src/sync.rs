//! The one module of this crate that names atomics, locks and threads.
//!
//! Everything else imports them from here, so that a model checker's versions can take their place.

pub use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU32, Ordering, fence};
pub(crate) use std::sync::{Condvar, Mutex, PoisonError};
#[cfg(test)]
pub(crate) use std::thread;
