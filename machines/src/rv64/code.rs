//! Decoded instructions, by physical page.

use super::decode::Op;

/// Places for instructions in a page: one for every two bytes.
const PARCELS: usize = 2048;
/// Pages that are kept; a power of two. A hart's cache grows to at most 8 MiB.
const PAGES: usize = 256;

/// The instructions of one page, as far as they were reached.
pub(super) struct CodePage {
    ops: [Op; PARCELS],
}

impl CodePage {
    /// The instruction at `pc`, an address in the page; undecoded if it was not reached yet.
    #[inline(always)]
    pub fn op(&self, pc: u64) -> Op {
        self.ops.get((pc >> 1) as usize & (PARCELS - 1)).copied().unwrap_or(Op::UNDECODED)
    }

    /// Keeps the instruction at `pc`.
    pub fn put(&mut self, pc: u64, op: Op) {
        if let Some(place) = self.ops.get_mut((pc >> 1) as usize & (PARCELS - 1)) {
            *place = op;
        }
    }
}

/// One entry: the page and what it is of.
#[derive(Default)]
struct Slot {
    /// Physical address of the page.
    phys: u64,
    /// The cache's epoch when it was filled.
    epoch: u64,
    page: Option<Box<CodePage>>,
}

/// A direct-mapped cache of decoded pages. It holds no host memory, and may be outdated when code was changed
/// since the last [`CodeCache::forget`], as hardware's may be until FENCE.I.
pub(super) struct CodeCache {
    slots: Box<[Slot]>,
    /// Bumped to forget everything; slots of an older one are empty.
    epoch: u64,
}

impl CodeCache {
    pub fn new() -> Self {
        Self { slots: (0..PAGES).map(|_| Slot::default()).collect(), epoch: 1 }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.epoch += 1;
    }

    /// The decoded page of physical address `phys`, which is emptied if it is not the one that is kept.
    #[inline]
    pub fn page(&mut self, phys: u64) -> Option<&mut CodePage> {
        let slot = self.slots.get_mut((phys >> 12) as usize & (PAGES - 1))?;
        let phys = phys & !0xfff;
        if slot.phys != phys || slot.epoch != self.epoch || slot.page.is_none() {
            slot.refill(phys, self.epoch);
        }
        slot.page.as_deref_mut()
    }
}

impl Slot {
    #[cold]
    fn refill(&mut self, phys: u64, epoch: u64) {
        self.phys = phys;
        self.epoch = epoch;
        match &mut self.page {
            Some(page) => page.ops.fill(Op::UNDECODED),
            None => self.page = Some(Box::new(CodePage { ops: [Op::UNDECODED; PARCELS] })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Kind;
    use super::*;

    #[test]
    fn a_page_is_kept_until_forgotten_or_displaced() {
        let mut cache = CodeCache::new();
        let op = Op::illegal();
        cache.page(0x8000_0abc).unwrap().put(0xabc, op);
        assert_eq!(cache.page(0x8000_0000).unwrap().op(0xabc), op);
        cache.page(0x8000_0000 + 4096 * PAGES as u64).unwrap();
        assert_eq!(cache.page(0x8000_0000).unwrap().op(0xabc).kind, Kind::Undecoded);
        cache.page(0x8000_0000).unwrap().put(0xabc, op);
        cache.forget();
        assert_eq!(cache.page(0x8000_0000).unwrap().op(0xabc).kind, Kind::Undecoded);
    }
}
