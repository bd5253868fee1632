//! What of a block the host really holds, and how much of it is in use.

use super::block::{Behind, RamBlock};
use super::builder::HostMemoryError;
use crate::address::Size;
use crate::sync::{AtomicU64, Ordering};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

/// How much of a block is in use.
pub(super) struct Extent {
    used: AtomicU64,
    on_resize: Option<Box<dyn Fn(u64) + Send + Sync>>,
    /// Bytes in one page of the host that holds the block.
    page_size: u64,
    shared: bool,
}

impl Extent {
    pub(super) fn new(len: u64, page_size: u64) -> Self {
        Self { used: AtomicU64::new(len), on_resize: None, page_size, shared: false }
    }
}

impl RamBlock {
    pub(super) fn pages(mut self, page_size: u64, shared: bool) -> Self {
        self.extent.page_size = page_size;
        self.extent.shared = shared;
        self
    }

    pub(super) fn resizeable(
        mut self,
        used: Option<Size>,
        on_resize: Option<Box<dyn Fn(u64) + Send + Sync>>,
    ) -> Self {
        if let Some(used) = used {
            self.extent.used = AtomicU64::new(self.rounded(used));
            self.extent.on_resize = on_resize;
        }
        self
    }

    /// Whole pages, as QEMU rounds: a guest cannot have half of one.
    pub(crate) fn rounded(&self, size: Size) -> u64 {
        let bytes = u64::try_from(size.bytes()).unwrap_or(u64::MAX);
        let most = u64::try_from(self.size().bytes()).unwrap_or(u64::MAX);
        bytes.checked_next_multiple_of(self.extent.page_size).unwrap_or(most).min(most.max(bytes))
    }

    /// Bytes in one page of the host that holds the block: a huge page, if it is made of them.
    pub fn page_size(&self) -> u64 {
        self.extent.page_size
    }

    /// Bytes in use, all of them unless the block can be resized. What is beyond stays mapped, so that no guard loses
    /// its memory. QEMU's name: `used_length`.
    pub fn used(&self) -> u64 {
        self.extent.used.load(Ordering::Acquire)
    }

    /// Whether [`RegionRef::resize_ram`](crate::RegionRef::resize_ram) may change what is in use.
    pub fn is_resizeable(&self) -> bool {
        self.extent.on_resize.is_some()
    }

    /// Notes how much is in use, which the tree has settled. Returns whether it is another number than before.
    pub(crate) fn set_used(&self, used: u64) -> bool {
        self.is_resizeable() && self.extent.used.swap(used, Ordering::AcqRel) != used
    }

    /// Tells the owner of the block how much is in use now.
    pub(crate) fn tell_resized(&self) {
        if let Some(resized) = &self.extent.on_resize {
            resized(self.used());
        }
    }

    /// The address in this process of `len` bytes at `offset`, if they lie inside: what an accelerator's kernel is told. It is
    /// good for as long as the block is held; nothing that is written there without us is noted in the block's log.
    pub fn host_address(&self, offset: u64, len: u64) -> Option<usize> {
        let pointer = self.pointer(offset, usize::try_from(len).ok()?).filter(|_| self.is_backed())?;
        Some(pointer.as_ptr().expose_provenance())
    }

    /// The file or memfd that holds the block, for another process to map.
    pub fn file(&self) -> Option<&File> {
        match &self.behind {
            Behind::Mapping(mapping) => Some(mapping.file_offset()?.file()),
            _ => None,
        }
    }

    /// The block's first byte in [`RamBlock::file`].
    pub fn file_offset(&self) -> u64 {
        match &self.behind {
            Behind::Mapping(mapping) => mapping.file_offset().map_or(0, |file| file.start()),
            _ => 0,
        }
    }

