//! Computation: each instruction on all pairs of corner values, against its definition over unbounded integers.

use super::CORNERS;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;

const RESULTS: u64 = BASE + 0x4000;

/// `value` as an integer that has a sign.
fn s(value: u64) -> i128 {
    i128::from(value as i64)
}

/// `value` as one that has none.
fn u(value: u64) -> i128 {
    i128::from(value)
}

/// The low 32 bits, with and without a sign.
fn sw(value: u64) -> i128 {
    i128::from(value as u32 as i32)
}
fn uw(value: u64) -> i128 {
    i128::from(value as u32)
}

/// The low 64 bits of an integer.
fn x(value: i128) -> u64 {
    (value & i128::from(u64::MAX)) as u64
}

/// The low 32 bits of an integer, sign-extended.
fn w(value: i128) -> u64 {
    x(sw(x(value)))
}

fn power(exponent: u64) -> i128 {
    1 << exponent
}

/// Division rounds to zero; by zero it gives all ones, and the dividend as the remainder. Overflow needs no case: the quotient
/// does not fit, and its low bits are the dividend.
fn quotient(a: i128, b: i128) -> i128 {
    if b == 0 { -1 } else { a / b }
}
fn remainder(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { a - b * (a / b) }
}

type Definition = fn(u64, u64) -> u64;

#[rustfmt::skip]
const REGISTER: &[(&str, u32, u32, u32, Definition)] = &[
    ("add",    OP, 0x00, 0, |a, b| x(u(a) + u(b))),
    ("sub",    OP, 0x20, 0, |a, b| x(u(a) - u(b))),
    ("sll",    OP, 0x00, 1, |a, b| x((u(a) * power(b % 64)) & i128::from(u64::MAX))),
    ("slt",    OP, 0x00, 2, |a, b| (s(a) < s(b)).into()),
    ("sltu",   OP, 0x00, 3, |a, b| (u(a) < u(b)).into()),
    ("xor",    OP, 0x00, 4, |a, b| (a | b) & !(a & b)),
    ("srl",    OP, 0x00, 5, |a, b| x(u(a) / power(b % 64))),
    ("sra",    OP, 0x20, 5, |a, b| x(s(a).div_euclid(power(b % 64)))),
    ("or",     OP, 0x00, 6, |a, b| !(!a & !b)),
    ("and",    OP, 0x00, 7, |a, b| !(!a | !b)),
    ("mul",    OP, 0x01, 0, |a, b| x(u(a) * s(b))),
    ("mulh",   OP, 0x01, 1, |a, b| x((s(a) * s(b)).div_euclid(power(64)))),
    ("mulhsu", OP, 0x01, 2, |a, b| x((s(a) * u(b)).div_euclid(power(64)))),
    ("mulhu",  OP, 0x01, 3, |a, b| ((u128::from(a) * u128::from(b)) / (1 << 64)) as u64),
    ("div",    OP, 0x01, 4, |a, b| x(quotient(s(a), s(b)))),
    ("divu",   OP, 0x01, 5, |a, b| x(quotient(u(a), u(b)))),
    ("rem",    OP, 0x01, 6, |a, b| x(remainder(s(a), s(b)))),
    ("remu",   OP, 0x01, 7, |a, b| x(remainder(u(a), u(b)))),
    ("addw",   OP_32, 0x00, 0, |a, b| w(u(a) + u(b))),
    ("subw",   OP_32, 0x20, 0, |a, b| w(u(a) - u(b))),
    ("sllw",   OP_32, 0x00, 1, |a, b| w(uw(a) * power(b % 32))),
    ("srlw",   OP_32, 0x00, 5, |a, b| w(uw(a) / power(b % 32))),
    ("sraw",   OP_32, 0x20, 5, |a, b| w(sw(a).div_euclid(power(b % 32)))),
    ("mulw",   OP_32, 0x01, 0, |a, b| w(sw(a) * sw(b))),
    ("divw",   OP_32, 0x01, 4, |a, b| w(quotient(sw(a), sw(b)))),
    ("divuw",  OP_32, 0x01, 5, |a, b| w(quotient(uw(a), uw(b)))),
    ("remw",   OP_32, 0x01, 6, |a, b| w(remainder(sw(a), sw(b)))),
    ("remuw",  OP_32, 0x01, 7, |a, b| w(remainder(uw(a), uw(b)))),
];

/// Immediates, and for shifts their amounts.
const IMMEDIATES: [i32; 10] = [0, 1, -1, 2047, -2048, 5, 31, 32, 63, -32];

#[rustfmt::skip]
const IMMEDIATE: &[(&str, u32, u32, Definition)] = &[
    ("addi",  OP_IMM, 0, |a, b| x(u(a) + s(b))),
    ("slti",  OP_IMM, 2, |a, b| (s(a) < s(b)).into()),
    ("sltiu", OP_IMM, 3, |a, b| (u(a) < u(b)).into()),
    ("xori",  OP_IMM, 4, |a, b| (a | b) & !(a & b)),
    ("ori",   OP_IMM, 6, |a, b| !(!a & !b)),
    ("andi",  OP_IMM, 7, |a, b| !(!a | !b)),
    ("addiw", OP_IMM_32, 0, |a, b| w(u(a) + s(b))),
];

