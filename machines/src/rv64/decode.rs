//! Instructions, decoded: RV64IMAC with Zicsr and Zifencei, and the privileged ones.
//!
//! Source: the RISC-V unprivileged specification 20191213 and the privileged specification 1.12.
//! Compressed instructions become the [`Op`] of the instruction that they abbreviate.

use super::compressed;

/// What an instruction does. Names are the specification's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[rustfmt::skip]
pub(super) enum Kind {
    /// Not looked at yet: what a fresh code page is full of.
    Undecoded,
    /// The first half of an instruction that ends in the next page.
    Cross,
    Illegal,
    Lui, Auipc, Jal, Jalr,
    Beq, Bne, Blt, Bge, Bltu, Bgeu,
    Lb, Lh, Lw, Ld, Lbu, Lhu, Lwu,
    Sb, Sh, Sw, Sd,
    Addi, Slti, Sltiu, Xori, Ori, Andi, Slli, Srli, Srai,
    Addiw, Slliw, Srliw, Sraiw,
    Add, Sub, Sll, Slt, Sltu, Xor, Srl, Sra, Or, And,
    Addw, Subw, Sllw, Srlw, Sraw,
    Mul, Mulh, Mulhsu, Mulhu, Div, Divu, Rem, Remu,
    Mulw, Divw, Divuw, Remw, Remuw,
    /// Load-reserved; the `D` form is the one of 64 bits, here and below.
    LrW, LrD, ScW, ScD,
    /// The other atomics; `imm` is funct5.
    AmoW, AmoD,
    Fence, FenceI,
    Ecall, Ebreak, Mret, Sret, Wfi, SfenceVma,
    /// `imm` is the CSR's number; in the immediate forms `rs1` holds the immediate.
    Csrrw, Csrrs, Csrrc, Csrrwi, Csrrsi, Csrrci,
}

/// The register that takes what is written to `x0`, so that execution needs no test for it.
pub(super) const SINK: u8 = 32;

/// One decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Op {
    pub kind: Kind,
    /// Destination, 1..=31 or [`SINK`].
    pub rd: u8,
    pub rs1: u8,
    pub rs2: u8,
    /// The immediate, sign-extended by whoever uses it.
    pub imm: i32,
    /// The instruction's bits: the value of `mtval` when it turns out to be illegal.
    pub raw: u32,
    /// Length in bytes, 2 or 4.
    pub len: u32,
}

impl Op {
    /// What stands in a code page where nothing was decoded yet.
    pub const UNDECODED: Self =
        Self { kind: Kind::Undecoded, rd: SINK, rs1: 0, rs2: 0, imm: 0, raw: 0, len: 2 };

    /// An instruction; `rd` is the architectural number, 0 included.
    pub fn new(kind: Kind, rd: u32, rs1: u32, rs2: u32, imm: i32) -> Self {
        let rd = if rd == 0 { SINK } else { (rd & 31) as u8 };
        Self { kind, rd, rs1: (rs1 & 31) as u8, rs2: (rs2 & 31) as u8, imm, raw: 0, len: 4 }
    }

    /// An instruction that does not exist.
    pub fn illegal() -> Self {
        Self::new(Kind::Illegal, 0, 0, 0, 0)
    }
}

/// Is this the first half of an instruction of four bytes?
pub(super) fn is_long(parcel: u16) -> bool {
    parcel & 3 == 3
}

/// Decodes the instruction whose bits are `raw`; a short one is in the low half.
pub(super) fn decode(raw: u32) -> Op {
    if is_long(raw as u16) {
        Op { raw, len: 4, ..decode_long(raw) }
    } else {
        let raw = raw & 0xffff;
        Op { raw, len: 2, ..compressed::expand(raw) }
    }
}

/// `raw[hi..=lo]`.
fn bits(raw: u32, hi: u32, lo: u32) -> u32 {
    (raw >> lo) & (u32::MAX >> (31 - (hi - lo)))
}

