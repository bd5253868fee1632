//! Rendering: which region answers at which address.
//!
//! The tree is walked depth first, children by descending priority, and every leaf that is met gets a rank: of two
//! leaves that cover an address, the one met first is seen. Then one sweep over the leaves by address finds the seen one
//! for each stretch, in O(n log n) for n leaves. Overlays, where a tree has them, take a second sweep for writes.

use crate::range::{FlatRange, Part, RangeFlags};
use memory_core::{AddrRange, Flags, Kind, RegionId, Shows, Size, Tree};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Renders what `root` shows in `window`, with `root` itself at address 0 wherever it is mapped.
///
/// The result is sorted, disjoint and merged. `None` shows nothing. Targets are bound as they are met: the result
/// may hold the last references to devices, so let go of it where destructors may run.
pub fn render(tree: &Tree, root: Option<RegionId>, window: AddrRange) -> Vec<FlatRange> {
    let leaves = root.map(|root| collect(tree, root, window)).unwrap_or_default();
    if !tree.has_overlays() {
        let seen = sweep(&leaves, |_| true);
        return merge(seen.into_iter().filter_map(|(range, leaf)| {
            let part = leaf.part(tree, range)?;
            let range = FlatRange::new(range, Some(part.clone()), Some(part), leaf.flags());
            Some(leaf.track(tree, range))
        }));
    }
    let reads = sweep(&leaves, |leaf| leaf.shows != Shows::Writes);
    let writes = sweep(&leaves, |leaf| leaf.shows != Shows::Reads);
    merge(zip(&reads, &writes).into_iter().filter_map(|(range, read, write)| {
        let read_part = read.and_then(|leaf| leaf.part(tree, range));
        let write_part = write.and_then(|leaf| leaf.part(tree, range));
        if read_part.is_none() && write_part.is_none() {
            return None;
        }
        let range = FlatRange::new(range, read_part, write_part, overlaid_flags(read, write));
        Some(match write.or(read) {
            Some(leaf) => leaf.track(tree, range),
            None => range,
        })
    }))
}

/// A region that answers somewhere in the window.
struct Leaf {
    region: RegionId,
    range: AddrRange,
    /// Offset in the region of the range's first byte.
    offset: u64,
    flags: Flags,
    romd: bool,
    flushes: bool,
    shows: Shows,
}

impl Leaf {
    fn part(&self, tree: &Tree, range: AddrRange) -> Option<Part> {
        Some(Part::new(tree.bind(self.region)?, self.offset + (range.start() - self.range.start())))
    }

    /// `range`, tracked as the region has it.
    fn track(&self, tree: &Tree, range: FlatRange) -> FlatRange {
        let intercepts = tree.get(self.region).and_then(|node| node.intercepts().cloned());
        range.tracked(tree.log(self.region), intercepts)
    }

    fn flags(&self) -> RangeFlags {
        let mut flags = RangeFlags::from(self.flags & Flags::INHERITED);
        flags.set(RangeFlags::ROMD, self.romd);
        flags.set(RangeFlags::FLUSH_COALESCED, self.flushes);
        flags
    }
}

fn overlaid_flags(read: Option<&Leaf>, write: Option<&Leaf>) -> RangeFlags {
    let flags = |leaf: Option<&Leaf>| leaf.map(Leaf::flags).unwrap_or_default();
    let (read_flags, write_flags) = (flags(read), flags(write));
    let either = RangeFlags::NONVOLATILE | RangeFlags::UNMERGEABLE | RangeFlags::FLUSH_COALESCED;
    let read_only = if write.is_some() { write_flags } else { read_flags } & RangeFlags::READ_ONLY;
    ((read_flags | write_flags) & either) | read_only | (read_flags & RangeFlags::ROMD)
}

/// One step of the walk, with where the region begins: below 0 or above 2^64 where an alias looks at its middle or
/// a container clips it.
struct Visit {
    region: RegionId,
    base: i128,
    clip: AddrRange,
    inherited: Flags,
    shows: Shows,
}

enum Step {
    Visit(Visit),
    Answer(Leaf),
}

/// The leaves that have a byte in `window`, the one that is seen first.
fn collect(tree: &Tree, root: RegionId, window: AddrRange) -> Vec<Leaf> {
    // most windows are small
    let mut leaves = Vec::with_capacity(8);
    let first = Visit { region: root, base: 0, clip: window, inherited: Flags::empty(), shows: Shows::Both };
    // a stack of our own: a deep tree must not overflow the thread's
    let mut steps = Vec::with_capacity(8);
    steps.push(Step::Visit(first));
    let mut children = Vec::with_capacity(8);
    while let Some(step) = steps.pop() {
        match step {
            Step::Answer(leaf) => leaves.push(leaf),
            Step::Visit(visit) => visit_region(tree, &visit, &mut steps, &mut children),
        }
    }
    leaves
}

/// Adds what is to be done next. `children` is room to work in.
fn visit_region(tree: &Tree, visit: &Visit, steps: &mut Vec<Step>, children: &mut Vec<RegionId>) {
    let Some(node) = tree.get(visit.region).filter(|node| node.is_enabled()) else { return };
    let Some(range) = clipped(visit.base, node.size(), visit.clip) else { return };
    let inherited = visit.inherited | (node.flags() & Flags::INHERITED);
    if let Kind::Alias { target, offset } = node.kind() {
        let base = visit.base - i128::from(*offset);
        steps.push(Step::Visit(Visit { region: *target, base, clip: range, inherited, shows: visit.shows }));
        return;
    }
    // what is pushed first comes last: the region itself fills what its children leave
    if node.kind().is_leaf() {
        steps.push(Step::Answer(Leaf {
            region: visit.region,
            range,
            offset: (i128::from(range.start()) - visit.base) as u64,
            flags: inherited,
            romd: matches!(node.kind(), Kind::RomDevice(..)) && node.flags().contains(Flags::ROMD),
            flushes: node.flushes_coalesced(),
            shows: visit.shows,
        }));
    }
    // only those that are there at all: a window of a large container is rendered without a look at the rest
    let within = |address: u64| (i128::from(address) - visit.base) as u64;
    let Some(within) = AddrRange::new(within(range.start()), within(range.last())) else { return };
    tree.children_in(visit.region, within, children);
    for child in children.drain(..).rev() {
        let Some(place) = tree.get(child).and_then(|child| child.placement()) else { continue };
        let Some(shows) = narrowed(visit.shows, place.shows) else { continue };
        let base = visit.base + i128::from(place.address);
        steps.push(Step::Visit(Visit { region: child, base, clip: range, inherited, shows }));
    }
}

