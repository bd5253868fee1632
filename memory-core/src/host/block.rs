//! A RAM block: one stretch of host memory.

use super::builder::HostMemoryError;
use super::dirty::DirtyLog;
use super::extent::Extent;
use super::host_page_size;
use super::page::{HostPage, PAGE_SIZE};
use crate::access::Width;
use crate::address::Size;
use crate::sync::Arc;
use std::any::Any;
use std::fmt;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use vm_memory::MmapRegion;

/// What is behind a block, and goes with it.
pub(super) enum Behind {
    Nothing,
    #[cfg_attr(miri, expect(dead_code, reason = "there is no mmap"))]
    Mapping(MmapRegion),
    #[cfg(miri)]
    Allocation(#[expect(dead_code, reason = "kept for its drop")] super::mapping::Allocation),
    /// Memory of the caller's.
    Keeper(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Any + Send + Sync>),
}

/// One stretch of host memory that backs RAM, ROM or a ROM device. QEMU's name: `RAMBlock`.
///
/// Offsets are bytes from the block's start. All methods may be called from any thread and take no lock. Typed
/// accesses are in little-endian byte order; aligned ones are host atomics (acquire loads, release stores),
/// others may be seen half done by another thread, as on real buses. What lies out of bounds is refused with
/// `None` or `false`, nothing of it is touched.
pub struct RamBlock {
    pub(super) behind: Behind,
    base: NonNull<u8>,
    len: usize,
    /// How much of it may be written: all, or nothing.
    writable: usize,
    size: Size,
    pub(super) extent: Extent,
    dirty: DirtyLog,
    #[cfg(flatland_loom)]
    words: super::model::Words,
}

// SAFETY: `base` points to a mapping that lives as long as the block and that is only ever accessed through
// atomics, volatile accesses or copies that are allowed to race; no reference to its bytes is ever made.
unsafe impl Send for RamBlock {}
// SAFETY: as for `Send`.
unsafe impl Sync for RamBlock {}

impl RamBlock {
    /// Zeroed private memory of `size` bytes. The host gives pages as they are first touched.
    ///
    /// # Errors
    /// A size of zero or above the host's address space, or a refusal of the host.
    pub fn anonymous(size: impl Into<Size>) -> Result<Arc<Self>, HostMemoryError> {
        Self::builder(size).build()
    }

    /// Memory that is a file's content from `offset` on, shared with everybody who maps the file: what the guest
    /// writes reaches the file.
    ///
    /// # Errors
    /// As [`RamBlock::anonymous`]; also if the file is shorter than `offset + size`.
    pub fn shared_file(file: File, offset: u64, size: impl Into<Size>) -> Result<Arc<Self>, HostMemoryError> {
        Self::builder(size).file(file, offset).shared(true).build()
    }

    /// A copy-on-write image of a file's content from `offset` on: the file is never changed.
    ///
    /// # Errors
    /// As [`RamBlock::shared_file`].
    pub fn private_file(
        file: File,
        offset: u64,
        size: impl Into<Size>,
    ) -> Result<Arc<Self>, HostMemoryError> {
        Self::builder(size).file(file, offset).build()
    }

    /// A block that has a size and no memory: for maps that are looked at and never run, such as one read back
    /// from a dump. Every access is refused.
    pub fn unbacked(size: impl Into<Size>) -> Arc<Self> {
        let size = size.into();
        Arc::new(Self::assemble(Behind::Nothing, NonNull::dangling(), 0, size, false))
    }

    /// A block of `len` bytes at `base`, which what is behind keeps mapped.
    pub(super) fn assemble(
        behind: Behind,
        base: NonNull<u8>,
        len: usize,
        size: Size,
        read_only: bool,
    ) -> Self {
        let used = u64::try_from(size.bytes()).unwrap_or(u64::MAX);
        Self {
            behind,
            base,
            len,
            writable: if read_only { 0 } else { len },
            size,
            extent: Extent::new(used, host_page_size()),
            dirty: DirtyLog::new(len as u64),
            #[cfg(flatland_loom)]
            words: super::model::Words::new(),
        }
    }

    /// Bytes of host memory.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing can be written through the block.
    #[inline]
    pub fn is_read_only(&self) -> bool {
        self.writable < self.len
    }

