//! Message signalled interrupts (PCI Local Bus 3.0, section 6.8.1).

use super::config::ConfigSpace;
use super::registers::CAP_MSI;

/// A write of 4 bytes that stands for an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where it goes, in the memory that the function masters.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// A capability for message signalled interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsiSetup {
    /// Where it is in configuration space.
    pub offset: u8,
    /// How many messages the function has: a power of two, at most 32.
    pub vectors: u8,
    /// Whether addresses have 64 bits.
    pub wide: bool,
    /// Whether each message can be masked.
    pub maskable: bool,
}

/// Bit 0 of the control word: messages instead of the pin.
const ENABLE: u16 = 1;
/// How many messages the guest allows, as a power of two.
const ALLOWED: u16 = 0x70;

impl MsiSetup {
    fn at(self, offset: usize) -> usize {
        usize::from(self.offset) + offset
    }

    fn data(self) -> usize {
        self.at(if self.wide { 0xc } else { 8 })
    }

    fn mask(self) -> usize {
        self.data() + 4
    }

    fn pending(self) -> usize {
        self.data() + 8
    }

    fn size(self) -> usize {
        self.data() - self.at(0) + if self.maskable { 12 } else { 2 }
    }

    /// Registers after power on.
    pub(super) fn install(self, config: &mut ConfigSpace) {
        let log = self.vectors.checked_ilog2().unwrap_or(0).min(5) as u16;
        let control = log << 1 | u16::from(self.wide) << 7 | u16::from(self.maskable) << 8;
        let mut body = control.to_le_bytes().to_vec();
        body.resize(self.size() - 2, 0);
        config.add_capability(self.offset, CAP_MSI, &body);
        config.set_fixed(self.at(2), &(!(ALLOWED | ENABLE)).to_le_bytes());
        config.set_writable(self.at(2), &(ALLOWED | ENABLE).to_le_bytes());
        config.set_writable(self.at(4), &0xffff_fffcu32.to_le_bytes());
        if self.wide {
            config.set_writable(self.at(8), &[0xff; 4]);
        }
        config.set_writable(self.data(), &[0xff; 2]);
        if self.maskable {
            config.set_writable(self.mask(), &bits(1 << log).to_le_bytes());
        }
    }

    /// As after power on.
    pub(super) fn reset(self, config: &mut ConfigSpace) {
        config.change_word(self.at(2), ALLOWED | ENABLE, false);
        let zeros = vec![0; self.size() - 4];
        config.set(self.at(4), &zeros);
    }

    /// Whether the guest wants messages.
    pub(super) fn is_enabled(self, config: &ConfigSpace) -> bool {
        config.word(self.at(2)) & ENABLE != 0
    }

    /// How many messages the guest allows.
    fn allowed(self, config: &ConfigSpace) -> u32 {
        let control = config.word(self.at(2));
        1 << ((control & ALLOWED) >> 4).min(control >> 1 & 7).min(5)
    }

    /// Makes the message of a vector, or notes that it waits.
    pub(super) fn raise(self, config: &mut ConfigSpace, vector: u32) -> Option<Message> {
        if !self.is_enabled(config) || vector >= 32 {
            return None;
        }
        if self.maskable && config.long(self.mask()) & 1 << vector != 0 {
            let pending = config.long(self.pending()) | 1 << vector;
            config.set_long(self.pending(), pending);
            return None;
        }
        Some(self.message(config, vector))
    }

    fn message(self, config: &ConfigSpace, vector: u32) -> Message {
        let address = if self.wide { config.quad(self.at(4)) } else { config.long(self.at(4)).into() };
        let below = self.allowed(config) - 1;
        let data = u32::from(config.word(self.data()));
        Message { address, data: data & !below | vector & below }
    }

    /// After a write to configuration space: what waited and is masked no more.
    pub(super) fn written(self, config: &mut ConfigSpace) -> Vec<Message> {
        if !self.maskable || !self.is_enabled(config) {
            return Vec::new();
        }
        // what is not allowed any more is forgotten
        let pending = config.long(self.pending()) & bits(self.allowed(config));
        let ready = pending & !config.long(self.mask());
        config.set_long(self.pending(), pending & !ready);
        (0..32).filter(|vector| ready & 1 << vector != 0).map(|vector| self.message(config, vector)).collect()
    }

    /// Whether a write of `len` bytes at `offset` is about the capability.
    pub(super) fn overlaps(self, offset: usize, len: usize) -> bool {
        offset < self.at(self.size()) && self.at(0) < offset + len
    }
}

/// The lowest `count` bits.
fn bits(count: u32) -> u32 {
    u32::MAX >> (32 - count.clamp(1, 32))
}
