//! Writes to a region that do not run its callback at once: ioeventfds and coalesced ranges.

use crate::address::AddrRange;
use crate::ioevent::{IoEvent, IoEventKey};
use crate::sync::Arc;
use std::fmt;

/// A chunk is split above this many events.
const MOST: usize = 64;

/// The ioeventfds and coalesced ranges of a region, immutable; versions share what did not change.
#[derive(Clone, Default)]
pub struct Intercepts {
    events: Vec<Arc<Vec<IoEvent>>>,
    coalesced: Vec<AddrRange>,
    /// Writes have been queued at some time.
    was_coalesced: bool,
}

impl Intercepts {
    /// The events, by offset, width and value.
    pub fn events(&self) -> impl Iterator<Item = &IoEvent> {
        self.events.iter().flat_map(|chunk| chunk.iter())
    }

    /// The events at `first..=last`, in bytes from the region's start.
    pub fn events_in(&self, first: u64, last: u64) -> impl Iterator<Item = &IoEvent> {
        let chunk =
            self.events.partition_point(|chunk| chunk.last().is_some_and(|event| event.offset < first));
        let chunks = self.events.get(chunk..).unwrap_or(&[]).iter();
        let from_first = chunks.flat_map(|chunk| chunk.iter()).skip_while(move |event| event.offset < first);
        from_first.take_while(move |event| event.offset <= last)
    }

    /// The coalesced ranges, ascending and disjoint, in bytes from the region's start.
    pub fn coalesced(&self) -> &[AddrRange] {
        &self.coalesced
    }

    /// What of the coalesced ranges a write may be queued in, whatever it writes: not where an event is, which a write that
    /// begins there may hit. Ascending and disjoint.
    pub fn queues(&self) -> impl Iterator<Item = AddrRange> {
        self.coalesced.iter().flat_map(|range| self.between_events(*range))
    }

    fn between_events(&self, range: AddrRange) -> Vec<AddrRange> {
        let mut parts = Vec::new();
        // nothing once an event is at the last address of all
        let mut first = Some(range.start());
        for event in self.events_in(range.start(), range.last()) {
            let before = event.offset.checked_sub(1);
            parts.extend(first.zip(before).and_then(|(first, last)| AddrRange::new(first, last)));
            first = event.offset.checked_add(1);
        }
        parts.extend(first.and_then(|first| AddrRange::new(first, range.last())));
        parts
    }

    /// Whether a write to `range` may be queued: all of it is coalesced, and no event is in it. One that hits no event is not
    /// queued either where one is, since who else queues by [`Intercepts::queues`] would have it overtaken.
    pub fn coalesces(&self, range: AddrRange) -> bool {
        let at = self.coalesced.partition_point(|coalesced| coalesced.last() < range.start());
        self.coalesced.get(at).is_some_and(|coalesced| coalesced.contains_range(range))
            && self.events_in(range.start(), range.last()).next().is_none()
    }

    /// Whether queued writes have to be carried out before the region is accessed. It is so for ever once a range was
    /// coalesced: a thread that is on an older view may queue a write at any time, and its next one, on this view, must not
    /// overtake that.
    pub fn flushes(&self) -> bool {
        self.was_coalesced
    }

    /// Whether there is no event and no coalesced range.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.coalesced.is_empty()
    }

    /// The events that are in `self` only, and those that are in `other` only. What both share is passed over.
    pub fn events_apart<'a>(&'a self, other: &'a Self) -> (Vec<&'a IoEvent>, Vec<&'a IoEvent>) {
        let same = |(a, b): &(&Arc<_>, &Arc<_>)| Arc::ptr_eq(a, b);
        let head = self.events.iter().zip(&other.events).take_while(same).count();
        let tail = self.events.iter().skip(head).rev().zip(other.events.iter().skip(head).rev());
        let tail = tail.take_while(same).count();
        let middle = |events: &'a [Arc<Vec<IoEvent>>]| {
            let chunks = events.get(head..events.len() - tail).unwrap_or(&[]);
            chunks.iter().flat_map(|chunk| chunk.iter()).collect::<Vec<_>>()
        };
        let (ours, theirs) = (middle(&self.events), middle(&other.events));
        let only = |ours: &[&'a IoEvent], theirs: &[&'a IoEvent]| {
            let known = |event: &IoEvent| {
                let at = theirs.binary_search_by_key(&event.key(), |other| other.key());
                at.ok().and_then(|at| theirs.get(at)).is_some_and(|other| other.is_same(event))
            };
            ours.iter().copied().filter(|event| !known(event)).collect()
        };
        (only(&ours, &theirs), only(&theirs, &ours))
    }

    /// An event that one write could hit together with `event`.
    pub(crate) fn conflict(&self, event: &IoEvent) -> Option<&IoEvent> {
        self.events_in(event.offset, event.offset).find(|other| other.conflicts(event))
    }

    /// The same with `event`, which conflicts with none.
    pub(crate) fn with_event(&self, event: IoEvent) -> Self {
        let mut new = self.clone();
        let key = event.key();
        let at = new.events.partition_point(|chunk| chunk.last().is_some_and(|last| last.key() < key));
        // behind all others: into the last chunk
        let at = at.min(new.events.len().saturating_sub(1));
        match new.events.get_mut(at) {
            Some(chunk) => {
                let mut events = chunk.to_vec();
                events.insert(events.partition_point(|other| other.key() < key), event);
                let rest = if events.len() > MOST { events.split_off(events.len() / 2) } else { Vec::new() };
                *chunk = Arc::new(events);
                if !rest.is_empty() {
                    new.events.insert(at + 1, Arc::new(rest));
                }
            }
            None => new.events.push(Arc::new(vec![event])),
        }
        new
    }

    /// The same without the event of `key`, or `None` if there is none.
    pub(crate) fn without_event(&self, key: IoEventKey) -> Option<Self> {
        let at = self.events.partition_point(|chunk| chunk.last().is_some_and(|last| last.key() < key));
        let mut events = self.events.get(at)?.to_vec();
        let index = events.binary_search_by_key(&key, IoEvent::key).ok()?;
        events.remove(index);
        let mut new = self.clone();
        if events.is_empty() {
            new.events.remove(at);
        } else if let Some(chunk) = new.events.get_mut(at) {
            *chunk = Arc::new(events);
        }
        Some(new)
    }

    /// The same with `range` coalesced, joined with those that it touches.
    pub(crate) fn with_coalesced(&self, range: AddrRange) -> Self {
        let mut new = self.clone();
        let touches = |other: &AddrRange| {
            other.overlaps(range)
                || other.last().checked_add(1) == Some(range.start())
                || range.last().checked_add(1) == Some(other.start())
        };
        let (joined, mut apart): (Vec<_>, Vec<_>) = new.coalesced.iter().copied().partition(touches);
        apart.push(joined.into_iter().fold(range, AddrRange::hull));
        apart.sort_by_key(|range| range.start());
        new.coalesced = apart;
        new.was_coalesced = true;
        new
    }

    /// The same with nothing coalesced.
    pub(crate) fn without_coalesced(&self) -> Self {
        Self { coalesced: Vec::new(), ..self.clone() }
    }
}

