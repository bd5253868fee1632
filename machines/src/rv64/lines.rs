//! The lines that lead into a hart: interrupts, stop, kick.

use bitflags::bitflags;

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, PoisonError};

bitflags! {
    /// Interrupts of a hart, at their bit positions in `mip` and `mie` (privileged specification 3.1.9).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Irq: u32 {
        /// Supervisor software interrupt.
        const SSIP = 1 << 1;
        /// Machine software interrupt.
        const MSIP = 1 << 3;
        /// Supervisor timer interrupt; set by M-mode software only, no line leads to it.
        const STIP = 1 << 5;
        /// Machine timer interrupt.
        const MTIP = 1 << 7;
        /// Supervisor external interrupt.
        const SEIP = 1 << 9;
        /// Machine external interrupt.
        const MEIP = 1 << 11;
    }
}

impl Irq {
    /// The interrupts that software sees as its own in S-mode, and that can be delegated to it.
    pub const SUPERVISOR: Self = Self::SSIP.union(Self::STIP).union(Self::SEIP);
}

/// Somebody wants the hart's thread back.
const STOP: u32 = 1 << 30;
/// Somebody wants the hart to pass through its outer loop once.
const KICK: u32 = 1 << 31;

/// The control block of one hart, shared by its thread, the interrupt controllers and the machine.
///
/// Every method may be called from any thread, with any lock held that the hart's thread never waits for.
///
/// No wake-up is lost: a line is an atomic bit that is set *before* the lock is taken to notify, and a
/// sleeper looks at the bits *under* the lock before it waits, so the notification of a bit that it did not
/// see comes after its wait began.
#[derive(Debug, Default)]
pub struct HartLines {
    /// [`Irq`] bits, [`STOP`] and [`KICK`].
    bits: AtomicU32,
    /// Orders a sleeper's last look at `bits` against the notification; guards nothing else.
    sleep: Mutex<()>,
    wake: Condvar,
}

impl HartLines {
    /// Lines that are all low.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises or lowers interrupt lines.
    ///
    /// All are levels but [`Irq::SSIP`], which is an edge as the ACLINT's SSWI gives it: raising it latches
    /// the pending bit, lowering it does nothing, and only the guest clears it, in `sip` or `mip`.
    /// [`Irq::STIP`] is no line and is ignored.
    pub fn set(&self, irq: Irq, high: bool) {
        let lines = irq.difference(Irq::STIP);
        if high {
            self.raise(lines.bits());
        } else {
            self.bits.fetch_and(!lines.difference(Irq::SSIP).bits(), Ordering::SeqCst);
        }
    }

    /// Asks the hart to return from its run; it stays asked until [`HartLines::clear_stop`].
    pub fn request_stop(&self) {
        self.raise(STOP);
    }

    /// Takes back [`HartLines::request_stop`], so that the hart can run again.
    pub fn clear_stop(&self) {
        self.bits.fetch_and(!STOP, Ordering::SeqCst);
    }

    /// Is the hart asked to stop?
    pub fn stop_requested(&self) -> bool {
        self.bits.load(Ordering::SeqCst) & STOP != 0
    }

    /// Makes a running hart pass through its outer loop, where it drops what an outdated map gave it. The
    /// guest does not notice.
    pub fn kick(&self) {
        self.raise(KICK);
    }

    /// The interrupt lines that are high now, the latched [`Irq::SSIP`] included.
    pub fn pending(&self) -> Irq {
        Irq::from_bits_truncate(self.bits.load(Ordering::SeqCst))
    }

    /// Sets or clears the latched supervisor software interrupt: the hart's own write to `sip` or `mip`.
    pub(super) fn latch_ssip(&self, high: bool) {
        if high {
            self.bits.fetch_or(Irq::SSIP.bits(), Ordering::SeqCst);
        } else {
            self.bits.fetch_and(!Irq::SSIP.bits(), Ordering::SeqCst);
        }
    }

    /// Takes the kick, if there is one.
    pub(super) fn take_kick(&self) -> bool {
        self.bits.load(Ordering::Relaxed) & KICK != 0
            && self.bits.fetch_and(!KICK, Ordering::SeqCst) & KICK != 0
    }

    /// Sleeps until one of the interrupts in `enabled` is pending or a stop or kick is there; returns at once
    /// if one is already.
    pub(super) fn sleep(&self, enabled: Irq) {
        let awake = enabled.bits() | STOP | KICK;
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        while self.bits.load(Ordering::SeqCst) & awake == 0 {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn raise(&self, bits: u32) {
        if self.bits.fetch_or(bits, Ordering::SeqCst) & bits != bits {
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, thread};

    #[test]
    fn lines_are_levels_but_ssip_is_latched() {
        let lines = HartLines::new();
        for irq in [Irq::MSIP, Irq::MTIP, Irq::SEIP, Irq::MEIP] {
            lines.set(irq, true);
            assert_eq!(lines.pending(), irq);
            lines.set(irq, false);
            assert_eq!(lines.pending(), Irq::empty());
        }
        lines.set(Irq::SSIP, true);
        lines.set(Irq::SSIP, false);
        assert_eq!(lines.pending(), Irq::SSIP);
        lines.latch_ssip(false);
        assert_eq!(lines.pending(), Irq::empty());
        lines.set(Irq::STIP, true);
        assert_eq!(lines.pending(), Irq::empty());
    }

    #[test]
    fn a_kick_is_taken_once_and_a_stop_stays() {
        let lines = HartLines::new();
        lines.kick();
        assert!(lines.take_kick());
        assert!(!lines.take_kick());
        lines.request_stop();
        assert!(lines.stop_requested() && lines.stop_requested());
        lines.clear_stop();
        assert!(!lines.stop_requested());
    }

    /// Two threads that wake each other in turn: one lost wake-up and the test never ends.
    #[test]
    fn ping_pong_loses_no_wake_up() {
        const ROUNDS: u32 = 20_000;
        let (a, b) = (Arc::new(HartLines::new()), Arc::new(HartLines::new()));
        let (a2, b2) = (Arc::clone(&a), Arc::clone(&b));
        let other = thread::spawn(move || {
            for _ in 0..ROUNDS {
                b2.sleep(Irq::MSIP);
                b2.set(Irq::MSIP, false);
                a2.set(Irq::MSIP, true);
            }
        });
        for _ in 0..ROUNDS {
            b.set(Irq::MSIP, true);
            a.sleep(Irq::MSIP);
            a.set(Irq::MSIP, false);
        }
        other.join().unwrap();
        assert_eq!(a.pending() | b.pending(), Irq::empty());
    }
}
