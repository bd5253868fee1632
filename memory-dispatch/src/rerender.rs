//! Which views a commit replaces, and by what.

use crate::space::AddressSpace;
use crate::spaces::Affected;
use crate::sync::{Arc, ViewArc};
use crate::system::SystemInner;
use memory_core::{AddrRange, RegionId, Tree};
use memory_flatview::{FlatRange, Spread, View, render};
use std::collections::BTreeMap;

/// An address space, and the view that it is about to show.
pub(crate) struct Fresh<'a> {
    pub(crate) space: &'a Arc<AddressSpace>,
    pub(crate) new: ViewArc<View>,
}

impl SystemInner {
    /// The views that are to replace others in some of `spaces`.
    pub(crate) fn render_changed<'a>(
        &self,
        tree: &Tree,
        spread: &Spread,
        spaces: &'a [Affected],
    ) -> Vec<Fresh<'a>> {
        let mut rendered: BTreeMap<RegionId, ViewArc<View>> = BTreeMap::new();
        let mut fresh = Vec::with_capacity(spaces.len());
        for (space, root) in spaces {
            let new = match root {
                None => self.empty_view(),
                Some(root) => {
                    rendered.entry(*root).or_insert_with(|| self.render(tree, *root, spread)).clone()
                }
            };
            // only commits publish, and this is one: the generation is that of the view
            if new.generation() != space.generation() {
                fresh.push(Fresh { space, new });
            }
        }
        // shown by spaces alone whose end goes on: it stays behind, and must not be what another space begins with
        self.publications().forget_unless(spread.reached(), |root| rendered.contains_key(&root));
        fresh
    }

    /// The view of `root`: the one that some space shows already, if that shows the same.
    fn render(&self, tree: &Tree, root: RegionId, spread: &Spread) -> ViewArc<View> {
        let Some(old) = self.publications().of_root(root) else {
            let ranges = render(tree, Some(root), AddrRange::ALL);
            return ViewArc::new(View::new(self.memory().unique(), Some(root), ranges, None));
        };
        let view = self.render_windows(tree, root, &old, spread.windows(root));
        if self.checks_rendering() {
            let whole = View::new(0, Some(root), render(tree, Some(root), AddrRange::ALL), None);
            assert!(view.is_same(&whole), "rendered by windows: {view:?}\nas a whole: {whole:?}");
        }
        view
    }

    /// `old`, with what `windows` of it show now.
    fn render_windows(
        &self,
        tree: &Tree,
        root: RegionId,
        old: &ViewArc<View>,
        windows: impl Iterator<Item = AddrRange>,
    ) -> ViewArc<View> {
        let windows = joined(windows.map(|window| old.widened(window)).collect());
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
