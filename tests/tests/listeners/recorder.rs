//! A listener that notes what it is told, builds its own map from it, and refuses when it is asked to.

use memory_core::{AddrRange, DirtyClients, IoEvent, RegionId, SpaceId, Width};
use memory_dispatch::{AddressSpace, Listener, Refusal, Section};
use memory_flatview::RangeFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

/// The reason of every refusal.
pub const NO_SLOT: &str = "no slot is left";

/// A range as a map has it: addresses, who answers reads and writes and where, attributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Range {
    start: u64,
    last: u64,
    read: Option<(RegionId, u64)>,
    write: Option<(RegionId, u64)>,
    flags: u8,
}

/// The attributes that make a range another one.
fn shown(flags: RangeFlags) -> u8 {
    (flags - RangeFlags::FLUSH_COALESCED).bits()
}

impl Range {
    fn of(section: &Section) -> Self {
        let part = |part: &memory_dispatch::SectionPart| (part.region(), part.offset());
        Self {
            start: section.range().start(),
            last: section.range().last(),
            read: section.read().map(part),
            write: section.write().map(part),
            flags: shown(section.flags()),
        }
    }
}

/// An event or a coalesced range, as a map has it. Coalesced ranges have no event.
pub type Tracked = (u64, u64, Option<Width>, Option<u64>, Option<i32>);

fn tracked(address: u64, event: &IoEvent) -> Tracked {
    (address, 0, event.width, event.value, Some(event.event.event_fd().as_raw_fd()))
}

/// The events and coalesced ranges of a space, as its view has them.
pub fn tracked_in(space: &AddressSpace) -> BTreeSet<Tracked> {
    space.with_view(|view| {
        let events = view.ranges().flat_map(|range| range.events());
        let coalesced = view.ranges().flat_map(|range| range.coalesced());
        let coalesced = coalesced.map(|range| (range.start(), range.last(), None, None, None));
        events.map(|(address, event)| tracked(address, event)).chain(coalesced).collect()
    })
}

