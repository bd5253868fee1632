//! Sv39: walks, permissions, A and D, superpages, and what is remembered of them.

use super::super::Mode;
use super::asm::*;
use super::machine::*;

const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const ALL: u64 = V | R | W | X | A | D;

const ROOT: u64 = BASE + 0x1_0000;
const MIDDLE: u64 = BASE + 0x1_1000;
const LEAF: u64 = BASE + 0x1_2000;
/// The page that tests map and access, and its virtual address.
const DATA: u64 = BASE + 0x2_0000;
const VIRT: u64 = 0x4000_1000;

const SATP: u32 = 0x180;
const MSTATUS: u32 = 0x300;
const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;

fn pte(phys: u64, flags: u64) -> u64 {
    phys >> 12 << 10 | flags
}

/// A run in `mode` with `flags` on the page at [`VIRT`]; the program is mapped where it is, by a superpage.
fn mapped(program: &[u32], flags: u64, mode: Mode) -> Run {
    let mut run = Run::new(program).with(A0, VIRT).with(A1, 0x55);
    let user = if mode == Mode::User { U } else { 0 };
    // Entry 2 of the root covers 0x8000_0000 as a gigabyte page; entry 1 leads to VIRT.
    run.machine.poke(ROOT + 2 * 8, pte(0x8000_0000, ALL | user));
    run.machine.poke(ROOT + 8, pte(MIDDLE, V));
    run.machine.poke(MIDDLE, pte(LEAF, V));
    run.machine.poke(LEAF + 8, pte(DATA, flags));
    run.machine.poke(DATA, 0x1234);
    run.write_csr(SATP, 8 << 60 | ROOT >> 12);
    run.in_mode(mode)
}

#[test]
fn three_levels_lead_to_the_page() {
    let run = mapped(&[ld(A2, A0, 0), sd(A1, A0, 8)], ALL, Mode::Supervisor).steps(2);
    run.at(8);
    assert_eq!((run.reg(A2), run.machine.peek(DATA + 8)), (0x1234, 0x55));
}

#[test]
fn permissions_are_those_of_the_entry_mode_sum_and_mxr() {
    let (load, store, exec) = (ld(A2, A0, 0), sd(A1, A0, 0), jalr(ZERO, A0));
    let (s, u) = (Mode::Supervisor, Mode::User);
    // instruction, flags, mode, status, page-fault cause or 0
    let table = [
        (load, V | R | A | D, s, 0, 0),
        (load, V | X | A | D, s, 0, 13),
        (load, V | X | A | D, s, MXR, 0),
        (store, V | R | A | D, s, 0, 15),
        (store, V | R | W | A | D, s, 0, 0),
        (exec, V | R | W | A | D, s, 0, 12),
        (exec, V | X | A | D, s, 0, 0),
        (load, ALL | U, u, 0, 0),
        (load, ALL, u, 0, 13),
        (store, ALL, u, 0, 15),
        (exec, ALL, u, 0, 12),
        (load, ALL | U, s, 0, 13),
        (load, ALL | U, s, SUM, 0),
        (store, ALL | U, s, SUM, 0),
        (exec, ALL | U, s, SUM, 12),
        // Malformed entries.
        (load, ALL & !V, s, 0, 13),
        (load, V | W | A | D, s, 0, 13),
        (load, V | W | X | A | D, s, 0, 13),
        (load, ALL | 1 << 54, s, 0, 13),
        (load, ALL | 1 << 61, s, 0, 13),
        (load, ALL | 1 << 63, s, 0, 13),
        // A pointer at the last level.
        (load, V, s, 0, 13),
    ];
    for (raw, flags, mode, status, cause) in table {
        let mut run = mapped(&[raw], flags, mode);
        run.machine.poke(DATA, NOP.into());
        run = run.in_mode(Mode::Machine);
        run.write_csr(MSTATUS, status);
        let run = run.in_mode(mode);
        // A jump faults at its target.
        let (run, epc) = if raw == exec { (run.steps(2), VIRT) } else { (run.steps(1), BASE) };
        if cause == 0 {
            let pc = if raw == exec { VIRT + 4 } else { BASE + 4 };
            assert_eq!(run.hart.pc(), pc, "{raw:#x} {flags:#x} {mode:?} {status:#x}");
        } else {
            let got = (run.csr(0x342), run.csr(0x343), run.csr(0x341));
            assert_eq!(got, (cause, VIRT, epc), "{raw:#x} {flags:#x} {mode:?} {status:#x}");
        }
    }
}

