//! Where a block's memory comes from: the host's `mmap`, or, under Miri, which knows little of that, the allocator.

use super::block::Behind;
use std::ptr::NonNull;
use vm_memory::FileOffset;
use vm_memory::mmap::MmapRegionError;

/// Zeroed memory of `len` bytes, or the content of a file.
#[cfg(not(miri))]
pub(super) fn map(
    len: usize,
    flags: i32,
    file: Option<FileOffset>,
) -> Result<(Behind, NonNull<u8>), MmapRegionError> {
    let mut builder = vm_memory::mmap::MmapRegionBuilder::new(len)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(flags);
    if let Some(file) = file {
        builder = builder.with_file_offset(file);
    }
    let mapping = builder.build()?;
    let base = NonNull::new(mapping.as_ptr()).ok_or(MmapRegionError::InvalidPointer)?;
    Ok((Behind::Mapping(mapping), base))
}

/// As above; there are no files.
#[cfg(miri)]
pub(super) fn map(
    len: usize,
    _flags: i32,
    file: Option<FileOffset>,
) -> Result<(Behind, NonNull<u8>), MmapRegionError> {
    use std::io::{Error, ErrorKind};
    let refusal = |kind: ErrorKind| MmapRegionError::Mmap(Error::from(kind));
    if file.is_some() {
        return Err(refusal(ErrorKind::Unsupported));
    }
    let allocation = Allocation::zeroed(len).ok_or_else(|| refusal(ErrorKind::OutOfMemory))?;
    let base = allocation.base;
    Ok((Behind::Allocation(allocation), base))
}

/// Memory of the allocator's, which goes back to it when this is dropped.
#[cfg(miri)]
pub(super) struct Allocation {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

#[cfg(miri)]
impl Allocation {
    /// `len` bytes of zeros, page aligned; `None` if there is not that much.
    fn zeroed(len: usize) -> Option<Self> {
        let layout = std::alloc::Layout::from_size_align(len, super::PAGE_SIZE).ok()?;
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the layout has a size, as was just seen.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Self { base, layout })
    }
}

#[cfg(miri)]
impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: `zeroed` allocated just this, and nobody has freed it: there is one owner.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) }
    }
}
