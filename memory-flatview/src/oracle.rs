//! A slow oracle for tests: the rules of visibility, read literally.
//!
//! Where [`render`](crate::render) collects leaves and sweeps over them, this asks of one address at a time who answers
//! there, from the top of the tree down. It asks at every address where the answer can change: all edges of all
//! regions, on every path by which they are reached. It shares no code with the renderer, sorts siblings by their
//! placements itself, and takes time that grows with the product of edges and regions. Recursion goes as deep as the
//! tree does.
//!
//! It does not bind regions to devices: a region whose device is gone still answers here.

use crate::range::{FlatRange, Part, RangeFlags};
use memory_core::{AddrRange, Flags, Kind, RegionId, Shows, Tree};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// Who answers one kind of access in a stretch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The region.
    pub region: RegionId,
    /// The offset in the region of the stretch's first byte.
    pub offset: u64,
    /// The region's attributes and those that it inherits on this path.
    flags: RangeFlags,
    /// The regions from the root to this one, aliases included: one region that is seen over two paths is two
    /// neighbours.
    path: Vec<RegionId>,
}

/// Addresses at which one region answers reads, and one (usually the same) writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The addresses.
    pub range: AddrRange,
    /// Who answers reads.
    pub read: Option<Answer>,
    /// Who answers writes.
    pub write: Option<Answer>,
    /// The attributes, as [`FlatRange::flags`] has them.
    pub flags: RangeFlags,
}

impl Stretch {
    fn new(range: AddrRange, read: Option<Answer>, write: Option<Answer>) -> Self {
        let of = |answer: &Option<Answer>| answer.as_ref().map(|answer| answer.flags).unwrap_or_default();
        let mut flags = RangeFlags::empty();
        let both = of(&read) | of(&write);
        flags.set(RangeFlags::NONVOLATILE, both.contains(RangeFlags::NONVOLATILE));
        flags.set(RangeFlags::UNMERGEABLE, both.contains(RangeFlags::UNMERGEABLE));
        flags.set(RangeFlags::FLUSH_COALESCED, both.contains(RangeFlags::FLUSH_COALESCED));
        flags.set(RangeFlags::ROMD, of(&read).contains(RangeFlags::ROMD));
        let writer = if write.is_some() { &write } else { &read };
        flags.set(RangeFlags::READ_ONLY, of(writer).contains(RangeFlags::READ_ONLY));
        Self { range, read, write, flags }
    }

    /// Takes in a stretch that begins right behind this one, if the rules make one range of both.
    fn join(&mut self, next: &Self) -> bool {
        let distance = next.range.start() - self.range.start();
        let goes_on = |a: &Option<Answer>, b: &Option<Answer>, same_path: bool| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a.region == b.region
                    && a.offset.checked_add(distance) == Some(b.offset)
                    && (!same_path || a.path == b.path)
            }
            _ => false,
        };
        // over one path it never was two ranges
        let same_path = self.flags.contains(RangeFlags::UNMERGEABLE);
        let joins = self.range.last().checked_add(1) == Some(next.range.start())
            && self.flags == next.flags
            && goes_on(&self.read, &next.read, same_path)
            && goes_on(&self.write, &next.write, same_path);
        if joins {
            self.range = self.range.hull(next.range);
        }
        joins
    }

    /// Whether a range of a rendering says the same.
    pub fn is(&self, range: &FlatRange) -> bool {
        let is = |answer: &Option<Answer>, part: Option<&Part>| match (answer, part) {
            (None, None) => true,
            (Some(answer), Some(part)) => {
                answer.region == part.target().region() && answer.offset == part.offset()
            }
            _ => false,
        };
        self.range == range.range()
            && self.flags == range.flags()
            && is(&self.read, range.read())
            && is(&self.write, range.write())
    }
}

/// What `root` shows in `window`, with `root` itself at address 0: sorted, disjoint, merged. `None` shows nothing.
pub fn stretches(tree: &Tree, root: Option<RegionId>, window: AddrRange) -> Vec<Stretch> {
    let model = Model::new(tree);
    let Some(root) = root.and_then(|root| model.index.get(&root).copied()) else { return Vec::new() };
    let mut edges = BTreeSet::new();
    let start = i128::from(window.start());
    model.edges(root, 0, (start, i128::from(window.last()) + 1), &mut edges);
    let edges: Vec<i128> = edges.into_iter().collect();
    let mut merged: Vec<Stretch> = Vec::new();
    for pair in edges.windows(2) {
        let &[from, to] = pair else { continue };
        let (Ok(first), Ok(last)) = (u64::try_from(from), u64::try_from(to - 1)) else { continue };
        let Some(range) = AddrRange::new(first, last) else { continue };
        let answer = |access| model.ask(root, from, access, RangeFlags::empty(), &mut Vec::new());
        let (read, write) = (answer(Shows::Reads), answer(Shows::Writes));
        if read.is_none() && write.is_none() {
            continue;
        }
        let next = Stretch::new(range, read, write);
        if !merged.last_mut().is_some_and(|last| last.join(&next)) {
            merged.push(next);
        }
    }
    merged
}

