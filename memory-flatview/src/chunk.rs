//! A run of ranges that successive views share if nothing in it changed.

use crate::range::FlatRange;
use crate::sync::Arc;

/// A chunk is split above this many ranges.
pub(crate) const MOST: usize = 64;
/// A chunk of fewer ranges is joined with its neighbour.
const FEWEST: usize = 16;

/// At most [`MOST`] ranges, with their first addresses apart, so that a search touches few cache lines.
pub(crate) struct Chunk {
    starts: Box<[u64]>,
    ranges: Box<[FlatRange]>,
}

impl Chunk {
    fn new(ranges: Vec<FlatRange>) -> Arc<Self> {
        let starts = ranges.iter().map(|range| range.range().start()).collect();
        Arc::new(Self { starts, ranges: ranges.into() })
    }

    pub(crate) fn first(&self) -> u64 {
        self.starts.first().copied().unwrap_or(0)
    }

    pub(crate) fn ranges(&self) -> &[FlatRange] {
        &self.ranges
    }

    /// The index of the last range that starts at or below `address`; there must be one.
    #[inline]
    pub(crate) fn search(&self, address: u64) -> usize {
        self.starts.partition_point(|start| *start <= address).saturating_sub(1)
    }

    /// Whether `ranges` begins with just what this chunk holds.
    fn leads(&self, ranges: &[FlatRange]) -> bool {
        ranges
            .get(..self.ranges.len())
            .is_some_and(|lead| lead.iter().zip(&self.ranges).all(|(a, b)| a.is_same(b)))
    }
}

/// Cuts sorted ranges into chunks; those of `old` that hold just what they would hold are used again.
pub(crate) fn assemble(ranges: Vec<FlatRange>, old: &[Arc<Chunk>]) -> Vec<Arc<Chunk>> {
    let mut chunks: Vec<Arc<Chunk>> = Vec::new();
    // ranges of no chunk yet
    let mut loose: Vec<FlatRange> = Vec::new();
    let mut old = old.iter().peekable();
    let mut rest = ranges.into_iter();
    while let Some(next) = rest.as_slice().first() {
        let start = next.range().start();
        while old.next_if(|chunk| chunk.first() < start).is_some() {}
        let shared = old.peek().filter(|chunk| chunk.leads(rest.as_slice()));
        match shared {
            Some(chunk) if loose.is_empty() || loose.len() >= FEWEST => {
                cut(&mut loose, &mut chunks);
                chunks.push(Arc::clone(chunk));
                let taken = chunk.ranges.len();
                rest.by_ref().take(taken).for_each(drop);
            }
            // too few loose ranges for a chunk of their own: they take this one in
            _ => loose.extend(rest.next()),
        }
    }
    if let Some(last) = chunks.last().filter(|_| !loose.is_empty() && loose.len() < FEWEST) {
        let mut joined = last.ranges.to_vec();
        chunks.pop();
        joined.append(&mut loose);
        loose = joined;
    }
    cut(&mut loose, &mut chunks);
    chunks
}

/// Makes the loose ranges chunks of about equal length.
fn cut(loose: &mut Vec<FlatRange>, chunks: &mut Vec<Arc<Chunk>>) {
    let pieces = loose.len().div_ceil(MOST);
    let mut ranges = std::mem::take(loose);
    for left in (1..=pieces).rev() {
        let rest = ranges.split_off(ranges.len().div_ceil(left));
        chunks.push(Chunk::new(std::mem::replace(&mut ranges, rest)));
    }
}
