//! One range of a flat view.

use crate::sync::Arc;
use bitflags::bitflags;
use memory_core::{AddrRange, Backing, DirectRules, DirtyClients, Flags, Intercepts, IoEvent, Mmio, Target};
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
// one cache line, with all that an access to registers looks at but the guard of the target
#[derive(Clone)]
#[repr(align(64))]
pub struct FlatRange {
    range: AddrRange,
    /// Who answers reads, and writes unless `rare` says who.
    part: Option<Part>,
    /// The callbacks of the part, if it is nothing but registers.
    device: Option<Arc<dyn Mmio>>,
    rare: Option<Arc<Rare>>,
    direct: DirectRules,
    flags: RangeFlags,
    log: DirtyClients,
}

const _: () = assert!(size_of::<FlatRange>() == 64);

/// What few ranges have.
#[derive(Clone)]
struct Rare {
    /// Who answers writes.
    write: Option<Part>,
    /// Of the write target's region.
    intercepts: Option<Arc<Intercepts>>,
}

fn both(a: Option<&Part>, b: Option<&Part>, compare: impl FnOnce(&Part, &Part) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (None, None) => true,
        _ => false,
    }
}

impl FlatRange {
    pub(crate) fn new(range: AddrRange, read: Option<Part>, write: Option<Part>, flags: RangeFlags) -> Self {
        let registers = match read.as_ref().map(|part| part.target.backing()) {
            Some(Backing::Mmio(mmio)) => Some(mmio),
            _ => None,
        };
        let device = registers.map(|mmio| mmio.device.clone());
        let direct = registers.map_or(DirectRules::NONE, |mmio| mmio.direct);
        let is_overlaid = !both(read.as_ref(), write.as_ref(), Part::is);
        let rare = is_overlaid.then(|| Arc::new(Rare { write, intercepts: None }));
        Self { range, part: read, device, rare, direct, flags, log: DirtyClients::empty() }
    }

    /// The same, tracked as its write target's region has it.
    pub(crate) fn tracked(self, log: DirtyClients, intercepts: Option<Arc<Intercepts>>) -> Self {
        if intercepts.is_none() && self.intercepts().is_none() {
            return Self { log, ..self };
        }
        let rare = Rare { write: self.write().cloned(), intercepts };
        Self { log, rare: Some(Arc::new(rare)), ..self }
    }

    /// The addresses.
    #[inline]
    pub fn range(&self) -> AddrRange {
        self.range
    }

    /// Who answers reads.
    #[inline]
    pub fn read(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// Who answers writes.
    #[inline]
    pub fn write(&self) -> Option<&Part> {
        match &self.rare {
            None => self.part.as_ref(),
            Some(rare) => rare.write.as_ref(),
        }
    }

    /// The callbacks that reads run, if the read target is registers, with the rules of accesses that are one call as they
    /// stand.
    #[inline]
    pub fn device(&self) -> (Option<&Arc<dyn Mmio>>, DirectRules) {
        (self.device.as_ref(), self.direct)
    }

    /// Whether writes have the same target as reads, and nothing intercepts them.
    #[inline]
    pub fn is_simple(&self) -> bool {
        self.rare.is_none()
    }

    /// Whether reads and writes have different targets.
    pub fn is_overlaid(&self) -> bool {
        self.rare.is_some() && !both(self.read(), self.write(), Part::is)
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
        self.rare.as_ref()?.intercepts.as_ref()
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

    /// The addresses of the range to which any write may be queued: none at which an event is.
    pub fn coalesced(&self) -> impl Iterator<Item = AddrRange> {
        self.seen().into_iter().flat_map(move |(intercepts, seen)| {
            intercepts.queues().filter_map(move |range| {
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
        let intercepts = self.intercepts().map(|intercepts| &**intercepts).filter(|_| !refused)?;
        Some((intercepts, self.write_offsets()?))
    }

    /// Where in the region of the write target the range begins and ends, if there is one.
    pub fn write_offsets(&self) -> Option<AddrRange> {
        let start = self.write()?.offset;
        AddrRange::new(start, start.checked_add(self.range.last() - self.range.start())?)
    }

    /// Whether both are the same in all, how they are tracked included.
    pub fn is_same(&self, other: &Self) -> bool {
        let intercepts = match (self.intercepts(), other.intercepts()) {
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
            && both(self.read(), other.read(), Part::is)
            && both(self.write(), other.write(), Part::is)
    }

    /// Takes `next` in, if it goes on where this range ends: same targets, contiguous offsets, equal attributes, and
    /// not unmergeable.
    pub(crate) fn merge(&mut self, next: &Self) -> bool {
        let distance = next.range.start() - self.range.start();
        let goes_on = |a: &Part, b: &Part| a.goes_on(b, distance);
        let merges = self.range.last().checked_add(1) == Some(next.range.start())
            && self.flags == next.flags
            && !self.flags.contains(RangeFlags::UNMERGEABLE)
            && both(self.read(), next.read(), goes_on)
            && both(self.write(), next.write(), goes_on);
        if merges {
            self.range = self.range.hull(next.range);
        }
        merges
    }
}

impl fmt::Debug for FlatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |part: Option<&Part>| match part {
            Some(part) => format!("{}@{:#x}", part.target.name(), part.offset),
            None => "-".to_owned(),
        };
        write!(f, "{:?} {}", self.range, name(self.read()))?;
        if self.is_overlaid() {
            write!(f, " writes {}", name(self.write()))?;
        }
        write!(f, " {:?}", self.flags)
    }
}
