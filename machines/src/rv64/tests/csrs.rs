//! CSR instructions, and what each register keeps.

use super::super::{Irq, Mode};
use super::asm::*;
use super::machine::*;
use crate::vcpu::Vcpu;

const MSCRATCH: u32 = 0x340;

#[test]
fn the_six_forms_read_write_set_and_clear() {
    let imm = |funct3: u32, value: u32| i(SYSTEM, funct3, A0, value, MSCRATCH as i32);
    // instruction, new value of the register that held 0b1100, with a1 = 0b1010
    let table = [
        (csrrw(A0, MSCRATCH, A1), 0b1010),
        (csrrs(A0, MSCRATCH, A1), 0b1110),
        (csrrc(A0, MSCRATCH, A1), 0b0100),
        (imm(5, 0b10001), 0b10001),
        (imm(6, 0b10001), 0b11101),
        (imm(7, 0b00100), 0b1000),
    ];
    for (raw, want) in table {
        let mut run = Run::new(&[raw]).with(A1, 0b1010);
        run.write_csr(MSCRATCH, 0b1100);
        let run = run.steps(1);
        run.at(4);
        assert_eq!((run.reg(A0), run.csr(MSCRATCH)), (0b1100, want), "{raw:#010x}");
    }
}

#[test]
fn set_and_clear_with_x0_do_not_write_a_read_only_register() {
    const MHARTID: u32 = 0xf14;
    Run::new(&[csrrs(A0, MHARTID, ZERO)]).steps(1).at(4);
    Run::new(&[i(SYSTEM, 7, A0, 0, MHARTID as i32)]).steps(1).at(4);
    for raw in [csrrs(A0, MHARTID, A1), csrrw(A0, MHARTID, ZERO), i(SYSTEM, 6, A0, 1, MHARTID as i32)] {
        Run::new(&[raw]).steps(1).trapped(2, raw.into(), 0);
    }
}

/// Register, what all ones leave in it, what all zeros leave.
#[test]
fn registers_keep_only_their_writable_bits() {
    let pc = !1;
    let table = [
        (0x300, 0x0000_000a_007e_19aa, 0x0000_000a_0000_0000), // mstatus
        (0x301, 0x8000_0000_0014_1105, 0x8000_0000_0014_1105), // misa
        (0x302, 0xb3ff, 0),                                    // medeleg
        (0x303, 0x222, 0),                                     // mideleg
        (0x304, 0xaaa, 0),                                     // mie
        (0x305, !3, 0),                                        // mtvec
        (0x306, 0xffff_ffff, 0),                               // mcounteren
        (0x30a, 1, 0),                                         // menvcfg
        (0x320, 5, 0),                                         // mcountinhibit
        (0x323, 0, 0),                                         // mhpmevent3
        (0x33f, 0, 0),
        (0x340, u64::MAX, 0), // mscratch
        (0x341, pc, 0),       // mepc
        (0x342, u64::MAX, 0), // mcause
        (0x343, u64::MAX, 0), // mtval
        (0x344, 0x222, 0),    // mip
        (0xb03, 0, 0),        // mhpmcounter3
        (0xb1f, 0, 0),
        (0x100, 0x0000_0002_000c_0122, 0x0000_0002_0000_0000), // sstatus
        (0x105, !3, 0),                                        // stvec
        (0x106, 0xffff_ffff, 0),                               // scounteren
        (0x10a, 1, 0),                                         // senvcfg
        (0x140, u64::MAX, 0),                                  // sscratch
        (0x141, pc, 0),                                        // sepc
        (0x142, u64::MAX, 0),                                  // scause
        (0x143, u64::MAX, 0),                                  // stval
        (0x180, 0, 0),                                         // satp: mode 15 does not exist
        (0x3a0, 0x9f9f_9f9f_9f9f_9f9f, 0x9f9f_9f9f_9f9f_9f9f), // pmpcfg0, locked by the first write
        (0x3b8, (1 << 54) - 1, 0),                             // pmpaddr8
    ];
    for (csr, ones, zeros) in table {
        let mut run = Run::new(&[]);
        if csr == 0x305 || csr == 0x105 {
            run.write_csr(csr, 0);
        }
        run.write_csr(csr, u64::MAX);
        assert_eq!(run.csr(csr), ones, "{csr:#x} after all ones");
        run.write_csr(csr, 0);
        assert_eq!(run.csr(csr), zeros, "{csr:#x} after all zeros");
    }
}

#[test]
fn fixed_registers_read_as_they_should() {
    let machine = Machine::new();
    let hart = machine.hart(3);
    for (csr, want) in [(0xf11, 0), (0xf12, 0), (0xf13, 0), (0xf14, 3), (0xf15, 0), (0xc01, 777), (0xc1f, 0)]
    {
        assert_eq!(hart.csr(csr), Some(want), "{csr:#x}");
    }
}