fn imm_i(raw: u32) -> i32 {
    (raw as i32) >> 20
}

fn imm_s(raw: u32) -> i32 {
    ((raw as i32) >> 25) << 5 | bits(raw, 11, 7) as i32
}

fn imm_b(raw: u32) -> i32 {
    ((raw as i32) >> 31) << 12
        | (bits(raw, 7, 7) << 11 | bits(raw, 30, 25) << 5 | bits(raw, 11, 8) << 1) as i32
}

fn imm_j(raw: u32) -> i32 {
    ((raw as i32) >> 31) << 20
        | (bits(raw, 19, 12) << 12 | bits(raw, 20, 20) << 11 | bits(raw, 30, 21) << 1) as i32
}

fn decode_long(raw: u32) -> Op {
    let (rd, rs1, rs2) = (bits(raw, 11, 7), bits(raw, 19, 15), bits(raw, 24, 20));
    let funct3 = bits(raw, 14, 12);
    let funct7 = bits(raw, 31, 25);
    let found = match bits(raw, 6, 2) {
        0b01101 => Some((Kind::Lui, (raw & 0xffff_f000) as i32)),
        0b00101 => Some((Kind::Auipc, (raw & 0xffff_f000) as i32)),
        0b11011 => Some((Kind::Jal, imm_j(raw))),
        0b11001 => (funct3 == 0).then_some((Kind::Jalr, imm_i(raw))),
        0b11000 => branch(funct3).map(|kind| (kind, imm_b(raw))),
        0b00000 => load(funct3).map(|kind| (kind, imm_i(raw))),
        0b01000 => store(funct3).map(|kind| (kind, imm_s(raw))),
        0b00100 => op_imm(funct3, raw),
        0b00110 => op_imm_32(funct3, raw),
        0b01100 => op(funct7, funct3).map(|kind| (kind, 0)),
        0b01110 => op_32(funct7, funct3).map(|kind| (kind, 0)),
        0b01011 => amo(funct3, funct7 >> 2, rs2),
        0b00011 => match funct3 {
            0 => Some((Kind::Fence, 0)),
            1 => Some((Kind::FenceI, 0)),
            _ => None,
        },
        0b11100 => system(raw),
        _ => None,
    };
    found.map_or_else(Op::illegal, |(kind, imm)| Op::new(kind, rd, rs1, rs2, imm))
}

fn branch(funct3: u32) -> Option<Kind> {
    Some(match funct3 {
        0 => Kind::Beq,
        1 => Kind::Bne,
        4 => Kind::Blt,
        5 => Kind::Bge,
        6 => Kind::Bltu,
        7 => Kind::Bgeu,
        _ => return None,
    })
}

fn load(funct3: u32) -> Option<Kind> {
    Some(match funct3 {
        0 => Kind::Lb,
        1 => Kind::Lh,
        2 => Kind::Lw,
        3 => Kind::Ld,
        4 => Kind::Lbu,
        5 => Kind::Lhu,
        6 => Kind::Lwu,
        _ => return None,
    })
}

fn store(funct3: u32) -> Option<Kind> {
    Some(match funct3 {
        0 => Kind::Sb,
        1 => Kind::Sh,
        2 => Kind::Sw,
        3 => Kind::Sd,
        _ => return None,
    })
}

fn op_imm(funct3: u32, raw: u32) -> Option<(Kind, i32)> {
    let shamt = bits(raw, 25, 20) as i32;
    Some(match (funct3, bits(raw, 31, 26)) {
        (0, _) => (Kind::Addi, imm_i(raw)),
        (2, _) => (Kind::Slti, imm_i(raw)),
        (3, _) => (Kind::Sltiu, imm_i(raw)),
        (4, _) => (Kind::Xori, imm_i(raw)),
        (6, _) => (Kind::Ori, imm_i(raw)),
        (7, _) => (Kind::Andi, imm_i(raw)),
        (1, 0) => (Kind::Slli, shamt),
        (5, 0) => (Kind::Srli, shamt),
        (5, 0x10) => (Kind::Srai, shamt),
        _ => return None,
    })
}

