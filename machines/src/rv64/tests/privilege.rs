//! Traps, delegation, interrupts, returns, and the instructions that modes may not have.

use super::super::{Irq, Mode};
use super::asm::*;
use super::machine::*;
use crate::vcpu::Vcpu;

const MSTATUS: u32 = 0x300;
const MEDELEG: u32 = 0x302;
const MIDELEG: u32 = 0x303;
const MIE: u32 = 0x304;
const MTVEC: u32 = 0x305;
const STVEC: u32 = 0x105;

const MSTATUS_MIE: u64 = 1 << 3;
const MSTATUS_SIE: u64 = 1 << 1;

#[test]
fn ecall_and_ebreak_have_their_causes() {
    for (mode, cause) in [(Mode::User, 8), (Mode::Supervisor, 9), (Mode::Machine, 11)] {
        Run::new(&[NOP, ECALL]).in_mode(mode).steps(2).trapped(cause, 0, 4);
    }
    Run::new(&[NOP, EBREAK]).steps(2).trapped(3, BASE + 4, 4);
}

#[test]
fn a_trap_stacks_mode_and_enable_and_mret_restores_them() {
    let mut run = Run::new(&[ECALL, NOP]);
    run.machine
        .load_program(BASE + 0x400, &[csrrs(A0, 0x341, ZERO), addi(A0, A0, 4), csrrw(ZERO, 0x341, A0), MRET]);
    run.write_csr(MSTATUS, MSTATUS_MIE);
    let run = run.in_mode(Mode::Supervisor).steps(1);
    assert_eq!(run.hart.mode(), Mode::Machine);
    assert_eq!(run.csr(MSTATUS) & 0x1888, 0x0880, "MPP is S, MPIE set, MIE clear");
    let run = run.steps(4);
    run.at(4);
    assert_eq!(run.hart.mode(), Mode::Supervisor);
    assert_eq!(run.csr(MSTATUS) & 0x1888, 0x0088, "MPP is U, MPIE and MIE set");
}

#[test]
fn a_delegated_exception_goes_to_supervisor_mode_but_never_down() {
    let mut run = Run::new(&[ECALL]);
    run.write_csr(MEDELEG, 1 << 8 | 1 << 2);
    let run = run.in_mode(Mode::User).steps(1);
    assert_eq!((run.hart.mode(), run.hart.pc()), (Mode::Supervisor, BASE + 0x800));
    assert_eq!((run.csr(0x142), run.csr(0x141), run.csr(0x143)), (8, BASE, 0));
    assert_eq!(run.csr(0x100) & 0x100, 0, "SPP is U");

    // The same cause from M-mode stays there.
    let mut run = Run::new(&[0]);
    run.write_csr(MEDELEG, 1 << 2);
    run.steps(1).trapped(2, 0, 0);
}

#[test]
fn sret_returns_to_the_mode_in_spp() {
    for (spp, mode) in [(0, Mode::User), (1, Mode::Supervisor)] {
        let mut run = Run::new(&[SRET]);
        run.write_csr(0x141, BASE + 0x40);
        run.write_csr(0x100, spp << 8 | 1 << 5);
        let run = run.in_mode(Mode::Supervisor).steps(1);
        run.at(0x40);
        assert_eq!(run.hart.mode(), mode);
        assert_eq!(run.csr(0x100) & 0x122, 0x22, "SIE from SPIE, SPIE set, SPP clear");
    }
}

#[test]
fn instructions_that_a_mode_may_not_have_are_illegal() {
    const TVM: u64 = 1 << 20;
    const TW: u64 = 1 << 21;
    const TSR: u64 = 1 << 22;
    let satp = csrrs(A0, 0x180, ZERO);
    let table = [
        (MRET, Mode::Supervisor, 0, false),
        (MRET, Mode::User, 0, false),
        (SRET, Mode::User, 0, false),
        (SRET, Mode::Supervisor, TSR, false),
        (SRET, Mode::Supervisor, TVM | TW, true),
        (SRET, Mode::Machine, TSR, true),
        (SFENCE, Mode::User, 0, false),
        (SFENCE, Mode::Supervisor, TVM, false),
        (SFENCE, Mode::Supervisor, TSR | TW, true),
        (SFENCE, Mode::Machine, TVM, true),
        (satp, Mode::Supervisor, TVM, false),
        (satp, Mode::Supervisor, 0, true),
        (satp, Mode::Machine, TVM, true),
        (WFI, Mode::User, 0, false),
        (WFI, Mode::Supervisor, TW, false),
        (WFI, Mode::Supervisor, 0, true),
        (WFI, Mode::Machine, TW, true),
    ];
    for (raw, mode, status, allowed) in table {
        let mut run = Run::new(&[raw]);
        run.write_csr(MSTATUS, status);
        run.write_csr(0x141, BASE + 4);
        let run = run.in_mode(mode).steps(1);
        if allowed { run.at(4) } else { run.trapped(2, raw.into(), 0) }
    }
}

#[test]
fn mprv_gives_loads_the_rights_of_mpp_but_not_fetches() {
    const MPRV: u64 = 1 << 17;
    // PMP is closed, so that U-mode reaches nothing.
    let mut run = Run::new(&[NOP, ld(A0, A1, 0)]).with(A1, BASE);
    run.write_csr(MSTATUS, MPRV);
    run.steps(2).trapped(5, BASE, 4);
    let mut run = Run::new(&[NOP, ld(A0, A1, 0)]).with(A1, BASE);
    run.write_csr(MSTATUS, MPRV | 3 << 11);
    run.steps(2).at(8);
}

