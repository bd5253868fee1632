//! The listeners of a machine, and how they are told.

use super::event::Event;
use super::{Listener, Refusal};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::system::SystemInner;
use memory_core::SpaceId;
use memory_flatview::View;
use std::collections::BTreeSet;

/// A registered listener.
pub(super) struct Entry {
    pub(super) listener: Arc<dyn Listener>,
    pub(super) priority: i32,
    /// The one space that it listens to, or all.
    pub(super) space: Option<SpaceId>,
    /// Its map is not the view any more, and it is told nothing.
    poisoned: AtomicBool,
    /// The spaces that it has been told of. Held for an instant.
    known: Mutex<BTreeSet<SpaceId>>,
}

impl Entry {
    pub(super) fn new(listener: Arc<dyn Listener>, priority: i32, space: Option<SpaceId>) -> Self {
        Self { listener, priority, space, poisoned: AtomicBool::new(false), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<SpaceId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, space: SpaceId) {
        self.known().remove(&space);
    }

    /// Whether it has been told of the space.
    pub(super) fn knows(&self, space: SpaceId) -> bool {
        self.known().contains(&space)
    }

    pub(super) fn hears(&self, space: SpaceId) -> bool {
        self.space.is_none_or(|only| only == space) && !self.is_poisoned()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Tells nothing more to a listener that refused what cannot be refused.
    fn poison(&self, error: &Refusal) {
        self.poisoned.store(true, Ordering::Release);
        tracing::error!(%error, "a listener refused what cannot be refused, and is told nothing more");
    }
}

/// What a commit does to one space.
pub(crate) struct Change<'a> {
    pub(crate) system: &'a Arc<SystemInner>,
    pub(crate) space: SpaceId,
    pub(crate) old: &'a View,
    pub(crate) new: &'a View,
}

/// The listeners of a machine, those of low priority first, of equal ones the first registered.
#[derive(Default)]
pub(crate) struct Listeners {
    /// Changed with the writers' lock held only. Held to copy the list, never while a listener runs.
    entries: Mutex<Vec<Arc<Entry>>>,
}

/// Listeners that have been told a change, and wait for its end.
#[must_use = "the listeners wait for `finish`"]
pub(crate) struct Batch {
    entries: Vec<Arc<Entry>>,
}

impl Batch {
    /// Tells that the batch is over.
    pub(crate) fn finish(self) -> Vec<Box<dyn Send>> {
        let mut done: Vec<Box<dyn Send>> = Vec::new();
        for entry in self.entries {
            if !entry.is_poisoned() {
                entry.listener.commit();
            }
            // a listener may have been unregistered meanwhile: its destructor is nothing for a commit
            done.push(Box::new(entry));
        }
        done
    }
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, entry: Arc<Entry>) {
        let mut entries = self.lock();
        let at = entries.partition_point(|other| other.priority <= entry.priority);
        entries.insert(at, entry);
    }

    /// Whether the entry was there.
    pub(super) fn remove(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.lock();
        let before = entries.len();
        entries.retain(|other| !Arc::ptr_eq(other, entry));
        entries.len() < before
    }

    /// Tells the listeners of the spaces what changes there. With `forced` nobody can refuse.
    pub(crate) fn tell(&self, changes: &[Change<'_>], forced: bool) -> Result<Batch, Refusal> {
        let heard = |entry: &Arc<Entry>| changes.iter().any(|change| entry.hears(change.space));
        let entries: Vec<_> = self.lock().iter().filter(|entry| heard(entry)).cloned().collect();
        tell(entries, changes, forced)
    }

    /// Tells those who know a space that it is gone.
    pub(crate) fn tell_gone(&self, change: &Change<'_>) -> Vec<Box<dyn Send>> {
        let entries: Vec<_> = self.lock().iter().filter(|entry| entry.knows(change.space)).cloned().collect();
        let told = tell(entries.clone(), std::slice::from_ref(change), true);
        entries.iter().for_each(|entry| entry.forget(change.space));
        told.map(Batch::finish).unwrap_or_default()
    }
}

/// Tells `entries` what changes.
pub(super) fn tell(entries: Vec<Arc<Entry>>, changes: &[Change<'_>], forced: bool) -> Result<Batch, Refusal> {
    entries.iter().for_each(|entry| entry.listener.begin());
    let mut told = Vec::new();
    let result = changes.iter().try_for_each(|change| tell_change(&entries, change, forced, &mut told));
    let batch = Batch { entries };
    match result {
        Ok(()) => Ok(batch),
        Err(refusal) => {
            take_back(told);
            drop(batch.finish());
            Err(refusal)
        }
    }
}

type Told = Vec<(Arc<Entry>, Arc<Event>)>;

fn tell_change(
    entries: &[Arc<Entry>],
    change: &Change<'_>,
    forced: bool,
    told: &mut Told,
) -> Result<(), Refusal> {
    let hearing: Vec<_> = entries.iter().filter(|entry| entry.hears(change.space)).collect();
    if hearing.is_empty() {
        return Ok(());
    }
    for entry in &hearing {
        entry.known().insert(change.space);
    }
    let nop = hearing.iter().any(|entry| entry.listener.wants_nop());
    for event in Event::all(change, nop).into_iter().map(Arc::new) {
        for index in 0..hearing.len() {
            let index = if event.takes_away() { hearing.len() - 1 - index } else { index };
            let Some(entry) = hearing.get(index) else { continue };
            if entry.is_poisoned() || !event.is_for(&*entry.listener) {
                continue;
            }
            match event.tell(&*entry.listener) {
                Ok(()) if forced => {}
                Ok(()) => told.push((Arc::clone(entry), event.clone())),
                Err(error) if forced => entry.poison(&error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Takes back what was told, the last first.
fn take_back(told: Told) {
    for (entry, event) in told.into_iter().rev() {
        if entry.is_poisoned() {
            continue;
        }
        if let Err(error) = event.take_back(&*entry.listener) {
            entry.poison(&error);
        }
    }
}
