//! What a chip says of itself: the query of JEDEC's JESD68.01 (Common Flash Interface) with AMD's primary extended table.

use super::geometry::Geometry;

/// Where the extended table is, in words, behind up to four regions of sectors.
const EXTENDED: u8 = 0x40;
/// The command set: AMD's, with its extended table.
const COMMAND_SET: u8 = 0x02;
/// The extended table: other sectors can be read and programmed while an erase is suspended.
const SUSPEND_TO_WRITE: u8 = 2;

/// The query of each chip: byte *i* is the low byte of the chip's word *i*. All that is beyond reads as 0.
pub(super) fn query(geometry: &Geometry) -> Vec<u8> {
    let log2 = |value: u64| u8::try_from(value.next_power_of_two().trailing_zeros()).unwrap_or_default();
    // x8 and x16; x32 has a code of its own
    let interface = match geometry.chip_width.bytes() {
        1 => 0,
        2 => 2,
        _ => 3,
    };
    let identification = [b'Q', b'R', b'Y', COMMAND_SET, 0, EXTENDED, 0, 0, 0, 0, 0];
    // 2.7 V to 3.6 V, no programming voltage; typical times of a word in powers of two us, of a sector's and of the chip's
    // erase in ms, and how much longer they take at worst
    let chip_erase = log2(geometry.sectors().saturating_mul(512));
    let system = [0x27, 0x36, 0, 0, 7, 0, 9, chip_erase, 4, 0, 4, 4];
    let regions = u8::try_from(geometry.regions.len()).unwrap_or_default();
    let device = [log2(geometry.size / geometry.chips()), interface, 0, 0, 0, regions];
    let sectors = geometry.regions.iter().flat_map(|region| {
        let [low, high, ..] = (region.count - 1).to_le_bytes();
        // in units of 256 bytes
        let [_, length_low, length_high, ..] = (region.length / geometry.chips()).to_le_bytes();
        [low, high, length_low, length_high]
    });
    let mut table = [&[0; 0x10][..], &identification, &system, &device].concat();
    table.extend(sectors);
    table.resize(EXTENDED.into(), 0);
    // version 1.0; unlock addresses count; no sector is protected; one bank, no bursts, no pages
    table.extend([b'P', b'R', b'I', b'1', b'0', 0, SUSPEND_TO_WRITE, 0, 0, 0, 0, 0, 0]);
    table
}
