//! Registers of the 8254 (Intel), and of the port by which a PC uses its third counter.

/// Ports of the chip: a counter each, and the control words.
pub(crate) const PORTS: u64 = 4;
pub(crate) const CONTROL: u64 = 3;
pub(crate) const COUNTERS: usize = 3;
/// The counter of the speaker.
pub(crate) const SPEAKER: usize = 2;

/// Hz of the clock of all counters: a third of the NTSC colour subcarrier.
pub(crate) const HERTZ: i128 = 1_193_182;

/// Upper two bits of a control word: the counter, or the read-back command.
pub(crate) const READ_BACK: u8 = 3;
/// Read-back: 0 latches the count, the status, of the counters in bits 1 to 3.
pub(crate) const READ_BACK_NO_COUNT: u8 = 0x20;
pub(crate) const READ_BACK_NO_STATUS: u8 = 0x10;
/// Bits of a status beside those of the control word.
pub(crate) const STATUS_OUT: u8 = 0x80;
pub(crate) const STATUS_NULL_COUNT: u8 = 0x40;

/// Port 0x61.
pub(crate) const SPEAKER_GATE: u8 = 0x01;
pub(crate) const SPEAKER_DATA: u8 = 0x02;
pub(crate) const REFRESH: u8 = 0x10;
pub(crate) const SPEAKER_OUT: u8 = 0x20;
