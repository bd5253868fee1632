//! A run of ranges that successive views share if nothing in it changed.

use crate::range::FlatRange;
use crate::sync::Arc;
use memory_core::AddrRange;

/// A chunk is split above this many ranges.
pub(crate) const MOST: usize = 32;
/// A chunk of fewer ranges is joined with its neighbour.
const FEWEST: usize = 8;

/// At most [`MOST`] ranges. Clones are the same chunk.
///
/// The ranges are one step from whoever has the chunk, since every access goes that way, and a commit that uses it again
/// counts one reference more. Their first addresses are not kept apart for a search: that is what hints save.
#[derive(Clone)]
pub(crate) struct Chunk {
    ranges: Arc<[FlatRange]>,
}

impl Chunk {
    fn new(ranges: Vec<FlatRange>) -> Self {
        Self { ranges: ranges.into() }
    }

    /// Whether both are the same chunk.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ranges, &other.ranges)
    }

    /// How many of the ranges start below or at `address`.
    #[inline]
    fn up_to(&self, address: u64) -> usize {
        self.ranges.partition_point(|range| range.range().start() <= address)
    }

    pub(crate) fn first(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.range().start())
    }

    #[inline]
    pub(crate) fn ranges(&self) -> &[FlatRange] {
        &self.ranges
    }

    /// The index of the last range that starts at or below `address`; there must be one.
    #[inline]
    pub(crate) fn search(&self, address: u64) -> usize {
        self.up_to(address).saturating_sub(1)
    }

    /// Whether `ranges` begins with just what this chunk holds.
    fn leads(&self, ranges: &[FlatRange]) -> bool {
        ranges
            .get(..self.ranges.len())
            .is_some_and(|lead| lead.iter().zip(&*self.ranges).all(|(a, b)| a.is_same(b)))
    }
}

/// Cuts sorted ranges into chunks; those of `old` that hold just what they would hold are used again.
pub(crate) fn assemble(ranges: Vec<FlatRange>, old: &[Chunk]) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    // ranges of no chunk yet
    let mut loose: Vec<FlatRange> = Vec::new();
    let mut old = old.iter().peekable();
    let mut rest = ranges.into_iter();
    while let Some(next) = rest.as_slice().first() {
        let start = next.range().start();
        while old.next_if(|chunk| chunk.first() < start).is_some() {}
        let shared = old.peek().copied().filter(|chunk| chunk.leads(rest.as_slice()));
        match shared {
            Some(chunk) if loose.is_empty() || loose.len() >= FEWEST => {
                cut(&mut loose, &mut chunks);
                chunks.push(chunk.clone());
                let taken = chunk.ranges.len();
                rest.by_ref().take(taken).for_each(drop);
            }
            // too few loose ranges for a chunk of their own: they take this one in
            _ => loose.extend(rest.next()),
        }
    }
    join_last(&mut loose, &mut chunks);
    cut(&mut loose, &mut chunks);
    chunks
}

/// Too few loose ranges for a chunk of their own take the last chunk in.
fn join_last(loose: &mut Vec<FlatRange>, chunks: &mut Vec<Chunk>) {
    if let Some(last) = chunks.last().filter(|_| !loose.is_empty() && loose.len() < FEWEST) {
        let mut joined = last.ranges.to_vec();
        chunks.pop();
        joined.append(loose);
        *loose = joined;
    }
}

/// Chunks of what `old` holds but for some windows, which are ascending, disjoint and cut no range; each comes with the ranges
/// inside it. Chunks that no window touches are used again.
pub(crate) fn replace(old: &[Chunk], windows: Vec<(AddrRange, Vec<FlatRange>)>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::with_capacity(old.len() + windows.len());
    let mut loose: Vec<FlatRange> = Vec::new();
    let mut windows = windows.into_iter().peekable();
    // the last address of the window that was met last: ranges that begin up to there are gone
    let mut gone: Option<u64> = None;
    for (index, chunk) in old.iter().enumerate() {
        // what follows a chunk before the next one begins is put into it
        let next = old.get(index + 1).map(|next| next.first());
        let is_before_next = |window: &AddrRange| next.is_none_or(|next| window.start() < next);
        let is_hit = windows.peek().is_some_and(|(window, _)| is_before_next(window));
        let is_whole = !is_hit && gone.is_none_or(|gone| gone < chunk.first());
        if is_whole && (loose.is_empty() || loose.len() >= FEWEST) {
            cut(&mut loose, &mut chunks);
            chunks.push(chunk.clone());
            continue;
        }
        loose.reserve_exact(chunk.ranges.len() + 1);
        let mut from = gone.map_or(0, |gone| chunk.up_to(gone));
        while let Some((window, new)) = windows.next_if(|(window, _)| is_before_next(window)) {
            let to = chunk.ranges.partition_point(|range| range.range().start() < window.start());
            loose.extend_from_slice(chunk.ranges.get(from..to).unwrap_or(&[]));
            loose.extend(new);
            from = chunk.up_to(window.last());
            gone = Some(window.last());
        }
        loose.extend_from_slice(chunk.ranges.get(from..).unwrap_or(&[]));
    }
    loose.extend(windows.flat_map(|(_, new)| new));
    join_last(&mut loose, &mut chunks);
    cut(&mut loose, &mut chunks);
    chunks
}

/// Makes the loose ranges chunks of about equal length.
fn cut(loose: &mut Vec<FlatRange>, chunks: &mut Vec<Chunk>) {
    let pieces = loose.len().div_ceil(MOST);
    let mut ranges = std::mem::take(loose);
    if pieces == 1 {
        return chunks.push(Chunk::new(ranges));
    }
    for left in (1..=pieces).rev() {
        let rest = ranges.split_off(ranges.len().div_ceil(left));
        chunks.push(Chunk::new(std::mem::replace(&mut ranges, rest)));
    }
}
