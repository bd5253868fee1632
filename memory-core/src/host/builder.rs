//! Making RAM blocks: what is behind them, and how.

use super::block::{Behind, RamBlock};
use super::{host_page_size, huge, mapping};
use crate::address::Size;
use crate::sync::{Arc, thread};
use std::any::Any;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::ptr::NonNull;
use vm_memory::FileOffset;
use vm_memory::mmap::MmapRegionError;

/// Why host memory could not be had, or not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostMemoryError {
    /// The size is zero or above what the host can address.
    #[error("{0} bytes of host memory cannot be mapped")]
    Size(Size),
    /// The host refused the mapping.
    #[error("cannot map {size} bytes of host memory: {reason}")]
    Map {
        /// Bytes asked for.
        size: Size,
        /// What the host said.
        reason: MmapRegionError,
    },
    /// The host has not enough huge pages, or none of that size.
    #[error("cannot map {size} bytes in huge pages of {page}: {missing}")]
    HugePages {
        /// Bytes asked for.
        size: Size,
        /// The size of a huge page.
        page: Size,
        /// What the host lacks, and where it is set.
        missing: String,
    },
    /// The host refused something else.
    #[error("{what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// The combination means nothing, or the block is not one that this can be done with.
    #[error("{0}")]
    Refused(&'static str),
    /// More is used than the block can have.
    #[error("{used} bytes of a block of at most {most}")]
    Used {
        /// Bytes asked for.
        used: Size,
        /// The most that the block can have.
        most: Size,
    },
}

impl HostMemoryError {
    pub(super) fn host(what: &'static str) -> Self {
        Self::Host { what, source: io::Error::last_os_error() }
    }
}

/// What a block is made of.
enum Source {
    Anonymous,
    File(File, u64),
    Memfd(String),
}

type OnResize = Box<dyn Fn(u64) + Send + Sync>;

/// A RAM block to be made; anonymous and private without more. QEMU's name: `memory-backend-{ram, file, memfd}`.
///
/// ```
/// use memory_core::{RamBlock, Width};
/// // memory that can be shared with another process, all of it there from the start
/// let block = RamBlock::builder(0x10_0000u64).memfd("guest").prealloc(2).build()?;
/// let other = RamBlock::builder(0x10_0000u64).file(block.file().expect("a memfd").try_clone()?, 0).shared(true).build()?;
/// assert!(block.store(0x1000, Width::W4, 7));
/// assert_eq!(other.load(0x1000, Width::W4), Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the block is made by `build`"]
pub struct RamBlockBuilder {
    size: Size,
    source: Source,
    shared: bool,
    read_only: bool,
    huge_page: Option<Size>,
    prealloc: usize,
    used: Option<Size>,
    on_resize: Option<OnResize>,
}

impl RamBlockBuilder {
    pub(super) fn new(size: Size) -> Self {
        Self {
            size,
            source: Source::Anonymous,
            shared: false,
            read_only: false,
            huge_page: None,
            prealloc: 0,
            used: None,
            on_resize: None,
        }
    }

    /// The content of a file from `offset` on, a multiple of the host's page size. Without [`RamBlockBuilder::shared`] it
    /// is a copy-on-write image, and the file is never changed.
    pub fn file(self, file: File, offset: u64) -> Self {
        Self { source: Source::File(file, offset), ..self }
    }

    /// Memory without a file that has a descriptor all the same, which other processes can map: see [`RamBlock::file`].
    /// `name` is for people (`/proc/PID/maps`).
    pub fn memfd(self, name: impl Into<String>) -> Self {
        Self { source: Source::Memfd(name.into()), shared: true, ..self }
    }

    /// What is written reaches the file, and everybody who maps it.
    pub fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// Nothing is written through the block, not by the loader either; the file may be open for reading only.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// Huge pages of the host, of `size` bytes each (2 MiB or 1 GiB on x86-64); the block is a multiple of that. They are
    /// reserved as the block is made, which fails if the host has not so many.
    pub fn huge_pages(self, size: impl Into<Size>) -> Self {
        Self { huge_page: Some(size.into()), ..self }
    }

    /// Has the host give all pages at once, with `threads` threads, and not as they are first touched.
    pub fn prealloc(self, threads: usize) -> Self {
        Self { prealloc: threads, ..self }
    }

    /// The block can be resized up to its size, and `used` bytes of it are in use at first. `resized` is called with the new
    /// number after each change, by the thread that made it, with no lock held.
    pub fn resizeable(self, used: impl Into<Size>, resized: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { used: Some(used.into()), on_resize: Some(Box::new(resized)), ..self }
    }