/// The part inside `clip` of `size` bytes from `base` on.
fn clipped(base: i128, size: Size, clip: AddrRange) -> Option<AddrRange> {
    let last = base + i128::from(size.last()?);
    let start = u64::try_from(base.max(i128::from(clip.start()))).ok()?;
    let last = u64::try_from(last.min(i128::from(clip.last()))).ok()?;
    AddrRange::new(start, last)
}

/// What is shown by something that is seen through something else.
fn narrowed(outer: Shows, inner: Shows) -> Option<Shows> {
    match (outer, inner) {
        (shows, Shows::Both) | (Shows::Both, shows) => Some(shows),
        (outer, inner) => (outer == inner).then_some(outer),
    }
}

type Seen<'a> = Vec<(AddrRange, &'a Leaf)>;

/// For each stretch of addresses the first of the leaves of one kind of access that cover it.
fn sweep(leaves: &[Leaf], wanted: impl Fn(&Leaf) -> bool) -> Seen<'_> {
    if let [leaf] = leaves
        && wanted(leaf)
    {
        return vec![(leaf.range, leaf)];
    }
    let mut by_start: Vec<(usize, &Leaf)> =
        leaves.iter().enumerate().filter(|(_, leaf)| wanted(leaf)).collect();
    by_start.sort_by_key(|(rank, leaf)| (leaf.range.start(), *rank));
    let mut coming = by_start.into_iter().peekable();
    // leaves that have begun, the first on top; those that have ended are taken out when they get there
    let mut open: BinaryHeap<Reverse<ByRank>> = BinaryHeap::new();
    let mut seen = Vec::new();
    let mut at = 0;
    loop {
        while open.peek().is_some_and(|top| top.0.leaf.range.last() < at) {
            open.pop();
        }
        if open.is_empty() {
            match coming.peek() {
                Some((_, next)) => at = at.max(next.range.start()),
                None => return seen,
            }
        }
        while let Some((rank, leaf)) = coming.next_if(|(_, next)| next.range.start() <= at) {
            open.push(Reverse(ByRank { rank, leaf }));
        }
        let Some(Reverse(top)) = open.peek() else { return seen };
        let (top_rank, top) = (top.rank, top.leaf);
        if top.range.last() < at {
            continue;
        }
        // it is seen up to its end, or up to the next leaf that is met before it
        let mut last = top.range.last();
        while let Some((rank, leaf)) = coming.peek().copied().filter(|(_, next)| next.range.start() <= last) {
            if rank < top_rank {
                last = leaf.range.start() - 1;
                break;
            }
            open.push(Reverse(ByRank { rank, leaf }));
            coming.next();
        }
        if let Some(range) = AddrRange::new(at, last) {
            seen.push((range, top));
        }
        match last.checked_add(1) {
            Some(next) => at = next,
            None => return seen,
        }
    }
}

struct ByRank<'a> {
    rank: usize,
    leaf: &'a Leaf,
}

impl PartialEq for ByRank<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for ByRank<'_> {}

impl PartialOrd for ByRank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByRank<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// Cuts two lists of stretches at each other's edges.
fn zip<'a>(reads: &Seen<'a>, writes: &Seen<'a>) -> Vec<(AddrRange, Option<&'a Leaf>, Option<&'a Leaf>)> {
    let (mut reads, mut writes) = (reads.iter().peekable(), writes.iter().peekable());
    let mut zipped = Vec::new();
    let mut at = 0;
    loop {
        let next = |seen: Option<&&(AddrRange, &'a Leaf)>| seen.map(|(range, leaf)| (*range, *leaf));
        let (read, write) = (next(reads.peek()), next(writes.peek()));
        let Some(start) = [read, write].into_iter().flatten().map(|(range, _)| range.start().max(at)).min()
        else {
            return zipped;
        };
        let inside = |seen: Option<(AddrRange, &'a Leaf)>| seen.filter(|(range, _)| range.start() <= start);
        let edges = [read, write]
            .into_iter()
            .flatten()
            .map(|(range, _)| if range.start() > start { range.start() - 1 } else { range.last() });
        let last = edges.min().unwrap_or(start);
        if let Some(range) = AddrRange::new(start, last) {
            let leaf = |seen| inside(seen).map(|(_, leaf)| leaf);
            zipped.push((range, leaf(read), leaf(write)));
        }
        reads.next_if(|(range, _)| range.last() == last);
        writes.next_if(|(range, _)| range.last() == last);
        match last.checked_add(1) {
            Some(next) => at = next,
            None => return zipped,
        }
    }
}

fn merge(ranges: impl Iterator<Item = FlatRange>) -> Vec<FlatRange> {
    let mut merged: Vec<FlatRange> = Vec::new();
    for range in ranges {
        if !merged.last_mut().is_some_and(|last| last.merge(&range)) {
            merged.push(range);
        }
    }
    merged
}
