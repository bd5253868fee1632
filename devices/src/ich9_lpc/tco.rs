//! The total cost of ownership logic of the ICH9 (datasheet 316972, section 13.9): a watchdog of two stages.

use crate::Clock;
use crate::acpi::{Write, part};
use crate::countdown::Countdown;
use bitflags::bitflags;
use memory_core::Width;
use serde::{Deserialize, Serialize};

/// Nanoseconds of a tick.
pub(super) const TICK: u64 = 600_000_000;
/// The bits of TCO_RLD and TCO_TMR that count ticks.
const TICKS: u16 = 0x3ff;

bitflags! {
    /// TCO1_STS.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Status1: u16 {
        /// The guest wrote to TCO_DAT_IN.
        const SW_TCO_SMI = 1 << 1;
        /// The guest wrote to TCO_DAT_OUT.
        const TCO_INT_STS = 1 << 2;
        /// The timer ran out.
        const TIMEOUT = 1 << 3;
    }

    /// TCO2_STS.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Status2: u16 {
        /// The timer ran out again, with nobody having reloaded it in between.
        const SECOND_TO_STS = 1 << 1;
        /// That was the reason of a reset.
        const BOOT_STS = 1 << 2;
    }

    /// TCO1_CNT.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Control1: u16 {
        /// Non-maskable interrupts become system management interrupts.
        const NMI2SMI_EN = 1 << 9;
        /// The timer stands still.
        const TCO_TMR_HLT = 1 << 11;
        /// TCO_EN of SMI_EN keeps its value, and this bit is set until a reset.
        const TCO_LOCK = 1 << 12;
    }
}

/// What the chipset is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Outcome {
    /// Interrupt for system management, if that is enabled.
    pub(super) smi: bool,
    /// The watchdog bites.
    pub(super) bites: bool,
}

/// The registers, 32 bytes from 0x60 of the block of power management.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tco {
    reload: u16,
    data_in: u8,
    data_out: u8,
    status1: u16,
    status2: u16,
    control1: u16,
    control2: u16,
    messages: u16,
    boot: u8,
    software_irq: u8,
    timer: u16,
    /// How often it ran out since it was reloaded.
    timeouts: u8,
    left: Countdown,
}

impl Default for Tco {
    fn default() -> Self {
        let (reload, data_in, data_out, status1, status2, control1, messages) = Default::default();
        let (boot, timeouts, left) = Default::default();
        // INTRD_SEL: no signal of the intruder switch; both interrupt bits of software; 2.4 seconds
        let (control2, software_irq, timer) = (0x0008, 0x03, 0x0004);
        Self {
            reload,
            data_in,
            data_out,
            status1,
            status2,
            control1,
            control2,
            messages,
            boot,
            software_irq,
            timer,
            timeouts,
            left,
        }
    }
}

impl Tco {
    /// Lets a restored timer go on.
    pub(super) fn run(&mut self, clock: &Clock) {
        self.left.run(clock);
    }

    /// The moment of the clock at which the timer runs out.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.left.deadline()
    }

    /// Whether TCO_EN of SMI_EN keeps its value.
    pub(super) fn is_locked(&self) -> bool {
        self.control1 & Control1::TCO_LOCK.bits() != 0
    }

    /// After a reset that keeps the power: what tells of a watchdog's bite survives.
    pub(super) fn warm_reset(&mut self) {
        *self = Self { status2: self.status2, ..Self::default() };
    }

    /// TCO_RLD: how many ticks are left.
    fn ticks(&self) -> u16 {
        let Some(left) = self.left.left() else { return self.reload };
        let ticks = u16::try_from(left / TICK).unwrap_or(TICKS);
        self.reload & !TICKS | ticks & TICKS
    }

    /// Reads at most 4 aligned bytes.
    pub(super) fn read(&self, offset: u64, width: Width) -> u64 {
        let pair = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
        let register = match offset & !3 {
            0x00 => pair(self.ticks(), u16::from_le_bytes([self.data_in, self.data_out])),
            0x04 => pair(self.status1, self.status2),
            0x08 => pair(self.control1, self.control2),
            0x0c => pair(self.messages, self.boot.into()),
            0x10 => pair(self.software_irq.into(), self.timer),
            _ => 0,
        };
        part(register, offset, width)
    }

    fn can_run(&self) -> bool {
        self.control1 & Control1::TCO_TMR_HLT.bits() == 0 && self.timer & TICKS != 0
    }

    /// Starts the timer anew.
    fn start(&mut self, clock: &Clock) {
        self.reload = self.timer;
        self.left.start(clock, u64::from(self.timer & TICKS) * TICK);
    }

    /// Writes.
    pub(super) fn write(&mut self, write: Write, clock: &Clock) -> Outcome {
        let [(low, low_mask), (high, high_mask)] = write.halves();
        let merged = |old: u16, new: u16, mask: u16| old & !mask | new;
        let mut outcome = Outcome::default();
        match write.register {
            0x00 => {
                if low_mask != 0 {
                    self.timeouts = 0;
                    if self.can_run() { self.start(clock) } else { self.reload = low }
                }
                let [data_in, data_out] = high.to_le_bytes();
                if high_mask & 0x00ff != 0 {
                    self.data_in = data_in;
                    self.status1 |= Status1::SW_TCO_SMI.bits();
                    outcome.smi = true;
                }
                if high_mask & 0xff00 != 0 {
                    self.data_out = data_out;
                    self.status1 |= Status1::TCO_INT_STS.bits();
                }
            }
            0x04 => {
                self.status1 &= !low;
                self.status2 &= !high;
            }
            0x08 => {
                if low_mask != 0 {
                    let lock = self.control1 & Control1::TCO_LOCK.bits();
                    let control = merged(self.control1, low, low_mask) & Control1::all().bits();
                    self.control1 = control | lock;
                    if self.can_run() { self.start(clock) } else { self.left.stop() }
                }
                self.control2 = merged(self.control2, high, high_mask);
            }
            0x0c => {
                self.messages = merged(self.messages, low, low_mask);
                let [boot, _] = merged(self.boot.into(), high, high_mask).to_le_bytes();
                self.boot = boot;
            }
            0x10 => {
                let [software_irq, _] = merged(self.software_irq.into(), low, low_mask).to_le_bytes();
                self.software_irq = software_irq;
                self.timer = merged(self.timer, high, high_mask);
            }
            _ => {}
        }
        outcome
    }

    /// The timer has run out, unless somebody was quicker.
    pub(super) fn expire(&mut self, clock: &Clock, no_reboot: bool) -> Outcome {
        if !self.left.take_elapsed() {
            return Outcome::default();
        }
        self.reload = 0;
        self.status1 |= Status1::TIMEOUT.bits();
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= 2 {
            self.status2 |= (Status2::SECOND_TO_STS | Status2::BOOT_STS).bits();
            self.timeouts = 0;
            if !no_reboot {
                return Outcome { smi: false, bites: true };
            }
        }
        self.start(clock);
        Outcome { smi: true, bites: false }
    }
}
