//! What a listener is told, as a value that has an inverse.

use super::list::Change;
use super::{Listener, Refusal};
use crate::section::Section;
use memory_flatview::{Kept, difference};

/// One call of a listener.
pub(super) enum Event {
    Del(Section),
    Add(Section),
    Nop(Section),
}

impl Event {
    /// All that has to be told of a space whose view is replaced, in the order in which it has to be. `nop` asks for ranges
    /// that did not change, too.
    pub(super) fn all(change: &Change<'_>, nop: bool) -> Vec<Self> {
        let kept = if nop { Kept::All } else { Kept::Retracked };
        let found = difference(change.old, change.new, kept);
        let section = |range| Section::new(change.space, range, range.range(), change.system);
        let mut events = Vec::new();
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
        events
    }

    /// Whether it takes something away: those of high priority are told first then.
    pub(super) fn takes_away(&self) -> bool {
        matches!(self, Self::Del(_))
    }

    /// Whether `listener` is to be told.
    pub(super) fn is_for(&self, listener: &dyn Listener) -> bool {
        !matches!(self, Self::Nop(_)) || listener.wants_nop()
    }

    pub(super) fn tell(&self, listener: &dyn Listener) -> Result<(), Refusal> {
        match self {
            Self::Del(section) => listener.region_del(section),
            Self::Add(section) => listener.region_add(section),
            Self::Nop(section) => listener.region_nop(section),
        }
    }

    /// Takes back what `listener` was told.
    pub(super) fn take_back(&self, listener: &dyn Listener) -> Result<(), Refusal> {
        match self {
            Self::Del(section) => listener.region_add(section),
            Self::Add(section) => listener.region_del(section),
            Self::Nop(_) => Ok(()),
        }
    }
}
