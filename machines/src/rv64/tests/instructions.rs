//! Integer instructions, loads, stores, jumps, and the compressed forms.

use super::super::decode::{Op, decode, is_long};
use super::asm::*;
use super::machine::*;

const MIN: u64 = 1 << 63;
const MIN32: u64 = 0xffff_ffff_8000_0000;

#[test]
fn register_operations_give_the_specified_values() {
    let minus = |value: u64| value.wrapping_neg();
    #[rustfmt::skip]
    let table: &[(u32, u32, u32, u64, u64, u64)] = &[
        // opcode, funct7, funct3, a, b, result
        (OP, 0, 0, u64::MAX, 2, 1),                    // add
        (OP, 0x20, 0, 1, 2, u64::MAX),                 // sub
        (OP, 0, 1, 1, 64 + 5, 32),                     // sll
        (OP, 0, 2, minus(1), 0, 1),                    // slt
        (OP, 0, 3, minus(1), 0, 0),                    // sltu
        (OP, 0, 4, 0b1100, 0b1010, 0b0110),            // xor
        (OP, 0, 5, MIN, 64 + 63, 1),                   // srl
        (OP, 0x20, 5, MIN, 63, u64::MAX),              // sra
        (OP, 0, 6, 0b1100, 0b1010, 0b1110),            // or
        (OP, 0, 7, 0b1100, 0b1010, 0b1000),            // and
        (OP_32, 0, 0, 0x7fff_ffff, 1, MIN32),          // addw
        (OP_32, 0x20, 0, MIN32, 1, 0x7fff_ffff),       // subw
        (OP_32, 0, 1, 1, 32 + 31, MIN32),              // sllw
        (OP_32, 0, 5, 0xffff_ffff_8000_0000, 31, 1),   // srlw
        (OP_32, 0, 5, 0x8000_0000, 0, MIN32),          // srlw by 0 sign-extends
        (OP_32, 0x20, 5, 0x8000_0000, 31, u64::MAX),   // sraw
        (OP, 1, 0, minus(3), 5, minus(15)),            // mul
        (OP, 1, 1, minus(1), minus(1), 0),             // mulh
        (OP, 1, 1, MIN, MIN, 1 << 62),                 // mulh
        (OP, 1, 2, minus(1), u64::MAX, u64::MAX),      // mulhsu
        (OP, 1, 3, u64::MAX, u64::MAX, u64::MAX - 1),  // mulhu
        (OP, 1, 4, minus(7), 2, minus(3)),             // div
        (OP, 1, 4, 7, 0, u64::MAX),                    // div by zero
        (OP, 1, 4, MIN, minus(1), MIN),                // div overflow
        (OP, 1, 5, minus(7), 2, MIN - 4),              // divu
        (OP, 1, 5, 7, 0, u64::MAX),                    // divu by zero
        (OP, 1, 6, minus(7), 2, minus(1)),             // rem
        (OP, 1, 6, 7, 0, 7),                           // rem by zero
        (OP, 1, 6, MIN, minus(1), 0),                  // rem overflow
        (OP, 1, 7, 7, 4, 3),                           // remu
        (OP, 1, 7, 7, 0, 7),                           // remu by zero
        (OP_32, 1, 0, 0x1_0000, 0x8000, MIN32),        // mulw
        (OP_32, 1, 4, MIN32, minus(1), MIN32),         // divw overflow
        (OP_32, 1, 4, 9, 1 << 32, u64::MAX),           // divw by zero
        (OP_32, 1, 5, 0xffff_ffff_ffff_fffe, 1, minus(2)), // divuw
        (OP_32, 1, 5, 1, 0, u64::MAX),                 // divuw by zero
        (OP_32, 1, 6, MIN32, minus(1), 0),             // remw overflow
        (OP_32, 1, 6, 0x8000_0001, 0, MIN32 + 1),      // remw by zero
        (OP_32, 1, 7, 0xffff_ffff, 0, u64::MAX),       // remuw by zero
        (OP_32, 1, 7, 0xffff_ffff, 16, 15),            // remuw
    ];
    for (opcode, funct7, funct3, a, b, result) in table {
        let raw = r(*opcode, *funct7, *funct3, A2, A0, A1);
        let run = Run::new(&[raw]).with(A0, *a).with(A1, *b).steps(1);
        run.at(4);
        assert_eq!(run.reg(A2), *result, "{raw:#010x} {a:#x} {b:#x}");
    }
}

