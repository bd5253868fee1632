//! One 8259A.

use super::registers::*;
use serde::{Deserialize, Serialize};

/// Which initialisation word the mask port takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expects {
    /// None: it is the mask.
    #[default]
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One chip of the pair. Inputs and interrupts are numbered from 0 to 7; lists of them are bits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Chip {
    /// Levels of the inputs.
    lines: u8,
    /// Interrupt request, in service, mask registers.
    irr: u8,
    isr: u8,
    imr: u8,
    /// ELCR: inputs that are level triggered though ICW1 does not say so.
    elcr: u8,
    /// Vector of input 0.
    base: u8,
    /// The input with the highest priority.
    first: u8,
    expects: Expects,
    needs_icw4: bool,
    single: bool,
    all_level: bool,
    auto_eoi: bool,
    rotates_in_auto_eoi: bool,
    special_mask: bool,
    special_fully_nested: bool,
    reads_in_service: bool,
    poll: bool,
}

impl Chip {
    fn levels(&self) -> u8 {
        if self.all_level { 0xff } else { self.elcr }
    }

    /// An input has a level. An edge is kept until it is acknowledged, even if the input goes low before.
    pub(crate) fn set_line(&mut self, input: u8, level: bool) {
        let bit = bit(input);
        let rises = level && self.lines & bit == 0;
        let level_triggered = self.levels() & bit != 0;
        if rises || (level && level_triggered) {
            self.irr |= bit;
        } else if !level && level_triggered {
            self.irr &= !bit;
        }
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
    }

    /// How far after the first in the order of priorities the first of `interrupts` comes; 8 if there is none.
    fn priority(&self, interrupts: u8) -> u32 {
        interrupts.rotate_right((self.first & 7).into()).trailing_zeros()
    }

    fn at_priority(&self, priority: u32) -> u8 {
        (self.first.wrapping_add(priority as u8)) & 7
    }

    /// The interrupt that the chip asks for.
    pub(crate) fn request(&self, has_cascade: bool) -> Option<u8> {
        let priority = self.priority(self.irr & !self.imr);
        let mut in_service = self.isr;
        if self.special_mask {
            in_service &= !self.imr;
        }
        if self.special_fully_nested && has_cascade {
            // the second chip decides by itself what may interrupt what comes from it
            in_service &= !bit(CASCADE);
        }
        (priority < self.priority(in_service)).then(|| self.at_priority(priority))
    }

    /// The interrupt is in service, or done with at once.
    pub(crate) fn acknowledge(&mut self, interrupt: u8) {
        let bit = bit(interrupt);
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotates_in_auto_eoi {
            self.make_last(interrupt);
        }
        // a level asks as long as it is there
        if self.levels() & bit == 0 {
            self.irr &= !bit;
        }
    }

    pub(crate) fn vector(&self, interrupt: u8) -> u8 {
        (self.base & ICW2_BASE) | (interrupt & 7)
    }

    fn make_last(&mut self, interrupt: u8) {
        self.first = interrupt.wrapping_add(1) & 7;
    }

    /// The interrupt that an EOI without a number ends: the one in service with the highest priority. The special mask mode
    /// spares those that are masked.
    fn end(&mut self) -> Option<u8> {
        let in_service = if self.special_mask { self.isr & !self.imr } else { self.isr };
        let priority = self.priority(in_service);
        let interrupt = (priority < 8).then(|| self.at_priority(priority))?;
        self.isr &= !bit(interrupt);
        Some(interrupt)
    }

    /// Reads a port. A poll acknowledges.
    pub(crate) fn read(&mut self, port: u64, has_cascade: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            let Some(interrupt) = self.request(has_cascade) else { return 0 };
            self.acknowledge(interrupt);
            return POLL_INTERRUPT | interrupt;
        }
        match port {
            COMMAND if self.reads_in_service => self.isr,
            COMMAND => self.irr,
            _ => self.imr,
        }
    }

    pub(crate) fn write(&mut self, port: u64, value: u8) {
        if port != COMMAND {
            self.write_data(value);
        } else if value & ICW1 != 0 {
            self.initialise(value);
        } else if value & OCW3 != 0 {
            self.operate(value);
        } else {
            self.end_or_rotate(value);
        }
    }

    /// ICW1. What asks by its level goes on asking.
    fn initialise(&mut self, icw1: u8) {
        *self = Self {
            lines: self.lines,
            elcr: self.elcr,
            expects: Expects::Icw2,
            needs_icw4: icw1 & ICW1_NEEDS_ICW4 != 0,
            single: icw1 & ICW1_SINGLE != 0,
            all_level: icw1 & ICW1_LEVEL != 0,
            ..Self::default()
        };
        self.irr = self.lines & self.levels();
    }

    /// The other initialisation words, and OCW1.
    fn write_data(&mut self, value: u8) {
        let last = if self.needs_icw4 { Expects::Icw4 } else { Expects::Mask };
        self.expects = match self.expects {
            Expects::Mask => {
                self.imr = value;
                Expects::Mask
            }
            Expects::Icw2 => {
                self.base = value & ICW2_BASE;
                if self.single { last } else { Expects::Icw3 }
            }
            // the board says which chip is connected where
            Expects::Icw3 => last,
            Expects::Icw4 => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                Expects::Mask
            }
        };
    }

    /// OCW3.
    fn operate(&mut self, ocw3: u8) {
        self.poll |= ocw3 & OCW3_POLL != 0;
        if ocw3 & OCW3_READ != 0 {
            self.reads_in_service = ocw3 & OCW3_READ_IN_SERVICE != 0;
        }
        if ocw3 & OCW3_MASK_MODE != 0 {
            self.special_mask = ocw3 & OCW3_SPECIAL_MASK != 0;
        }
    }

    /// OCW2.
    fn end_or_rotate(&mut self, ocw2: u8) {
        let named = ocw2 & 7;
        match ocw2 >> 5 {
            EOI => _ = self.end(),
            ROTATE_ON_EOI => {
                if let Some(ended) = self.end() {
                    self.make_last(ended);
                }
            }
            SPECIFIC_EOI => self.isr &= !bit(named),
            ROTATE_ON_SPECIFIC_EOI => {
                self.isr &= !bit(named);
                self.make_last(named);
            }
            SET_PRIORITY => self.make_last(named),
            ROTATE_IN_AUTO_EOI_SET => self.rotates_in_auto_eoi = true,
            ROTATE_IN_AUTO_EOI_CLEAR => self.rotates_in_auto_eoi = false,
            // 2 is no operation
            _ => {}
        }
    }

    pub(crate) fn elcr(&self) -> u8 {
        self.elcr
    }

    /// Chooses the inputs that are level triggered; those that are high ask from now on.
    pub(crate) fn set_elcr(&mut self, value: u8) {
        self.elcr = value;
        self.irr |= self.lines & self.levels();
    }

    /// As after power on. The inputs have the levels that they have.
    pub(crate) fn reset(&mut self) {
        *self = Self { lines: self.lines, ..Self::default() };
    }

    /// Request, in service and mask registers, for people.
    pub(crate) fn registers(&self) -> [u8; 3] {
        [self.irr, self.isr, self.imr]
    }
}

fn bit(number: u8) -> u8 {
    1 << (number & 7)
}
