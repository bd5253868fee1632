//! Random programs: what a compiler would never write, but always one that comes to its end.
//!
//! Jumps and branches lead forward, to the start of an instruction. `sp`, `s0`, `s1` and `a4` are never written: they are
//! the pointers of loads and stores. The stores of a program without translation therefore stay in its own window.

use crate::asm::*;
use crate::random::Random;

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// M-mode.
    Bare,
    /// S-mode under Sv39.
    Supervisor,
    /// U-mode under Sv39.
    User,
}

const SP: u32 = 2;
const S0: u32 = 8;
const S1: u32 = 9;
/// Points to nothing.
pub const WILD: u32 = 14;
const POINTERS: [u32; 4] = [SP, S0, S1, WILD];

/// CSRs that programs use, by the lowest mode that may; the bits of them that both sides can write.
const CSRS: [(u32, u64); 11] = [
    (0x140, u64::MAX),
    (0x141, !1),
    (0x142, u64::MAX),
    (0x143, u64::MAX),
    (0x100, 0xc_0122),
    (0x106, 7),
    (0x105, !3),
    (0x302, 0xb3ff),
    (0x303, 0x222),
    (0x304, 0xa2a),
    (0x306, 7),
];

/// What of an item is known only when all have their places.
#[derive(Clone, Copy)]
enum Link {
    Branch {
        funct3: u32,
        rs1: u32,
        rs2: u32,
    },
    Jump {
        rd: u32,
    },
    /// `c.beqz` or `c.bnez`, by its parcel without an offset.
    ShortBranch(u16),
    ShortJump,
}

/// One instruction, or some that belong together.
pub struct Item {
    /// What it is, for reports.
    pub name: &'static str,
    pub parcels: Vec<u16>,
    /// The link of the first parcels, and how many items it leads over.
    link: Option<(Link, usize)>,
}

impl Item {
    fn long(name: &'static str, words: &[u32]) -> Self {
        let parcels = words.iter().flat_map(|word| [*word as u16, (*word >> 16) as u16]).collect();
        Self { name, parcels, link: None }
    }

    fn short(name: &'static str, parcel: u32) -> Self {
        Self { name, parcels: vec![parcel as u16], link: None }
    }
}

/// A program of about `items` items, for a place that it does not depend on.
pub fn program(random: &mut Random, setting: Setting, items: usize) -> Vec<Item> {
    let mut program: Vec<Item> = (0..items).map(|_| item(random, setting)).collect();
    place(&mut program);
    program
}

/// Fills in the offsets of jumps.
fn place(program: &mut [Item]) {
    let mut starts = vec![0i32];
    for item in program.iter() {
        starts.push(starts[starts.len() - 1] + 2 * item.parcels.len() as i32);
    }
    for (index, item) in program.iter_mut().enumerate() {
        let Some((link, over)) = item.link else { continue };
        let target = starts[(index + 1 + over).min(starts.len() - 1)];
        let offset = target - starts[index];
        let word = match link {
            Link::Branch { funct3, rs1, rs2 } => b(funct3, rs1, rs2, offset),
            Link::Jump { rd } => j(rd, offset),
            Link::ShortBranch(parcel) => u32::from(parcel) | short_branch(offset as u32),
            Link::ShortJump => 0xa001 | short_jump(offset as u32),
        };
        item.parcels[0] = word as u16;
        if item.parcels.len() > 1 {
            item.parcels[1] = (word >> 16) as u16;
        }
    }
}

/// The offset bits of `c.beqz`: 8|4:3 and 7:6|2:1|5.
fn short_branch(o: u32) -> u32 {
    (o >> 8 & 1) << 12 | (o >> 3 & 3) << 10 | (o >> 6 & 3) << 5 | (o >> 1 & 3) << 3 | (o >> 5 & 1) << 2
}

/// The offset bits of `c.j`: 11|4|9:8|10|6|7|3:1|5.
fn short_jump(o: u32) -> u32 {
    (o >> 11 & 1) << 12
        | (o >> 4 & 1) << 11
        | (o >> 8 & 3) << 9
        | (o >> 10 & 1) << 8
        | (o >> 6 & 1) << 7
        | (o >> 7 & 1) << 6
        | (o >> 1 & 7) << 3
        | (o >> 5 & 1) << 2
}

/// A register that may be written.
fn rd(random: &mut Random) -> u32 {
    loop {
        let register = random.below(32);
        if !POINTERS.contains(&register) {
            return register;
        }
    }
}

fn rs(random: &mut Random) -> u32 {
    random.below(32)
}

