//! Sv39: every leaf and every pointer against the steps of the manual's translation process (4.3.2).

use crate::rv64::Mode;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;

const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;

const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;
const MPRV: u64 = 1 << 17;

const ROOT: u64 = BASE + 0x1_0000;
const TABLES: [u64; 2] = [BASE + 0x1_1000, BASE + 0x1_2000];
/// Where the page is, and where a handler in M-mode loops; a page of the code maps the program where it is.
const DATA: u64 = BASE + 0x2_0000;
/// Indexes 1, 2 and 3 of the three levels.
const VIRTUAL: u64 = 1 << 30 | 2 << 21 | 3 << 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Fetch,
    Load,
    Store,
    Amo,
    Reserve,
}
use Access::*;

impl Access {
    fn instruction(self) -> u32 {
        match self {
            Fetch => jalr(ZERO, A0),
            Load => ld(A2, A0, 0),
            Store => sd(A1, A0, 0),
            Amo => amo(0, 3, A2, A1, A0),
            Reserve => lr(3, A2, A0),
        }
    }

    fn page_fault(self) -> u64 {
        match self {
            Fetch => 12,
            Load | Reserve => 13,
            Store | Amo => 15,
        }
    }
}

/// Steps 5 to 8 on a leaf: may the access be made, and what is the entry then?
fn leaf(pte: u64, access: Access, mode: Mode, status: u64) -> Option<u64> {
    let has = |bits: u64| pte & bits == bits;
    if !has(V) || (!has(R) && has(W)) || pte >> 54 != 0 {
        return None;
    }
    let readable = has(R) || (status & MXR != 0 && has(X));
    let allowed = match access {
        Fetch => has(X),
        Load | Reserve => readable,
        Store | Amo => has(W),
    };
    let owner = match mode {
        Mode::User => has(U),
        // Never execute a page of U-mode, whatever SUM says.
        _ => !has(U) || (status & SUM != 0 && access != Fetch),
    };
    let store = matches!(access, Store | Amo);
    (allowed && owner).then_some(pte | A | if store { D } else { 0 })
}

/// The address of the entry of [`VIRTUAL`] at `level`.
fn entry(level: usize) -> u64 {
    match level {
        2 => ROOT + 8,
        1 => TABLES[0] + 2 * 8,
        _ => TABLES[1] + 3 * 8,
    }
}

/// A run of one access, in `mode`, with `pte` at `level` and pointers above it.
fn access(access: Access, mode: Mode, status: u64, level: usize, pte: u64) -> Run {
    let mut run = Run::new(&[access.instruction()]).with(A0, VIRTUAL).with(A1, 0x55);
    let user = if mode == Mode::User { U } else { 0 };
    run.machine.poke(ROOT + 2 * 8, 0x8000_0000 >> 2 | V | R | X | A | D | user);
    run.machine.poke(entry(2), TABLES[0] >> 2 | V);
    run.machine.poke(entry(1), TABLES[1] >> 2 | V);
    run.machine.poke(entry(level), pte);
    run.machine.poke(DATA, NOP.into());
    run.write_csr(0x180, 8 << 60 | ROOT >> 12);
    run.write_csr(0x300, status);
    run.in_mode(mode)
}

/// Asserts that the access faulted, or that it was made and left `after` in the entry at `level`.
#[track_caller]
fn check(run: Run, access: Access, level: usize, before: u64, after: Option<u64>, what: &str) {
    let steps = if access == Fetch { 2 } else { 1 };
    let run = run.steps(steps);
    assert_eq!(run.machine.peek(entry(level)), after.unwrap_or(before), "{what}: the entry");
    if after.is_some() {
        let next = if access == Fetch { VIRTUAL + 4 } else { BASE + 4 };
        assert_eq!(run.hart.pc(), next, "{what}: mcause {:?}", run.csr(0x342));
    } else {
        let epc = if access == Fetch { VIRTUAL } else { BASE };
        let got = (run.csr(0x342), run.csr(0x343), run.csr(0x341));
        assert_eq!(got, (access.page_fault(), VIRTUAL, epc), "{what}: cause, tval, epc");
    }
}

