//! The address spaces of a machine, and the views that they have published.

use crate::rerender::Fresh;
use crate::space::AddressSpace;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, ViewArc, Weak};
use memory_core::{RegionId, Size, Tree};
use memory_flatview::{Spread, View, resolve_root, resolve_root_by};
use std::collections::BTreeMap;

struct Listed {
    root: RegionId,
    /// Whether a commit has looked at the space. One that was made in a transaction which was taken back has to be looked at
    /// by the next one.
    rendered: bool,
    /// What the root comes down to, and its size then, if a commit has looked; `None` if nothing is shown.
    shown: Option<(RegionId, Size)>,
    /// The regions on the way there, or those that were looked at in vain.
    way: Vec<RegionId>,
    space: Weak<AddressSpace>,
}

impl Listed {
    /// Whether the root may come down to something else than before.
    fn may_lead_elsewhere(&self, tree: &Tree, spread: &Spread) -> bool {
        let is_another_size =
            |(shown, size): (RegionId, Size)| tree.get(shown).is_none_or(|node| node.size() != size);
        !self.rendered
            || self.way.iter().any(|region| spread.touches(*region))
            || self.shown.is_some_and(is_another_size)
    }

    /// What the root comes down to now, if a change may be seen in the space. `still` remembers a region that comes down to
    /// itself.
    fn affected(
        &mut self,
        tree: &Tree,
        spread: &Spread,
        still: &mut Option<RegionId>,
    ) -> Option<Option<RegionId>> {
        if !self.may_lead_elsewhere(tree, spread) {
            let (shown, _) = self.shown?;
            if !spread.reaches(shown) {
                return None;
            }
            if *still != Some(shown) && resolve_root(tree, shown) == Some(shown) {
                *still = Some(shown);
            }
            if *still == Some(shown) {
                return Some(Some(shown));
            }
        }
        self.way.clear();
        let shown = resolve_root_by(tree, self.root, |region| self.way.push(region));
        if shown.is_some() {
            self.way.pop();
        }
        self.shown = shown.and_then(|shown| Some((shown, tree.get(shown)?.size())));
        Some(shown)
    }
}

/// A space and the region that it comes down to.
pub(crate) type Affected = (Arc<AddressSpace>, Option<RegionId>);

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
        let (root, way, space) = (space.root().id(), Vec::new(), Arc::downgrade(space));
        self.lock().push(Listed { root, rendered: false, shown: None, way, space });
    }

    /// Those that are alive.
    pub(crate) fn live(&self) -> Vec<Arc<AddressSpace>> {
        self.lock().iter().filter_map(|listed| listed.space.upgrade()).collect()
    }

    /// Those that a change may be seen in, and those that no commit has looked at yet. Unless [`Spaces::note_rendered`]
    /// follows, the next commit looks at all of them again.
    pub(crate) fn affected(&self, tree: &Tree, spread: &Spread) -> Vec<Affected> {
        let mut still = None;
        let mut list = self.lock();
        let affected = list.iter_mut().filter_map(|listed| {
            let shown = listed.affected(tree, spread, &mut still)?;
            listed.rendered = false;
            Some((listed.space.upgrade()?, shown))
        });
        affected.collect()
    }

    /// A commit has looked at all that were to be looked at, and is not taken back.
    pub(crate) fn note_rendered(&self) {
        self.lock().iter_mut().for_each(|listed| listed.rendered = true);
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

    /// The new views are shown.
    pub(crate) fn begin(&self, fresh: &[Fresh<'_>]) {
        let mut published = self.lock();
        for run in fresh.chunk_by(|a, b| ViewArc::ptr_eq(&a.new, &b.new)) {
            let Some((view, root)) = run.first().and_then(|fresh| Some((&fresh.new, fresh.new.root()?)))
            else {
                continue;
            };
            let spaces = published.spaces.entry(view.generation()).or_insert(0);
            *spaces += run.len();
            if *spaces == run.len() {
                // the one before may still be shown by others, and is held by them
                let _before = published.of_root.insert(root, view.clone());
            }
        }
    }

    /// Views are shown by one space less, for each time that they are in the list. Returns those that nobody shows any more,
    /// once each. The list's references are not all the last ones.
    pub(crate) fn end(&self, views: Vec<ViewArc<View>>) -> Vec<ViewArc<View>> {
        let mut published = self.lock();
        let mut ended = Vec::new();
        for run in views.chunk_by(ViewArc::ptr_eq) {
            let Some((view, root)) = run.first().and_then(|view| Some((view, view.root()?))) else {
                continue;
            };
            let Some(spaces) = published.spaces.get_mut(&view.generation()) else { continue };
            *spaces = spaces.saturating_sub(run.len());
            if *spaces == 0 {
                published.spaces.remove(&view.generation());
                if published.of_root.get(&root).is_some_and(|known| ViewArc::ptr_eq(known, view)) {
                    published.of_root.remove(&root);
                }
                ended.push(view.clone());
            }
        }
        ended
    }
}
