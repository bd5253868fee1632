//! RAM that a handle has at hand.

use crate::access::Found;
use crate::section::Pin;
use memory_core::{Backing, RamSpan, Width};

/// A range of another block takes the place of the one at hand once in so many accesses to such: to change costs a reference
/// count, which threads share.
const PATIENCE: u32 = 64;

/// One range of RAM of the view that a handle is on, with its place in the host's memory: most guests have one that most
/// of their accesses go to. It goes with the view.
pub(super) struct RamAtHand {
    near: Option<Near>,
    /// Accesses to what is neither registers nor at hand.
    others: u32,
}

struct Near {
    /// Address of the first byte.
    start: u64,
    span: RamSpan,
    /// Writes go where reads do, and are not refused.
    writable: bool,
    /// Keeps the memory and its owner, and hands them on should it be the last to do so: dropped after `span`.
    _pin: Pin,
}

impl RamAtHand {
    pub(super) const NONE: Self = Self { near: None, others: 0 };

    /// The value of host memory at `address`, if that is at hand and aligned.
    #[inline(always)]
    pub(super) fn load(&self, address: u64, width: Width) -> Option<u64> {
        let near = self.near.as_ref()?;
        near.span.load_aligned(address.wrapping_sub(near.start), width)
    }

    /// Writes host memory at `address`, if that is at hand and aligned.
    #[inline(always)]
    pub(super) fn store(&self, address: u64, width: Width, value: u64) -> bool {
        match &self.near {
            Some(near) if near.writable => {
                near.span.store_aligned(address.wrapping_sub(near.start), width, value)
            }
            _ => false,
        }
    }

    /// Something was found that was not at hand.
    #[inline(always)]
    pub(super) fn note(&mut self, found: Option<&Found<'_>>) {
        if let Some(found) = found
            && found.range.device().0.is_none()
        {
            if self.others.is_multiple_of(PATIENCE) {
                self.take(found);
            }
            self.others = self.others.wrapping_add(1);
        }
    }

    #[cold]
    fn take(&mut self, found: &Found<'_>) {
        let Some(part) = found.range.read() else { return };
        let Backing::Ram(block) = part.target().backing() else { return };
        let range = found.range.range();
        let len = (range.last() - range.start()).saturating_add(1);
        let Some(span) = block.span(part.offset(), len) else { return };
        let writable = found.range.is_simple() && !found.is_read_only();
        self.near = Some(Near { start: range.start(), span, writable, _pin: Pin::new(part.target()) });
    }

    /// The handle leaves its view.
    #[cold]
    pub(super) fn leave(&mut self) {
        *self = Self::NONE;
    }
}
