//! The one place of this crate that names atomics, locks and concurrent containers: those of the machine, or, under the
//! private cfg `flatland_loom`, those that a model checker sees into.

#[cfg(flatland_loom)]
mod model;

#[cfg(not(flatland_loom))]
mod names {
    /// The count of a view, which reclaim goes by.
    pub(crate) use std::sync::Arc as ViewArc;

    pub(crate) use arc_swap::{ArcSwap, Cache, Guard};
    pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};
    pub(crate) use dashmap::DashMap;
    pub(crate) use std::sync::{
        Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence},
    };
    pub(crate) use std::{thread, thread_local};
}

#[cfg(flatland_loom)]
mod names {
    pub(crate) use super::model::{ArcSwap, Cache, Guard};
    pub(crate) use loom::sync::{
        Arc as ViewArc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence},
    };
    pub(crate) use loom::thread;
    pub(crate) use memory_core::model::{ArrayQueue, DashMap, OnceLock, SegQueue};
    pub(crate) use memory_core::model_thread_local as thread_local;
}

pub(crate) use names::*;
pub use std::sync::{Arc, Weak};
pub(crate) use std::sync::{PoisonError, atomic::Ordering};