impl fmt::Debug for Intercepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercepts")
            .field("events", &self.events().map(IoEvent::key).collect::<Vec<_>>())
            .field("coalesced", &self.coalesced)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Width;
    use crate::ioevent::EventNotifier;

    #[test]
    fn versions_share_what_did_not_change_and_tell_what_did() {
        let event = EventNotifier::new().unwrap();
        let at = |offset| IoEvent::new(offset, Width::W4, event.clone());
        let mut all = Intercepts::default();
        for index in 0..1000u64 {
            all = all.with_event(at(index * 7 % 1000));
        }
        let offsets: Vec<_> = all.events().map(|event| event.offset).collect();
        assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
        let more = all.with_event(at(500).value(3)).without_event(at(20).key()).unwrap();
        let (gone, come) = all.events_apart(&more);
        assert_eq!((gone.len(), come.len()), (1, 1));
        assert_eq!((gone[0].key(), come[0].key()), (at(20).key(), at(500).value(3).key()));
        let shared = all.events.iter().filter(|a| more.events.iter().any(|b| Arc::ptr_eq(a, b))).count();
        assert!(shared >= all.events.len() - 2);
        assert_eq!(more.events_in(19, 21).map(|event| event.offset).collect::<Vec<_>>(), [19, 21]);
        assert!(more.without_event(at(20).key()).is_none());
        let empty = (0..1000).fold(all, |all, offset| all.without_event(at(offset).key()).unwrap());
        assert!(empty.is_empty());
    }

    #[test]
    fn no_write_is_queued_where_an_event_is() {
        let event = EventNotifier::new().unwrap();
        let at = |offset| IoEvent::new(offset, Width::W2, event.clone());
        let range = |start, last| AddrRange::new(start, last).unwrap();
        let all =
            Intercepts::default().with_coalesced(range(0, 0xff)).with_coalesced(range(u64::MAX, u64::MAX));
        // two at one place, one at each end, one that is not in a range
        let offsets = [at(0), at(0x10), at(0x10).value(7), at(0x11), at(0xff), at(0x200), at(u64::MAX)];
        let all = offsets.into_iter().fold(all, |all, event| all.with_event(event));
        assert_eq!(all.queues().collect::<Vec<_>>(), [range(1, 0xf), range(0x12, 0xfe)]);
        assert_eq!(all.coalesced(), [range(0, 0xff), range(u64::MAX, u64::MAX)]);
        assert!(all.coalesces(range(0xe, 0xf)) && all.coalesces(range(0x12, 0x13)));
        assert!(!all.coalesces(range(0xf, 0x10)) && !all.coalesces(range(0x10, 0x10)));
    }

    #[test]
    fn coalesced_ranges_are_joined_where_they_touch() {
        let range = |start, last| AddrRange::new(start, last).unwrap();
        let all = Intercepts::default().with_coalesced(range(0, 3)).with_coalesced(range(8, 11));
        assert_eq!(all.coalesced(), [range(0, 3), range(8, 11)]);
        assert!(all.coalesces(range(8, 9)) && !all.coalesces(range(3, 4)) && !all.coalesces(range(11, 12)));
        let all = all.with_coalesced(range(4, 7));
        assert_eq!(all.coalesced(), [range(0, 11)]);
        let none = all.without_coalesced();
        assert!(none.is_empty() && none.flushes(), "a write may still be queued");
    }
}
