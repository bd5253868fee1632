//! Control and status registers: which there are, who may touch them, and what they hold.
//!
//! Source: the privileged specification 1.12, chapters 2 to 4. Registers without a meaning here but with a fixed
//! value of 0 (`mhpm*`, `mvendorid`) exist; everything else is an illegal instruction.

use super::bus::Bus;
use super::core::Core;
use super::counter::Counter;
use super::lines::Irq;
use super::status::{Mode, Status};

/// Numbers of the registers, by their names in the specification.
#[rustfmt::skip]
#[allow(missing_docs)]
mod number {
    pub const SSTATUS: u32 = 0x100;    pub const SIE: u32 = 0x104;         pub const STVEC: u32 = 0x105;
    pub const SCOUNTEREN: u32 = 0x106; pub const SENVCFG: u32 = 0x10a;     pub const SSCRATCH: u32 = 0x140;
    pub const SEPC: u32 = 0x141;       pub const SCAUSE: u32 = 0x142;      pub const STVAL: u32 = 0x143;
    pub const SIP: u32 = 0x144;        pub const SATP: u32 = 0x180;
    pub const MSTATUS: u32 = 0x300;    pub const MISA: u32 = 0x301;        pub const MEDELEG: u32 = 0x302;
    pub const MIDELEG: u32 = 0x303;    pub const MIE: u32 = 0x304;         pub const MTVEC: u32 = 0x305;
    pub const MCOUNTEREN: u32 = 0x306; pub const MENVCFG: u32 = 0x30a;     pub const MCOUNTINHIBIT: u32 = 0x320;
    pub const MHPMEVENT3: u32 = 0x323; pub const MHPMEVENT31: u32 = 0x33f; pub const MSCRATCH: u32 = 0x340;
    pub const MEPC: u32 = 0x341;       pub const MCAUSE: u32 = 0x342;      pub const MTVAL: u32 = 0x343;
    pub const MIP: u32 = 0x344;        pub const PMPCFG0: u32 = 0x3a0;     pub const PMPCFG15: u32 = 0x3af;
    pub const PMPADDR0: u32 = 0x3b0;   pub const PMPADDR63: u32 = 0x3ef;   pub const MCYCLE: u32 = 0xb00;
    pub const MINSTRET: u32 = 0xb02;   pub const MHPMCOUNTER3: u32 = 0xb03; pub const MHPMCOUNTER31: u32 = 0xb1f;
    pub const CYCLE: u32 = 0xc00;      pub const TIME: u32 = 0xc01;        pub const INSTRET: u32 = 0xc02;
    pub const HPMCOUNTER3: u32 = 0xc03; pub const HPMCOUNTER31: u32 = 0xc1f; pub const MVENDORID: u32 = 0xf11;
    pub const MARCHID: u32 = 0xf12;    pub const MIMPID: u32 = 0xf13;      pub const MHARTID: u32 = 0xf14;
    pub const MCONFIGPTR: u32 = 0xf15;
}
use number::*;

/// RV64 with A, C, I, M, S and U.
const MISA_VALUE: u64 = 2 << 62 | 1 | 1 << 2 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20;
/// The exceptions that can be delegated: all that come from S- or U-mode.
const DELEGABLE: u64 = 0xb3ff;
/// The counters that can be stopped: `mcycle` and `minstret`.
const INHIBITABLE: u64 = 5;
/// FIOM, the only bit of `menvcfg` and `senvcfg` without an extension. All fences order everything here, so
/// that it changes nothing.
const ENVCFG: u64 = 1;
/// Mode Sv39 in `satp`.
const SV39: u64 = 8;

/// Registers that hold state. Public fields are used as they are by other modules.
#[derive(Clone, Debug, Default)]
pub(super) struct Csrs {
    pub status: Status,
    pub medeleg: u64,
    pub mideleg: Irq,
    pub mie: Irq,
    /// What software set in `mip`: STIP and SEIP. Lines are apart from it.
    pub mip: Irq,
    pub mtvec: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    pub stvec: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    mscratch: u64,
    sscratch: u64,
    satp: u64,
    mcounteren: u64,
    scounteren: u64,
    mcountinhibit: u64,
    menvcfg: u64,
    senvcfg: u64,
    cycle: Counter,
    instret: Counter,
}