#[test]
fn immediate_operations_give_the_specified_values() {
    #[rustfmt::skip]
    let table: &[(u32, u32, i32, u64, u64)] = &[
        (OP_IMM, 0, -1, 0, u64::MAX),                    // addi
        (OP_IMM, 2, -1, u64::MAX - 1, 1),                // slti
        (OP_IMM, 3, -1, 5, 1),                           // sltiu: the immediate is sign-extended first
        (OP_IMM, 4, -1, 0xff, !0xff),                    // xori
        (OP_IMM, 6, 0x0f, 0xf0, 0xff),                   // ori
        (OP_IMM, 7, -16, 0xff, 0xf0),                    // andi
        (OP_IMM, 1, 63, 1, MIN),                         // slli
        (OP_IMM, 5, 63, MIN, 1),                         // srli
        (OP_IMM, 5, 0x400 | 63, MIN, u64::MAX),          // srai
        (OP_IMM_32, 0, 1, 0x7fff_ffff, MIN32),           // addiw
        (OP_IMM_32, 1, 31, 1, MIN32),                    // slliw
        (OP_IMM_32, 5, 31, 0x8000_0000, 1),              // srliw
        (OP_IMM_32, 5, 0x400 | 31, 0x8000_0000, u64::MAX), // sraiw
    ];
    for (opcode, funct3, imm, a, result) in table {
        let raw = i(*opcode, *funct3, A2, A0, *imm);
        let run = Run::new(&[raw]).with(A0, *a).steps(1);
        run.at(4);
        assert_eq!(run.reg(A2), *result, "{raw:#010x} {a:#x}");
    }
}

#[test]
fn upper_immediates_are_sign_extended() {
    let run = Run::new(&[0x8000_0000 | A0 << 7 | 0x37, 0x8000_0000 | A1 << 7 | 0x17]).steps(2);
    assert_eq!((run.reg(A0), run.reg(A1)), (MIN32, (BASE + 4).wrapping_add(MIN32)));
}

#[test]
fn a_write_to_x0_vanishes() {
    let run = Run::new(&[addi(ZERO, ZERO, 5), r(OP, 0, 0, A0, ZERO, ZERO)]).with(A0, 9).steps(2);
    assert_eq!((run.reg(ZERO), run.reg(A0)), (0, 0));
}

#[test]
fn branches_compare_as_specified() {
    // funct3, a, b, taken
    let table = [
        (0, 5, 5, true),
        (0, 5, 6, false),
        (1, 5, 6, true),
        (1, 5, 5, false),
        (4, u64::MAX, 0, true),
        (4, 0, u64::MAX, false),
        (5, 0, u64::MAX, true),
        (5, 3, 3, true),
        (6, 0, u64::MAX, true),
        (6, u64::MAX, 0, false),
        (7, u64::MAX, 0, true),
        (7, 0, 1, false),
    ];
    for (funct3, x, y, taken) in table {
        let run = Run::new(&[b(funct3, A0, A1, 0x7fe & !3)]).with(A0, x).with(A1, y).steps(1);
        run.at(if taken { 0x7fc } else { 4 });
    }
    Run::new(&[NOP, NOP, b(0, ZERO, ZERO, -8)]).steps(3).at(0);
}

