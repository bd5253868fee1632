//! One chip: what it takes commands for, and what it answers.

use super::geometry::Geometry;
use super::query::BUFFER_LOG2;
use super::registers::{
    DEVICE, ID_DEVICE, ID_LOCK, ID_MANUFACTURER, LOCK_DOWN, LOCK_LOCKED, MANUFACTURER, Status, command,
};
use memory_core::RamBlock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The cells of one chip, and what is soldered to it. Words are the chip's addresses; what is out of bounds reads as erased
/// and cannot be changed.
pub(super) struct Array<'a> {
    pub(super) memory: &'a RamBlock,
    pub(super) geometry: Geometry,
    /// Which of the bank's chips this is.
    pub(super) chip: u64,
    /// Whether programs and erases are refused: all blocks count as locked down.
    pub(super) read_only: bool,
    pub(super) query: &'a [u8],
}

impl Array<'_> {
    fn load(&self, word: u64) -> u64 {
        let width = self.geometry.chip_width();
        self.memory.load(self.geometry.offset(self.chip, word), width).unwrap_or(width.mask())
    }

    fn store(&self, word: u64, value: u64) {
        let _ = self.memory.store(self.geometry.offset(self.chip, word), self.geometry.chip_width(), value);
    }

    /// Clears the bits that are 0 in `value`; no program operation sets any.
    fn program(&self, word: u64, value: u64) {
        self.store(word, self.load(word) & value);
    }

    fn erase(&self, block: u64) {
        let (geometry, words) = (self.geometry, self.geometry.block_words());
        if geometry.chips() == 1 {
            let _ = self.memory.fill(block.wrapping_mul(geometry.sector), geometry.sector, 0xff);
            return;
        }
        let first = block.wrapping_mul(words);
        (0..words).for_each(|word| self.store(first.wrapping_add(word), geometry.chip_width().mask()));
    }
}

/// What reads give.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    #[default]
    Array,
    Status,
    Identifier,
    Query,
}

/// What the next write is taken for.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
enum Next {
    #[default]
    Command,
    /// The word to be programmed.
    Word,
    /// The word for a protection register, of which there are none.
    Protection,
    /// The number of words of a buffered program in this block, less one.
    Count {
        block: u64,
    },
    /// A word of a buffered program.
    Data(Buffer),
    /// The confirmation of a buffered program.
    Confirm(Buffer),
    EraseConfirm,
    /// What to do with a block's lock.
    Lock,
}

/// A buffered program that is being put together.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Buffer {
    block: u64,
    /// The first word's address, once that is known. The others lie behind it.
    start: Option<u64>,
    /// All ones where nothing was written yet.
    words: Vec<u64>,
    /// How many words have come.
    filled: usize,
}

impl Buffer {
    /// Takes a word; false if it does not belong to this buffer or the buffer leaves its block.
    fn take(&mut self, geometry: Geometry, word: u64, value: u64) -> bool {
        let start = *self.start.get_or_insert(word);
        let last = start.saturating_add(self.words.len() as u64).saturating_sub(1);
        let inside = [start, last].map(|word| geometry.block_of(word)) == [self.block; 2];
        let index = word.checked_sub(start).and_then(|index| usize::try_from(index).ok());
        let Some(cell) = index.filter(|_| inside).and_then(|index| self.words.get_mut(index)) else {
            return false;
        };
        *cell &= value;
        self.filled = self.filled.saturating_add(1);
        true
    }
}

/// A command that this chip does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UnknownCommand(pub(super) u8);

/// One cycle on the bus, as a chip sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    pub(super) word: u64,
    /// 0 where no lane was driven.
    pub(super) value: u64,
    /// Ones where lanes were driven.
    pub(super) mask: u64,
    /// The cycle as a command: its low 8 bits.
    pub(super) code: u8,
}

impl Cycle {
    /// What is to be programmed: nothing where no lane was driven.
    fn data(self) -> u64 {
        self.value | !self.mask
    }
}

/// The state of one chip. The default is that after power on: reads give the array, and no block is locked.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Chip {
    mode: Mode,
    next: Next,
    status: Status,
    /// Locked blocks.
    locked: BTreeSet<u64>,
    /// Those that no command unlocks.
    locked_down: BTreeSet<u64>,
}

impl Chip {
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn status(&self) -> Status {
        self.status
    }

    pub(super) fn locked(&self) -> &BTreeSet<u64> {
        &self.locked
    }

    /// Reads a word.
    pub(super) fn read(&self, array: &Array<'_>, word: u64) -> u64 {
        let within = word % array.geometry.block_words();
        match self.mode {
            Mode::Array => array.load(word),
            Mode::Status => self.status.bits().into(),
            Mode::Identifier => self.identifier(array, word).unwrap_or_default().into(),
            Mode::Query => self
                .identifier(array, word)
                .map_or_else(
                    || usize::try_from(within).ok().and_then(|index| array.query.get(index)).copied(),
                    Some,
                )
                .unwrap_or_default()
                .into(),
        }
    }

