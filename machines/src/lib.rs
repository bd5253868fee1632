//! To be written.

pub mod file;
pub mod sync;