fn op_imm_32(funct3: u32, raw: u32) -> Option<(Kind, i32)> {
    let shamt = bits(raw, 24, 20) as i32;
    Some(match (funct3, bits(raw, 31, 25)) {
        (0, _) => (Kind::Addiw, imm_i(raw)),
        (1, 0) => (Kind::Slliw, shamt),
        (5, 0) => (Kind::Srliw, shamt),
        (5, 0x20) => (Kind::Sraiw, shamt),
        _ => return None,
    })
}

fn op(funct7: u32, funct3: u32) -> Option<Kind> {
    Some(match (funct7, funct3) {
        (0, 0) => Kind::Add,
        (0x20, 0) => Kind::Sub,
        (0, 1) => Kind::Sll,
        (0, 2) => Kind::Slt,
        (0, 3) => Kind::Sltu,
        (0, 4) => Kind::Xor,
        (0, 5) => Kind::Srl,
        (0x20, 5) => Kind::Sra,
        (0, 6) => Kind::Or,
        (0, 7) => Kind::And,
        (1, 0) => Kind::Mul,
        (1, 1) => Kind::Mulh,
        (1, 2) => Kind::Mulhsu,
        (1, 3) => Kind::Mulhu,
        (1, 4) => Kind::Div,
        (1, 5) => Kind::Divu,
        (1, 6) => Kind::Rem,
        (1, 7) => Kind::Remu,
        _ => return None,
    })
}

fn op_32(funct7: u32, funct3: u32) -> Option<Kind> {
    Some(match (funct7, funct3) {
        (0, 0) => Kind::Addw,
        (0x20, 0) => Kind::Subw,
        (0, 1) => Kind::Sllw,
        (0, 5) => Kind::Srlw,
        (0x20, 5) => Kind::Sraw,
        (1, 0) => Kind::Mulw,
        (1, 4) => Kind::Divw,
        (1, 5) => Kind::Divuw,
        (1, 6) => Kind::Remw,
        (1, 7) => Kind::Remuw,
        _ => return None,
    })
}

fn amo(funct3: u32, funct5: u32, rs2: u32) -> Option<(Kind, i32)> {
    let kind = match (funct3, funct5) {
        (2, 0b00010) if rs2 == 0 => Kind::LrW,
        (3, 0b00010) if rs2 == 0 => Kind::LrD,
        (2, 0b00011) => Kind::ScW,
        (3, 0b00011) => Kind::ScD,
        (2, _) => Kind::AmoW,
        (3, _) => Kind::AmoD,
        _ => return None,
    };
    let known = matches!(funct5, 0b00011 | 0b00001 | 0b00000 | 0b00100 | 0b01100 | 0b01000)
        || matches!(funct5, 0b10000 | 0b10100 | 0b11000 | 0b11100)
        || matches!(kind, Kind::LrW | Kind::LrD);
    known.then_some((kind, funct5 as i32))
}

fn system(raw: u32) -> Option<(Kind, i32)> {
    let csr = bits(raw, 31, 20) as i32;
    Some(match bits(raw, 14, 12) {
        1 => (Kind::Csrrw, csr),
        2 => (Kind::Csrrs, csr),
        3 => (Kind::Csrrc, csr),
        5 => (Kind::Csrrwi, csr),
        6 => (Kind::Csrrsi, csr),
        7 => (Kind::Csrrci, csr),
        0 => match raw {
            0x0000_0073 => (Kind::Ecall, 0),
            0x0010_0073 => (Kind::Ebreak, 0),
            0x1020_0073 => (Kind::Sret, 0),
            0x3020_0073 => (Kind::Mret, 0),
            0x1050_0073 => (Kind::Wfi, 0),
            _ if bits(raw, 31, 25) == 0b000_1001 && bits(raw, 11, 7) == 0 => (Kind::SfenceVma, 0),
            _ => return None,
        },
        _ => return None,
    })
}
