//! Branches, jumps, loads and stores.

use super::CORNERS;
use crate::rv64::decode::decode;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;
use memory_core::Width;

const DATA: u64 = BASE + 0x2000;

type Condition = fn(u64, u64) -> bool;

const BRANCHES: [(&str, u32, Condition); 6] = [
    ("beq", 0, |a, b| a == b),
    ("bne", 1, |a, b| a != b),
    ("blt", 4, |a, b| (a as i64) < b as i64),
    ("bge", 5, |a, b| (a as i64) >= b as i64),
    ("bltu", 6, |a, b| a < b),
    ("bgeu", 7, |a, b| a >= b),
];

/// All six in one program: each that is taken sets a bit.
#[test]
fn branches_follow_their_conditions_on_all_corners() {
    let mut program = Vec::new();
    for (bit, (_, funct3, _)) in (0..).zip(BRANCHES) {
        program.extend([b(funct3, A0, A1, 8), j(ZERO, 8), i(OP_IMM, 6, A2, A2, 1 << bit)]);
    }
    program.push(j(ZERO, 0));
    for x in CORNERS {
        for y in CORNERS {
            let run = Run::new(&program).with(A0, x).with(A1, y).steps(20);
            run.at(4 * (program.len() as u64 - 1));
            for (bit, (name, _, condition)) in BRANCHES.iter().enumerate() {
                assert_eq!(run.reg(A2) >> bit & 1 == 1, condition(x, y), "{name} {x:#x}, {y:#x}");
            }
        }
    }
}

#[test]
fn every_offset_of_a_branch_and_each_bit_of_a_jump_is_decoded() {
    for offset in (-4096..4096).step_by(2) {
        assert_eq!(decode(b(0, 0, 0, offset)).imm, offset);
    }
    for offset in (1..21).flat_map(|bit| [1 << bit, -(1 << bit), (1 << bit) - 2]) {
        let offset = if offset == 1 << 20 { -(1 << 20) } else { offset };
        assert_eq!(decode(j(0, offset)).imm, offset);
    }
    for offset in -2048..2048 {
        assert_eq!(decode(s(0, 0, 0, offset)).imm, offset);
        assert_eq!(decode(addi(0, 0, offset)).imm, offset);
    }
}

/// The longest ways that a branch and a jump go, there and back, with `pc` and link.
#[test]
fn branches_and_jumps_reach_their_farthest_targets() {
    let middle = 0x8_0000;
    let table = [
        (b(0, ZERO, ZERO, 4094), 4094, 0),
        (b(0, ZERO, ZERO, -4096), -4096, 0),
        (j(RA, 0x7_fffe), 0x7_fffe, 4),
        (j(RA, -0x8_0000), -0x8_0000, 4),
        (i(0x67, 0, RA, A0, 2047), 2046, 4),
        (i(0x67, 0, RA, A0, -2048), -2048, 4),
    ];
    for (raw, distance, link) in table {
        let mut run = Run::new(&[]);
        run.machine.load_program(BASE + middle, &[raw]);
        crate::vcpu::Vcpu::set_boot(&mut run.hart, BASE + middle, 0, 0);
        let run = run.with(A0, BASE + middle).steps(1);
        run.at(middle.wrapping_add(distance as i64 as u64));
        assert_eq!(run.reg(RA), if link == 0 { 0 } else { BASE + middle + link }, "{raw:#x}");
    }
}

/// Name, `funct3`, width, sign.
const LOADS: [(&str, u32, u64, bool); 7] = [
    ("lb", 0, 1, true),
    ("lh", 1, 2, true),
    ("lw", 2, 4, true),
    ("ld", 3, 8, true),
    ("lbu", 4, 1, false),
    ("lhu", 5, 2, false),
    ("lwu", 6, 4, false),
];

/// Each load and store at each of the places in a doubleword, in the middle and over the end of a page.
#[test]
fn loads_and_stores_move_their_bytes_at_every_alignment() {
    for start in [DATA, DATA + 0xff0] {
        for place in start..start + 16 {
            for (name, funct3, width, signed) in LOADS {
                let bytes: Vec<u8> =
                    (0..64).map(|index| 0x81u8.wrapping_add(7u8.wrapping_mul(index))).collect();
                let run = Run::new(&[i(LOAD, funct3, A2, A0, -5)]).with(A0, place + 5);
                assert!(run.machine.ram.write(start - BASE, &bytes));
                let run = run.steps(1);
                let at = (place - start) as usize;
                let value =
                    bytes[at..at + width as usize].iter().rev().fold(0, |v, byte| v << 8 | u64::from(*byte));
                let unused = 64 - 8 * width as u32;
                let want = if signed { ((value << unused) as i64 >> unused) as u64 } else { value };
                assert_eq!(run.reg(A2), want, "{name} at {place:#x}");
            }
            for funct3 in 0..4 {
                let run =
                    Run::new(&[s(funct3, A1, A0, 5)]).with(A0, place - 5).with(A1, 0x8877_6655_4433_2211);
                let run = run.steps(1);
                run.at(4);
                for at in start - 8..start + 32 {
                    let inside = (place..place + (1 << funct3)).contains(&at);
                    let want = if inside { 0x11 * (at - place + 1) } else { 0 };
                    assert_eq!(
                        run.machine.ram.load(at - BASE, Width::W1),
                        Some(want),
                        "store {funct3} {place:#x}"
                    );
                }
            }
        }
    }
}