#[test]
fn every_leaf_permits_what_its_flags_the_mode_sum_and_mxr_say() {
    for flags in 0..256 {
        // Without R, W and X it is a pointer: see below.
        if flags & (R | W | X) == 0 {
            continue;
        }
        for kind in [Fetch, Load, Store, Amo, Reserve] {
            for mode in [Mode::User, Mode::Supervisor] {
                for status in [0, SUM, MXR, SUM | MXR] {
                    let pte = DATA >> 2 | flags;
                    let what = format!("{kind:?} in {mode:?}, flags {flags:#x}, mstatus {status:#x}");
                    let run = access(kind, mode, status, 0, pte);
                    check(run, kind, 0, pte, leaf(pte, kind, mode, status), &what);
                }
            }
        }
    }
}

#[test]
fn every_reserved_bit_of_a_leaf_and_of_a_pointer_faults() {
    for bit in 54..64 {
        for (level, flags, phys) in [(0, V | R | W | X | A | D, DATA), (1, V, TABLES[1]), (2, V, TABLES[0])] {
            let pte = phys >> 2 | flags | 1 << bit;
            for kind in [Fetch, Load, Store] {
                let run = access(kind, Mode::Supervisor, 0, level, pte);
                check(run, kind, level, pte, None, &format!("{kind:?}, level {level}, bit {bit}"));
            }
        }
    }
}

/// The two bits for software and G change nothing, in leaves and in pointers.
#[test]
fn bits_for_software_and_global_mappings_change_nothing() {
    const G: u64 = 1 << 5;
    for extra in [G, 1 << 8, 1 << 9] {
        let pte = DATA >> 2 | V | R | W | A | D | extra;
        check(access(Load, Mode::Supervisor, 0, 0, pte), Load, 0, pte, Some(pte), "leaf");
        for (level, phys) in [(1, TABLES[1]), (2, TABLES[0])] {
            let pointer = phys >> 2 | V | extra;
            let run = access(Load, Mode::Supervisor, 0, level, pointer);
            run.machine.poke(entry(0), DATA >> 2 | V | R | A);
            check(run, Load, level, pointer, Some(pointer), "pointer");
        }
    }
}

/// Pointers: valid, without A, D and U; at the last level there is nothing to point to.
#[test]
fn every_pointer_is_followed_or_faults() {
    for level in 0..3 {
        for flags in (0..256).filter(|flags| flags & (R | W | X) == 0) {
            let phys = [DATA, TABLES[1], TABLES[0]][level];
            let pte = phys >> 2 | flags;
            let good = level > 0 && flags & V != 0 && flags & (A | D | U) == 0;
            let run = access(Load, Mode::Supervisor, 0, level, pte);
            if level > 0 {
                run.machine.poke(entry(0), DATA >> 2 | V | R | A);
            }
            check(run, Load, level, pte, good.then_some(pte), &format!("level {level}, flags {flags:#x}"));
        }
    }
}

/// Leaves above the last level, whose low page numbers must be 0; each wrong bit alone.
#[test]
fn superpages_take_the_low_bits_of_the_address_and_must_be_aligned() {
    for (level, bits) in [(1, 9), (2, 18)] {
        let flags = V | R | W | X | A | D;
        // The frame starts at BASE, and the rest of the virtual address leads into RAM: shorten it.
        let inside = 3 << 12 & ((1u64 << (12 + bits)) - 1);
        let pte = BASE >> 2 | flags;
        if level == 1 {
            let run = access(Load, Mode::Supervisor, 0, level, pte);
            run.machine.poke(BASE + inside, 0x77);
            let run = run.steps(1);
            assert_eq!(run.reg(A2), 0x77);
        }
        for bit in 0..bits {
            let wrong = pte ^ 1 << (10 + bit);
            for kind in [Fetch, Load, Store] {
                let run = access(kind, Mode::Supervisor, 0, level, wrong);
                check(run, kind, level, wrong, None, &format!("level {level}, page number bit {bit}"));
            }
        }
    }
}

