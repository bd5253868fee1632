//! How a change spreads: from the regions that changed to all that show them.

use memory_core::{AddrRange, Damage, Kind, Node, RegionId, Tree};
use rustc_hash::FxHashMap;

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
    /// The regions that show one that changed, themselves included, with where they do, in bytes from each one's start:
    /// perhaps nowhere.
    showing: FxHashMap<RegionId, Windows>,
}

impl Spread {
    /// Goes from what changed up to parents and aliases, as they are now. Where something was shown before the change and is
    /// not now, some region on the way from there changed itself.
    ///
    /// There will be about `regions` of them.
    pub fn new(tree: &Tree, damage: &Damage, regions: usize) -> Self {
        let showing = FxHashMap::with_capacity_and_hasher(regions, Default::default());
        let mut spread = Self { showing };
        let mut rest: Vec<(RegionId, Option<AddrRange>)> = Vec::new();
        rest.extend(damage.touched().iter().map(|region| (*region, None)));
        // these are taken first, and leave nothing to do for the others where they get
        for (region, windows) in damage.windows() {
            rest.extend(windows.iter().map(|window| (region, Some(*window))));
        }
        while let Some((region, window)) = rest.pop() {
            if let Some(window) = spread.add(region, window) {
                above(tree, region, window, &mut rest);
            }
        }
        spread
    }

    /// How many regions show one that changed, themselves included.
    pub fn regions(&self) -> usize {
        self.showing.len()
    }

    /// Whether `region` shows one that changed, if perhaps no place of it that matters.
    #[inline]
    pub fn shows(&self, region: RegionId) -> bool {
        self.showing.contains_key(&region)
    }

    /// Where `region` may show something else than before.
    pub fn windows(&self, region: RegionId) -> impl Iterator<Item = AddrRange> {
        self.showing.get(&region).into_iter().flat_map(Windows::iter)
    }

    /// Notes a region and a window of it. Returns the window to spread on, if any is news.
    #[expect(clippy::option_option, reason = "there may be news without a window")]
    fn add(&mut self, region: RegionId, window: Option<AddrRange>) -> Option<Option<AddrRange>> {
        let mut is_new = false;
        let windows = self.showing.entry(region).or_insert_with(|| {
            is_new = true;
            Windows::default()
        });
        match window {
            Some(window) => windows.add(window).map(Some),
            None => is_new.then_some(None),
        }
    }
}

/// Who shows `region`, and where it shows `window` of it.
fn above(
    tree: &Tree,
    region: RegionId,
    window: Option<AddrRange>,
    rest: &mut Vec<(RegionId, Option<AddrRange>)>,
) {
    let Some(node) = tree.get(region) else { return };
    let aliases = node.aliases().filter_map(|id| Some((id, tree.get(id)?)));
    rest.extend(aliases.map(|(id, alias)| (id, window.and_then(|window| through(alias, window)))));
    if let Some(place) = node.placement() {
        let moved = window.and_then(|window| {
            let start = place.address.checked_add(window.start())?;
            AddrRange::new(start, place.address.saturating_add(window.last()))
        });
        rest.push((place.parent, moved));
    }
}

/// Where an alias shows a window of its target.
fn through(alias: &Node, window: AddrRange) -> Option<AddrRange> {
    let Kind::Alias { offset, .. } = alias.kind() else { return None };
    let shown = AddrRange::from_size(0, alias.size())?;
    let last = window.last().checked_sub(*offset)?;
    AddrRange::new(window.start().saturating_sub(*offset), last)?.intersection(shown)
}
