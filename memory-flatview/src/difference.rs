//! What is different between two views.

use crate::range::FlatRange;
use crate::view::View;
use std::cmp::Ordering;

/// How one view became another. All lists are ascending.
#[derive(Debug, Default)]
pub struct Difference<'a> {
    /// Ranges that are no more, of the old view.
    pub deleted: Vec<&'a FlatRange>,
    /// Ranges that have come, of the new view.
    pub added: Vec<&'a FlatRange>,
    /// Ranges that show what they showed, as the old and the new view have them.
    pub kept: Vec<(&'a FlatRange, &'a FlatRange)>,
}

/// Whether [`Difference::kept`] has every range that was kept, or just those that are tracked in another way than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// Those that are tracked in another way. Chunks that the views share are passed over.
    Retracked,
    /// All.
    All,
}

/// What has to be deleted from a map of `old` and added to it to make it one of `new`. A range that shows the same
/// at the same addresses is neither.
///
/// ```
/// use memory_core::{AddrRange, Memory, RamBlock, Size};
/// use memory_flatview::{Kept, View, difference, render};
///
/// let memory = Memory::new();
/// let system = memory.container("system", Size::FULL).build()?;
/// let low = memory.ram("low", RamBlock::anonymous(0x1000u64)?).build()?;
/// let high = memory.ram("high", RamBlock::anonymous(0x1000u64)?).build()?;
/// system.map(0, &low)?;
/// let view = |generation| memory.read(|tree| {
///     View::new(generation, Some(system.id()), render(tree, Some(system.id()), AddrRange::ALL), None)
/// });
/// let old = view(1)?;
/// system.map(0x8000, &high)?;
/// let new = view(2)?;
/// let difference = difference(&old, &new, Kept::All);
/// assert_eq!((difference.deleted.len(), difference.added.len(), difference.kept.len()), (0, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn difference<'a>(old: &'a View, new: &'a View, kept: Kept) -> Difference<'a> {
    let mut found = Difference::default();
    let (mut before, mut after) = (Walk::new(old), Walk::new(new));
    loop {
        if kept == Kept::Retracked && before.skips_with(&after) {
            before.skip_chunk();
            after.skip_chunk();
            continue;
        }
        let (was, is) = match (before.range(), after.range()) {
            (None, None) => return found,
            (Some(was), None) => {
                found.deleted.push(was);
                before.advance();
                continue;
            }
            (None, Some(is)) => {
                found.added.push(is);
                after.advance();
                continue;
            }
            (Some(was), Some(is)) => (was, is),
        };
        let order = was.range().start().cmp(&is.range().start());
        let same = order == Ordering::Equal && was.shows_same(is);
        if same && (kept == Kept::All || !was.is_same(is)) {
            found.kept.push((was, is));
        }
        if order != Ordering::Greater {
            if !same {
                found.deleted.push(was);
            }
            before.advance();
        }
        if order != Ordering::Less {
            if !same {
                found.added.push(is);
            }
            after.advance();
        }
    }
}

/// A walk over the ranges of a view that can pass over whole chunks.
struct Walk<'a> {
    view: &'a View,
    chunk: usize,
    index: usize,
}

impl<'a> Walk<'a> {
    fn new(view: &'a View) -> Self {
        Self { view, chunk: 0, index: 0 }
    }

    fn range(&self) -> Option<&'a FlatRange> {
        self.view.chunk(self.chunk)?.ranges().get(self.index)
    }

    fn advance(&mut self) {
        self.index += 1;
        if self.view.chunk(self.chunk).is_some_and(|chunk| self.index >= chunk.ranges().len()) {
            self.skip_chunk();
        }
    }

    fn skip_chunk(&mut self) {
        self.chunk += 1;
        self.index = 0;
    }

    /// Whether both are at the start of a chunk that their views share.
    fn skips_with(&self, other: &Self) -> bool {
        match (self.view.chunk(self.chunk), other.view.chunk(other.chunk)) {
            (Some(a), Some(b)) => self.index == 0 && other.index == 0 && std::ptr::eq(a, b),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;
    use memory_core::{AddrRange, Memory, RamBlock, Region, Size};

    fn view(memory: &Memory, root: &Region, old: Option<&View>) -> View {
        let ranges = memory.read(|tree| render(tree, Some(root.id()), AddrRange::ALL)).unwrap();
        View::new(memory.unique(), Some(root.id()), ranges, old)
    }

    fn starts(ranges: &[&FlatRange]) -> Vec<u64> {
        ranges.iter().map(|range| range.range().start()).collect()
    }

    #[test]
    fn only_what_changed_is_deleted_and_added() {
        let memory = Memory::new();
        let system = memory.container("system", Size::FULL).build().unwrap();
        let blocks: Vec<_> = (0..300u64)
            .map(|index| {
                let ram = memory.ram(format!("{index}"), RamBlock::unbacked(0x1000u64)).build().unwrap();
                system.map(index * 0x2000, &ram).unwrap();
                ram
            })
            .collect();
        let old = view(&memory, &system, None);
        blocks[7].set_address(0x1000).unwrap();
        blocks[200].set_size(0x800u64).unwrap();
        blocks[299].set_enabled(false).unwrap();
        let new = view(&memory, &system, Some(&old));
        let found = difference(&old, &new, Kept::Retracked);
        assert_eq!(starts(&found.deleted), [7 * 0x2000, 200 * 0x2000, 299 * 0x2000]);
        assert_eq!(starts(&found.added), [0x1000, 200 * 0x2000]);
        assert!(found.kept.is_empty());
        assert_eq!(difference(&old, &new, Kept::All).kept.len(), 297);
        let empty = View::empty(memory.unique());
        let back = difference(&new, &empty, Kept::Retracked);
        assert_eq!((back.deleted.len(), back.added.len()), (299, 0));
    }
}