    /// Makes the block.
    ///
    /// # Errors
    /// A size of zero, above the host's address space or no multiple of its huge pages, a file that is too short, or a
    /// refusal of the host.
    pub fn build(self) -> Result<Arc<RamBlock>, HostMemoryError> {
        let size = self.size;
        let len = usize::try_from(size.bytes()).ok();
        let len =
            len.filter(|len| *len > 0 && isize::try_from(*len).is_ok()).ok_or(HostMemoryError::Size(size))?;
        if let Some(used) = self.used.filter(|used| *used > size) {
            return Err(HostMemoryError::Used { used, most: size });
        }
        if let Some(page) = self.huge_page {
            huge::check(size, page)?;
        }
        let file = match self.source {
            Source::Anonymous => None,
            Source::File(file, offset) => {
                check_length(&file, offset, len)?;
                Some(FileOffset::new(file, offset))
            }
            Source::Memfd(name) => {
                let memfd = memfd(&name, len, self.huge_page)
                    .map_err(|error| huge::host_error(size, self.huge_page, error))?;
                Some(FileOffset::new(memfd, 0))
            }
        };
        if file.is_none() && self.shared {
            return Err(HostMemoryError::Refused("anonymous memory cannot be shared: use a memfd or a file"));
        }
        let mut flags = if self.shared && !self.read_only { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        // huge pages that the host lacks are refused by the reservation, and without it would kill whoever touches them
        if self.huge_page.is_none() {
            flags |= libc::MAP_NORESERVE;
        }
        let is_anonymous = file.is_none();
        if is_anonymous {
            flags |= libc::MAP_ANONYMOUS | self.huge_page.map_or(0, huge::map_flags);
        }
        let mapped = mapping::map(len, flags, file);
        let (behind, base) = mapped.map_err(|reason| huge::map_error(size, self.huge_page, reason))?;
        if is_anonymous && self.huge_page.is_none() {
            huge::advise(base, len);
        }
        let page_size =
            self.huge_page.and_then(|page| u64::try_from(page.bytes()).ok()).unwrap_or_else(host_page_size);
        let block = RamBlock::assemble(behind, base, len, size, self.read_only)
            .pages(page_size, self.shared)
            .resizeable(self.used, self.on_resize);
        if self.prealloc > 0 {
            block.prealloc(self.prealloc).map_err(|error| huge::host_error(size, self.huge_page, error))?;
        }
        Ok(Arc::new(block))
    }
}

/// Beyond its end a file can be mapped, and kills whoever touches it.
fn check_length(file: &File, offset: u64, len: usize) -> Result<(), HostMemoryError> {
    let what = "cannot look at the file";
    let about = file.metadata().map_err(|source| HostMemoryError::Host { what, source })?;
    let fits = offset.checked_add(len as u64).is_some_and(|end| end <= about.len());
    // devices do not say how long they are
    if about.is_file() && !fits {
        return Err(HostMemoryError::Refused("the file ends before the block does"));
    }
    Ok(())
}

fn memfd(name: &str, len: usize, huge_page: Option<Size>) -> Result<File, HostMemoryError> {
    let name = CString::new(name).map_err(|_| HostMemoryError::Refused("a name with a NUL in it"))?;
    let flags = libc::MFD_CLOEXEC | huge_page.map_or(0, huge::memfd_flags);
    // SAFETY: `name` is a C string that outlives the call.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if descriptor < 0 {
        return Err(HostMemoryError::host("cannot make a memfd"));
    }
    // SAFETY: the call has just made the descriptor, and nobody else has it.
    let file = unsafe { File::from_raw_fd(descriptor) };
    let what = "cannot give a memfd its size";
    file.set_len(len as u64).map_err(|source| HostMemoryError::Host { what, source })?;
    Ok(file)
}

impl RamBlock {
    /// A block to be made, of `size` bytes.
    pub fn builder(size: impl Into<Size>) -> RamBlockBuilder {
        RamBlockBuilder::new(size.into())
    }

    /// Memory of the caller's. `keeper` is kept for as long as the block lives: what unmaps the memory in its drop, for
    /// example. QEMU's name: `memory_region_init_ram_ptr`.
    ///
    /// ```
    /// use memory_core::{RamBlock, Width};
    /// use std::ptr::NonNull;
    /// let mut memory = vec![0u64; 512];
    /// let pointer = NonNull::new(memory.as_mut_ptr().cast::<u8>()).expect("a vector");
    /// // SAFETY: the vector is 4096 bytes long, lives as long as the block, and nobody else uses it.
    /// let block = unsafe { RamBlock::from_raw(pointer, 4096, memory) }?;
    /// assert!(block.store(8, Width::W8, 7));
    /// # Ok::<(), memory_core::HostMemoryError>(())
    /// ```
    ///
    /// # Safety
    /// `pointer` is valid for reads and writes of `len` bytes until `keeper` is dropped, and until then nobody makes a
    /// reference to them or accesses them other than by atomics, volatile accesses, or copies that may race with the guest's.
    /// A `Box` is such a reference, and moving it into `keeper` ends what `pointer` may do: hand in a `Vec`, or what unmaps.
    ///
    /// # Errors
    /// A length of zero or above the host's address space.
    pub unsafe fn from_raw(
        pointer: NonNull<u8>,
        len: usize,
        keeper: impl Any + Send + Sync,
    ) -> Result<Arc<Self>, HostMemoryError> {
        let size = Size::new(len as u128).filter(|_| len > 0 && isize::try_from(len).is_ok());
        let size = size.ok_or(HostMemoryError::Size(Size::from(len as u64)))?;
        Ok(Arc::new(Self::assemble(Behind::Keeper(Box::new(keeper)), pointer, len, size, false)))
    }

    /// Has the host give all pages now; what is in them stays.
    fn prealloc(&self, threads: usize) -> Result<(), HostMemoryError> {
        let page = usize::try_from(self.page_size()).unwrap_or(usize::MAX);
        let pages = self.len().div_ceil(page);
        let share = pages.div_ceil(threads.clamp(1, 64)).max(1).saturating_mul(page);
        let starts = (0..self.len()).step_by(share);
        let results: Vec<_> = thread::scope(|scope| {
            let populate = |start: usize| move || self.populate(start, share.min(self.len() - start));
            let threads: Vec<_> = starts.map(|start| scope.spawn(populate(start))).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let died = || Err(HostMemoryError::Refused("a thread that touched pages has died"));
        results.into_iter().try_for_each(|result| result.unwrap_or_else(|_| died()))
    }
}

#[cfg(test)]
mod tests;
