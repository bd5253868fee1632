//! The one module of this crate that names synchronisation primitives.

pub use std::sync::Arc;
