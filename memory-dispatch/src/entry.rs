//! Ways into a device that are no accesses: timers, deferred work, handlers of events, reset.
//!
//! An access is inside a device for as long as it is on a view that shows the device, which removal can see. What comes
//! by another way is counted here, per owner: entering and leaving take the lock of that owner's door, which is what
//! accesses never do.

use crate::chain::{self, ChainLink};
use crate::space::AddressSpace;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{BusFault, CommitSink as _, OwnerId, Target};
use std::fmt;

/// What enters a device without being an access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum EntryKind {
    /// A timer of the machine's clock.
    Timer,
    /// Work that a device has put off. QEMU's name: bottom half.
    Deferred,
    /// The handler of an eventfd.
    EventHandler,
    /// Coalesced writes that are carried out.
    Drain,
    /// The host's end of a serial line, disk or network.
    BackEnd,
    /// A reset of the machine.
    Reset,
    /// A translation for a snapshot of guest memory, or an IOMMU that hears what is wanted of it or replays what it maps.
    Translation,
    /// The copy of a host mapping that goes back to registers which are no longer where they were mapped.
    WriteBack,
    /// An access to a PCI function's configuration space, which comes by way of its host bridge.
    Configuration,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timer => "a timer",
            Self::Deferred => "deferred work",
            Self::EventHandler => "an eventfd handler",
            Self::Drain => "a drain of coalesced writes",
            Self::BackEnd => "a back end",
            Self::Reset => "a reset",
            Self::Translation => "a translation",
            Self::WriteBack => "a mapping that is written back",
            Self::Configuration => "a configuration access",
        })
    }
}

#[derive(Default)]
struct Inside {
    /// The owner was unplugged: nobody enters any more.
    closed: bool,
    /// Who is inside, one element for each.
    kinds: Vec<EntryKind>,
}

/// One owner's door.
#[derive(Default)]
pub(crate) struct Door {
    /// Held to count, never while the device runs.
    inside: Mutex<Inside>,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, kind: EntryKind) -> Result<(), BusFault> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(BusFault::ACCESS);
        }
        inside.kinds.push(kind);
        Ok(())
    }

    /// Returns whether somebody may wait for that.
    fn leave(&self, kind: EntryKind) -> bool {
        let mut inside = self.lock();
        if let Some(at) = inside.kinds.iter().position(|inside| *inside == kind) {
            inside.kinds.swap_remove(at);
        }
        inside.closed
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Who is inside, each kind once.
    pub(crate) fn inside(&self) -> Vec<EntryKind> {
        let mut kinds = self.lock().kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// A way into one device for what is no access; clones lead to the same device.
///
/// Whoever runs a device's code on his own account, as a timer does, enters first. That way the re-entrancy guard sees
/// it, the device is not entered once it is unplugged, and [`Detached::wait`](crate::Detached::wait) waits until it is
/// left.
///
/// ```
/// use memory_dispatch::{EntryKind, MemorySystem};
/// use std::sync::{Arc, Weak};
///
/// let system = MemorySystem::new();
/// let device = Arc::new("a device");
/// let weak: Weak<&str> = Arc::downgrade(&device);
/// let owner = system.memory().owner("/machine/device", weak);
/// let entry = system.entry(owner.id());
/// let plug = system.memory().plug(&owner, device);
/// {
///     let _inside = entry.enter(EntryKind::Timer).expect("the device is not on this thread's chain");
///     assert!(entry.enter(EntryKind::Timer).is_err(), "but now it is");
/// }
/// drop(plug);
/// assert!(entry.enter(EntryKind::Timer).is_err(), "an unplugged device is not entered");
/// ```
#[derive(Clone)]
pub struct Entry {
    door: Arc<Door>,
    owner: OwnerId,
    /// Weak, since devices hold their timers: a machine must not keep itself alive.
    system: Weak<SystemInner>,
}

impl Entry {
    /// Enters the device, which counts as left when the result is dropped, on the same thread.
    ///
    /// # Errors
    /// An access error if this thread is inside the device already, its chain is too long, it is inside a transaction or
    /// holds the lock of a [`Locked`](crate::Locked) device, or if the device was unplugged.
    pub fn enter(&self, kind: EntryKind) -> Result<EntryLink, BusFault> {
        self.enter_for(kind, false)
    }

    /// As [`Entry::enter`], for a region that may allow re-entry.
    pub(crate) fn enter_for(&self, kind: EntryKind, reentry: bool) -> Result<EntryLink, BusFault> {
        let chain = chain::enter(self.owner.number(), reentry)?;
        self.door.enter(kind)?;
        Ok(EntryLink { _chain: chain, _inside: Counted { entry: self.clone(), kind } })
    }

    /// The owner whose door this is.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// This thread is inside a device until this is dropped.
#[must_use = "the device counts as left when this is dropped"]
#[derive(Debug)]
pub struct EntryLink {
    // first, so that a wait which ends finds nothing of the device on any chain
    _chain: ChainLink,
    _inside: Counted,
}

#[derive(Debug)]
struct Counted {
    entry: Entry,
    kind: EntryKind,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.entry.door.leave(self.kind)
            && let Some(system) = self.entry.system.upgrade()
        {
            system.waiters().wake();
        }
    }
}

/// Inside a device of the machine's own, or of an owner's.
pub(crate) type PinnedLink = (Option<ChainLink>, Option<EntryLink>);

impl MemorySystem {
    /// The way into the device that `owner` stands for, for what is no access. The owner is not yet unplugged.
    pub fn entry(&self, owner: OwnerId) -> Entry {
        self.inner().entry(owner)
    }
}

impl AddressSpace {
    /// As [`MemorySystem::entry`], of the system that the space belongs to.
    pub fn entry(&self, owner: OwnerId) -> Entry {
        self.system().entry(owner)
    }
}

impl SystemInner {
    /// Enters the device behind a target that a pin has led to, and no view: such a pin outlives the removal of the
    /// device, which is not entered then.
    pub(crate) fn enter_pinned(
        self: &Arc<Self>,
        target: &Target,
        kind: EntryKind,
        reentry: bool,
    ) -> Result<PinnedLink, BusFault> {
        let Some(owner) = target.owner() else {
            return chain::enter(target.guard(), reentry).map(|link| (Some(link), None));
        };
        let link = self.entry(owner).enter_for(kind, reentry)?;
        // looked at inside: a door that was made after the owner's was closed is open
        if target.is_unplugged() {
            drop(link);
            self.unplugged(owner);
            return Err(BusFault::ACCESS);
        }
        Ok((None, Some(link)))
    }

    pub(crate) fn entry(self: &Arc<Self>, owner: OwnerId) -> Entry {
        Entry { door: self.door(owner), owner, system: Arc::downgrade(self) }
    }
}
