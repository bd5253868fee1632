//! The embedded CPU: single instructions and CSR accesses against the manual's tables, and programs that have to end the
//! same whether they are run at once or one instruction at a time.

mod board;
mod manual;
mod rules;

use arbitrary::{Arbitrary, Unstructured};
use board::{BASE, Board, RAM};
use machines::rv64::{Irq, Mode, Pause};
use manual::Encoding;
use rules::{Seen, is_illegal};

/// Steps of one run, at most.
const STEPS: usize = 200;
/// Instructions of a program that is run twice.
const PROGRAM: u64 = 400;

/// CSRs that mean something; any other number may be tried too.
const CSRS: [u16; 44] = [
    0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x144, 0x180, 0x300, 0x301, 0x302, 0x303,
    0x304, 0x305, 0x306, 0x30a, 0x320, 0x323, 0x340, 0x341, 0x342, 0x343, 0x344, 0x3a0, 0x3a1, 0x3a2, 0x3b0,
    0x3b1, 0x3b2, 0x3bf, 0xb00, 0xb02, 0xb03, 0xc00, 0xc01, 0xc02, 0xc03, 0xf11, 0xf12, 0xf14, 0x7a0,
];

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Step {
    /// Any bits at all, as the next instruction.
    Bits(u32),
    /// An instruction that exists, with any operands; or what is a bit away from one.
    Known {
        which: u8,
        operands: u32,
        flip: Option<u8>,
    },
    Csr {
        which: u8,
        any: Option<u16>,
        op: u8,
        rd: u8,
        rs1: u8,
        value: u64,
    },
    Register {
        number: u8,
        value: Number,
    },
    /// A return to that mode.
    Mode(u8),
    Line {
        line: u8,
        level: bool,
    },
    Poke {
        at: u16,
        value: u64,
    },
    /// Whatever is there.
    Run(u8),
    Reset,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Number {
    Ram(u32),
    Device(u8),
    Any(u64),
}

impl Number {
    fn value(self) -> u64 {
        match self {
            Self::Ram(at) => BASE + u64::from(at) % RAM,
            Self::Device(at) => board::DEVICE + u64::from(at),
            Self::Any(value) => value,
        }
    }
}

/// Runs what the bytes say: a program twice, or steps that are looked at one by one.
pub(super) fn body(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    match bytes.arbitrary::<u8>() {
        Ok(kind) if kind % 4 == 0 => twice(&mut bytes),
        Ok(_) => steps(&mut bytes),
        Err(_) => {}
    }
}

fn steps(bytes: &mut Unstructured<'_>) {
    let mut board = Board::new();
    board.boot();
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        let Ok(step) = bytes.arbitrary::<Step>() else { break };
        match step {
            Step::Bits(raw) => execute(&mut board, raw),
            Step::Known { which, operands, flip } => {
                let flip = flip.map_or(0, |bit| 1 << (bit & 31));
                execute(&mut board, manual::instruction(which, operands) ^ flip);
            }
            Step::Csr { which, any, op, rd, rs1, value } => {
                let csr = any.map_or(CSRS[usize::from(which) % CSRS.len()], |any| any & 0xfff);
                board.hart.set_register(rs1 & 31, value);
                let op = [1, 2, 3, 5, 6, 7][usize::from(op % 6)];
                let (rd, rs1) = (u32::from(rd & 31), u32::from(rs1 & 31));
                execute(&mut board, u32::from(csr) << 20 | rs1 << 15 | op << 12 | rd << 7 | 0x73);
            }
            Step::Register { number, value } => board.hart.set_register(number, value.value()),
            Step::Mode(mode) => go_to(&mut board, mode),
            Step::Line { line, level } => {
                let lines = [Irq::MSIP, Irq::MTIP, Irq::MEIP, Irq::SEIP, Irq::SSIP, Irq::STIP];
                board.lines.set(lines[usize::from(line) % lines.len()], level);
            }
            Step::Poke { at, value } => board.put(BASE + u64::from(at), &value.to_le_bytes()),
            Step::Run(count) => {
                if board.hart.advance(count.into()) == Pause::Waiting {
                    board.boot();
                }
            }
            Step::Reset => board.boot(),
        }
        rules::hold(&board.hart);
    }
}

/// Returns from M-mode to `mode`, at a place where there is room for code.
fn go_to(board: &mut Board, mode: u8) {
    if board.hart.mode() != Mode::Machine {
        board.boot();
    }
    let status = board.hart.csr(0x300).unwrap() & !(3 << 11) | [0u64, 1, 3][usize::from(mode % 3)] << 11;
    board.hart.set_register(5, status);
    execute(board, 0x3002_9073);
    board.hart.set_register(5, BASE + 0x2000);
    execute(board, 0x3412_9073);
    execute(board, 0x3020_0073);
}

/// Puts an instruction where the hart is, runs it, and looks at what it did.
fn execute(board: &mut Board, raw: u32) {
    let pc = board.hart.pc();
    let translated = board.hart.mode() != Mode::Machine && board.hart.csr(0x180).unwrap() >> 60 != 0;
    if !translated && !(BASE..BASE + RAM - 8).contains(&pc) {
        return board.boot();
    }
    let known = (!translated).then_some(Encoding(raw));
    if known.is_some() {
        board.put(pc, &raw.to_le_bytes());
    }
    let before = Seen::of(&board.hart);
    let illegal = known.map(|encoding| is_illegal(encoding, &before));
    if board.hart.advance(1) == Pause::Waiting {
        return board.boot();
    }
    before.led_to(&Seen::of(&board.hart), known, illegal);
}

/// Runs one program on two boards.
fn twice(bytes: &mut Unstructured<'_>) {
    let mode = bytes.arbitrary::<u8>().unwrap_or(0);
    let seed = bytes.arbitrary::<u64>().unwrap_or(0);
    let lines = bytes.arbitrary::<u8>().unwrap_or(0);
    let program = bytes.peek_bytes(bytes.len()).unwrap_or(&[]).to_vec();
    let mut boards = [(); 2].map(|()| {
        let mut board = Board::new();
        board.boot();
        go_to(&mut board, mode);
        board.put(board.hart.pc(), &program);
        for number in 1..32 {
            let value = seed.rotate_left(number.into()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let near = BASE + 0x3000 + value % 0x1000;
            board.hart.set_register(number, if value & 1 << 20 == 0 { near } else { value });
        }
        board.lines.set(Irq::from_bits_truncate(u32::from(lines) << 4), true);
        board
    });
    boards[0].hart.advance(PROGRAM);
    for _ in 0..PROGRAM {
        boards[1].hart.advance(1);
    }
    let [at_once, stepped] = boards.each_ref().map(|board| (Seen::of(&board.hart), board.registers()));
    assert_eq!(at_once, stepped, "at once and step by step");
    assert!(boards[0].memory() == boards[1].memory(), "memory, at once and step by step");
}
