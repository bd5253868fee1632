//! What the PIT remembers.

use super::counter::Counter;
use super::registers::*;
use crate::Clock;
use serde::{Deserialize, Serialize};

const NANOS: i128 = 1_000_000_000;

/// The counters, and the port of the speaker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Saved", from = "Saved")]
pub(crate) struct State {
    saved: Saved,
    /// What the counters count. Without it, they count from the start of a clock that is to come.
    clock: Option<Clock>,
}

/// The form in a snapshot: its moment is the one at which the clock starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Saved {
    counters: [Counter; COUNTERS],
    speaker_data: bool,
    refresh: bool,
}

impl Default for Saved {
    fn default() -> Self {
        let counters = std::array::from_fn(|number| Counter::with_gate(number != SPEAKER));
        Self { counters, speaker_data: false, refresh: false }
    }
}

impl Saved {
    fn shift(mut self, clocks: i64) -> Self {
        self.counters.iter_mut().for_each(|counter| counter.shift(clocks));
        self
    }
}

impl From<State> for Saved {
    fn from(state: State) -> Self {
        let now = state.now();
        state.saved.shift(now.saturating_neg())
    }
}

impl From<Saved> for State {
    fn from(saved: Saved) -> Self {
        Self { saved, clock: None }
    }
}

impl State {
    /// Counts `clock` from now on.
    pub(crate) fn run(&mut self, clock: &Clock) {
        self.clock = Some(clock.clone());
        self.saved = std::mem::take(&mut self.saved).shift(self.now());
    }

    /// As after power on.
    pub(crate) fn reset(&mut self) {
        self.saved = Saved::default().shift(self.now());
    }

    /// Clocks of the counters since the machine's clock was made.
    fn now(&self) -> i64 {
        let nanos = self.clock.as_ref().map_or(0, Clock::now);
        (i128::from(nanos) * HERTZ / NANOS) as i64
    }

    fn counter(&mut self, number: usize) -> Option<&mut Counter> {
        self.saved.counters.get_mut(number)
    }

    /// The output of the first counter: whether it has risen since this was asked last, and its level.
    pub(crate) fn timer_output(&mut self) -> (bool, bool) {
        let now = self.now();
        self.counter(0).map_or((false, false), |timer| (timer.take_risen(now), timer.out(now)))
    }

    /// The moment of the machine's clock at which the output of the first counter changes next, or nearly so if that is too
    /// soon for anybody.
    pub(crate) fn deadline(&mut self) -> Option<u64> {
        let now = self.now();
        let timer = self.counter(0)?;
        let change = timer.next_change(now)?;
        let change = if timer.is_fast() { change.max(now.saturating_add(24)) } else { change };
        // the first nanosecond at which so many clocks have passed
        u64::try_from((i128::from(change) * NANOS + HERTZ - 1) / HERTZ).ok()
    }

    pub(crate) fn read(&mut self, port: u64) -> u8 {
        let now = self.now();
        // control words cannot be read
        usize::try_from(port)
            .ok()
            .and_then(|number| self.counter(number))
            .map_or(0, |counter| counter.read(now))
    }

    pub(crate) fn write(&mut self, port: u64, value: u8) {
        let now = self.now();
        if port == CONTROL {
            return self.control(value, now);
        }
        if let Some(counter) = usize::try_from(port).ok().and_then(|number| self.counter(number)) {
            counter.write(value, now);
        }
    }

    fn control(&mut self, word: u8, now: i64) {
        if word >> 6 != READ_BACK {
            if let Some(counter) = self.counter((word >> 6).into()) {
                counter.control(word, now);
            }
            return;
        }
        let chosen = |number: &usize| word & (2 << number) != 0;
        for number in (0..COUNTERS).filter(chosen) {
            let Some(counter) = self.counter(number) else { continue };
            if word & READ_BACK_NO_COUNT == 0 {
                counter.latch_count(now);
            }
            if word & READ_BACK_NO_STATUS == 0 {
                counter.latch_status(now);
            }
        }
    }

    /// Port 0x61. The refresh bit changes with each read, so that who waits for it waits for so many reads.
    pub(crate) fn read_speaker(&mut self) -> u8 {
        let now = self.now();
        self.saved.refresh = !self.saved.refresh;
        let (refresh, data) = (self.saved.refresh, self.saved.speaker_data);
        let Some(counter) = self.counter(SPEAKER) else { return 0 };
        let bits = [
            (counter.gate(), SPEAKER_GATE),
            (data, SPEAKER_DATA),
            (refresh, REFRESH),
            (counter.out(now), SPEAKER_OUT),
        ];
        bits.into_iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum()
    }

    pub(crate) fn write_speaker(&mut self, value: u8) {
        let now = self.now();
        self.saved.speaker_data = value & SPEAKER_DATA != 0;
        if let Some(counter) = self.counter(SPEAKER) {
            counter.set_gate(value & SPEAKER_GATE != 0, now);
        }
    }

    pub(crate) fn counters(&self) -> &[Counter] {
        &self.saved.counters
    }
}