/// `register` with what a CSR instruction asks for: the bits in `mask` become those of `value`.
fn merge(register: u64, value: u64, mask: u64) -> u64 {
    register & !mask | value & mask
}

/// A trap vector: two modes, of which the reserved ones leave the mode alone.
fn vector(old: u64, new: u64) -> u64 {
    if new & 2 == 0 { new } else { new & !3 | old & 3 }
}

impl Csrs {
    /// Power-on state, with counters that start from 0 at `now` instructions.
    pub fn starting_at(now: u64) -> Self {
        Self { cycle: Counter::starting_at(now), instret: Counter::starting_at(now), ..Self::default() }
    }

    /// The physical address of the root page table; `None` while translation is off.
    pub fn page_table(&self) -> Option<u64> {
        (self.satp >> 60 == SV39).then_some((self.satp & ((1 << 44) - 1)) << 12)
    }

    /// May `mode` read the counter with this index (0 `cycle`, 1 `time`, 2 `instret`, ...)?
    fn counter_enabled(&self, index: u32, mode: Mode) -> bool {
        let machine = self.mcounteren >> index & 1 == 1;
        let supervisor = self.scounteren >> index & 1 == 1;
        match mode {
            Mode::Machine => true,
            Mode::Supervisor => machine,
            Mode::User => machine && supervisor,
        }
    }

    /// `satp`: a mode that does not exist makes the write have no effect; there are no ASIDs.
    fn write_satp(&mut self, value: u64) {
        match value >> 60 {
            0 => self.satp = 0,
            SV39 => self.satp = SV39 << 60 | value & ((1 << 44) - 1),
            _ => {}
        }
    }
}

impl<B: Bus> Core<B> {
    /// Reads register `csr`; `None` if it does not exist or the current mode may not.
    pub(super) fn read_csr(&self, csr: u32) -> Option<u64> {
        self.read_csr_as(csr, self.mode)
    }

    /// Reads register `csr` as `mode` would.
    pub(super) fn read_csr_as(&self, csr: u32, mode: Mode) -> Option<u64> {
        if csr >> 8 & 3 > mode as u32 {
            return None;
        }
        let csrs = &self.csrs;
        let value = match csr {
            SSTATUS => csrs.status.supervisor_view(),
            SIE => (csrs.mie & csrs.mideleg).bits().into(),
            STVEC => csrs.stvec,
            SCOUNTEREN => csrs.scounteren,
            SENVCFG => csrs.senvcfg,
            SSCRATCH => csrs.sscratch,
            SEPC => csrs.sepc,
            SCAUSE => csrs.scause,
            STVAL => csrs.stval,
            SIP => (self.pending() & csrs.mideleg).bits().into(),
            SATP if mode == Mode::Supervisor && csrs.status.tvm() => return None,
            SATP => csrs.satp,
            MSTATUS => csrs.status.machine_view(),
            MISA => MISA_VALUE,
            MEDELEG => csrs.medeleg,
            MIDELEG => csrs.mideleg.bits().into(),
            MIE => csrs.mie.bits().into(),
            MTVEC => csrs.mtvec,
            MCOUNTEREN => csrs.mcounteren,
            MENVCFG => csrs.menvcfg,
            MCOUNTINHIBIT => csrs.mcountinhibit,
            MSCRATCH => csrs.mscratch,
            MEPC => csrs.mepc,
            MCAUSE => csrs.mcause,
            MTVAL => csrs.mtval,
            MIP => self.pending().bits().into(),
            PMPCFG0..=PMPCFG15 => self.pmp.read_config((csr - PMPCFG0) as usize)?,
            PMPADDR0..=PMPADDR63 => self.pmp.read_address((csr - PMPADDR0) as usize)?,
            MCYCLE => csrs.cycle.read(self.retired),
            MINSTRET => csrs.instret.read(self.retired),
            CYCLE..=HPMCOUNTER31 if !csrs.counter_enabled(csr - CYCLE, mode) => return None,
            CYCLE => csrs.cycle.read(self.retired),
            TIME => (self.time)(),
            INSTRET => csrs.instret.read(self.retired),
            HPMCOUNTER3..=HPMCOUNTER31 | MHPMCOUNTER3..=MHPMCOUNTER31 | MHPMEVENT3..=MHPMEVENT31 => 0,
            MVENDORID | MARCHID | MIMPID | MCONFIGPTR => 0,
            MHARTID => self.hart_id,
            _ => return None,
        };
        Some(value)
    }

