//! A region as the tree holds it.

use crate::address::{AddrRange, Size};
use crate::extents::Extents;
use crate::host::DirtyClients;
use crate::id::{OwnerId, RegionId};
use crate::intercept::Intercepts;
use crate::kind::Kind;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Weak};
use crate::target::Target;
use bitflags::bitflags;
use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

bitflags! {
    /// Yes-or-no attributes of a region.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Flags: u8 {
        /// The region takes part; without it the region is absent and hides nothing.
        const ENABLED = 1;
        /// Writes are refused, here and in all that shows through here.
        const READ_ONLY = 2;
        /// The content outlives the machine; inherited downwards.
        const NONVOLATILE = 4;
        /// Ranges of it are never merged with neighbours; inherited downwards.
        const UNMERGEABLE = 8;
        /// ROM device: reads go to host memory.
        const ROMD = 16;
        /// Queued writes are carried out before the region is accessed.
        const FLUSH_COALESCED = 32;
    }
}

impl Flags {
    /// What a region hands down to all that shows through it.
    pub const INHERITED: Self = Self::READ_ONLY.union(Self::NONVOLATILE).union(Self::UNMERGEABLE);
}

/// What a mapping shows to whom; anything but `Both` is an overlay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Shows {
    /// Reads and writes see the region.
    #[default]
    Both,
    /// Only reads see it; writes see what is below.
    Reads,
    /// Only writes see it; reads see what is below.
    Writes,
}

/// Where a region is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The region that it is mapped into.
    pub parent: RegionId,
    /// Its first byte, in bytes from the parent's start.
    pub address: u64,
    /// The highest priority of overlapping siblings is seen.
    pub priority: i32,
    /// Whether it may overlap siblings of the same priority.
    pub overlap: bool,
    /// Who sees it.
    pub shows: Shows,
    /// Rises with each mapping: of equal priorities the last one mapped is on top.
    pub order: u64,
}

/// Sorts siblings from the top one down.
pub(crate) type Rank = (Reverse<i32>, Reverse<u64>);

impl Placement {
    pub(crate) fn rank(&self) -> Rank {
        (Reverse(self.priority), Reverse(self.order))
    }
}

/// A region as the tree holds it. Outside of this crate it can only be read.
pub struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) size: Size,
    pub(crate) flags: Flags,
    pub(crate) owner: Option<NodeOwner>,
    pub(crate) guard: u64,
    pub(crate) identifier: Option<String>,
    /// What is to be in use of the block when the transaction is over, if that resizes it.
    pub(crate) used: Option<u64>,
    /// Who wants to know of writes to this region.
    pub(crate) log: DirtyClients,
    /// Who wants to know of writes to the host memory, through this region or another that has the same.
    pub(crate) block_log: DirtyClients,
    /// For whom the block's log has been started for this region.
    pub(crate) logged: DirtyClients,
    /// Writes that do not run the callback at once.
    pub(crate) intercepts: Option<Arc<Intercepts>>,
    pub(crate) placement: Option<Placement>,
    pub(crate) children: BTreeMap<Rank, RegionId>,
    /// Enabled children whose mapping promises no overlap, by priority and address.
    pub(crate) plain: BTreeSet<(i32, u64, RegionId)>,
    /// Enabled children by where they are.
    pub(crate) extents: Extents,
    /// Aliases that look at this region.
    pub(crate) aliases: BTreeSet<RegionId>,
    /// Those by what they show of it.
    pub(crate) shown_by: Extents,
    /// The target that the present views share.
    pub(crate) bound: Mutex<Weak<Target>>,
}

/// A region's owner.
#[derive(Clone)]
pub(crate) struct NodeOwner {
    pub(crate) id: OwnerId,
    pub(crate) path: Arc<str>,
    pub(crate) object: Weak<dyn Any + Send + Sync>,
    /// The plug guard is gone and the regions are off the map.
    pub(crate) unplugged: Arc<AtomicBool>,
}

impl Node {
    /// The name, for people.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The kind, with what only that kind has.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The size in bytes.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The yes-or-no attributes of the region itself, without inherited ones.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether the region takes part.
    pub fn is_enabled(&self) -> bool {
        self.flags.contains(Flags::ENABLED)
    }

    /// The path of the owner, if there is one.
    pub fn owner_path(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| &*owner.path)
    }

    /// The owner, if there is one.
    pub fn owner(&self) -> Option<OwnerId> {
        self.owner.as_ref().map(|owner| owner.id)
    }

    /// Whether the owner's plug guard is gone and its regions are off the map.
    pub(crate) fn is_unplugged(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.unplugged.load(Ordering::SeqCst))
    }

    /// The RAM block's identifier, if the region has host memory.
    pub fn identifier(&self) -> Option<&str> {
        self.identifier.as_deref()
    }

    /// Who wants to know of writes to this region, apart from those who want to know of all.
    pub fn log(&self) -> DirtyClients {
        self.log
    }

    /// The writes that do not run the callback at once, if there are some.
    pub fn intercepts(&self) -> Option<&Arc<Intercepts>> {
        self.intercepts.as_ref()
    }

    /// Whether queued writes are carried out before the region is accessed: because it says so, or because writes to it are,
    /// or once were, queued.
    pub fn flushes_coalesced(&self) -> bool {
        let coalesced = self.intercepts.as_ref().is_some_and(|intercepts| intercepts.flushes());
        coalesced || self.flags.contains(Flags::FLUSH_COALESCED)
    }

    /// The aliases of the region that show a byte of `window`, in bytes from its start, and maybe some that show what is near.
    pub fn aliases_near(&self, window: AddrRange) -> impl Iterator<Item = RegionId> {
        self.shown_by.near(window)
    }

    /// Where the region is mapped, if it is.
    pub fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    /// The region's range in its parent, if it is mapped and has a byte.
    pub fn range(&self) -> Option<AddrRange> {
        AddrRange::from_size(self.placement?.address, self.size)
    }

    /// The children from the top one down.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = RegionId> + '_ {
        self.children.values().copied()
    }

    /// The aliases that look at this region, mapped or not.
    pub fn aliases(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.aliases.iter().copied()
    }

    /// The parent, and the entry in its index of children by place, if the region belongs there.
    pub(crate) fn extent(&self) -> Option<(RegionId, (u64, Size))> {
        let place = self.placement.filter(|_| self.is_enabled() && !self.size.is_zero())?;
        Some((place.parent, (place.address, self.size)))
    }

    /// The target of an alias, and what of that it shows.
    pub(crate) fn shown(&self) -> Option<(RegionId, (u64, Size))> {
        match self.kind {
            Kind::Alias { target, offset } => Some((target, (offset, self.size))),
            _ => None,
        }
    }

    /// The entry in the parent's index of mappings that promise not to overlap, if it belongs there.
    pub(crate) fn plain_entry(&self, id: RegionId) -> Option<(RegionId, (i32, u64, RegionId))> {
        let place = self.placement?;
        let promises = !place.overlap && self.is_enabled() && !self.size.is_zero();
        promises.then_some((place.parent, (place.priority, place.address, id)))
    }
}
