//! The blocks of QEMU's `pc-testdev`, with the addresses that a PC has them at, and those that this one adds.

/// Size of each register of 32 bits. On a PC `ioport` is at port 0xe0, `flush` at 0xe4, `ioport-byte` at 0xe8.
pub(crate) const REGISTER: u64 = 4;
/// Interrupt lines, and ports that set them: one for each, from 0x2000.
pub(crate) const LINES: u32 = 24;
/// Size of the memory of registers, at 0xff00_0000.
pub(crate) const IOMEM: u64 = 0x1_0000;
