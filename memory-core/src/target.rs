//! A region as views hold it: bound to its device, immutable.

use crate::host::RamBlock;
use crate::id::{OwnerId, RegionId};
use crate::iommu::Iommu;
use crate::kind::{Callbacks, Kind};
use crate::memory::SinkCell;
use crate::mmio::Mmio;
use crate::node::Node;
use crate::rules::{AccessRules, DirectRules};
use crate::sync::{Arc, AtomicBool, Ordering, Weak};
use std::any::Any;
use std::fmt;

/// Callbacks with a strong reference to their device.
#[derive(Clone)]
pub struct BoundMmio {
    /// The callbacks.
    pub device: Arc<dyn Mmio>,
    /// The rules under which they are called.
    pub rules: Arc<AccessRules>,
    /// What of them nearly every access needs.
    pub direct: DirectRules,
}

impl BoundMmio {
    fn bind(callbacks: &Callbacks) -> Option<Self> {
        let (device, rules) = (callbacks.bind.bind()?, callbacks.rules.clone());
        let direct = rules.direct();
        Some(Self { device, rules, direct })
    }
}

/// What answers an access.
// with a tag of its own, which takes one look: one in a niche of a variant takes several steps
#[derive(Clone)]
#[repr(u8)]
pub enum Backing {
    /// Host memory, read and written.
    Ram(Arc<RamBlock>),
    /// Memory of a real device, accessed with exact widths.
    RamDevice(Arc<RamBlock>),
    /// Host memory, read.
    Rom(Arc<RamBlock>),
    /// Host memory or callbacks for reads, callbacks for writes.
    RomDevice(Arc<RamBlock>, BoundMmio),
    /// Callbacks.
    Mmio(BoundMmio),
    /// Translation.
    Iommu(Arc<dyn Iommu>),
    /// Nothing: the space is claimed.
    Reservation,
}

/// A region as views hold it: what answers, with strong references to the host memory and to the owner.
///
/// One target serves all ranges of a region in all views, for as long as one of them lives. Whoever holds it
/// pins the region's owner; the last one to let go must not be inside an access, since the owner's destructor runs.
// Apart from its count, which pins change, an access looks at the first two fields, in one cache line.
#[repr(C, align(64))]
pub struct Target {
    backing: Backing,
    guard: u64,
    region: RegionId,
    name: Arc<str>,
    owner: Option<(OwnerId, Arc<str>, Arc<dyn Any + Send + Sync>)>,
    unplugged: Option<Arc<AtomicBool>>,
    sink: Arc<SinkCell>,
}

impl Target {
    /// Binds a region, or `None` if its device is gone or it is of a kind that answers nothing.
    pub(crate) fn bind(region: RegionId, node: &Node, sink: &Arc<SinkCell>) -> Option<Self> {
        let backing = match &node.kind {
            Kind::Container | Kind::Alias { .. } => return None,
            Kind::Ram(block) => Backing::Ram(block.clone()),
            Kind::RamDevice(block) => Backing::RamDevice(block.clone()),
            Kind::Rom(block) => Backing::Rom(block.clone()),
            Kind::RomDevice(block, callbacks) => {
                Backing::RomDevice(block.clone(), BoundMmio::bind(callbacks)?)
            }
            Kind::Mmio(callbacks) => Backing::Mmio(BoundMmio::bind(callbacks)?),
            Kind::Iommu(iommu) => Backing::Iommu(iommu.bind()?),
            Kind::Reservation => Backing::Reservation,
        };
        let owner = match &node.owner {
            Some(owner) => Some((owner.id, owner.path.clone(), owner.object.upgrade()?)),
            None => None,
        };
        let unplugged = node.owner.as_ref().map(|owner| owner.unplugged.clone());
        let (name, guard, sink) = (node.name.clone(), node.guard, sink.clone());
        Some(Self { region, name, backing, guard, owner, unplugged, sink })
    }

    /// Lets go of a reference, from any place, inside an access or with a lock held too: the last one goes to whoever reclaims
    /// what the machine has no use for, where its owner's destructor may run. A machine that is gone reclaims nothing, and
    /// the destructor runs here.
    #[inline]
    pub fn release(self: Arc<Self>) {
        if let Some(last) = Arc::into_inner(self) {
            last.release_last();
        }
    }

    #[cold]
    fn release_last(self) {
        if let Some(sink) = self.sink.get().and_then(Weak::upgrade) {
            sink.released(Box::new(self));
        }
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What answers.
    #[inline]
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The host memory, if there is some.
    pub fn block(&self) -> Option<&Arc<RamBlock>> {
        match &self.backing {
            Backing::Ram(block)
            | Backing::RamDevice(block)
            | Backing::Rom(block)
            | Backing::RomDevice(block, _) => Some(block),
            _ => None,
        }
    }

    /// What the re-entrancy guard goes by: the same number for all regions of one owner, never 0.
    #[inline]
    pub fn guard(&self) -> u64 {
        self.guard
    }

    /// The owner, if there is one.
    pub fn owner(&self) -> Option<OwnerId> {
        self.owner.as_ref().map(|owner| owner.0)
    }

    /// Whether the owner's plug guard is gone and its regions are off the map. Its callbacks still answer whoever is on
    /// an old view, and nobody else is to call them.
    pub fn is_unplugged(&self) -> bool {
        self.unplugged.as_ref().is_some_and(|unplugged| unplugged.load(Ordering::SeqCst))
    }

    /// The owner's path, if there is an owner.
    pub fn owner_path(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| &*owner.1)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
