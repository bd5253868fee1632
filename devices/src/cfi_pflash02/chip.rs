//! One chip: what it takes commands for, and what it answers.

use super::erase::Erase;
use super::geometry::Geometry;
use super::registers::{COMMAND_ADDRESS, QUERY_ADDRESS, Status, TABLE_ADDRESS, command};
use crate::Clock;
use memory_core::RamBlock;
use serde::{Deserialize, Serialize};

/// The cells of one chip, and what is soldered to it. Words are the chip's addresses.
pub(super) struct Array<'a> {
    pub(super) memory: &'a RamBlock,
    pub(super) geometry: &'a Geometry,
    pub(super) clock: &'a Clock,
    /// Which of the bank's chips this is.
    pub(super) chip: u64,
    /// Whether programs and erases change nothing.
    pub(super) read_only: bool,
    pub(super) query: &'a [u8],
    /// Identifiers at words 0, 1, 0xe and 0xf.
    pub(super) ids: [u16; 4],
    /// Where the two cycles of the unlock sequence go.
    pub(super) unlock: [u64; 2],
}

impl Array<'_> {
    fn load(&self, word: u64) -> u64 {
        let width = self.geometry.chip_width;
        let value = self.memory.load(self.geometry.offset(self.chip, word), width).unwrap_or(width.mask());
        if self.geometry.big { width.swap_bytes(value) } else { value }
    }

    /// Clears the bits that are 0 in `value`; no program operation sets any.
    fn program(&self, word: u64, value: u64) {
        if self.read_only {
            return;
        }
        let width = self.geometry.chip_width;
        let value = self.load(word) & value;
        let value = if self.geometry.big { width.swap_bytes(value) } else { value };
        let _ = self.memory.store(self.geometry.offset(self.chip, word), width, value);
    }

    /// Sets all bits of a stretch of the bank that are this chip's.
    fn erase(&self, first: u64, length: u64) {
        let geometry = self.geometry;
        if self.read_only {
            return;
        }
        if geometry.chips() == 1 {
            let _ = self.memory.fill(first, length, 0xff);
            return;
        }
        let width = geometry.chip_width;
        // a saved state may name any sector
        let end = first.saturating_add(length).min(geometry.size);
        let words = geometry.word(first)..geometry.word(end);
        for word in words {
            let _ = self.memory.store(geometry.offset(self.chip, word), width, width.mask());
        }
    }

    fn id(&self, word: u64) -> Option<u64> {
        let [maker, device, second, third] = self.ids.map(u64::from);
        match word & TABLE_ADDRESS {
            0 => Some(maker),
            1 => Some(device),
            // no sector is protected
            2 => Some(0),
            0xe if second != 0 => Some(second),
            0xf if third != 0 => Some(third),
            _ => None,
        }
    }
}

/// What reads give, as long as nothing is erased.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    #[default]
    Array,
    Autoselect,
    Query,
    /// The query, which was asked for while identifiers were read: these are next.
    QueryInAutoselect,
}

/// How much of a sequence of commands has come.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    #[default]
    Start,
    Unlock,
    Command,
    /// The word to be programmed is next.
    Program,
    EraseSetup,
    EraseUnlock,
    Erase,
    /// What ends the bypass is next.
    BypassReset,
}

/// One cycle on the bus, as a chip sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    pub(super) word: u64,
    /// What is to be programmed: ones where no lane was driven.
    pub(super) data: u64,
    /// The cycle as a command: its low 8 bits.
    pub(super) code: u8,
}

/// The state of one chip. The default is that after power on: reads give the array.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Chip {
    mode: Mode,
    stage: Stage,
    /// Programs need no unlock sequence.
    bypass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    erase: Option<Erase>,
    /// What DQ6 and DQ2 show next.
    toggles: (bool, bool),
}

impl Chip {
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn erase(&self) -> Option<&Erase> {
        self.erase.as_ref()
    }

    /// Whether reads give the array, all of it.
    pub(super) fn reads_array(&self) -> bool {
        self.mode == Mode::Array && self.erase.is_none()
    }

    /// Lets a restored one go on.
    pub(super) fn run(&mut self, clock: &Clock) {
        if let Some(erase) = &mut self.erase {
            erase.run(clock);
        }
    }

    /// Goes on as far as the clock has.
    pub(super) fn advance(&mut self, array: &Array<'_>) {
        let Some(erase) = &mut self.erase else { return };
        if !erase.advance(array.clock) {
            return;
        }
        let mut sectors = erase.sectors().peekable();
        if sectors.peek().is_none() {
            array.erase(0, array.geometry.size);
        }
        sectors.for_each(|(first, length)| array.erase(first, length));
        self.erase = None;
    }

