//! What is found at an address.

use crate::hints;
use crate::map::Direction;
use memory_core::{Backing, HostPage, PAGE_SIZE, RamBlock, Target, Width};
use memory_flatview::{FlatRange, Part, RangeFlags, View};

/// A range that was found at an address.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) range: &'a FlatRange,
    address: u64,
}

impl<'a> Found<'a> {
    #[inline]
    pub(crate) fn at(view: &'a View, address: u64) -> Option<Self> {
        Some(Self::inside(hints::find(view, address)?, address))
    }

    /// `range` is known to hold `address`.
    #[inline]
    pub(crate) fn inside(range: &'a FlatRange, address: u64) -> Self {
        Self { range, address }
    }

    /// The offset of the address in the region of `part`.
    #[inline]
    pub(super) fn offset(&self, part: &Part) -> u64 {
        part.offset().wrapping_add(self.address.wrapping_sub(self.range.range().start()))
    }

    /// The bytes from the address to the end of the range, less one.
    #[inline]
    pub(super) fn rest(&self) -> u64 {
        self.range.range().last().wrapping_sub(self.address)
    }

    /// Whether `width` bytes from the address on are in the range.
    #[inline]
    pub(super) fn holds(&self, width: Width) -> bool {
        self.rest() >= width.bytes() - 1
    }

    pub(super) fn is_romd(&self) -> bool {
        self.range.flags().contains(RangeFlags::ROMD)
    }

    #[inline]
    pub(crate) fn is_read_only(&self) -> bool {
        self.range.flags().contains(RangeFlags::READ_ONLY)
    }

    /// Whether nothing has to be done before an access runs a callback.
    #[inline]
    pub(super) fn is_undisturbed(&self) -> bool {
        !self.range.flags().contains(RangeFlags::FLUSH_COALESCED)
    }

    /// Whether queued writes have to be carried out before a read of host memory: that of a ROM device, whose callback they
    /// are for.
    #[inline]
    pub(super) fn is_queued_for(&self, backing: &Backing) -> bool {
        !self.is_undisturbed() && matches!(backing, Backing::RomDevice(..))
    }

    /// The host memory that reads go to.
    #[inline]
    pub(super) fn readable(&self, target: &'a Target) -> Option<&'a RamBlock> {
        match target.backing() {
            Backing::Ram(block) | Backing::RamDevice(block) | Backing::Rom(block) => Some(block),
            Backing::RomDevice(block, _) if self.is_romd() => Some(block),
            _ => None,
        }
    }

    /// The host memory that a guest's writes go to.
    #[inline]
    pub(super) fn writable(&self, target: &'a Target) -> Option<&'a RamBlock> {
        match target.backing() {
            Backing::Ram(block) | Backing::RamDevice(block) if !self.is_read_only() => Some(block),
            _ => None,
        }
    }
}

impl Found<'_> {
    /// The last address of the smallest page that an IOMMU behind it may say something of.
    pub(crate) fn iommu_page(&self, direction: Direction) -> Option<u64> {
        let part = match direction {
            Direction::Read => self.range.read(),
            Direction::Write => self.range.write(),
        }?;
        let is_iommu = matches!(part.target().backing(), Backing::Iommu(_));
        let into_page = self.offset(part) % PAGE_SIZE as u64;
        is_iommu.then(|| self.address.saturating_add(PAGE_SIZE as u64 - 1 - into_page))
    }

    /// Whether `len` bytes that are written at the address are written to `target`, from `offset` of its region on.
    pub(super) fn writes_to(&self, target: &Target, offset: u64, len: usize) -> bool {
        let is_it = |part: &Part| std::ptr::eq(&**part.target(), target) && self.offset(part) == offset;
        !self.is_read_only()
            && self.range.write().is_some_and(is_it)
            && self.rest() >= (len as u64).saturating_sub(1)
    }
}

/// The page of host memory at `address`, if all of it is in the range and takes such accesses directly.
pub(crate) fn page(found: Found<'_>, address: u64, write: bool) -> Option<HostPage> {
    let part = if write { found.range.write()? } else { found.range.read()? };
    if !address.is_multiple_of(PAGE_SIZE as u64) || found.rest() < PAGE_SIZE as u64 - 1 {
        return None;
    }
    let target = part.target();
    let (block, offset) = (target.block()?, found.offset(part));
    if write {
        found.writable(target).and_then(|_| block.page(offset))
    } else {
        let readable = found.readable(target).filter(|_| !found.is_queued_for(target.backing()));
        readable.and_then(|_| block.page_to_read(offset))
    }
}

/// Whether an access of `width` bytes at `offset` is one of the host: a real device sees the accesses, and an unaligned one is
/// several, or a copy.
pub(super) fn is_one(backing: &Backing, offset: u64, width: Width) -> bool {
    !matches!(backing, Backing::RamDevice(_)) || width.aligned(offset)
}

/// Whether an initiator that wants memory only may have it.
pub(crate) fn is_memory(target: &Target) -> bool {
    matches!(target.backing(), Backing::Ram(_) | Backing::RamDevice(_) | Backing::Rom(_))
}

/// Who answers, and the offset in the block, if the host may have the bytes themselves: real devices' memory is not lent, nor
/// what queued writes may change.
pub(crate) fn direct<'a>(found: &Found<'a>, direction: Direction) -> Option<(&'a Part, u64)> {
    let part = match direction {
        Direction::Read => found.range.read()?,
        Direction::Write => found.range.write()?,
    };
    let block = match direction {
        Direction::Read => found.readable(part.target()),
        Direction::Write => found.writable(part.target()),
    };
    let backing = part.target().backing();
    let is_seen = matches!(backing, Backing::RamDevice(_)) || found.is_queued_for(backing);
    (block.is_some() && !is_seen).then(|| (part, found.offset(part)))
}