#[test]
fn jumps_link_and_clear_the_lowest_bit() {
    let run = Run::new(&[j(RA, 8), NOP, jalr(T0, A0)]).with(A0, BASE + 0x101).steps(2);
    run.at(0x100);
    assert_eq!((run.reg(RA), run.reg(T0)), (BASE + 4, BASE + 12));
    // The link is written after the target is computed.
    let run = Run::new(&[jalr(A0, A0)]).with(A0, BASE + 0x100).steps(1);
    run.at(0x100);
    assert_eq!(run.reg(A0), BASE + 4);
    Run::new(&[0, 0, j(ZERO, -4)]).with(A0, 0).steps(0).at(0);
}

#[test]
fn loads_extend_and_stores_keep_their_neighbours() {
    let data = BASE + 0x2000;
    let loads = [
        (0, 0xffff_ffff_ffff_ff88),
        (1, 0xffff_ffff_ffff_9988),
        (2, 0xffff_ffff_bbaa_9988),
        (3, 0xffee_ddcc_bbaa_9988),
        (4, 0x88),
        (5, 0x9988),
        (6, 0xbbaa_9988),
    ];
    for (funct3, want) in loads {
        let run = Run::new(&[i(LOAD, funct3, A2, A0, -8)]).with(A0, data + 8);
        run.machine.poke(data, 0xffee_ddcc_bbaa_9988);
        let run = run.steps(1);
        run.at(4);
        assert_eq!(run.reg(A2), want, "funct3 {funct3}");
    }
    let stores = [(0, u64::MAX << 8 | 0x88), (1, u64::MAX << 16 | 0x9988), (2, 0xffff_ffff_bbaa_9988)];
    for (funct3, want) in stores {
        let run = Run::new(&[s(funct3, A1, A0, -4)]).with(A0, data + 4).with(A1, 0x1122_3344_bbaa_9988);
        run.machine.poke(data, u64::MAX);
        assert_eq!(run.steps(1).machine.peek(data), want, "funct3 {funct3}");
    }
}

#[test]
fn unaligned_loads_and_stores_work_within_and_across_pages() {
    for addr in [BASE + 0x2003, BASE + 0x2ffd, BASE + 0x2fff] {
        let run = Run::new(&[sd(A1, A0, 0), ld(A2, A0, 0), i(LOAD, 5, A3, A0, 1)])
            .with(A0, addr)
            .with(A1, 0x8877_6655_4433_2211)
            .steps(3);
        run.at(12);
        assert_eq!((run.reg(A2), run.reg(A3)), (0x8877_6655_4433_2211, 0x3322), "{addr:#x}");
        assert_eq!(run.machine.ram.load(addr - BASE + 7, memory_core::Width::W1), Some(0x88));
    }
}

#[test]
fn an_unaligned_store_into_a_hole_writes_nothing() {
    let end = BASE + RAM;
    let run = Run::new(&[sd(A1, A0, 0)]).with(A0, end - 3).with(A1, u64::MAX).steps(1);
    run.trapped(7, end, 0);
    assert_eq!(run.machine.peek(end - 8), 0);
}

#[test]
fn every_register_can_be_named() {
    for number in 1..32 {
        let run = Run::new(&[addi(number, ZERO, 77), sd(number, ZERO, 0)]).steps(1);
        assert_eq!(run.reg(number), 77);
    }
}

