//! What a bus master may read and write directly.

use super::snapshot::{Behind, Piece, Rights, Snapshot};
use crate::entry::EntryKind;
use crate::guest_memory::LoaderMemory;
use crate::space::AddressSpace;
use crate::sync::{Arc, OnceLock, Weak};
use memory_core::{Backing, BlockLog, LogSlice, Permissions as Access, SpaceId, TxAttrs};
use std::fmt;
use std::iter::FusedIterator;
use vm_memory::guest_memory::{GuestMemorySliceIterator, Permissions};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, VolatileSlice};

/// The most IOMMUs that one address may be translated by.
const MAX_TRANSLATIONS: usize = 8;

/// Guest memory as a bus master may have it, for virtqueues: `vm-memory`'s `GuestMemory`.
///
/// Permissions are checked: ROM and read-only ranges can be read only, registers, flash and holes not at all, and what
/// lies behind an IOMMU goes by its translation. It is a snapshot that pins the owners and the memory of what it
/// covers; make a new one for each batch of work, or a device that keeps one keeps what it shows, itself included if it
/// has memory of its own. What is written through it is marked in dirty logs.
///
/// ```
/// use memory_core::{RamBlock, Size, TxAttrs};
/// use memory_dispatch::{DmaMemory, MemorySystem, SpaceConfig};
/// use vm_memory::{Bytes, GuestAddress};
/// let system = MemorySystem::new();
/// let root = system.memory().container("system", Size::FULL).build()?;
/// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
/// let rom = system.memory().rom("rom", RamBlock::anonymous(0x1000u64)?).build()?;
/// root.map(0, &ram)?;
/// root.map(0x1000, &rom)?;
/// let space = system.address_space("memory", &root, SpaceConfig::default())?;
/// let memory = DmaMemory::new(&space, TxAttrs::default());
/// memory.write_obj(7u32, GuestAddress(0x10))?;
/// assert_eq!(memory.read_obj::<u32>(GuestAddress(0x10))?, 7);
/// assert_eq!(memory.read_obj::<u32>(GuestAddress(0x1000))?, 0);
/// assert!(memory.write_obj(7u32, GuestAddress(0x1000)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DmaMemory {
    space: Weak<AddressSpace>,
    attrs: TxAttrs,
    both: Both,
    /// Spaces that IOMMUs led to, in the order in which they were met.
    behind: OnceLock<Box<Further>>,
}

/// What a space showed to reads and to writes.
struct Both {
    read: Snapshot,
    write: Snapshot,
}

impl Both {
    fn new(space: &AddressSpace) -> Self {
        Self { read: Snapshot::new(space, Rights::Read), write: Snapshot::new(space, Rights::Write) }
    }
}

/// A space behind an IOMMU, and the next one that was met.
struct Further {
    both: Both,
    next: OnceLock<Box<Further>>,
}

impl DmaMemory {
    /// What `space` shows now to a bus master whose accesses carry `attrs`.
    pub fn new(space: &Arc<AddressSpace>, attrs: TxAttrs) -> Self {
        Self { space: Arc::downgrade(space), attrs, both: Both::new(space), behind: OnceLock::new() }
    }

    /// Whether the map has changed since.
    pub fn is_stale(&self) -> bool {
        self.space.upgrade().is_none_or(|space| space.generation() != self.both.read.generation)
    }

    /// The snapshot of a space that an IOMMU leads to, made when it is first met.
    fn behind(&self, id: SpaceId) -> Option<&Both> {
        if self.both.read.space == id {
            return Some(&self.both);
        }
        let space = self.space.upgrade()?.system().space(id)?;
        let mut place = &self.behind;
        loop {
            let further = || Box::new(Further { both: Both::new(&space), next: OnceLock::new() });
            let found = place.get_or_init(further);
            if found.both.read.space == id {
                return Some(&found.both);
            }
            place = &found.next;
        }
    }

