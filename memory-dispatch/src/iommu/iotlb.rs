//! The IOTLB: what IOMMUs said, kept until they take it back.
//!
//! The race that matters is a translation that was asked for before an invalidation and is kept after it. So whoever asks
//! notes the number of invalidations before, and keeps the answer only if that is still the number, which he looks at with
//! the lock of the entry's place in the map held. An invalidation counts first and then takes entries out, place by
//! place: an answer that was kept before the count is found there, and one after it is not kept.

use crate::chain;
use crate::sync::{AtomicU64, DashMap, Ordering};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{
    AddrRange, BusFault, Iommu, IommuEntry, PAGE_SIZE, Permissions, RegionId, Target, TxAttrs,
};

/// Entries that are kept at most, of pages of 4 KiB, for all IOMMUs of a machine.
pub const IOTLB_ENTRIES: usize = 4096;

type Key = (RegionId, usize, u64);

/// What IOMMUs said of pages.
#[derive(Default)]
pub(crate) struct Iotlb {
    entries: DashMap<Key, IommuEntry>,
    /// Invalidations so far.
    invalidations: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How an IOTLB has fared. Of IOMMUs that announce nothing no entry is kept, and none is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IotlbStats {
    /// Translations that were at hand.
    pub hits: u64,
    /// Translations that an IOMMU was asked for.
    pub misses: u64,
    /// Invalidations.
    pub invalidations: u64,
    /// Entries that are kept now.
    pub entries: usize,
}

impl Iotlb {
    pub(crate) fn invalidations(&self) -> u64 {
        self.invalidations.load(Ordering::Acquire)
    }

    fn get(&self, key: &Key, access: Permissions) -> Option<IommuEntry> {
        let found =
            self.entries.get(key).map(|entry| *entry).filter(|entry| entry.permissions.contains(access));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps an answer to a question that was asked after `before` invalidations.
    fn keep(&self, key: Key, entry: IommuEntry, before: u64) {
        if self.entries.len() >= IOTLB_ENTRIES {
            // which one will be wanted next nobody knows
            self.entries.clear();
        }
        // the place is locked from here on
        let place = self.entries.entry(key);
        if self.invalidations.load(Ordering::SeqCst) == before {
            place.insert(entry);
        }
    }

    /// Forgets the pages of `range` of a region, for one translation.
    pub(super) fn invalidate(&self, region: RegionId, index: usize, range: AddrRange) {
        self.invalidations.fetch_add(1, Ordering::SeqCst);
        let (first, last) = (range.start() / PAGE_SIZE as u64, range.last() / PAGE_SIZE as u64);
        if last - first < 64 {
            (first..=last).for_each(|page| _ = self.entries.remove(&(region, index, page)));
        } else {
            let is_in = |key: &Key| (key.0, key.1) == (region, index) && (first..=last).contains(&key.2);
            self.entries.retain(|key, _| !is_in(key));
        }
    }

    /// Forgets everything: an owner is gone, and its regions with it.
    pub(crate) fn clear(&self) {
        self.invalidations.fetch_add(1, Ordering::SeqCst);
        self.entries.clear();
    }
}

impl MemorySystem {
    /// How the IOTLB has fared.
    pub fn iotlb_stats(&self) -> IotlbStats {
        let iotlb = self.inner().iotlb();
        IotlbStats {
            hits: iotlb.hits.load(Ordering::Relaxed),
            misses: iotlb.misses.load(Ordering::Relaxed),
            invalidations: iotlb.invalidations(),
            entries: iotlb.entries.len(),
        }
    }
}

impl SystemInner {
    /// What an IOMMU says of `offset` of its region, from the IOTLB if it is there. `enter` enters the IOMMU's device.
    pub(crate) fn ask_iommu<L>(
        &self,
        (target, iommu): (&Target, &dyn Iommu),
        (offset, access, attrs): (u64, Permissions, TxAttrs),
        enter: impl FnOnce() -> Result<L, BusFault>,
    ) -> Result<IommuEntry, BusFault> {
        let keeps = iommu.announces();
        let key = (target.region(), iommu.index_of(attrs), offset / PAGE_SIZE as u64);
        if keeps && let Some(entry) = self.iotlb().get(&key, access) {
            // the chain is as long as if the IOMMU had been asked
            return if chain::is_inside(target.guard()) { Err(BusFault::ACCESS) } else { Ok(entry) };
        }
        let before = self.iotlb().invalidations();
        let entry = {
            let _inside = enter()?;
            iommu.translate(offset, access, attrs).ok_or(BusFault::ACCESS)?
        };
        // entries of less than a page are not worth it
        if keeps && entry.permissions.contains(access) && entry.mask >= PAGE_SIZE as u64 - 1 {
            self.iotlb().keep(key, entry, before);
        }
        Ok(entry)
    }
}
