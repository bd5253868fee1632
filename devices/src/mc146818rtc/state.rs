//! What the RTC remembers, and what becomes of it as time passes.

use super::base::Base;
use super::cmos::Cmos;
use super::registers::*;
use crate::Clock;
use serde::{Deserialize, Serialize};

const NANOS: i128 = 1_000_000_000;
/// The crystal.
const HERTZ: u128 = 32_768;
/// UIP is set for so many nanoseconds before an update: at least 244 microseconds, 8 periods of the crystal.
const UIP_HOLD: i128 = 8 * NANOS / HERTZ as i128;
/// What is left of a second when the divider leaves its reset.
const HALF: i128 = NANOS / 2;

/// The registers, and how far the time has moved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub(crate) struct State {
    /// The selected register.
    pub(crate) index: u8,
    /// The board's non-maskable interrupts are masked.
    pub(crate) nmi_masked: bool,
    /// The boot devices are those of the first start, and the next reset names others.
    pub(crate) boots_once: bool,
    /// None before the first power on.
    cmos: Option<Cmos>,
    /// Nanoseconds by which the guest has moved the time.
    offset: i128,
    /// The second that the registers show. Until the next one they stay as the guest writes them.
    shown: Option<i64>,
    /// When the next update ends and the next alarm goes off, in seconds since 1970; none if that is noted in register C
    /// already, or does not come.
    update_due: Option<i64>,
    alarm_due: Option<i64>,
    /// When the next periodic interrupt comes, in periods of the crystal since the machine's clock was made.
    periodic_due: Option<u64>,
    /// Nanoseconds that the machine had run when it was saved, and periods of the crystal to the next interrupt.
    elapsed: u64,
    until_periodic: Option<u64>,
    running: Option<Running>,
}

/// The clock that moves the time.
#[derive(Clone, Debug)]
struct Running {
    clock: Clock,
    /// What the clock showed when the device was realised.
    since: u64,
    /// What the RTC showed then, before the guest moved it: nanoseconds since 1970.
    start: i128,
    follows_host: bool,
}

impl Running {
    fn passed(&self) -> u64 {
        self.clock.now().saturating_sub(self.since)
    }
}

impl State {
    /// Lets the time run from `base` with `clock`. RAM that holds nothing yet is filled by `fill`.
    pub(crate) fn run(&mut self, base: Base, clock: &Clock, fill: impl FnOnce(&mut Cmos)) {
        let follows_host = base.follows_host();
        let elapsed = if follows_host { 0 } else { self.elapsed };
        let start = base.start() + i128::from(elapsed);
        let now = clock.now();
        self.running = Some(Running { clock: clock.clone(), since: now, start, follows_host });
        if self.cmos.is_none() {
            let mut cmos = Cmos::new();
            fill(&mut cmos);
            self.cmos = Some(cmos);
        }
        let due = self.until_periodic.take().map(|left| crystal(now).saturating_add(left));
        self.periodic_due = self.period().map(|period| due.unwrap_or(crystal(now).saturating_add(period)));
        self.plan();
    }

    /// The registers and the RAM.
    pub(crate) fn cmos(&mut self) -> &mut Cmos {
        self.cmos.get_or_insert_with(Cmos::new)
    }

    /// A register as it is, without what reading it does.
    pub(crate) fn peek(&self, register: u8) -> u8 {
        self.cmos.as_ref().map_or(0, |cmos| cmos.get(register))
    }

    fn period(&self) -> Option<u64> {
        self.cmos.as_ref()?.period()
    }

    fn ticks(&self) -> bool {
        self.cmos.as_ref().is_some_and(Cmos::ticks)
    }