fn item(random: &mut Random, setting: Setting) -> Item {
    match random.below(100) {
        0..24 => register_register(random),
        24..38 => register_immediate(random),
        38..54 => load_store(random),
        54..64 => compressed(random),
        64..68 => short_load_store(random),
        68..76 => atomic(random),
        76..85 => jump(random),
        85..93 => csr(random, setting),
        93..96 => noise(random),
        _ => system(random, setting),
    }
}

fn register_register(random: &mut Random) -> Item {
    let (rd, rs1, rs2) = (rd(random), rs(random), rs(random));
    let wide = [(0, 0), (0x20, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0x20, 5), (0, 6), (0, 7)];
    let narrow = [(0, 0), (0x20, 0), (0, 1), (0, 5), (0x20, 5)];
    match random.below(4) {
        0 => {
            let (funct7, funct3) = random.pick(&wide);
            Item::long("op", &[r(OP, funct7, funct3, rd, rs1, rs2)])
        }
        1 => {
            let (funct7, funct3) = random.pick(&narrow);
            Item::long("op-32", &[r(OP_32, funct7, funct3, rd, rs1, rs2)])
        }
        2 => Item::long("muldiv", &[r(OP, 1, random.below(8), rd, rs1, rs2)]),
        _ => Item::long("muldiv-32", &[r(OP_32, 1, random.pick(&[0, 4, 5, 6, 7]), rd, rs1, rs2)]),
    }
}

fn register_immediate(random: &mut Random) -> Item {
    let (rd, rs1, imm) = (rd(random), rs(random), random.next() as i32);
    match random.below(6) {
        0 | 1 => Item::long("op-imm", &[i(OP_IMM, random.pick(&[0, 2, 3, 4, 6, 7]), rd, rs1, imm)]),
        2 => {
            let (funct3, high) = random.pick(&[(1, 0), (5, 0), (5, 0x400)]);
            Item::long("shift", &[i(OP_IMM, funct3, rd, rs1, high | imm & 63)])
        }
        3 => {
            let (funct3, high) = random.pick(&[(1, 0), (5, 0), (5, 0x400)]);
            Item::long("shift-32", &[i(OP_IMM_32, funct3, rd, rs1, high | imm & 31)])
        }
        4 => Item::long("addiw", &[i(OP_IMM_32, 0, rd, rs1, imm)]),
        _ => Item::long("upper", &[(imm as u32) << 12 | rd << 7 | random.pick(&[0x37, 0x17])]),
    }
}

/// An offset from a pointer, which is not too near to its window's end: any at times, mostly a multiple of 8.
fn offset(random: &mut Random) -> i32 {
    let offset = random.below(256) as i32 - 128;
    if random.one_in(4) { offset } else { offset & !7 }
}

fn load_store(random: &mut Random) -> Item {
    let offset = offset(random);
    // Where nothing is, aligned only: QEMU does an unaligned access there in aligned halves, and `mtval` names a half.
    let (pointer, offset) =
        if random.one_in(12) { (WILD, offset & !7) } else { (random.pick(&[S0, S0, S1, S1, SP]), offset) };
    if random.one_in(2) {
        Item::long("load", &[i(LOAD, random.below(7), rd(random), pointer, offset)])
    } else {
        Item::long("store", &[s(random.below(4), rs(random), pointer, offset)])
    }
}

fn short_load_store(random: &mut Random) -> Item {
    let (rs2, pointer, bits) = (8 + random.below(8), random.pick(&[S0, S1]), random.next() as u32);
    // Short offsets reach 248 from s0 and s1, 504 from sp; these stay below 64.
    let place = (pointer & 7) << 7 | (bits & 7) << 10;
    let reg = rd(random).max(1);
    let to = random.pick(&[10, 11, 12, 13, 15]) & 7;
    match random.below(8) {
        0 => Item::short("c.lw", 0x4000 | place | (bits >> 3 & 1) << 6 | to << 2),
        1 => Item::short("c.ld", 0x6000 | place | to << 2),
        2 => Item::short("c.sw", 0xc000 | place | (rs2 & 7) << 2),
        3 => Item::short("c.sd", 0xe000 | place | (rs2 & 7) << 2),
        4 => Item::short("c.lwsp", 0x4002 | reg << 7 | (bits & 7) << 4),
        5 => Item::short("c.ldsp", 0x6002 | reg << 7 | (bits & 3) << 5),
        6 => Item::short("c.swsp", 0xc002 | (bits & 15) << 9 | rs(random) << 2),
        _ => Item::short("c.sdsp", 0xe002 | (bits & 7) << 10 | rs(random) << 2),
    }
}