    /// Gives the pages of `len` bytes at `offset` back to the host; they read as zeros. What is discarded counts as
    /// written. QEMU's name: `ram_block_discard_range`.
    ///
    /// # Errors
    /// If the range is not made of whole pages of the block ([`RamBlock::page_size`]), or if it would not read as zeros:
    /// a private image of a file, memory of the caller's, or a file that cannot have holes.
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), HostMemoryError> {
        let whole = [offset, len].iter().all(|bytes| bytes.is_multiple_of(self.page_size()));
        let length = usize::try_from(len).ok().filter(|_| whole && !self.is_read_only());
        let pointer = length.and_then(|length| self.pointer(offset, length)).zip(length);
        let Some((pointer, length)) = pointer else {
            return Err(HostMemoryError::Refused(
                "only whole pages of a block that can be written are discarded",
            ));
        };
        match (&self.behind, self.file()) {
            #[cfg(miri)]
            (Behind::Allocation(_), _) if self.fill(offset, len, 0) => {}
            (Behind::Mapping(_), None) => {
                // SAFETY: the range is inside the mapping, of which no reference exists; its content may change at any time.
                let result = unsafe { libc::madvise(pointer.as_ptr().cast(), length, libc::MADV_DONTNEED) };
                if result != 0 {
                    return Err(HostMemoryError::host("cannot discard memory"));
                }
            }
            (Behind::Mapping(_), Some(file)) if self.extent.shared => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let at = self.file_offset().checked_add(offset).and_then(|at| i64::try_from(at).ok());
                let range = at.zip(i64::try_from(len).ok());
                let (at, len) = range.ok_or(HostMemoryError::Refused("the file cannot be that long"))?;
                // SAFETY: the call takes a descriptor that is open and numbers.
                if unsafe { libc::fallocate(file.as_raw_fd(), mode, at, len) } != 0 {
                    return Err(HostMemoryError::host("cannot discard part of a file"));
                }
            }
            _ => {
                return Err(HostMemoryError::Refused(
                    "this memory would not read as zeros if it were discarded",
                ));
            }
        }
        self.dirty().written(offset, len);
        Ok(())
    }

    /// Has the host give the pages of `len` bytes at `start`.
    pub(super) fn populate(&self, start: usize, len: usize) -> Result<(), HostMemoryError> {
        let Some(pointer) = self.pointer(start as u64, len) else { return Ok(()) };
        let writes = !self.is_read_only();
        if populated(pointer, len, writes)? {
            return Ok(());
        }
        let page = usize::try_from(self.page_size()).unwrap_or(len);
        for at in (0..len).step_by(page.max(1)) {
            // SAFETY: `at` is inside the range; an atomic that changes nothing may race with all else.
            let byte = unsafe { AtomicU8::from_ptr(pointer.as_ptr().add(at)) };
            let order = std::sync::atomic::Ordering::Relaxed;
            if writes {
                byte.fetch_or(0, order)
            } else {
                byte.load(order)
            };
        }
        Ok(())
    }
}

/// Has the kernel give `len` bytes of a mapping their pages; false if it is too old to know how (before 5.14). Pages that are
/// not to be written are not: in a private mapping they would be copies, which no longer follow their file.
#[cfg(not(miri))]
fn populated(pointer: NonNull<u8>, len: usize, writes: bool) -> Result<bool, HostMemoryError> {
    let advice = if writes { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    // SAFETY: the call gives the range its pages and leaves what is in them; for what is no mapping it is an error.
    if unsafe { libc::madvise(pointer.as_ptr().cast(), len, advice) } == 0 {
        return Ok(true);
    }
    let source = std::io::Error::last_os_error();
    if source.raw_os_error() == Some(libc::EINVAL) {
        return Ok(false);
    }
    Err(HostMemoryError::Host { what: "the host has not enough memory", source })
}

/// There is no kernel.
#[cfg(miri)]
fn populated(_: NonNull<u8>, _: usize, _: bool) -> Result<bool, HostMemoryError> {
    Ok(false)
}
