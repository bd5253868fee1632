//! What the I/O APIC remembers.

use super::registers::*;
use crate::pci::Message;
use serde::{Deserialize, Serialize};

/// The registers, and the messages that are on their way. Lists of pins are bits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct State {
    select: u8,
    id: u8,
    /// Levels of the pins.
    lines: u32,
    /// Pins that ask.
    requests: u32,
    table: [u64; PINS],
    /// Pins whose message was not sent yet, with the entry that it was made of.
    unsent: Vec<(u8, u64)>,
}

impl Default for State {
    fn default() -> Self {
        Self { select: 0, id: 0, lines: 0, requests: 0, table: [MASKED; PINS], unsent: Vec::new() }
    }
}

impl State {
    /// Puts right what a file may have wrong.
    pub(crate) fn check(&mut self) {
        self.unsent.truncate(PINS);
    }

    /// As after power on. The pins have the levels that they have.
    pub(crate) fn reset(&mut self) {
        *self = Self { lines: self.lines, ..Self::default() };
    }

    /// A pin has a level. An edge on a masked pin is lost.
    pub(crate) fn set_pin(&mut self, pin: usize, level: bool) {
        let Some(entry) = self.table.get(pin).copied() else { return };
        let bit = bit(pin);
        let rises = level && self.lines & bit == 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        if entry & LEVEL != 0 {
            self.follow_level(pin);
        } else if rises && entry & MASKED == 0 {
            self.requests |= bit;
        }
        self.service();
    }

    /// A pin that is level triggered asks as long as it is there.
    fn follow_level(&mut self, pin: usize) {
        self.requests = (self.requests & !bit(pin)) | (self.lines & bit(pin));
    }

    /// Makes messages for all pins that ask and may.
    fn service(&mut self) {
        for (pin, entry) in self.table.iter_mut().enumerate() {
            if self.requests & bit(pin) == 0 || *entry & MASKED != 0 {
                continue;
            }
            if *entry & LEVEL == 0 {
                self.requests &= !bit(pin);
            } else if *entry & REMOTE_IRR != 0 {
                continue;
            } else {
                *entry |= REMOTE_IRR;
            }
            // one that waits already would be the same interrupt
            let number = u8::try_from(pin).unwrap_or_default();
            self.unsent.retain(|(waiting, _)| *waiting != number);
            self.unsent.push((number, *entry));
        }
    }

    /// The messages that are to be sent now.
    pub(crate) fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.unsent).into_iter().map(|(_, entry)| message(entry)).collect()
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// An interrupt was ended by its processor: a level that is still there is sent again.
    pub(crate) fn end(&mut self, vector: u8) {
        for entry in &mut self.table {
            if *entry & VECTOR == u64::from(vector) && *entry & LEVEL != 0 {
                *entry &= !REMOTE_IRR;
            }
        }
        self.service();
    }

    pub(crate) fn select(&mut self, register: u8) {
        self.select = register;
    }

    pub(crate) fn selected(&self) -> u8 {
        self.select
    }

    /// The pin of the selected register, and whether it is the upper half.
    fn entry(&self) -> Option<(usize, bool)> {
        let offset = self.select.checked_sub(IOREDTBL)?;
        Some((usize::from(offset / 2), offset % 2 != 0))
    }

    /// Reads the selected register.
    pub(crate) fn read(&self, version: u8) -> u32 {
        match self.select {
            IOAPICID | IOAPICARB => u32::from(self.id) << 24,
            // the number of the last pin
            IOAPICVER => u32::from(version) | (23 << 16),
            _ => {
                let half = |(pin, upper): (usize, bool)| {
                    self.table.get(pin).map(|entry| if upper { entry >> 32 } else { *entry })
                };
                (self.entry().and_then(half).unwrap_or_default() & 0xffff_ffff) as u32
            }
        }
    }

    /// Writes the selected register.
    pub(crate) fn write(&mut self, value: u32) {
        if self.select == IOAPICID {
            let [.., id] = value.to_le_bytes();
            self.id = id & 0xf;
        }
        let Some((pin, upper)) = self.entry() else { return };
        let Some(entry) = self.table.get_mut(pin) else { return };
        let value = u64::from(value);
        if upper {
            *entry = (*entry & 0xffff_ffff) | (value << 32);
        } else {
            let kept = *entry & (READ_ONLY | !0xffff_ffff);
            *entry = kept | (value & !READ_ONLY);
            if *entry & LEVEL == 0 {
                *entry &= !REMOTE_IRR;
            } else {
                self.follow_level(pin);
            }
        }
        self.service();
    }

    /// The entries of the table and the pins that ask, for people.
    pub(crate) fn table(&self) -> impl Iterator<Item = (usize, u64, bool)> {
        self.table.iter().enumerate().map(|(pin, entry)| (pin, *entry, self.requests & bit(pin) != 0))
    }
}

fn bit(pin: usize) -> u32 {
    1 << (pin & 31)
}

/// The write to local APICs that an entry stands for.
fn message(entry: u64) -> Message {
    let logical = if entry & DESTINATION_MODE != 0 { MESSAGE_LOGICAL } else { 0 };
    let address = MESSAGES | ((entry >> DESTINATION_SHIFT) << MESSAGE_DESTINATION_SHIFT) | logical;
    let level = if entry & LEVEL != 0 { LEVEL | MESSAGE_ASSERT } else { 0 };
    let data = (entry & (VECTOR | DELIVERY_MODE)) | level;
    Message { address, data: (data & 0xffff) as u32 }
}