#[test]
fn interrupts_are_taken_by_priority_and_to_the_right_vector() {
    let lines = Irq::MEIP | Irq::MSIP | Irq::MTIP | Irq::SEIP | Irq::SSIP;
    let mut run = Run::new(&[NOP]);
    run.write_csr(0x344, 1 << 5);
    run.hart.lines().set(lines, true);
    run.write_csr(MTVEC, BASE + 0x1001);
    run.write_csr(MSTATUS, MSTATUS_MIE);
    for number in [11, 3, 7, 9, 1, 5] {
        run.write_csr(MIE, 0xaaa);
        let mut next = run.steps(1);
        assert_eq!(next.csr(0x342), 1 << 63 | number);
        assert_eq!(next.hart.pc(), BASE + 0x1000 + 4 * number);
        next.write_csr(MSTATUS, MSTATUS_MIE);
        next.hart.lines().set(Irq::from_bits_truncate(1 << number), false);
        if matches!(number, 1 | 5) {
            let left = next.csr(0x344) & !(1 << number);
            next.write_csr(0x344, left);
        }
        run = next;
    }
    assert_eq!(run.csr(0x344), 0);
}

#[test]
fn interrupts_need_their_enables() {
    // mode, mstatus, delegated, taken to
    let table = [
        (Mode::Machine, 0, false, None),
        (Mode::Machine, MSTATUS_MIE, false, Some(Mode::Machine)),
        (Mode::Machine, MSTATUS_MIE | MSTATUS_SIE, true, None),
        (Mode::Supervisor, 0, false, Some(Mode::Machine)),
        (Mode::Supervisor, 0, true, None),
        (Mode::Supervisor, MSTATUS_SIE, true, Some(Mode::Supervisor)),
        (Mode::User, 0, true, Some(Mode::Supervisor)),
        (Mode::User, 0, false, Some(Mode::Machine)),
    ];
    for (mode, status, delegated, to) in table {
        let mut run = Run::new(&[NOP]);
        run.write_csr(MSTATUS, status);
        run.write_csr(MIDELEG, if delegated { 0x222 } else { 0 });
        run.write_csr(MIE, 0xaaa);
        run.hart.lines().set(Irq::SEIP, true);
        let run = run.in_mode(mode).steps(1);
        match to {
            None => run.at(4),
            Some(to) => {
                let vector = if to == Mode::Machine { 0x400 } else { 0x800 };
                run.at(vector);
                assert_eq!(run.hart.mode(), to);
            }
        }
    }
}

#[test]
fn a_machine_interrupt_goes_before_a_delegated_one() {
    let mut run = Run::new(&[NOP]);
    run.write_csr(MIDELEG, 0x222);
    run.write_csr(MIE, 0xaaa);
    run.write_csr(MSTATUS, MSTATUS_SIE);
    run.hart.lines().set(Irq::SEIP | Irq::MTIP, true);
    let run = run.in_mode(Mode::Supervisor).steps(1);
    assert_eq!((run.hart.mode(), run.csr(0x342)), (Mode::Machine, 1 << 63 | 7));
}

#[test]
fn an_interrupt_that_an_instruction_enables_is_taken_before_the_next() {
    let mut run = Run::new(&[csrrw(ZERO, MSTATUS, A0), NOP]).with(A0, MSTATUS_MIE);
    run.write_csr(MIE, 1 << 7);
    run.hart.lines().set(Irq::MTIP, true);
    let run = run.steps(2);
    assert_eq!((run.csr(0x342), run.csr(0x341)), (1 << 63 | 7, BASE + 4));
}

#[test]
fn a_supervisor_vector_table_is_for_interrupts_only() {
    let mut run = Run::new(&[ECALL]);
    run.write_csr(STVEC, BASE + 0x2001);
    run.write_csr(MEDELEG, 1 << 8);
    run.in_mode(Mode::User).steps(1).at(0x2000);
    let mut run = Run::new(&[NOP]);
    run.write_csr(STVEC, BASE + 0x2001);
    run.write_csr(MIDELEG, 0x222);
    run.write_csr(MIE, 0x222);
    run.hart.lines().set(Irq::SSIP, true);
    run.in_mode(Mode::User).steps(1).at(0x2004);
}

#[test]
fn reset_brings_back_the_power_on_state() {
    let mut run = Run::new(&[ECALL]).with(A2, 5);
    run.write_csr(MIE, 0xaaa);
    let mut run = run.in_mode(Mode::User).steps(3);
    run.hart.lines().set(Irq::SSIP | Irq::MTIP, true);
    run.hart.set_boot(BASE + 0x10, 7, 0x1234);
    assert_eq!((run.hart.pc(), run.hart.mode()), (BASE + 0x10, Mode::Machine));
    assert_eq!((run.reg(A0), run.reg(A1), run.reg(A2)), (7, 0x1234, 0));
    for csr in [MIE, MTVEC, 0x341, 0x342, 0x3a0, 0xb02] {
        assert_eq!(run.csr(csr), 0, "{csr:#x}");
    }
    assert_eq!(run.csr(0x344), 0x80, "a level stays, a latch does not");
    assert_eq!(run.hart.retired(), 2);
}
