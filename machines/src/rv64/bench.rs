//! A loop of loads, stores and arithmetic, to measure a hart with.

/// Bytes of memory, after the code's page, that the loop reads and writes.
pub const BENCH_DATA: u64 = 4096;

/// Instructions in one turn of the loop of [`bench_loop`].
pub const BENCH_TURN: u64 = 16;

/// A program that never ends: it walks over the [`BENCH_DATA`] bytes from the address in `a1` on, loads two words,
/// mixes them and stores them back. It runs anywhere, in any mode, from the address of its first byte.
///
/// Load it at a page's start, call [`set_boot`](crate::vcpu::Vcpu::set_boot) with that address and, in `a1`, the address of the
/// next page, then [`advance`](super::Hart::advance) by as many instructions as the measurement takes.
pub fn bench_loop() -> Vec<u8> {
    const PROGRAM: [u32; 17] = [
        0x0000_0613, //       li   a2, 0
        0x00c5_86b3, // loop: add  a3, a1, a2
        0x0006_b703, //       ld   a4, 0(a3)
        0x0086_a783, //       lw   a5, 8(a3)
        0x00f7_0733, //       add  a4, a4, a5
        0x00d7_1813, //       slli a6, a4, 13
        0x0107_4733, //       xor  a4, a4, a6
        0x0077_5813, //       srli a6, a4, 7
        0x0107_4733, //       xor  a4, a4, a6
        0x00e6_b023, //       sd   a4, 0(a3)
        0x0017_8793, //       addi a5, a5, 1
        0x00f6_a423, //       sw   a5, 8(a3)
        0x0106_0613, //       addi a2, a2, 16
        0x0346_1893, //       slli a7, a2, 52
        0x0348_d613, //       srli a2, a7, 52
        0x0018_8893, //       addi a7, a7, 1
        0xfc08_92e3, //       bnez a7, loop
    ];
    PROGRAM.iter().flat_map(|word| word.to_le_bytes()).collect()
}
