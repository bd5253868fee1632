//! Time until something happens, as state that is saved.

use crate::clock::Clock;
use serde::{Deserialize, Serialize};

/// When something is due, if it is. It is saved as the nanoseconds that are left, and goes on on another machine's clock.
///
/// A device keeps one beside the [`Timer`](crate::Timer) that it sets to [`Countdown::deadline`].
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(from = "Option<u64>", into = "Option<u64>")]
pub(crate) enum Countdown {
    /// Nothing is due.
    #[default]
    Idle,
    /// Restored, with so many nanoseconds left and no clock yet.
    Left(u64),
    /// Due at a moment of a clock.
    Due { deadline: u64, clock: Clock },
}

impl Countdown {
    /// Something is due `nanos` nanoseconds from now.
    pub(crate) fn start(&mut self, clock: &Clock, nanos: u64) {
        let deadline = clock.now().saturating_add(nanos);
        *self = Self::Due { deadline, clock: clock.clone() };
    }

    /// Nothing is due any more.
    pub(crate) fn stop(&mut self) {
        *self = Self::Idle;
    }

    /// Lets what was restored run with `clock`.
    pub(crate) fn run(&mut self, clock: &Clock) {
        if let Self::Left(left) = *self {
            self.start(clock, left);
        }
    }

    /// The moment of the clock, in nanoseconds, if something is due.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match self {
            Self::Due { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    /// Nanoseconds until it is due, 0 if that has passed, if something is due.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Left(left) => Some(*left),
            Self::Due { deadline, clock } => Some(deadline.saturating_sub(clock.now())),
        }
    }

    /// Whether something was due, and is not any more: it is to happen now.
    pub(crate) fn take_elapsed(&mut self) -> bool {
        let elapsed = matches!(self, Self::Due { .. }) && self.left() == Some(0);
        if elapsed {
            self.stop();
        }
        elapsed
    }
}

impl From<Option<u64>> for Countdown {
    fn from(left: Option<u64>) -> Self {
        left.map_or(Self::Idle, Self::Left)
    }
}

impl From<Countdown> for Option<u64> {
    fn from(countdown: Countdown) -> Self {
        countdown.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_saved_and_goes_on_on_another_clock() {
        let (clock, other) = (Clock::stepped(), Clock::stepped());
        let mut countdown = Countdown::default();
        assert_eq!((countdown.deadline(), countdown.left()), (None, None));
        clock.step(100);
        countdown.start(&clock, 50);
        clock.step(20);
        assert_eq!((countdown.deadline(), countdown.left()), (Some(150), Some(30)));
        let saved = serde_json::to_value(&countdown).unwrap();
        assert_eq!(saved, 30);
        let mut restored: Countdown = serde_json::from_value(saved).unwrap();
        assert_eq!(serde_json::to_value(&restored).unwrap(), 30);
        other.step(1000);
        restored.run(&other);
        assert!(!restored.take_elapsed());
        other.step(30);
        assert!(restored.take_elapsed() && !restored.take_elapsed());
        clock.step(500);
        assert_eq!(countdown.left(), Some(0));
        countdown.stop();
        assert_eq!(serde_json::to_value(&countdown).unwrap(), serde_json::Value::Null);
    }
}