    fn now(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.clock.now())
    }

    /// Nanoseconds since 1970 as the guest has set them.
    fn time(&self) -> i128 {
        let running = self.running.as_ref();
        running.map_or(0, |running| running.start + i128::from(running.passed())) + self.offset
    }

    /// Seconds since 1970, and nanoseconds of the second.
    pub(crate) fn second(&self) -> (i64, i128) {
        let time = self.time();
        let seconds = time.div_euclid(NANOS);
        (i64::try_from(seconds).unwrap_or(i64::MAX / 2), time.rem_euclid(NANOS))
    }

    fn set_time(&mut self, seconds: i64, nanos: i128) {
        self.offset += i128::from(seconds) * NANOS + nanos - self.time();
    }

    /// Brings the registers of the time to the present second.
    fn show(&mut self) {
        let second = self.second().0;
        if self.ticks() && self.shown != Some(second) {
            self.cmos().show(second);
            self.shown = Some(second);
        }
    }

    /// The registers of the time are what the time is from now on. `nanos` are those of the second.
    fn take(&mut self, nanos: i128) {
        let seconds = self.cmos().shown();
        self.set_time(seconds, nanos);
        self.shown = Some(seconds);
    }

    /// Notes in register C what has come due.
    pub(crate) fn advance(&mut self) {
        let second = self.second().0;
        let mut causes = 0;
        if self.update_due.take_if(|due| *due <= second).is_some() {
            causes |= C_UF;
        }
        if self.alarm_due.take_if(|due| *due <= second).is_some() {
            causes |= C_AF;
        }
        if let (Some(period), Some(due)) = (self.period(), self.periodic_due) {
            let now = self.now();
            if nanoseconds(due) <= now {
                causes |= C_PF;
                let missed = crystal(now).saturating_sub(due) / period;
                self.periodic_due = Some(due.saturating_add((missed + 1).saturating_mul(period)));
            }
        }
        let seen = self.peek(REG_C);
        if causes & !seen != 0 {
            self.cmos().set(REG_C, seen | causes);
        }
        if causes & (C_UF | C_AF) != 0 {
            self.plan();
        }
    }

    /// Finds out when the next update ends and when the alarm goes off.
    fn plan(&mut self) {
        (self.update_due, self.alarm_due) = (None, None);
        if self.ticks() {
            let second = self.second().0;
            let seen = self.peek(REG_C);
            self.update_due = (seen & C_UF == 0).then_some(second + 1);
            if seen & C_AF == 0 {
                self.alarm_due = self.cmos().next_alarm(second);
            }
        }
    }

    /// The moment of the clock at which something comes due that the guest does not know yet.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let of_second = |due: i64| {
            let wait = i128::from(due) * NANOS - self.time();
            let wait = u64::try_from(wait.max(0)).unwrap_or(u64::MAX);
            self.now().saturating_add(wait)
        };
        let periodic = self.periodic_due.filter(|_| self.peek(REG_C) & C_PF == 0).map(nanoseconds);
        let updates = self.update_due.into_iter().chain(self.alarm_due).min().map(of_second);
        updates.into_iter().chain(periodic).min()
    }

    /// An enabled cause has been noted: the interrupt line is active.
    pub(crate) fn interrupts(&self) -> bool {
        self.peek(REG_B) & self.peek(REG_C) & C_CAUSES != 0
    }

    /// Reads the selected register.
    pub(crate) fn read(&mut self) -> u8 {
        match self.selected() {
            REG_A => {
                let near = self.second().1 >= NANOS - UIP_HOLD;
                self.peek(REG_A) | if near && self.ticks() { A_UIP } else { 0 }
            }
            REG_C => {
                let causes = self.peek(REG_C);
                let irq = if self.interrupts() { C_IRQF } else { 0 };
                self.cmos().set(REG_C, 0);
                if causes != 0 {
                    self.plan();
                }
                causes | irq
            }
            register => {
                if TIME.contains(&register) {
                    self.show();
                }
                self.peek(register)
            }
        }
    }

    fn selected(&self) -> u8 {
        if self.index == PS2_CENTURY { CENTURY } else { self.index }
    }

    /// Writes the selected register.
    pub(crate) fn write(&mut self, value: u8) {
        match self.selected() {
            REG_A => self.write_a(value),
            REG_B => self.write_b(value),
            REG_C | REG_D => {}
            register => {
                let of_time = TIME.contains(&register);
                if of_time {
                    self.show();
                }
                self.cmos().set(register, value);
                if of_time && self.ticks() {
                    let nanos = self.second().1;
                    self.take(nanos);
                }
                if of_time || [SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM].contains(&register) {
                    self.plan();
                }
            }
        }
    }

    /// The time stands still while the divider is in reset; the first update after that comes half a second later.
    fn write_a(&mut self, value: u8) {
        self.show();
        let period = self.period();
        let reset = self.peek(REG_A) & DIVIDER_RESET == DIVIDER_RESET;
        let ran = self.ticks();
        self.cmos().set(REG_A, value & !A_UIP);
        if !ran && self.ticks() {
            let nanos = if reset { HALF } else { self.second().1 };
            self.take(nanos);
        }
        self.replan(period);
    }

    /// The time that the guest has set runs on from where the second was when the guest is done.
    fn write_b(&mut self, value: u8) {
        self.show();
        let period = self.period();
        let ran = self.ticks();
        let value = if value & B_SET != 0 { value & !B_UIE } else { value };
        let format = (self.peek(REG_B) ^ value) & (B_DM | B_24H);
        self.cmos().set(REG_B, value);
        if !ran && self.ticks() {
            let nanos = self.second().1;
            self.take(nanos);
        } else if format != 0 {
            self.shown = None;
        }
        self.replan(period);
    }

    /// Finds out anew what comes when, after a change of register A or B. With a new rate the time since the last periodic
    /// interrupt counts.
    fn replan(&mut self, before: Option<u64>) {
        let period = self.period();
        if period != before {
            let now = crystal(self.now());
            let last = self.periodic_due.zip(before).map(|(due, before)| due.saturating_sub(before));
            self.periodic_due = period.map(|period| {
                let gone = last.map_or(0, |last| now.saturating_sub(last).min(period));
                now.saturating_add(period - gone)
            });
        }
        self.plan();
    }

    /// After a reset: no interrupts. The time and the RAM are the battery's.
    pub(crate) fn reset(&mut self) {
        let enables = self.peek(REG_B) & !(B_PIE | B_AIE | B_UIE | B_SQWE);
        let period = self.period();
        let cmos = self.cmos();
        cmos.set(REG_B, enables);
        cmos.set(REG_C, 0);
        self.replan(period);
    }
}

