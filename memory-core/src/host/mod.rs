//! Host memory that backs guest RAM, lent out as safe types.
//!
//! This module is the only one of the memory crates with `unsafe` in it. The invariant that everything here
//! rests on: a [`RamBlock`] maps `len` bytes at `base` when it is made and unmaps them when it is dropped,
//! never in between; whoever holds a pointer into it holds the block too.
//!
//! Guest memory is shared with vCPU threads and devices that race by design. Accesses of 1, 2, 4 and 8
//! aligned bytes are host atomics; bulk copies are plain copies, except under Miri and sanitizers, where they
//! are atomics byte by byte so that these tools do not report the guest's own races.

#![expect(unsafe_code, reason = "guest RAM is raw host memory; this module turns it into safe types")]

mod block;
mod page;

pub use block::{HostMemoryError, RamBlock};
pub use page::{HostPage, PAGE_SIZE};
