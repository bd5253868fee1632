//! Registers of the 16550 (National Semiconductor PC16550D datasheet), one byte each.

use bitflags::bitflags;

/// Size of the block in bytes.
pub(crate) const SIZE: u64 = 0x100;
/// The widest spacing, as a shift, with which all registers fit the block.
pub(crate) const MOST_SHIFT: u8 = 5;

/// Receiver buffer (read), transmitter holding register (write); divisor latch, low, with DLAB set.
pub(crate) const RBR_THR_DLL: u8 = 0;
/// Interrupt enable register; divisor latch, high, with DLAB set.
pub(crate) const IER_DLM: u8 = 1;
/// Interrupt identification register (read), FIFO control register (write).
pub(crate) const IIR_FCR: u8 = 2;
/// Line control register.
pub(crate) const LCR: u8 = 3;
/// Modem control register.
pub(crate) const MCR: u8 = 4;
/// Line status register; read only.
pub(crate) const LSR: u8 = 5;
/// Modem status register; read only.
pub(crate) const MSR: u8 = 6;
/// Scratch register.
pub(crate) const SCR: u8 = 7;

bitflags! {
    /// Interrupt enable register.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Ier: u8 {
        /// Received data available.
        const ERBFI = 1 << 0;
        /// Transmitter holding register empty.
        const ETBEI = 1 << 1;
        /// Receiver line status.
        const ELSI = 1 << 2;
        /// Modem status.
        const EDSSI = 1 << 3;
    }

    /// FIFO control register.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(crate) struct Fcr: u8 {
        /// FIFOs enabled.
        const FIFO_ENABLE = 1 << 0;
        /// Clears the receiver's FIFO; reads as 0.
        const RCVR_RESET = 1 << 1;
        /// Clears the transmitter's FIFO; reads as 0.
        const XMIT_RESET = 1 << 2;
        /// How DMA is asked for.
        const DMA_MODE = 1 << 3;
        /// Receiver trigger, low bit.
        const TRIGGER_LOW = 1 << 6;
        /// Receiver trigger, high bit.
        const TRIGGER_HIGH = 1 << 7;
    }
}

impl Fcr {
    /// Bytes at which received data count as available.
    pub(crate) fn trigger(self) -> usize {
        match (self.contains(Self::TRIGGER_HIGH), self.contains(Self::TRIGGER_LOW)) {
            (false, false) => 1,
            (false, true) => 4,
            (true, false) => 8,
            (true, true) => 14,
        }
    }
}

/// Divisor latch access bit of LCR.
pub(crate) const LCR_DLAB: u8 = 1 << 7;
/// The bits of MCR that there are.
pub(crate) const MCR_MASK: u8 = 0x1f;
/// Loopback bit of MCR.
pub(crate) const MCR_LOOP: u8 = 1 << 4;
/// Data ready bit of LSR.
pub(crate) const LSR_DR: u8 = 1 << 0;
/// Both bits that say in IIR that the FIFOs are enabled.
pub(crate) const IIR_FIFOS_ENABLED: u8 = 0xc0;

/// What asks for service, as the low bits of IIR, in ascending priority.
///
/// Nothing disturbs a virtual line, and no modem is on it: line status and modem status never ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Interrupt {
    /// Nothing.
    None = 0x01,
    /// Transmitter holding register empty.
    Transmitter = 0x02,
    /// Fewer bytes than the trigger wait, and no more came for a while: here, at once.
    Timeout = 0x0c,
    /// Received data available.
    Received = 0x04,
}
