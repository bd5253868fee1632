//! A guest that looks at one address again and again, and counts what it finds.

use machines::boot::{BootPlan, BootRequest};
use machines::machine::Machine;
use machines::runner::Runner;
use memory_core::{TxAttrs, Width};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the guest wants to find.
pub const PATTERN: u64 = 0x0123_4567_89ab_cdef;

/// Where the image goes: the start of the board's RAM.
const BASE: u64 = 0x8000_0000;
/// Offsets in the image.
const ADDRESS: u32 = 0x100;
const WANTED: u32 = 0x108;
/// Counters, by what was found: the pattern, an access fault, something else.
pub const PRESENT: u32 = 0x200;
pub const ABSENT: u32 = 0x208;
pub const WRONG: u32 = 0x210;

/// Runs its closure when it is dropped, in a panic too.
pub struct AtEnd<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Waits until `come` is true, and fails if that never happens.
pub fn until(what: &str, come: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !come() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::yield_now();
    }
}

// Registers by their ABI names.
const ZERO: u32 = 0;
const T0: u32 = 5;
const T1: u32 = 6;
const S0: u32 = 8;
const S1: u32 = 9;
const A0: u32 = 10;
const A4: u32 = 14;
const A5: u32 = 15;
const MTVEC: u32 = 0x305;
const MEPC: u32 = 0x341;

fn i_type(opcode: u32, funct: u32, rd: u32, rs1: u32, imm: u32) -> u32 {
    (imm & 0xfff) << 20 | rs1 << 15 | funct << 12 | rd << 7 | opcode
}

fn addi(rd: u32, rs1: u32, imm: u32) -> u32 {
    i_type(0x13, 0, rd, rs1, imm)
}

fn ld(rd: u32, rs1: u32, imm: u32) -> u32 {
    i_type(0x03, 3, rd, rs1, imm)
}

fn sd(rs2: u32, rs1: u32, imm: u32) -> u32 {
    (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (imm & 0x1f) << 7 | 0x23
}

/// `csrrw rd, csr, rs1`.
fn csrrw(rd: u32, csr: u32, rs1: u32) -> u32 {
    i_type(0x73, 1, rd, rs1, csr)
}

/// `bne rs1, rs2, forward by offset`.
fn bne(rs1: u32, rs2: u32, offset: u32) -> u32 {
    (offset >> 5 & 0x3f) << 25 | rs2 << 20 | rs1 << 15 | 1 << 12 | (offset >> 1 & 0xf) << 8 | 0x63
}

/// `j`, back by `offset`.
fn back(offset: u32) -> u32 {
    let imm = offset.wrapping_neg();
    (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3ff) << 21 | (imm >> 11 & 1) << 20 | (imm >> 12 & 0xff) << 12 | 0x6f
}

const WFI: u32 = 0x1050_0073;
const MRET: u32 = 0x3020_0073;
/// `auipc t0, 0`.
const AUIPC_T0: u32 = T0 << 7 | 0x17;

// Offsets in the code.
const LOOP: u32 = 0x18;
const AT_PRESENT: u32 = 0x28;
const AT_ABSENT: u32 = 0x38;
const AT_WRONG: u32 = 0x48;
const HANDLER: u32 = 0x58;
const SLEEP: u32 = 0x6c;

/// Adds one to a counter and goes back to the loop; `at` is where this stands.
fn count(counter: u32, at: u32) -> [u32; 4] {
    [ld(A5, T0, counter), addi(A5, A5, 1), sd(A5, T0, counter), back(at + 12 - LOOP)]
}

fn image(address: u64) -> Vec<u8> {
    let code = [
        // hart 0 goes on, the others sleep
        &[AUIPC_T0, bne(A0, ZERO, SLEEP - 4), ld(S0, T0, ADDRESS), ld(S1, T0, WANTED)][..],
        &[addi(T1, T0, HANDLER), csrrw(ZERO, MTVEC, T1)],
        // the loop; a fault sets a4
        &[addi(A4, ZERO, 0), ld(A0, S0, 0), bne(A4, ZERO, AT_ABSENT - 0x20), bne(A0, S1, AT_WRONG - 0x24)],
        &count(PRESENT, AT_PRESENT),
        &count(ABSENT, AT_ABSENT),
        &count(WRONG, AT_WRONG),
        &[csrrw(A4, MEPC, ZERO), addi(A4, A4, 4), csrrw(ZERO, MEPC, A4), addi(A4, ZERO, 1), MRET],
        &[WFI, back(4)],
    ]
    .concat();
    assert_eq!(code.len() as u32 * 4, SLEEP + 8);
    let mut bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(ADDRESS as usize, 0);
    bytes.extend(address.to_le_bytes());
    bytes.extend(PATTERN.to_le_bytes());
    bytes.resize(0x300, 0);
    bytes
}

/// The guest, while it runs.
pub struct Guest<'a> {
    machine: &'a Machine,
}

impl Guest<'_> {
    pub fn count(&self, counter: u32) -> u64 {
        let space = self.machine.cpu_space().unwrap();
        space.load(BASE + u64::from(counter), Width::W8, TxAttrs::UNSPECIFIED).unwrap()
    }

    /// Waits until a counter is higher than now.
    pub fn moves_on(&self, counter: u32) {
        let before = self.count(counter);
        until("the guest sees the change", || self.count(counter) > before + 1);
    }
}

/// Runs the guest on all harts of the board while `test` goes on. The image is put into `folder`.
pub fn run(machine: &Machine, folder: &Path, address: u64, test: impl FnOnce(&Guest<'_>)) {
    let kernel = folder.join("guest.bin");
    std::fs::write(&kernel, image(address)).unwrap();
    let request = BootRequest { kernel: Some(kernel), ..BootRequest::default() };
    let plan = BootPlan::new(machine, &request).unwrap();
    let runner = Runner::new(machine);
    let control = runner.control();
    std::thread::scope(|scope| {
        scope.spawn(|| runner.run(&plan).unwrap());
        let _stop = AtEnd(|| control.quit());
        test(&Guest { machine });
    });
}
