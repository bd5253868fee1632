//! Listeners: who is told how the maps change.

mod event;
mod guard;
mod list;

pub use guard::ListenerGuard;
pub(crate) use list::{Batch, Change, Entry, Listeners};

use crate::section::Section;
use memory_core::{AddrRange, DirtyClients, IoEvent};
use std::error::Error;

/// Why a listener refuses a change.
pub type Refusal = Box<dyn Error + Send + Sync>;

/// Somebody who keeps a map of his own in step with an address space, or with all: an accelerator with its memory slots
/// above all. QEMU's name: `MemoryListener`.
///
/// Everything is called by the thread that commits, with the writers' lock held and the old views still published, except
/// [`Listener::commit`], which comes when the new ones are. A listener that starts a transaction gets
/// [`MemoryError::InsideCommit`](memory_core::MemoryError::InsideCommit). It may look at address spaces, though it should
/// not access them: devices must not run here.
///
/// A commit tells [`begin`](Listener::begin); for each space that changed what goes, listeners of high priority
/// first (coalesced ranges, ioeventfds, logs that stop, ranges), then what comes or stays, those of low priority first
/// (ranges, logs that start, coalesced ranges, ioeventfds);
/// each by ascending addresses; and [`commit`](Listener::commit).
/// Ranges that show what they showed before are neither deleted nor added. So a map that is built from `region_add`
/// and `region_del` alone is always the view.
///
/// To refuse makes the commit fail with that error: those who have been told so far get the inverse calls in the reverse
/// order, then `commit`, and nothing is published. What cannot be taken back, the removal of a device or a handle that is
/// dropped, cannot be refused. A listener that refuses it, or an inverse call, has lost its map: it is told nothing
/// more, see [`ListenerGuard::is_poisoned`].
///
/// ```
/// use memory_core::{RamBlock, Size};
/// use memory_dispatch::{Listener, MemorySystem, Refusal, Section, SpaceConfig};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Slots(Mutex<Vec<u64>>);
/// impl Listener for Slots {
///     fn region_add(&self, section: &Section) -> Result<(), Refusal> {
///         Ok(self.0.lock().unwrap().push(section.range().start()))
///     }
///     fn region_del(&self, section: &Section) -> Result<(), Refusal> {
///         Ok(self.0.lock().unwrap().retain(|start| *start != section.range().start()))
///     }
/// }
///
/// let system = MemorySystem::new();
/// let root = system.memory().container("system", Size::FULL).build()?;
/// let space = system.address_space("memory", &root, SpaceConfig::default())?;
/// let slots = Arc::new(Slots::default());
/// let guard = system.listen(slots.clone(), 10, Some(&space))?;
/// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
/// root.map(0x8000_0000, &ram)?;
/// assert_eq!(*slots.0.lock().unwrap(), [0x8000_0000]);
/// guard.unregister()?;
/// assert!(slots.0.lock().unwrap().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Listener: Send + Sync {
    /// A batch of calls begins.
    fn begin(&self) {}

    /// Writes to all memory are to be noted for `clients`, which were not before. Told to every listener, before all else of
    /// a batch.
    ///
    /// # Errors
    /// A refusal.
    fn log_global_start(&self, _clients: DirtyClients) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to all memory need not be noted for `clients` any more. Told to every listener, after all else of a batch.
    ///
    /// # Errors
    /// A refusal.
    fn log_global_stop(&self, _clients: DirtyClients) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to `range`, addresses of the section, may not be queued any more; those that were are carried out first.
    ///
    /// # Errors
    /// A refusal.
    fn coalesced_del(&self, _section: &Section, _range: AddrRange) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to `address` do not signal `event` any more.
    ///
    /// # Errors
    /// A refusal.
    fn ioevent_del(&self, _section: &Section, _address: u64, _event: &IoEvent) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to a range are noted for fewer clients than before: for `new`, not for `old`. Of a range that goes, told
    /// before.
    ///
    /// # Errors
    /// A refusal.
    fn log_stop(&self, _section: &Section, _old: DirtyClients, _new: DirtyClients) -> Result<(), Refusal> {
        Ok(())
    }

    /// A range is no longer in the map.
    ///
    /// # Errors
    /// A refusal.
    fn region_del(&self, _section: &Section) -> Result<(), Refusal> {
        Ok(())
    }

    /// A range has come into the map.
    ///
    /// # Errors
    /// A refusal.
    fn region_add(&self, _section: &Section) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether [`Listener::region_nop`] is wanted. It makes every commit as long as the map.
    fn wants_nop(&self) -> bool {
        false
    }

    /// A range of a space that changed elsewhere is as it was.
    ///
    /// # Errors
    /// A refusal.
    fn region_nop(&self, _section: &Section) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to a range are to be noted for more clients than before: for `new`, not for `old` only. Of a range that comes,
    /// told after.
    ///
    /// # Errors
    /// A refusal.
    fn log_start(&self, _section: &Section, _old: DirtyClients, _new: DirtyClients) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to `range`, addresses of the section, may be queued.
    ///
    /// # Errors
    /// A refusal.
    fn coalesced_add(&self, _section: &Section, _range: AddrRange) -> Result<(), Refusal> {
        Ok(())
    }

    /// Writes to `address` that hit `event` signal it. Its offset says where it is in the region.
    ///
    /// # Errors
    /// A refusal.
    fn ioevent_add(&self, _section: &Section, _address: u64, _event: &IoEvent) -> Result<(), Refusal> {
        Ok(())
    }

    /// What was written to a range without us is to be marked in its block's log. Called outside of batches.
    fn log_sync(&self, _section: &Section) {}

    /// The marks of a range, which may be a part of one of the map, have been taken: what is written from now on without us is
    /// to be noted anew. Called outside of batches.
    fn log_clear(&self, _section: &Section) {}

    /// The batch is over, and the new views are published, or after a refusal the old ones still are.
    fn commit(&self) {}

    /// It refused what cannot be refused, or panicked: its map is not the view any more, and this is the last that it is told, in
    /// place of the `commit` of the batch.
    fn poisoned(&self, _error: &Refusal) {}
}
