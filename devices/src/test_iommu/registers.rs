//! The registers of the test IOMMU, 32 bits each, and its tables in memory. The device is the project's own: this is
//! its datasheet.

use serde::{Deserialize, Serialize};

/// Bytes of the register block.
pub const SIZE: u64 = 0x40;
/// Low half of the address of the context table: 8 bytes for each requester, see [`CONTEXT_VALID`].
pub const CONTEXTS_LOW: u64 = 0x00;
/// High half of the address of the context table.
pub const CONTEXTS_HIGH: u64 = 0x04;
/// Bit 0: requesters are translated. Without it every access of theirs is refused.
pub const CONTROL: u64 = 0x08;
/// A write forgets what was translated: 1 everything, 2 one requester, 3 4 KiB of one requester, whatever the size of the
/// page that they are part of: a large one is forgotten by as many writes, or by 2.
pub const INVALIDATE: u64 = 0x0c;
/// The requester that [`INVALIDATE`] is about.
pub const REQUESTER: u64 = 0x10;
/// Low half of the address that [`INVALIDATE`] is about.
pub const ADDRESS_LOW: u64 = 0x14;
/// High half of the address that [`INVALIDATE`] is about.
pub const ADDRESS_HIGH: u64 = 0x18;
/// Kind of the first fault since this was last written; 0 without one. A write of anything clears it.
pub const FAULT: u64 = 0x20;
/// The requester of that fault.
pub const FAULT_REQUESTER: u64 = 0x24;
/// Low half of the address of that fault.
pub const FAULT_LOW: u64 = 0x28;
/// High half of the address of that fault.
pub const FAULT_HIGH: u64 = 0x2c;

/// The requester has no valid context, or translation is off.
pub const NO_CONTEXT: u32 = 1;
/// Nothing is mapped there.
pub const NOT_MAPPED: u32 = 2;
/// What is mapped there does not allow the access.
pub const NOT_ALLOWED: u32 = 3;
/// A table is not in memory.
pub const NO_TABLE: u32 = 4;

/// Of a context: the requester is translated by the table whose address is in the bits from 12 on.
pub const CONTEXT_VALID: u64 = 1;

/// Of an entry: it counts.
pub const VALID: u64 = 1;
/// Of an entry: the page may be read. An entry that may neither be read nor written leads to the next table.
pub const READ: u64 = 2;
/// Of an entry: the page may be written.
pub const WRITE: u64 = 4;
/// The address in a context or an entry.
pub const ADDRESS: u64 = !0xfff;

/// Levels of a table, of 512 entries of 8 bytes each: pages of 1 GiB, 2 MiB and 4 KiB.
pub const LEVELS: u32 = 3;
/// Bits of an address that are translated: of the first level 64 entries count.
pub const BITS: u32 = 36;

/// The registers as they are saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct State {
    pub(super) contexts: u64,
    pub(super) enabled: bool,
    pub(super) requester: u32,
    pub(super) address: u64,
    pub(super) fault: u32,
    pub(super) fault_requester: u32,
    pub(super) fault_address: u64,
}
