//! Keeping vCPUs out of guest code while memory slots change.

use super::mailbox::{Asked, Mailbox};
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
    /// Why the gate never opens again. Held to look, and to change `closed`; never while a vCPU is signalled. Taken with a
    /// mailbox's lock held, and not the other way round.
    lost: Mutex<Option<Arc<str>>>,
    /// A vCPU has left.
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

    /// Waits until the gate is open, or, with `heeds_asked`, something is asked of the vCPU, whose thread calls this. It holds
    /// nothing that a commit waits for.
    ///
    /// # Errors
    /// Why it never will be open.
    pub(super) fn wait(&self, vcpu: &Mailbox, heeds_asked: bool) -> Result<(), Arc<str>> {
        let over = || {
            let lost = self.lock();
            let is_open = lost.is_some() || !self.closed.load(Ordering::SeqCst);
            (is_open || heeds_asked && vcpu.is_asked()).then(|| lost.clone())
        };
        vcpu.wait_for(over).map_or(Ok(()), Err)
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
        let opens = lost.is_none() && self.closed.swap(false, Ordering::SeqCst);
        drop(lost);
        if opens {
            self.vcpus().iter().for_each(|vcpu| vcpu.wake());
        }
    }

    /// Why the gate never opens again, if it does not.
    pub(super) fn lost(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    /// Closes the gate for ever: the kernel's map is not the machine's. Has all vCPUs look at it, those that have halted
    /// outside too. Waits for nobody.
    pub(super) fn give_up(&self, why: &str) {
        let mut lost = self.lock();
        lost.get_or_insert_with(|| why.into());
        self.closed.store(true, Ordering::SeqCst);
        drop(lost);
        self.call_out().iter().for_each(|vcpu| vcpu.ask(Asked::KICK));
    }

    /// Has the vCPUs that are inside leave, once the gate is closed.
    fn call_out(&self) -> Vec<Arc<Mailbox>> {
        fence(Ordering::SeqCst);
        let vcpus = self.vcpus();
        vcpus.iter().filter(|vcpu| vcpu.is_inside()).for_each(|vcpu| vcpu.interrupt_entry());
        vcpus
    }

    fn vcpus(&self) -> Vec<Arc<Mailbox>> {
        self.vcpus.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