#[test]
fn absent_registers_are_illegal() {
    // fflags, stimecmp, hstatus, pmpcfg1, pmpcfg4, pmpaddr16, mseccfg, tselect, dcsr, mstatush, mcycleh, scountovf
    for csr in [0x001, 0x14d, 0x600, 0x3a1, 0x3a4, 0x3c0, 0x747, 0x7a0, 0x7b0, 0x310, 0xb80, 0xda0, 0xfff] {
        let raw = csrrs(A0, csr, ZERO);
        Run::new(&[raw]).steps(1).trapped(2, raw.into(), 0);
    }
}

#[test]
fn a_lower_mode_cannot_reach_a_higher_ones_registers() {
    for (mode, csr, allowed) in
        [(Mode::Supervisor, 0x300, false), (Mode::User, 0x100, false), (Mode::Supervisor, 0x100, true)]
    {
        let raw = csrrs(A0, csr, ZERO);
        let run = Run::new(&[raw]).in_mode(mode).steps(1);
        if allowed { run.at(4) } else { run.trapped(2, raw.into(), 0) }
    }
}

#[test]
fn counters_need_their_enables_below_machine_mode() {
    // mcounteren, scounteren, mode, allowed
    let table = [
        (0, 0, Mode::Machine, true),
        (0, 7, Mode::Supervisor, false),
        (7, 0, Mode::Supervisor, true),
        (7, 0, Mode::User, false),
        (0, 7, Mode::User, false),
        (7, 7, Mode::User, true),
    ];
    for csr in [0xc00, 0xc01, 0xc02] {
        for (m, s, mode, allowed) in table {
            let raw = csrrs(A0, csr, ZERO);
            let mut run = Run::new(&[raw]);
            run.write_csr(0x306, m);
            run.write_csr(0x106, s);
            let run = run.in_mode(mode).steps(1);
            if allowed { run.at(4) } else { run.trapped(2, raw.into(), 0) }
        }
    }
}

#[test]
fn counters_count_can_be_set_and_stopped() {
    let program = [
        NOP,
        csrrs(A0, 0xb02, ZERO),
        csrrw(ZERO, 0xb02, A1),
        csrrs(A1, 0xb02, ZERO),
        i(SYSTEM, 5, ZERO, 4, 0x320),
        csrrs(A2, 0xb02, ZERO),
        NOP,
        csrrs(A3, 0xb02, ZERO),
        csrrs(T0, 0xb00, ZERO),
    ];
    let run = Run::new(&program).with(A1, 1000).steps(9);
    run.at(36);
    assert_eq!((run.reg(A0), run.reg(A1), run.reg(T0)), (1, 1000, 8));
    assert_eq!(run.reg(A2), run.reg(A3));
    assert_eq!(run.hart.retired(), 9);
}

#[test]
fn delegation_decides_what_sie_and_sip_show() {
    let mut run = Run::new(&[]);
    run.write_csr(0x304, 0xaaa);
    run.write_csr(0x344, 0x222);
    assert_eq!((run.csr(0x104), run.csr(0x144)), (0, 0));
    run.write_csr(0x303, 0x222);
    assert_eq!((run.csr(0x104), run.csr(0x144)), (0x222, 0x222));
    run.write_csr(0x104, 0);
    run.write_csr(0x144, 0);
    assert_eq!(run.csr(0x304), 0x888, "sie reaches the delegated bits only");
    assert_eq!(run.csr(0x344), 0x220, "sip can write SSIP only");
}

#[test]
fn a_line_shows_in_mip_but_is_never_written_back() {
    // Setting STIP while the external line is high must not make SEIP stick.
    let run = Run::new(&[csrrs(A0, 0x344, A1), csrrc(A2, 0x344, A1)]).with(A1, 0x20);
    run.hart.lines().set(Irq::SEIP | Irq::MTIP, true);
    let run = run.steps(1);
    assert_eq!((run.reg(A0), run.csr(0x344)), (0x280, 0x2a0));
    run.hart.lines().set(Irq::SEIP | Irq::MTIP, false);
    assert_eq!(run.csr(0x344), 0x20);
}

#[test]
fn clearing_another_bit_of_mip_leaves_a_latched_ssip() {
    let run = Run::new(&[csrrc(A0, 0x344, A1), csrrc(A0, 0x344, A2)]).with(A1, 0x20).with(A2, 2);
    run.hart.lines().set(Irq::SSIP, true);
    let run = run.steps(1);
    assert_eq!(run.csr(0x344), 2);
    assert_eq!(run.steps(1).csr(0x344), 0);
}

#[test]
fn a_reserved_vector_mode_keeps_the_old_one() {
    let mut run = Run::new(&[]);
    run.write_csr(0x305, 0x1001);
    run.write_csr(0x305, 0x2002);
    assert_eq!(run.csr(0x305), 0x2001);
}

#[test]
fn satp_takes_bare_and_sv39_without_asid() {
    let mut run = Run::new(&[]);
    run.write_csr(0x180, 8 << 60 | 0xffff << 44 | 0x8_0001);
    assert_eq!(run.csr(0x180), 8 << 60 | 0x8_0001);
    run.write_csr(0x180, 9 << 60 | 5);
    assert_eq!(run.csr(0x180), 8 << 60 | 0x8_0001);
    run.write_csr(0x180, 0);
    assert_eq!(run.csr(0x180), 0);
}