/// Periods of the crystal in so many nanoseconds.
fn crystal(nanos: u64) -> u64 {
    (u128::from(nanos) * HERTZ / NANOS as u128) as u64
}

/// The first whole nanosecond after so many periods.
fn nanoseconds(crystal: u64) -> u64 {
    u64::try_from(u128::from(crystal) * NANOS as u128 / HERTZ + 1).unwrap_or(u64::MAX)
}

/// The form in a snapshot. Where the time starts at a fixed moment, it says how far it has come since.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Saved {
    index: u8,
    nmi_masked: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    boots_once: bool,
    /// All 128 bytes. Those of the time count if it stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    cmos: Option<Vec<u8>>,
    /// How far the guest has moved the time.
    offset_seconds: i64,
    offset_nanoseconds: u32,
    elapsed: u64,
    /// Periods of 1/32768 s to the next periodic interrupt.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_periodic: Option<u64>,
}

impl From<State> for Saved {
    fn from(state: State) -> Self {
        let until_periodic = match &state.running {
            Some(_) => state.periodic_due.map(|due| due.saturating_sub(crystal(state.now()))),
            None => state.until_periodic,
        };
        let State { index, nmi_masked, boots_once, cmos, offset, elapsed, running, .. } = state;
        let elapsed = match running {
            Some(running) if running.follows_host => 0,
            Some(running) => elapsed.saturating_add(running.passed()),
            None => elapsed,
        };
        let cmos = cmos.map(|mut cmos| {
            if cmos.ticks() {
                cmos.blank();
            }
            cmos.bytes()
        });
        Self {
            index,
            nmi_masked,
            boots_once,
            cmos,
            offset_seconds: i64::try_from(offset.div_euclid(NANOS)).unwrap_or_default(),
            offset_nanoseconds: u32::try_from(offset.rem_euclid(NANOS)).unwrap_or_default(),
            elapsed,
            until_periodic,
        }
    }
}

/// A snapshot of something else.
#[derive(Debug, thiserror::Error)]
#[error("`cmos` has 128 bytes")]
pub(crate) struct WrongSize;

impl TryFrom<Saved> for State {
    type Error = WrongSize;

    fn try_from(saved: Saved) -> Result<Self, WrongSize> {
        let Saved {
            index,
            nmi_masked,
            boots_once,
            cmos,
            offset_seconds,
            offset_nanoseconds,
            elapsed,
            until_periodic,
        } = saved;
        let cmos = cmos.map(|bytes| Cmos::from_saved(bytes).ok_or(WrongSize)).transpose()?;
        // twice the age of the universe would leave no seconds for the calendar
        let seconds = offset_seconds.clamp(-MOST_SECONDS, MOST_SECONDS);
        Ok(Self {
            index: index & INDEX_MASK,
            nmi_masked,
            boots_once,
            cmos,
            offset: i128::from(seconds) * NANOS + i128::from(offset_nanoseconds) % NANOS,
            elapsed,
            until_periodic,
            ..Self::default()
        })
    }
}

const MOST_SECONDS: i64 = 1 << 59;
