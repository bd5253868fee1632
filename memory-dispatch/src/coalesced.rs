//! Queued writes to coalesced ranges: the software ring.
//!
//! A device with many writes that need no answer (a frame buffer's palette, a FIFO) lets them be queued, and they are
//! carried out, in order, when somebody would notice: before any other access to a region that is flushed, on
//! [`MemorySystem::flush_coalesced`], when a handle parks, and before and after a transaction. An accelerator keeps a ring
//! of its own in the kernel ([`CoalescedRing`]); this one does the same where there is none, if it is switched on.
//!
//! Who is about to access waits for a drain of another thread, and so holds no lock of a device. Who changes the map may
//! hold one, and waits for nobody.

mod ring;

pub use ring::{CoalescedRing, CoalescedWrite};

use crate::chain;
use crate::entry::EntryKind;
use crate::sync::{
    Arc, ArrayQueue, AtomicBool, Condvar, Mutex, MutexGuard, Ordering, PoisonError, Weak, thread_local,
};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{Backing, ByteOrder, Target, TxAttrs, Width};
use std::cell::RefCell;
use std::collections::VecDeque;

/// Writes that the ring holds. QEMU's kernel ring holds about as many (a page).
pub const COALESCED_RING: usize = 256;

/// A write that waits. It goes by region and offset, so that a change of the map does not lead it astray.
pub(crate) struct QueuedWrite {
    /// Pins the device. Not a `Pin`, which would hold the system that holds the ring.
    pub(crate) target: Arc<Target>,
    pub(crate) offset: u64,
    pub(crate) width: Width,
    /// In the byte order of the space.
    pub(crate) value: u64,
    pub(crate) order: ByteOrder,
    pub(crate) attrs: TxAttrs,
}

#[derive(Default)]
struct Drain {
    /// Some thread carries writes out.
    busy: bool,
    /// Writes that came before those in the ring, to devices that the thread which drained was inside.
    put_off: VecDeque<QueuedWrite>,
    /// Writes that were taken out of the accelerator's ring, after those that are put off.
    absorbed: VecDeque<QueuedWrite>,
    /// The ring of the machine's accelerator.
    accelerator: Option<Weak<dyn CoalescedRing>>,
}

/// The ring of a machine.
pub(crate) struct Coalesced {
    enabled: AtomicBool,
    /// There is an accelerator with a ring, which may hold something at any time.
    accelerated: AtomicBool,
    ring: ArrayQueue<QueuedWrite>,
    /// There is something in the ring, put off, or being carried out.
    pending: AtomicBool,
    /// Held to look and to move writes, never while one is carried out.
    drain: Mutex<Drain>,
    done: Condvar,
}

thread_local! {
    /// The rings whose writes this thread carries out: what they lead to does not wait for itself.
    static DRAINING: RefCell<Vec<*const Coalesced>> = const { RefCell::new(Vec::new()) };
}

impl Default for Coalesced {
    fn default() -> Self {
        Self {
            enabled: AtomicBool::new(false),
            accelerated: AtomicBool::new(false),
            ring: ArrayQueue::new(COALESCED_RING),
            pending: AtomicBool::new(false),
            drain: Mutex::default(),
            done: Condvar::new(),
        }
    }
}

impl Coalesced {
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Queues a write, or hands it back if the ring is full.
    pub(crate) fn push(&self, write: QueuedWrite) -> Result<(), QueuedWrite> {
        self.ring.push(write)?;
        self.pending.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Whether there may be something to carry out. Who has queued something sees it here, or finds it carried out: `pending`
    /// alone is off for an instant when a drain ends.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
            || !self.ring.is_empty()
            || self.accelerated.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this thread carries writes out.
    fn is_draining(&self) -> bool {
        DRAINING.with(|draining| draining.borrow().contains(&std::ptr::from_ref(self)))
    }

    /// Whether a write to `target` may be queued on this thread: one that a device makes to itself is refused at once, and one
    /// that a queued write leads to goes on in the chain of that, which ends, while a drain of what feeds it would not.
    pub(crate) fn may_queue(&self, target: &Target) -> bool {
        !self.is_draining() && !chain::is_inside(target.guard())
    }

    /// Waits until no other thread carries writes out, if `waits`; otherwise `None` if one does. Whoever carries out waits
    /// for nobody, of another machine neither: what a device waits for inside its callback it must not hold while it
    /// dispatches.
    fn begin(&self, waits: bool) -> Option<Busy<'_>> {
        let waits = waits && DRAINING.with(|draining| draining.borrow().is_empty());
        let mut drain = self.lock();
        while drain.busy {
            if !waits {
                return None;
            }
            drain = self.done.wait(drain).unwrap_or_else(PoisonError::into_inner);
        }
        drain.busy = true;
        DRAINING.with(|draining| draining.borrow_mut().push(self));
        Some(Busy { coalesced: self, put_off: std::mem::take(&mut drain.put_off), kept: VecDeque::new() })
    }
}

/// This thread carries writes out until this is dropped.
struct Busy<'a> {
    coalesced: &'a Coalesced,
    /// What was put off before, in order.
    put_off: VecDeque<QueuedWrite>,
    /// What is put off now.
    kept: VecDeque<QueuedWrite>,
}