    /// Reads a word.
    pub(super) fn read(&mut self, array: &Array<'_>, word: u64) -> u64 {
        if let Some(erase) = &self.erase {
            if !erase.is_suspended() {
                let late = if erase.is_open() { Status::empty() } else { Status::DQ3 };
                return self.toggle(Status::DQ6 | Status::DQ2) | u64::from(late.bits());
            }
            if self.mode == Mode::Array && erase.contains(array.geometry.sector(word).0) {
                return self.toggle(Status::DQ2) | u64::from(Status::DQ7.bits());
            }
        }
        match self.mode {
            Mode::Array => array.load(word),
            Mode::Autoselect => array.id(word).unwrap_or_else(|| array.load(word)),
            Mode::Query | Mode::QueryInAutoselect => {
                let index = usize::try_from(word & TABLE_ADDRESS).unwrap_or_default();
                array.query.get(index).copied().unwrap_or_default().into()
            }
        }
    }

    /// DQ6 and DQ2 as they are; those of `changing` are the other way round next time.
    fn toggle(&mut self, changing: Status) -> u64 {
        let (dq6, dq2) = self.toggles;
        self.toggles = (dq6 ^ changing.contains(Status::DQ6), dq2 ^ changing.contains(Status::DQ2));
        let bits = |set: bool, bit: Status| if set { bit } else { Status::empty() };
        (bits(dq6, Status::DQ6) | bits(dq2, Status::DQ2)).bits().into()
    }

    /// Takes a write cycle.
    pub(super) fn write(&mut self, array: &Array<'_>, cycle: Cycle) {
        match &mut self.erase {
            Some(erase) if !erase.is_suspended() => match cycle.code {
                command::ERASE_SUSPEND => erase.suspend(),
                command::SECTOR_ERASE => erase.add(array.clock, array.geometry.sector(cycle.word)),
                // anything else, in time, is a change of mind
                _ if erase.is_open() => self.erase = None,
                _ => {}
            },
            _ => self.command(array, cycle),
        }
    }

    /// Takes a cycle while nothing goes on.
    fn command(&mut self, array: &Array<'_>, cycle: Cycle) {
        let Cycle { word, code, .. } = cycle;
        let address = word & COMMAND_ADDRESS;
        let [unlock_0, unlock_1] = array.unlock.map(|unlock| address == unlock & COMMAND_ADDRESS);
        let stage = std::mem::take(&mut self.stage);
        self.stage = match (stage, code) {
            (Stage::Program, _) => {
                self.program(array, cycle);
                Stage::Start
            }
            (_, command::RESET) => return self.reset_command(),
            (Stage::Start, command::QUERY) if address == QUERY_ADDRESS => {
                let after = matches!(self.mode, Mode::Autoselect | Mode::QueryInAutoselect);
                self.mode = if after { Mode::QueryInAutoselect } else { Mode::Query };
                Stage::Start
            }
            (Stage::Start, command::SECTOR_ERASE) if self.erase.is_some() => {
                if let Some(erase) = &mut self.erase {
                    erase.resume(array.clock);
                }
                Stage::Start
            }
            (Stage::Start, command::PROGRAM) if self.bypass => Stage::Program,
            (Stage::Start, command::AUTOSELECT) if self.bypass => Stage::BypassReset,
            (Stage::Start, command::UNLOCK_0) if unlock_0 => Stage::Unlock,
            (Stage::Unlock, command::UNLOCK_1) if unlock_1 => Stage::Command,
            (Stage::Command, command::PROGRAM) if unlock_0 => Stage::Program,
            (Stage::Command, command::ERASE_SETUP) if unlock_0 => Stage::EraseSetup,
            (Stage::Command, command::UNLOCK_BYPASS) if unlock_0 => {
                (self.mode, self.bypass) = (Mode::Array, true);
                Stage::Start
            }
            (Stage::Command, command::AUTOSELECT) if unlock_0 => {
                self.mode = Mode::Autoselect;
                Stage::Start
            }
            (Stage::EraseSetup, command::UNLOCK_0) if unlock_0 => Stage::EraseUnlock,
            (Stage::EraseUnlock, command::UNLOCK_1) if unlock_1 => Stage::Erase,
            (Stage::Erase, command::CHIP_ERASE) if unlock_0 && self.erase.is_none() => {
                return self.begin(Erase::chip(array.clock, array.geometry.sectors()));
            }
            (Stage::Erase, command::SECTOR_ERASE) if self.erase.is_none() => {
                return self.begin(Erase::sector(array.clock, array.geometry.sector(word)));
            }
            (Stage::BypassReset, command::UNLOCK_BYPASS_RESET) => return self.read_array(),
            // a wrong sequence ends at the array
            _ => return self.read_array(),
        };
    }

    fn program(&mut self, array: &Array<'_>, cycle: Cycle) {
        self.mode = Mode::Array;
        let sector = array.geometry.sector(cycle.word).0;
        if !self.erase.as_ref().is_some_and(|erase| erase.contains(sector)) {
            array.program(cycle.word, cycle.data);
        }
    }

    fn begin(&mut self, erase: Erase) {
        self.read_array();
        (self.erase, self.toggles) = (Some(erase), (false, false));
    }

    /// The reset command: back to the array, but from a query to the identifiers that were read before.
    fn reset_command(&mut self) {
        if self.mode == Mode::QueryInAutoselect {
            self.mode = Mode::Autoselect;
        } else {
            self.read_array();
        }
    }

    fn read_array(&mut self) {
        (self.mode, self.stage, self.bypass) = (Mode::Array, Stage::Start, false);
    }
}
