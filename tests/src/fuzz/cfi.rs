//! Streams of commands to a bank of CFI flash, against a literal model of the chips.

mod model;

use crate::board::{Board, Slot, load, save};
use arbitrary::{Arbitrary, Unstructured};
use devices::ResetType;
use memory_core::{TxAttrs, Width};
use model::Bank;
use serde_json::json;

/// Steps of one run, at most.
const STEPS: usize = 80;
/// Restores of one run, at most: each makes a board.
const RESTORES: usize = 3;
/// Bytes of the bank, and of what is erased together.
const SIZE: u64 = 0x2000;
const SECTOR: u64 = 0x800;
/// Bytes of the bank and of a chip at one address.
const WIDTHS: [(u64, u64); 8] = [(4, 2), (1, 1), (2, 2), (2, 1), (4, 4), (4, 1), (8, 4), (8, 1)];
/// What the chips know, and something that they do not.
const COMMANDS: [u8; 20] = [
    0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xb0, 0xc0, 0xd0, 0xe8, 0xff, 0x01, 0x2f, 0x03, 0xd0,
    0xd0, 0x40, 0x00,
];

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Step {
    /// A command to all chips.
    Command {
        command: u8,
        at: u16,
    },
    /// A whole operation: program, erase.
    Program {
        at: u16,
        value: u64,
    },
    Erase {
        at: u16,
    },
    /// A buffered program of that many words, the last ones perhaps elsewhere.
    Buffered {
        at: u16,
        count: u8,
        value: u64,
        stray: Option<u16>,
        confirm: u8,
    },
    Lock {
        at: u16,
        how: u8,
    },
    Write {
        at: u16,
        width: u8,
        value: u64,
    },
    Read {
        at: u16,
        width: u8,
    },
    Reset,
    Restore,
}

struct Flash {
    board: Board,
    slot: Slot,
    bank: Bank,
    width: Width,
}

/// Runs the steps that the bytes say, on a bank whose widths they say.
pub(super) fn body(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(widths) = bytes.arbitrary::<u8>() else { return };
    let (bank, chip) = WIDTHS[usize::from(widths) % WIDTHS.len()];
    let read_only = widths & 0x80 != 0;
    let properties = json!({
        "type": "cfi-flash", "size": SIZE, "sector-size": SECTOR, "bank-width": bank, "device-width": chip,
        "read-only": read_only,
    });
    let board = Board::new();
    let slot = board.plug(0, load(properties).unwrap());
    let width = Width::new(bank).unwrap();
    let bank = Bank::new((SIZE, SECTOR), (bank, chip), read_only);
    let mut flash = Flash { board, slot, bank, width };
    let mut restores = 0;
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        match bytes.arbitrary::<Step>() {
            Ok(Step::Restore) if restores == RESTORES => {}
            Ok(Step::Restore) => {
                restores += 1;
                flash.restore();
            }
            Ok(step) => flash.step(step),
            Err(_) => break,
        }
    }
    flash.compare_content();
}

impl Flash {
    fn step(&mut self, step: Step) {
        let width = self.width.bytes();
        let place = |at: u16| u64::from(at) % (SIZE / width) * width;
        match step {
            Step::Command { command, at } => {
                self.command(place(at), COMMANDS[usize::from(command) % COMMANDS.len()]);
            }
            Step::Program { at, value } => {
                let at = place(at);
                self.command(at, 0x40);
                self.write(at, self.width, value);
            }
            Step::Erase { at } => {
                let at = place(at);
                self.command(at, 0x20);
                self.command(at, 0xd0);
            }
            Step::Buffered { at, count, value, stray, confirm } => {
                let at = place(at);
                let stray = stray.map(place);
                // long ones are slow, and seldom tell more
                let count = if count < 0xf0 { count & 0xf } else { count };
                self.command(at, 0xe8);
                self.command(at, count);
                for word in 0..=u64::from(count) {
                    let last = word == u64::from(count);
                    let to = stray.filter(|_| last).unwrap_or((at + word * width) % SIZE);
                    self.write(to, self.width, value.rotate_left(word as u32));
                }
                self.command(at, if confirm == 0 { 0xff } else { 0xd0 });
            }
            Step::Lock { at, how } => {
                let at = place(at);
                self.command(at, 0x60);
                self.command(at, [0x01, 0xd0, 0x2f, 0x55][usize::from(how & 3)]);
            }
            Step::Write { at, width, value } => {
                let width = self.narrow(width);
                self.write((u64::from(at) % SIZE) & !(width.bytes() - 1), width, value);
            }
            Step::Read { at, width } => {
                let width = self.narrow(width);
                self.read((u64::from(at) % SIZE) & !(width.bytes() - 1), width);
            }
            Step::Reset => {
                self.slot.device().reset(ResetType::Cold);
                self.bank.reset();
            }
            Step::Restore => {}
        }
        self.read(place(0x10), self.width);
    }

    /// A width up to the bank's.
    fn narrow(&self, number: u8) -> Width {
        Width::ALL[usize::from(number & 3)].min(self.width)
    }

    fn command(&mut self, at: u64, code: u8) {
        self.write(at, self.width, self.bank.on_all(code));
    }

    fn write(&mut self, at: u64, width: Width, value: u64) {
        let value = value & width.mask();
        let address = self.slot.region("flash") + at;
        self.board.space.store(address, width, value, TxAttrs::default()).unwrap();
        self.bank.write(at, width.len(), value);
    }

    fn read(&self, at: u64, width: Width) {
        let address = self.slot.region("flash") + at;
        let found = self.board.space.load(address, width, TxAttrs::default()).unwrap();
        let mut bytes = found.to_le_bytes();
        for (index, byte) in bytes.iter_mut().enumerate().take(width.len()) {
            match self.bank.read(at + index as u64) {
                Some(expected) => assert_eq!(*byte, expected, "at {at:#x} + {index}, {width:?}"),
                // what the query says elsewhere is the unit tests' business
                None => *byte = 0,
            }
        }
    }

    /// Goes on with the flash as it was saved, on another machine.
    fn restore(&mut self) {
        let saved = save(&*self.slot.device());
        self.board = Board::new();
        self.slot = self.board.plug(0, load(saved.clone()).unwrap());
        assert_eq!(save(&*self.slot.device()), saved);
    }

    /// The cells, whatever the chips' modes.
    fn compare_content(&mut self) {
        self.slot.device().reset(ResetType::Cold);
        let mut bytes = vec![0; SIZE as usize];
        self.board.space.read(self.slot.region("flash"), &mut bytes, TxAttrs::default()).unwrap();
        assert!(bytes == self.bank.cells(), "the content");
    }
}
