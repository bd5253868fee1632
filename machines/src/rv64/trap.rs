//! Traps: their causes, how they are taken, and how they return.

use super::bus::Bus;
use super::core::Core;
use super::lines::Irq;
use super::status::Mode;

/// A synchronous exception; the numbers are those of `mcause` (privileged specification, table 3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(super) enum Cause {
    FetchAccess = 1,
    Illegal = 2,
    Breakpoint = 3,
    LoadMisaligned = 4,
    LoadAccess = 5,
    StoreMisaligned = 6,
    StoreAccess = 7,
    EcallU = 8,
    EcallS = 9,
    EcallM = 11,
    FetchPage = 12,
    LoadPage = 13,
    StorePage = 15,
}

/// An exception with what goes into `mtval` or `stval`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trap {
    pub cause: Cause,
    pub tval: u64,
}

impl Trap {
    pub fn new(cause: Cause, tval: u64) -> Self {
        Self { cause, tval }
    }

    /// An illegal instruction, whose bits are `raw`.
    pub fn illegal(raw: u32) -> Self {
        Self::new(Cause::Illegal, raw.into())
    }
}

/// The bit of `mcause` that tells an interrupt.
const INTERRUPT: u64 = 1 << 63;

/// Interrupts by falling priority (privileged specification 3.1.9).
const PRIORITY: [Irq; 6] = [Irq::MEIP, Irq::MSIP, Irq::MTIP, Irq::SEIP, Irq::SSIP, Irq::STIP];

impl<B: Bus> Core<B> {
    /// Takes exception `trap` of the instruction at `pc`.
    pub(super) fn take_exception(&mut self, trap: Trap) {
        let cause = trap.cause as u64;
        let to = if self.mode <= Mode::Supervisor && self.csrs.medeleg & (1 << cause) != 0 {
            Mode::Supervisor
        } else {
            Mode::Machine
        };
        self.enter(to, cause, trap.tval);
    }

    /// Takes the interrupt of the highest priority that is pending, enabled and not masked, if there is one.
    pub(super) fn take_interrupt(&mut self) -> bool {
        let ready = self.pending() & self.csrs.mie;
        if ready.is_empty() {
            return false;
        }
        let status = self.csrs.status;
        let machine = self.mode < Mode::Machine || status.mie();
        let supervisor = self.mode < Mode::Supervisor || (self.mode == Mode::Supervisor && status.sie());
        let to_machine = ready.difference(self.csrs.mideleg);
        let (set, to) = if machine && !to_machine.is_empty() {
            (to_machine, Mode::Machine)
        } else if supervisor {
            (ready.intersection(self.csrs.mideleg), Mode::Supervisor)
        } else {
            return false;
        };
        let Some(irq) = PRIORITY.into_iter().find(|irq| set.contains(*irq)) else {
            return false;
        };
        self.enter(to, INTERRUPT | u64::from(irq.bits().trailing_zeros()), 0);
        true
    }

    fn enter(&mut self, to: Mode, cause: u64, tval: u64) {
        let csrs = &mut self.csrs;
        let vector = if to == Mode::Supervisor {
            csrs.sepc = self.pc;
            csrs.scause = cause;
            csrs.stval = tval;
            csrs.stvec
        } else {
            csrs.mepc = self.pc;
            csrs.mcause = cause;
            csrs.mtval = tval;
            csrs.mtvec
        };
        csrs.status.enter(to, self.mode);
        let base = vector & !3;
        self.pc = if vector & 1 == 1 && cause & INTERRUPT != 0 {
            base.wrapping_add(4 * (cause & !INTERRUPT))
        } else {
            base
        };
        self.mode = to;
        self.reservation = None;
        self.refresh_contexts();
    }

    /// Returns from a trap taken to `from`: MRET or SRET. Gives the address to go on at.
    pub(super) fn leave(&mut self, from: Mode) -> u64 {
        self.mode = self.csrs.status.leave(from);
        self.reservation = None;
        self.refresh_contexts();
        if from == Mode::Supervisor { self.csrs.sepc } else { self.csrs.mepc }
    }
}