    /// The size in bytes: the most that a block can have that can be resized, see [`RamBlock::used`].
    pub fn size(&self) -> Size {
        self.size
    }

    /// Which pages were written.
    #[inline]
    pub fn dirty(&self) -> &DirtyLog {
        &self.dirty
    }

    /// Whether there is host memory behind the block; see [`RamBlock::unbacked`].
    pub fn is_backed(&self) -> bool {
        !matches!(self.behind, Behind::Nothing)
    }

    /// The pointer to `len` bytes at `offset`, if they lie inside.
    #[inline]
    pub(super) fn pointer(&self, offset: u64, len: usize) -> Option<NonNull<u8>> {
        self.pointer_within(self.len, offset, len)
    }

    /// The same, if they may be written.
    #[inline]
    fn pointer_to_write(&self, offset: u64, len: usize) -> Option<NonNull<u8>> {
        self.pointer_within(self.writable, offset, len)
    }

    #[inline]
    fn pointer_within(&self, within: usize, offset: u64, len: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(offset).ok()?;
        if len > within || offset > within - len {
            return None;
        }
        // SAFETY: `offset + len <= within <= self.len`, so the result stays inside the mapping (or one past its end).
        Some(unsafe { self.base.add(offset) })
    }

    /// Reads `width` bytes at `offset`.
    #[inline]
    pub fn load(&self, offset: u64, width: Width) -> Option<u64> {
        let pointer = self.pointer(offset, width.len())?.as_ptr();
        if !width.aligned(pointer as u64) {
            let mut bytes = [0; 8];
            let bytes = bytes.get_mut(..width.len())?;
            if !self.read(offset, bytes) {
                return None;
            }
            return Some(crate::access::ByteOrder::Little.decode(bytes));
        }
        // SAFETY: `pointer` is inside the mapping for `width` bytes and aligned to them; the mapping outlives
        // the reference, and guest memory is only accessed in ways that may race with atomics.
        Some(unsafe { self.load_at(pointer, offset, width) })
    }

    /// Writes the low `width` bytes of `value` at `offset`; false if they do not lie inside.
    #[inline]
    #[must_use]
    pub fn store(&self, offset: u64, width: Width, value: u64) -> bool {
        let Some(pointer) = self.pointer_to_write(offset, width.len()) else { return false };
        let pointer = pointer.as_ptr();
        if !width.aligned(pointer as u64) {
            let bytes = value.to_le_bytes();
            return bytes.get(..width.len()).is_some_and(|bytes| self.write(offset, bytes));
        }
        // SAFETY: as in `load`.
        unsafe { self.store_at(pointer, offset, width, value) };
        self.dirty.written(offset, width.bytes());
        true
    }

    /// Replaces `width` bytes at `offset` by `new` if they equal `current`, atomically and sequentially
    /// consistent. `Ok` holds the old value if it was replaced, `Err` if not; `None` if the place is not aligned
    /// to `width` or not inside.
    ///
    /// ```
    /// use memory_core::{RamBlock, Width};
    /// let block = RamBlock::anonymous(0x1000u64)?;
    /// assert!(block.fill(0x10, 4, 0xff));
    /// assert_eq!(block.compare_exchange(0x10, Width::W4, 0xffff_ffff, 1), Some(Ok(0xffff_ffff)));
    /// assert_eq!(block.compare_exchange(0x10, Width::W4, 0, 2), Some(Err(1)));
    /// assert_eq!(block.compare_exchange(0x11, Width::W4, 0, 2), None);
    /// # Ok::<(), memory_core::HostMemoryError>(())
    /// ```
    pub fn compare_exchange(
        &self,
        offset: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Option<Result<u64, u64>> {
        let pointer = self.pointer_to_write(offset, width.len())?.as_ptr();
        if !width.aligned(pointer as u64) {
            return None;
        }
        // SAFETY: as in `load`.
        let result = unsafe { self.exchange_at(pointer, offset, width, (current, new)) };
        if result.is_ok() {
            self.dirty.written(offset, width.bytes());
        }
        Some(result)
    }

    /// Copies the bytes at `offset` to `bytes`; false if they do not lie inside.
    #[must_use]
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> bool {
        let Some(pointer) = self.pointer(offset, bytes.len()) else { return false };
        // SAFETY: `pointer` is valid for `bytes.len()` bytes; `bytes` is ours alone and cannot overlap the
        // mapping, to which no reference exists.
        unsafe { copy::from_guest(pointer.as_ptr(), bytes) };
        #[cfg(flatland_loom)]
        for (byte, at) in bytes.iter_mut().zip(offset..).filter(|(_, at)| self.words.has(*at)) {
            *byte = self.words.load(at, Width::W1, Ordering::Relaxed).unwrap_or(0) as u8;
        }
        true
    }

    /// Copies `bytes` to `offset`; false if they do not fit inside.
    #[must_use]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(pointer) = self.pointer_to_write(offset, bytes.len()) else { return false };
        // SAFETY: as in `read`, the other way round.
        unsafe { copy::to_guest(pointer.as_ptr(), bytes) };
        #[cfg(flatland_loom)]
        for (byte, at) in bytes.iter().zip(offset..).filter(|(_, at)| self.words.has(*at)) {
            self.words.store(at, Width::W1, (*byte).into(), Ordering::Relaxed);
        }
        self.dirty.written(offset, bytes.len() as u64);
        true
    }

