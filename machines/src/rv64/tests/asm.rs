//! An assembler of the size that the tests need: one function for each format, and names for the common cases.

pub const ZERO: u32 = 0;
pub const RA: u32 = 1;
pub const T0: u32 = 5;
pub const T1: u32 = 6;
pub const T2: u32 = 7;
pub const A0: u32 = 10;
pub const A1: u32 = 11;
pub const A2: u32 = 12;
pub const A3: u32 = 13;

pub const OP: u32 = 0x33;
pub const OP_32: u32 = 0x3b;
pub const OP_IMM: u32 = 0x13;
pub const OP_IMM_32: u32 = 0x1b;
pub const LOAD: u32 = 0x03;
pub const STORE: u32 = 0x23;
pub const BRANCH: u32 = 0x63;
pub const SYSTEM: u32 = 0x73;
pub const AMO: u32 = 0x2f;

pub const ECALL: u32 = 0x73;
pub const EBREAK: u32 = 0x0010_0073;
pub const MRET: u32 = 0x3020_0073;
pub const SRET: u32 = 0x1020_0073;
pub const WFI: u32 = 0x1050_0073;
pub const SFENCE: u32 = 0x1200_0073;
pub const FENCE: u32 = 0x0ff0_000f;
pub const FENCE_I: u32 = 0x0000_100f;
pub const NOP: u32 = 0x13;

pub const fn r(opcode: u32, funct7: u32, funct3: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub const fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32 & 0xfff) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub const fn s(funct3: u32, rs2: u32, rs1: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 0x1f) << 7 | STORE
}

pub const fn b(funct3: u32, rs1: u32, rs2: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 12 & 1) << 31
        | (imm >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (imm >> 1 & 0xf) << 8
        | (imm >> 11 & 1) << 7
        | BRANCH
}

pub const fn j(rd: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 0x3ff) << 21
        | (imm >> 11 & 1) << 20
        | (imm >> 12 & 0xff) << 12
        | rd << 7
        | 0x6f
}

pub const fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(OP_IMM, 0, rd, rs1, imm)
}

pub const fn ld(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(LOAD, 3, rd, rs1, imm)
}

pub const fn sd(rs2: u32, rs1: u32, imm: i32) -> u32 {
    s(3, rs2, rs1, imm)
}

pub const fn jalr(rd: u32, rs1: u32) -> u32 {
    i(0x67, 0, rd, rs1, 0)
}

pub const fn csrrw(rd: u32, csr: u32, rs1: u32) -> u32 {
    i(SYSTEM, 1, rd, rs1, csr as i32)
}

pub const fn csrrs(rd: u32, csr: u32, rs1: u32) -> u32 {
    i(SYSTEM, 2, rd, rs1, csr as i32)
}

pub const fn csrrc(rd: u32, csr: u32, rs1: u32) -> u32 {
    i(SYSTEM, 3, rd, rs1, csr as i32)
}

/// `funct5` of an AMO; `funct3` 2 is 32 bits, 3 is 64.
pub const fn amo(funct5: u32, funct3: u32, rd: u32, rs2: u32, rs1: u32) -> u32 {
    r(AMO, funct5 << 2, funct3, rd, rs1, rs2)
}

pub const fn lr(funct3: u32, rd: u32, rs1: u32) -> u32 {
    amo(0b00010, funct3, rd, 0, rs1)
}

pub const fn sc(funct3: u32, rd: u32, rs2: u32, rs1: u32) -> u32 {
    amo(0b00011, funct3, rd, rs2, rs1)
}
