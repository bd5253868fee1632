//! What other threads ask of a vCPU's thread, and what they know of it.

use super::report::VcpuReport;
use super::sys::{SharedPages, ThreadSlot};
use crate::sync::{
    Arc, AtomicBool, AtomicU32, Condvar, Mutex, MutexGuard, Ordering, PoisonError, Weak, fence,
};
use bitflags::bitflags;
use devices::InterruptController;
use std::collections::VecDeque;

bitflags! {
    /// What is asked.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Asked: u32 {
        /// To let go of an outdated map, and of what is asked for an instant only.
        const KICK = 1;
        /// To stay out of the guest until this is taken back.
        const PAUSE = 2;
        /// To end.
        const STOP = 4;
    }
}

/// Interrupts that may wait for a guest which takes none; from then on those of one vector are one, as in hardware.
const VECTORS: usize = 256;

/// One vCPU, for other threads.
pub(super) struct Mailbox {
    /// [`Asked`]. Set before the look whether the thread is inside, looked at after it says that it is: no wish is lost.
    asked: AtomicU32,
    /// The thread is in KVM_RUN, or about to be.
    inside: AtomicBool,
    pages: Arc<SharedPages>,
    thread: ThreadSlot,
    /// Interrupts come from us, and not from a controller in the kernel.
    injects: bool,
    /// There are vectors, or the controller asks. Set with them, before the vCPU is asked to come back and look: its usual entry takes no lock.
    has_interrupts: AtomicBool,
    /// Held for an instant.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    paused: bool,
    ended: Option<Arc<VcpuReport>>,
    /// Interrupts to give to the guest, where the kernel has no controller.
    vectors: VecDeque<u8>,
    /// A controller that knows what interrupts there are, and the level of its line.
    controller: Option<Weak<dyn InterruptController>>,
    intr: bool,
}

impl State {
    /// There is an interrupt for the guest. A controller that is gone has none.
    fn is_pending(&self) -> bool {
        let asks = || self.controller.as_ref().is_some_and(|controller| controller.strong_count() > 0);
        !self.vectors.is_empty() || (self.intr && asks())
    }
}

impl Mailbox {
    pub(super) fn new(pages: Arc<SharedPages>, injects: bool) -> Self {
        let (asked, inside) = (AtomicU32::new(0), AtomicBool::new(false));
        let (thread, state, changed) = Default::default();
        let has_interrupts = AtomicBool::new(false);
        Self { asked, inside, pages, thread, injects, has_interrupts, state, changed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pages(&self) -> &SharedPages {
        &self.pages
    }

    pub(super) fn thread(&self) -> &ThreadSlot {
        &self.thread
    }

    pub(super) fn set_inside(&self, inside: bool) {
        self.inside.store(inside, Ordering::SeqCst);
    }

    pub(super) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::SeqCst)
    }

    /// Has the thread come back from KVM_RUN, or not go in: the flag for one that is about to, the signal for one that is in.
    pub(super) fn interrupt_entry(&self) {
        self.pages.set_immediate_exit(true);
        self.thread.signal();
    }

    /// Asks something of the vCPU, wherever it is.
    pub(super) fn ask(&self, what: Asked) {
        self.asked.fetch_or(what.bits(), Ordering::SeqCst);
        // a sleeper looks under the lock before it sleeps
        self.wake();
        fence(Ordering::SeqCst);
        // one that is outside looks at what is asked once it says that it is inside
        if self.is_inside() {
            self.interrupt_entry();
        }
    }

    pub(super) fn take_back(&self, what: Asked) {
        self.asked.fetch_and(!what.bits(), Ordering::SeqCst);
        self.wake();
    }

