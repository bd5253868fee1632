//! The one place of this crate that names atomics, locks and concurrent containers: those of the machine, or, under the
//! private cfg `flatland_loom`, those that a model checker sees into.

#[cfg(flatland_loom)]
pub mod model;

#[cfg(not(flatland_loom))]
mod names {
    pub(crate) use crossbeam::queue::SegQueue;
    pub(crate) use dashmap::DashMap;
    pub(crate) use std::sync::{
        Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, compiler_fence, fence},
    };
    pub(crate) use std::thread_local;
}

#[cfg(flatland_loom)]
mod names {
    pub(crate) use super::model::{DashMap, OnceLock, SegQueue};
    pub(crate) use crate::model_thread_local as thread_local;
    pub(crate) use loom::sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, fence},
    };
    pub(crate) use std::sync::atomic::compiler_fence;
}

pub(crate) use names::*;
/// Owners and regions are counted by `std`, which models take for granted; see `memory-dispatch`'s `sync` for views.
pub use std::sync::{Arc, Weak};
pub(crate) use std::sync::{PoisonError, atomic::Ordering};
/// Only host memory is touched by threads of its own, which no model does.
pub(crate) use std::thread;
