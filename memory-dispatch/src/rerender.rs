//! Which views a commit replaces, and by what.

use crate::space::AddressSpace;
use crate::sync::{Arc, ViewArc};
use crate::system::SystemInner;
use memory_core::{AddrRange, Damage, RegionId, Tree};
use memory_flatview::{FlatRange, Spread, View, render, resolve_root};
use std::collections::BTreeMap;

/// An address space and the view that it is about to show.
pub(crate) type Fresh = (Arc<AddressSpace>, ViewArc<View>);

impl SystemInner {
    /// The views that replace those of the spaces that show something which changed.
    pub(crate) fn render_changed(
        &self,
        tree: &Tree,
        damage: &Damage,
        spaces: &[Arc<AddressSpace>],
    ) -> Vec<Fresh> {
        let spread = Spread::new(tree, damage);
        let mut rendered: BTreeMap<RegionId, ViewArc<View>> = BTreeMap::new();
        // views of roots that show nothing which changed stay right, and spaces that come to show such a root share them
        for view in spaces.iter().map(|space| space.published().load_full()) {
            if let Some(root) = view.root().filter(|root| !spread.shows(*root)) {
                rendered.insert(root, view);
            }
        }
        let mut fresh = Vec::new();
        for space in spaces {
            if space.is_rendered() && !spread.shows(space.root().id()) {
                continue;
            }
            let old = space.published().load_full();
            let view = match resolve_root(tree, space.root().id()) {
                None => self.empty_view(),
                Some(root) => {
                    rendered.entry(root).or_insert_with(|| self.render(tree, root, &old, &spread)).clone()
                }
            };
            if !ViewArc::ptr_eq(&view, &old) {
                fresh.push((space.clone(), view));
            }
        }
        fresh
    }

    /// The view of `root`: `old`, if that shows the same.
    fn render(&self, tree: &Tree, root: RegionId, old: &ViewArc<View>, spread: &Spread) -> ViewArc<View> {
        if old.root() == Some(root) {
            let view = self.render_windows(tree, root, old, spread.windows(root));
            if self.checks_rendering() {
                let whole = View::new(0, Some(root), render(tree, Some(root), AddrRange::ALL), None);
                assert!(view.is_same(&whole), "rendered by windows: {view:?}\nas a whole: {whole:?}");
            }
            return view;
        }
        let ranges = render(tree, Some(root), AddrRange::ALL);
        ViewArc::new(View::new(self.memory().unique(), Some(root), ranges, Some(old)))
    }

    /// `old`, with what `windows` of it show now.
    fn render_windows(
        &self,
        tree: &Tree,
        root: RegionId,
        old: &ViewArc<View>,
        windows: &[AddrRange],
    ) -> ViewArc<View> {
        let windows = joined(windows.iter().map(|window| old.widened(*window)).collect());
        let rendered = windows.into_iter().map(|window| (window, render(tree, Some(root), window)));
        let changed: Vec<_> = rendered.filter(|(window, new)| !shows_same(old, *window, new)).collect();
        if changed.is_empty() {
            return old.clone();
        }
        ViewArc::new(old.replaced(self.memory().unique(), changed))
    }
}

/// Whether a view has just `new` in `window`, which cuts none of its ranges. What was rendered for nothing holds no more than
/// the view does then.
fn shows_same(view: &View, window: AddrRange, new: &[FlatRange]) -> bool {
    let mut old = view.ranges_in(window);
    new.iter().all(|new| old.next().is_some_and(|old| old.is_same(new))) && old.next().is_none()
}

/// Ascending, and with a gap between any two.
fn joined(mut windows: Vec<AddrRange>) -> Vec<AddrRange> {
    windows.sort_unstable_by_key(|window| window.start());
    let mut joined: Vec<AddrRange> = Vec::with_capacity(windows.len());
    for window in windows {
        match joined.last_mut().filter(|last| last.last().saturating_add(1) >= window.start()) {
            Some(last) => *last = last.hull(window),
            None => joined.push(window),
        }
    }
    joined
}
