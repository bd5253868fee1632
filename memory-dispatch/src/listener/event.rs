//! What a listener is told, as a value that has an inverse.

use super::list::Change;
use super::{Listener, Refusal};
use crate::section::Section;
use memory_core::DirtyClients;
use memory_flatview::{FlatRange, Kept, difference};

/// One call of a listener.
pub(super) enum Event {
    GlobalStart(DirtyClients),
    GlobalStop(DirtyClients),
    /// From the first clients to the second, which are fewer.
    LogStop(Section, DirtyClients, DirtyClients),
    Del(Section),
    Add(Section),
    Nop(Section),
    /// From the first clients to the second, which are more.
    LogStart(Section, DirtyClients, DirtyClients),
}

const NOBODY: DirtyClients = DirtyClients::empty();

impl Event {
    /// All that has to be told of a space whose view is replaced, in the order in which it has to be. `nop` asks for ranges
    /// that did not change, too.
    pub(super) fn all(change: &Change<'_>, nop: bool) -> Vec<Self> {
        let kept = if nop { Kept::All } else { Kept::Retracked };
        let found = difference(change.old, change.new, kept);
        let section = |range: &FlatRange| Section::new(change.space, range, range.range(), change.system);
        let mut events = Vec::new();
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
        events
    }

    /// What has to be told of the clients that want to know of writes to all memory: before and after all else.
    pub(super) fn global(old: DirtyClients, new: DirtyClients) -> (Option<Self>, Option<Self>) {
        let some = |clients: DirtyClients| (!clients.is_empty()).then_some(clients);
        (some(new - old).map(Self::GlobalStart), some(old - new).map(Self::GlobalStop))
    }

    /// Whether it takes something away: those of high priority are told first then.
    pub(super) fn takes_away(&self) -> bool {
        matches!(self, Self::Del(_) | Self::LogStop(..) | Self::GlobalStop(_))
    }

    /// Whether `listener` is to be told.
    pub(super) fn is_for(&self, listener: &dyn Listener) -> bool {
        !matches!(self, Self::Nop(_)) || listener.wants_nop()
    }

    pub(super) fn tell(&self, listener: &dyn Listener) -> Result<(), Refusal> {
        match self {
            Self::GlobalStart(clients) => listener.log_global_start(*clients),
            Self::GlobalStop(clients) => listener.log_global_stop(*clients),
            Self::LogStop(section, old, new) => listener.log_stop(section, *old, *new),
            Self::Del(section) => listener.region_del(section),
            Self::Add(section) => listener.region_add(section),
            Self::Nop(section) => listener.region_nop(section),
            Self::LogStart(section, old, new) => listener.log_start(section, *old, *new),
        }
    }

    /// Takes back what `listener` was told.
    pub(super) fn take_back(&self, listener: &dyn Listener) -> Result<(), Refusal> {
        match self {
            Self::GlobalStart(clients) => listener.log_global_stop(*clients),
            Self::GlobalStop(clients) => listener.log_global_start(*clients),
            Self::LogStop(section, old, new) => listener.log_start(section, *new, *old),
            Self::Del(section) => listener.region_add(section),
            Self::Add(section) => listener.region_del(section),
            Self::Nop(_) => Ok(()),
            Self::LogStart(section, old, new) => listener.log_stop(section, *new, *old),
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