/// Each compressed instruction against the one that it abbreviates, as binutils assembles both.
#[test]
fn compressed_instructions_expand_to_what_they_abbreviate() {
    let table: &[(u16, u32)] = &[
        (0x0808, 0x0101_0513), // c.addi4spn a0, sp, 16 = addi a0, sp, 16
        (0x4590, 0x0085_a603), // c.lw a2, 8(a1)
        (0x6590, 0x0085_b603), // c.ld a2, 8(a1)
        (0xc590, 0x00c5_a423), // c.sw a2, 8(a1)
        (0xe590, 0x00c5_b423), // c.sd a2, 8(a1)
        (0x0001, 0x0000_0013), // c.nop
        (0x157d, 0xfff5_0513), // c.addi a0, -1
        (0x357d, 0xfff5_051b), // c.addiw a0, -1
        (0x557d, 0xfff0_0513), // c.li a0, -1
        (0x7139, 0xfc01_0113), // c.addi16sp -64
        (0x757d, 0xffff_f537), // c.lui a0, 0xfffff
        (0x9101, 0x0205_5513), // c.srli a0, 32
        (0x9501, 0x4205_5513), // c.srai a0, 32
        (0x997d, 0xfff5_7513), // c.andi a0, -1
        (0x8d0d, 0x40b5_0533), // c.sub a0, a1
        (0x8d2d, 0x00b5_4533), // c.xor a0, a1
        (0x8d4d, 0x00b5_6533), // c.or a0, a1
        (0x8d6d, 0x00b5_7533), // c.and a0, a1
        (0x9d0d, 0x40b5_053b), // c.subw a0, a1
        (0x9d2d, 0x00b5_053b), // c.addw a0, a1
        (0xbffd, 0xffff_f06f), // c.j -2
        (0xdd7d, 0xfe05_0fe3), // c.beqz a0, -2
        (0xfd7d, 0xfe05_1fe3), // c.bnez a0, -2
        (0x1502, 0x0205_1513), // c.slli a0, 32
        (0x4522, 0x0081_2503), // c.lwsp a0, 8(sp)
        (0x6522, 0x0081_3503), // c.ldsp a0, 8(sp)
        (0x8502, 0x0005_0067), // c.jr a0
        (0x852e, 0x00b0_0533), // c.mv a0, a1
        (0x9002, 0x0010_0073), // c.ebreak
        (0x9502, 0x0005_00e7), // c.jalr a0
        (0x952e, 0x00b5_0533), // c.add a0, a1
        (0xc42a, 0x00a1_2423), // c.swsp a0, 8(sp)
        (0xe42a, 0x00a1_3423), // c.sdsp a0, 8(sp)
    ];
    for (short, long) in table {
        let (got, want) = (decode((*short).into()), decode(*long));
        // Fields that the format does not have hold bits of the immediate in the long form.
        let format = long & 0x7f;
        let has_rd = ![STORE, BRANCH].contains(&format);
        let has_rs1 = ![0x37, 0x6f].contains(&format);
        let has_rs2 = [OP, OP_32, STORE, BRANCH].contains(&format);
        let view = |op: Op| {
            let field = |value: u8, there: bool| if there { value } else { 0 };
            (op.kind, field(op.rd, has_rd), field(op.rs1, has_rs1), field(op.rs2, has_rs2), op.imm)
        };
        assert_eq!((view(got), got.len), (view(want), 2), "{short:#06x}");
    }
}

#[test]
fn reserved_encodings_are_illegal_with_their_bits_in_tval() {
    let short = [
        0x0000, 0x0004, 0x2000, 0x8000, 0xa000, // quadrant 0: zero, addi4spn 0, fld, reserved, fsd
        0x2001, 0x6101, 0x6501, 0x9c41, 0x9c61, // addiw x0, addi16sp 0, lui 0, reserved, reserved
        0x4002, 0x6002, 0x8002, 0x2002, 0xa002, // lwsp x0, ldsp x0, jr x0, fldsp, fsdsp
    ];
    for raw in short {
        assert!(!is_long(raw as u16));
        Run::new(&[raw]).steps(1).trapped(2, raw.into(), 0);
    }
    let long = [
        0xffff_ffff,
        0x0000_7007,                 // a load of the F extension's opcode
        i(LOAD, 7, A0, A0, 0),       // no such width
        s(4, A0, A0, 0),             // no such width
        b(2, A0, A0, 0),             // no such condition
        i(0x67, 1, A0, A0, 0),       // jalr with funct3
        r(OP, 2, 0, A0, A0, A0),     // unknown funct7
        r(OP_32, 1, 1, A0, A0, A0),  // there is no mulhw
        i(OP_IMM, 1, A0, A0, 64),    // shift of 64
        i(OP_IMM_32, 1, A0, A0, 32), // word shift of 32
        i(0x0f, 2, A0, A0, 0),       // unknown fence
        amo(0b00010, 2, A0, A1, A0), // lr with a second source
        amo(0b00101, 2, A0, A1, A0), // unknown amo
        amo(0b00000, 1, A0, A1, A0), // amo of 16 bits
        i(SYSTEM, 4, A0, A0, 0x340), // no such CSR form
        0x0020_0073,                 // uret
        0x7b20_0073,                 // dret
        0x53,                        // fadd.s
    ];
    for raw in long {
        Run::new(&[raw]).steps(1).trapped(2, raw.into(), 0);
    }
}

