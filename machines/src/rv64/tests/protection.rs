//! PMP as instructions meet it; the rules themselves are tested in `pmp`.

use super::super::Mode;
use super::asm::*;
use super::machine::*;

const PMPCFG0: u32 = 0x3a0;
const PMPADDR0: u32 = 0x3b0;
const R: u64 = 1;
const W: u64 = 2;
const X: u64 = 4;
const NA4: u64 = 2 << 3;
const NAPOT: u64 = 3 << 3;
const LOCK: u64 = 0x80;

const DATA: u64 = BASE + 0x4000;

/// A run with `config` on `addr` as entry 0 and everything allowed by entry 1.
fn protected(program: &[u32], config: u64, addr: u64, mode: Mode) -> Run {
    let mut run = Run::new(program).with(A0, DATA).with(A1, 7);
    run.write_csr(PMPADDR0, addr);
    run.write_csr(PMPADDR0 + 1, u64::MAX);
    run.write_csr(PMPCFG0, (NAPOT | R | W | X) << 8 | config);
    run.in_mode(mode)
}

/// The NAPOT address of the page at [`DATA`].
fn page() -> u64 {
    DATA >> 2 | 0x1ff
}

#[test]
fn each_right_is_needed_for_its_access() {
    let (load, store, exec) = (ld(A2, A0, 0), sd(A1, A0, 0), jalr(ZERO, A0));
    let reserve = lr(3, A2, A0);
    let table = [
        (load, R, 0),
        (load, X, 5),
        (store, R | W, 0),
        (store, R | X, 7),
        (exec, X, 0),
        (exec, R | W, 1),
        (reserve, R, 0),
        (reserve, X, 5),
        (amo(0, 3, A2, A1, A0), R | W, 0),
        (amo(0, 3, A2, A1, A0), R, 7),
    ];
    for (raw, rights, cause) in table {
        for mode in [Mode::User, Mode::Supervisor] {
            let run = protected(&[raw], NAPOT | rights, page(), mode);
            run.machine.poke(DATA, NOP.into());
            let (steps, pc, epc) = if raw == exec { (2, DATA + 4, 0x4000) } else { (1, BASE + 4, 0) };
            let run = run.steps(steps);
            if cause == 0 {
                assert_eq!(run.hart.pc(), pc, "{raw:#x} {rights}");
            } else {
                run.trapped(cause, DATA, epc);
            }
        }
    }
}

#[test]
fn machine_mode_is_bound_by_locked_entries_only() {
    protected(&[sd(A1, A0, 0)], NAPOT | R, page(), Mode::Machine).steps(1).at(4);
    protected(&[sd(A1, A0, 0)], LOCK | NAPOT | R, page(), Mode::Machine).steps(1).trapped(7, DATA, 0);
}

#[test]
fn four_bytes_of_a_page_can_be_protected() {
    let lw = |imm| i(LOAD, 2, A2, A0, imm);
    let cases = [(lw(-4), 0), (lw(0), 5), (lw(4), 0), (ld(A2, A0, 0), 5), (i(LOAD, 4, A2, A0, 3), 5)];
    for (raw, cause) in cases {
        // Once before and once after another access of the page, which must not make it remembered.
        for program in [vec![raw], vec![lw(8), raw]] {
            let epc = 4 * (program.len() as u64 - 1);
            let run = protected(&program, NA4, DATA >> 2, Mode::User).steps(program.len() as u64);
            if cause == 0 {
                run.at(epc + 4);
            } else {
                let tval = DATA + if raw == i(LOAD, 4, A2, A0, 3) { 3 } else { 0 };
                run.trapped(cause, tval, epc);
            }
        }
    }
}

#[test]
fn code_in_a_page_that_is_protected_in_parts_runs_up_to_the_part() {
    let run = protected(&[jalr(ZERO, A0)], NA4, (DATA + 8) >> 2, Mode::User);
    run.machine.load_program(DATA, &[NOP, NOP, NOP]);
    run.steps(4).trapped(1, DATA + 8, 0x4008);
}

#[test]
fn an_unaligned_access_into_a_protected_part_faults() {
    let run = protected(&[ld(A2, A0, 2)], NA4, (DATA + 8) >> 2, Mode::User).steps(1);
    run.trapped(5, DATA + 2, 0);
}

#[test]
fn a_change_of_protection_is_seen_by_the_next_access() {
    // In M-mode with MPRV, so that the same program may write PMP.
    let program = [ld(A2, A0, 0), csrrw(ZERO, PMPCFG0, A3), ld(A2, A0, 0)];
    let mut run = protected(&program, NAPOT | R, page(), Mode::Machine).with(A3, (NAPOT | 7) << 8 | NAPOT);
    run.write_csr(0x300, 1 << 17);
    run.steps(3).trapped(5, DATA, 8);
}

#[test]
fn page_tables_are_read_and_marked_with_the_rights_of_supervisor_mode() {
    let table = DATA;
    for (rights, flags, cause) in [(0, 0xcf, 5), (R, 0xcf, 0), (R, 0x0f, 5), (R | W, 0x0f, 0)] {
        let mut run = protected(&[ld(A2, A0, 0)], NAPOT | rights, page(), Mode::Machine).with(A0, 0x1000);
        run.machine.poke(table, BASE >> 12 << 10 | flags);
        run.write_csr(0x180, 8 << 60 | table >> 12);
        run.write_csr(0x300, 1 << 17 | 1 << 11);
        let run = run.steps(1);
        if cause == 0 { run.at(4) } else { run.trapped(cause, 0x1000, 0) }
    }
}
