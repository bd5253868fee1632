//! To be written.

pub mod file;
pub mod import;
pub mod sync;