    /// Sets `len` bytes at `offset` to `byte`; false if they do not lie inside.
    #[must_use]
    pub fn fill(&self, offset: u64, len: u64, byte: u8) -> bool {
        let Ok(length) = usize::try_from(len) else { return false };
        let Some(pointer) = self.pointer_to_write(offset, length) else { return false };
        // SAFETY: as in `write`.
        unsafe { copy::fill_guest(pointer.as_ptr(), length, byte) };
        #[cfg(flatland_loom)]
        for at in (offset..offset + len).take_while(|at| self.words.has(*at)) {
            self.words.store(at, Width::W1, byte.into(), Ordering::Relaxed);
        }
        self.dirty.written(offset, len);
        true
    }

    /// The page of host memory at `offset`, a multiple of [`PAGE_SIZE`], if all of it lies inside and may be written. Memory
    /// of the caller's that does not begin at a page has none.
    pub fn page(self: &Arc<Self>, offset: u64) -> Option<HostPage> {
        self.page_to_read(offset).filter(|_| !self.is_read_only())
    }

    /// The same to be read alone, of a read-only block too: whoever has it stores nothing.
    pub fn page_to_read(self: &Arc<Self>, offset: u64) -> Option<HostPage> {
        if !offset.is_multiple_of(PAGE_SIZE as u64) {
            return None;
        }
        let pointer = self
            .pointer(offset, PAGE_SIZE)
            .filter(|pointer| pointer.addr().get().is_multiple_of(PAGE_SIZE))?;
        // SAFETY: `pointer` is page aligned, and valid for a page for as long as the block lives, which the page keeps alive.
        Some(unsafe { HostPage::new(pointer, offset, self.clone()) })
    }
}

impl fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamBlock").field("size", &self.size).field("backed", &self.is_backed()).finish()
    }
}

/// The operations on guest memory, which is little-endian, and nothing else: whoever writes notes the write after it. Under a
/// model checker those that it can see are its own.
#[cfg_attr(
    not(flatland_loom),
    expect(unused_variables, reason = "a pointer says all, but to a model checker")
)]
impl RamBlock {
    /// Loads the bytes at `pointer`, which is that of `offset`.
    ///
    /// # Safety
    /// `pointer` is valid for `width` bytes of guest memory, and aligned to them.
    #[inline(always)]
    pub(super) unsafe fn load_at(&self, pointer: *mut u8, offset: u64, width: Width) -> u64 {
        #[cfg(flatland_loom)]
        if let Some(value) = self.words.load(offset, width, Ordering::Acquire) {
            return value;
        }
        // SAFETY: the caller's promise; guest memory is only accessed in ways that may race with atomics.
        unsafe {
            match width {
                Width::W1 => AtomicU8::from_ptr(pointer).load(Ordering::Acquire).into(),
                Width::W2 => u16::from_le(AtomicU16::from_ptr(pointer.cast()).load(Ordering::Acquire)).into(),
                Width::W4 => u32::from_le(AtomicU32::from_ptr(pointer.cast()).load(Ordering::Acquire)).into(),
                Width::W8 => u64::from_le(AtomicU64::from_ptr(pointer.cast()).load(Ordering::Acquire)),
            }
        }
    }

