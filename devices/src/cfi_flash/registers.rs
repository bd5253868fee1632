//! The Intel command set, 0x0001: commands, status bits and identifiers, as the datasheets of Intel's StrataFlash J3 and
//! P30 have them.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// Commands: the first cycle of each, and what confirms them. A chip looks at the low 8 bits of a cycle.
pub(crate) mod command {
    pub(crate) const PROGRAM_WORD_ALTERNATE: u8 = 0x10;
    pub(crate) const ERASE_BLOCK: u8 = 0x20;
    pub(crate) const PROGRAM_WORD: u8 = 0x40;
    pub(crate) const CLEAR_STATUS: u8 = 0x50;
    pub(crate) const LOCK_SETUP: u8 = 0x60;
    pub(crate) const READ_STATUS: u8 = 0x70;
    pub(crate) const READ_IDENTIFIER: u8 = 0x90;
    pub(crate) const READ_QUERY: u8 = 0x98;
    pub(crate) const SUSPEND: u8 = 0xb0;
    pub(crate) const PROGRAM_PROTECTION: u8 = 0xc0;
    pub(crate) const CONFIRM: u8 = 0xd0;
    pub(crate) const BUFFERED_PROGRAM: u8 = 0xe8;
    pub(crate) const READ_ARRAY: u8 = 0xff;

    /// After [`LOCK_SETUP`], as are the following.
    pub(crate) const LOCK: u8 = 0x01;
    pub(crate) const SET_CONFIGURATION: u8 = 0x03;
    pub(crate) const LOCK_DOWN: u8 = 0x2f;
    pub(crate) const UNLOCK: u8 = 0xd0;
}

bitflags! {
    /// The status register.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
    #[serde(from = "u8", into = "u8")]
    pub(crate) struct Status: u8 {
        /// SR.7: nothing is going on. Always set here, where operations take no time.
        const READY = 0x80;
        /// SR.5: an erase failed; with SR.4 a sequence of commands was wrong.
        const ERASE_ERROR = 0x20;
        /// SR.4: a program operation failed.
        const PROGRAM_ERROR = 0x10;
        /// SR.1: the block was locked.
        const LOCKED = 0x02;
        /// A wrong sequence of commands.
        const SEQUENCE_ERROR = Self::ERASE_ERROR.bits() | Self::PROGRAM_ERROR.bits();
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::READY
    }
}

impl From<u8> for Status {
    fn from(bits: u8) -> Self {
        Self::from_bits_truncate(bits) | Self::READY
    }
}

impl From<Status> for u8 {
    fn from(status: Status) -> Self {
        status.bits()
    }
}

/// Manufacturer: Intel.
pub(crate) const MANUFACTURER: u8 = 0x89;
/// Device: that of a 128 Mbit J3, whatever the size; software learns the size from the query.
pub(crate) const DEVICE: u8 = 0x18;

/// Words from the start of each block in identifier mode; the query has the same there.
pub(crate) const ID_MANUFACTURER: u64 = 0;
/// See [`ID_MANUFACTURER`].
pub(crate) const ID_DEVICE: u64 = 1;
/// Lock status of the block. See [`ID_MANUFACTURER`].
pub(crate) const ID_LOCK: u64 = 2;

/// Bits of the lock status: the block is locked.
pub(crate) const LOCK_LOCKED: u8 = 1;
/// Bits of the lock status: it is so until reset.
pub(crate) const LOCK_DOWN: u8 = 2;
