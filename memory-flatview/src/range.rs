//! One range of a flat view.

use crate::sync::Arc;
use bitflags::bitflags;
use memory_core::{AddrRange, DirtyClients, Flags, Target};
use std::fmt;

bitflags! {
    /// Attributes of a range.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct RangeFlags: u8 {
        /// Writes are refused, whatever the target is.
        const READ_ONLY = 2;
        /// The content outlives the machine.
        const NONVOLATILE = 4;
        /// The range is not merged with neighbours.
        const UNMERGEABLE = 8;
        /// Reads of a ROM device go to host memory.
        const ROMD = 16;
    }
}

impl From<Flags> for RangeFlags {
    fn from(flags: Flags) -> Self {
        Self::from_bits_truncate(flags.bits())
    }
}

/// Who answers, and where in it the range begins.
#[derive(Clone)]
pub struct Part {
    target: Arc<Target>,
    offset: u64,
}

impl Part {
    pub(crate) fn new(target: Arc<Target>, offset: u64) -> Self {
        Self { target, offset }
    }

    /// Who answers.
    #[inline]
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The offset in the region of the range's first byte.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.target, &other.target) && self.offset == other.offset
    }

    /// Whether `next`, `distance` bytes further on, goes on where this part would.
    fn goes_on(&self, next: &Self, distance: u64) -> bool {
        Arc::ptr_eq(&self.target, &next.target) && self.offset.checked_add(distance) == Some(next.offset)
    }
}

/// One range of a flat view: who answers reads of it, who answers writes (usually the same), and how.
#[derive(Clone)]
pub struct FlatRange {
    range: AddrRange,
    read: Option<Part>,
    write: Option<Part>,
    flags: RangeFlags,
    log: DirtyClients,
}

fn both(a: &Option<Part>, b: &Option<Part>, compare: impl FnOnce(&Part, &Part) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (None, None) => true,
        _ => false,
    }
}

impl FlatRange {
    pub(crate) fn new(range: AddrRange, read: Option<Part>, write: Option<Part>, flags: RangeFlags) -> Self {
        Self { range, read, write, flags, log: DirtyClients::empty() }
    }

    pub(crate) fn logged(self, log: DirtyClients) -> Self {
        Self { log, ..self }
    }

    /// The addresses.
    #[inline]
    pub fn range(&self) -> AddrRange {
        self.range
    }

    /// Who answers reads.
    #[inline]
    pub fn read(&self) -> Option<&Part> {
        self.read.as_ref()
    }

    /// Who answers writes.
    #[inline]
    pub fn write(&self) -> Option<&Part> {
        self.write.as_ref()
    }

    /// Whether reads and writes have different targets.
    pub fn is_overlaid(&self) -> bool {
        !both(&self.read, &self.write, Part::is)
    }

    /// The attributes. Read-only is that of the write target, ROMD that of the read target.
    #[inline]
    pub fn flags(&self) -> RangeFlags {
        self.flags
    }

    /// Who wants to know of writes to the range, for those who keep a map of their own; we go by the block's mask.
    pub fn log(&self) -> DirtyClients {
        self.log
    }

    /// Whether both are the same in all, how they are tracked included.
    pub fn is_same(&self, other: &Self) -> bool {
        self.shows_same(other) && self.log == other.log
    }

    /// Whether both show the same: addresses, targets, offsets, attributes. How writes to them are tracked does not count: a
    /// range is not another one for it.
    pub fn shows_same(&self, other: &Self) -> bool {
        self.range == other.range
            && self.flags == other.flags
            && both(&self.read, &other.read, Part::is)
            && both(&self.write, &other.write, Part::is)
    }

    /// Takes `next` in, if it goes on where this range ends: same targets, contiguous offsets, equal attributes, and
    /// not unmergeable.
    pub(crate) fn merge(&mut self, next: &Self) -> bool {
        let distance = next.range.start() - self.range.start();
        let goes_on = |a: &Part, b: &Part| a.goes_on(b, distance);
        let merges = self.range.last().checked_add(1) == Some(next.range.start())
            && self.flags == next.flags
            && !self.flags.contains(RangeFlags::UNMERGEABLE)
            && both(&self.read, &next.read, goes_on)
            && both(&self.write, &next.write, goes_on);
        if merges {
            self.range = self.range.hull(next.range);
        }
        merges
    }
}

impl fmt::Debug for FlatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |part: &Option<Part>| match part {
            Some(part) => format!("{}@{:#x}", part.target.name(), part.offset),
            None => "-".to_owned(),
        };
        write!(f, "{:?} {}", self.range, name(&self.read))?;
        if self.is_overlaid() {
            write!(f, " writes {}", name(&self.write))?;
        }
        write!(f, " {:?}", self.flags)
    }
}
