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
mod builder;
mod dirty;
mod extent;
pub mod fence;
mod huge;
mod mapping;
#[cfg(flatland_loom)]
mod model;
mod page;
mod slice;
mod span;

pub use block::RamBlock;
pub use builder::{HostMemoryError, RamBlockBuilder};
pub use dirty::{DirtyClients, DirtyLog, DirtySnapshot};
pub use page::{HostPage, PAGE_SIZE};
pub use slice::{BlockLog, LogSlice};
pub use span::RamSpan;

/// Bytes in a page of the host, a power of two. Miri has no host.
fn host_page_size() -> u64 {
    if cfg!(miri) {
        return PAGE_SIZE as u64;
    }
    // SAFETY: the call takes a number and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(PAGE_SIZE as u64)
}
