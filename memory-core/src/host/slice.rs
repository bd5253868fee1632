//! A RAM block as `vm-memory` sees it: slices that mark what is written through them.

use super::block::RamBlock;
use super::dirty::DirtyLog;
use crate::sync::Arc;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};

/// The part of a block's dirty log that belongs to a slice.
#[derive(Clone, Copy, Debug)]
pub struct LogSlice<'a> {
    log: &'a DirtyLog,
    /// Of the slice's first byte in the block.
    offset: u64,
}

impl<'a> WithBitmapSlice<'_> for LogSlice<'a> {
    type S = LogSlice<'a>;
}

impl BitmapSlice for LogSlice<'_> {}

impl<'a> Bitmap for LogSlice<'a> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.log.written(self.offset.saturating_add(offset as u64), len as u64);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.log.is_dirty(self.log.clients(), self.offset.saturating_add(offset as u64), 1)
    }

    fn slice_at(&self, offset: usize) -> LogSlice<'a> {
        LogSlice { log: self.log, offset: self.offset.saturating_add(offset as u64) }
    }
}

/// A block's dirty log as the bitmap of a `vm-memory` region, from an offset in the block on.
#[derive(Clone, Debug)]
pub struct BlockLog {
    block: Arc<RamBlock>,
    offset: u64,
}

impl BlockLog {
    /// The log of `block` from `offset` bytes on.
    pub fn new(block: &Arc<RamBlock>, offset: u64) -> Self {
        Self { block: block.clone(), offset }
    }

    fn whole(&self) -> LogSlice<'_> {
        LogSlice { log: self.block.dirty(), offset: self.offset }
    }
}

impl<'a> WithBitmapSlice<'a> for BlockLog {
    type S = LogSlice<'a>;
}

impl Bitmap for BlockLog {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.whole().mark_dirty(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.whole().dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> LogSlice<'_> {
        self.whole().slice_at(offset)
    }
}

impl RamBlock {
    /// The bytes at `offset` as `vm-memory`'s type, or `None` if they do not lie inside or may not be written. What is
    /// written through it is marked in the block's dirty log.
    pub fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_, LogSlice<'_>>> {
        self.slice_to_read(offset, len).filter(|_| !self.is_read_only())
    }

    /// The same to be read alone, of a read-only block too. `vm-memory` has no type that cannot be written: whoever lends it
    /// on has to know that nothing will be.
    pub fn slice_to_read(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_, LogSlice<'_>>> {
        let pointer = self.pointer(offset, len)?;
        let log = LogSlice { log: self.dirty(), offset };
        // SAFETY: `pointer` is valid for `len` bytes for as long as the block lives, which the slice borrows; all others
        // access the memory by atomics, volatile accesses or copies that may race.
        Some(unsafe { VolatileSlice::with_bitmap(pointer.as_ptr(), len, log, None) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::DirtyClients;
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn what_is_written_through_a_slice_is_marked() {
        let block = RamBlock::anonymous(0x10_0000u64).unwrap();
        block.dirty().start(DirtyClients::DISPLAY);
        let slice = block.slice(0x2_0000, 0x4_0000).unwrap();
        slice.subslice(0x1_0000, 0x1000).unwrap().write_obj(7u32, 0x10).unwrap();
        let taken = block.dirty().snapshot_and_clear(DirtyClients::DISPLAY, 0, u64::MAX);
        assert_eq!((taken.is_dirty(0x3_0010, 4), taken.count()), (true, 1));
        assert_eq!(slice.read_obj::<u32>(0x1_0010).unwrap(), 7);
        assert!(!block.dirty().is_dirty(DirtyClients::DISPLAY, 0, u64::MAX));
        let region = BlockLog::new(&block, 0x8_0000);
        region.slice_at(0x1000).mark_dirty(0, 1);
        assert!(block.dirty().is_dirty(DirtyClients::DISPLAY, 0x8_1000, 1) && region.dirty_at(0x1000));
        assert!(block.slice(0xf_ffff, 2).is_none());
    }
}