    /// Has the thread, if it waits here, look again at what it waits for, which has changed before this.
    pub(super) fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    /// The thread waits until `over` returns something: after each ask and each [`Mailbox::wake`] it is called again, with the
    /// lock held.
    pub(super) fn wait_for<R>(&self, mut over: impl FnMut() -> Option<R>) -> R {
        let mut state = self.lock();
        loop {
            if let Some(result) = over() {
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What is asked; a kick is taken by this.
    pub(super) fn take_asked(&self) -> Asked {
        if self.asked.load(Ordering::SeqCst) == 0 {
            return Asked::empty();
        }
        Asked::from_bits_truncate(self.asked.fetch_and(!Asked::KICK.bits(), Ordering::SeqCst))
    }

    pub(super) fn injects(&self) -> bool {
        self.injects
    }

    pub(super) fn is_asked(&self) -> bool {
        !self.asked().is_empty()
    }

    fn asked(&self) -> Asked {
        Asked::from_bits_truncate(self.asked.load(Ordering::SeqCst))
    }

    /// Has the guest be given an interrupt.
    pub(super) fn push_vector(&self, vector: u8) {
        if !self.injects {
            return;
        }
        let mut state = self.lock();
        // no more than twice as many, then: there are as many vectors
        if state.vectors.len() < VECTORS || !state.vectors.contains(&vector) {
            state.vectors.push_back(vector);
        }
        self.has_interrupts.store(true, Ordering::SeqCst);
        drop(state);
        self.ask(Asked::KICK);
    }

    /// Has `controller`, whose line [`Mailbox::set_intr`] is told of, be asked for interrupts.
    pub(super) fn set_controller(&self, controller: &Arc<dyn InterruptController>) {
        let mut state = self.lock();
        state.controller = Some(Arc::downgrade(controller));
        self.has_interrupts.store(state.is_pending(), Ordering::SeqCst);
    }

    /// The line of the controller has a level. From any thread, with any lock of a device held.
    pub(super) fn set_intr(&self, level: bool) {
        let mut state = self.lock();
        state.intr = level;
        self.has_interrupts.store(state.is_pending(), Ordering::SeqCst);
        drop(state);
        if level && self.injects {
            self.ask(Asked::KICK);
        }
    }

    /// The next interrupt for the guest, if `take` says that it takes one; and whether there are more. Those that were pushed
    /// come before the controller's, which is asked with no lock held: it sets its line.
    pub(super) fn next_vector(&self, take: impl FnOnce() -> bool) -> (Option<u8>, bool) {
        if !self.has_interrupts.load(Ordering::SeqCst) {
            return (None, false);
        }
        let mut state = self.lock();
        if !state.is_pending() {
            self.has_interrupts.store(false, Ordering::SeqCst);
            return (None, false);
        }
        if !take() {
            return (None, true);
        }
        let pushed = state.vectors.pop_front();
        let controller = state.controller.clone().and_then(|controller| controller.upgrade());
        drop(state);
        let vector = pushed.or_else(|| controller.map(|controller| controller.acknowledge()));
        let state = self.lock();
        let more = state.is_pending();
        self.has_interrupts.store(more, Ordering::SeqCst);
        (vector, more)
    }

    /// The guest has halted: the thread sleeps until something is asked, or there is an interrupt, if the guest takes
    /// interrupts. Whether it is that.
    pub(super) fn sleep(&self, takes_interrupts: bool) -> bool {
        let mut state = self.lock();
        loop {
            if self.is_asked() {
                return false;
            }
            if takes_interrupts && state.is_pending() {
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread is paused, until it is not asked to be or has to stop.
    pub(super) fn stay_paused(&self) {
        let mut state = self.lock();
        state.paused = true;
        self.changed.notify_all();
        while self.asked().contains(Asked::PAUSE) && !self.asked().contains(Asked::STOP) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.paused = false;
    }

    /// Waits until the thread is paused or has ended.
    pub(super) fn wait_paused(&self) {
        let mut state = self.lock();
        while !state.paused && state.ended.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn end(&self, report: VcpuReport) {
        self.lock().ended.get_or_insert(Arc::new(report));
        self.changed.notify_all();
    }

    pub(super) fn ended(&self) -> Option<Arc<VcpuReport>> {
        self.lock().ended.clone()
    }

    pub(super) fn wait_ended(&self) -> Arc<VcpuReport> {
        let mut state = self.lock();
        loop {
            if let Some(report) = &state.ended {
                return report.clone();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
