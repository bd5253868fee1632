//! Registering and unregistering.

use super::list::{Batch, Change, Entry, tell};
use super::{Listener, Refusal};
use crate::space::AddressSpace;
use crate::sync::{Arc, ViewArc};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{DirtyClients, MemoryError, SpaceId};
use memory_flatview::View;
use std::fmt;

/// Keeps a listener registered.
///
/// Dropping it undoes what the listener was told: everything is deleted from its map. Where a transaction is in the
/// way, of this thread or of another, that is done at its end; [`ListenerGuard::unregister`] waits for it.
#[must_use = "the listener is unregistered when this is dropped"]
pub struct ListenerGuard {
    /// Taken when the listener is unregistered.
    entry: Option<Arc<Entry>>,
    system: Arc<SystemInner>,
}

impl ListenerGuard {
    /// Whether the listener refused what cannot be refused, or panicked: its map is not the view any more, and it is told nothing.
    pub fn is_poisoned(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.is_poisoned())
    }

    /// Unregisters the listener, after another thread's transaction if there is one. No call of it runs when this returns.
    ///
    /// # Errors
    /// From inside a listener: it is unregistered at the end of the commit then.
    pub fn unregister(mut self) -> Result<(), MemoryError> {
        self.system.memory().read(|_| {
            if let Some(entry) = self.entry.take() {
                self.system.unregister(&entry);
            }
        })
    }
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            let system = self.system.clone();
            self.system.memory().when_free(move || system.unregister(&entry));
        }
    }
}

impl fmt::Debug for ListenerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerGuard").field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

impl MemorySystem {
    /// Tells `listener` of the changes of `space`, or of all spaces, from now on, and first of what is there now. Inside a
    /// transaction that is what was there before it. Of several listeners those of low `priority` are told first what comes,
    /// and last what goes.
    ///
    /// The system holds the listener until the guard is dropped: a listener holds no [`MemorySystem`] and no
    /// [`AddressSpace`] strongly.
    ///
    /// # Errors
    /// What the listener refuses of the present map, which it is then told to delete again; or a call from a listener.
    pub fn listen(
        &self,
        listener: Arc<dyn Listener>,
        priority: i32,
        space: Option<&Arc<AddressSpace>>,
    ) -> Result<ListenerGuard, MemoryError> {
        let system = self.inner();
        let space = space.map(|space| space.id());
        let entry = Arc::new(Entry::new(listener, priority, space));
        system.memory().read(|_| system.register(&entry).map_err(MemoryError::Refused))??;
        Ok(ListenerGuard { entry: Some(entry), system: system.clone() })
    }
}

impl SystemInner {
    /// Tells a new listener what is there. Called with the writers' lock held.
    fn register(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), Refusal> {
        let spaces = self.live_spaces();
        let heard = spaces.iter().filter(|space| entry.hears(space.id()));
        let views: Vec<_> = heard.map(|space| (space.id(), space.published().load_full())).collect();
        let empty = self.empty_view();
        let change = |(space, view)| Change { space, old: &empty, new: view };
        let changes: Vec<_> = views.iter().map(|(space, view)| change((*space, view))).collect();
        let global = (DirtyClients::empty(), self.told_global());
        let told = tell(vec![entry.clone()], &changes, global, false).map(Batch::finish);
        drop(changes);
        // whatever may be the last of something here is nothing for the writers' lock
        self.reclaim().retire(Box::new((spaces, views)));
        drop(told?);
        self.listeners().insert(entry.clone());
        Ok(())
    }

    /// Takes a listener's map down. Called with the writers' lock held.
    fn unregister(self: &Arc<Self>, entry: &Arc<Entry>) {
        if !self.listeners().remove(entry) {
            return;
        }
        let spaces = self.live_spaces();
        let live = spaces.iter().map(|space| (space.id(), space.published().load_full()));
        let is_live = |id: &SpaceId| spaces.iter().any(|space| space.id() == *id);
        let gone: Vec<SpaceId> = entry.known_spaces().into_iter().filter(|id| !is_live(id)).collect();
        let views: Vec<(SpaceId, ViewArc<View>)> = live.chain(self.departed_with(&gone)).collect();
        let empty = self.empty_view();
        let known = views.iter().filter(|(space, _)| entry.knows(*space));
        let changes: Vec<_> =
            known.map(|(space, view)| Change { space: *space, old: view, new: &empty }).collect();
        let global = (self.told_global(), DirtyClients::empty());
        let told = tell(vec![entry.clone()], &changes, global, true).map(Batch::finish);
        drop(changes);
        self.reclaim().retire(Box::new((spaces, views, entry.clone(), told.is_ok())));
    }
}
