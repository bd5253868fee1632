//! The listeners of a machine, and how they are told.

use super::event::Event;
use super::{Listener, Refusal};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use memory_core::{DirtyClients, SpaceId};
use memory_flatview::View;
use std::any::Any;
use std::collections::BTreeSet;

/// A registered listener.
pub(crate) struct Entry {
    pub(crate) listener: Arc<dyn Listener>,
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

    /// The spaces that it has been told of.
    pub(super) fn known_spaces(&self) -> Vec<SpaceId> {
        self.known().iter().copied().collect()
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
        self.listener.poisoned(error);
    }
}

/// What a commit does to one space.
pub(crate) struct Change<'a> {
    pub(crate) space: SpaceId,
    pub(crate) old: &'a View,
    pub(crate) new: &'a View,
}

/// Who wants to know of writes to all memory, before and after.
pub(crate) type Global = (DirtyClients, DirtyClients);

/// Nobody else than before.
const SAME: Global = (DirtyClients::empty(), DirtyClients::empty());

/// The listeners of a machine, those of low priority first, of equal ones the first registered.
#[derive(Default)]
pub(crate) struct Listeners {
    /// Changed with the writers' lock held only. Held to copy the list, never while a listener runs.
    entries: Mutex<Vec<Arc<Entry>>>,
}

/// Listeners that have been told a change, and wait for its end. They hear of it when this is dropped, too: by a panic.
#[must_use = "the listeners wait for `finish`"]
#[derive(Default)]
pub(crate) struct Batch {
    entries: Vec<Arc<Entry>>,
    /// Those of the first entries that have been told of the end.
    ended: usize,
}

impl Batch {
    fn new(entries: Vec<Arc<Entry>>) -> Self {
        Self { entries, ended: 0 }
    }

    /// Tells that the batch is over.
    pub(crate) fn finish(mut self) -> Option<Box<dyn Any + Send>> {
        self.end();
        let entries = std::mem::take(&mut self.entries);
        // a listener may have been unregistered meanwhile: its destructor is nothing for a commit
        (!entries.is_empty()).then(|| Box::new(entries) as Box<dyn Any + Send>)
    }

    /// Tells those that have not been told.
    fn end(&mut self) {
        while let Some(entry) = self.entries.get(self.ended) {
            self.ended += 1;
            if !entry.is_poisoned() {
                entry.listener.commit();
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.end();
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

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether the entry was there.
    pub(super) fn remove(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.lock();
        let before = entries.len();
        entries.retain(|other| !Arc::ptr_eq(other, entry));
        entries.len() < before
    }

    /// Tells the listeners of the spaces what changes there, and all of them who wants to know of writes to all memory.
    /// With `forced` nobody can refuse.
    pub(crate) fn tell(
        &self,
        changes: &[Change<'_>],
        global: Global,
        forced: bool,
    ) -> Result<Batch, Refusal> {
        let heard = |entry: &Arc<Entry>| {
            let all = global.0 != global.1 && !entry.is_poisoned();
            all || changes.iter().any(|change| entry.hears(change.space))
        };
        let entries: Vec<_> = self.lock().iter().filter(|entry| heard(entry)).cloned().collect();
        tell(entries, changes, global, forced)
    }

    /// The listeners that hear a space.
    pub(crate) fn hearing(&self, space: SpaceId) -> Vec<Arc<Entry>> {
        self.lock().iter().filter(|entry| entry.hears(space)).cloned().collect()
    }

    /// Tells those who know a space that it is gone.
    pub(crate) fn tell_gone(&self, change: &Change<'_>) -> Option<Box<dyn Any + Send>> {
        let entries: Vec<_> = self.lock().iter().filter(|entry| entry.knows(change.space)).cloned().collect();
        let told = tell(entries.clone(), std::slice::from_ref(change), SAME, true);
        entries.iter().for_each(|entry| entry.forget(change.space));
        told.ok().and_then(Batch::finish)
    }
}

/// Tells `entries` what changes.
pub(super) fn tell(
    entries: Vec<Arc<Entry>>,
    changes: &[Change<'_>],
    global: Global,
    forced: bool,
) -> Result<Batch, Refusal> {
    // whatever happens, a panic of one of them included, they hear of the end, after what is taken back
    let batch = Batch::new(entries);
    let mut told = Told { forced, calling: None, calls: Vec::new() };
    match told.all(&batch.entries, changes, global) {
        Ok(()) => {
            told.calls.clear();
            Ok(batch)
        }
        Err(refusal) => {
            told.take_back();
            drop(batch.finish());
            Err(refusal)
        }
    }
}

/// What has been told so far of a batch. When a listener panics, it is poisoned, since what it knows nobody can say, and the others
/// are told the inverse: no view is published.
struct Told {
    /// Nobody can refuse.
    forced: bool,
    /// Who is being told something.
    calling: Option<Arc<Entry>>,
    calls: Vec<(Arc<Entry>, Arc<Event>)>,
}

impl Told {
    fn all(
        &mut self,
        entries: &[Arc<Entry>],
        changes: &[Change<'_>],
        (old, new): Global,
    ) -> Result<(), Refusal> {
        entries.iter().for_each(|entry| self.call(entry, |listener| listener.begin()));
        let everybody: Vec<_> = entries.iter().collect();
        let (first, last) = Event::global(old, new);
        first.into_iter().try_for_each(|event| self.tell(&everybody, event))?;
        for change in changes {
            let hearing: Vec<_> = entries.iter().filter(|entry| entry.hears(change.space)).collect();
            if hearing.is_empty() {
                continue;
            }
            for entry in &hearing {
                entry.known().insert(change.space);
            }
            let nop = hearing.iter().any(|entry| entry.listener.wants_nop());
            Event::all(change, nop).into_iter().try_for_each(|event| self.tell(&hearing, event))?;
        }
        last.into_iter().try_for_each(|event| self.tell(&everybody, event))
    }

    fn tell(&mut self, entries: &[&Arc<Entry>], event: Event) -> Result<(), Refusal> {
        let event = Arc::new(event);
        for index in 0..entries.len() {
            let index = if event.takes_away() { entries.len() - 1 - index } else { index };
            let Some(entry) = entries.get(index) else { continue };
            if entry.is_poisoned() || !event.is_for(&*entry.listener) {
                continue;
            }
            match self.call(entry, |listener| event.tell(listener)) {
                Ok(()) => self.calls.push((Arc::clone(entry), event.clone())),
                Err(error) if self.forced => entry.poison(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn call<R>(&mut self, entry: &Arc<Entry>, call: impl FnOnce(&dyn Listener) -> R) -> R {
        self.calling = Some(entry.clone());
        let result = call(&*entry.listener);
        self.calling = None;
        result
    }

    /// Takes back what was told, the last first.
    fn take_back(&mut self) {
        while let Some((entry, event)) = self.calls.pop() {
            if entry.is_poisoned() {
                continue;
            }
            if let Err(error) = self.call(&entry, |listener| event.take_back(listener)) {
                entry.poison(&error);
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(entry) = self.calling.take() {
            entry.poison(&"it panicked".into());
        }
        self.take_back();
    }
}
