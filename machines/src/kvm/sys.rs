//! The kernel's KVM, lent as safe types: the only module of the machines with `unsafe` in it.
//!
//! What everything here rests on: a [`Vm`] holds the block of each of its memory slots until the kernel has let go of the
//! slot, and a [`Vcpu`] holds its [`Vm`], so that no guest runs on memory that is gone. Guest memory is shared with
//! vCPUs that race by design, as `memory_core`'s host module says; the kernel is one more that does.

#![expect(unsafe_code, reason = "ioctls that take addresses, and pages that are shared with the kernel")]

mod page;
mod vcpu;

pub(super) use page::SharedPages;
pub(super) use vcpu::{Exit, ThreadSlot, Vcpu};

use page::QueuedWrites;

use crate::sync::{Arc, Mutex, PoisonError};
use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVM_MEM_LOG_DIRTY_PAGES,
    KVM_MEM_READONLY, kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_enable_cap, kvm_ioeventfd,
    kvm_ioeventfd_flag_nr_datamatch, kvm_ioeventfd_flag_nr_deassign, kvm_ioeventfd_flag_nr_pio,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, Error, IoEventAddress, Kvm, VmFd};
use memory_core::{AddrRange, EventNotifier, RamBlock};
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use vmm_sys_util::ioctl::ioctl_with_ref;

vmm_sys_util::ioctl_iow_nr!(KVM_IOEVENTFD, kvm_bindings::KVMIO, 0x79, kvm_ioeventfd);
vmm_sys_util::ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, kvm_bindings::KVMIO, 0xc0, kvm_clear_dirty_log);

/// What a memory slot is to show.
#[derive(Clone)]
pub(super) struct SlotPlace {
    /// Guest addresses, whole pages.
    pub(super) guest: AddrRange,
    /// The host memory.
    pub(super) block: Arc<RamBlock>,
    /// Of the slot's first byte in the block.
    pub(super) offset: u64,
    /// Writes exit.
    pub(super) read_only: bool,
    /// The kernel notes which pages are written.
    pub(super) logged: bool,
}

/// An event that the kernel signals when a guest writes.
#[derive(Clone, Copy)]
pub(super) struct Doorbell<'a> {
    /// A port, not memory.
    pub(super) port: bool,
    pub(super) address: u64,
    /// The width of the write in bytes, 0 for any.
    pub(super) len: u32,
    /// The value, in the guest's byte order.
    pub(super) value: Option<u64>,
    pub(super) event: &'a EventNotifier,
}

/// A write that the kernel has queued.
pub(super) struct Queued {
    /// To a port, not to memory.
    pub(super) port: bool,
    pub(super) address: u64,
    pub(super) bytes: [u8; 8],
    pub(super) len: usize,
}

/// The result of `call`, which is made again as long as a signal interrupts it: to make a machine or a vCPU takes long enough
/// for that.
fn until_done<T>(mut call: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match call() {
            Err(error) if error.errno() == libc::EINTR => {}
            done => return done,
        }
    }
}

/// A virtual machine of the kernel.
pub(super) struct Vm {
    /// Before the blocks: they go last.
    fd: VmFd,
    /// What the kernel's slots show. Held while a slot is changed.
    blocks: Mutex<HashMap<u32, Arc<RamBlock>>>,
    /// From the first vCPU on. Held to take a write.
    ring: Mutex<Option<QueuedWrites>>,
    /// Marks of the dirty log stay until [`Vm::clear_dirty`].
    keeps_marks: bool,
    kvm: Kvm,
}

