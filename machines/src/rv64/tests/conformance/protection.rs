//! PMP: random entries, and what instructions may do under them, against the manual's words (3.7.1) byte by byte.

use crate::rv64::Mode;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;

const PMPCFG: u32 = 0x3a0;
const PMPADDR: u32 = 0x3b0;
const R: u8 = 1;
const W: u8 = 2;
const X: u8 = 4;
const LOCK: u8 = 0x80;
/// The 64 bytes that random entries are about.
const DATA: u64 = BASE + 0x4000;

/// Does the entry at `index` match the byte at `address`?
fn matches(entries: &[(u8, u64)], index: usize, address: u64) -> bool {
    let (config, register) = entries[index];
    match config >> 3 & 3 {
        0 => false,
        1 => {
            let bottom = if index == 0 { 0 } else { entries[index - 1].1 };
            (bottom << 2..register << 2).contains(&address)
        }
        2 => address >> 2 == register,
        _ => {
            // The lowest bits of the register up to the first 0 are no address.
            let size = register.trailing_ones() + 3;
            address >> size == register << 2 >> size
        }
    }
}

/// May `mode` make an access that needs `right` to `len` bytes at `address`?
fn allowed(entries: &[(u8, u64)], address: u64, len: u64, right: u8, mode: Mode) -> bool {
    let bytes = address..address + len;
    let any = |index: &usize| bytes.clone().any(|byte| matches(entries, *index, byte));
    let Some(index) = (0..entries.len()).find(any) else { return mode == Mode::Machine };
    // The lowest entry that matches any byte decides, and it has to match all of them.
    bytes.clone().all(|byte| matches(entries, index, byte))
        && (entries[index].0 & right != 0 || (mode == Mode::Machine && entries[index].0 & LOCK == 0))
}

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % bound
    }
}

/// The bottom of a range near the data, three entries there, then one that opens all else, as registers hold them.
fn entries(numbers: &mut Numbers) -> Vec<(u8, u64)> {
    let mut entries = vec![(0, (DATA >> 2) + numbers.below(4))];
    entries.extend((0..3).map(|_| {
        let rights = [0, R, X, R | W, R | X, R | W | X][numbers.below(6) as usize];
        let lock = if numbers.below(2) == 0 { LOCK } else { 0 };
        let mode = numbers.below(4) as u8;
        let address = (DATA >> 2) + numbers.below(16);
        let napot = [0, 1, 3][numbers.below(3) as usize];
        (rights | mode << 3 | lock, if mode == 3 { address & !napot | napot >> 1 } else { address })
    }));
    entries.push((R | W | X | 3 << 3, (1 << 54) - 1));
    entries
}

/// The instruction, the bytes of its access, the right that it needs, and the exception.
const ACCESSES: [(u32, u64, u8, u64); 9] = [
    (i(LOAD, 0, A2, A0, 0), 1, R, 5),
    (i(LOAD, 1, A2, A0, 0), 2, R, 5),
    (i(LOAD, 2, A2, A0, 0), 4, R, 5),
    (i(LOAD, 3, A2, A0, 0), 8, R, 5),
    (s(0, A1, A0, 0), 1, W, 7),
    (s(2, A1, A0, 0), 4, W, 7),
    (s(3, A1, A0, 0), 8, W, 7),
    (amo(0, 2, A2, A1, A0), 4, W, 7),
    (jalr(ZERO, A0), 2, X, 1),
];

#[test]
fn random_entries_allow_what_the_manual_says() {
    let mut numbers = Numbers(1);
    let mut refused = 0;
    for _ in 0..400 {
        let entries = entries(&mut numbers);
        for (raw, len, right, cause) in ACCESSES {
            for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
                let address = DATA + numbers.below(9) * 8 / len.max(2) * len.max(2);
                let fetch = cause == 1;
                let mut run = Run::new(&[raw]).with(A0, address);
                // A short no-op everywhere.
                run.machine.load_program(DATA, &[0x0001_0001; 32]);
                for (index, (_, register)) in (0..).zip(&entries) {
                    run.write_csr(PMPADDR + index, *register);
                }
                let config = entries.iter().rev().fold(0, |all, (config, _)| all << 8 | u64::from(*config));
                run.write_csr(PMPCFG, config);
                assert_eq!(run.csr(PMPCFG), config);
                run.hart.poke_mode(mode);
                let run = run.steps(if fetch { 2 } else { 1 });
                let what = format!("{raw:#x} at {address:#x} in {mode:?} under {entries:x?}");
                if allowed(&entries, address, len, right, mode) {
                    let next = if fetch { address + 2 } else { BASE + 4 };
                    assert_eq!(run.hart.pc(), next, "{what}");
                } else {
                    refused += 1;
                    let epc = if fetch { address } else { BASE };
                    let got = (run.csr(0x342), run.csr(0x343), run.csr(0x341));
                    assert_eq!(got, (cause, address, epc), "{what}");
                }
            }
        }
    }
    assert!(refused > 1000, "{refused} refusals show little");
}

/// Every configuration byte: what is kept of it, and that a locked one keeps all, its address and the one below a TOR.
#[test]
fn every_configuration_byte_is_kept_or_made_legal_and_locks() {
    for entry in 0..16u32 {
        let (register, shift) = (PMPCFG + entry / 8 * 2, entry % 8 * 8);
        for byte in 0..=255u8 {
            let mut run = Run::new(&[]);
            for address in 0..16 {
                run.write_csr(PMPADDR + address, 0x1000 + u64::from(address));
            }
            run.write_csr(register, u64::from(byte) << shift);
            // Bits 5 and 6 are 0; W without R is reserved, and W goes.
            let legal = byte & 0x9f;
            let legal = if legal & 3 == W { legal & !W } else { legal };
            assert_eq!(run.csr(register), u64::from(legal) << shift, "entry {entry}, {byte:#x}");
            run.write_csr(register, 0);
            let locked = byte & LOCK != 0;
            assert_eq!(run.csr(register) != 0, locked, "entry {entry}, {byte:#x}");
            for address in 0..16 {
                run.write_csr(PMPADDR + address, 0);
                let below = address + 1 == entry && legal >> 3 & 3 == 1;
                let kept = locked && (address == entry || below);
                assert_eq!(
                    run.csr(PMPADDR + address) != 0,
                    kept,
                    "entry {entry}, {byte:#x}, pmpaddr{address}"
                );
            }
        }
    }
}
