//! The C extension without its floating-point loads and stores: each parcel becomes the instruction that
//! it abbreviates (unprivileged specification 20191213, chapter 16). Hints are what they expand to, no-ops.

use super::decode::{Kind, Op};

/// The stack pointer's number.
const SP: u32 = 2;

/// `raw[hi..=lo] << to`: immediates are scattered, and this puts one piece where it belongs.
fn piece(raw: u32, hi: u32, lo: u32, to: u32) -> u32 {
    ((raw >> lo) & ((1 << (hi - lo + 1)) - 1)) << to
}

/// `value`, a two's complement number of `width` bits, sign-extended.
fn signed(value: u32, width: u32) -> i32 {
    ((value << (32 - width)) as i32) >> (32 - width)
}

/// Expands the parcel `raw`, whose two lowest bits are not both set.
pub(super) fn expand(raw: u32) -> Op {
    let op = match raw & 3 {
        0 => quadrant0(raw),
        1 => quadrant1(raw),
        _ => quadrant2(raw),
    };
    op.unwrap_or_else(Op::illegal)
}

/// The immediate of six bits that most of quadrants 1 and 2 share.
fn imm6(raw: u32) -> i32 {
    signed(piece(raw, 12, 12, 5) | piece(raw, 6, 2, 0), 6)
}

fn shamt(raw: u32) -> i32 {
    (piece(raw, 12, 12, 5) | piece(raw, 6, 2, 0)) as i32
}

fn quadrant0(raw: u32) -> Option<Op> {
    let rd = piece(raw, 4, 2, 0) + 8;
    let rs1 = piece(raw, 9, 7, 0) + 8;
    let word = (piece(raw, 12, 10, 3) | piece(raw, 6, 6, 2) | piece(raw, 5, 5, 6)) as i32;
    let double = (piece(raw, 12, 10, 3) | piece(raw, 6, 5, 6)) as i32;
    match raw >> 13 {
        0 => {
            let imm =
                piece(raw, 12, 11, 4) | piece(raw, 10, 7, 6) | piece(raw, 6, 6, 2) | piece(raw, 5, 5, 3);
            (imm != 0).then(|| Op::new(Kind::Addi, rd, SP, 0, imm as i32))
        }
        2 => Some(Op::new(Kind::Lw, rd, rs1, 0, word)),
        3 => Some(Op::new(Kind::Ld, rd, rs1, 0, double)),
        6 => Some(Op::new(Kind::Sw, 0, rs1, rd, word)),
        7 => Some(Op::new(Kind::Sd, 0, rs1, rd, double)),
        _ => None,
    }
}

fn quadrant1(raw: u32) -> Option<Op> {
    let rd = piece(raw, 11, 7, 0);
    let short = piece(raw, 9, 7, 0) + 8;
    match raw >> 13 {
        0 => Some(Op::new(Kind::Addi, rd, rd, 0, imm6(raw))),
        1 => (rd != 0).then(|| Op::new(Kind::Addiw, rd, rd, 0, imm6(raw))),
        2 => Some(Op::new(Kind::Addi, rd, 0, 0, imm6(raw))),
        3 if rd == SP => {
            let imm = piece(raw, 12, 12, 9)
                | piece(raw, 6, 6, 4)
                | piece(raw, 5, 5, 6)
                | piece(raw, 4, 3, 7)
                | piece(raw, 2, 2, 5);
            (imm != 0).then(|| Op::new(Kind::Addi, SP, SP, 0, signed(imm, 10)))
        }
        3 => (imm6(raw) != 0).then(|| Op::new(Kind::Lui, rd, 0, 0, imm6(raw) << 12)),
        4 => arithmetic(raw, short),
        5 => Some(Op::new(Kind::Jal, 0, 0, 0, jump(raw))),
        6 => Some(Op::new(Kind::Beq, 0, short, 0, branch(raw))),
        _ => Some(Op::new(Kind::Bne, 0, short, 0, branch(raw))),
    }
}

fn jump(raw: u32) -> i32 {
    let imm = piece(raw, 12, 12, 11)
        | piece(raw, 11, 11, 4)
        | piece(raw, 10, 9, 8)
        | piece(raw, 8, 8, 10)
        | piece(raw, 7, 7, 6)
        | piece(raw, 6, 6, 7)
        | piece(raw, 5, 3, 1)
        | piece(raw, 2, 2, 5);
    signed(imm, 12)
}

fn branch(raw: u32) -> i32 {
    let imm = piece(raw, 12, 12, 8)
        | piece(raw, 11, 10, 3)
        | piece(raw, 6, 5, 6)
        | piece(raw, 4, 3, 1)
        | piece(raw, 2, 2, 5);
    signed(imm, 9)
}

fn arithmetic(raw: u32, rd: u32) -> Option<Op> {
    let rs2 = piece(raw, 4, 2, 0) + 8;
    let kind = match piece(raw, 11, 10, 0) {
        0 => return Some(Op::new(Kind::Srli, rd, rd, 0, shamt(raw))),
        1 => return Some(Op::new(Kind::Srai, rd, rd, 0, shamt(raw))),
        2 => return Some(Op::new(Kind::Andi, rd, rd, 0, imm6(raw))),
        _ => match (piece(raw, 12, 12, 0), piece(raw, 6, 5, 0)) {
            (0, 0) => Kind::Sub,
            (0, 1) => Kind::Xor,
            (0, 2) => Kind::Or,
            (0, _) => Kind::And,
            (_, 0) => Kind::Subw,
            (_, 1) => Kind::Addw,
            _ => return None,
        },
    };
    Some(Op::new(kind, rd, rd, rs2, 0))
}

fn quadrant2(raw: u32) -> Option<Op> {
    let rd = piece(raw, 11, 7, 0);
    let rs2 = piece(raw, 6, 2, 0);
    let some = rd != 0;
    match raw >> 13 {
        0 => Some(Op::new(Kind::Slli, rd, rd, 0, shamt(raw))),
        2 => {
            let imm = piece(raw, 12, 12, 5) | piece(raw, 6, 4, 2) | piece(raw, 3, 2, 6);
            some.then(|| Op::new(Kind::Lw, rd, SP, 0, imm as i32))
        }
        3 => {
            let imm = piece(raw, 12, 12, 5) | piece(raw, 6, 5, 3) | piece(raw, 4, 2, 6);
            some.then(|| Op::new(Kind::Ld, rd, SP, 0, imm as i32))
        }
        4 => match (piece(raw, 12, 12, 0), rs2) {
            (0, 0) => some.then(|| Op::new(Kind::Jalr, 0, rd, 0, 0)),
            (0, _) => Some(Op::new(Kind::Add, rd, 0, rs2, 0)),
            (_, 0) if !some => Some(Op::new(Kind::Ebreak, 0, 0, 0, 0)),
            (_, 0) => Some(Op::new(Kind::Jalr, 1, rd, 0, 0)),
            (_, _) => Some(Op::new(Kind::Add, rd, rd, rs2, 0)),
        },
        6 => {
            let imm = piece(raw, 12, 9, 2) | piece(raw, 8, 7, 6);
            Some(Op::new(Kind::Sw, 0, SP, rs2, imm as i32))
        }
        7 => {
            let imm = piece(raw, 12, 10, 3) | piece(raw, 9, 7, 6);
            Some(Op::new(Kind::Sd, 0, SP, rs2, imm as i32))
        }
        _ => None,
    }
}
