//! The power management timer.

use crate::Clock;
use serde::{Deserialize, Serialize};

/// Ticks a second.
const FREQUENCY: u128 = 3_579_545;
const SECOND: u128 = 1_000_000_000;

/// A counter of 24 bits that runs with the machine's clock, and is never stopped or reset. Saved as nanoseconds.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct PmTimer {
    /// Nanoseconds by which the counter is ahead of the clock, modulo 2^64.
    ahead: u64,
    /// Nanoseconds that it had run when it was saved.
    saved: Option<u64>,
    /// The tick at which its highest bit changes next, which it then tells until that is acknowledged.
    turn: u64,
    clock: Option<Clock>,
}

/// The form in a snapshot.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Saved {
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed: Option<u64>,
    turn: u64,
}

impl From<Saved> for PmTimer {
    fn from(Saved { elapsed, turn }: Saved) -> Self {
        Self { ahead: 0, saved: elapsed, turn, clock: None }
    }
}

impl From<PmTimer> for Saved {
    fn from(timer: PmTimer) -> Self {
        let elapsed = if timer.clock.is_some() { Some(timer.elapsed()) } else { timer.saved };
        Self { elapsed, turn: timer.turn }
    }
}

impl PmTimer {
    /// How many ticks there are between changes of the highest bit.
    const HALF: u64 = 1 << 23;
    const MASK: u64 = 2 * Self::HALF - 1;

    /// Lets the counter run with `clock`.
    pub(crate) fn run(&mut self, clock: &Clock) {
        self.ahead = self.saved.take().map_or(0, |elapsed| elapsed.wrapping_sub(clock.now()));
        self.clock = Some(clock.clone());
        if self.turn == 0 {
            self.acknowledge();
        }
    }

    /// Nanoseconds since it began.
    fn elapsed(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock.now().wrapping_add(self.ahead))
    }

    fn ticks(&self) -> u64 {
        u64::try_from(u128::from(self.elapsed()) * FREQUENCY / SECOND).unwrap_or(u64::MAX)
    }

    /// The counter.
    pub(crate) fn value(&self) -> u32 {
        u32::try_from(self.ticks() & Self::MASK).unwrap_or_default()
    }

    /// Whether the highest bit has changed since the last time that this was acknowledged.
    pub(crate) fn has_turned(&self) -> bool {
        self.ticks() >= self.turn
    }

    /// Waits for the next change of the highest bit.
    pub(crate) fn acknowledge(&mut self) {
        self.turn = (self.ticks() / Self::HALF).saturating_add(1).saturating_mul(Self::HALF);
    }

    /// The moment of the clock at which the highest bit changes.
    pub(crate) fn deadline(&self) -> u64 {
        let elapsed = (u128::from(self.turn) * SECOND).div_ceil(FREQUENCY);
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.clock.as_ref().map_or(0, Clock::now).saturating_add(elapsed.saturating_sub(self.elapsed()))
    }
}