    /// The memory at `address` for `access`, up to `len` bytes of it: the piece, the address there, the bytes.
    fn locate(&self, address: u64, len: usize, access: Access) -> Option<(&Piece, u64, usize)> {
        let (mut both, mut address, mut len) = (&self.both, address, len);
        for _ in 0..=MAX_TRANSLATIONS {
            let (read, write) = (both.read.find(address), both.write.find(address));
            let piece = match (access.contains(Access::READ), access.contains(Access::WRITE)) {
                (true, true) => {
                    let (read, write) = (read?, write?);
                    let same = read.target()?.region() == write.target()?.region()
                        && read.offset_of(address) == write.offset_of(address);
                    same.then_some(write)?
                }
                (_, true) => write?,
                _ => read?,
            };
            let rest = piece.range.last() - address;
            len = usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len));
            match piece.behind {
                Behind::Memory => return Some((piece, address, len)),
                Behind::Iommu => {}
            }
            let (space, onward, rest) = self.translate(piece, address, access)?;
            len = usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len));
            both = self.behind(space)?;
            address = onward;
        }
        None
    }

    /// Where an IOMMU leads, and the bytes to the end of its page, less one.
    fn translate(&self, piece: &Piece, address: u64, access: Access) -> Option<(SpaceId, u64, u64)> {
        let target = piece.target()?;
        let Backing::Iommu(iommu) = target.backing() else { return None };
        if piece.read_only && access.contains(Access::WRITE) {
            return None;
        }
        let offset = piece.offset_of(address);
        let space = self.space.upgrade()?;
        let enter = || space.system().enter_pinned(target, EntryKind::Translation, false);
        let asked = (offset, access, self.attrs);
        let entry = space.system().ask_iommu((target, &**iommu), asked, enter).ok()?;
        let onward = (entry.translated & !entry.mask) | (offset & entry.mask);
        entry.permissions.contains(access).then(|| (entry.space, onward, entry.mask - (offset & entry.mask)))
    }
}

impl GuestMemory for DmaMemory {
    type PhysicalMemory = LoaderMemory;
    type Bitmap = BlockLog;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.slices(addr, count, access).all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, LogSlice<'a>>, GuestMemoryError> {
        Ok(self.slices(addr, count, access))
    }
}

impl DmaMemory {
    fn slices(&self, address: GuestAddress, len: usize, access: Permissions) -> DmaSlices<'_> {
        let access = match access {
            Permissions::No => Access::empty(),
            Permissions::Read => Access::READ,
            Permissions::Write => Access::WRITE,
            Permissions::ReadWrite => Access::READ | Access::WRITE,
        };
        DmaSlices { memory: self, address: Some(address.0), len, access }
    }
}

impl fmt::Debug for DmaMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaMemory").field("stale", &self.is_stale()).finish_non_exhaustive()
    }
}

/// The slices that make up a range of [`DmaMemory`].
struct DmaSlices<'a> {
    memory: &'a DmaMemory,
    /// `None` above the top.
    address: Option<u64>,
    len: usize,
    access: Access,
}

impl<'a> DmaSlices<'a> {
    fn slice(&self) -> Option<VolatileSlice<'a, LogSlice<'a>>> {
        let (piece, address, len) = self.memory.locate(self.address?, self.len, self.access)?;
        let (block, offset) = (piece.block()?, piece.offset_of(address));
        if self.access.contains(Access::WRITE) {
            block.slice(offset, len)
        } else {
            block.slice_to_read(offset, len)
        }
    }
}

impl<'a> Iterator for DmaSlices<'a> {
    type Item = Result<VolatileSlice<'a, LogSlice<'a>>, GuestMemoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.len == 0 {
            return None;
        }
        match self.slice() {
            Some(slice) => {
                self.len -= slice.len().min(self.len);
                self.address = self.address.and_then(|at| at.checked_add(slice.len() as u64));
                Some(Ok(slice))
            }
            None => {
                self.len = 0;
                Some(Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(
                    self.address.unwrap_or(u64::MAX),
                ))))
            }
        }
    }
}

impl FusedIterator for DmaSlices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, LogSlice<'a>> for DmaSlices<'a> {}
