//! What a listener is told, as a value that has an inverse.

use super::list::Change;
use super::{Listener, Refusal};
use crate::section::Section;
use memory_core::{AddrRange, DirtyClients, IoEvent};
use memory_flatview::{Difference, FlatRange, Kept, difference};

/// One call of a listener.
pub(super) enum Event {
    GlobalStart(DirtyClients),
    GlobalStop(DirtyClients),
    CoalescedDel(Section, AddrRange),
    IoEventDel(Section, u64, IoEvent),
    /// From the first clients to the second, which are fewer.
    LogStop(Section, DirtyClients, DirtyClients),
    Del(Section),
    Add(Section),
    Nop(Section),
    /// From the first clients to the second, which are more.
    LogStart(Section, DirtyClients, DirtyClients),
    CoalescedAdd(Section, AddrRange),
    IoEventAdd(Section, u64, IoEvent),
}

const NOBODY: DirtyClients = DirtyClients::empty();

impl Event {
    /// All that has to be told of a space whose view is replaced, in the order in which it has to be. `nop` asks for ranges
    /// that did not change, too.
    pub(super) fn all(change: &Change<'_>, nop: bool) -> Vec<Self> {
        let kept = if nop { Kept::All } else { Kept::Retracked };
        let found = difference(change.old, change.new, kept);
        let section = |range: &FlatRange| Section::new(change.space, range, range.range());
        let mut events = Vec::new();
        let coalesced = coalesced(&found);
        let ioevents = ioevents(&found);
        events.extend(coalesced.gone.into_iter().map(|(on, at)| Self::CoalescedDel(section(on), at)));
        let gone = ioevents.gone.into_iter();
        events.extend(gone.map(|(on, at, event)| Self::IoEventDel(section(on), at, event.clone())));
        let gone = found.deleted.iter().map(|range| (*range, range.log(), NOBODY));
        let fewer = found.kept.iter().map(|(old, new)| (*new, old.log(), old.log() & new.log()));
        events.extend(relogged(gone.chain(fewer), |range, old, new| Self::LogStop(section(range), old, new)));
        events.extend(found.deleted.iter().map(|range| Self::Del(section(range))));
        // the ranges that come and those that stay, by address
        let mut coming = found.added.iter().peekable();
        for (_, kept) in found.kept.iter().filter(|_| nop) {
            while let Some(added) = coming.next_if(|added| added.range().start() < kept.range().start()) {
                events.push(Self::Add(section(added)));
            }
            events.push(Self::Nop(section(kept)));
        }
        events.extend(coming.map(|range| Self::Add(section(range))));
        let come = found.added.iter().map(|range| (*range, NOBODY, range.log()));
        let more = found.kept.iter().map(|(old, new)| (*new, old.log() & new.log(), new.log()));
        events.extend(relogged(come.chain(more), |range, old, new| Self::LogStart(section(range), old, new)));
        events.extend(coalesced.come.into_iter().map(|(on, at)| Self::CoalescedAdd(section(on), at)));
        let come = ioevents.come.into_iter();
        events.extend(come.map(|(on, at, event)| Self::IoEventAdd(section(on), at, event.clone())));
        events
    }

    /// What has to be told of the clients that want to know of writes to all memory: before and after all else.
    pub(super) fn global(old: DirtyClients, new: DirtyClients) -> (Option<Self>, Option<Self>) {
        let some = |clients: DirtyClients| (!clients.is_empty()).then_some(clients);
        (some(new - old).map(Self::GlobalStart), some(old - new).map(Self::GlobalStop))
    }

    /// Whether it takes something away: those of high priority are told first then.
    pub(super) fn takes_away(&self) -> bool {
        let of_a_range =
            matches!(self, Self::CoalescedDel(..) | Self::IoEventDel(..) | Self::LogStop(..) | Self::Del(_));
        of_a_range || matches!(self, Self::GlobalStop(_))
    }

    /// Whether `listener` is to be told.
    pub(super) fn is_for(&self, listener: &dyn Listener) -> bool {
        !matches!(self, Self::Nop(_)) || listener.wants_nop()
    }

    pub(super) fn tell(&self, listener: &dyn Listener) -> Result<(), Refusal> {
        match self {
            Self::GlobalStart(clients) => listener.log_global_start(*clients),
            Self::GlobalStop(clients) => listener.log_global_stop(*clients),
            Self::CoalescedDel(section, range) => listener.coalesced_del(section, *range),
            Self::IoEventDel(section, address, event) => listener.ioevent_del(section, *address, event),
            Self::LogStop(section, old, new) => listener.log_stop(section, *old, *new),
            Self::Del(section) => listener.region_del(section),
            Self::Add(section) => listener.region_add(section),
            Self::Nop(section) => listener.region_nop(section),
            Self::LogStart(section, old, new) => listener.log_start(section, *old, *new),
            Self::CoalescedAdd(section, range) => listener.coalesced_add(section, *range),
            Self::IoEventAdd(section, address, event) => listener.ioevent_add(section, *address, event),
        }
    }

