//! The address spaces of a machine, and the views that they have published.

use crate::space::AddressSpace;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, ViewArc, Weak};
use memory_core::RegionId;
use memory_flatview::{Spread, View};
use std::collections::BTreeMap;

struct Listed {
    root: RegionId,
    /// Whether a commit has looked at the space. One that was made in a transaction which was taken back has to be looked at
    /// by the next one.
    rendered: bool,
    space: Weak<AddressSpace>,
}

/// The address spaces, in the order of their making.
#[derive(Default)]
pub(crate) struct Spaces {
    /// Lock order: the writers' lock before this. Held to look through the list, never while a space is dropped.
    list: Mutex<Vec<Listed>>,
}

impl Spaces {
    fn lock(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, space: &Arc<AddressSpace>) {
        let listed = Listed { root: space.root().id(), rendered: false, space: Arc::downgrade(space) };
        self.lock().push(listed);
    }

    /// Those that are alive.
    pub(crate) fn live(&self) -> Vec<Arc<AddressSpace>> {
        self.lock().iter().filter_map(|listed| listed.space.upgrade()).collect()
    }

    /// Those that a change may be seen in, and those that no commit has looked at yet.
    pub(crate) fn affected(&self, spread: &Spread) -> Vec<Arc<AddressSpace>> {
        let list = self.lock();
        let affected = list.iter().filter(|listed| !listed.rendered || spread.shows(listed.root));
        affected.filter_map(|listed| listed.space.upgrade()).collect()
    }

    /// A commit has looked at all that were to be looked at.
    pub(crate) fn note_rendered(&self) {
        self.lock()
            .iter_mut()
            .rev()
            .take_while(|listed| !listed.rendered)
            .for_each(|listed| listed.rendered = true);
    }

    pub(crate) fn forget(&self, space: *const AddressSpace) {
        self.lock().retain(|known| known.space.as_ptr() != space);
    }

    /// Whether the last reference to one is gone, and its end goes on.
    pub(crate) fn is_one_going(&self) -> bool {
        self.lock().iter().any(|listed| listed.space.strong_count() == 0)
    }
}

#[derive(Default)]
struct Published {
    /// How many spaces show a view, by its generation.
    spaces: BTreeMap<u64, usize>,
    /// The view of a region that some space comes down to.
    of_root: BTreeMap<RegionId, ViewArc<View>>,
}

/// The views that spaces show, the empty one apart: what comes to show the same region shares its view, and a view that
/// nobody shows any more is retired. Changed with the writers' lock held.
#[derive(Default)]
pub(crate) struct Publications {
    /// Held for an instant.
    published: Mutex<Published>,
}

impl Publications {
    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view of a region, if a space shows it.
    pub(crate) fn of_root(&self, root: RegionId) -> Option<ViewArc<View>> {
        self.lock().of_root.get(&root).cloned()
    }

    /// One more space shows `view`.
    pub(crate) fn begin(&self, view: &ViewArc<View>) {
        let Some(root) = view.root() else { return };
        let mut published = self.lock();
        let spaces = published.spaces.entry(view.generation()).or_insert(0);
        *spaces += 1;
        if *spaces == 1 {
            // the one before may still be shown by others, and is held by them
            let _before = published.of_root.insert(root, view.clone());
        }
    }

    /// One space less shows `view`. Returns whether it was the last one. The caller's reference is not the last.
    #[must_use = "a view that nobody shows is to be retired"]
    pub(crate) fn end(&self, view: &ViewArc<View>) -> bool {
        let Some(root) = view.root() else { return false };
        let mut published = self.lock();
        let Some(spaces) = published.spaces.get_mut(&view.generation()) else { return false };
        *spaces -= 1;
        if *spaces > 0 {
            return false;
        }
        published.spaces.remove(&view.generation());
        if published.of_root.get(&root).is_some_and(|known| ViewArc::ptr_eq(known, view)) {
            published.of_root.remove(&root);
        }
        true
    }
}