/// A parcel of the computational compressed instructions, reserved ones included.
fn compressed(random: &mut Random) -> Item {
    if random.one_in(12) {
        // By 16 and back, or by -64 and back.
        let [by, back] = random.pick(&[[0x6141, 0x717d], [0x7139, 0x6121]]);
        return Item { name: "c.addi16sp", parcels: vec![by, back], link: None };
    }
    loop {
        let raw = random.next() as u32 & 0xffff;
        let rd = raw >> 7 & 31;
        let (middle, low) = ((raw >> 7 & 7) + 8, (raw >> 2 & 7) + 8);
        let free = |register: u32| !POINTERS.contains(&register);
        let usable = match (raw & 3, raw >> 13) {
            (0, 0) => free(low),
            (0, 1 | 4 | 5) => true,
            (1, 0..=3) => free(rd),
            (1, 4) => free(middle),
            (2, 0 | 1 | 5) => free(rd),
            // mv and add, but no jumps and no ebreak
            (2, 4) => raw >> 2 & 31 != 0 && free(rd),
            _ => false,
        };
        if usable {
            return Item::short("compressed", raw);
        }
    }
}

fn atomic(random: &mut Random) -> Item {
    let width = random.pick(&[2, 3]);
    let order = random.below(4) << 25;
    let (d, source) = (rd(random), rs(random));
    if random.one_in(3) {
        // The pair, at times with something between; on the window that all may write.
        let lr = lr(width, d, S0) | order;
        let sc = sc(width, rd(random), source, S0) | order;
        let between = match random.below(9) {
            // Uses the reservation up, and stores what is there.
            8 if !POINTERS.contains(&d) && d != 0 => {
                return Item::long("lr-sc-sc", &[lr, crate::asm::sc(width, ZERO, d, S0), sc]);
            }
            0 => sd(source, S0, 0),
            1 => sd(source, S0, 16),
            2 => ECALL,
            3 => addi(rd(random), source, 1),
            _ => return Item::long("lr-sc", &[lr, sc]),
        };
        return Item::long("lr-x-sc", &[lr, between, sc]);
    }
    let funct5 = random.pick(&[0, 1, 4, 8, 12, 16, 20, 24, 28]);
    // s1 may be unaligned.
    Item::long("amo", &[amo(funct5, width, d, source, random.pick(&[S0, S0, S1])) | order])
}

fn jump(random: &mut Random) -> Item {
    let over = random.below(4) as usize;
    let (rs1, rs2) = (rs(random), rs(random));
    let (name, len, link) = match random.below(8) {
        0..4 => ("branch", 2, Link::Branch { funct3: random.pick(&[0, 1, 4, 5, 6, 7]), rs1, rs2 }),
        4 => ("jal", 2, Link::Jump { rd: rd(random) }),
        5 => ("c.j", 1, Link::ShortJump),
        6 => {
            let parcel = random.pick(&[0xc001, 0xe001]) | (rs1 as u16 & 7) << 7;
            ("c.branch", 1, Link::ShortBranch(parcel))
        }
        _ => return indirect(random),
    };
    Item { name, parcels: vec![0; len], link: Some((link, over)) }
}

/// `auipc` and a jump through the register, by two forms; or one to nowhere, from which `ra` leads back.
fn indirect(random: &mut Random) -> Item {
    let through = loop {
        let register = rd(random);
        if register > 1 {
            break register;
        }
    };
    let auipc = through << 7 | 0x17;
    let skipped = addi(through, through, 3);
    match random.below(4) {
        0 => Item::long("jalr wild", &[i(0x67, 0, RA, WILD, random.next() as i32 & 0x7ff)]),
        1 => {
            // The lowest bit of the target does not count.
            Item::long("jalr", &[auipc, i(0x67, 0, rd(random), through, 13), skipped])
        }
        form => {
            // auipc, addi 14, c.jr or c.jalr, skipped
            let mut item = Item::long("c.jalr", &[auipc, addi(through, through, 14)]);
            item.parcels.push(if form == 2 { 0x8002 } else { 0x9002 } | (through as u16) << 7);
            item.parcels.extend([skipped as u16, (skipped >> 16) as u16]);
            item
        }
    }
}

/// Puts `value` in `register`: the low 32 bits, sign-extended, and sometimes their complement above.
fn constant(register: u32, value: u32) -> [u32; 2] {
    let high = value.wrapping_add(0x800) & 0xffff_f000;
    [high | register << 7 | 0x37, i(OP_IMM_32, 0, register, register, (value & 0xfff) as i32)]
}

