//! The ring that an accelerator queues writes in.

use super::{Drain, QueuedWrite};
use crate::space::AddressSpace;
use crate::sync::{Arc, Ordering, Weak};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{SpaceId, TxAttrs, Width};
use memory_flatview::{RangeFlags, View};

/// A write that an accelerator has queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoalescedWrite {
    /// The space that it goes to.
    pub space: SpaceId,
    /// Where in the space.
    pub address: u64,
    /// What is written, in the order of addresses.
    pub bytes: [u8; 8],
    /// How many of the bytes, at most 8.
    pub len: usize,
}

/// Where an accelerator queues writes to coalesced ranges: a ring that its kernel fills while guests run.
///
/// It is asked by any thread, one at a time, with the writers' lock held or not, and must not block or dispatch. What is
/// taken goes to the device that the map shows at that time: before each commit publishes, the ring is emptied.
pub trait CoalescedRing: Send + Sync {
    /// Takes out the oldest write, if there is one.
    fn take(&self) -> Option<CoalescedWrite>;
}

impl MemorySystem {
    /// Has `ring` emptied wherever queued writes are carried out: before an access to a region that is flushed, on
    /// [`MemorySystem::flush_coalesced`], when a handle parks, before a transaction, and before a commit publishes. It is held
    /// weakly. It takes the place of another one, which is emptied before.
    ///
    /// ```
    /// use memory_core::{AccessRules, BusFault, Mmio, Size, TxAttrs, Width};
    /// use memory_dispatch::{CoalescedRing, CoalescedWrite, MemorySystem, SpaceConfig};
    /// use std::collections::VecDeque;
    /// use std::sync::{Arc, Mutex};
    ///
    /// struct Ring(Mutex<VecDeque<CoalescedWrite>>);
    /// impl CoalescedRing for Ring {
    ///     fn take(&self) -> Option<CoalescedWrite> {
    ///         self.0.lock().unwrap().pop_front()
    ///     }
    /// }
    /// struct Last(Mutex<u64>);
    /// impl Mmio for Last {
    ///     fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
    ///         Ok(*self.0.lock().unwrap())
    ///     }
    ///     fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
    ///         Ok(*self.0.lock().unwrap() = value)
    ///     }
    /// }
    ///
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let last = Arc::new(Last(Mutex::new(0)));
    /// let regs = system.memory().mmio("last", 0x10u64, AccessRules::new(), last.clone()).build()?;
    /// root.map(0x1000, &regs)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let ring = Arc::new(Ring(Mutex::default()));
    /// system.set_coalesced_ring(ring.clone());
    /// let bytes = 7u64.to_le_bytes();
    /// ring.0.lock().unwrap().push_back(CoalescedWrite { space: space.id(), address: 0x1000, bytes, len: 4 });
    /// system.flush_coalesced();
    /// assert_eq!(*last.0.lock().unwrap(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_coalesced_ring(&self, ring: Arc<dyn CoalescedRing>) {
        let inner = self.inner();
        inner.flush_coalesced();
        let coalesced = inner.coalesced();
        let mut drain = coalesced.lock();
        drain.accelerator = Some(Arc::downgrade(&ring));
        coalesced.accelerated.store(true, Ordering::SeqCst);
    }
}

impl SystemInner {
    /// Takes what an accelerator has queued to where its devices are in the published maps. Runs no device, and waits for
    /// nobody who does.
    pub(crate) fn absorb_ring(&self) {
        let coalesced = self.coalesced();
        if !coalesced.accelerated.load(Ordering::SeqCst) {
            return;
        }
        // held all the while: what is taken first is queued first
        let mut drain = coalesced.lock();
        let Some(ring) = drain.accelerator.as_ref().and_then(Weak::upgrade) else {
            // the accelerator is gone: nobody has to look any more
            coalesced.accelerated.store(false, Ordering::SeqCst);
            return;
        };
        let mut space: Option<Arc<AddressSpace>> = None;
        while let Some(write) = ring.take() {
            if space.as_ref().is_none_or(|space| space.id() != write.space) {
                let before = std::mem::replace(&mut space, self.space(write.space));
                self.reclaim().retire(Box::new(before));
            }
            let Some(space) = &space else { continue };
            space.with_view(|view| drain.absorb(space, view, &write));
        }
        if !drain.absorbed.is_empty() {
            coalesced.pending.store(true, Ordering::SeqCst);
        }
        drop(drain);
        if space.is_some() {
            // the last reference to a space must not be dropped under the writers' lock
            self.reclaim().retire(Box::new(space));
        }
    }
}

impl Drain {
    fn absorb(&mut self, space: &AddressSpace, view: &View, write: &CoalescedWrite) {
        let Some(bytes) = write.bytes.get(..write.len) else { return };
        // the processor writes 1, 2, 4 or 8 bytes; what it cut at the end of a page comes byte by byte
        let width = Width::new(write.len as u64).unwrap_or(Width::W1);
        let order = space.config().order;
        for (piece, bytes) in (0u64..).zip(bytes.chunks(width.len())) {
            let address = write.address.wrapping_add(piece * width.bytes());
            let writable = |flags: RangeFlags| !flags.contains(RangeFlags::READ_ONLY);
            let range = view.find(address).filter(|range| writable(range.flags()));
            let Some((range, part)) = range.and_then(|range| Some((range, range.write()?))) else {
                tracing::debug!(address, "a queued write goes to where nobody is");
                continue;
            };
            let offset = part.offset().wrapping_add(address.wrapping_sub(range.range().start()));
            let (target, value) = (part.target().clone(), order.decode(bytes));
            let attrs = TxAttrs::default();
            self.absorbed.push_back(QueuedWrite { target, offset, width, value, order, attrs });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl CoalescedRing for Nothing {
        fn take(&self) -> Option<CoalescedWrite> {
            None
        }
    }

    #[test]
    fn an_accelerator_that_is_gone_costs_nothing() {
        let system = MemorySystem::new();
        let is_pending = || system.inner().coalesced().is_pending();
        for _ in 0..2 {
            let ring = Arc::new(Nothing);
            system.set_coalesced_ring(ring.clone());
            system.flush_coalesced();
            assert!(is_pending(), "it may queue at any time");
            drop(ring);
            system.flush_coalesced();
            assert!(!is_pending());
        }
    }
}
