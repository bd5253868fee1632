//! The fw_cfg interface (QEMU's `docs/specs/fw_cfg`), as it lies in memory.

use bitflags::bitflags;
use std::ops::Range;

/// Size of the block in bytes.
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
/// Key of the number of harts.
pub(crate) const KEY_NB_CPUS: u16 = 0x0005;
/// Key of the file directory.
pub(crate) const KEY_FILE_DIR: u16 = 0x0019;
/// Key of the first file.
pub(crate) const KEY_FILE_FIRST: u16 = 0x0020;
/// Key that no file has any more.
pub(crate) const KEY_FILE_END: u16 = 0x4000;
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
