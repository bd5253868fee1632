//! Keeping vCPUs out of guest code while memory slots change.

use super::mailbox::Mailbox;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering, PoisonError, fence};

/// What a vCPU passes each time it enters the guest.
///
/// A slot that is moved or resized is gone for an instant, and a fetch in that instant would end the guest. So a
/// commit that changes slots closes the gate, which returns when no vCPU is in KVM_RUN, and opens it when the new map is
/// published. It waits for nothing else: a vCPU that dispatches an access, one that waits for the writers' lock included, is
/// outside, and stays there.
///
/// A vCPU says that it is inside and then looks whether the gate is closed; who closes it says so and then looks who is inside.
/// With a fence between on both sides one of them sees the other.
#[derive(Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    /// Why the gate never opens again. Held to look, and to change `closed`; never while a vCPU is signalled.
    lost: Mutex<Option<Arc<str>>>,
    /// A vCPU has left, the gate is open, or never will be.
    changed: Condvar,
    /// Held for an instant.
    vcpus: Mutex<Vec<Arc<Mailbox>>>,
}

impl Gate {
    /// From now on closing waits for this vCPU too. Called before its first entry.
    pub(super) fn add(&self, vcpu: &Arc<Mailbox>) {
        self.vcpus.lock().unwrap_or_else(PoisonError::into_inner).push(vcpu.clone());
    }

    /// The vCPU enters; false if the gate is closed, and [`Gate::wait`] says when to try again.
    #[must_use]
    pub(super) fn enter(&self, vcpu: &Mailbox) -> bool {
        vcpu.set_inside(true);
        fence(Ordering::SeqCst);
        let is_open = !self.closed.load(Ordering::SeqCst);
        if !is_open {
            self.leave(vcpu);
        }
        is_open
    }

    /// The vCPU has left the guest.
    pub(super) fn leave(&self, vcpu: &Mailbox) {
        vcpu.set_inside(false);
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            drop(self.lock());
            self.changed.notify_all();
        }
    }

    /// Waits until the gate is open. The caller holds nothing that a commit waits for.
    ///
    /// # Errors
    /// Why it never will be.
    pub(super) fn wait(&self) -> Result<(), Arc<str>> {
        let mut lost = self.lock();
        while self.closed.load(Ordering::SeqCst) {
            if let Some(why) = &*lost {
                return Err(why.clone());
            }
            lost = self.changed.wait(lost).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Closes the gate, and returns when no vCPU is inside. Called with the writers' lock held: one thread at a time.
    pub(super) fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let vcpus = self.call_out();
        let mut lock = self.lock();
        while vcpus.iter().any(|vcpu| vcpu.is_inside()) {
            lock = self.changed.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Opens the gate, if it is closed and not given up.
    pub(super) fn open(&self) {
        let lost = self.lock();
        if lost.is_none() && self.closed.swap(false, Ordering::SeqCst) {
            self.changed.notify_all();
        }
    }

    /// Closes the gate for ever: the kernel's map is not the machine's. Waits for nobody.
    pub(super) fn give_up(&self, why: &str) {
        let mut lost = self.lock();
        lost.get_or_insert_with(|| why.into());
        self.closed.store(true, Ordering::SeqCst);
        drop(lost);
        self.changed.notify_all();
        self.call_out();
    }

    /// Has the vCPUs that are inside leave, once the gate is closed.
    fn call_out(&self) -> Vec<Arc<Mailbox>> {
        fence(Ordering::SeqCst);
        let vcpus = self.vcpus.lock().unwrap_or_else(PoisonError::into_inner).clone();
        vcpus.iter().filter(|vcpu| vcpu.is_inside()).for_each(|vcpu| vcpu.interrupt_entry());
        vcpus
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
