//! To be written.

pub mod file;
pub mod rv64;
pub mod sync;
pub mod vcpu;
