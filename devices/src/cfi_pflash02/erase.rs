//! An erase that goes on.

use super::registers::{ERASE_WINDOW, SECTOR_ERASE_TIME};
use crate::Clock;
use crate::countdown::Countdown;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far an erase is.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// More sectors may be named.
    Window(Countdown),
    /// It erases.
    Busy(Countdown),
    /// It waits, with so many nanoseconds of work left.
    Suspended(u64),
}

/// An erase of sectors, or of the chip.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Erase {
    /// First offsets and lengths of the sectors in the bank; none for all of the chip.
    #[serde(with = "pairs")]
    sectors: BTreeMap<u64, u64>,
    phase: Phase,
}

/// Sectors as a list, since keys of machine files are texts.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<u64, u64>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u64, u64>, D::Error> {
        Ok(Vec::<(u64, u64)>::deserialize(from)?.into_iter().collect())
    }
}

impl Erase {
    /// Begins the erase of a chip with so many sectors.
    pub(super) fn chip(clock: &Clock, sectors: u64) -> Self {
        let mut left = Countdown::default();
        left.start(clock, sectors.saturating_mul(SECTOR_ERASE_TIME));
        Self { sectors: BTreeMap::new(), phase: Phase::Busy(left) }
    }

    /// Names the first sector.
    pub(super) fn sector(clock: &Clock, sector: (u64, u64)) -> Self {
        let mut erase = Self { sectors: BTreeMap::new(), phase: Phase::Window(Countdown::default()) };
        erase.add(clock, sector);
        erase
    }

    /// Names another sector, in time.
    pub(super) fn add(&mut self, clock: &Clock, (first, length): (u64, u64)) {
        if let Phase::Window(window) = &mut self.phase {
            self.sectors.insert(first, length);
            window.start(clock, ERASE_WINDOW);
        }
    }

    /// Lets a restored one go on.
    pub(super) fn run(&mut self, clock: &Clock) {
        if let Phase::Window(left) | Phase::Busy(left) = &mut self.phase {
            left.run(clock);
        }
    }

    /// The sectors; none for all of the chip.
    pub(super) fn sectors(&self) -> impl Iterator<Item = (u64, u64)> {
        self.sectors.iter().map(|(first, length)| (*first, *length))
    }

    /// Whether more sectors may be named.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Window(_))
    }

    /// Whether it waits.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.phase, Phase::Suspended(_))
    }

    /// Whether it erases the sector that begins there.
    pub(super) fn contains(&self, first: u64) -> bool {
        self.sectors.is_empty() || self.sectors.contains_key(&first)
    }

    fn work(&self) -> u64 {
        (self.sectors.len() as u64).saturating_mul(SECTOR_ERASE_TIME)
    }

    /// Has it wait, unless it erases all of the chip. The time for more sectors is over then.
    pub(super) fn suspend(&mut self) {
        if self.sectors.is_empty() {
            return;
        }
        self.phase = match &self.phase {
            Phase::Window(_) => Phase::Suspended(self.work()),
            Phase::Busy(left) => Phase::Suspended(left.left().unwrap_or_default()),
            Phase::Suspended(left) => Phase::Suspended(*left),
        };
    }

    /// Has it go on.
    pub(super) fn resume(&mut self, clock: &Clock) {
        if let Phase::Suspended(nanos) = self.phase {
            let mut left = Countdown::default();
            left.start(clock, nanos);
            self.phase = Phase::Busy(left);
        }
    }

    /// The moment of the clock at which something happens.
    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Window(left) | Phase::Busy(left) => left.deadline(),
            Phase::Suspended(_) => None,
        }
    }

    /// Goes on as far as the clock has: true when all is erased.
    pub(super) fn advance(&mut self, clock: &Clock) -> bool {
        let work = self.work();
        match &mut self.phase {
            Phase::Window(window) => {
                if window.take_elapsed() {
                    let mut left = Countdown::default();
                    left.start(clock, work);
                    self.phase = Phase::Busy(left);
                }
                false
            }
            Phase::Busy(left) => left.take_elapsed(),
            Phase::Suspended(_) => false,
        }
    }
}
