//! The address spaces of a machine, and the views that they have published.

use crate::rerender::Fresh;
use crate::space::AddressSpace;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, ViewArc, Weak};
use memory_core::{RegionId, Size, SpaceId, Tree};
use memory_flatview::{Spread, View, resolve_root, resolve_root_by};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

struct Listed {
    root: RegionId,
    /// What the root comes down to, if a commit has looked; `None` if nothing is shown.
    shown: Option<RegionId>,
    /// The regions on the way there, or those that were looked at in vain.
    way: Vec<RegionId>,
    space: Weak<AddressSpace>,
}

/// A region that roots come down to.
struct Shown {
    /// Its size when that was found.
    size: Size,
    spaces: BTreeMap<SpaceId, Weak<AddressSpace>>,
}

impl Shown {
    /// Whether roots that came down to `region` still do, as long as nothing on the way has changed.
    fn is_still(&self, tree: &Tree, region: RegionId) -> bool {
        tree.get(region).is_some_and(|node| node.size() == self.size)
            && resolve_root(tree, region) == Some(region)
    }
}

/// The spaces, and where a change that matters to them would be. A commit looks at those spaces alone that may see it.
#[derive(Default)]
struct List {
    /// By their ids, which is the order of their making.
    all: BTreeMap<SpaceId, Listed>,
    /// Whose root is looked through at a region, or was looked at in vain.
    ways: FxHashMap<RegionId, BTreeSet<SpaceId>>,
    shown: FxHashMap<RegionId, Shown>,
    /// Those that no commit has looked at, or only one that was taken back.
    unseen: Vec<SpaceId>,
}

impl List {
    fn remove_from_ways(&mut self, id: SpaceId, way: &[RegionId], shown: Option<RegionId>) {
        for region in way {
            if let Some(spaces) = self.ways.get_mut(region) {
                spaces.remove(&id);
                if spaces.is_empty() {
                    self.ways.remove(region);
                }
            }
        }
        if let Some(region) = shown
            && let Some(shown) = self.shown.get_mut(&region)
        {
            shown.spaces.remove(&id);
            if shown.spaces.is_empty() {
                self.shown.remove(&region);
            }
        }
    }

    /// Looks where the root of a space leads now.
    fn lead(&mut self, tree: &Tree, id: SpaceId) -> Option<Affected> {
        let listed = self.all.get_mut(&id)?;
        let (way, shown) = (std::mem::take(&mut listed.way), listed.shown.take());
        self.remove_from_ways(id, &way, shown);
        let listed = self.all.get_mut(&id)?;
        let mut way = Vec::new();
        let shown = resolve_root_by(tree, listed.root, |region| way.push(region));
        if shown.is_some() {
            way.pop();
        }
        for region in &way {
            self.ways.entry(*region).or_default().insert(id);
        }
        if let Some(region) = shown {
            let size = tree.get(region).map_or(Size::ZERO, |node| node.size());
            let known = self.shown.entry(region).or_insert_with(|| Shown { size, spaces: BTreeMap::new() });
            // all that came down to it before are looked at again with this one, if it has another size now
            known.size = size;
            known.spaces.insert(id, listed.space.clone());
        }
        (listed.way, listed.shown) = (way, shown);
        Some((listed.space.upgrade()?, shown))
    }

    /// Those whose root may lead elsewhere, and the regions that are shown as before by the others and may show a change.
    fn candidates(&mut self, tree: &Tree, spread: &Spread) -> (BTreeSet<SpaceId>, Vec<RegionId>) {
        let mut again: BTreeSet<SpaceId> = std::mem::take(&mut self.unseen).into_iter().collect();
        let mut reached = Vec::new();
        for region in spread.touched() {
            again.extend(self.ways.get(&region).into_iter().flatten());
            // one that is gone altogether shows nothing that a change could reach
            if let Some(shown) = self.shown.get(&region).filter(|shown| !shown.is_still(tree, region)) {
                again.extend(shown.spaces.keys());
            }
        }
        for region in spread.reached() {
            match self.shown.get(&region) {
                Some(shown) if shown.is_still(tree, region) => reached.push(region),
                Some(shown) => again.extend(shown.spaces.keys()),
                None => (),
            }
        }
        (again, reached)
    }

    fn affected(&mut self, tree: &Tree, spread: &Spread) -> Vec<Affected> {
        let (again, reached) = self.candidates(tree, spread);
        let mut affected: Vec<(SpaceId, Affected)> = Vec::new();
        for region in reached {
            let spaces = self.shown.get(&region).into_iter().flat_map(|shown| &shown.spaces);
            let others = spaces.filter(|(id, _)| !again.contains(id));
            affected.extend(others.filter_map(|(id, space)| Some((*id, (space.upgrade()?, Some(region))))));
        }
        for id in again {
            affected.extend(self.lead(tree, id).map(|space| (id, space)));
        }
        affected.sort_unstable_by_key(|(id, _)| *id);
        self.unseen.extend(affected.iter().map(|(id, _)| *id));
        affected.into_iter().map(|(_, space)| space).collect()
    }
}

/// A space and the region that it comes down to.
pub(crate) type Affected = (Arc<AddressSpace>, Option<RegionId>);

/// The address spaces, in the order of their making.
#[derive(Default)]
pub(crate) struct Spaces {
    /// Lock order: the writers' lock before this. Held to look through the list, never while a space is dropped.
    list: Mutex<List>,
}

impl Spaces {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, space: &Arc<AddressSpace>) {
        let listed =
            Listed { root: space.root().id(), shown: None, way: Vec::new(), space: Arc::downgrade(space) };
        let mut list = self.lock();
        list.all.insert(space.id(), listed);
        list.unseen.push(space.id());
    }

    /// Those that are alive.
    pub(crate) fn live(&self) -> Vec<Arc<AddressSpace>> {
        self.lock().all.values().filter_map(|listed| listed.space.upgrade()).collect()
    }

    /// Those that a change may be seen in, and those that no commit has looked at yet. Unless [`Spaces::note_rendered`]
    /// follows, the next commit looks at all of them again.
    pub(crate) fn affected(&self, tree: &Tree, spread: &Spread) -> Vec<Affected> {
        self.lock().affected(tree, spread)
    }

    /// A commit has looked at all that were to be looked at, and is not taken back.
    pub(crate) fn note_rendered(&self) {
        self.lock().unseen.clear();
    }

    pub(crate) fn forget(&self, id: SpaceId) {
        let mut list = self.lock();
        if let Some(listed) = list.all.remove(&id) {
            list.remove_from_ways(id, &listed.way, listed.shown);
        }
    }

    /// Whether the last reference to one is gone, and its end goes on.
    pub(crate) fn is_one_going(&self) -> bool {
        self.lock().all.values().any(|listed| listed.space.strong_count() == 0)
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

    /// Forgets which view is that of a root, for those of `roots` that are not `rendered`. Whoever shows such a view holds it.
    pub(crate) fn forget_unless(
        &self,
        roots: impl Iterator<Item = RegionId>,
        rendered: impl Fn(RegionId) -> bool,
    ) {
        let mut published = self.lock();
        for root in roots.filter(|root| !rendered(*root)) {
            published.of_root.remove(&root);
        }
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
