//! How a change spreads: from the regions that changed to all that show them.

use memory_core::{AddrRange, Damage, Kind, Node, RegionId, Tree};
use std::collections::{HashMap, HashSet};

/// Windows of one region that are told apart; if there are more they become one.
const MOST_WINDOWS: usize = 64;

/// What may have to be rendered again after a change.
#[derive(Default)]
pub struct Spread {
    /// Regions that show something which changed, with where they do, in bytes from each one's start.
    windows: HashMap<RegionId, Vec<AddrRange>>,
    /// Regions that show one that changed, but nothing of it in any place, included.
    showing: HashSet<RegionId>,
}

impl Spread {
    /// Goes from what changed up to parents and aliases, as they are now. Where something was shown before the change and is
    /// not now, some region on the way from there changed itself.
    pub fn new(tree: &Tree, damage: &Damage) -> Self {
        let mut spread = Self::default();
        for (region, windows) in damage.windows() {
            windows.iter().for_each(|window| spread.add(tree, region, *window));
        }
        let mut rest: Vec<RegionId> = damage.touched().iter().copied().collect();
        spread.showing.extend(&rest);
        while let Some(id) = rest.pop() {
            let Some(node) = tree.get(id) else { continue };
            for up in node.aliases().chain(node.placement().map(|place| place.parent)) {
                if spread.showing.insert(up) {
                    rest.push(up);
                }
            }
        }
        spread
    }

    /// Whether `region` shows one that changed, if perhaps no place of it that matters.
    pub fn shows(&self, region: RegionId) -> bool {
        self.showing.contains(&region)
    }

    /// Where `region` may show something else than before.
    pub fn windows(&self, region: RegionId) -> &[AddrRange] {
        self.windows.get(&region).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, tree: &Tree, region: RegionId, window: AddrRange) {
        let mut rest = vec![(region, window)];
        while let Some((region, window)) = rest.pop() {
            let windows = self.windows.entry(region).or_default();
            if windows.iter().any(|known| known.contains_range(window)) {
                continue;
            }
            let mut window = window;
            if windows.len() >= MOST_WINDOWS {
                window = windows.drain(..).fold(window, AddrRange::hull);
            }
            windows.push(window);
            let Some(node) = tree.get(region) else { continue };
            let aliases =
                node.aliases().filter_map(|alias| Some((alias, through(tree.get(alias)?, window)?)));
            rest.extend(aliases);
            if let Some(place) = node.placement()
                && let Some(start) = place.address.checked_add(window.start())
                && let Some(range) = AddrRange::new(start, place.address.saturating_add(window.last()))
            {
                rest.push((place.parent, range));
            }
        }
    }
}

/// Where an alias shows a window of its target.
fn through(alias: &Node, window: AddrRange) -> Option<AddrRange> {
    let Kind::Alias { offset, .. } = alias.kind() else { return None };
    let shown = AddrRange::from_size(0, alias.size())?;
    let last = window.last().checked_sub(*offset)?;
    AddrRange::new(window.start().saturating_sub(*offset), last)?.intersection(shown)
}
