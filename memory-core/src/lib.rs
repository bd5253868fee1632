//! To be written.

mod access;
mod address;
mod host;
mod sync;

pub use access::{BusFault, ByteOrder, TxAttrs, TxFlags, Width};
pub use address::{AddrRange, Size};
pub use host::{HostMemoryError, HostPage, PAGE_SIZE, RamBlock};
