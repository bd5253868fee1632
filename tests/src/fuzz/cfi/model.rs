//! Chips of Intel's command set side by side, as the datasheet (28F128J3) has them, one byte at a time.

use std::collections::BTreeSet;

/// What reads give.
#[derive(Clone, Copy, PartialEq, Default)]
enum Mode {
    #[default]
    Array,
    Status,
    Identifier,
    Query,
}

/// What the next cycle is.
#[derive(Clone, Default)]
enum Next {
    #[default]
    Command,
    Word,
    Protection,
    Count(u64),
    /// Block, words that are to come, and those that have come with their places.
    Data(u64, usize, Vec<(u64, Vec<u8>)>),
    Confirm(u64, Vec<(u64, Vec<u8>)>),
    Erase,
    Lock,
}

#[derive(Clone, Default)]
struct Chip {
    mode: Mode,
    next: Next,
    /// The status register but for bit 7, which is always set.
    errors: u8,
    locked: BTreeSet<u64>,
    locked_down: BTreeSet<u64>,
}

const SEQUENCE: u8 = 0x30;
const PROGRAM_LOCKED: u8 = 0x12;
const ERASE_LOCKED: u8 = 0x22;

/// The bank.
pub(super) struct Bank {
    cells: Vec<u8>,
    sector: u64,
    width: u64,
    chip_width: u64,
    read_only: bool,
    chips: Vec<Chip>,
}

impl Bank {
    /// Erased cells of `size` bytes in `sector`s, `width` bytes of `chip_width` wide chips at one address.
    pub fn new((size, sector): (u64, u64), (width, chip_width): (u64, u64), read_only: bool) -> Self {
        let chips = vec![Chip::default(); (width / chip_width) as usize];
        Self { cells: vec![0xff; size as usize], sector, width, chip_width, read_only, chips }
    }

    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    pub fn reset(&mut self) {
        self.chips.fill(Chip::default());
    }

    /// `code` in the low lanes of each chip.
    pub fn on_all(&self, code: u8) -> u64 {
        (0..self.chips.len() as u64)
            .fold(0, |all, chip| all | u64::from(code) << (8 * chip * self.chip_width))
    }

    /// One byte of a read; `None` where the query says what this model does not know.
    pub fn read(&self, offset: u64) -> Option<u8> {
        let lane = offset % self.width;
        let chip = &self.chips[(lane / self.chip_width) as usize];
        // only the low byte of a chip's word has what is no cell
        let low = lane.is_multiple_of(self.chip_width);
        let word = offset / self.width % (self.sector / self.width);
        let block = offset / self.sector;
        let identifier = match word {
            0 => Some(0x89),
            1 => Some(0x18),
            2 => {
                let locked = self.read_only || chip.locked.contains(&block);
                let down = self.read_only || chip.locked_down.contains(&block);
                Some(u8::from(locked) | u8::from(down) << 1)
            }
            _ => None,
        };
        match chip.mode {
            Mode::Array => Some(self.cells[offset as usize]),
            _ if !low => Some(0),
            Mode::Status => Some(0x80 | chip.errors),
            Mode::Identifier => Some(identifier.unwrap_or(0)),
            Mode::Query => identifier.or(match word {
                0x10 => Some(b'Q'),
                0x11 => Some(b'R'),
                0x12 => Some(b'Y'),
                _ => None,
            }),
        }
    }

    /// A write of the low `len` bytes of `value`, at most the bank's width.
    pub fn write(&mut self, offset: u64, len: usize, value: u64) {
        let bytes = &value.to_le_bytes()[..len];
        let narrow = (len as u64) < self.width;
        let first = offset / self.width * self.width;
        for index in 0..self.chips.len() {
            // what is on the chip's lanes: nothing, where the access does not reach
            let start = first + index as u64 * self.chip_width;
            let lane = |at: u64| at.checked_sub(offset).and_then(|at| bytes.get(at as usize)).copied();
            let lanes: Vec<Option<u8>> = (start..start + self.chip_width).map(lane).collect();
            let code = if narrow { bytes[0] } else { lanes[0].unwrap_or(0) };
            let data = lanes.into_iter().map(|byte| byte.unwrap_or(0xff)).collect();
            self.cycle(index, start, code, data);
        }
    }

