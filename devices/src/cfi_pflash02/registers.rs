//! The AMD command set, 0x0002: commands and status bits, as the datasheets of AMD's Am29LV and Spansion's S29GL have them.

use bitflags::bitflags;

/// Commands. A chip looks at the low 8 bits of a cycle.
pub(super) mod command {
    /// The first cycle of a sequence, at the first unlock address.
    pub(crate) const UNLOCK_0: u8 = 0xaa;
    /// The second cycle, at the second unlock address.
    pub(crate) const UNLOCK_1: u8 = 0x55;
    pub(crate) const UNLOCK_BYPASS: u8 = 0x20;
    pub(crate) const UNLOCK_BYPASS_RESET: u8 = 0x00;
    pub(crate) const ERASE_SETUP: u8 = 0x80;
    pub(crate) const AUTOSELECT: u8 = 0x90;
    pub(crate) const PROGRAM: u8 = 0xa0;
    pub(crate) const CHIP_ERASE: u8 = 0x10;
    /// Also resumes an erase that was suspended.
    pub(crate) const SECTOR_ERASE: u8 = 0x30;
    pub(crate) const ERASE_SUSPEND: u8 = 0xb0;
    pub(crate) const QUERY: u8 = 0x98;
    pub(crate) const RESET: u8 = 0xf0;
}

/// Where the query command goes.
pub(super) const QUERY_ADDRESS: u64 = 0x55;
/// The bits of addresses that commands look at.
pub(super) const COMMAND_ADDRESS: u64 = 0x7ff;
/// The bits of addresses that identifiers and the query look at.
pub(super) const TABLE_ADDRESS: u64 = 0xff;

bitflags! {
    /// What a chip reads as while it erases. DQ5, which tells that it takes too long, never shows.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Status: u8 {
        /// Complement of the data: 0 while it erases.
        const DQ7 = 0x80;
        /// Changes with each read while it erases.
        const DQ6 = 0x40;
        /// The time is over in which more sectors may be named.
        const DQ3 = 0x08;
        /// Changes with each read while it erases, and of a sector whose erase is suspended.
        const DQ2 = 0x04;
    }
}

/// Nanoseconds in which more sectors may be named.
pub(super) const ERASE_WINDOW: u64 = 50_000;
/// Nanoseconds that the erase of a sector takes.
pub(super) const SECTOR_ERASE_TIME: u64 = 500_000_000;
