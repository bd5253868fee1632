//! The pages that a vCPU shares with the kernel: what it is asked while it runs, and the ring of queued writes.

use crate::sync::{Arc, AtomicU8, AtomicU32, Ordering};
use kvm_bindings::{
    KVM_COALESCED_MMIO_PAGE_OFFSET, kvm_coalesced_mmio, kvm_coalesced_mmio_ring, kvm_run,
    kvm_run__bindgen_ty_1__bindgen_ty_4 as PortExit, kvm_run__bindgen_ty_1__bindgen_ty_13 as InternalExit,
};
use kvm_ioctls::{Error, VcpuFd};
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A second mapping of a vCPU's pages, for other threads than its own.
pub(in crate::kvm) struct SharedPages {
    base: NonNull<u8>,
    len: usize,
    page_size: usize,
}

// SAFETY: `base` is a shared mapping that lives as long as this, and is only accessed through atomics, or, of the ring's
// entries, by the one [`QueuedWrites`] of a machine.
unsafe impl Send for SharedPages {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps the `len` bytes that the kernel says a vCPU shares.
    pub(super) fn map(vcpu: &VcpuFd, len: usize) -> Result<Arc<Self>, Error> {
        // SAFETY: the call takes a number and returns one.
        let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_size = usize::try_from(page_size).map_err(|_| Error::last())?;
        if len < size_of::<kvm_run>() {
            return Err(Error::new(libc::EINVAL));
        }
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, vcpu.as_raw_fd());
        // SAFETY: a new mapping, where the kernel likes it, of a descriptor that is open.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(Error::last());
        }
        let base = NonNull::new(base.cast()).ok_or_else(Error::last)?;
        Ok(Arc::new(Self { base, len, page_size }))
    }

    /// Has the next entry of the guest, or the present one if a signal ends it, come back at once; or not.
    pub(in crate::kvm) fn set_immediate_exit(&self, set: bool) {
        // SAFETY: `map` has checked that a whole `kvm_run` is there; the byte may be read by the kernel at any time.
        let cell = unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(offset_of!(kvm_run, immediate_exit))) };
        cell.store(set.into(), Ordering::SeqCst);
    }

    /// The width in bytes of the port access that the vCPU came back with; its own thread asks, before it runs on.
    pub(super) fn port_width(&self) -> usize {
        let offset = offset_of!(kvm_run, __bindgen_anon_1) + offset_of!(PortExit, size);
        // SAFETY: `map` has checked that a whole `kvm_run` is there.
        let cell = unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(offset)) };
        usize::from(cell.load(Ordering::Relaxed)).max(1)
    }

    /// What the kernel says of an internal error that the vCPU came back with; its own thread asks, before it runs on.
    pub(super) fn internal_error(&self) -> (u32, Vec<u64>) {
        let offset = offset_of!(kvm_run, __bindgen_anon_1);
        // SAFETY: `map` has checked that a whole `kvm_run` is there, which is aligned as the page is, and any bytes are numbers.
        // The kernel writes them in KVM_RUN alone, which is this thread's, and other threads touch another byte.
        let InternalExit { suberror, ndata, data } =
            unsafe { self.base.as_ptr().add(offset).cast::<InternalExit>().read() };
        (suberror, data.into_iter().take(ndata as usize).collect())
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a reference into it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The ring that the vCPUs of a machine share. There is one of these for each machine.
pub(super) struct QueuedWrites {
    pages: Arc<SharedPages>,
}

impl QueuedWrites {
    /// The ring as one of the vCPUs has it.
    pub(super) fn new(pages: Arc<SharedPages>) -> Self {
        Self { pages }
    }

    /// Takes out the oldest write.
    pub(super) fn take(&mut self) -> Option<kvm_coalesced_mmio> {
        let page_size = self.pages.page_size;
        let start = page_size.checked_mul(KVM_COALESCED_MMIO_PAGE_OFFSET as usize)?;
        if start.checked_add(page_size)? > self.pages.len {
            return None;
        }
        let header = size_of::<kvm_coalesced_mmio_ring>();
        let entries = page_size.checked_sub(header)? / size_of::<kvm_coalesced_mmio>();
        // SAFETY: the page is inside the mapping, as was just checked, and begins with the two indexes.
        let (first, last, ring) = unsafe {
            let ring = self.pages.base.as_ptr().add(start);
            let index = |offset: usize| AtomicU32::from_ptr(ring.add(offset).cast());
            let first = index(offset_of!(kvm_coalesced_mmio_ring, first));
            (first, index(offset_of!(kvm_coalesced_mmio_ring, last)), ring)
        };
        let at = first.load(Ordering::Relaxed);
        // what the kernel wrote before it moved `last` is there after this
        if at == last.load(Ordering::Acquire) || at as usize >= entries {
            return None;
        }
        // SAFETY: `at` is below the number of entries that the page has room for. The kernel does not touch the entry until
        // `first` has moved on, which only this does, with `self` borrowed alone.
        let entry = unsafe { ring.add(header).cast::<kvm_coalesced_mmio>().add(at as usize).read() };
        first.store((at + 1) % entries as u32, Ordering::Release);
        Some(entry)
    }
}