    fn is_locked(&self, index: usize, block: u64) -> bool {
        self.read_only || self.chips[index].locked.contains(&block)
    }

    fn program(&mut self, start: u64, data: &[u8]) {
        for (cell, byte) in self.cells[start as usize..].iter_mut().zip(data) {
            *cell &= byte;
        }
    }

    /// A cycle of one chip, whose cells at that address begin at `start`.
    fn cycle(&mut self, index: usize, start: u64, code: u8, data: Vec<u8>) {
        let block = start / self.sector;
        let locked = self.is_locked(index, block);
        let most = (256 / self.chip_width) as usize;
        let mut error = 0;
        let next = match std::mem::take(&mut self.chips[index].next) {
            Next::Command => self.chips[index].command(block, code),
            Next::Word => {
                if locked {
                    error = PROGRAM_LOCKED
                } else {
                    self.program(start, &data)
                }
                Next::Command
            }
            Next::Protection => {
                error = PROGRAM_LOCKED;
                Next::Command
            }
            Next::Count(first) if block == first && usize::from(code) < most => {
                Next::Data(block, usize::from(code) + 1, Vec::new())
            }
            Next::Data(first, count, mut words) => {
                words.push((start, data));
                if !self.fits(first, count, &words) {
                    error = SEQUENCE;
                    Next::Command
                } else if words.len() == count {
                    Next::Confirm(first, words)
                } else {
                    Next::Data(first, count, words)
                }
            }
            Next::Confirm(first, words) if code == 0xd0 && block == first => {
                if locked {
                    error = PROGRAM_LOCKED;
                } else {
                    words.iter().for_each(|(start, data)| self.program(*start, data));
                }
                Next::Command
            }
            Next::Erase if code == 0xd0 => {
                if locked {
                    error = ERASE_LOCKED
                } else {
                    self.erase(index, block)
                }
                Next::Command
            }
            Next::Lock if [0x01, 0x03, 0x2f, 0xd0].contains(&code) => {
                self.chips[index].lock(block, code);
                Next::Command
            }
            _ => {
                error = SEQUENCE;
                Next::Command
            }
        };
        let chip = &mut self.chips[index];
        chip.next = next;
        chip.errors |= error;
    }

    /// Whether all words are in the block and in the buffer, which begins at the first one.
    fn fits(&self, block: u64, count: usize, words: &[(u64, Vec<u8>)]) -> bool {
        let Some((first, _)) = words.first() else { return true };
        let last = first + (count as u64 - 1) * self.width;
        words.iter().all(|(start, _)| (*first..=last).contains(start))
            && first / self.sector == block
            && last / self.sector == block
    }

    fn erase(&mut self, index: usize, block: u64) {
        let first = (block * self.sector + index as u64 * self.chip_width) as usize;
        let words = (self.sector / self.width) as usize;
        for start in (first..).step_by(self.width as usize).take(words) {
            self.cells[start..start + self.chip_width as usize].fill(0xff);
        }
    }
}

impl Chip {
    fn command(&mut self, block: u64, code: u8) -> Next {
        let (mode, next) = match code {
            0xff => (Mode::Array, Next::Command),
            0x70 | 0xb0 => (Mode::Status, Next::Command),
            0x90 => (Mode::Identifier, Next::Command),
            0x98 => (Mode::Query, Next::Command),
            0x40 | 0x10 => (Mode::Status, Next::Word),
            0xc0 => (Mode::Status, Next::Protection),
            0xe8 => (Mode::Status, Next::Count(block)),
            0x20 => (Mode::Status, Next::Erase),
            0x60 => (Mode::Status, Next::Lock),
            0x50 => {
                self.errors = 0;
                (self.mode, Next::Command)
            }
            _ => (self.mode, Next::Command),
        };
        self.mode = mode;
        next
    }

    fn lock(&mut self, block: u64, code: u8) {
        match code {
            0xd0 if !self.locked_down.contains(&block) => drop(self.locked.remove(&block)),
            0x01 => drop(self.locked.insert(block)),
            0x2f => {
                self.locked.insert(block);
                self.locked_down.insert(block);
            }
            _ => {}
        }
    }
}
