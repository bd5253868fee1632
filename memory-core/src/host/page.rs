//! One page of guest RAM, for an embedded CPU that keeps pointers to it.

use super::block::RamBlock;
use crate::sync::Arc;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Bytes in a [`HostPage`].
pub const PAGE_SIZE: usize = 4096;

/// 4 KiB of a [`RamBlock`], page aligned, as host atomics.
///
/// The page keeps its block alive. Offsets are bytes from the page's start, taken modulo [`PAGE_SIZE`] and
/// rounded down to the width asked for, so that no offset is out of bounds: the caller, which looked the page up
/// by the upper bits of an address, hands in the address. Values are in the host's byte order: use `from_le` and
/// `to_le` for guest values.
#[derive(Clone)]
pub struct HostPage {
    base: NonNull<u8>,
    block: Arc<RamBlock>,
}

// SAFETY: the page is only accessed through atomics, and the block that it points into is `Send + Sync` and
// kept alive by `block`.
unsafe impl Send for HostPage {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostPage {}

macro_rules! atomic {
    ($name:ident, $atomic:ty, $width:literal, $bits:literal) => {
        #[doc = concat!("The ", $bits, " bits at `offset`.")]
        #[inline]
        pub fn $name(&self, offset: usize) -> &$atomic {
            let offset = offset & (PAGE_SIZE - $width);
            // SAFETY: the mask leaves a multiple of the width below PAGE_SIZE, `new` was promised a valid, page
            // aligned page, and `block` keeps it mapped for as long as `self` is borrowed.
            unsafe { <$atomic>::from_ptr(self.base.as_ptr().add(offset).cast()) }
        }
    };
}

impl HostPage {
    /// # Safety
    /// `base` is page aligned and valid for reads and writes of [`PAGE_SIZE`] bytes for as long as `block` lives.
    pub(super) unsafe fn new(base: NonNull<u8>, block: Arc<RamBlock>) -> Self {
        Self { base, block }
    }

    atomic!(atomic_u8, AtomicU8, 1, "8");
    atomic!(atomic_u16, AtomicU16, 2, "16");
    atomic!(atomic_u32, AtomicU32, 4, "32");
    atomic!(atomic_u64, AtomicU64, 8, "64");

    /// The block that the page is part of.
    pub fn block(&self) -> &Arc<RamBlock> {
        &self.block
    }
}

impl fmt::Debug for HostPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPage").field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Width;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_page_is_its_part_of_the_block_and_offsets_wrap() {
        let block = RamBlock::anonymous(0x3000u64).unwrap();
        let page = block.page(0x1000).unwrap();
        page.atomic_u32(0x8000_0104).store(7u32.to_le(), Ordering::Relaxed);
        assert_eq!(block.load(0x1104, Width::W4), Some(7));
        page.atomic_u64(0xfff).store(9u64.to_le(), Ordering::Relaxed);
        assert_eq!(block.load(0x1ff8, Width::W8), Some(9));
        assert!(block.page(0x1001).is_none() && block.page(0x3000).is_none());
    }
}