    /// Stores to the bytes at `pointer`, which is that of `offset`.
    ///
    /// # Safety
    /// As for [`RamBlock::load_at`].
    #[inline(always)]
    pub(super) unsafe fn store_at(&self, pointer: *mut u8, offset: u64, width: Width, value: u64) {
        const ORDER: Ordering = Ordering::Release;
        #[cfg(flatland_loom)]
        if self.words.store(offset, width, value, ORDER) {
            return;
        }
        // SAFETY: as in `load_at`.
        unsafe {
            match width {
                Width::W1 => AtomicU8::from_ptr(pointer).store(value as u8, ORDER),
                Width::W2 => AtomicU16::from_ptr(pointer.cast()).store((value as u16).to_le(), ORDER),
                Width::W4 => AtomicU32::from_ptr(pointer.cast()).store((value as u32).to_le(), ORDER),
                Width::W8 => AtomicU64::from_ptr(pointer.cast()).store(value.to_le(), ORDER),
            }
        }
    }

    /// Replaces the bytes at `pointer`, which is that of `offset`, as [`RamBlock::compare_exchange`] does.
    ///
    /// # Safety
    /// As for [`RamBlock::load_at`].
    #[inline(always)]
    unsafe fn exchange_at(
        &self,
        pointer: *mut u8,
        offset: u64,
        width: Width,
        (current, new): (u64, u64),
    ) -> Result<u64, u64> {
        const ORDER: Ordering = Ordering::SeqCst;
        #[cfg(flatland_loom)]
        if let Some(result) = self.words.compare_exchange(offset, width, current, new) {
            return result;
        }
        macro_rules! exchange {
            ($atomic:ty, $int:ty) => {{
                // SAFETY: as in `load_at`.
                let cell = unsafe { <$atomic>::from_ptr(pointer.cast()) };
                let convert = |value: $int| u64::from(<$int>::from_le(value));
                cell.compare_exchange((current as $int).to_le(), (new as $int).to_le(), ORDER, ORDER)
                    .map(convert)
                    .map_err(convert)
            }};
        }
        match width {
            Width::W1 => exchange!(AtomicU8, u8),
            Width::W2 => exchange!(AtomicU16, u16),
            Width::W4 => exchange!(AtomicU32, u32),
            Width::W8 => exchange!(AtomicU64, u64),
        }
    }
}

/// Bulk copies as the processor does them best.
#[cfg(not(any(miri, flatland_bytewise_copies)))]
mod copy {
    use std::ptr;

    /// # Safety
    /// `from` is valid for reads of `to.len()` bytes of guest memory.
    pub(super) unsafe fn from_guest(from: *const u8, to: &mut [u8]) {
        // SAFETY: the caller's promise; `to` is a unique borrow, so the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) }
    }

    /// # Safety
    /// `to` is valid for writes of `from.len()` bytes of guest memory.
    pub(super) unsafe fn to_guest(to: *mut u8, from: &[u8]) {
        // SAFETY: the caller's promise; no reference to guest memory exists, so the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
    }

    /// # Safety
    /// `to` is valid for writes of `len` bytes of guest memory.
    pub(super) unsafe fn fill_guest(to: *mut u8, len: usize, byte: u8) {
        // SAFETY: the caller's promise.
        unsafe { ptr::write_bytes(to, byte, len) }
    }
}

/// Bulk copies that race without being a data race: Miri and the sanitizers must not take the guest's races
/// for ours.
#[cfg(any(miri, flatland_bytewise_copies))]
mod copy {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// # Safety
    /// `from` is valid for reads of `to.len()` bytes of guest memory.
    pub(super) unsafe fn from_guest(from: *const u8, to: &mut [u8]) {
        for (index, byte) in to.iter_mut().enumerate() {
            // SAFETY: the caller's promise covers `index`.
            *byte = unsafe { AtomicU8::from_ptr(from.add(index).cast_mut()) }.load(Ordering::Relaxed);
        }
    }

