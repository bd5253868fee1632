//! What the root of an address space comes down to.

use memory_core::{Flags, Kind, RegionId, Shows, Tree};

/// The region whose rendering an address space with root `root` shows, or `None` if it shows nothing.
///
/// Spaces for which this is the same region share one view. A full alias at offset 0, and a container with one
/// enabled child that is not clipped, show just what is behind them and are looked through, unless they add an
/// attribute. Where the region found is mapped plays no part.
pub fn resolve_root(tree: &Tree, root: RegionId) -> Option<RegionId> {
    resolve_root_by(tree, root, |_| ())
}

/// As [`resolve_root`], and tells each region that is looked at, the one that is found last. As long as neither the others nor
/// children of theirs are touched, and the one that is found keeps its size and is not looked through, the answer is the same.
pub fn resolve_root_by(tree: &Tree, root: RegionId, mut looked: impl FnMut(RegionId)) -> Option<RegionId> {
    let mut id = root;
    loop {
        looked(id);
        match step(tree, id)? {
            Some(next) => id = next,
            None => return Some(id),
        }
    }
}

/// What is shown just so behind `id`, if it is looked through; or `None` if it shows nothing.
pub(crate) fn step(tree: &Tree, id: RegionId) -> Option<Option<RegionId>> {
    let node = tree.get(id).filter(|node| node.is_enabled() && !node.size().is_zero())?;
    let adds_nothing = !node.flags().intersects(Flags::INHERITED);
    Some(match node.kind() {
        Kind::Alias { target, offset } => {
            let behind = tree.get(*target)?;
            (adds_nothing && *offset == 0 && node.size() >= behind.size()).then_some(*target)
        }
        Kind::Container => {
            let mut enabled = node.children().filter_map(|id| {
                let child = tree.get(id).filter(|child| child.is_enabled() && !child.size().is_zero())?;
                Some((id, child))
            });
            let (only, child) = enabled.next()?;
            let place = child.placement()?;
            let whole = place.address == 0 && node.size() >= child.size() && place.shows == Shows::Both;
            (adds_nothing && whole && enabled.next().is_none()).then_some(only)
        }
        _ => None,
    })
}
