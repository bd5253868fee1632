//! Counters that run with the retired instructions: `mcycle` and `minstret`.

/// A counter that can be set and stopped. `now` is always the number of instructions retired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counter {
    /// The value when it last was set, stopped or started.
    value: u64,
    /// When that was.
    since: u64,
    stopped: bool,
}

impl Counter {
    /// A counter that is 0 at `now` and runs.
    pub fn starting_at(now: u64) -> Self {
        Self { value: 0, since: now, stopped: false }
    }

    /// The value at `now`.
    pub fn read(self, now: u64) -> u64 {
        if self.stopped { self.value } else { self.value.wrapping_add(now.wrapping_sub(self.since)) }
    }

    /// Sets the value, by the instruction that retires next: the one after it reads `value`.
    pub fn write(&mut self, value: u64, now: u64) {
        self.value = value;
        self.since = now.wrapping_add(1);
    }

    /// Stops or starts it.
    pub fn stop(&mut self, stopped: bool, now: u64) {
        self.value = self.read(now);
        self.since = now;
        self.stopped = stopped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_keeps_a_written_value_and_stops() {
        let mut counter = Counter::starting_at(10);
        assert_eq!(counter.read(15), 5);
        counter.write(100, 15);
        assert_eq!(counter.read(16), 100);
        counter.stop(true, 20);
        assert_eq!(counter.read(500), 104);
        counter.stop(false, 500);
        assert_eq!(counter.read(501), 105);
    }
}
