//! Sections: a part of a map, held.

use crate::space::AddressSpace;
use crate::sync::Arc;
use memory_core::{AddrRange, DirtyClients, RegionId, SpaceId, Target};
use memory_flatview::{FlatRange, Part, RangeFlags};
use std::fmt;

/// One reference to a region's owner and host memory: while it lives, the owner lives, mapped or not.
///
/// It may be dropped anywhere, inside an access too: the last one hands its owner to the reclaim list, where its
/// destructor runs when that is possible. It counts at the region alone, so that threads which pin different regions do
/// not wait for each other.
#[derive(Clone)]
pub struct Pin {
    /// Taken when the pin is dropped.
    target: Option<Arc<Target>>,
}

impl Pin {
    #[inline]
    pub(crate) fn new(target: &Arc<Target>) -> Self {
        Self { target: Some(target.clone()) }
    }

    /// The region, as views hold it.
    #[inline]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_deref()
    }
}

impl From<Arc<Target>> for Pin {
    fn from(target: Arc<Target>) -> Self {
        Self { target: Some(target) }
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            target.release();
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pin").field(&self.target).finish()
    }
}

/// Who answers in a section, and where in it the section begins.
#[derive(Clone, Debug)]
pub struct SectionPart {
    pin: Pin,
    region: RegionId,
    offset: u64,
}

impl SectionPart {
    fn new(part: &Part, into: u64) -> Self {
        let pin = Pin::new(part.target());
        Self { pin, region: part.target().region(), offset: part.offset().wrapping_add(into) }
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The offset in the region of the section's first byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What holds the region's owner.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }
}

/// Addresses of one range of a map, and who answers there. QEMU's name: `MemoryRegionSection`.
///
/// It pins the owners of its regions. It is what was found: a later change of the map does not change it.
#[derive(Clone, Debug)]
pub struct Section {
    space: SpaceId,
    range: AddrRange,
    read: Option<SectionPart>,
    write: Option<SectionPart>,
    flags: RangeFlags,
    log: DirtyClients,
}

impl Section {
    /// What `range`, which has a byte in `cut`, shows there.
    pub(crate) fn new(space: SpaceId, range: &FlatRange, cut: AddrRange) -> Self {
        let cut = range.range().intersection(cut).unwrap_or(range.range());
        let into = cut.start() - range.range().start();
        let part = |part: &Part| SectionPart::new(part, into);
        let (read, write) = (range.read().map(part), range.write().map(part));
        Self { space, range: cut, read, write, flags: range.flags(), log: range.log() }
    }

    /// The address space.
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// The addresses in the space.
    pub fn range(&self) -> AddrRange {
        self.range
    }

    /// Who answers reads.
    pub fn read(&self) -> Option<&SectionPart> {
        self.read.as_ref()
    }

    /// Who answers writes, usually the same.
    pub fn write(&self) -> Option<&SectionPart> {
        self.write.as_ref()
    }

    /// Who wants to know of writes to it.
    pub fn log(&self) -> DirtyClients {
        self.log
    }

    /// The attributes.
    pub fn flags(&self) -> RangeFlags {
        self.flags
    }
}

impl AddressSpace {
    /// The first part of the map that has a byte in `range`, cut to it. QEMU's name: `memory_region_find`.
    ///
    /// ```
    /// use memory_core::{AddrRange, RamBlock, Size};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0x8000, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let section = space.find(AddrRange::new(0, 0x80ff).expect("a range")).expect("the RAM");
    /// assert_eq!(section.range(), AddrRange::new(0x8000, 0x80ff).expect("a range"));
    /// assert_eq!(section.read().map(|part| part.offset()), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(&self, range: AddrRange) -> Option<Section> {
        self.with_view(|view| {
            let first = view.find(range.start()).or_else(|| view.next_from(range.start()))?;
            first.range().intersection(range)?;
            Some(Section::new(self.id(), first, range))
        })
    }
}