#[test]
fn accessed_and_dirty_are_set_by_need() {
    let flags = V | R | W | X;
    let after =
        |raw, count| mapped(&[raw], flags, Mode::Supervisor).steps(count).machine.peek(LEAF + 8) & 0xff;
    assert_eq!(after(ld(A2, A0, 0), 1), flags | A);
    assert_eq!(after(sd(A1, A0, 0), 1), flags | A | D);
    assert_eq!(after(jalr(ZERO, A0), 2), flags | A);
    assert_eq!(after(amo(0, 3, A2, A1, A0), 1), flags | A | D);
    // A load first must not hide the need for D from a store.
    let run = mapped(&[ld(A2, A0, 0), sd(A1, A0, 0)], flags, Mode::Supervisor).steps(2);
    assert_eq!(run.machine.peek(LEAF + 8) & 0xff, flags | A | D);
    // What is refused sets nothing.
    let run = mapped(&[sd(A1, A0, 0)], V | R, Mode::Supervisor).steps(1);
    assert_eq!(run.machine.peek(LEAF + 8) & 0xff, V | R);
}

#[test]
fn the_bits_that_a_walk_sets_are_marked_in_the_dirty_log() {
    use memory_core::DirtyClients;
    let marked = |raw, flags| {
        let run = mapped(&[raw], flags, Mode::Supervisor);
        let log = run.machine.ram.dirty();
        log.start(DirtyClients::CODE);
        let run = run.steps(1);
        run.at(4);
        run.machine.ram.dirty().is_dirty(DirtyClients::CODE, LEAF - BASE, 0x1000)
    };
    assert!(marked(ld(A2, A0, 0), V | R | W), "A");
    assert!(marked(sd(A1, A0, 0), V | R | W | A), "D");
    assert!(!marked(sd(A1, A0, 0), V | R | W | A | D), "nothing is left to be set");
}

#[test]
fn superpages_translate_and_must_be_aligned() {
    let run = mapped(&[ld(A2, A0, 0)], ALL, Mode::Supervisor);
    // A 2 MiB page whose frame starts at BASE: VIRT is 0x1000 into it.
    run.machine.poke(MIDDLE, pte(BASE, ALL));
    run.machine.poke(BASE + 0x1000, 0xabcd);
    let run = run.steps(1);
    assert_eq!(run.reg(A2), 0xabcd);
    for (entry, misaligned) in [(MIDDLE, BASE + 0x1000), (ROOT + 8, BASE + 0x20_0000)] {
        let run = mapped(&[ld(A2, A0, 0)], ALL, Mode::Supervisor);
        run.machine.poke(entry, pte(misaligned, ALL));
        run.steps(1).trapped(13, VIRT, 0);
    }
}

#[test]
fn a_pointer_with_leaf_bits_and_an_address_that_is_not_canonical_fault() {
    for flag in [A, D, U] {
        let run = mapped(&[ld(A2, A0, 0)], ALL, Mode::Supervisor);
        run.machine.poke(MIDDLE, pte(LEAF, V | flag));
        run.steps(1).trapped(13, VIRT, 0);
    }
    for addr in [1 << 39, 1 << 38, u64::MAX << 38 ^ 1 << 40, 1 << 63] {
        mapped(&[ld(A2, A0, 0)], ALL, Mode::Supervisor).with(A0, addr).steps(1).trapped(13, addr, 0);
    }
    // The top half is as good as the bottom one: entry 511 of the root.
    let run = mapped(&[ld(A2, A0, 0)], ALL, Mode::Supervisor).with(A0, (-0x4000_0000i64) as u64);
    run.machine.poke(ROOT + 511 * 8, pte(0x8000_0000, ALL));
    run.machine.poke(BASE, u64::from(ld(A2, A0, 0)) | 7 << 32);
    let run = run.steps(1);
    assert_eq!(run.reg(A2) >> 32, 7);
}

#[test]
fn tables_outside_of_memory_are_access_faults() {
    for (raw, cause) in [(ld(A2, A0, 0), 5), (sd(A1, A0, 0), 7)] {
        for table in [DEVICE, 0x4000_0000] {
            let run = mapped(&[raw], ALL, Mode::Supervisor);
            run.machine.poke(MIDDLE, pte(table, V));
            run.steps(1).trapped(cause, VIRT, 0);
        }
    }
}

