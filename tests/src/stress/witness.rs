//! A listener that builds a map out of what it is told, and one that refuses.

use super::ledger::{Ledger, lock};
use memory_core::{AddrRange, DirtyClients, IoEvent, RegionId, SpaceId};
use memory_dispatch::{AddressSpace, Listener, Refusal, Section};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What a range is, as far as it is told: its last address, the regions and offsets of its read and write sides.
type Shown = (u64, Option<(RegionId, u64)>, Option<(RegionId, u64)>);

#[derive(Debug, Default)]
struct Told {
    in_batch: bool,
    ranges: BTreeMap<(SpaceId, u64), Shown>,
    logged: BTreeMap<(SpaceId, u64), DirtyClients>,
    coalesced: BTreeSet<(SpaceId, u64, u64)>,
    events: BTreeSet<(SpaceId, u64)>,
    global: DirtyClients,
    adds: u64,
    dels: u64,
}

/// A listener whose map has to be the view, and to be empty when it is unregistered.
#[derive(Debug)]
pub struct Witness {
    name: &'static str,
    /// The one space that it hears, or all.
    only: Option<SpaceId>,
    ledger: Arc<Ledger>,
    told: Mutex<Told>,
}

impl Witness {
    /// A witness that has been told nothing, of one space or of all.
    pub fn new(name: &'static str, only: Option<SpaceId>, ledger: &Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { name, only, ledger: ledger.clone(), told: Mutex::default() })
    }

    /// Whether it hears a space.
    pub fn hears(&self, space: &AddressSpace) -> bool {
        self.only.is_none_or(|only| only == space.id())
    }

    fn told(&self, right: impl FnOnce(&mut Told) -> bool, what: &str, section: &Section) {
        let mut told = lock(&self.told);
        if !told.in_batch || !right(&mut told) {
            drop(told);
            self.ledger.wrong(format_args!("{} is told {what} of {:?}", self.name, section.range()));
        }
    }

    /// Compares its map with that of a space. Nobody commits meanwhile.
    pub fn compare(&self, space: &AddressSpace) {
        let told = lock(&self.told);
        let id = space.id();
        let known = told.ranges.range((id, 0)..=(id, u64::MAX)).map(|((_, start), shown)| (*start, *shown));
        let known: Vec<_> = known.collect();
        let (shown, logged, coalesced, events) = space.with_view(|view| {
            let part = |part: &memory_flatview::Part| (part.target().region(), part.offset());
            let shown: Vec<_> = view
                .ranges()
                .map(|range| {
                    let at = range.range();
                    (at.start(), (at.last(), range.read().map(part), range.write().map(part)))
                })
                .collect();
            let logged: Vec<_> = view
                .ranges()
                .filter(|range| !range.log().is_empty())
                .map(|range| (range.range().start(), range.log()))
                .collect();
            let coalesced: Vec<_> = view
                .ranges()
                .flat_map(|range| range.coalesced().map(|at| (at.start(), at.last())).collect::<Vec<_>>())
                .collect();
            let events: Vec<u64> = view
                .ranges()
                .flat_map(|range| range.events().map(|(at, _)| at).collect::<Vec<_>>())
                .collect();
            (shown, logged, coalesced, events)
        });
        let check = |right: bool, what: &str| {
            let name = self.name;
            self.ledger
                .check(right, || format!("{name}: {what} of space {} are not the view's", space.name()));
        };
        check(known == shown, "ranges");
        let known: Vec<_> =
            told.logged.range((id, 0)..=(id, u64::MAX)).map(|((_, at), log)| (*at, *log)).collect();
        check(known == logged, "logs");
        let known: Vec<_> =
            told.coalesced.iter().filter(|on| on.0 == id).map(|(_, at, last)| (*at, *last)).collect();
        check(known == coalesced, "coalesced ranges");
        let known: Vec<_> = told.events.iter().filter(|on| on.0 == id).map(|(_, at)| *at).collect();
        check(known == events, "events");
    }

    /// Compares what it was told with what is left of it.
    pub fn balance(&self) {
        let told = lock(&self.told);
        let left = told.ranges.len() as u64;
        let (adds, dels) = (told.adds, told.dels);
        let name = self.name;
        self.ledger
            .check(adds == dels + left, || format!("{name}: {adds} adds, {dels} deletes, {left} ranges"));
    }

