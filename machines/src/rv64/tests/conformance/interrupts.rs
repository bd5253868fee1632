//! Which interrupt is taken when, and by whom: all sets of pending ones, enables, delegations and modes, against
//! the manual's conditions (3.1.6.1, 3.1.9).

use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;
use crate::rv64::{Irq, Mode};
use crate::vcpu::Vcpu;

const MIE: u64 = 1 << 3;
const SIE: u64 = 1 << 1;

/// Numbers of the interrupts, in falling priority.
const PRIORITY: [u64; 6] = [11, 3, 7, 9, 1, 5];

/// The interrupt that is taken, and the mode that takes it.
fn taken(mode: Mode, status: u64, pending: u64, mideleg: u64) -> Option<(u64, Mode)> {
    let first = |set: u64| PRIORITY.into_iter().find(|number| set >> number & 1 == 1);
    let machine = mode != Mode::Machine || status & MIE != 0;
    let supervisor = mode == Mode::User || (mode == Mode::Supervisor && status & SIE != 0);
    // What M-mode takes comes before all that is delegated, and interrupts never go to a lower mode.
    if let Some(number) = first(pending & !mideleg).filter(|_| machine) {
        return Some((number, Mode::Machine));
    }
    first(pending & mideleg).filter(|_| supervisor).map(|number| (number, Mode::Supervisor))
}

fn bits(set: u64) -> u64 {
    // Set `n` has the interrupts of the bits of `n`, by the order of their numbers.
    [1, 3, 5, 7, 9, 11].into_iter().enumerate().map(|(bit, number)| (set >> bit & 1) << number).sum()
}

/// A run with `pending` interrupts and `status` in `mode`, one step on.
fn run(mode: Mode, status: u64, pending: u64, enabled: u64, mideleg: u64) -> Run {
    let mut run = Run::new(&[NOP]);
    run.write_csr(0x300, status);
    run.write_csr(0x303, mideleg);
    run.write_csr(0x304, enabled);
    // What software cannot set comes by line; SEIP by both.
    run.write_csr(0x344, pending & 0x222);
    run.hart.lines().set(Irq::from_bits_truncate((pending & 0x888) as u32), true);
    assert_eq!(run.csr(0x344), pending);
    run.in_mode(mode).steps(1)
}

#[track_caller]
fn check(run: &Run, mode: Mode, want: Option<(u64, Mode)>, what: &str) {
    match want {
        None => assert_eq!((run.hart.pc(), run.hart.mode()), (BASE + 4, mode), "{what}"),
        Some((number, to)) => {
            let (vector, cause, epc, tval) =
                if to == Mode::Machine { (0x400, 0x342, 0x341, 0x343) } else { (0x800, 0x142, 0x141, 0x143) };
            assert_eq!((run.hart.pc(), run.hart.mode()), (BASE + vector, to), "{what}");
            let got = (run.csr(cause), run.csr(epc), run.csr(tval));
            assert_eq!(got, (1 << 63 | number, BASE, 0), "{what}: cause, epc, tval");
        }
    }
}

#[test]
fn every_set_of_pending_interrupts_under_every_delegation_and_enable() {
    for pending in (0..64).map(bits) {
        for mideleg in [0, 0x002, 0x020, 0x200, 0x022, 0x202, 0x220, 0x222] {
            for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
                for status in [0, MIE, SIE, MIE | SIE] {
                    let run = run(mode, status, pending, 0xaaa, mideleg);
                    let what =
                        format!("{mode:?}, mstatus {status:#x}, mip {pending:#x}, mideleg {mideleg:#x}");
                    check(&run, mode, taken(mode, status, pending, mideleg), &what);
                }
            }
        }
    }
}

#[test]
fn only_interrupts_that_mie_has_are_taken() {
    for enabled in (0..64).map(bits) {
        for mideleg in [0, 0x222] {
            let run = run(Mode::User, 0, 0xaaa, enabled, mideleg);
            check(&run, Mode::User, taken(Mode::User, 0, enabled, mideleg), &format!("mie {enabled:#x}"));
        }
    }
}

/// A vector of mode 1 adds four times the number for interrupts, and nothing for exceptions.
#[test]
fn every_vector_is_at_its_place() {
    for number in PRIORITY {
        for (mideleg, mode) in [(0, Mode::Machine), (0x222, Mode::Supervisor)] {
            if mode == Mode::Supervisor && 0x222 >> number & 1 == 0 {
                continue;
            }
            for (vector, place) in [(0x1000, 0), (0x1001, 4 * number)] {
                let mut run = Run::new(&[NOP]);
                run.write_csr(0x305, BASE + vector);
                run.write_csr(0x105, BASE + vector);
                run.write_csr(0x303, mideleg);
                run.write_csr(0x304, 1 << number);
                run.write_csr(0x344, 1 << number & 0x222);
                run.hart.lines().set(Irq::from_bits_truncate((1 << number & 0x888) as u32), true);
                let run = run.in_mode(Mode::User).steps(1);
                assert_eq!(run.hart.mode(), mode);
                run.at(0x1000 + place);
            }
        }
    }
}
