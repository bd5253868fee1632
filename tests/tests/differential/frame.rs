//! The guest's frame: starts each program in its mode with its registers, logs its traps, and keeps what it left.
//!
//! A program's context is a block of doublewords at the address that `mscratch` holds while the program runs. A trap
//! at the program's end finishes it; after any other one it goes on behind the instruction, or, when a fetch failed,
//! where `ra` points. A trap that is delegated ends in an ECALL from S-mode, upon which M-mode does the same for it.

use crate::asm::*;

/// Where the image is loaded, and where it starts.
pub const BASE: u64 = 0x8000_0000;
/// The finisher of the board: 0x5555 written there powers it off.
const FINISHER: u32 = 0x10_0000;

const SP: u32 = 2;
const T3: u32 = 28;
const T4: u32 = 29;

const MSTATUS: u32 = 0x300;
const MTVEC: u32 = 0x305;
const MSCRATCH: u32 = 0x340;
const MEPC: u32 = 0x341;
const MCAUSE: u32 = 0x342;
const MTVAL: u32 = 0x343;
const SEPC: u32 = 0x141;
const SCAUSE: u32 = 0x142;
const STVAL: u32 = 0x143;
const STVEC: u32 = 0x105;
const MEDELEG: u32 = 0x302;
const SATP: u32 = 0x180;
const PMPCFG0: u32 = 0x3a0;
const PMPADDR0: u32 = 0x3b0;

/// Registers that each program starts with at 0 and whose last values are kept.
pub const CSRS: [(u32, &str); 10] = [
    (0x140, "sscratch"),
    (0x141, "sepc"),
    (0x142, "scause"),
    (0x143, "stval"),
    (0x105, "stvec"),
    (0x106, "scounteren"),
    (0x302, "medeleg"),
    (0x303, "mideleg"),
    (0x304, "mie"),
    (0x306, "mcounteren"),
];

/// Doublewords of a context; `x1`..`x31` come first, at their numbers.
pub mod slot {
    pub const END: usize = 32;
    pub const START: usize = 33;
    /// Where the next entry of the log goes.
    pub const LOG: usize = 34;
    /// The next program's context, or 0.
    pub const NEXT: usize = 35;
    pub const SATP: usize = 36;
    pub const MSTATUS: usize = 37;
    /// `pmpcfg0`, then `pmpaddr0` and its successors.
    pub const PMP: usize = 38;
    pub const STVEC: usize = 43;
    pub const MEDELEG: usize = 44;
    pub const CSRS: usize = 45;
    pub const COUNT: usize = 64;
}

/// Doublewords of an entry of the log: `mepc`, `mcause`, `mtval`, `mstatus`.
pub const LOG_ENTRY: usize = 4;

/// Where delegated traps go: the offset from [`BASE`] of an ECALL.
pub const DELEGATED: u64 = 4;

