//! Ioeventfds and coalesced ranges of a region.

use super::RegionRef;
use crate::address::AddrRange;
use crate::error::MemoryError;
use crate::intercept::Intercepts;
use crate::ioevent::IoEvent;
use crate::kind::Kind;
use crate::node::{Flags, Node};
use crate::sync::Arc;

impl RegionRef {
    /// Has writes that hit `event` signal it instead of running the callback. It shows wherever its first byte is seen:
    /// it moves, is clipped and vanishes with the region. QEMU's name: `memory_region_add_eventfd`.
    ///
    /// # Errors
    /// If the region has no callbacks, if the event has a value and no width, ends beyond the region, or could be hit by
    /// the same write as another one, and as in [`RegionRef`].
    pub fn add_ioevent(&self, event: IoEvent) -> Result<(), MemoryError> {
        self.intercept("has no callbacks to take writes from", |node, old| {
            let refused = |why| MemoryError::IoEvent { region: self.name.clone(), offset: event.offset, why };
            if event.value.is_some() && event.width.is_none() {
                return Err(refused("a value needs a width"));
            }
            let width = event.width.map_or(1, |width| width.bytes());
            if u128::from(event.offset) + u128::from(width) > node.size.bytes() {
                return Err(refused("it ends beyond the region"));
            }
            if old.conflict(&event).is_some() {
                return Err(refused("a write could hit another event, too"));
            }
            Ok(Some(old.with_event(event.clone())))
        })
    }

    /// Takes an event away: the one with the same offset, width, value and notifier. QEMU's name:
    /// `memory_region_del_eventfd`.
    ///
    /// # Errors
    /// If there is no such event, and as in [`RegionRef`].
    pub fn remove_ioevent(&self, event: &IoEvent) -> Result<(), MemoryError> {
        self.intercept("has no callbacks to take writes from", |_, old| {
            let known = old.events_in(event.offset, event.offset).any(|other| other.is_same(event));
            let new = if known { old.without_event(event.key()) } else { None };
            let why = "there is no such event";
            let error = || MemoryError::IoEvent { region: self.name.clone(), offset: event.offset, why };
            new.ok_or_else(error).map(Some)
        })
    }

    /// Lets writes to `range`, in bytes from the region's start, be queued, but for those to a byte at which an event
    /// is. A region with such a range is flushed before
    /// it is accessed otherwise, see [`RegionRef::set_flush_coalesced`]. QEMU's name: `memory_region_add_coalescing`.
    ///
    /// # Errors
    /// If the region has no callbacks or ends before the range does, and as in [`RegionRef`].
    pub fn add_coalesced(&self, range: AddrRange) -> Result<(), MemoryError> {
        self.intercept("has no callbacks to queue writes for", |node, old| {
            if u128::from(range.last()) >= node.size.bytes() {
                return Err(MemoryError::Coalesced { region: self.name.clone(), range, size: node.size });
            }
            Ok((!old.coalesces(range)).then(|| old.with_coalesced(range)))
        })
    }

    /// Queues no writes to the region any more. Those that are queued, by threads on an older map too, are still carried
    /// out before the region is accessed. QEMU's name: `memory_region_clear_coalescing`.
    ///
    /// # Errors
    /// If the region has no callbacks, and as in [`RegionRef`].
    pub fn clear_coalesced(&self) -> Result<(), MemoryError> {
        self.intercept("has no callbacks to queue writes for", |_, old| {
            Ok((!old.coalesced().is_empty()).then(|| old.without_coalesced()))
        })
    }

    /// Has queued writes carried out before the region is accessed, as is always done for a region that has, or once had,
    /// coalesced ranges; before a ROM device's memory is read, too, but for what an accelerator's guest reads of it directly.
    /// QEMU's name: `memory_region_set_flush_coalesced`.
    ///
    /// # Errors
    /// If the region has no callbacks, and as in [`RegionRef`].
    pub fn set_flush_coalesced(&self, flush: bool) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            let node = self.node(&state.tree)?;
            if !has_callbacks(node) {
                return Err(self.wrong_kind(node, "has no callbacks that could wait for queued writes"));
            }
            self.set_flags_in(state, Flags::FLUSH_COALESCED, flush)
        })
    }

    /// Replaces what stands between writes and the callback, unless `change` has nothing to change.
    fn intercept(
        &self,
        why: &'static str,
        change: impl FnOnce(&Node, &Intercepts) -> Result<Option<Intercepts>, MemoryError>,
    ) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            let node = self.node(&state.tree)?;
            if !has_callbacks(node) {
                return Err(self.wrong_kind(node, why));
            }
            let none = Intercepts::default();
            let old = node.intercepts.as_deref().unwrap_or(&none);
            let Some(new) = change(node, old)? else { return Ok(()) };
            let new = (!new.is_empty() || new.flushes()).then(|| Arc::new(new));
            let undo = state.tree.set_intercepts(self.id, new);
            state.changed(self.id, undo);
            Ok(())
        })
    }
}

fn has_callbacks(node: &Node) -> bool {
    matches!(node.kind, Kind::Mmio(_) | Kind::RomDevice(..))
}
