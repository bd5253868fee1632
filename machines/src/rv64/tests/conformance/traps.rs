//! Every exception from every mode, delegated or not; MRET and SRET from every state.

use crate::rv64::Mode;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;
use crate::vcpu::Vcpu;

const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];

const SIE: u64 = 1 << 1;
const MIE: u64 = 1 << 3;
const SPIE: u64 = 1 << 5;
const MPIE: u64 = 1 << 7;
const SPP: u64 = 1 << 8;
const MPP: u64 = 3 << 11;
const MPRV: u64 = 1 << 17;
const XL: u64 = 0xa << 32;

fn bit(value: u64, bit: u64) -> bool {
    value & bit != 0
}

fn put(bit: u64, on: bool) -> u64 {
    if on { bit } else { 0 }
}

/// `mstatus` after a trap from `from` to `to`: the enable and the mode are stacked, and the enable is cleared.
fn entered(status: u64, from: Mode, to: Mode) -> u64 {
    if to == Mode::Machine {
        status & !(MIE | MPIE | MPP) | put(MPIE, bit(status, MIE)) | (from as u64) << 11
    } else {
        status & !(SIE | SPIE | SPP) | put(SPIE, bit(status, SIE)) | put(SPP, from == Mode::Supervisor)
    }
}

/// An exception: its number, the instruction, what is in `a0`, `xtval`, and the modes that it comes from.
struct Exception {
    cause: u64,
    raw: u32,
    a0: u64,
    tval: u64,
    from: &'static [Mode],
}

const NOWHERE: u64 = 0x4008;

fn exceptions() -> Vec<Exception> {
    use Mode::{Machine, Supervisor, User};
    let row = |cause, raw, a0, tval, from| Exception { cause, raw, a0, tval, from };
    vec![
        row(2, 0xffff_ffff, 0, 0xffff_ffff, &MODES),
        row(2, 0, 0, 0, &MODES),
        row(2, MRET, 0, MRET.into(), &[User, Supervisor]),
        row(3, EBREAK, 0, BASE, &MODES),
        row(3, 0x9002, 0, BASE, &MODES),
        row(4, lr(3, A1, A0), BASE + 4, BASE + 4, &MODES),
        row(5, ld(A1, A0, 0), NOWHERE, NOWHERE, &MODES),
        row(5, lr(3, A1, A0), NOWHERE, NOWHERE, &MODES),
        row(6, amo(0, 2, A1, A1, A0), BASE + 2, BASE + 2, &MODES),
        row(7, sd(A1, A0, 0), NOWHERE, NOWHERE, &MODES),
        row(7, amo(0, 2, A1, A1, A0), NOWHERE, NOWHERE, &MODES),
        row(8, ECALL, 0, 0, &[User]),
        row(9, ECALL, 0, 0, &[Supervisor]),
        row(11, ECALL, 0, 0, &[Machine]),
    ]
}

/// Page faults and the delegation of fetches are in `translation`; the way of a trap does not depend on its cause.
#[test]
fn every_exception_from_every_mode_goes_where_medeleg_says() {
    for exception in exceptions() {
        for from in exception.from {
            for medeleg in [0, 1 << exception.cause, 0xb3ff, 0xb3ff & !(1 << exception.cause)] {
                for enables in [0, MIE, SIE, MIE | SIE, MPIE | SPIE | SPP] {
                    let mut run = Run::new(&[exception.raw]).with(A0, exception.a0);
                    run.write_csr(0x302, medeleg);
                    run.write_csr(0x300, enables);
                    let before = run.csr(0x300);
                    let run = run.in_mode(*from).steps(1);
                    let what = format!(
                        "{} {:#x} from {from:?}, medeleg {medeleg:#x}",
                        exception.cause, exception.raw
                    );
                    let delegated = run.csr(0x302) >> exception.cause & 1 == 1 && *from != Mode::Machine;
                    let (to, vector, csrs, others) = if delegated {
                        (Mode::Supervisor, 0x800, [0x142, 0x143, 0x141], [0x342, 0x343, 0x341])
                    } else {
                        (Mode::Machine, 0x400, [0x342, 0x343, 0x341], [0x142, 0x143, 0x141])
                    };
                    assert_eq!((run.hart.pc(), run.hart.mode()), (BASE + vector, to), "{what}");
                    assert_eq!(
                        csrs.map(|csr| run.csr(csr)),
                        [exception.cause, exception.tval, BASE],
                        "{what}"
                    );
                    assert_eq!(
                        others.map(|csr| run.csr(csr)),
                        [0; 3],
                        "{what}: the other mode's are left alone"
                    );
                    assert_eq!(run.csr(0x300), entered(before, *from, to), "{what}: mstatus");
                    assert_eq!(run.hart.retired(), 0, "{what}: it does not retire");
                }
            }
        }
    }
}

