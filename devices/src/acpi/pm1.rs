//! The PM1 event and control registers.

use super::{PmTimer, Write, part};
use crate::Clock;
use bitflags::bitflags;
use memory_core::Width;
use serde::{Deserialize, Serialize};

bitflags! {
    /// PM1_STS and PM1_EN (ACPI 6, tables 4.13 and 4.14).
    #[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[serde(from = "u16", into = "u16")]
    pub(crate) struct Pm1Event: u16 {
        /// The timer's highest bit has changed.
        const TIMER = 1 << 0;
        /// The lock that firmware and the system share was released.
        const GLOBAL = 1 << 5;
        /// The power button was pressed.
        const POWER_BUTTON = 1 << 8;
        /// The alarm of the clock went off.
        const RTC = 1 << 10;
        const _ = !0;
    }
}

impl From<u16> for Pm1Event {
    fn from(bits: u16) -> Self {
        Self::from_bits_retain(bits)
    }
}

impl From<Pm1Event> for u16 {
    fn from(events: Pm1Event) -> Self {
        events.bits()
    }
}

/// Events that raise the interrupt when they are enabled.
const RAISING: Pm1Event =
    Pm1Event::TIMER.union(Pm1Event::GLOBAL).union(Pm1Event::POWER_BUTTON).union(Pm1Event::RTC);

/// PM1_CNT: events raise the system control interrupt rather than the system management interrupt.
const SCI_ENABLE: u16 = 1 << 0;
/// PM1_CNT: sleep now. Reads as 0.
const SLEEP_ENABLE: u16 = 1 << 13;
/// PM1_CNT: which sleep.
const SLEEP_TYPE: u32 = 10;

/// What a guest wants that puts itself to sleep: the three bits of SLP_TYP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sleep(pub(crate) u16);

impl Sleep {
    /// Whether nothing of the machine goes on: soft off, or a memory that is on disk. Tables of QEMU's name them 0 and 2, Intel's
    /// chipsets 7 and 6.
    pub(crate) fn is_off(self) -> bool {
        matches!(self.0, 0 | 2 | 6 | 7)
    }
}

/// The registers at the start of a chipset's block of power management: events at 0, control at 4, the timer at 8.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Pm1 {
    status: Pm1Event,
    enable: Pm1Event,
    control: u16,
    timer: PmTimer,
}

impl Pm1 {
    /// Where control is.
    const CONTROL: u64 = 4;
    /// Where the timer is.
    const TIMER: u64 = 8;

    /// Lets the timer run.
    pub(crate) fn run(&mut self, clock: &Clock) {
        self.timer.run(clock);
    }

    fn status(&self) -> Pm1Event {
        if self.timer.has_turned() { self.status | Pm1Event::TIMER } else { self.status }
    }

    /// Reads at most 4 aligned bytes.
    pub(crate) fn read(&self, offset: u64, width: Width) -> u64 {
        let register = match offset & !3 {
            0 => u32::from(self.enable.bits()) << 16 | u32::from(self.status().bits()),
            Self::CONTROL => self.control.into(),
            Self::TIMER => self.timer.value(),
            _ => 0,
        };
        part(register, offset, width)
    }

    /// Writes, and says if the guest wants to sleep.
    pub(crate) fn write(&mut self, write: Write) -> Option<Sleep> {
        let [(low, low_mask), (high, high_mask)] = write.halves();
        match write.register {
            0 => {
                let cleared = Pm1Event::from_bits_retain(low);
                if (self.status() & cleared).contains(Pm1Event::TIMER) {
                    self.timer.acknowledge();
                }
                self.status.remove(cleared);
                self.enable = Pm1Event::from_bits_retain(self.enable.bits() & !high_mask | high);
                None
            }
            Self::CONTROL => {
                let value = self.control & !low_mask | low;
                self.control = value & !SLEEP_ENABLE;
                (low & SLEEP_ENABLE != 0).then_some(Sleep(value >> SLEEP_TYPE & 7))
            }
            // the timer cannot be written
            _ => None,
        }
    }

    /// Notes that something has happened.
    pub(crate) fn raise(&mut self, event: Pm1Event) {
        self.status |= event;
    }

    /// Says whether events raise the system control interrupt, as firmware does through the port of commands.
    pub(crate) fn set_sci_enabled(&mut self, enabled: bool) {
        self.control = self.control & !SCI_ENABLE | if enabled { SCI_ENABLE } else { 0 };
    }

    /// Whether an event that is enabled has happened. As on QEMU's machines, the interrupt does not ask whether it is enabled.
    pub(crate) fn wants_sci(&self) -> bool {
        self.status().intersects(self.enable & RAISING)
    }

    /// The moment of the clock at which the timer has something to tell that it does not tell yet.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let waits = self.enable.contains(Pm1Event::TIMER) && !self.status().contains(Pm1Event::TIMER);
        waits.then(|| self.timer.deadline())
    }

    /// All but the timer as after power on.
    pub(crate) fn reset(&mut self) {
        let Self { status, enable, control, timer: _ } = self;
        (*status, *enable, *control) = Default::default();
        self.timer.acknowledge();
    }
}
