//! The children of a region by where they are, and its aliases by what they show.

use crate::address::{AddrRange, Size};
use crate::id::RegionId;
use std::collections::{BTreeMap, BTreeSet};

const FIRST: RegionId = RegionId { index: 0, generation: 0 };
const LAST: RegionId = RegionId { index: u32::MAX, generation: u32::MAX };

/// Children by place (or aliases by what they show, which is meant as well below), apart by the power of two that their size is below: of each class those that overlap a window begin
/// inside it, or less than that power before it. So they are found without a look at all the others.
#[derive(Default)]
pub(crate) struct Extents {
    classes: BTreeMap<u32, BTreeSet<(u64, RegionId)>>,
}

/// Sizes of a class are below `1 << class`.
fn class(size: Size) -> u32 {
    u128::BITS - size.bytes().leading_zeros()
}

impl Extents {
    pub(crate) fn insert(&mut self, (start, size): (u64, Size), id: RegionId) {
        self.classes.entry(class(size)).or_default().insert((start, id));
    }

    pub(crate) fn remove(&mut self, (start, size): (u64, Size), id: RegionId) {
        let class = class(size);
        if let Some(children) = self.classes.get_mut(&class) {
            children.remove(&(start, id));
            if children.is_empty() {
                self.classes.remove(&class);
            }
        }
    }

    /// The children that overlap `window`, and maybe some that are near.
    pub(crate) fn near(&self, window: AddrRange) -> impl Iterator<Item = RegionId> {
        self.classes.iter().flat_map(move |(class, children)| {
            let reach = u64::try_from((1u128 << class) - 1).unwrap_or(u64::MAX);
            let first = (window.start().saturating_sub(reach), FIRST);
            children.range(first..=(window.last(), LAST)).map(|(_, id)| *id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_overlap_a_window_are_found_whatever_their_size() {
        let mut extents = Extents::default();
        let mut children = Vec::new();
        let mut random = 1u64;
        for index in 0..500u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let start = (random >> 40) & 0xffff;
            let size = Size::new(1 + u128::from(random >> 20 & (0xffff >> (index % 16)))).unwrap();
            let id = RegionId { index, generation: 0 };
            extents.insert((start, size), id);
            children.push((start, size, id));
        }
        for (start, size, id) in children.split_off(400) {
            extents.remove((start, size), id);
        }
        for start in (0..0x1_8000).step_by(0x777) {
            let window = AddrRange::new(start, start + 0x333).unwrap();
            let found: BTreeSet<_> = extents.near(window).collect();
            for (start, size, id) in &children {
                let range = AddrRange::from_size(*start, *size).unwrap();
                assert!(!range.overlaps(window) || found.contains(id), "{range:?} overlaps {window:?}");
            }
            assert!(found.iter().all(|id| id.index < 400));
        }
        assert!(extents.near(AddrRange::new(1 << 40, 1 << 41).unwrap()).next().is_none());
    }
}
