//! What a chip says of itself: the query of JEDEC's JESD68.01 (Common Flash Interface) with Intel's primary extended table.

use super::geometry::Geometry;

/// Where the extended table is, in words.
const EXTENDED: u8 = 0x31;
/// The command set: Intel's, with its extended table.
const COMMAND_SET: u8 = 0x01;
/// Bytes of the buffer for programs as a power of two. 256 words still are a count that a chip of 8 bits can be told.
pub(super) const BUFFER_LOG2: u8 = 8;
/// The extended table's bit for blocks that are locked and unlocked one by one, at once.
const INSTANT_BLOCK_LOCKING: u8 = 1 << 5;

/// The query of each chip: byte *i* is the low byte of the chip's word *i*. All that is beyond reads as 0.
pub(super) fn query(geometry: Geometry) -> Vec<u8> {
    let log2 = |value: u64| u8::try_from(value.trailing_zeros()).unwrap_or_default();
    let [blocks_low, blocks_high, ..] = (geometry.blocks() - 1).to_le_bytes();
    // in units of 256 bytes
    let [_, block_low, block_high, ..] = (geometry.sector / geometry.chips()).to_le_bytes();
    // x8 and x16; x32 has a code of its own
    let interface = match geometry.chip_width().bytes() {
        1 => 0,
        2 => 1,
        _ => 3,
    };
    let identification = [b'Q', b'R', b'Y', COMMAND_SET, 0, EXTENDED, 0, 0, 0, 0, 0];
    // 2.7 V to 3.6 V, no programming voltage; typical times of a word and a buffer in powers of two us, of an erase in ms,
    // and how much longer they take at worst: software waits no longer than that
    let system = [0x27, 0x36, 0, 0, 7, 7, 10, 0, 4, 4, 4, 0];
    let geometry = [
        log2(geometry.chip_size()),
        interface,
        0,
        BUFFER_LOG2,
        0,
        // one kind of erase blocks
        1,
        blocks_low,
        blocks_high,
        block_low,
        block_high,
    ];
    // version 1.0; nothing that can be suspended, since nothing takes time; lock and lock-down bits in the lock status;
    // 3.0 V; no protection registers
    let extended = [b'P', b'R', b'I', b'1', b'0', INSTANT_BLOCK_LOCKING, 0, 0, 0, 0, 0b11, 0, 0x30, 0, 0];
    let reserved = [0; 0x10];
    [&reserved[..], &identification, &system, &geometry, &extended].concat()
}
