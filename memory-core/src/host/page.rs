//! One page of guest RAM, for an embedded CPU that keeps pointers to it.

use super::block::RamBlock;
use crate::sync::Arc;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Bytes in a [`HostPage`].
pub const PAGE_SIZE: usize = 4096;

/// 4 KiB of a [`RamBlock`], page aligned, as host atomics.
///
/// The page keeps its block alive. Offsets are bytes from the page's start, taken modulo [`PAGE_SIZE`] and
/// rounded down to the width asked for, so that no offset is out of bounds: the caller, which looked the page up
/// by the upper bits of an address, hands in the address. Values are little-endian in memory. What is written is noted
/// in the block's [dirty log](super::DirtyLog).
#[derive(Clone)]
pub struct HostPage {
    base: NonNull<u8>,
    /// Of the page in the block.
    start: u64,
    block: Arc<RamBlock>,
}

// SAFETY: the page is only accessed through atomics, and the block that it points into is `Send + Sync` and
// kept alive by `block`.
unsafe impl Send for HostPage {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostPage {}

macro_rules! accesses {
    ($cell:ident, $load:ident, $store:ident, $atomic:ty, $int:ty, $bits:literal) => {
        #[inline(always)]
        fn $cell(&self, offset: usize) -> &$atomic {
            let offset = offset & (PAGE_SIZE - size_of::<$int>());
            // SAFETY: the mask leaves a multiple of the width below PAGE_SIZE, `new` was promised a valid, page
            // aligned page, and `block` keeps it mapped for as long as `self` is borrowed.
            unsafe { <$atomic>::from_ptr(self.base.as_ptr().add(offset).cast()) }
        }

        #[doc = concat!("Loads the ", $bits, " bits at `offset`.")]
        #[inline(always)]
        pub fn $load(&self, offset: usize, order: Ordering) -> $int {
            <$int>::from_le(self.$cell(offset).load(order))
        }

        #[doc = concat!("Stores the ", $bits, " bits at `offset`.")]
        #[inline(always)]
        pub fn $store(&self, offset: usize, value: $int, order: Ordering) {
            self.$cell(offset).store(value.to_le(), order);
            self.written(offset, size_of::<$int>());
        }
    };
}

macro_rules! exchanges {
    ($cell:ident, $update:ident, $exchange:ident, $int:ty, $bits:literal) => {
        #[doc = concat!("Replaces the ", $bits, " bits at `offset` by what `change` makes of them, as one atomic and")]
        #[doc = "sequentially consistent step, and returns what they were."]
        #[inline]
        pub fn $update(&self, offset: usize, change: impl Fn($int) -> $int) -> $int {
            let cell = self.$cell(offset);
            let mut old = cell.load(Ordering::Relaxed);
            loop {
                let new = change(<$int>::from_le(old)).to_le();
                match cell.compare_exchange_weak(old, new, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(other) => old = other,
                }
            }
            self.written(offset, size_of::<$int>());
            <$int>::from_le(old)
        }

        #[doc = concat!("Replaces the ", $bits, " bits at `offset` by `new` if they are `current`, as one sequentially")]
        #[doc = "consistent step. Returns what they were: `Ok` if they were replaced."]
        #[doc = ""]
        #[doc = "# Errors"]
        #[doc = "What they are, if not `current`."]
        #[inline]
        pub fn $exchange(&self, offset: usize, current: $int, new: $int) -> Result<$int, $int> {
            let cell = self.$cell(offset);
            let result = cell.compare_exchange(
                current.to_le(), new.to_le(), Ordering::SeqCst, Ordering::SeqCst,
            );
            if result.is_ok() {
                self.written(offset, size_of::<$int>());
            }
            result.map(<$int>::from_le).map_err(<$int>::from_le)
        }
    };
}

impl HostPage {
    /// # Safety
    /// `base` is page aligned and valid for reads and writes of [`PAGE_SIZE`] bytes for as long as `block` lives.
    pub(super) unsafe fn new(base: NonNull<u8>, start: u64, block: Arc<RamBlock>) -> Self {
        Self { base, start, block }
    }

    accesses!(cell_u8, load_u8, store_u8, AtomicU8, u8, "8");
    accesses!(cell_u16, load_u16, store_u16, AtomicU16, u16, "16");
    accesses!(cell_u32, load_u32, store_u32, AtomicU32, u32, "32");
    accesses!(cell_u64, load_u64, store_u64, AtomicU64, u64, "64");
    exchanges!(cell_u32, update_u32, compare_exchange_u32, u32, "32");
    exchanges!(cell_u64, update_u64, compare_exchange_u64, u64, "64");

    #[inline(always)]
    fn written(&self, offset: usize, len: usize) {
        let offset = offset & (PAGE_SIZE - len);
        self.block.dirty().written(self.start + offset as u64, len as u64);
    }

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

    #[test]
    fn a_page_is_its_part_of_the_block_and_offsets_wrap() {
        let block = RamBlock::anonymous(0x3000u64).unwrap();
        let page = block.page(0x1000).unwrap();
        page.store_u32(0x8000_0104, 7, Ordering::Relaxed);
        assert_eq!(block.load(0x1104, Width::W4), Some(7));
        page.store_u64(0xfff, 9, Ordering::Relaxed);
        assert_eq!(block.load(0x1ff8, Width::W8), Some(9));
        assert!(block.page(0x1001).is_none() && block.page(0x3000).is_none());
    }
}
