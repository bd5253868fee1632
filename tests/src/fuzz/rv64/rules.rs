//! What the privileged manual (1.12) says of modes, CSRs and traps.

use super::board::RamBus;
use super::manual::{Encoding, MRET, SFENCE, SFENCE_MASK, SRET, WFI, csr_exists};
use machines::rv64::{Hart, Mode};
use machines::vcpu::Vcpu;

const MSTATUS: u32 = 0x300;
/// What `sstatus` shows: SIE, SPIE, SPP, SUM, MXR, UXL.
const SSTATUS: u64 = 0xc_0122 | 3 << 32;
const INTERRUPT: u64 = 1 << 63;

/// What can be seen of a hart.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Seen {
    mode: Mode,
    pc: u64,
    retired: u64,
    status: u64,
    medeleg: u64,
    mideleg: u64,
    mie: u64,
    mip: u64,
    mcounteren: u64,
    scounteren: u64,
    vectors: [u64; 2],
    /// Cause, `epc`, `tval` of M- and S-mode.
    traps: [[u64; 3]; 2],
    pmp: ([u64; 2], Vec<u64>),
}

impl Seen {
    pub fn of(hart: &Hart<RamBus>) -> Self {
        let csr = |number| hart.csr(number).unwrap();
        Self {
            mode: hart.mode(),
            pc: hart.pc(),
            retired: hart.retired(),
            status: csr(MSTATUS),
            medeleg: csr(0x302),
            mideleg: csr(0x303),
            mie: csr(0x304),
            mip: csr(0x344),
            mcounteren: csr(0x306),
            scounteren: csr(0x106),
            vectors: [csr(0x305), csr(0x105)],
            traps: [[csr(0x342), csr(0x341), csr(0x343)], [csr(0x142), csr(0x141), csr(0x143)]],
            pmp: ([csr(0x3a0), csr(0x3a2)], (0x3b0..0x3c0).map(csr).collect()),
        }
    }

    /// `after` is what one step makes of this. `encoding` is the instruction, if it is known, and `illegal` whether it is
    /// one that traps as such.
    pub fn led_to(&self, after: &Self, encoding: Option<Encoding>, illegal: Option<bool>) {
        self.keeps_locked_pmp(after);
        if after.retired != self.retired {
            assert_eq!(after.retired, self.retired + 1, "one instruction at a time");
            assert_ne!(illegal, Some(true), "{encoding:x?} was carried out: {self:x?}");
            return;
        }
        let supervisor = after.mode == Mode::Supervisor;
        assert!(supervisor || after.mode == Mode::Machine, "a trap to U-mode");
        let [cause, epc, tval] = after.traps[usize::from(supervisor)];
        assert_eq!(epc, self.pc, "where it trapped");
        self.stacks_status(after, supervisor);
        let (number, vector) = (cause & !INTERRUPT, self.vectors[usize::from(supervisor)]);
        let delegated = if cause & INTERRUPT != 0 {
            assert!(self.mip & self.mie & 1 << number != 0, "an interrupt that is not pending");
            assert_eq!(after.pc, (vector & !3) + if vector & 1 == 0 { 0 } else { 4 * number });
            self.mideleg
        } else {
            assert_eq!(after.pc, vector & !3);
            if number == 2 {
                assert_ne!(illegal, Some(false), "{encoding:x?} is legal: {self:x?}");
                assert!(encoding.is_none_or(|encoding| tval == encoding.value()), "mtval {tval:#x}");
            } else if number != 1 && number != 12 {
                // it was fetched, so it was legal
                assert_ne!(illegal, Some(true), "{encoding:x?} is illegal, not {number}: {self:x?}");
            }
            self.medeleg
        };
        let to_supervisor = self.mode != Mode::Machine && delegated & 1 << number != 0;
        assert_eq!(supervisor, to_supervisor, "cause {cause:#x} went to the wrong mode: {self:x?}");
    }

