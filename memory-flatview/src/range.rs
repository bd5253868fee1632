//! One range of a flat view.

use crate::sync::Arc;
use bitflags::bitflags;
use memory_core::{AddrRange, DirtyClients, Flags, Intercepts, IoEvent, Target};
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
        /// Queued writes are carried out before an access.
        const FLUSH_COALESCED = 32;
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
    /// Who answers writes, if that is another one: rare, and so kept apart.
    overlay: Option<Arc<Option<Part>>>,
    flags: RangeFlags,
    log: DirtyClients,
    /// Of the write target's region.
    intercepts: Option<Arc<Intercepts>>,
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
        let overlay = (!both(&read, &write, Part::is)).then(|| Arc::new(write));
        Self { range, read, overlay, flags, log: DirtyClients::empty(), intercepts: None }
    }

    /// The same, tracked as its write target's region has it.
    pub(crate) fn tracked(self, log: DirtyClients, intercepts: Option<Arc<Intercepts>>) -> Self {
        Self { log, intercepts, ..self }
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
        self.writes().as_ref()
    }

    #[inline]
    fn writes(&self) -> &Option<Part> {
        self.overlay.as_deref().unwrap_or(&self.read)
    }

    /// Whether reads and writes have different targets.
    pub fn is_overlaid(&self) -> bool {
        self.overlay.is_some()
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

    /// Writes to the region of the write target that do not run its callback at once, in bytes from its start.
    #[inline]
    pub fn intercepts(&self) -> Option<&Arc<Intercepts>> {
        self.intercepts.as_ref()
    }

    /// The events that writes to the range may hit, with their addresses: those whose first byte is seen. Writes to what is
    /// read-only are refused before.
    pub fn events(&self) -> impl Iterator<Item = (u64, &IoEvent)> {
        self.seen().into_iter().flat_map(move |(intercepts, seen)| {
            let events = intercepts.events_in(seen.start(), seen.last());
            events.map(move |event| (self.address_of(event.offset, seen), event))
        })
    }

    /// The address of an event of the write target's region, if its first byte is seen here.
    pub fn address_of_event(&self, event: &IoEvent) -> Option<u64> {
        let (_, seen) = self.seen()?;
        seen.contains(event.offset).then(|| self.address_of(event.offset, seen))
    }

    /// The addresses of the range to which writes may be queued.
    pub fn coalesced(&self) -> impl Iterator<Item = AddrRange> {
        self.seen().into_iter().flat_map(move |(intercepts, seen)| {
            intercepts.coalesced().iter().filter_map(move |range| {
                let range = range.intersection(seen)?;
                AddrRange::new(self.address_of(range.start(), seen), self.address_of(range.last(), seen))
            })
        })
    }

    /// The address of an offset among those that are seen.
    fn address_of(&self, offset: u64, seen: AddrRange) -> u64 {
        self.range.start().wrapping_add(offset.wrapping_sub(seen.start()))
    }

    /// What of the write target's region is seen and does not run its callback at once.
    fn seen(&self) -> Option<(&Intercepts, AddrRange)> {
        let refused = self.flags.contains(RangeFlags::READ_ONLY);
        let intercepts = self.intercepts.as_deref().filter(|_| !refused)?;
        Some((intercepts, self.write_offsets()?))
    }

    /// Where in the region of the write target the range begins and ends, if there is one.
    pub fn write_offsets(&self) -> Option<AddrRange> {
        let start = self.write()?.offset;
        AddrRange::new(start, start.checked_add(self.range.last() - self.range.start())?)
    }

    /// Whether both are the same in all, how they are tracked included.
    pub fn is_same(&self, other: &Self) -> bool {
        let intercepts = match (&self.intercepts, &other.intercepts) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        self.shows_same(other) && self.flags == other.flags && self.log == other.log && intercepts
    }

    /// Whether both show the same: addresses, targets, offsets, attributes. How writes to them are tracked does not count: a
    /// range is not another one for it.
    pub fn shows_same(&self, other: &Self) -> bool {
        self.range == other.range
            && self.flags - RangeFlags::FLUSH_COALESCED == other.flags - RangeFlags::FLUSH_COALESCED
            && both(&self.read, &other.read, Part::is)
            && both(self.writes(), other.writes(), Part::is)
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
            && both(self.writes(), next.writes(), goes_on);
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
            write!(f, " writes {}", name(self.writes()))?;
        }
        write!(f, " {:?}", self.flags)
    }
}