/// Opcode, `funct3`, what stands above the amount, the number of amounts.
#[rustfmt::skip]
const SHIFT: &[(&str, u32, u32, i32, u64, Definition)] = &[
    ("slli",  OP_IMM, 1, 0x000, 64, |a, b| x((u(a) * power(b)) & i128::from(u64::MAX))),
    ("srli",  OP_IMM, 5, 0x000, 64, |a, b| x(u(a) / power(b))),
    ("srai",  OP_IMM, 5, 0x400, 64, |a, b| x(s(a).div_euclid(power(b)))),
    ("slliw", OP_IMM_32, 1, 0x000, 32, |a, b| w(uw(a) * power(b))),
    ("srliw", OP_IMM_32, 5, 0x000, 32, |a, b| w(uw(a) / power(b))),
    ("sraiw", OP_IMM_32, 5, 0x400, 32, |a, b| w(sw(a).div_euclid(power(b)))),
];

/// Executes all of `code`, which computes into `a2` from `a0` and `a1`, one after the other, and gives their results.
fn results(code: &[u32], a: u64, b: u64) -> Vec<u64> {
    let mut program = Vec::new();
    for (index, word) in (0..).zip(code) {
        program.extend([*word, sd(A2, T0, index)]);
        // The offset of a store has 12 bits; this way there is no end to them.
        program.extend([addi(T0, T0, 7)]);
    }
    let run = Run::new(&[]).with(A0, a).with(A1, b).with(T0, RESULTS);
    // Beyond the handlers.
    run.machine.load_program(BASE + 0x1000, &program);
    let mut run = run;
    crate::vcpu::Vcpu::set_boot(&mut run.hart, BASE + 0x1000, a, b);
    let run = run.with(T0, RESULTS).steps(program.len() as u64);
    run.at(0x1000 + 4 * program.len() as u64);
    (0..code.len() as u64).map(|index| run.machine.peek(RESULTS + 8 * index)).collect()
}

#[test]
fn register_operations_follow_their_definitions_on_all_corners() {
    let code: Vec<_> = REGISTER.iter().map(|row| r(row.1, row.2, row.3, A2, A0, A1)).collect();
    for a in CORNERS {
        for b in CORNERS {
            for (row, got) in REGISTER.iter().zip(results(&code, a, b)) {
                assert_eq!(got, row.4(a, b), "{} {a:#x}, {b:#x}: got {got:#x}", row.0);
            }
        }
    }
}

#[test]
fn immediate_operations_follow_their_definitions_on_all_corners() {
    for imm in IMMEDIATES {
        let code: Vec<_> = IMMEDIATE.iter().map(|row| i(row.1, row.2, A2, A0, imm)).collect();
        for a in CORNERS {
            for (row, got) in IMMEDIATE.iter().zip(results(&code, a, 0)) {
                let want = row.3(a, i64::from(imm) as u64);
                assert_eq!(got, want, "{} {a:#x}, {imm}: got {got:#x}", row.0);
            }
        }
    }
}

#[test]
fn shifts_by_every_amount_follow_their_definitions() {
    for (name, opcode, funct3, high, amounts, definition) in SHIFT {
        let code: Vec<_> =
            (0..*amounts as i32).map(|amount| i(*opcode, *funct3, A2, A0, high | amount)).collect();
        for a in CORNERS {
            for (amount, got) in (0..).zip(results(&code, a, 0)) {
                assert_eq!(got, definition(a, amount), "{name} {a:#x}, {amount}: got {got:#x}");
            }
        }
    }
}

#[test]
fn upper_immediates_fill_bits_12_to_31_and_the_sign() {
    for imm in [0u32, 1, 0x7_ffff, 0x8_0000, 0xf_ffff, 0x12345] {
        let (lui, auipc) = (imm << 12 | A2 << 7 | 0x37, imm << 12 | A2 << 7 | 0x17);
        let value = w(i128::from(imm) * power(12));
        assert_eq!(results(&[lui], 0, 0), [value]);
        assert_eq!(results(&[auipc], 0, 0), [(BASE + 0x1000).wrapping_add(value)]);
    }
}

/// `x0` as a source is 0 and as a destination nothing; all other registers are apart from each other.
#[test]
fn every_register_serves_as_source_and_destination() {
    for register in 0..32 {
        let value = 0x1111_0000_0000_0000 | u64::from(register);
        let copy = addi(if register == A2 { A3 } else { A2 }, register, 0);
        let set = addi(register, A0, 0);
        let run = Run::new(&[set, copy]).with(A0, value).steps(2);
        let want = if register == 0 { 0 } else { value };
        assert_eq!(run.reg(if register == A2 { A3 } else { A2 }), want, "x{register}");
        assert_eq!(run.reg(register), want, "x{register}");
        let touched = [register, A0, A2, A3];
        assert!((1..32).all(|other| touched.contains(&other) || run.reg(other) == 0), "x{register}");
    }
}
