//! Which views a commit replaces, and by what.

use crate::space::AddressSpace;
use crate::sync::{Arc, ViewArc};
use crate::system::SystemInner;
use memory_core::{AddrRange, RegionId, Tree};
use memory_flatview::{View, render, resolve_root};
use std::collections::{BTreeMap, BTreeSet, HashSet};

impl SystemInner {
    /// The regions that show one of `touched`, themselves included.
    fn showing(tree: &Tree, touched: &BTreeSet<RegionId>) -> HashSet<RegionId> {
        let mut showing: HashSet<RegionId> = touched.iter().copied().collect();
        let mut rest: Vec<RegionId> = touched.iter().copied().collect();
        while let Some(node) = rest.pop().map(|id| tree.get(id)) {
            let Some(node) = node else { continue };
            for up in node.aliases().chain(node.placement().map(|place| place.parent)) {
                if showing.insert(up) {
                    rest.push(up);
                }
            }
        }
        showing
    }

    /// The views that replace those of the spaces that show something touched.
    pub(crate) fn render_touched(
        &self,
        tree: &Tree,
        touched: &BTreeSet<RegionId>,
        spaces: &[Arc<AddressSpace>],
    ) -> Vec<(Arc<AddressSpace>, ViewArc<View>)> {
        let showing = Self::showing(tree, touched);
        let mut rendered: BTreeMap<RegionId, ViewArc<View>> = BTreeMap::new();
        // views of roots that show nothing touched stay right, and spaces that come to show such a root share them
        for view in spaces.iter().map(|space| space.published().load_full()) {
            if let Some(root) = view.root().filter(|root| !showing.contains(root)) {
                rendered.insert(root, view);
            }
        }
        let mut fresh = Vec::new();
        for space in spaces {
            if space.is_rendered() && !showing.contains(&space.root().id()) {
                continue;
            }
            let old = space.published().load_full();
            let view = match resolve_root(tree, space.root().id()) {
                None => self.empty_view().clone(),
                Some(root) => rendered.entry(root).or_insert_with(|| self.render(tree, root, &old)).clone(),
            };
            if !ViewArc::ptr_eq(&view, &old) {
                fresh.push((space.clone(), view));
            }
        }
        fresh
    }

    /// The view of `root`: `old`, if that shows the same.
    fn render(&self, tree: &Tree, root: RegionId, old: &ViewArc<View>) -> ViewArc<View> {
        let ranges = render(tree, Some(root), AddrRange::ALL);
        let view = View::new(self.memory().unique(), Some(root), ranges, Some(old));
        if view.root() == old.root() && view.is_same(old) {
            // it may hold the last reference to a device, and the writers' lock is held here
            self.reclaim().retire(Box::new(view));
            return old.clone();
        }
        ViewArc::new(view)
    }
}
