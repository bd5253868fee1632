//! The fw_cfg interface (QEMU's `docs/specs/fw_cfg`).

use bitflags::bitflags;
use std::ops::Range;

/// Size of the ports of selector and data in bytes, which begin at 0x510.
pub(crate) const PORTS_SELECTOR: u64 = 2;
/// Size of the DMA address register among ports in bytes, which begins at 0x514.
pub(crate) const PORTS_DMA: u64 = 8;

/// Size of the block in memory in bytes.
pub(crate) const SIZE: u64 = 0x18;
/// The data register: bytes of the selected item, one after the other.
pub(crate) const DATA: Range<u64> = 0x0..0x8;
/// The selector register: 16 bits, big-endian, write only.
pub(crate) const SELECTOR: Range<u64> = 0x8..0xa;
/// The DMA address register: 64 bits, big-endian; a write to its low half starts a transfer.
pub(crate) const DMA: Range<u64> = 0x10..0x18;

/// Key of the item that says `QEMU`.
pub(crate) const KEY_SIGNATURE: u16 = 0x0000;
/// Key of the item that says what the interface can do.
pub(crate) const KEY_ID: u16 = 0x0001;
/// Key of the machine's UUID.
pub(crate) const KEY_UUID: u16 = 0x0002;
/// Key of the bytes of RAM.
pub(crate) const KEY_RAM_SIZE: u16 = 0x0003;
/// Key of whether there is no display.
pub(crate) const KEY_NOGRAPHIC: u16 = 0x0004;
/// Key of the number of harts.
pub(crate) const KEY_NB_CPUS: u16 = 0x0005;
/// Key of the nodes of CPUs and memory.
pub(crate) const KEY_NUMA: u16 = 0x000d;
/// Key of whether firmware offers a menu.
pub(crate) const KEY_BOOT_MENU: u16 = 0x000e;
/// Key of the number of CPUs that there may be.
pub(crate) const KEY_MAX_CPUS: u16 = 0x000f;
/// Key of the file directory.
pub(crate) const KEY_FILE_DIR: u16 = 0x0019;
/// Key of the first file.
pub(crate) const KEY_FILE_FIRST: u16 = 0x0020;
/// Key that no file has any more.
pub(crate) const KEY_FILE_END: u16 = 0x4000;
/// Key of whether a PC's timer interrupt is led to pin 2 of its I/O APIC.
pub(crate) const KEY_IRQ0_OVERRIDE: u16 = 0x8002;
/// A bit of keys that once asked for writing, and means nothing.
pub(crate) const KEY_WRITE_CHANNEL: u16 = 0x4000;

/// What [`KEY_SIGNATURE`] holds.
pub(crate) const SIGNATURE: &[u8] = b"QEMU";
/// What [`KEY_ID`] holds: the traditional interface, and DMA.
pub(crate) const ID: u32 = 0b11;
/// What [`DMA`] reads: `QEMU CFG`.
pub(crate) const DMA_SIGNATURE: u64 = 0x5145_4d55_2043_4647;

/// Bytes of a file's name in the directory, the final 0 included.
pub(crate) const FILE_NAME: usize = 56;

bitflags! {
    /// The control field of a DMA request; the upper 16 bits are a key.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct DmaControl: u32 {
        /// The transfer failed; the interface sets it.
        const ERROR = 1 << 0;
        /// Copy the item to memory.
        const READ = 1 << 1;
        /// Move on in the item.
        const SKIP = 1 << 2;
        /// Select the item of the key first.
        const SELECT = 1 << 3;
        /// Copy memory to the item.
        const WRITE = 1 << 4;
    }
}