    /// # Safety
    /// `to` is valid for writes of `from.len()` bytes of guest memory.
    pub(super) unsafe fn to_guest(to: *mut u8, from: &[u8]) {
        for (index, byte) in from.iter().enumerate() {
            // SAFETY: the caller's promise covers `index`.
            unsafe { AtomicU8::from_ptr(to.add(index)) }.store(*byte, Ordering::Relaxed);
        }
    }

    /// # Safety
    /// `to` is valid for writes of `len` bytes of guest memory.
    pub(super) unsafe fn fill_guest(to: *mut u8, len: usize, byte: u8) {
        for index in 0..len {
            // SAFETY: the caller's promise covers `index`.
            unsafe { AtomicU8::from_ptr(to.add(index)) }.store(byte, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_accesses_are_little_endian_and_bounded() {
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        assert!(block.store(0, Width::W8, 0x8877_6655_4433_2211));
        assert_eq!(block.load(0, Width::W2), Some(0x2211));
        assert_eq!(block.load(1, Width::W4), Some(0x5544_3322));
        assert!(block.store(3, Width::W4, 0xaabb_ccdd));
        assert_eq!(block.load(0, Width::W8), Some(0x88aa_bbcc_dd33_2211));
        assert_eq!(block.load(0xffd, Width::W4), None);
        assert_eq!(block.load(u64::MAX, Width::W1), None);
        assert!(!block.store(0xfff, Width::W2, 1));
    }

    #[test]
    fn compare_exchange_needs_alignment_and_the_old_value() {
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        assert_eq!(block.compare_exchange(8, Width::W4, 0, 7), Some(Ok(0)));
        assert_eq!(block.compare_exchange(8, Width::W4, 0, 9), Some(Err(7)));
        assert_eq!(block.compare_exchange(9, Width::W4, 0, 9), None);
        assert_eq!(block.compare_exchange(0x1000, Width::W1, 0, 9), None);
    }

    #[test]
    fn bulk_copies_are_bounded() {
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        assert!(block.write(0xffe, &[1, 2]));
        assert!(!block.write(0xffe, &[1, 2, 3]));
        let mut bytes = [0; 2];
        assert!(block.read(0xffe, &mut bytes));
        assert_eq!(bytes, [1, 2]);
        assert!(block.fill(0, 0x1000, 5) && !block.fill(1, 0x1000, 6));
        assert_eq!(block.load(0xff8, Width::W8), Some(0x0505_0505_0505_0505));
    }

    /// Guest memory races by design: under Miri and ThreadSanitizer this shows that every way to copy may.
    #[test]
    fn copies_of_several_threads_tear_between_bytes_and_nowhere_else() {
        const LEN: usize = 256;
        const ROUNDS: usize = if cfg!(miri) { 4 } else { 500 };
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let run = |work: &'static (dyn Fn(&RamBlock) + Sync)| {
                let (block, start) = (&block, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..ROUNDS).for_each(|_| work(block));
                });
            };
            run(&|block| assert!(block.write(1, &[0x11; LEN])));
            run(&|block| assert!(block.fill(1, LEN as u64, 0x22)));
            run(&|block| assert!(block.store(3, Width::W8, 0x3333_3333_3333_3333), "unaligned"));
            run(&|block| {
                let mut bytes = [0; LEN];
                assert!(block.read(1, &mut bytes));
                let word = block.load(5, Width::W4).unwrap().to_le_bytes();
                let known = |byte: &u8| [0, 0x11, 0x22, 0x33].contains(byte);
                assert!(bytes.iter().chain(&word[..4]).all(known), "{bytes:x?} {word:x?}");
            });
        });
    }

    #[test]
    fn an_unbacked_block_refuses_every_access() {
        let block = RamBlock::unbacked(Size::FULL);
        assert_eq!(block.size(), Size::FULL);
        assert_eq!(block.load(0, Width::W1), None);
        assert!(!block.write(0, &[0]));
        assert!(block.page(0).is_none());
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(matches!(RamBlock::anonymous(Size::ZERO), Err(HostMemoryError::Size(_))));
        assert!(matches!(RamBlock::anonymous(Size::FULL), Err(HostMemoryError::Size(_))));
    }
}