impl Vm {
    /// A machine with no memory and no vCPU. With `keeps_marks` marks of the dirty log stay until they are cleared, if the
    /// kernel offers that.
    pub(super) fn new(kvm: Kvm, keeps_marks: bool) -> Result<Self, Error> {
        let fd = until_done(|| kvm.create_vm())?;
        // the offer is a set of bits, and another of them would have all pages marked at the start
        let offered = fd.check_extension_raw(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.into());
        let keep = u64::from(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
        let keeps_marks = keeps_marks && u64::try_from(offered).is_ok_and(|offered| offered & keep != 0);
        if keeps_marks {
            let (cap, args) = (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, [keep, 0, 0, 0]);
            fd.enable_cap(&kvm_enable_cap { cap, args, ..Default::default() })?;
        }
        Ok(Self { fd, blocks: Mutex::default(), ring: Mutex::default(), keeps_marks, kvm })
    }

    /// The descriptor, for what needs no address of ours.
    pub(super) fn fd(&self) -> &VmFd {
        &self.fd
    }

    pub(super) fn kvm(&self) -> &Kvm {
        &self.kvm
    }

    /// Makes or changes slot `id`; only [`SlotPlace::logged`] of one that is there may change.
    pub(super) fn set_slot(&self, id: u32, place: &SlotPlace) -> Result<(), Error> {
        let out_of_bounds = || Error::new(libc::EINVAL);
        let len = (place.guest.last() - place.guest.start()).checked_add(1).ok_or_else(out_of_bounds)?;
        let host = place.block.host_address(place.offset, len).ok_or_else(out_of_bounds)?;
        // what a guest must not write in any case is no caller's to know
        let read_only = place.read_only || place.block.is_read_only();
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let region = kvm_userspace_memory_region {
            slot: id,
            flags: flag(read_only, KVM_MEM_READONLY) | flag(place.logged, KVM_MEM_LOG_DIRTY_PAGES),
            guest_phys_addr: place.guest.start(),
            memory_size: len,
            userspace_addr: host as u64,
        };
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `host_address` has checked that the block has `len` bytes there; the block is held in `blocks` until the
        // slot is deleted, and of one that may not be written the guest cannot write.
        unsafe { self.fd.set_user_memory_region(region) }?;
        blocks.insert(id, place.block.clone());
        Ok(())
    }

    /// Deletes slot `id`.
    pub(super) fn delete_slot(&self, id: u32) -> Result<(), Error> {
        let region = kvm_userspace_memory_region { slot: id, ..Default::default() };
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a size of 0 deletes the slot, and no address is taken.
        unsafe { self.fd.set_user_memory_region(region) }?;
        // only now: until here the guest may have written to it
        blocks.remove(&id);
        Ok(())
    }

    /// The kernel's marks of slot `id`, which is `len` bytes long: a bit for each page. They are gone with this, or else
    /// [`Vm::keeps_marks`].
    pub(super) fn take_dirty(&self, id: u32, len: u64) -> Result<Vec<u64>, Error> {
        self.fd.get_dirty_log(id, usize::try_from(len).map_err(|_| Error::new(libc::EINVAL))?)
    }

    /// Whether a page that is marked stays so, and is not noted anew, until [`Vm::clear_dirty`].
    pub(super) fn keeps_marks(&self) -> bool {
        self.keeps_marks
    }

    /// Clears those of the kernel's marks of slot `id` that are set in `marks`, from page `first` on, and notes the next write
    /// to these pages. `first` is a multiple of 64, and so is `pages`, unless it goes to the slot's end.
    pub(super) fn clear_dirty(&self, id: u32, first: u64, pages: u32, marks: &[u64]) -> Result<(), Error> {
        if marks.len() < pages.div_ceil(64) as usize {
            return Err(Error::new(libc::EINVAL));
        }
        // the kernel reads it alone
        let dirty_bitmap = marks.as_ptr().cast_mut().cast();
        let marks = kvm_clear_dirty_log__bindgen_ty_1 { dirty_bitmap };
        let request =
            kvm_clear_dirty_log { slot: id, num_pages: pages, first_page: first, __bindgen_anon_1: marks };
        // SAFETY: the descriptor is a VM's, and the kernel reads the structure and a bit for each of `pages` pages, rounded up to
        // whole words, which are there.
        if unsafe { ioctl_with_ref(&self.fd, KVM_CLEAR_DIRTY_LOG(), &request) } != 0 {
            return Err(Error::last());
        }
        Ok(())
    }

    /// Has the kernel signal an event, or not any more.
    pub(super) fn set_doorbell(&self, bell: &Doorbell<'_>, assign: bool) -> Result<(), Error> {
        let flag = |set: bool, bit: u32| if set { 1 << bit } else { 0 };
        let request = kvm_ioeventfd {
            datamatch: bell.value.unwrap_or(0),
            addr: bell.address,
            len: bell.len,
            fd: bell.event.event_fd().as_raw_fd(),
            flags: flag(bell.value.is_some(), kvm_ioeventfd_flag_nr_datamatch)
                | flag(bell.port, kvm_ioeventfd_flag_nr_pio)
                | flag(!assign, kvm_ioeventfd_flag_nr_deassign),
            ..Default::default()
        };
        // SAFETY: the descriptor is a VM's, and the kernel reads the structure that it is given; it keeps the event by a
        // reference of its own.
        if unsafe { ioctl_with_ref(&self.fd, KVM_IOEVENTFD(), &request) } != 0 {
            return Err(Error::last());
        }
        Ok(())
    }

    /// Has the kernel queue writes to `range`, or not any more.
    pub(super) fn set_coalesced(&self, port: bool, range: AddrRange, queue: bool) -> Result<(), Error> {
        let size = u32::try_from((range.last() - range.start()).saturating_add(1));
        let size = size.map_err(|_| Error::new(libc::EINVAL))?;
        let at = if port { IoEventAddress::Pio(range.start()) } else { IoEventAddress::Mmio(range.start()) };
        if queue {
            self.fd.register_coalesced_mmio(at, size)
        } else {
            self.fd.unregister_coalesced_mmio(at, size)
        }
    }

    fn share_ring(&self, pages: &Arc<SharedPages>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.get_or_insert_with(|| QueuedWrites::new(pages.clone()));
    }

    /// Takes the oldest write that the kernel has queued.
    pub(super) fn take_queued(&self) -> Option<Queued> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = ring.as_mut()?.take()?;
        // SAFETY: both variants are the same 32 bits.
        let port = unsafe { entry.__bindgen_anon_1.pio } == 1;
        Some(Queued { port, address: entry.phys_addr, bytes: entry.data, len: entry.len as usize })
    }

    /// Whether the kernel queues writes to memory, or to ports.
    pub(super) fn coalesces(&self, port: bool) -> bool {
        self.fd.check_extension(if port { Cap::CoalescedPio } else { Cap::CoalescedMmio })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_a_signal_interrupts_is_made_again_and_no_other() {
        let answers = |first: i32| {
            let mut calls = 0;
            let done = until_done(|| {
                calls += 1;
                if calls == 1 { Err(Error::new(first)) } else { Ok(()) }
            });
            (calls, done.is_ok())
        };
        assert_eq!((answers(libc::EINTR), answers(libc::EEXIST)), ((2, true), (1, false)));
    }
}
