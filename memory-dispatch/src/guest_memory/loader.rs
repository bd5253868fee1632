//! What a loader may write.

use super::snapshot::{Piece, Rights, Snapshot};
use crate::space::AddressSpace;
use crate::sync::Arc;
use memory_core::{BlockLog, LogSlice};
use std::fmt;
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestUsize, MemoryRegionAddress, VolatileSlice,
};

/// Guest memory with a loader's rights, for `linux-loader`: `vm-memory`'s `GuestMemoryBackend` over RAM, ROM and flash.
///
/// It is a snapshot that pins the owners and the memory of what it covers. It checks no permission: hand
/// [`DmaMemory`](crate::DmaMemory) to devices.
///
/// ```
/// use memory_core::{RamBlock, Size};
/// use memory_dispatch::{LoaderMemory, MemorySystem, SpaceConfig};
/// use vm_memory::{Bytes, GuestAddress};
/// let system = MemorySystem::new();
/// let root = system.memory().container("system", Size::FULL).build()?;
/// let rom = system.memory().rom("rom", RamBlock::anonymous(0x1000u64)?).build()?;
/// root.map(0xffff_f000, &rom)?;
/// let space = system.address_space("memory", &root, SpaceConfig::default())?;
/// LoaderMemory::new(&space).write_slice(b"firmware", GuestAddress(0xffff_f000))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LoaderMemory {
    regions: Vec<LoaderRegion>,
}

impl LoaderMemory {
    /// The memory that `space` shows now.
    pub fn new(space: &Arc<AddressSpace>) -> Self {
        let snapshot = Snapshot::new(space, Rights::Loader);
        let regions = snapshot.into_pieces().into_iter().filter_map(LoaderRegion::new).collect();
        Self { regions }
    }
}

impl GuestMemoryBackend for LoaderMemory {
    type R = LoaderRegion;

    fn num_regions(&self) -> usize {
        self.regions.len()
    }

    fn find_region(&self, addr: GuestAddress) -> Option<&LoaderRegion> {
        let at = self.regions.partition_point(|region| region.piece.range.last() < addr.0);
        self.regions.get(at).filter(|region| region.piece.range.contains(addr.0))
    }

    fn iter(&self) -> impl Iterator<Item = &LoaderRegion> {
        self.regions.iter()
    }
}

/// One stretch of memory of a [`LoaderMemory`].
pub struct LoaderRegion {
    piece: Piece,
    log: BlockLog,
    len: GuestUsize,
}

impl LoaderRegion {
    fn new(piece: Piece) -> Option<Self> {
        let log = BlockLog::new(piece.block()?, piece.offset_of(piece.range.start()));
        // a region of 2^64 bytes has no host memory
        let len = u64::try_from(piece.range.size().bytes()).ok()?;
        Some(Self { piece, log, len })
    }
}

impl GuestMemoryRegion for LoaderRegion {
    type B = BlockLog;

    fn len(&self) -> GuestUsize {
        self.len
    }

    fn start_addr(&self) -> GuestAddress {
        GuestAddress(self.piece.range.start())
    }

    fn bitmap(&self) -> LogSlice<'_> {
        self.log.slice_at(0)
    }

    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_, LogSlice<'_>>, GuestMemoryError> {
        let inside = offset.0.checked_add(count as u64).is_some_and(|end| end <= self.len);
        let start = self.piece.offset_of(self.piece.range.start());
        let slice = || self.piece.block()?.slice(start.checked_add(offset.0)?, count);
        let slice = if inside { slice() } else { None };
        slice.ok_or(GuestMemoryError::InvalidBackendAddress)
    }
}

impl GuestMemoryRegionBytes for LoaderRegion {}

impl fmt::Debug for LoaderRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderRegion").field("range", &self.piece.range).finish_non_exhaustive()
    }
}