#[test]
fn a_table_in_rom_can_be_walked_but_not_marked() {
    for (flags, at, cause) in [(ALL, 4, 0), (ALL & !D, 0x400, 7)] {
        let run = mapped(&[sd(A1, A0, 0)], 0, Mode::Supervisor);
        assert!(run.machine.rom.store(8, memory_core::Width::W8, pte(DATA, flags)));
        run.machine.poke(MIDDLE, pte(ROM, V));
        let run = run.steps(1);
        run.at(at);
        if cause != 0 {
            run.trapped(cause, VIRT, 0);
        }
    }
}

#[test]
fn sfence_makes_a_changed_entry_seen() {
    let run = mapped(&[ld(A2, A0, 0), SFENCE, ld(A3, A0, 0)], ALL, Mode::Supervisor).steps(1);
    run.machine.poke(LEAF + 8, pte(BASE + 0x3_0000, ALL));
    run.machine.poke(BASE + 0x3_0000, 0x9999);
    let run = run.steps(2);
    assert_eq!((run.reg(A2), run.reg(A3)), (0x1234, 0x9999));
}

#[test]
fn a_write_to_satp_changes_the_address_space_at_once() {
    let run = mapped(&[ld(A2, A0, 0), csrrw(ZERO, SATP, A3), ld(T0, A0, 0)], ALL, Mode::Supervisor);
    // A second root, which maps VIRT's gigabyte elsewhere.
    let second = BASE + 0x1_4000;
    run.machine.poke(second + 16, pte(0x8000_0000, ALL));
    run.machine.poke(second + 8, pte(0x8000_0000, ALL));
    run.machine.poke(BASE + 0x1000, 0x7777);
    let run = run.with(A3, 8 << 60 | second >> 12).steps(3);
    run.at(12);
    assert_eq!((run.reg(A2), run.reg(T0)), (0x1234, 0x7777));
}

#[test]
fn modes_do_not_share_translations() {
    // S-mode loads a page of U-mode under SUM, then without.
    let program = [csrrs(ZERO, 0x100, A3), ld(A2, A0, 0), csrrc(ZERO, 0x100, A3), ld(T0, A0, 0)];
    let run = mapped(&program, ALL | U, Mode::Supervisor).with(A3, SUM).steps(4);
    assert_eq!(run.reg(A2), 0x1234);
    run.trapped(13, VIRT, 12);
}

#[test]
fn mprv_translates_as_the_mode_in_mpp() {
    let mut run = mapped(&[ld(A2, A0, 0)], ALL, Mode::Machine);
    run.write_csr(MSTATUS, 1 << 17 | 1 << 11);
    assert_eq!(run.steps(1).reg(A2), 0x1234);
}

#[test]
fn an_access_over_two_pages_translates_both() {
    let other = BASE + 0x2_5000;
    let run = mapped(&[sd(A1, A0, 0), ld(A2, A0, 0)], ALL, Mode::Supervisor);
    run.machine.poke(LEAF + 16, pte(other, ALL));
    let run = run.with(A0, VIRT + 0xffc).with(A1, 0x1122_3344_5566_7788).steps(2);
    assert_eq!(run.reg(A2), 0x1122_3344_5566_7788);
    assert_eq!(run.machine.peek(DATA + 0xff8) >> 32, 0x5566_7788);
    assert_eq!(run.machine.peek(other), 0x1122_3344);
    // The second page is missing: the fault names it, and the first page is as it was.
    let run = mapped(&[sd(A1, A0, 0)], ALL, Mode::Supervisor).with(A0, VIRT + 0xffc).steps(1);
    run.trapped(15, VIRT + 0x1000, 0);
    assert_eq!(run.machine.peek(DATA + 0xff8), 0);
}

#[test]
fn the_second_half_of_an_instruction_faults_with_its_own_address() {
    let run = mapped(&[jalr(ZERO, A0)], ALL, Mode::Supervisor).with(A0, VIRT + 0xffe);
    run.machine.poke(DATA + 0xff8, u64::from(NOP) << 48);
    let run = run.steps(2);
    assert_eq!((run.csr(0x342), run.csr(0x343), run.csr(0x341)), (12, VIRT + 0x1000, VIRT + 0xffe));
}