    /// Takes back what `listener` was told.
    pub(super) fn take_back(&self, listener: &dyn Listener) -> Result<(), Refusal> {
        match self {
            Self::GlobalStart(clients) => listener.log_global_stop(*clients),
            Self::GlobalStop(clients) => listener.log_global_start(*clients),
            Self::CoalescedDel(section, range) => listener.coalesced_add(section, *range),
            Self::IoEventDel(section, address, event) => listener.ioevent_add(section, *address, event),
            Self::LogStop(section, old, new) => listener.log_start(section, *new, *old),
            Self::Del(section) => listener.region_add(section),
            Self::Add(section) => listener.region_del(section),
            Self::Nop(_) => Ok(()),
            Self::LogStart(section, old, new) => listener.log_stop(section, *new, *old),
            Self::CoalescedAdd(section, range) => listener.coalesced_del(section, *range),
            Self::IoEventAdd(section, address, event) => listener.ioevent_del(section, *address, event),
        }
    }
}

/// The ranges whose clients change, ascending.
fn relogged<'a>(
    ranges: impl Iterator<Item = (&'a FlatRange, DirtyClients, DirtyClients)>,
    event: impl Fn(&FlatRange, DirtyClients, DirtyClients) -> Event,
) -> impl Iterator<Item = Event> {
    let mut changed: Vec<_> = ranges.filter(|(_, old, new)| old != new).collect();
    changed.sort_by_key(|(range, ..)| range.range().start());
    changed.into_iter().map(move |(range, old, new)| event(range, old, new))
}

/// What has gone and what has come, ascending; what is in both is in neither.
struct Changed<T> {
    gone: Vec<T>,
    come: Vec<T>,
}

/// Takes out what is in both, going by `key` and then by `same`.
fn apart<T, K: Ord>(
    mut gone: Vec<T>,
    mut come: Vec<T>,
    key: impl Fn(&T) -> K + Copy,
    same: impl Fn(&T, &T) -> bool + Copy,
) -> Changed<T> {
    gone.sort_by_key(key);
    come.sort_by_key(key);
    let is_in = |list: &[T], what: &T| {
        let at = list.binary_search_by_key(&key(what), key);
        at.ok().and_then(|at| list.get(at)).is_some_and(|other| same(other, what))
    };
    let stays: Vec<bool> = gone.iter().map(|what| is_in(&come, what)).collect();
    let stayed: Vec<bool> = come.iter().map(|what| is_in(&gone, what)).collect();
    let only = |list: Vec<T>, both: Vec<bool>| {
        list.into_iter().zip(both).filter(|(_, both)| !both).map(|(what, _)| what).collect()
    };
    Changed { gone: only(gone, stays), come: only(come, stayed) }
}

/// The events whose address or notifier changes, with the ranges that they are on.
fn ioevents<'a>(found: &Difference<'a>) -> Changed<(&'a FlatRange, u64, &'a IoEvent)> {
    let on = |range: &&'a FlatRange| {
        let range = *range;
        range.events().map(move |(address, event)| (range, address, event))
    };
    let mut gone: Vec<_> = found.deleted.iter().flat_map(on).collect();
    let mut come: Vec<_> = found.added.iter().flat_map(on).collect();
    for (old, new) in &found.kept {
        match (old.intercepts(), new.intercepts()) {
            (Some(before), Some(after)) => {
                let (lost, won) = before.events_apart(after);
                // of those that are seen; most events of a region stay, and are not looked at
                let seen = |range: &'a FlatRange, events: Vec<&'a IoEvent>| {
                    events
                        .into_iter()
                        .filter_map(move |event| Some((range, range.address_of_event(event)?, event)))
                };
                gone.extend(seen(old, lost));
                come.extend(seen(new, won));
            }
            _ => {
                gone.extend(on(old));
                come.extend(on(new));
            }
        }
    }
    let key = |(_, address, event): &(&FlatRange, u64, &IoEvent)| (*address, event.width, event.value);
    apart(gone, come, key, |a, b| a.2.event.is_same(&b.2.event))
}

/// The coalesced ranges that change, with the ranges of the map that they are on.
fn coalesced<'a>(found: &Difference<'a>) -> Changed<(&'a FlatRange, AddrRange)> {
    let on = |range: &'a FlatRange| range.coalesced().map(move |at| (range, at));
    let mut gone: Vec<_> = found.deleted.iter().flat_map(|range| on(range)).collect();
    let mut come: Vec<_> = found.added.iter().flat_map(|range| on(range)).collect();
    for (old, new) in &found.kept {
        gone.extend(on(old));
        come.extend(on(new));
    }
    apart(gone, come, |(_, range)| (range.start(), range.last()), |_, _| true)
}
