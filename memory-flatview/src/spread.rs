//! How a change spreads: from the regions that changed to all that show them.

use crate::root::step;
use memory_core::{AddrRange, Damage, Kind, Node, RegionId, Tree};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// Windows of one region that are told apart; if there are more they become one.
const MOST_WINDOWS: usize = 64;

/// Where one region may show something else.
#[derive(Default)]
struct Windows {
    /// Most regions have one at most.
    first: Option<AddrRange>,
    more: Vec<AddrRange>,
}

impl Windows {
    fn iter(&self) -> impl Iterator<Item = AddrRange> {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    /// Adds a window. Returns what of this has to spread on: the window, or if there are too many all of them in one.
    fn add(&mut self, window: AddrRange) -> Option<AddrRange> {
        if self.iter().any(|known| known.contains_range(window)) {
            return None;
        }
        if self.first.is_none() {
            self.first = Some(window);
            return Some(window);
        }
        if self.more.len() + 1 < MOST_WINDOWS {
            self.more.push(window);
            return Some(window);
        }
        let all = self.iter().fold(window, AddrRange::hull);
        (self.first, self.more) = (Some(all), Vec::new());
        Some(all)
    }
}

/// What may have to be rendered again after a change.
#[derive(Default)]
pub struct Spread {
    /// Where regions may show something else than before, in bytes from each one's start.
    windows: FxHashMap<RegionId, Windows>,
    /// Regions that were touched, or have a child that changed.
    touched: BTreeSet<RegionId>,
}

impl Spread {
    /// Goes from what changed up to parents and aliases, as they are now. Where something was shown before the change and is
    /// not now, some region on the way from there changed itself.
    ///
    /// There will be about `regions` of them.
    pub fn new(tree: &Tree, damage: &Damage, regions: usize) -> Self {
        let mut spread = Self {
            windows: FxHashMap::with_capacity_and_hasher(regions, Default::default()),
            touched: damage.touched().clone(),
        };
        let parent = |region: &RegionId| Some(tree.get(*region)?.placement()?.parent);
        spread.touched.extend(damage.changed().iter().filter_map(parent));
        let mut rest: Vec<(RegionId, AddrRange)> = Vec::new();
        for (region, windows) in damage.windows() {
            rest.extend(windows.iter().map(|window| (region, *window)));
        }
        while let Some((region, window)) = rest.pop() {
            if let Some(window) = spread.windows.entry(region).or_default().add(window) {
                above(tree, (region, damage.changed().contains(&region)), window, &mut rest);
            }
        }
        spread
    }

    /// How many regions may show something else than before.
    pub fn regions(&self) -> usize {
        self.windows.len()
    }

    /// Where `region` may show something else than before.
    pub fn windows(&self, region: RegionId) -> impl Iterator<Item = AddrRange> {
        self.windows.get(&region).into_iter().flat_map(Windows::iter)
    }

    /// The regions that may show something else than before, in no order, but for those that are only looked through on the
    /// way from a root.
    pub fn reached(&self) -> impl Iterator<Item = RegionId> {
        self.windows.keys().copied()
    }

    /// The regions that were touched, or have a child that changed: whether they are looked through may be another matter than
    /// before.
    pub fn touched(&self) -> impl Iterator<Item = RegionId> {
        self.touched.iter().copied()
    }
}

/// Who shows `window` of `region`, and where. If it changed itself, an alias that is looked through now may have been more than
/// that before: its target shrank.
fn above(
    tree: &Tree,
    (region, changed): (RegionId, bool),
    window: AddrRange,
    rest: &mut Vec<(RegionId, AddrRange)>,
) {
    let Some(node) = tree.get(region) else { return };
    for id in node.aliases_near(window) {
        if let Some(alias) = tree.get(id)
            && let Some(seen) = through(alias, window)
            && (changed || !only_leads(tree, id, alias))
        {
            rest.push((id, seen));
        }
    }
    if let Some(place) = node.placement()
        && let Some(start) = place.address.checked_add(window.start())
        && let Some(range) = AddrRange::new(start, place.address.saturating_add(window.last()))
    {
        rest.push((place.parent, range));
    }
}

/// Whether an alias does nothing but lead from the root of an address space to what the space shows: bus masters have such a
/// root each, in which all memory is behind one alias. What that shows nobody asks for, since it is looked through.
fn only_leads(tree: &Tree, id: RegionId, alias: &Node) -> bool {
    let is_seen_elsewhere = |node: &Node| node.aliases().next().is_some();
    let is_looked_through = |region| step(tree, region).is_some_and(|next| next.is_some());
    let Some(place) = alias.placement() else {
        return !is_seen_elsewhere(alias) && is_looked_through(id);
    };
    let is_root = |root: &Node| root.placement().is_none() && !is_seen_elsewhere(root);
    !is_seen_elsewhere(alias)
        && tree.get(place.parent).is_some_and(is_root)
        && step(tree, place.parent) == Some(Some(id))
        && is_looked_through(id)
}

/// Where an alias shows a window of its target.
fn through(alias: &Node, window: AddrRange) -> Option<AddrRange> {
    let Kind::Alias { offset, .. } = alias.kind() else { return None };
    let shown = AddrRange::from_size(0, alias.size())?;
    let last = window.last().checked_sub(*offset)?;
    AddrRange::new(window.start().saturating_sub(*offset), last)?.intersection(shown)
}
