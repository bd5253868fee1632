//! A stretch of a RAM block with its place in the host's memory worked out.

use super::block::RamBlock;
use crate::access::Width;
use crate::sync::Arc;
use std::fmt;
use std::ptr::NonNull;

/// A stretch of a [`RamBlock`], which it keeps alive, for whoever comes back to it often: an access checks its bounds and is
/// done. Offsets are bytes from the start of the stretch; typed accesses are as the block's.
///
/// ```
/// use memory_core::{RamBlock, Width};
/// let block = RamBlock::anonymous(0x1000u64)?;
/// let span = block.span(0x100, 0x10).expect("inside");
/// assert!(span.store(4, Width::W4, 7) && !span.store(13, Width::W4, 7));
/// assert_eq!((block.load(0x104, Width::W4), span.load(16, Width::W1)), (Some(7), None));
/// # Ok::<(), memory_core::HostMemoryError>(())
/// ```
#[derive(Clone)]
pub struct RamSpan {
    base: NonNull<u8>,
    len: u64,
    /// The same if `base` is a multiple of every width, and 0 otherwise: then an offset says whether a place is aligned.
    direct: u64,
    /// Of the stretch in the block.
    start: u64,
    block: Arc<RamBlock>,
}

// SAFETY: the stretch is only accessed as its block is, which is `Send + Sync` and kept alive by `block`.
unsafe impl Send for RamSpan {}
// SAFETY: as for `Send`.
unsafe impl Sync for RamSpan {}

impl RamSpan {
    /// Bytes in the stretch.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pointer to `width` bytes at `offset`, if they lie inside and at a multiple of the width in the host's memory.
    #[inline(always)]
    fn aligned(&self, offset: u64, width: Width) -> Option<NonNull<u8>> {
        let is_inside = width.bytes() <= self.direct && offset <= self.direct - width.bytes();
        if !is_inside || !width.aligned(offset) {
            return None;
        }
        // SAFETY: `offset` is below `len`, and `span` has checked that `len` bytes from `base` on lie in the block, which fits
        // the host's addresses.
        Some(unsafe { self.base.add(offset as usize) })
    }

    /// Where `width` bytes at `offset` are in the block, if they lie in the stretch.
    fn in_block(&self, offset: u64, width: Width) -> Option<u64> {
        let end = offset.checked_add(width.bytes())?;
        (end <= self.len).then(|| self.start + offset)
    }

    /// Reads `width` bytes at `offset`, if they are at a multiple of the width in the host's memory.
    #[inline(always)]
    pub fn load_aligned(&self, offset: u64, width: Width) -> Option<u64> {
        let pointer = self.aligned(offset, width)?;
        // SAFETY: `aligned` says that the bytes lie in the block, which lives, and are aligned.
        Some(unsafe { self.block.load_at(pointer.as_ptr(), self.start + offset, width) })
    }

    /// Reads `width` bytes at `offset`.
    #[inline]
    pub fn load(&self, offset: u64, width: Width) -> Option<u64> {
        match self.load_aligned(offset, width) {
            Some(value) => Some(value),
            None => self.block.load(self.in_block(offset, width)?, width),
        }
    }

    /// Writes the low `width` bytes of `value` at `offset`; false if they do not lie inside, or may not be written.
    #[inline]
    #[must_use]
    pub fn store(&self, offset: u64, width: Width, value: u64) -> bool {
        self.store_aligned(offset, width, value)
            || self.in_block(offset, width).is_some_and(|offset| self.block.store(offset, width, value))
    }

    /// The same, if they are at a multiple of the width in the host's memory.
    #[inline(always)]
    #[must_use]
    pub fn store_aligned(&self, offset: u64, width: Width, value: u64) -> bool {
        let Some(pointer) = self.aligned(offset, width).filter(|_| !self.block.is_read_only()) else {
            return false;
        };
        // SAFETY: as in `load_aligned`.
        unsafe { self.block.store_at(pointer.as_ptr(), self.start + offset, width, value) };
        self.block.dirty().written(self.start + offset, width.bytes());
        true
    }
}

impl RamBlock {
    /// The stretch of `len` bytes at `offset`, or `None` if it does not lie inside.
    pub fn span(self: &Arc<Self>, offset: u64, len: u64) -> Option<RamSpan> {
        let base = self.pointer(offset, usize::try_from(len).ok()?)?;
        let direct = if Width::W8.aligned(base.addr().get() as u64) { len } else { 0 };
        Some(RamSpan { base, len, direct, start: offset, block: self.clone() })
    }
}

impl fmt::Debug for RamSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamSpan").field("start", &self.start).field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::DirtyClients;

    #[test]
    fn what_is_unaligned_goes_through_the_block_and_bounds_are_those_of_the_stretch() {
        let block = RamBlock::anonymous(0x2000u64).unwrap();
        let span = block.span(0xff8, 0x10).unwrap();
        block.dirty().start(DirtyClients::DISPLAY);
        assert!(span.store(6, Width::W4, 0x1122_3344) && !span.store(13, Width::W4, 0));
        assert_eq!(
            (span.load(6, Width::W4), block.load(0xffe, Width::W4)),
            (Some(0x1122_3344), Some(0x1122_3344))
        );
        assert!(block.dirty().is_dirty(DirtyClients::DISPLAY, 0x1000, 1), "both pages are marked");
        assert_eq!([15, 16, u64::MAX].map(|offset| span.load(offset, Width::W2)), [None; 3]);
        assert_eq!((span.load(8, Width::W8), span.load(15, Width::W1)), (Some(0x1122), Some(0)));
        let odd = block.span(0xffc, 0x10).unwrap();
        assert_eq!((odd.load(2, Width::W4), odd.load(2, Width::W2)), (Some(0x1122_3344), Some(0x3344)));
        assert!(block.span(0x2000, 1).is_none() && block.span(0x1fff, 2).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "there are no files")]
    fn what_is_read_only_is_not_written_through_a_stretch() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x1000).unwrap();
        let block = RamBlock::builder(0x1000u64).file(file, 0).read_only().build().unwrap();
        let span = block.span(0, 0x1000).unwrap();
        assert_eq!((span.store(8, Width::W4, 7), span.load(8, Width::W4)), (false, Some(0)));
    }
}
