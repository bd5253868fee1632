//! Message signalled interrupts with a table (PCI Local Bus 3.0, section 6.8.2).

use super::bar::Bar;
use super::config::ConfigSpace;
use super::msi::Message;
use super::registers::CAP_MSIX;
use crate::DeviceError;
use memory_core::Width;

/// Bytes of an entry of the table.
const ENTRY: usize = 16;
/// The most vectors that the table can have.
const MOST: u16 = 2048;
/// Bits of the control word: messages instead of the pin, and all of them masked.
const ENABLE: u16 = 0x8000;
const MASK_ALL: u16 = 0x4000;
/// Bit 0 of an entry's last four bytes: the vector is masked.
const MASKED: u32 = 1;

/// A capability for message signalled interrupts with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsixSetup {
    /// Where it is in configuration space.
    pub offset: u8,
    /// How many vectors the table has: 1 to 2048.
    pub vectors: u16,
    /// The base address register that the table is in, and where, a multiple of 8.
    pub table: (u8, u32),
    /// The base address register that the pending bits are in, and where, a multiple of 8.
    pub pending: (u8, u32),
}

impl MsixSetup {
    /// A table that has a base address register to itself: at its start, the pending bits in the second half. Returns
    /// the size of the region, too.
    pub fn exclusive(offset: u8, vectors: u16, bar: u8) -> (Self, u64) {
        let table = u32::from(vectors) * ENTRY as u32;
        let pending = table.max(0x800);
        let bytes = pending + u32::from(vectors).div_ceil(64) * 8;
        let setup = Self { offset, vectors, table: (bar, 0), pending: (bar, pending) };
        (setup, u64::from(bytes.max(0x1000).next_power_of_two()))
    }

    /// Bytes of the table.
    pub(super) fn table_size(self) -> usize {
        usize::from(self.vectors) * ENTRY
    }

    /// Bytes of the pending bits.
    pub(super) fn pending_size(self) -> usize {
        usize::from(self.vectors).div_ceil(64) * 8
    }

    pub(super) fn check(self, bars: &[Bar]) -> Result<(), DeviceError> {
        let refuse = |reason: String| DeviceError::Property { property: "vectors", reason };
        if !(1..=MOST).contains(&self.vectors) {
            return Err(refuse(format!("{} vectors, there can be 1 to {MOST}", self.vectors)));
        }
        let parts =
            [("table", self.table, self.table_size()), ("pending bits", self.pending, self.pending_size())];
        for (what, (index, offset), size) in parts {
            let bar = bars.iter().find(|bar| bar.index == index);
            let fits = bar.is_some_and(|bar| u64::from(offset) + size as u64 <= bar.size);
            if !fits || offset % 8 != 0 {
                return Err(refuse(format!(
                    "{what} of {size:#x} bytes at {offset:#x} of base address register {index}"
                )));
            }
        }
        let [(_, (bar, at), size), (_, (other, start), len)] = parts;
        let (at, start) = (u64::from(at), u64::from(start));
        if bar == other && at < start + len as u64 && start < at + size as u64 {
            return Err(refuse("table and pending bits overlap".to_owned()));
        }
        Ok(())
    }

    fn control(self) -> usize {
        usize::from(self.offset) + 2
    }

    /// Registers after power on.
    pub(super) fn install(self, config: &mut ConfigSpace) {
        let place = |(bar, offset): (u8, u32)| (offset & !7 | u32::from(bar)).to_le_bytes();
        let mut body = (self.vectors.wrapping_sub(1)).to_le_bytes().to_vec();
        body.extend(place(self.table));
        body.extend(place(self.pending));
        config.add_capability(self.offset, CAP_MSIX, &body);
        config.set_writable(self.control(), &(ENABLE | MASK_ALL).to_le_bytes());
        config.set_fixed(self.control(), &[0xff, 0x07]);
        config.set_fixed(self.control() + 2, &[0xff; 8]);
    }

