//! Flat views.

use crate::chunk::{Chunk, MOST, assemble, replace};
use crate::range::FlatRange;
use memory_core::{AddrRange, RegionId};
use std::fmt;

/// Where in a view a range stands. In another view it is a guess, which [`View::at`] checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position(u32);

impl Position {
    /// The first range of any view.
    pub const FIRST: Self = Self(0);

    /// The number of a chunk and the index in it in one word, so that a table of many is small. A view so large that its
    /// chunks had no number would not fit into memory.
    #[inline]
    fn new(chunk: usize, index: usize) -> Self {
        Self((chunk << INDEX_BITS | index) as u32)
    }

    #[inline]
    fn chunk(self) -> usize {
        (self.0 >> INDEX_BITS) as usize
    }

    #[inline]
    fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}

/// Bits of an index in a chunk.
const INDEX_BITS: u32 = 5;
const _: () = assert!(MOST <= 1 << INDEX_BITS);

/// What an address space shows, and does not change any more: sorted, disjoint ranges in chunks of at most 32.
///
/// A view holds its regions' devices and host memory strongly. The last one to let go of it must not be
/// inside an access or hold a lock, since destructors run.
pub struct View {
    generation: u64,
    root: Option<RegionId>,
    /// The first address of each chunk.
    firsts: Box<[u64]>,
    chunks: Box<[Chunk]>,
    len: usize,
}

impl View {
    /// A view of `ranges`, which are sorted and disjoint. `generation` tells it from every other view of the machine.
    /// Chunks that `old` has just so are shared with it.
    pub fn new(generation: u64, root: Option<RegionId>, ranges: Vec<FlatRange>, old: Option<&View>) -> Self {
        let len = ranges.len();
        let chunks = assemble(ranges, old.map_or(&[], |old| &old.chunks));
        let firsts = chunks.iter().map(|chunk| chunk.first()).collect();
        Self { generation, root, firsts, chunks: chunks.into(), len }
    }

    /// A view that shows what this one does but for some windows, which are ascending, disjoint, and cut none of its ranges;
    /// each comes with the ranges inside it.
    pub fn replaced(&self, generation: u64, windows: Vec<(AddrRange, Vec<FlatRange>)>) -> Self {
        let gone =
            |(window, ranges): &(AddrRange, Vec<FlatRange>)| (ranges.len(), self.ranges_in(*window).count());
        let (new, old) = windows.iter().map(gone).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let chunks = replace(&self.chunks, windows);
        let firsts = chunks.iter().map(|chunk| chunk.first()).collect();
        let len = self.len - old + new;
        Self { generation, root: self.root, firsts, chunks: chunks.into(), len }
    }

    /// The ranges that have a byte in `window`, ascending.
    pub fn ranges_in(&self, window: AddrRange) -> impl Iterator<Item = &FlatRange> {
        let chunk = self.firsts.partition_point(|first| *first <= window.start()).saturating_sub(1);
        let from_here = self.chunks.get(chunk..).unwrap_or(&[]);
        let ranges = from_here.iter().flat_map(|chunk| chunk.ranges());
        ranges
            .skip_while(move |range| range.range().last() < window.start())
            .take_while(move |range| range.range().start() <= window.last())
    }

    /// `window` with all of the ranges that have a byte in it or next to it. What is rendered for such a window merges with
    /// nothing outside of it, if all that changed is in `window`.
    pub fn widened(&self, window: AddrRange) -> AddrRange {
        let near = AddrRange::new(window.start().saturating_sub(1), window.last().saturating_add(1));
        self.ranges_in(near.unwrap_or(window)).fold(window, |wide, range| wide.hull(range.range()))
    }

    /// A view that shows nothing.
    pub fn empty(generation: u64) -> Self {
        Self::new(generation, None, Vec::new(), None)
    }

    /// What tells this view from every other one of the machine.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The region that the view is the rendering of.
    pub fn root(&self) -> Option<RegionId> {
        self.root
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = &FlatRange> {
        self.chunks.iter().flat_map(|chunk| chunk.ranges())
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the view shows nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of ranges in each chunk.
    pub fn chunk_lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.chunks.iter().map(|chunk| chunk.ranges().len())
    }

    pub(crate) fn chunk(&self, index: usize) -> Option<&Chunk> {
        self.chunks.get(index)
    }

    /// How many chunks this view and `other` share.
    pub fn shared_chunks(&self, other: &Self) -> usize {
        let is_shared = |chunk: &&Chunk| {
            let at = other.firsts.binary_search(&chunk.first());
            at.ok().and_then(|at| other.chunks.get(at)).is_some_and(|theirs| chunk.is(theirs))
        };
        self.chunks.iter().filter(is_shared).count()
    }

    /// Whether both show the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.len == other.len && self.ranges().zip(other.ranges()).all(|(a, b)| a.is_same(b))
    }

    /// The range that holds `address`.
    #[inline]
    pub fn find(&self, address: u64) -> Option<&FlatRange> {
        self.get(self.position(address)?)
    }

    /// The place of the range that holds `address`.
    #[inline]
    pub fn position(&self, address: u64) -> Option<Position> {
        let chunk = self.firsts.partition_point(|first| *first <= address).checked_sub(1)?;
        let index = self.chunks.get(chunk)?.search(address);
        let position = Position::new(chunk, index);
        self.get(position).filter(|found| found.range().contains(address))?;
        Some(position)
    }

    /// The range at `position`, which [`View::position`] of this view returned.
    #[inline]
    pub fn get(&self, position: Position) -> Option<&FlatRange> {
        self.chunks.get(position.chunk())?.ranges().get(position.index())
    }

    /// The range at `position`, if that holds `address`. Ranges are disjoint, so whatever led to the position, a look-up
    /// in another view included, this is the range that a search would find.
    #[inline]
    pub fn at(&self, position: Position, address: u64) -> Option<&FlatRange> {
        self.get(position).filter(|range| range.range().contains(address))
    }

    /// The first range that starts at or above `address`.
    pub fn next_from(&self, address: u64) -> Option<&FlatRange> {
        let chunk = self.firsts.partition_point(|first| *first <= address).saturating_sub(1);
        let from_here = self.chunks.get(chunk..)?;
        from_here.iter().flat_map(|chunk| chunk.ranges()).find(|range| range.range().start() >= address)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

#[cfg(test)]
mod tests;
