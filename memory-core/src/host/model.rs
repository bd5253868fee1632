//! A stand-in for the first bytes of guest memory that a model checker sees into. The rest of a block stays the host's, of
//! which it sees nothing.

use crate::access::Width;
use crate::sync::{AtomicU64, Ordering};

/// Words of a block that are modelled.
const WORDS: u64 = 4;

/// The first words of a block.
pub(super) struct Words([AtomicU64; WORDS as usize]);

impl Words {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The word that holds `width` aligned bytes at `offset`, with the bits that they are shifted by and their mask.
    fn word(&self, offset: u64, width: Width) -> Option<(&AtomicU64, u64, u64)> {
        let aligned = width.aligned(offset);
        let word = usize::try_from(offset / 8).ok().and_then(|index| self.0.get(index));
        word.filter(|_| aligned).map(|word| (word, offset % 8 * 8, u64::MAX >> (64 - 8 * width.bytes())))
    }

    /// Whether a byte of these is modelled.
    pub(super) fn has(&self, offset: u64) -> bool {
        offset < WORDS * 8
    }

    pub(super) fn load(&self, offset: u64, width: Width, order: Ordering) -> Option<u64> {
        let (word, shift, mask) = self.word(offset, width)?;
        Some(word.load(order) >> shift & mask)
    }

    pub(super) fn store(&self, offset: u64, width: Width, value: u64, order: Ordering) -> bool {
        let Some((word, shift, mask)) = self.word(offset, width) else { return false };
        if width == Width::W8 {
            word.store(value, order);
        } else {
            let with = |old: u64| Some(old & !(mask << shift) | (value & mask) << shift);
            // never refused, and its result is that of `with`
            let _replaced = word.fetch_update(order, Ordering::Relaxed, with);
        }
        true
    }

    /// As `RamBlock::compare_exchange`.
    pub(super) fn compare_exchange(
        &self,
        offset: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Option<Result<u64, u64>> {
        let (word, shift, mask) = self.word(offset, width)?;
        let with = |old: u64| {
            let is_current = old >> shift & mask == current & mask;
            is_current.then_some(old & !(mask << shift) | (new & mask) << shift)
        };
        let result = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, with);
        Some(result.map(|old| old >> shift & mask).map_err(|old| old >> shift & mask))
    }
}