impl Busy<'_> {
    fn next(&mut self) -> Option<QueuedWrite> {
        // a thread that puts off a whole ring leaves the next one to others
        let room = self.kept.len() < COALESCED_RING;
        let absorbed = || self.coalesced.lock().absorbed.pop_front();
        let queued = || absorbed().or_else(|| self.coalesced.ring.pop());
        self.put_off.pop_front().or_else(|| if room { queued() } else { None })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.kept.append(&mut self.put_off);
        DRAINING.with(|draining| draining.borrow_mut().pop());
        let mut drain = self.coalesced.lock();
        drain.put_off = std::mem::take(&mut self.kept);
        drain.busy = false;
        let left = !drain.put_off.is_empty() || !drain.absorbed.is_empty();
        // before the look at the ring: whoever pushes after it says so again
        self.coalesced.pending.store(left, Ordering::SeqCst);
        if !self.coalesced.ring.is_empty() {
            self.coalesced.pending.store(true, Ordering::SeqCst);
        }
        drop(drain);
        self.coalesced.done.notify_all();
    }
}

impl MemorySystem {
    /// Has writes to coalesced ranges queued, for machines without an accelerator that does it; off at first. Switched
    /// off, what is queued is carried out.
    ///
    /// ```
    /// use memory_core::{AccessRules, AddrRange, BusFault, Mmio, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// use std::sync::{Arc, Mutex};
    ///
    /// #[derive(Default)]
    /// struct Fifo(Mutex<Vec<u64>>);
    /// impl Mmio for Fifo {
    ///     fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
    ///         Ok(self.0.lock().unwrap().len() as u64)
    ///     }
    ///     fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
    ///         Ok(self.0.lock().unwrap().push(value))
    ///     }
    /// }
    ///
    /// let system = MemorySystem::new();
    /// system.coalesce(true);
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let fifo = Arc::new(Fifo::default());
    /// let regs = system.memory().mmio("fifo", 0x10u64, AccessRules::new(), fifo.clone()).build()?;
    /// regs.add_coalesced(AddrRange::new(0, 3).expect("a range"))?;
    /// root.map(0, &regs)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// space.store(0, Width::W4, 1, TxAttrs::default())?;
    /// space.store(0, Width::W4, 2, TxAttrs::default())?;
    /// assert!(fifo.0.lock().unwrap().is_empty());
    /// // a read notices
    /// assert_eq!(space.load(8, Width::W4, TxAttrs::default()), Ok(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn coalesce(&self, enabled: bool) {
        let inner = self.inner();
        inner.coalesced().enabled.store(enabled, Ordering::Relaxed);
        if !enabled {
            inner.flush_coalesced();
        }
    }

    /// Carries out queued writes, in order. Does nothing inside a transaction, whose beginning did it, or a listener. QEMU's
    /// name: `qemu_flush_coalesced_mmio_buffer`.
    pub fn flush_coalesced(&self) {
        self.inner().flush_coalesced();
    }
}

impl SystemInner {
    /// Carries out queued writes, but for those to devices that this thread is inside: they wait until it is outside.
    #[inline]
    pub(crate) fn flush_coalesced(self: &Arc<Self>) {
        if self.coalesced().is_pending() {
            self.carry_out(true);
        }
    }

    /// Carries out queued writes before or after a change of the map, which a device may make with a lock of its own held. So
    /// this waits for no other thread's drain, which may want that lock, and inside a device runs no other one: what is
    /// queued waits until the thread is outside. It goes by region, so that the change does not lead it astray.
    pub(crate) fn flush_around_change(self: &Arc<Self>) {
        if !self.coalesced().is_pending() || self.coalesced().is_draining() {
            return;
        }
        if chain::is_inside_any() {
            self.flush_when_outside();
        } else {
            self.carry_out(false);
        }
    }

    fn flush_when_outside(self: &Arc<Self>) {
        let system = self.clone();
        chain::after(Arc::as_ptr(self) as usize, move || system.flush_coalesced());
    }

    /// Waits for a drain of another thread, or leaves the rest to it.
    #[cold]
    fn carry_out(self: &Arc<Self>, waits: bool) {
        // inside a transaction, and with the lock of an adapter held, no device is entered: what is queued waits for the next
        // occasion
        let coalesced = self.coalesced();
        if coalesced.is_draining() || chain::check_enters().is_err() {
            return;
        }
        let Some(mut busy) = coalesced.begin(waits) else { return };
        self.absorb_ring();
        let mut done = Vec::new();
        while let Some(write) = busy.next() {
            if chain::is_inside(write.target.guard()) && !allows_reentry(&write.target) {
                busy.kept.push_back(write);
                continue;
            }
            self.carry_out_one(&write);
            done.push(write.target);
        }
        let left = !busy.kept.is_empty();
        drop(busy);
        // the last reference to a device is nothing for an access
        for target in done {
            if let Some(last) = Arc::into_inner(target) {
                self.reclaim().retire(Box::new(last));
                self.reclaim().signal();
            }
        }
        if left {
            self.flush_when_outside();
        }
    }

    /// One write, as a chain of its own.
    fn carry_out_one(self: &Arc<Self>, write: &QueuedWrite) {
        let (Backing::Mmio(mmio) | Backing::RomDevice(_, mmio)) = write.target.backing() else { return };
        let fresh = chain::fresh();
        let entered = self.enter_pinned(&write.target, EntryKind::Drain, allows_reentry(&write.target));
        let callback = |offset, width, value| mmio.device.write(offset, width, value, write.attrs);
        let result = entered.and_then(|_inside| {
            let QueuedWrite { offset, width, value, attrs, order, .. } = *write;
            mmio.rules.write(offset, width, value, attrs, order, callback).unwrap_or(Ok(()))
        });
        drop(fresh);
        if let Err(fault) = result {
            // the initiator is gone, as with any posted write
            tracing::debug!(region = write.target.name(), %fault, "a queued write failed");
        }
    }
}

fn allows_reentry(target: &Target) -> bool {
    match target.backing() {
        Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) => mmio.rules.reentry().is_some(),
        _ => false,
    }
}