    /// Whether the guest wants messages.
    pub(super) fn is_enabled(self, config: &ConfigSpace) -> bool {
        config.word(self.control()) & ENABLE != 0
    }

    /// Whether a write of `len` bytes at `offset` reaches the byte that enables and masks.
    pub(super) fn is_control(self, offset: usize, len: usize) -> bool {
        (offset..offset + len).contains(&(self.control() + 1))
    }

    fn masks_all(self, config: &ConfigSpace) -> bool {
        config.word(self.control()) & (ENABLE | MASK_ALL) != ENABLE
    }
}

/// The table, and which vectors wait.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct MsixTable {
    pub(super) entries: Vec<u8>,
    pub(super) pending: Vec<u8>,
}

impl MsixTable {
    /// As after power on: all vectors masked.
    pub(super) fn new(setup: MsixSetup) -> Self {
        let masked = |at: usize| u8::from(at % ENTRY == 12);
        let entries = (0..setup.table_size()).map(masked).collect();
        Self { entries, pending: vec![0; setup.pending_size()] }
    }

    fn long(&self, at: usize) -> u32 {
        let byte = |at| self.entries.get(at).copied().map_or(0, u32::from);
        (0..4).map(|byte_at| byte(at + byte_at) << (8 * byte_at)).sum()
    }

    pub(super) fn read(&self, offset: u64, width: Width) -> u64 {
        read(&self.entries, offset, width)
    }

    pub(super) fn read_pending(&self, offset: u64, width: Width) -> u64 {
        read(&self.pending, offset, width)
    }

    /// A guest's write; the vector that it is about.
    pub(super) fn write(&mut self, offset: u64, width: Width, value: u64) -> usize {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = value.to_le_bytes();
        self.entries
            .iter_mut()
            .skip(at)
            .zip(bytes.iter().take(width.len()))
            .for_each(|(to, from)| *to = *from);
        at / ENTRY
    }

    fn is_masked(&self, vector: usize) -> bool {
        self.long(vector * ENTRY + 12) & MASKED != 0
    }

    fn set_pending(&mut self, vector: usize, value: bool) {
        if let Some(byte) = self.pending.get_mut(vector / 8) {
            let bit = 1 << (vector % 8);
            *byte = if value { *byte | bit } else { *byte & !bit };
        }
    }

    fn is_pending(&self, vector: usize) -> bool {
        self.pending.get(vector / 8).is_some_and(|byte| byte & 1 << (vector % 8) != 0)
    }

    fn message(&self, vector: usize) -> Message {
        let at = vector * ENTRY;
        let address = u64::from(self.long(at)) | u64::from(self.long(at + 4)) << 32;
        Message { address, data: self.long(at + 8) }
    }

    /// Makes the message of a vector, or notes that it waits.
    pub(super) fn raise(&mut self, setup: MsixSetup, config: &ConfigSpace, vector: u16) -> Option<Message> {
        if !setup.is_enabled(config) || vector >= setup.vectors {
            return None;
        }
        let vector = usize::from(vector);
        if setup.masks_all(config) || self.is_masked(vector) {
            self.set_pending(vector, true);
            return None;
        }
        Some(self.message(vector))
    }

    /// What of `vectors` waited and is masked no more.
    pub(super) fn ready(
        &mut self,
        setup: MsixSetup,
        config: &ConfigSpace,
        vectors: impl IntoIterator<Item = usize>,
    ) -> Vec<Message> {
        if setup.masks_all(config) {
            return Vec::new();
        }
        let mut messages = Vec::new();
        for vector in vectors {
            if self.is_pending(vector) && !self.is_masked(vector) {
                self.set_pending(vector, false);
                messages.push(self.message(vector));
            }
        }
        messages
    }
}

fn read(bytes: &[u8], offset: u64, width: Width) -> u64 {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = bytes.iter().skip(at).take(width.len());
    bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
