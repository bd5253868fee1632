//! Privilege modes and the `mstatus` register.

/// A privilege mode, at its encoding in `mstatus.MPP`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Mode {
    /// U-mode.
    User = 0,
    /// S-mode.
    Supervisor = 1,
    /// M-mode.
    Machine = 3,
}

const SIE: u64 = 1 << 1;
const MIE: u64 = 1 << 3;
const SPIE: u64 = 1 << 5;
const MPIE: u64 = 1 << 7;
const SPP: u64 = 1 << 8;
const MPP_SHIFT: u32 = 11;
const MPP: u64 = 3 << MPP_SHIFT;
const MPRV: u64 = 1 << 17;
const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;
const TVM: u64 = 1 << 20;
const TW: u64 = 1 << 21;
const TSR: u64 = 1 << 22;
/// UXL and SXL: 64 bits, fixed.
const XL64: u64 = 2 << 32 | 2 << 34;
/// UXL alone, which is all that `sstatus` shows of it.
const UXL64: u64 = 2 << 32;

const WRITABLE: u64 = SIE | MIE | SPIE | MPIE | SPP | MPP | MPRV | SUM | MXR | TVM | TW | TSR;
const SUPERVISOR: u64 = SIE | SPIE | SPP | SUM | MXR;

/// `mstatus` (privileged specification 3.1.6). There is no floating point and no vector unit, so FS, VS, XS and
/// SD are always 0; all memory is little-endian, so the byte-order bits are too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Status(u64);

impl Status {
    /// What `mstatus` reads as.
    pub fn machine_view(self) -> u64 {
        self.0 | XL64
    }

    /// What `sstatus` reads as.
    pub fn supervisor_view(self) -> u64 {
        self.0 & SUPERVISOR | UXL64
    }

    /// Writes `mstatus`; an MPP that names no mode leaves MPP alone.
    pub fn write_machine(&mut self, value: u64) {
        let keep = if value & MPP == 2 << MPP_SHIFT { MPP } else { 0 };
        let writable = WRITABLE & !keep;
        self.0 = self.0 & !writable | value & writable;
    }

    /// Writes `sstatus`.
    pub fn write_supervisor(&mut self, value: u64) {
        self.0 = self.0 & !SUPERVISOR | value & SUPERVISOR;
    }

    pub fn sie(self) -> bool {
        self.0 & SIE != 0
    }

    pub fn mie(self) -> bool {
        self.0 & MIE != 0
    }

    /// S-mode may load from and store to pages of U-mode.
    pub fn sum(self) -> bool {
        self.0 & SUM != 0
    }

    /// What is executable is also readable.
    pub fn mxr(self) -> bool {
        self.0 & MXR != 0
    }

    /// `satp` and SFENCE.VMA trap in S-mode.
    pub fn tvm(self) -> bool {
        self.0 & TVM != 0
    }

    /// WFI traps in S-mode.
    pub fn tw(self) -> bool {
        self.0 & TW != 0
    }

    /// SRET traps in S-mode.
    pub fn tsr(self) -> bool {
        self.0 & TSR != 0
    }

    /// The mode whose rights loads and stores have when the hart is in `mode`.
    pub fn data_mode(self, mode: Mode) -> Mode {
        if mode == Mode::Machine && self.0 & MPRV != 0 { self.mpp() } else { mode }
    }

    fn mpp(self) -> Mode {
        match (self.0 & MPP) >> MPP_SHIFT {
            0 => Mode::User,
            1 => Mode::Supervisor,
            _ => Mode::Machine,
        }
    }

    /// Stacks the interrupt enable and the mode, for a trap from `from` to `to`.
    pub fn enter(&mut self, to: Mode, from: Mode) {
        if to == Mode::Supervisor {
            let enabled = self.sie();
            self.put(SPIE, enabled);
            self.put(SIE, false);
            self.put(SPP, from == Mode::Supervisor);
        } else {
            let enabled = self.mie();
            self.put(MPIE, enabled);
            self.put(MIE, false);
            self.0 = self.0 & !MPP | (from as u64) << MPP_SHIFT;
        }
    }

    /// Unstacks them for an xRET of `from` and gives the mode to return to.
    pub fn leave(&mut self, from: Mode) -> Mode {
        let to = if from == Mode::Supervisor {
            let to = if self.0 & SPP != 0 { Mode::Supervisor } else { Mode::User };
            let enabled = self.0 & SPIE != 0;
            self.put(SIE, enabled);
            self.put(SPIE, true);
            self.put(SPP, false);
            to
        } else {
            let to = self.mpp();
            let enabled = self.0 & MPIE != 0;
            self.put(MIE, enabled);
            self.put(MPIE, true);
            self.0 &= !MPP;
            to
        };
        if to != Mode::Machine {
            self.put(MPRV, false);
        }
        to
    }

    fn put(&mut self, bit: u64, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floating_point_state_and_reserved_mpp_cannot_be_written() {
        let mut status = Status::default();
        status.write_machine(!MPP | 1 << MPP_SHIFT);
        assert_eq!(status.machine_view(), WRITABLE & !MPP | 1 << MPP_SHIFT | XL64);
        status.write_machine(2 << MPP_SHIFT);
        assert_eq!(status.machine_view(), 1 << MPP_SHIFT | XL64);
    }

    #[test]
    fn entering_and_leaving_restores_mode_and_enable() {
        for from in [Mode::User, Mode::Supervisor, Mode::Machine] {
            let mut status = Status::default();
            status.write_machine(MIE | MPRV);
            status.enter(Mode::Machine, from);
            assert!(!status.mie());
            assert_eq!(status.leave(Mode::Machine), from);
            assert!(status.mie());
            assert_eq!(status.0 & MPRV != 0, from == Mode::Machine);
        }
        for from in [Mode::User, Mode::Supervisor] {
            let mut status = Status::default();
            status.write_supervisor(SIE);
            status.enter(Mode::Supervisor, from);
            assert!(!status.sie());
            assert_eq!(status.leave(Mode::Supervisor), from);
            assert!(status.sie());
        }
    }
}
