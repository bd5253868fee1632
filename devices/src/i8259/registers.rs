//! Command words of the 8259A (Intel), and the edge/level register that EISA added to it.

/// Ports of each chip: commands, then mask.
pub(crate) const PORTS: u64 = 2;
pub(crate) const COMMAND: u64 = 0;

/// In a command: the first initialisation word; ICW1 has these bits.
pub(crate) const ICW1: u8 = 0x10;
pub(crate) const ICW1_NEEDS_ICW4: u8 = 0x01;
pub(crate) const ICW1_SINGLE: u8 = 0x02;
pub(crate) const ICW1_LEVEL: u8 = 0x08;
/// Bits of the vector in ICW2; the others are the number of the input.
pub(crate) const ICW2_BASE: u8 = 0xf8;
pub(crate) const ICW4_AUTO_EOI: u8 = 0x02;
pub(crate) const ICW4_SPECIAL_FULLY_NESTED: u8 = 0x10;

/// In a command that is no ICW1: OCW3, otherwise OCW2.
pub(crate) const OCW3: u8 = 0x08;
pub(crate) const OCW3_POLL: u8 = 0x04;
/// A read of the command port gives a register from now on: the one that bit 0 says.
pub(crate) const OCW3_READ: u8 = 0x02;
pub(crate) const OCW3_READ_IN_SERVICE: u8 = 0x01;
/// The special mask mode is what the next bit says.
pub(crate) const OCW3_MASK_MODE: u8 = 0x40;
pub(crate) const OCW3_SPECIAL_MASK: u8 = 0x20;

/// The upper three bits of OCW2.
pub(crate) const ROTATE_IN_AUTO_EOI_CLEAR: u8 = 0;
pub(crate) const EOI: u8 = 1;
pub(crate) const SPECIFIC_EOI: u8 = 3;
pub(crate) const ROTATE_IN_AUTO_EOI_SET: u8 = 4;
pub(crate) const ROTATE_ON_EOI: u8 = 5;
pub(crate) const SET_PRIORITY: u8 = 6;
pub(crate) const ROTATE_ON_SPECIFIC_EOI: u8 = 7;

/// What a poll reads if there is an interrupt.
pub(crate) const POLL_INTERRUPT: u8 = 0x80;

/// Inputs that can be made level triggered, of each chip: not the timer's, the keyboard's, the cascade's, the clock's, the
/// coprocessor's.
pub(crate) const ELCR_MASK: [u8; 2] = [0xf8, 0xde];

/// The input of the first chip that the second one is connected to.
pub(crate) const CASCADE: u8 = 2;
/// The input that a spurious interrupt seems to come from.
pub(crate) const SPURIOUS: u8 = 7;