/// All of what MRET looks at.
#[test]
fn mret_returns_from_every_state() {
    for state in 0..64u64 {
        for (mpp, to) in [(0, Mode::User), (1, Mode::Supervisor), (3, Mode::Machine)] {
            let [mie, mpie, sie, spie, spp, mprv] = [0, 1, 2, 3, 4, 5].map(|bit| state >> bit & 1 == 1);
            let others = put(SIE, sie) | put(SPIE, spie) | put(SPP, spp);
            let status = put(MIE, mie) | put(MPIE, mpie) | others | put(MPRV, mprv) | mpp << 11;
            let mut run = Run::new(&[MRET]);
            run.write_csr(0x341, BASE + 0x40);
            run.write_csr(0x300, status);
            let run = run.in_mode(Mode::Machine).steps(1);
            run.at(0x40);
            assert_eq!(run.hart.mode(), to);
            // MIE from MPIE, MPIE set, MPP the least mode; MPRV stays only in M-mode.
            let want = others | put(MIE, mpie) | MPIE | put(MPRV, mprv && to == Mode::Machine) | XL;
            assert_eq!(run.csr(0x300), want, "mstatus was {status:#x}");
        }
    }
}

#[test]
fn sret_returns_from_every_state() {
    for state in 0..256u64 {
        for from in [Mode::Supervisor, Mode::Machine] {
            let bits = [0, 1, 2, 3, 4, 5].map(|bit| state >> bit & 1 == 1);
            let [mie, mpie, sie, spie, spp, mprv] = bits;
            let mpp = [0, 1, 3, 3][(state >> 6) as usize];
            let others = put(MIE, mie) | put(MPIE, mpie) | mpp << 11;
            let status = others | put(SIE, sie) | put(SPIE, spie) | put(SPP, spp) | put(MPRV, mprv);
            let mut run = Run::new(&[SRET]);
            run.write_csr(0x141, BASE + 0x40);
            run.write_csr(0x300, status);
            let run = run.in_mode(from).steps(1);
            run.at(0x40);
            assert_eq!(run.hart.mode(), if spp { Mode::Supervisor } else { Mode::User });
            // SIE from SPIE, SPIE set, SPP U; never to M-mode, so that MPRV is cleared.
            assert_eq!(run.csr(0x300), others | put(SIE, spie) | SPIE | XL, "mstatus was {status:#x}");
        }
    }
}

/// The lowest bit of a return address does not exist; bit 1 does, for compressed instructions.
#[test]
fn return_addresses_keep_bit_1_and_lose_bit_0() {
    for (csr, raw) in [(0x341, MRET), (0x141, SRET)] {
        for offset in 0..4 {
            let mut run = Run::new(&[raw]);
            run.write_csr(csr, BASE + 0x40 + offset);
            assert_eq!(run.csr(csr), BASE + 0x40 + (offset & 2));
            run.write_csr(0x300, MPP);
            run.in_mode(Mode::Machine).steps(1).at(0x40 + (offset & 2));
        }
    }
}