    fn stacks_status(&self, after: &Self, supervisor: bool) {
        let bit = |value: u64, bit: u32| value >> bit & 1;
        let (enable, stacked) = if supervisor { (1, 5) } else { (3, 7) };
        assert_eq!(bit(after.status, enable), 0, "interrupts are off in a handler");
        assert_eq!(bit(after.status, stacked), bit(self.status, enable), "the stacked enable");
        let previous = if supervisor { bit(after.status, 8) } else { after.status >> 11 & 3 };
        assert_eq!(previous, self.mode as u64, "the stacked mode");
    }

    fn keeps_locked_pmp(&self, after: &Self) {
        for entry in 0..16 {
            let byte = |seen: &Self| seen.pmp.0[entry / 8] >> (entry % 8 * 8) & 0xff;
            if byte(self) & 0x80 != 0 {
                assert_eq!(
                    (byte(after), after.pmp.1[entry]),
                    (byte(self), self.pmp.1[entry]),
                    "entry {entry}"
                );
            }
        }
    }
}

/// Whether an instruction traps as illegal where the hart is, were it fetched.
pub(super) fn is_illegal(encoding: Encoding, seen: &Seen) -> bool {
    let status = |bit: u32| seen.status >> bit & 1 == 1;
    // allowed in S-mode unless a bit of mstatus forbids it, and not in U-mode
    let refused = |bit| seen.mode == Mode::User || seen.mode == Mode::Supervisor && status(bit);
    if !encoding.exists() {
        return true;
    }
    match encoding.0 {
        MRET => return seen.mode != Mode::Machine,
        SRET => return refused(22),
        WFI => return refused(21),
        raw if raw & SFENCE_MASK == SFENCE => return refused(20),
        _ => {}
    }
    let Some((csr, written)) = encoding.csr() else { return false };
    let enabled = |counters: u64| counters >> (csr & 31) & 1 == 1;
    let counter_refused = (0xc00..0xc20).contains(&csr)
        && match seen.mode {
            Mode::Machine => false,
            Mode::Supervisor => !enabled(seen.mcounteren),
            Mode::User => !enabled(seen.mcounteren) || !enabled(seen.scounteren),
        };
    !csr_exists(csr)
        || (seen.mode as u32) < (csr >> 8 & 3)
        || written && csr >> 10 == 3
        || csr == 0x180 && seen.mode == Mode::Supervisor && status(20)
        || counter_refused
}

/// What holds of the registers whatever was written to them.
pub(super) fn hold(hart: &Hart<RamBus>) {
    let csr = |number| hart.csr(number).unwrap();
    assert_eq!(hart.register(0), 0, "x0");
    assert_eq!(hart.pc() & 1, 0, "pc");
    let status = csr(MSTATUS);
    assert_ne!(status >> 11 & 3, 2, "MPP");
    assert_eq!(status & !0x7e_19aa, 0xa_0000_0000, "mstatus: {status:#x}");
    assert_eq!(csr(0x100), status & SSTATUS, "sstatus");
    assert_eq!(csr(0x301), 2 << 62 | 0x14_1105, "misa");
    assert_eq!(csr(0x302) & !0xb3ff, 0, "medeleg");
    assert_eq!(csr(0x303) & !0x222, 0, "mideleg");
    assert_eq!(csr(0x304) & !0xaaa, 0, "mie");
    assert_eq!(csr(0x104), csr(0x304) & csr(0x303), "sie");
    assert_eq!(csr(0x144), csr(0x344) & csr(0x303), "sip");
    for vector in [0x305, 0x105] {
        assert_eq!(csr(vector) & 2, 0, "the mode of a vector");
    }
    for epc in [0x341, 0x141] {
        assert_eq!(csr(epc) & 1, 0, "the lowest bit of epc");
    }
    assert!([0, 8].contains(&(csr(0x180) >> 60)), "the mode of satp");
    for config in [0x3a0, 0x3a2] {
        for byte in csr(config).to_le_bytes() {
            assert!(byte & 0x60 == 0 && byte & 3 != 2, "pmpcfg: {byte:#x}");
        }
    }
}