    /// Makes the bits of register `csr` that are in `mask` those of `value`; `None` if the register does not exist,
    /// is read-only or out of the current mode's reach.
    pub(super) fn write_csr(&mut self, csr: u32, value: u64, mask: u64) -> Option<()> {
        if csr >> 10 & 3 == 3 {
            return None;
        }
        let new = merge(self.read_csr(csr)?, value, mask);
        let now = self.retired;
        let csrs = &mut self.csrs;
        match csr {
            SSTATUS | MSTATUS => {
                if csr == SSTATUS {
                    csrs.status.write_supervisor(new);
                } else {
                    csrs.status.write_machine(new);
                }
                self.refresh_contexts();
            }
            SIE => {
                let writable = csrs.mideleg;
                csrs.mie = csrs.mie.difference(writable) | Irq::from_bits_truncate(new as u32) & writable;
            }
            MIE => csrs.mie = Irq::from_bits_truncate(new as u32),
            SIP => self.write_pending(value, mask, self.csrs.mideleg & Irq::SSIP),
            MIP => self.write_pending(value, mask, Irq::SUPERVISOR),
            MIDELEG => csrs.mideleg = Irq::from_bits_truncate(new as u32) & Irq::SUPERVISOR,
            MEDELEG => csrs.medeleg = new & DELEGABLE,
            STVEC => csrs.stvec = vector(csrs.stvec, new),
            MTVEC => csrs.mtvec = vector(csrs.mtvec, new),
            SEPC => csrs.sepc = new & !1,
            MEPC => csrs.mepc = new & !1,
            SCAUSE => csrs.scause = new,
            MCAUSE => csrs.mcause = new,
            STVAL => csrs.stval = new,
            MTVAL => csrs.mtval = new,
            SSCRATCH => csrs.sscratch = new,
            MSCRATCH => csrs.mscratch = new,
            SCOUNTEREN => csrs.scounteren = new & 0xffff_ffff,
            MCOUNTEREN => csrs.mcounteren = new & 0xffff_ffff,
            SENVCFG => csrs.senvcfg = new & ENVCFG,
            MENVCFG => csrs.menvcfg = new & ENVCFG,
            SATP => {
                csrs.write_satp(new);
                self.forget_translations();
            }
            MCOUNTINHIBIT => {
                csrs.mcountinhibit = new & INHIBITABLE;
                csrs.cycle.stop(new & 1 != 0, now);
                csrs.instret.stop(new & 4 != 0, now);
            }
            MCYCLE => csrs.cycle.write(new, now),
            MINSTRET => csrs.instret.write(new, now),
            PMPCFG0..=PMPCFG15 => {
                self.pmp.write_config((csr - PMPCFG0) as usize, new);
                self.forget_pages();
            }
            PMPADDR0..=PMPADDR63 => {
                self.pmp.write_address((csr - PMPADDR0) as usize, new);
                self.forget_pages();
            }
            // MISA, and counters and events that are fixed at 0: writes are ignored.
            _ => {}
        }
        Some(())
    }

    /// Writes the bits of `mip` that are in `writable`.
    ///
    /// Only the bits in `mask` are touched, each by an operation of its own: another hart may latch SSIP between
    /// this instruction's read and its write. The line's part of SEIP never gets into the software part.
    fn write_pending(&mut self, value: u64, mask: u64, writable: Irq) {
        let touched = Irq::from_bits_truncate(mask as u32) & writable;
        let on = Irq::from_bits_truncate(value as u32) & touched;
        if touched.contains(Irq::SSIP) {
            self.lines.latch_ssip(on.contains(Irq::SSIP));
        }
        self.csrs.mip = (self.csrs.mip.difference(touched) | on).difference(Irq::SSIP);
    }
}