/// The frame's instructions, from [`BASE`] on, for a guest whose first context is at `first`.
pub fn frame(first: u64) -> Vec<u32> {
    let mut frame = Frame::default();
    frame.entry();
    frame.start();
    frame.trap();
    frame.below();
    frame.done();
    frame.finish();
    frame.link(first)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Label {
    Start,
    Trap,
    Done,
    Restore,
    Resume,
    Below,
    Again,
    Skip,
    Entry,
    Finish,
    Park,
    First,
}

enum Fixup {
    /// `jal x0`.
    Jump,
    /// A branch of this condition.
    Branch(u32, u32, u32),
    /// `auipc` and `addi` into this register.
    Address(u32),
}

#[derive(Default)]
struct Frame {
    words: Vec<u32>,
    labels: Vec<(Label, usize)>,
    fixups: Vec<(usize, Label, Fixup)>,
}

impl Frame {
    fn emit(&mut self, words: &[u32]) {
        self.words.extend(words);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.words.len()));
    }

    fn to(&mut self, label: Label, fixup: Fixup) {
        self.fixups.push((self.words.len(), label, fixup));
        let room = if matches!(self.fixups.last(), Some((_, _, Fixup::Address(_)))) { 2 } else { 1 };
        self.words.resize(self.words.len() + room, 0);
    }

    fn load(&mut self, register: u32, slot: usize) {
        self.emit(&[ld(register, SP, 8 * slot as i32)]);
    }

    fn store(&mut self, register: u32, slot: usize) {
        self.emit(&[sd(register, SP, 8 * slot as i32)]);
    }

    /// The first hart goes to the first program; the others sleep.
    fn entry(&mut self) {
        self.to(Label::Entry, Fixup::Jump);
        self.emit(&[ECALL]);
        self.label(Label::Entry);
        self.emit(&[csrrs(T0, 0xf14, ZERO)]);
        self.to(Label::Park, Fixup::Branch(1, T0, ZERO));
        self.to(Label::Trap, Fixup::Address(T0));
        self.emit(&[csrrw(ZERO, MTVEC, T0)]);
        self.to(Label::First, Fixup::Address(SP));
        self.to(Label::Start, Fixup::Jump);
        self.label(Label::Park);
        self.emit(&[WFI, j(ZERO, -4)]);
    }

    /// Starts the program whose context is in `sp`.
    fn start(&mut self) {
        self.label(Label::Start);
        self.emit(&[csrrw(ZERO, MSCRATCH, SP)]);
        for (csr, _) in CSRS {
            self.emit(&[csrrw(ZERO, csr, ZERO)]);
        }
        self.load(T0, slot::PMP);
        self.emit(&[csrrw(ZERO, PMPCFG0, T0)]);
        for index in 0..4 {
            self.load(T0, slot::PMP + 1 + index);
            self.emit(&[csrrw(ZERO, PMPADDR0 + index as u32, T0)]);
        }
        self.load(T0, slot::STVEC);
        self.emit(&[csrrw(ZERO, STVEC, T0)]);
        self.load(T0, slot::MEDELEG);
        self.emit(&[csrrw(ZERO, MEDELEG, T0)]);
        self.load(T0, slot::SATP);
        self.emit(&[csrrw(ZERO, SATP, T0), SFENCE]);
        self.load(T0, slot::MSTATUS);
        self.emit(&[csrrw(ZERO, MSTATUS, T0)]);
        self.load(T0, slot::START);
        self.emit(&[csrrw(ZERO, MEPC, T0), FENCE_I]);
        self.label(Label::Restore);
        for register in (1..32).filter(|register| *register != SP) {
            self.load(register, register as usize);
        }
        self.load(SP, SP as usize);
        self.emit(&[MRET]);
    }

    /// Every trap leads here.
    fn trap(&mut self) {
        self.label(Label::Trap);
        self.emit(&[csrrw(SP, MSCRATCH, SP)]);
        for register in (1..32).filter(|register| *register != SP) {
            self.store(register, register as usize);
        }
        self.emit(&[csrrw(T0, MSCRATCH, SP)]);
        self.store(T0, SP as usize);
        self.emit(&[csrrs(T0, MEPC, ZERO)]);
        self.load(T1, slot::END);
        self.to(Label::Done, Fixup::Branch(0, T0, T1));
        self.load(T1, slot::STVEC);
        self.to(Label::Below, Fixup::Branch(0, T0, T1));
        self.log([MEPC, MCAUSE, MTVAL, MSTATUS]);
        self.emit(&[csrrs(T2, MCAUSE, ZERO)]);
        self.label(Label::Again);
        for cause in [1, 12] {
            self.emit(&[addi(T3, ZERO, cause)]);
            self.to(Label::Resume, Fixup::Branch(0, T2, T3));
        }
        self.emit(&[i(LOAD, 5, T2, T0, 0), i(OP_IMM, 7, T2, T2, 3), addi(T3, ZERO, 3), addi(T0, T0, 2)]);
        self.to(Label::Skip, Fixup::Branch(1, T2, T3));
        self.emit(&[addi(T0, T0, 2)]);
        self.to(Label::Skip, Fixup::Jump);
        self.label(Label::Resume);
        self.load(T0, RA as usize);
        self.label(Label::Skip);
        self.emit(&[csrrw(ZERO, MEPC, T0)]);
        self.to(Label::Restore, Fixup::Jump);
    }

    /// A trap that S-mode has taken, and the way back into the mode that it came from.
    fn below(&mut self) {
        self.label(Label::Below);
        self.log([SEPC, SCAUSE, STVAL, MSTATUS]);
        // MPP becomes SPP.
        self.emit(&[csrrs(T2, MSTATUS, ZERO), 2 << 12 | T3 << 7 | 0x37, addi(T3, T3, -0x800)]);
        self.emit(&[csrrc(ZERO, MSTATUS, T3), i(OP_IMM, 7, T2, T2, 0x100), i(OP_IMM, 1, T2, T2, 3)]);
        self.emit(&[csrrs(ZERO, MSTATUS, T2), csrrs(T0, SEPC, ZERO), csrrs(T2, SCAUSE, ZERO)]);
        self.to(Label::Again, Fixup::Jump);
    }

    /// Adds an entry to the log.
    fn log(&mut self, csrs: [u32; LOG_ENTRY]) {
        self.load(T1, slot::LOG);
        for (index, csr) in (0..).zip(csrs) {
            self.emit(&[csrrs(T2, csr, ZERO), sd(T2, T1, 8 * index)]);
        }
        self.emit(&[addi(T1, T1, 8 * LOG_ENTRY as i32)]);
        self.store(T1, slot::LOG);
    }

    /// Keeps the registers of the program that ended and goes to the next one.
    fn done(&mut self) {
        self.label(Label::Done);
        self.emit(&[csrrs(T4, MSTATUS, ZERO)]);
        self.store(T4, slot::MSTATUS);
        for (index, (csr, _)) in CSRS.into_iter().enumerate() {
            self.emit(&[csrrs(T4, csr, ZERO)]);
            self.store(T4, slot::CSRS + index);
        }
        self.load(SP, slot::NEXT);
        self.to(Label::Start, Fixup::Branch(1, SP, ZERO));
    }

    fn finish(&mut self) {
        self.label(Label::Finish);
        self.emit(&[FINISHER | T0 << 7 | 0x37, 0x5000 | T1 << 7 | 0x37, addi(T1, T1, 0x555)]);
        self.emit(&[s(2, T1, T0, 0), j(ZERO, 0)]);
    }

    fn link(mut self, first: u64) -> Vec<u32> {
        for (at, label, fixup) in &self.fixups {
            let here = BASE + 4 * *at as u64;
            let there = self.labels.iter().find(|(name, _)| name == label);
            let target = there.map_or(first, |(_, index)| BASE + 4 * *index as u64);
            let distance = target.wrapping_sub(here) as i32;
            match fixup {
                Fixup::Jump => self.words[*at] = j(ZERO, distance),
                Fixup::Branch(funct3, rs1, rs2) => self.words[*at] = b(*funct3, *rs1, *rs2, distance),
                Fixup::Address(rd) => {
                    let high = (distance as u32).wrapping_add(0x800) & 0xffff_f000;
                    self.words[*at] = high | rd << 7 | 0x17;
                    self.words[*at + 1] = addi(*rd, *rd, (distance as u32 & 0xfff) as i32);
                }
            }
        }
        self.words
    }
}
