//! What the Goldfish RTC remembers.

use super::base::Base;
use crate::Clock;
use serde::{Deserialize, Serialize};

/// The registers, and how far the time has moved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Saved", from = "Saved")]
pub(crate) struct State {
    /// Nanoseconds by which the guest has moved the time, modulo 2^64.
    pub(crate) offset: u64,
    /// What TIME_HIGH reads.
    pub(crate) latched: u32,
    /// ALARM_LOW and ALARM_HIGH.
    pub(crate) alarm: u64,
    /// ALARM_STATUS.
    pub(crate) armed: bool,
    /// Whether the alarm went off.
    pub(crate) pending: bool,
    /// IRQ_ENABLED.
    pub(crate) enabled: bool,
    /// Nanoseconds that the machine had run when it was saved.
    elapsed: u64,
    running: Option<Running>,
}

/// The clock that moves the time.
#[derive(Clone, Debug)]
struct Running {
    clock: Clock,
    /// What the machine's clock showed when the device was realised.
    since: u64,
    /// What the RTC showed then, before the guest moved it.
    start: u64,
    /// Whether `start` is the host's time, which moves on while the machine is not there.
    follows_host: bool,
}

/// The form in a snapshot. Where the time starts at a fixed moment, it says how far it has come since.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Saved {
    offset: u64,
    latched: u32,
    alarm: u64,
    armed: bool,
    pending: bool,
    enabled: bool,
    elapsed: u64,
}

impl State {
    /// Lets the time run from `base` with the machine's clock.
    pub(crate) fn run(&mut self, base: Base, clock: &Clock) {
        let follows_host = base == Base::Host;
        let elapsed = if follows_host { 0 } else { self.elapsed };
        let start = base.start().wrapping_add(elapsed);
        self.running = Some(Running { clock: clock.clone(), since: clock.now(), start, follows_host });
    }

    /// Nanoseconds since 1970 as the guest sees them.
    pub(crate) fn time(&self) -> u64 {
        let unmoved = self.running.as_ref().map_or(0, |running| running.start.wrapping_add(running.passed()));
        unmoved.wrapping_add(self.offset)
    }

    /// Moves the time to `time`.
    pub(crate) fn set_time(&mut self, time: u64) {
        self.offset = self.offset.wrapping_add(time.wrapping_sub(self.time()));
    }

    /// The moment of the machine's clock at which the alarm is due, if it is armed.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let running = self.running.as_ref().filter(|_| self.armed)?;
        Some(running.clock.now().saturating_add(self.alarm.saturating_sub(self.time())))
    }

    /// The registers after a reset. The time goes on, as a battery lets it.
    pub(crate) fn reset(&mut self) {
        let Self { offset, latched, alarm, armed, pending, enabled, elapsed: _, running: _ } = self;
        let _ = offset;
        (*latched, *alarm) = (0, 0);
        (*armed, *pending, *enabled) = (false, false, false);
    }

    /// Lets the alarm go off if its time has come.
    pub(crate) fn check_alarm(&mut self) {
        if self.armed && self.alarm <= self.time() {
            self.armed = false;
            self.pending = true;
        }
    }
}

impl Running {
    fn passed(&self) -> u64 {
        self.clock.now().saturating_sub(self.since)
    }
}

impl From<State> for Saved {
    fn from(state: State) -> Self {
        let State { offset, latched, alarm, armed, pending, enabled, elapsed, running } = state;
        let elapsed = match running {
            Some(running) if running.follows_host => 0,
            Some(running) => elapsed.wrapping_add(running.passed()),
            None => elapsed,
        };
        Self { offset, latched, alarm, armed, pending, enabled, elapsed }
    }
}

impl From<Saved> for State {
    fn from(saved: Saved) -> Self {
        let Saved { offset, latched, alarm, armed, pending, enabled, elapsed } = saved;
        Self { offset, latched, alarm, armed, pending, enabled, elapsed, running: None }
    }
}
