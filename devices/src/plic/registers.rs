//! Register map (RISC-V Platform-Level Interrupt Controller Specification 1.0.0). Offsets in bytes; all registers have 32
//! bits.

use std::ops::Range;

/// The highest interrupt source; source 0 does not exist.
pub(crate) const MAX_SOURCES: u32 = 1023;
/// The most contexts that the register map has room for.
pub(crate) const MAX_CONTEXTS: u32 = 15872;

/// Priority of source *i* at `4 * i`.
pub(crate) const PRIORITIES: Range<u64> = 0..0x1000;
/// A bit for each source, read only.
pub(crate) const PENDING: Range<u64> = 0x1000..0x1080;
/// A bit for each source, for each context.
pub(crate) const ENABLES: Range<u64> = 0x2000..CONTEXTS;
/// From one context's enable bits to the next one's.
pub(crate) const ENABLES_STRIDE: u64 = 0x80;
/// Threshold and claim of each context, up to the end of the region.
pub(crate) const CONTEXTS: u64 = 0x20_0000;
/// From one context's threshold to the next one's.
pub(crate) const CONTEXT_STRIDE: u64 = 0x1000;
/// The threshold, from there.
pub(crate) const THRESHOLD: u64 = 0;
/// Reads claim an interrupt, writes complete it.
pub(crate) const CLAIM_COMPLETE: u64 = 4;

/// Bits of `mip`, as device trees number a hart's interrupts.
pub(crate) const IRQ_S_EXTERNAL: u32 = 9;
/// See [`IRQ_S_EXTERNAL`].
pub(crate) const IRQ_M_EXTERNAL: u32 = 11;

/// A register, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Register {
    /// Of this source.
    Priority(usize),
    /// Sources `32 * n` and up.
    Pending(usize),
    /// Of this context; sources `32 * word` and up.
    Enables { context: usize, word: usize },
    /// Of this context.
    Threshold(usize),
    /// Of this context.
    ClaimComplete(usize),
}

impl Register {
    /// The register at `offset`, which is a multiple of 4; of a source or context that may not be there.
    pub(crate) fn decode(offset: u64) -> Option<Self> {
        let index = |bytes: u64, stride: u64| usize::try_from(bytes / stride).ok();
        if PRIORITIES.contains(&offset) {
            return Some(Self::Priority(index(offset, 4)?));
        }
        if PENDING.contains(&offset) {
            return Some(Self::Pending(index(offset - PENDING.start, 4)?));
        }
        if ENABLES.contains(&offset) {
            let context = index(offset - ENABLES.start, ENABLES_STRIDE)?;
            return Some(Self::Enables { context, word: index(offset % ENABLES_STRIDE, 4)? });
        }
        let context = index(offset.checked_sub(CONTEXTS)?, CONTEXT_STRIDE)?;
        match offset % CONTEXT_STRIDE {
            THRESHOLD => Some(Self::Threshold(context)),
            CLAIM_COMPLETE => Some(Self::ClaimComplete(context)),
            _ => None,
        }
    }
}