/// The view of a space, as a map: ranges, and who wants to know of writes to them.
pub fn view_of(space: &AddressSpace) -> Vec<(Range, DirtyClients)> {
    space.with_view(|view| {
        let range = |range: &memory_flatview::FlatRange| {
            let part = |part: &memory_flatview::Part| (part.target().region(), part.offset());
            let (start, last) = (range.range().start(), range.range().last());
            let flags: RangeFlags = range.flags();
            let (read, write) = (range.read().map(part), range.write().map(part));
            (Range { start, last, read, write, flags: shown(flags) }, range.log())
        };
        view.ranges().map(range).collect()
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Begin,
    CoalescedDel(Tracked),
    IoEventDel(Tracked),
    CoalescedAdd(Tracked),
    IoEventAdd(Tracked),
    GlobalStart(DirtyClients),
    LogStop(DirtyClients, DirtyClients),
    Del,
    Add,
    Nop,
    LogStart(DirtyClients, DirtyClients),
    GlobalStop(DirtyClients),
    Commit,
}

/// One call of a listener.
#[derive(Clone, Debug)]
pub struct Call {
    pub listener: usize,
    priority: i32,
    what: What,
    at: Option<(SpaceId, Range)>,
}

impl Call {
    pub fn space(&self) -> Option<SpaceId> {
        self.at.map(|(space, _)| space)
    }

    pub fn is_begin(&self) -> bool {
        self.what == What::Begin
    }

    pub fn is_commit(&self) -> bool {
        self.what == What::Commit
    }

    pub fn is_nop(&self) -> bool {
        self.what == What::Nop
    }

    pub fn is_event(&self) -> bool {
        !self.is_begin() && !self.is_commit()
    }

    /// What the calls of one space are sorted by.
    pub fn order(&self) -> (u8, u64, Option<Width>, Option<u64>, i32) {
        let start = self.at.map_or(0, |(_, range)| range.start);
        let (rank, at, rises) = match self.what {
            What::Begin => (0, 0, true),
            What::GlobalStart(_) => (1, 0, true),
            What::CoalescedDel(what) => (2, what.0, false),
            What::IoEventDel(what) => (3, what.0, false),
            What::LogStop(..) => (4, start, false),
            What::Del => (5, start, false),
            What::Add | What::Nop => (6, start, true),
            What::LogStart(..) => (7, start, true),
            What::CoalescedAdd(what) => (8, what.0, true),
            What::IoEventAdd(what) => (9, what.0, true),
            What::GlobalStop(_) => (10, 0, false),
            What::Commit => (11, 0, true),
        };
        // of several events at one address those of less width and value come first
        let (width, value) = match self.what {
            What::IoEventDel(what) | What::IoEventAdd(what) => (what.2, what.3),
            _ => (None, None),
        };
        (rank, at, width, value, if rises { self.priority } else { -self.priority })
    }

    /// Whether one of the two deletes what the other adds.
    pub fn undoes(&self, other: &Self) -> bool {
        let opposite = match (self.what, other.what) {
            (What::Add, What::Del) | (What::Del, What::Add) => true,
            (What::LogStart(a, b), What::LogStop(c, d)) | (What::LogStop(a, b), What::LogStart(c, d)) => {
                (a, b) == (d, c)
            }
            (What::IoEventDel(a), What::IoEventAdd(b)) | (What::IoEventAdd(a), What::IoEventDel(b)) => {
                return a == b && self.space() == other.space();
            }
            (What::CoalescedDel(a), What::CoalescedAdd(b))
            | (What::CoalescedAdd(a), What::CoalescedDel(b)) => {
                return a == b && self.space() == other.space();
            }
            (What::GlobalStart(a), What::GlobalStop(b)) | (What::GlobalStop(a), What::GlobalStart(b)) => {
                a == b
            }
            _ => false,
        };
        opposite && self.at == other.at
    }
}

/// What all listeners of a machine were told, in order.
#[derive(Default)]
pub struct Journal {
    calls: Mutex<Vec<Call>>,
    /// Calls that are left until one is refused.
    left: Mutex<Option<usize>>,
}

impl Journal {
    pub fn refuse_after(&self, calls: usize) {
        *self.left.lock().unwrap() = Some(calls);
    }

    pub fn refuse_none(&self) {
        *self.left.lock().unwrap() = None;
    }

    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn is_refused(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        match *left {
            None => false,
            Some(0) => {
                // once: the inverse calls go through
                *left = None;
                true
            }
            Some(more) => {
                *left = Some(more - 1);
                false
            }
        }
    }
}

pub struct Recorder {
    name: usize,
    priority: i32,
    nop: bool,
    journal: Arc<Journal>,
    maps: Mutex<BTreeMap<SpaceId, Vec<(Range, DirtyClients)>>>,
    tracked: Mutex<BTreeMap<SpaceId, BTreeSet<Tracked>>>,
    global: Mutex<DirtyClients>,
    counts: Mutex<(usize, usize)>,
}

impl Recorder {
    pub fn new(name: usize, priority: i32, nop: bool, journal: Arc<Journal>) -> Self {
        let (maps, tracked, global, counts) = Default::default();
        Self { name, priority, nop, journal, maps, tracked, global, counts }
    }

    pub fn name(&self) -> usize {
        self.name
    }

    pub fn tracked(&self, space: SpaceId) -> BTreeSet<Tracked> {
        self.tracked.lock().unwrap().get(&space).cloned().unwrap_or_default()
    }

    /// Notes that something comes or goes.
    fn track(&self, section: &Section, what: What, which: Tracked, comes: bool) -> Result<(), Refusal> {
        let (space, range) = self.told(what, section)?;
        assert!(range.start <= which.0 && which.0 <= range.last, "it is on its section");
        let here = self
            .maps
            .lock()
            .unwrap()
            .get(&space)
            .is_some_and(|map| map.iter().any(|(known, _)| *known == range));
        assert!(here, "its section is in the map");
        let mut tracked = self.tracked.lock().unwrap();
        let tracked = tracked.entry(space).or_default();
        assert!(if comes { tracked.insert(which) } else { tracked.remove(&which) }, "{which:?}");
        Ok(())
    }

    pub fn global(&self) -> DirtyClients {
        *self.global.lock().unwrap()
    }

    pub fn map(&self, space: SpaceId) -> Vec<(Range, DirtyClients)> {
        self.maps.lock().unwrap().get(&space).cloned().unwrap_or_default()
    }

    /// How many ranges were added and deleted.
    pub fn counts(&self) -> (usize, usize) {
        *self.counts.lock().unwrap()
    }

    fn note(&self, what: What, at: Option<(SpaceId, Range)>) {
        let call = Call { listener: self.name, priority: self.priority, what, at };
        self.journal.calls.lock().unwrap().push(call);
    }

    fn relogged(
        &self,
        section: &Section,
        old: DirtyClients,
        new: DirtyClients,
        what: fn(DirtyClients, DirtyClients) -> What,
    ) -> Result<(), Refusal> {
        let (space, range) = self.told(what(old, new), section)?;
        let mut maps = self.maps.lock().unwrap();
        let map = maps.get_mut(&space).expect("what is logged was added");
        let entry = map.iter_mut().find(|(known, _)| *known == range).expect("what is logged is there");
        assert_eq!(entry.1, old);
        entry.1 = new;
        Ok(())
    }

    fn told_global(&self, what: What) -> Result<(), Refusal> {
        if self.journal.is_refused() {
            return Err(NO_SLOT.into());
        }
        self.note(what, None);
        Ok(())
    }

    fn told(&self, what: What, section: &Section) -> Result<(SpaceId, Range), Refusal> {
        if self.journal.is_refused() {
            return Err(NO_SLOT.into());
        }
        let at = (section.space(), Range::of(section));
        self.note(what, Some(at));
        Ok(at)
    }
}

impl Listener for Recorder {
    fn begin(&self) {
        self.note(What::Begin, None);
    }

    fn region_del(&self, section: &Section) -> Result<(), Refusal> {
        let (space, range) = self.told(What::Del, section)?;
        let mut maps = self.maps.lock().unwrap();
        let map = maps.get_mut(&space).expect("what is deleted was added");
        let at = map.iter().position(|(known, _)| *known == range).expect("what is deleted is there");
        assert!(map.remove(at).1.is_empty(), "its log was stopped before");
        self.counts.lock().unwrap().1 += 1;
        Ok(())
    }

    fn region_add(&self, section: &Section) -> Result<(), Refusal> {
        let (space, range) = self.told(What::Add, section)?;
        let mut maps = self.maps.lock().unwrap();
        let map = maps.entry(space).or_default();
        let at = map.partition_point(|(other, _)| other.start < range.start);
        let overlaps = |(other, _): &(Range, _)| other.start <= range.last && range.start <= other.last;
        assert!(!map.iter().any(overlaps), "what is added is free");
        map.insert(at, (range, DirtyClients::empty()));
        self.counts.lock().unwrap().0 += 1;
        Ok(())
    }

    fn wants_nop(&self) -> bool {
        self.nop
    }

    fn region_nop(&self, section: &Section) -> Result<(), Refusal> {
        let (space, range) = self.told(What::Nop, section)?;
        assert!(self.map(space).iter().any(|(known, _)| *known == range), "what stays is there");
        Ok(())
    }

    fn coalesced_del(&self, section: &Section, range: AddrRange) -> Result<(), Refusal> {
        let which = (range.start(), range.last(), None, None, None);
        self.track(section, What::CoalescedDel(which), which, false)
    }

    fn coalesced_add(&self, section: &Section, range: AddrRange) -> Result<(), Refusal> {
        let which = (range.start(), range.last(), None, None, None);
        self.track(section, What::CoalescedAdd(which), which, true)
    }

    fn ioevent_del(&self, section: &Section, address: u64, event: &IoEvent) -> Result<(), Refusal> {
        let which = tracked(address, event);
        self.track(section, What::IoEventDel(which), which, false)
    }

    fn ioevent_add(&self, section: &Section, address: u64, event: &IoEvent) -> Result<(), Refusal> {
        let which = tracked(address, event);
        self.track(section, What::IoEventAdd(which), which, true)
    }

    fn log_global_start(&self, clients: DirtyClients) -> Result<(), Refusal> {
        self.told_global(What::GlobalStart(clients))?;
        let mut global = self.global.lock().unwrap();
        assert!(!global.intersects(clients));
        *global |= clients;
        Ok(())
    }

    fn log_global_stop(&self, clients: DirtyClients) -> Result<(), Refusal> {
        self.told_global(What::GlobalStop(clients))?;
        let mut global = self.global.lock().unwrap();
        assert!(global.contains(clients));
        *global -= clients;
        Ok(())
    }

    fn log_start(&self, section: &Section, old: DirtyClients, new: DirtyClients) -> Result<(), Refusal> {
        assert!(new.contains(old) && new != old);
        self.relogged(section, old, new, What::LogStart)
    }

    fn log_stop(&self, section: &Section, old: DirtyClients, new: DirtyClients) -> Result<(), Refusal> {
        assert!(old.contains(new) && new != old);
        self.relogged(section, old, new, What::LogStop)
    }

    fn commit(&self) {
        self.note(What::Commit, None);
    }
}
