//! Registers of the I/O APIC (Intel 82093AA, and the ICH9's).

/// Bytes of the block; it repeats every 256.
pub(crate) const SIZE: u64 = 0x1000;
pub(crate) const REPEATS: u64 = 0x100;
/// Selects a register.
pub(crate) const IOREGSEL: u64 = 0x00;
/// The selected register; only as a whole.
pub(crate) const IOWIN: u64 = 0x10;
/// Ends the interrupts of a vector, since version 0x20.
pub(crate) const EOI: u64 = 0x40;
pub(crate) const VERSION_WITH_EOI: u8 = 0x20;

pub(crate) const PINS: usize = 24;

/// Identification, version, arbitration; then two registers for each pin.
pub(crate) const IOAPICID: u8 = 0x00;
pub(crate) const IOAPICVER: u8 = 0x01;
pub(crate) const IOAPICARB: u8 = 0x02;
pub(crate) const IOREDTBL: u8 = 0x10;

/// Bits of an entry of the redirection table.
pub(crate) const VECTOR: u64 = 0xff;
pub(crate) const DELIVERY_MODE: u64 = 0x700;
pub(crate) const DESTINATION_MODE: u64 = 1 << 11;
/// The last message waits to be sent; read only.
pub(crate) const DELIVERY_STATUS: u64 = 1 << 12;
/// A level was sent and not ended; read only.
pub(crate) const REMOTE_IRR: u64 = 1 << 14;
pub(crate) const LEVEL: u64 = 1 << 15;
pub(crate) const MASKED: u64 = 1 << 16;
pub(crate) const READ_ONLY: u64 = DELIVERY_STATUS | REMOTE_IRR;
pub(crate) const DESTINATION_SHIFT: u32 = 56;

/// Where messages to local APICs go, and where the destination is in the address.
pub(crate) const MESSAGES: u64 = 0xfee0_0000;
pub(crate) const MESSAGE_DESTINATION_SHIFT: u32 = 12;
pub(crate) const MESSAGE_LOGICAL: u64 = 1 << 2;
/// Of a level: it is there.
pub(crate) const MESSAGE_ASSERT: u64 = 1 << 14;