/// The first place where a rendering and the rules disagree, in words, or `None` if they agree.
pub fn first_difference(rules: &[Stretch], rendered: &[FlatRange]) -> Option<String> {
    let at = rules.iter().zip(rendered).position(|(stretch, range)| !stretch.is(range));
    let at = at.or_else(|| (rules.len() != rendered.len()).then_some(rules.len().min(rendered.len())))?;
    Some(format!("range {at}: by the rules {:?}, rendered {:?}", rules.get(at), rendered.get(at)))
}

/// A region as the rules speak of it.
struct Node {
    id: RegionId,
    size: i128,
    enabled: bool,
    flags: RangeFlags,
    answers: bool,
    /// The target, if it still exists, and the offset in it, of an alias.
    window: Option<(Option<usize>, i128)>,
    /// Children from the top one down: who sees them, where they are, which they are.
    children: Vec<(Shows, i128, usize)>,
}

struct Model {
    nodes: Vec<Node>,
    index: HashMap<RegionId, usize>,
}

impl Model {
    fn new(tree: &Tree) -> Self {
        let index: HashMap<RegionId, usize> =
            tree.regions().enumerate().map(|(index, (id, _))| (id, index)).collect();
        let mut siblings: HashMap<RegionId, Vec<_>> = HashMap::new();
        for (id, node) in tree.regions() {
            if let (Some(place), Some(index)) = (node.placement(), index.get(&id)) {
                siblings.entry(place.parent).or_default().push((*place, *index));
            }
        }
        let nodes = tree.regions().map(|(id, node)| {
            let mut flags = RangeFlags::empty();
            let own = node.flags();
            flags.set(RangeFlags::READ_ONLY, own.contains(Flags::READ_ONLY));
            flags.set(RangeFlags::NONVOLATILE, own.contains(Flags::NONVOLATILE));
            flags.set(RangeFlags::UNMERGEABLE, own.contains(Flags::UNMERGEABLE));
            let rom_device = matches!(node.kind(), Kind::RomDevice(..));
            flags.set(RangeFlags::ROMD, rom_device && own.contains(Flags::ROMD));
            flags.set(RangeFlags::FLUSH_COALESCED, node.flushes_coalesced());
            let mut children = siblings.remove(&id).unwrap_or_default();
            children.sort_by_key(|(place, _)| Reverse((place.priority, place.order)));
            Node {
                id,
                size: i128::try_from(node.size().bytes()).unwrap_or(0),
                enabled: own.contains(Flags::ENABLED),
                flags,
                answers: !matches!(node.kind(), Kind::Container | Kind::Alias { .. }),
                window: match node.kind() {
                    Kind::Alias { target, offset } => Some((index.get(target).copied(), (*offset).into())),
                    _ => None,
                },
                children: children
                    .into_iter()
                    .map(|(place, child)| (place.shows, place.address.into(), child))
                    .collect(),
            }
        });
        Self { nodes: nodes.collect(), index }
    }

    /// Collects the addresses in `window` where a region begins or ends that is reached through `index`, which
    /// begins at `base`.
    fn edges(&self, index: usize, base: i128, window: (i128, i128), edges: &mut BTreeSet<i128>) {
        let Some(node) = self.nodes.get(index).filter(|node| node.enabled) else { return };
        let window = (window.0.max(base), window.1.min(base + node.size));
        if window.0 >= window.1 {
            return;
        }
        edges.extend([window.0, window.1]);
        if let Some((Some(target), offset)) = node.window {
            self.edges(target, base - offset, window, edges);
        }
        for (_, address, child) in &node.children {
            self.edges(*child, base + address, window, edges);
        }
    }

    /// Who answers at byte `at` of a region: its children from the top one down, then the region itself.
    fn ask(
        &self,
        index: usize,
        at: i128,
        access: Shows,
        inherited: RangeFlags,
        path: &mut Vec<RegionId>,
    ) -> Option<Answer> {
        let node = self.nodes.get(index)?;
        if !node.enabled || at < 0 || at >= node.size {
            return None;
        }
        let flags = (inherited - RangeFlags::ROMD - RangeFlags::FLUSH_COALESCED) | node.flags;
        path.push(node.id);
        let mut answer = None;
        if let Some((Some(target), offset)) = node.window {
            answer = self.ask(target, at + offset, access, flags, path);
        }
        for (shows, address, child) in &node.children {
            if answer.is_none() && (*shows == Shows::Both || *shows == access) {
                answer = self.ask(*child, at - address, access, flags, path);
            }
        }
        if answer.is_none() && node.answers {
            let offset = u64::try_from(at).ok()?;
            answer = Some(Answer { region: node.id, offset, flags, path: path.clone() });
        }
        path.pop();
        answer
    }
}

#[cfg(test)]
mod tests;
