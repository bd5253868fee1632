//! AMOs on all corners, with all ordering bits; LR and SC.

use super::CORNERS;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;

const CELL: u64 = BASE + 0x3000;

/// The new value from memory's and the register's, both sign-extended from the width.
type Definition = fn(i128, i128, u32) -> i128;

/// The value without its sign, of `bits` bits.
fn unsigned(value: i128, bits: u32) -> i128 {
    value & ((1 << bits) - 1)
}

const AMOS: [(&str, u32, Definition); 9] = [
    ("amoadd", 0b00000, |m, r, _| m + r),
    ("amoswap", 0b00001, |_, r, _| r),
    ("amoxor", 0b00100, |m, r, _| (m | r) - (m & r)),
    ("amoor", 0b01000, |m, r, _| m + r - (m & r)),
    ("amoand", 0b01100, |m, r, _| m + r - (m | r)),
    ("amomin", 0b10000, |m, r, _| if m < r { m } else { r }),
    ("amomax", 0b10100, |m, r, _| if m > r { m } else { r }),
    ("amominu", 0b11000, |m, r, bits| if unsigned(m, bits) < unsigned(r, bits) { m } else { r }),
    ("amomaxu", 0b11100, |m, r, bits| if unsigned(m, bits) > unsigned(r, bits) { m } else { r }),
];

#[test]
fn amos_follow_their_definitions_on_all_corners() {
    for (name, funct5, definition) in AMOS {
        for (funct3, bits) in [(2, 32), (3, 64)] {
            for (index, memory) in CORNERS.into_iter().enumerate() {
                for (other, register) in CORNERS.into_iter().enumerate() {
                    // The ordering bits take turns: they change no value.
                    let raw = amo(funct5, funct3, A2, A1, A0) | ((index + other) as u32 & 3) << 25;
                    let run = Run::new(&[raw]).with(A0, CELL).with(A1, register);
                    run.machine.poke(CELL, memory);
                    run.machine.poke(CELL + 8, 0x55);
                    let run = run.steps(1);
                    run.at(4);
                    let signed = |value: u64| {
                        if bits == 32 { i128::from(value as i32) } else { i128::from(value as i64) }
                    };
                    let new = definition(signed(memory), signed(register), bits) as u64;
                    let kept = if bits == 32 { memory >> 32 << 32 | new & 0xffff_ffff } else { new };
                    let what = format!("{name} of {bits} bits, {memory:#x}, {register:#x}");
                    assert_eq!(run.reg(A2), signed(memory) as u64, "{what}");
                    assert_eq!((run.machine.peek(CELL), run.machine.peek(CELL + 8)), (kept, 0x55), "{what}");
                }
            }
        }
    }
}

/// Only multiples of the width, of whatever ordering.
#[test]
fn atomics_are_aligned_or_trap() {
    for order in 0..4 {
        for (funct3, width) in [(2, 4), (3, 8)] {
            for offset in 0..16 {
                for (funct5, rs2, cause) in
                    [(0b00010, 0, 4), (0b00011, A1, 6), (0b00000, A1, 6), (0b11100, A1, 6)]
                {
                    let raw = amo(funct5, funct3, A2, rs2, A0) | order << 25;
                    let run = Run::new(&[raw]).with(A0, CELL + offset).steps(1);
                    if offset % width == 0 { run.at(4) } else { run.trapped(cause, CELL + offset, 0) }
                }
            }
        }
    }
}

/// LR and SC of all widths and orders: the value, its sign, success, and that the second SC fails.
#[test]
fn load_reserved_and_store_conditional_pair_once_at_every_order() {
    for order in 0..16 {
        for (funct3, bits) in [(2, 32), (3, 64)] {
            for memory in CORNERS {
                let (first, second) = (order & 3, order >> 2);
                let program = [
                    lr(funct3, A2, A0) | first << 25,
                    sc(funct3, A3, A1, A0) | second << 25,
                    sc(funct3, T0, A0, A0) | second << 25,
                ];
                let run = Run::new(&program).with(A0, CELL).with(A1, !memory);
                run.machine.poke(CELL, memory);
                let run = run.steps(3);
                let want = if bits == 32 { memory as i32 as u64 } else { memory };
                assert_eq!((run.reg(A2), run.reg(A3)), (want, 0));
                assert_ne!(run.reg(T0), 0);
                let kept = if bits == 32 { memory >> 32 << 32 | !memory & 0xffff_ffff } else { !memory };
                assert_eq!(run.machine.peek(CELL), kept);
            }
        }
    }
}

/// An SC uses the reservation up, whether it succeeds or not: the second fails even where it would find the value that LR saw.
#[test]
fn a_store_conditional_uses_the_reservation_up() {
    for (funct3, other) in [(2, 3), (3, 2)] {
        let used_up = [
            // Stores what is there already.
            sc(funct3, ZERO, A2, A0),
            // Fails: another place, another width.
            sc(funct3, ZERO, A2, T1),
            sc(other, ZERO, A2, A0),
        ];
        for first in used_up {
            let program = [lr(funct3, A2, A0), first, sc(funct3, A3, A1, A0)];
            let run = Run::new(&program).with(A0, CELL).with(A1, 7).with(T1, CELL + 64);
            run.machine.poke(CELL, 5);
            let run = run.steps(3);
            run.at(12);
            assert_ne!(run.reg(A3), 0, "{first:#x}");
            assert_eq!(run.machine.peek(CELL), 5, "{first:#x}");
        }
    }
}
