//! Writes that do not run the callback at once: those that hit an ioeventfd, and those that are queued.

use super::Access;
use super::found::Found;
use crate::coalesced::QueuedWrite;
use memory_core::{AddrRange, Backing, BoundMmio, Intercepts, Request, Width};
use memory_flatview::{Part, RangeFlags};

impl Access<'_> {
    /// Carries out queued writes before an access that would notice.
    #[inline]
    pub(super) fn flush(&self, found: &Found<'_>) {
        if found.range.flags().contains(RangeFlags::FLUSH_COALESCED) {
            self.space.system().flush_coalesced();
        }
    }

    /// The same before a read of a ROM device's memory, which a queued write may change, or make no memory: true if the map is
    /// another one by now. A debugger sets nothing off.
    pub(super) fn is_overtaken(&self, found: &Found<'_>, backing: &Backing) -> bool {
        if !found.is_queued_for(backing) || self.attrs.is_debug() {
            return false;
        }
        self.flush(found);
        self.space.generation() != self.view.generation()
    }

    /// Whether a write was dealt with: it signalled an event, or is queued. What the rules do not accept does neither. The
    /// value is compared in the device's byte order.
    pub(super) fn is_intercepted(
        &self,
        found: &Found<'_>,
        part: &Part,
        mmio: &BoundMmio,
        intercepts: &Intercepts,
        (offset, width, value): (u64, Width, u64),
    ) -> bool {
        let attrs = self.attrs;
        if !mmio.rules.accept(Request { offset, width, write: true, attrs }) {
            return false;
        }
        let order = self.space.config().order;
        let written = mmio.rules.device_value(width, value, order);
        if let Some(event) = intercepts.events_in(offset, offset).find(|event| event.hits(width, written)) {
            // whoever hears it finds what was written before it
            self.flush(found);
            event.event.signal();
            return true;
        }
        let system = self.space.system();
        let range = offset.checked_add(width.bytes() - 1).and_then(|last| AddrRange::new(offset, last));
        let queues = system.coalesced().is_enabled()
            && range.is_some_and(|range| intercepts.coalesces(range))
            && system.coalesced().may_queue(part.target());
        if !queues {
            return false;
        }
        let target = part.target().clone();
        let write = QueuedWrite { target, offset, width, value, order, attrs };
        // a full ring is carried out, and the write itself after it
        system.coalesced().push(write).is_ok()
    }
}
