//! What an address space showed at one time, with its memory pinned.

use crate::section::Pin;
use crate::space::AddressSpace;
use crate::sync::Arc;
use memory_core::{AddrRange, Backing, RamBlock, SpaceId, Target};
use memory_flatview::{FlatRange, Part, RangeFlags};

/// What is behind a piece.
pub(super) enum Behind {
    /// Host memory.
    Memory,
    /// Another address space, page by page.
    Iommu,
}

/// Addresses that lead to one stretch of host memory, or through one IOMMU.
pub(super) struct Piece {
    pub(super) range: AddrRange,
    pin: Pin,
    /// Of the first byte in the region, which for memory is that in the block.
    offset: u64,
    pub(super) behind: Behind,
    /// Writes are refused, whatever an IOMMU says.
    pub(super) read_only: bool,
}

impl Piece {
    pub(super) fn target(&self) -> Option<&Target> {
        self.pin.target()
    }

    pub(super) fn block(&self) -> Option<&Arc<RamBlock>> {
        self.target()?.block()
    }

    pub(super) fn offset_of(&self, address: u64) -> u64 {
        self.offset.wrapping_add(address - self.range.start())
    }
}

/// Who may do what is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// A bus master that reads.
    Read,
    /// A bus master that writes.
    Write,
    /// A loader: all memory, ROM and flash included.
    Loader,
}

/// The memory of an address space as it was, ascending. It pins the owners and blocks of what it covers, and no view.
pub(super) struct Snapshot {
    pub(super) space: SpaceId,
    pub(super) generation: u64,
    pieces: Vec<Piece>,
}

impl Snapshot {
    pub(super) fn new(space: &AddressSpace, rights: Rights) -> Self {
        space.with_view(|view| {
            let piece = |range: &FlatRange| {
                let part = match rights {
                    Rights::Read => range.read(),
                    Rights::Write => range.write(),
                    // what a loader writes the guest is to read
                    Rights::Loader => range.read(),
                }?;
                let behind = behind(range, part, rights)?;
                Some(Piece {
                    range: range.range(),
                    pin: Pin::new(part.target()),
                    offset: part.offset(),
                    behind,
                    read_only: range.flags().contains(RangeFlags::READ_ONLY),
                })
            };
            let pieces = view.ranges().filter_map(piece).collect();
            Self { space: space.id(), generation: view.generation(), pieces }
        })
    }

    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    pub(super) fn find(&self, address: u64) -> Option<&Piece> {
        let at = self.pieces.partition_point(|piece| piece.range.last() < address);
        self.pieces.get(at).filter(|piece| piece.range.contains(address))
    }
}

/// What a bus master or a loader finds at a range; `None` if nothing that it may have as memory.
fn behind(range: &FlatRange, part: &Part, rights: Rights) -> Option<Behind> {
    let read_only = range.flags().contains(RangeFlags::READ_ONLY);
    match (part.target().backing(), rights) {
        (Backing::Iommu(_), Rights::Read | Rights::Write) => Some(Behind::Iommu),
        (Backing::Ram(block), Rights::Write) => {
            (!read_only && !block.is_read_only()).then_some(Behind::Memory)
        }
        (Backing::Ram(_) | Backing::Rom(_), Rights::Read) => Some(Behind::Memory),
        (Backing::Ram(block) | Backing::Rom(block) | Backing::RomDevice(block, _), Rights::Loader) => {
            (!block.is_read_only()).then_some(Behind::Memory)
        }
        // reads of a ROM device are memory in ROMD mode only, and a mode is no promise; a real device's memory is not lent
        _ => None,
    }
}