    fn identifier(&self, array: &Array<'_>, word: u64) -> Option<u8> {
        match word % array.geometry.block_words() {
            ID_MANUFACTURER => Some(MANUFACTURER),
            ID_DEVICE => Some(DEVICE),
            ID_LOCK => {
                let block = array.geometry.block_of(word);
                let locked = if self.is_locked(array, block) { LOCK_LOCKED } else { 0 };
                let down = array.read_only || self.locked_down.contains(&block);
                Some(locked | if down { LOCK_DOWN } else { 0 })
            }
            _ => None,
        }
    }

    fn is_locked(&self, array: &Array<'_>, block: u64) -> bool {
        array.read_only || self.locked.contains(&block)
    }

    /// Takes a write cycle.
    pub(super) fn write(&mut self, array: &Array<'_>, cycle: Cycle) -> Result<(), UnknownCommand> {
        let block = array.geometry.block_of(cycle.word);
        match std::mem::take(&mut self.next) {
            Next::Command => return self.command(block, cycle.code),
            Next::Word if self.is_locked(array, block) => {
                self.status |= Status::PROGRAM_ERROR | Status::LOCKED;
            }
            Next::Word => array.program(cycle.word, cycle.data()),
            Next::Protection => self.status |= Status::PROGRAM_ERROR | Status::LOCKED,
            Next::Count { block: first } => self.count(array, first, cycle),
            Next::Data(buffer) => self.data(array, buffer, cycle),
            Next::Confirm(buffer) => self.confirm(array, &buffer, cycle),
            Next::EraseConfirm if cycle.code != command::CONFIRM => self.wrong_sequence(),
            Next::EraseConfirm if self.is_locked(array, block) => {
                self.status |= Status::ERASE_ERROR | Status::LOCKED;
            }
            Next::EraseConfirm => array.erase(block),
            Next::Lock => self.lock(block, cycle.code),
        }
        Ok(())
    }

    fn wrong_sequence(&mut self) {
        self.status |= Status::SEQUENCE_ERROR;
    }

    /// The first cycle of a command. Those of more cycles show the status meanwhile and after.
    fn command(&mut self, block: u64, code: u8) -> Result<(), UnknownCommand> {
        let (mode, next) = match code {
            command::READ_ARRAY => (Mode::Array, Next::Command),
            // nothing is ever going on that could be suspended
            command::READ_STATUS | command::SUSPEND => (Mode::Status, Next::Command),
            command::READ_IDENTIFIER => (Mode::Identifier, Next::Command),
            command::READ_QUERY => (Mode::Query, Next::Command),
            command::CLEAR_STATUS => {
                self.status = Status::READY;
                (self.mode, Next::Command)
            }
            // nor resumed
            command::CONFIRM => (self.mode, Next::Command),
            command::PROGRAM_WORD | command::PROGRAM_WORD_ALTERNATE => (Mode::Status, Next::Word),
            command::PROGRAM_PROTECTION => (Mode::Status, Next::Protection),
            command::BUFFERED_PROGRAM => (Mode::Status, Next::Count { block }),
            command::ERASE_BLOCK => (Mode::Status, Next::EraseConfirm),
            command::LOCK_SETUP => (Mode::Status, Next::Lock),
            _ => return Err(UnknownCommand(code)),
        };
        (self.mode, self.next) = (mode, next);
        Ok(())
    }

    fn count(&mut self, array: &Array<'_>, block: u64, cycle: Cycle) {
        let most = (1 << BUFFER_LOG2) / array.geometry.chip_width().len();
        let count = usize::from(cycle.code) + 1;
        if array.geometry.block_of(cycle.word) != block || count > most {
            return self.wrong_sequence();
        }
        let words = vec![array.geometry.chip_width().mask(); count];
        self.next = Next::Data(Buffer { block, start: None, words, filled: 0 });
    }

    fn data(&mut self, array: &Array<'_>, mut buffer: Buffer, cycle: Cycle) {
        if !buffer.take(array.geometry, cycle.word, cycle.data()) {
            return self.wrong_sequence();
        }
        let full = buffer.filled >= buffer.words.len();
        self.next = if full { Next::Confirm(buffer) } else { Next::Data(buffer) };
    }

    fn confirm(&mut self, array: &Array<'_>, buffer: &Buffer, cycle: Cycle) {
        let geometry = array.geometry;
        if cycle.code != command::CONFIRM || geometry.block_of(cycle.word) != buffer.block {
            return self.wrong_sequence();
        }
        if self.is_locked(array, buffer.block) {
            self.status |= Status::PROGRAM_ERROR | Status::LOCKED;
            return;
        }
        let start = buffer.start.unwrap_or_default();
        let words = (start..u64::MAX).zip(&buffer.words);
        // a saved state may have any buffer in it
        for (word, value) in words.take_while(|(word, _)| geometry.block_of(*word) == buffer.block) {
            array.program(word, *value);
        }
    }

    fn lock(&mut self, block: u64, code: u8) {
        match code {
            command::LOCK => {
                self.locked.insert(block);
            }
            command::UNLOCK if self.locked_down.contains(&block) => {}
            command::UNLOCK => {
                self.locked.remove(&block);
            }
            command::LOCK_DOWN => {
                self.locked.insert(block);
                self.locked_down.insert(block);
            }
            // how the bus reads bursts, which this one does not
            command::SET_CONFIGURATION => {}
            _ => self.wrong_sequence(),
        }
    }
}