/// Bits 63 to 39 repeat bit 38: each that does not is a fault, even in an address that is mapped.
#[test]
fn addresses_that_are_not_canonical_fault_whatever_is_mapped() {
    for bit in 39..64 {
        for kind in [Fetch, Load, Store, Amo, Reserve] {
            for good in [VIRTUAL, VIRTUAL | u64::MAX << 38] {
                let run = access(kind, Mode::Supervisor, 0, 0, DATA >> 2 | V | R | W | X | A | D);
                // The upper half has the same tables.
                run.machine.poke(ROOT + (256 + 1) * 8, TABLES[0] >> 2 | V);
                let steps = if kind == Fetch { 2 } else { 1 };
                let address = good ^ 1 << bit;
                let run = run.with(A0, address).steps(steps);
                assert_eq!((run.csr(0x342), run.csr(0x343)), (kind.page_fault(), address), "{kind:?} {bit}");
            }
        }
    }
    for (address, cause) in
        [(VIRTUAL | u64::MAX << 38, 0), (VIRTUAL | 1 << 38, 13), (VIRTUAL | u64::MAX << 39, 13)]
    {
        let run = access(Load, Mode::Supervisor, 0, 0, DATA >> 2 | V | R | A);
        run.machine.poke(ROOT + (256 + 1) * 8, TABLES[0] >> 2 | V);
        assert_eq!(run.with(A0, address).steps(1).csr(0x342), cause, "{address:#x}");
    }
}

/// What a translation was remembered under does not outlive SUM, MXR and MPP: each changes between two loads.
#[test]
fn a_change_of_sum_mxr_or_mpp_counts_for_the_next_access() {
    let table = [(SUM, V | R | U | A), (MXR, V | X | A), (SUM | MXR, V | X | U | A)];
    for (bits, flags) in table {
        let program = [ld(A2, A0, 0), csrrc(ZERO, 0x100, A3), ld(T0, A0, 0)];
        let mut run = access(Load, Mode::Supervisor, bits, 0, DATA >> 2 | flags).with(A3, bits);
        run.machine.load_program(BASE, &program);
        run = run.steps(3);
        assert_eq!(run.reg(A2), u64::from(NOP), "{bits:#x}");
        run.trapped(13, VIRTUAL, 8);

        let program = [ld(A2, A0, 0), csrrs(ZERO, 0x100, A3), ld(T0, A0, 0)];
        let run = access(Load, Mode::Supervisor, 0, 0, DATA >> 2 | flags).with(A3, bits);
        run.machine.load_program(BASE, &program);
        let mut run = run.steps(1);
        run.trapped(13, VIRTUAL, 0);
        // Back behind the load that faulted.
        run.write_csr(0x341, BASE + 4);
        run.machine.load_program(BASE + 0x400, &[MRET]);
        let run = run.steps(3);
        run.at(12);
        assert_eq!(run.reg(T0), u64::from(NOP), "{bits:#x}");
    }
    // In M-mode with MPRV: as U-mode, then as S-mode, whose page it is not.
    let program = [ld(A2, A0, 0), csrrs(ZERO, 0x300, A3), ld(T0, A0, 0)];
    let mut run = access(Load, Mode::User, 0, 0, DATA >> 2 | V | R | U | A).in_mode(Mode::Machine);
    run.machine.load_program(BASE, &program);
    run.write_csr(0x300, MPRV);
    let run = run.with(A3, 1 << 11).steps(3);
    assert_eq!(run.reg(A2), u64::from(NOP));
    run.trapped(13, VIRTUAL, 8);
}

/// A store over two pages, of which the first is a device and the second is not mapped, does not reach the device.
#[test]
fn a_store_whose_second_page_faults_leaves_the_first_alone_even_if_it_is_a_device() {
    let pte = DEVICE >> 2 | V | R | W | A | D;
    let run = access(Store, Mode::Supervisor, 0, 0, pte).with(A0, VIRTUAL + 0xffc).steps(1);
    run.trapped(15, VIRTUAL + 0x1000, 0);
    assert!(run.machine.writes.lock().unwrap().is_empty());
}

/// MPRV gives loads and stores of M-mode the mode in MPP, with SUM and MXR; fetches stay as they are.
#[test]
fn mprv_translates_and_checks_as_the_mode_in_mpp() {
    for flags in (0..256).filter(|flags| flags & (R | W | X) != 0) {
        for (mpp, mode) in [(0, Mode::User), (1, Mode::Supervisor)] {
            for status in [0, SUM, MXR] {
                for kind in [Load, Store] {
                    let pte = DATA >> 2 | flags;
                    let mut run = access(kind, Mode::Machine, 0, 0, pte);
                    // The modes below need PMP.
                    run = run.in_mode(Mode::Machine);
                    run.write_csr(0x300, status | MPRV | mpp << 11);
                    let want = leaf(pte, kind, mode, status);
                    check(run, kind, 0, pte, want, &format!("{kind:?} as {mode:?}, {flags:#x}, {status:#x}"));
                }
            }
        }
    }
}
