//! Who would answer at an address, and through which regions: for people who ask why.

use memory_core::{Flags, Kind, RegionId, Shows, Tree};
use std::collections::{HashSet, VecDeque};

/// A region that has a byte at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// From the root down to the region itself, the last one; an alias is followed by its target.
    pub path: Vec<RegionId>,
    /// The address's offset in the region.
    pub offset: u64,
    /// Who sees the region there.
    pub shows: Shows,
    /// Read-only, non-volatile and unmergeable, inherited ones included.
    pub flags: Flags,
}

/// Every region that has a byte at `address` of `root`, from the one on top down: the first that shows both, or the
/// first for reads and the first for writes, answers; the others are hidden. Disabled regions are absent.
pub fn explain(tree: &Tree, root: RegionId, address: u64) -> Vec<Candidate> {
    let mut found = Vec::new();
    let first = Candidate { path: vec![root], offset: address, shows: Shows::Both, flags: Flags::empty() };
    let mut steps = vec![(first, false)];
    while let Some((mut at, answers)) = steps.pop() {
        if answers {
            found.push(at);
            continue;
        }
        let Some(node) = at.path.last().and_then(|id| tree.get(*id)).filter(|node| node.is_enabled()) else {
            continue;
        };
        if u128::from(at.offset) >= node.size().bytes() {
            continue;
        }
        at.flags |= node.flags() & Flags::INHERITED;
        let below = |id: RegionId, offset: u64, shows: Shows| {
            let path = at.path.iter().copied().chain([id]).collect();
            (Candidate { path, offset, shows, flags: at.flags }, false)
        };
        if let Kind::Alias { target, offset } = node.kind() {
            steps.extend(at.offset.checked_add(*offset).map(|offset| below(*target, offset, at.shows)));
            continue;
        }
        let mut children = Vec::new();
        for child in node.children().rev() {
            let Some(place) = tree.get(child).and_then(|child| child.placement()) else { continue };
            let Some(offset) = at.offset.checked_sub(place.address) else { continue };
            let shows = match (at.shows, place.shows) {
                (shows, Shows::Both) | (Shows::Both, shows) => shows,
                (outer, inner) if outer == inner => outer,
                _ => continue,
            };
            children.push(below(child, offset, shows));
        }
        // the region itself comes after what is mapped into it
        if node.kind().is_leaf() {
            steps.push((at, true));
        }
        steps.append(&mut children);
    }
    found
}

/// Whether something other than `container` itself answers at `address` of it. QEMU's name: `memory_region_present`.
pub fn is_present(tree: &Tree, container: RegionId, address: u64) -> bool {
    explain(tree, container, address).iter().any(|candidate| candidate.path.len() > 1)
}

/// Where the first byte of `region` lies below `root`, by the shortest way up over parents and aliases; it may be hidden
/// there. `None` if there is no way, or an alias on it does not show the first byte.
pub fn locate(tree: &Tree, root: RegionId, region: RegionId) -> Option<u64> {
    let mut ways = VecDeque::from([(region, 0u64)]);
    let mut seen = HashSet::from([region]);
    while let Some((id, offset)) = ways.pop_front() {
        if id == root {
            return Some(offset);
        }
        let Some(node) = tree.get(id) else { continue };
        let up = node.placement().and_then(|place| Some((place.parent, offset.checked_add(place.address)?)));
        let through = node.aliases().filter_map(|alias| {
            let alias_node = tree.get(alias)?;
            let Kind::Alias { offset: first, .. } = alias_node.kind() else { return None };
            let offset = offset.checked_sub(*first)?;
            (u128::from(offset) < alias_node.size().bytes()).then_some((alias, offset))
        });
        for (next, offset) in up.into_iter().chain(through) {
            if seen.insert(next) {
                ways.push_back((next, offset));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory_core::{Memory, Size};

    #[test]
    fn candidates_come_from_the_top_down_with_their_paths() {
        let memory = Memory::new();
        let system = memory.container("system", Size::FULL).build().unwrap();
        let low = memory.reservation("low", 0x4000u64).build().unwrap();
        let high = memory.reservation("high", 0x1000u64).build().unwrap();
        let window = memory.alias("window", &high, 0x800, 0x800u64).build().unwrap();
        system.map(0, &low).unwrap();
        system.map_overlap(0x1000, &window, 1).unwrap();
        memory
            .read(|tree| {
                let found = explain(tree, system.id(), 0x1010);
                let paths: Vec<_> =
                    found.iter().map(|candidate| (candidate.path.clone(), candidate.offset)).collect();
                let through = vec![system.id(), window.id(), high.id()];
                assert_eq!(paths, [(through, 0x810), (vec![system.id(), low.id()], 0x1010)]);
                assert!(explain(tree, system.id(), 0x4000).is_empty());
                assert!(is_present(tree, system.id(), 0x3fff) && !is_present(tree, system.id(), 0x4000));
                assert!(!is_present(tree, low.id(), 0), "the region itself does not count");
                assert_eq!(locate(tree, system.id(), low.id()), Some(0));
                assert_eq!(locate(tree, system.id(), window.id()), Some(0x1000));
                assert_eq!(locate(tree, system.id(), high.id()), None, "the window begins behind its start");
            })
            .unwrap();
    }
}