#[test]
fn an_instruction_may_cross_a_page() {
    let machine = Machine::new();
    let add = addi(A0, ZERO, 5);
    assert!(machine.ram.write(0xffe, &add.to_le_bytes()));
    let mut hart = machine.hart(0);
    crate::vcpu::Vcpu::set_boot(&mut hart, BASE + 0xffe, 0, 0);
    hart.advance(1);
    assert_eq!((hart.register(10), hart.pc()), (5, BASE + 0x1002));
}

#[test]
fn fetching_from_a_device_or_a_hole() {
    // The device reads as offset * 3: the parcel at 0x20 is 0x60, c.addi4spn's zero immediate region aside, so
    // take one that is a valid instruction: 3 * 0x2ab = 0x801 is odd; at 0x6 it is 0x12, `c.slli x0, 4`, a hint.
    let run = Run::new(&[jalr(ZERO, A0)]).with(A0, DEVICE + 6).steps(2);
    assert_eq!(run.hart.pc(), DEVICE + 8);
    let run = Run::new(&[jalr(ZERO, A0)]).with(A0, 0x4000).steps(2);
    assert_eq!((run.csr(0x342), run.csr(0x343), run.csr(0x341)), (1, 0x4000, 0x4000));
}

#[test]
fn code_is_seen_anew_after_fence_i() {
    let data = BASE + 0x100;
    let program = [jalr(RA, A0), s(2, A1, A0, 0), FENCE_I, jalr(RA, A0)];
    let run = Run::new(&program).with(A0, data).with(A1, addi(A2, ZERO, 2).into());
    run.machine.load_program(data, &[addi(A2, ZERO, 1), jalr(ZERO, RA)]);
    let run = run.steps(3);
    assert_eq!(run.reg(A2), 1);
    assert_eq!(run.steps(4).reg(A2), 2);
}

#[test]
fn device_accesses_keep_their_width() {
    let run = Run::new(&[s(1, A1, A0, 2), i(LOAD, 4, A2, A0, 5), FENCE])
        .with(A0, DEVICE)
        .with(A1, 0x12345)
        .steps(3);
    run.at(12);
    assert_eq!(run.reg(A2), 15);
    let writes = run.machine.writes.lock().unwrap().clone();
    assert_eq!(writes, [(DEVICE + 2, memory_core::Width::W2, 0x2345)]);
}

#[test]
fn nothing_there_is_an_access_fault() {
    Run::new(&[ld(A1, A0, 0)]).with(A0, 0x4008).steps(1).trapped(5, 0x4008, 0);
    Run::new(&[sd(A1, A0, 0)]).with(A0, 0x4008).steps(1).trapped(7, 0x4008, 0);
    Run::new(&[sd(A1, A0, 0)]).with(A0, ROM).steps(1).trapped(7, ROM, 0);
    Run::new(&[ld(A1, A0, 0)]).with(A0, ROM).steps(1).at(4);
    Run::new(&[ld(A1, A0, 0)]).with(A0, u64::MAX).steps(1).trapped(5, u64::MAX, 0);
}
