//! The least ELF file that both sides load.

use crate::frame::BASE;

/// An executable for RV64 with one segment, `image`, at [`BASE`], where it starts.
pub fn executable(image: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM: u64 = 56;
    let offset = 0x1000u64;
    let mut file = Vec::with_capacity(offset as usize + image.len());
    // Class 64, little-endian, version 1; then executable, RISC-V, version 1.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([2u16, 243].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    // Entry, program headers, section headers; flags: compressed instructions.
    file.extend([BASE, HEADER, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    let sizes = [HEADER as u16, PROGRAM as u16, 1, 64, 0, 0];
    file.extend(sizes.iter().flat_map(|half| half.to_le_bytes()));
    // To be loaded, with all rights.
    file.extend([1u32, 7].iter().flat_map(|word| word.to_le_bytes()));
    let len = image.len() as u64;
    file.extend([offset, BASE, BASE, len, len, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
    file.resize(offset as usize, 0);
    file.extend(image);
    file
}