    /// Checks that nothing is left, when it is unregistered.
    pub fn ends_empty(&self) {
        self.balance();
        let told = lock(&self.told);
        let empty = told.ranges.is_empty()
            && told.logged.is_empty()
            && told.coalesced.is_empty()
            && told.events.is_empty()
            && told.global.is_empty();
        let name = self.name;
        let ranges: Vec<_> = told.ranges.keys().map(|(space, at)| (space.number(), *at)).take(4).collect();
        self.ledger
            .check(empty, || format!("{name} is unregistered and left with ranges {ranges:x?}, or more"));
    }
}

fn key(section: &Section) -> (SpaceId, u64) {
    (section.space(), section.range().start())
}

impl Listener for Witness {
    fn begin(&self) {
        let nested = std::mem::replace(&mut lock(&self.told).in_batch, true);
        self.ledger.check(!nested, || format!("{}: a batch in a batch", self.name));
    }

    fn log_global_start(&self, clients: DirtyClients) -> Result<(), Refusal> {
        lock(&self.told).global |= clients;
        Ok(())
    }

    fn log_global_stop(&self, clients: DirtyClients) -> Result<(), Refusal> {
        lock(&self.told).global -= clients;
        Ok(())
    }

    fn coalesced_del(&self, section: &Section, range: AddrRange) -> Result<(), Refusal> {
        let what = (section.space(), range.start(), range.last());
        self.told(|told| told.coalesced.remove(&what), "coalesced_del", section);
        Ok(())
    }

    fn ioevent_del(&self, section: &Section, address: u64, _: &IoEvent) -> Result<(), Refusal> {
        self.told(|told| told.events.remove(&(section.space(), address)), "ioevent_del", section);
        Ok(())
    }

    fn log_stop(&self, section: &Section, old: DirtyClients, new: DirtyClients) -> Result<(), Refusal> {
        let stop = |told: &mut Told| {
            let before = told.logged.remove(&key(section));
            if !new.is_empty() {
                told.logged.insert(key(section), new);
            }
            before == Some(old)
        };
        self.told(stop, "log_stop", section);
        Ok(())
    }

    fn region_del(&self, section: &Section) -> Result<(), Refusal> {
        let del = |told: &mut Told| {
            told.dels += 1;
            let last = section.range().last();
            told.ranges.remove(&key(section)).is_some_and(|shown| shown.0 == last)
        };
        self.told(del, "region_del", section);
        Ok(())
    }

    fn region_add(&self, section: &Section) -> Result<(), Refusal> {
        let part = |part: Option<&memory_dispatch::SectionPart>| part.map(|on| (on.region(), on.offset()));
        let shown = (section.range().last(), part(section.read()), part(section.write()));
        let add = |told: &mut Told| {
            told.adds += 1;
            told.ranges.insert(key(section), shown).is_none()
        };
        self.told(add, "region_add", section);
        Ok(())
    }

    fn log_start(&self, section: &Section, old: DirtyClients, new: DirtyClients) -> Result<(), Refusal> {
        let start = |told: &mut Told| {
            let before = told.logged.insert(key(section), new);
            before.unwrap_or_default() == old
        };
        self.told(start, "log_start", section);
        Ok(())
    }

    fn coalesced_add(&self, section: &Section, range: AddrRange) -> Result<(), Refusal> {
        let what = (section.space(), range.start(), range.last());
        self.told(|told| told.coalesced.insert(what), "coalesced_add", section);
        Ok(())
    }

    fn ioevent_add(&self, section: &Section, address: u64, _: &IoEvent) -> Result<(), Refusal> {
        self.told(|told| told.events.insert((section.space(), address)), "ioevent_add", section);
        Ok(())
    }

    fn commit(&self) {
        let nested = std::mem::replace(&mut lock(&self.told).in_batch, false);
        self.ledger.check(nested, || format!("{}: a commit out of a batch", self.name));
    }
}

thread_local! {
    static REFUSE: Cell<bool> = const { Cell::new(false) };
}

/// A listener that refuses the next commit of a thread that says so, and no other.
#[derive(Debug)]
pub struct Refuser;

impl Refuser {
    /// Has this thread's next change refused.
    pub fn arm() {
        REFUSE.set(true);
    }

    /// Takes that back. True if nothing was refused.
    pub fn disarm() -> bool {
        REFUSE.replace(false)
    }
}

impl Listener for Refuser {
    fn region_add(&self, _: &Section) -> Result<(), Refusal> {
        if REFUSE.replace(false) { Err("as agreed".into()) } else { Ok(()) }
    }
}