fn csr(random: &mut Random, setting: Setting) -> Item {
    let d = rd(random);
    if setting == Setting::Supervisor && random.one_in(4) {
        // Loads and stores of one page before and after a change of SUM and MXR.
        let [high, low] = constant(T0, random.pick(&[1 << 18, 1 << 19, 3 << 18]));
        let access = if random.one_in(3) { sd(T0, S1, 0) } else { ld(T1, S1, 0) };
        let [one, two] = random.pick(&[[2, 3], [3, 2]]).map(|form| i(SYSTEM, form, ZERO, T0, 0x100));
        return Item::long("sum mxr", &[high, low, access, one, access, two, access]);
    }
    if random.one_in(6) {
        // No such register, one of a higher mode, or a counter without its enable.
        let csr = random.pick(&[0x8ff, 0x5a8, 0xc03, 0x3ff, 0x001, 0x00f]);
        let csr = if setting == Setting::User {
            random.pick(&[csr, 0x100, 0x180, 0x300, 0xc00, 0xf14])
        } else {
            csr
        };
        let csr = if csr == 0xc03 && setting == Setting::Bare { 0x8ff } else { csr };
        return Item::long("csr absent", &[csrrs(d, csr, ZERO)]);
    }
    if random.one_in(8) {
        let csr = if setting == Setting::Bare { random.pick(&[0xf14, 0x300]) } else { 0x180 };
        return Item::long("csr read", &[csrrs(d, csr, ZERO)]);
    }
    let last = if setting == Setting::Bare { CSRS.len() } else { 6 };
    let (csr, mask) = CSRS[random.below(last as u32) as usize];
    let form = random.pick(&[1, 2, 3]);
    if random.one_in(3) {
        let imm = random.next() as u32 & 31 & mask as u32;
        return Item::long("csr imm", &[i(SYSTEM, form | 4, d, imm, csr as i32)]);
    }
    let source = loop {
        let register = rd(random);
        if register != 0 {
            break register;
        }
    };
    if mask == u64::MAX {
        return Item::long("csr", &[i(SYSTEM, form, d, source, csr as i32)]);
    }
    // Bits above the mask's must not be written, so the operand is made of those of the mask.
    let [high, low] = constant(source, random.next() as u32 & mask as u32 & 0x7fff_ffff);
    Item::long("csr masked", &[high, low, i(SYSTEM, form, d, source, csr as i32)])
}

/// A word that most likely is no instruction.
fn noise(random: &mut Random) -> Item {
    loop {
        let raw = random.next() as u32 | 3;
        let touches =
            matches!(raw >> 2 & 31, 0b00000 | 0b01000 | 0b01011 | 0b11000 | 0b11001 | 0b11011 | 0b11100);
        if !touches && !POINTERS.contains(&(raw >> 7 & 31)) {
            return Item::long("noise", &[raw]);
        }
    }
}

fn system(random: &mut Random, setting: Setting) -> Item {
    match random.below(8) {
        0 if random.one_in(2) => Item::long("ebreak", &[EBREAK]),
        0 => Item::long("ecall", &[ECALL]),
        1 => Item::long("fence", &[FENCE]),
        2 => Item::long("fence.i", &[FENCE_I]),
        3 if setting == Setting::Bare => {
            // Back into M-mode, behind the instruction.
            let [high, low] = constant(T0, 3 << 11);
            let auipc = T1 << 7 | 0x17;
            Item::long(
                "mret",
                &[high, low, csrrs(ZERO, 0x300, T0), auipc, addi(T1, T1, 16), csrrw(ZERO, 0x341, T1), MRET],
            )
        }
        3 => Item::long("mret refused", &[MRET]),
        4 if setting == Setting::Bare => patched(random),
        4 => Item::long("sfence", &[SFENCE | random.below(1024) << 15]),
        5 if setting == Setting::Bare => Item::long("sfence", &[SFENCE]),
        // Refused to S-mode by TW and TSR, at times by TVM.
        5 => Item::long("refused", &[random.pick(&[WFI, SRET, SFENCE])]),
        6 => Item::long("reserved", &[random.pick(&[0x0020_0073, 0x7b20_0073, 0x1040_0073, 0xffff_ffff])]),
        _ => Item::short("zero", 0),
    }
}

/// Code that writes an instruction and executes it after FENCE.I.
fn patched(random: &mut Random) -> Item {
    let [high, low] = constant(T1, addi(rd(random), rs(random), random.next() as i32));
    let auipc = T0 << 7 | 0x17;
    Item::long("patched", &[high, low, auipc, s(2, T1, T0, 12), FENCE_I, NOP])
}
