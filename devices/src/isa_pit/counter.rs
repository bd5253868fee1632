//! One counter of the 8254: what is written to it, what is read from it, and when it was loaded.

use super::counting::{Counting, Mode};
use super::registers::{STATUS_NULL_COUNT, STATUS_OUT};
use serde::{Deserialize, Serialize};

/// Which bytes of a count are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Bytes {
    Low,
    High,
    /// The low one first.
    #[default]
    Both,
}

/// Where the count is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Progress {
    /// Not loaded, or it waits for a rising gate.
    Idle,
    /// Loaded at this clock, as the machine's clock counts them, or before it was made.
    Since(i64),
    /// Held by the gate after so many clocks.
    Held(u64),
}

/// One counter. Times are numbers of clocks since the machine's clock was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Counter {
    mode: Mode,
    bytes: Bytes,
    bcd: bool,
    /// What it was loaded with, 1 to 65536.
    reload: u64,
    /// Loaded when the period is over.
    next_reload: Option<u64>,
    /// A count was written that is not counted yet.
    null_count: bool,
    /// The low byte of a count whose high byte is to come.
    low_written: Option<u8>,
    /// The next byte that is read is the high one.
    high_next: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
    gate: bool,
    progress: Progress,
    /// How often the output had risen when somebody looked last.
    risen: u64,
    /// It has risen before what `risen` counts, and nobody has looked.
    edge_unseen: bool,
}

impl Default for Counter {
    /// As QEMU and BIOSes have it: a square wave, as slow as it can be.
    fn default() -> Self {
        Self {
            mode: Mode::Square,
            bytes: Bytes::Both,
            bcd: false,
            reload: MOST,
            next_reload: None,
            null_count: false,
            low_written: None,
            high_next: false,
            latched_count: None,
            latched_status: None,
            gate: true,
            progress: Progress::Since(0),
            risen: 0,
            edge_unseen: false,
        }
    }
}

const MOST: u64 = 0x1_0000;
/// Periods of fewer clocks than this, about 20 microseconds, are shorter than any interrupt takes.
const FAST: u64 = 24;

impl Counter {
    /// Whether the gate is high from the start.
    pub(crate) fn with_gate(gate: bool) -> Self {
        let progress = if gate { Progress::Since(0) } else { Progress::Idle };
        Self { gate, progress, ..Self::default() }
    }

    /// Moves the moment at which it was loaded: forward by `clocks` when the machine's clock begins anew. A count that a file
    /// has wrong is put right.
    pub(crate) fn shift(&mut self, clocks: i64) {
        if let Progress::Since(start) = &mut self.progress {
            *start = start.saturating_add(clocks);
        }
        self.reload = self.reload.clamp(1, MOST);
        self.next_reload = self.next_reload.map(|reload| reload.clamp(1, MOST));
    }

    fn counting(&self) -> Counting {
        Counting { mode: self.mode, reload: self.reload.clamp(1, MOST) }
    }

    fn modulus(&self) -> u64 {
        if self.bcd { 10_000 } else { MOST }
    }

    /// Clocks since it was loaded, without those for which it was held.
    fn elapsed(&self, now: i64) -> Option<u64> {
        match self.progress {
            Progress::Idle => None,
            Progress::Since(start) => Some(u64::try_from(now.saturating_sub(start)).unwrap_or_default()),
            Progress::Held(elapsed) => Some(elapsed),
        }
    }

    /// Loads what was written for the next period, if that has begun.
    fn settle(&mut self, now: i64) {
        let (Some(next), Progress::Since(start)) = (self.next_reload, self.progress) else { return };
        let period = self.counting().reload;
        if self.mode.is_periodic() && self.elapsed(now).is_some_and(|elapsed| elapsed >= period) {
            // with an edge, as each period
            (self.edge_unseen, self.risen) = (true, 0);
            (self.next_reload, self.null_count) = (None, false);
            self.progress = Progress::Since(start.saturating_add(i64::try_from(period).unwrap_or_default()));
            self.reload = next;
        }
    }

    /// Counts from the start of the present period on.
    fn forget_periods(&mut self, now: i64) {
        if let (Progress::Since(start), Some(elapsed)) = (self.progress, self.elapsed(now)) {
            let counting = self.counting();
            self.edge_unseen |= counting.rises(elapsed) != self.risen;
            self.risen = 0;
            let whole = elapsed - elapsed % counting.reload;
            self.progress = Progress::Since(start.saturating_add(i64::try_from(whole).unwrap_or_default()));
        }
    }

    fn load(&mut self, now: i64) {
        (self.next_reload, self.null_count) = (None, false);
        (self.risen, self.edge_unseen) = (0, false);
        self.progress =
            if self.gate || !self.mode.is_held() { Progress::Since(now) } else { Progress::Held(0) };
    }

    /// The output.
    pub(crate) fn out(&mut self, now: i64) -> bool {
        self.settle(now);
        if self.mode.is_periodic() && !self.gate {
            return true;
        }
        self.elapsed(now).map_or(self.mode.idle(), |elapsed| self.counting().out(elapsed))
    }

    /// Whether the output has risen since this was asked last.
    pub(crate) fn take_risen(&mut self, now: i64) -> bool {
        self.settle(now);
        let Some(elapsed) = self.elapsed(now) else { return false };
        let rises = self.counting().rises(elapsed);
        let unseen = std::mem::take(&mut self.edge_unseen);
        std::mem::replace(&mut self.risen, rises) != rises || unseen
    }

    /// The clock at which the output changes next.
    pub(crate) fn next_change(&mut self, now: i64) -> Option<i64> {
        self.settle(now);
        let Progress::Since(start) = self.progress else { return None };
        let change = self.counting().next_change(self.elapsed(now)?)?;
        Some(start.saturating_add(i64::try_from(change).ok()?))
    }

    fn count(&mut self, now: i64) -> u16 {
        self.settle(now);
        let elapsed = self.elapsed(now).unwrap_or_default();
        let count = self.counting().count(elapsed, self.modulus());
        let count = if self.bcd {
            (0..4).map(|digit| ((count / 10u64.pow(digit)) % 10) << (4 * digit)).sum()
        } else {
            count
        };
        // the modulus is at most 65536
        (count & 0xffff) as u16
    }

    /// A control word. The count that is to come starts the counter.
    pub(crate) fn control(&mut self, word: u8, now: i64) {
        self.bytes = match (word >> 4) & 3 {
            0 => return self.latch_count(now),
            1 => Bytes::Low,
            2 => Bytes::High,
            _ => Bytes::Both,
        };
        self.mode = Mode::from_bits(word >> 1);
        self.bcd = word & 1 != 0;
        (self.low_written, self.high_next) = (None, false);
        (self.latched_count, self.latched_status) = (None, None);
        (self.next_reload, self.null_count) = (None, true);
        (self.progress, self.risen) = (Progress::Idle, 0);
    }

    pub(crate) fn latch_count(&mut self, now: i64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count(now));
        }
    }

    pub(crate) fn latch_status(&mut self, now: i64) {
        if self.latched_status.is_some() {
            return;
        }
        let out = if self.out(now) { STATUS_OUT } else { 0 };
        let null_count = if self.null_count { STATUS_NULL_COUNT } else { 0 };
        let bytes = match self.bytes {
            Bytes::Low => 0x10,
            Bytes::High => 0x20,
            Bytes::Both => 0x30,
        };
        self.latched_status = Some(out | null_count | bytes | (2 * self.mode.bits()) | u8::from(self.bcd));
    }

    /// Reads a byte: a latched status, otherwise of a latched count, otherwise of the count.
    pub(crate) fn read(&mut self, now: i64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let count = self.latched_count.unwrap_or_else(|| self.count(now));
        let high = match self.bytes {
            Bytes::Low => false,
            Bytes::High => true,
            Bytes::Both => {
                self.high_next = !self.high_next;
                !self.high_next
            }
        };
        if !(self.bytes == Bytes::Both && self.high_next) {
            self.latched_count = None;
        }
        let [low_byte, high_byte] = count.to_le_bytes();
        if high { high_byte } else { low_byte }
    }

    /// Writes a byte of a count; the last one loads it, or has it loaded.
    pub(crate) fn write(&mut self, byte: u8, now: i64) {
        let count = match (self.bytes, self.low_written.take()) {
            (Bytes::Low, _) => u16::from(byte),
            (Bytes::High, _) => u16::from(byte) << 8,
            (Bytes::Both, Some(low)) => u16::from_le_bytes([low, byte]),
            (Bytes::Both, None) => {
                self.low_written = Some(byte);
                if self.mode == Mode::TerminalCount {
                    // half a count stops it
                    (self.progress, self.risen) = (Progress::Idle, 0);
                }
                return;
            }
        };
        self.write_count(count, now);
    }

    fn write_count(&mut self, count: u16, now: i64) {
        self.settle(now);
        let count = u64::from(count);
        let count = if self.bcd {
            (0..4u32).map(|digit| ((count >> (4 * digit)) & 0xf) * 10u64.pow(digit)).sum()
        } else {
            count
        };
        let count = if count == 0 { self.modulus() } else { count };
        self.null_count = true;
        if self.mode.is_periodic() && matches!(self.progress, Progress::Since(_)) {
            self.forget_periods(now);
            self.next_reload = Some(count);
        } else if self.mode.is_triggered() {
            // what runs already runs to its end; the next trigger loads this
            match self.progress {
                Progress::Idle => self.reload = count,
                _ => self.next_reload = Some(count),
            }
        } else {
            self.reload = count;
            if self.gate || self.mode.is_held() {
                self.load(now);
            }
        }
    }

    /// The gate has a level.
    pub(crate) fn set_gate(&mut self, gate: bool, now: i64) {
        self.settle(now);
        let before = std::mem::replace(&mut self.gate, gate);
        if before == gate {
            return;
        }
        match (self.mode, gate) {
            (mode, true) if mode.is_held() => {
                if let Progress::Held(elapsed) = self.progress {
                    let elapsed = i64::try_from(elapsed).unwrap_or_default();
                    self.progress = Progress::Since(now.saturating_sub(elapsed));
                }
            }
            (mode, false) if mode.is_held() => {
                if let (Progress::Since(_), Some(elapsed)) = (self.progress, self.elapsed(now)) {
                    self.progress = Progress::Held(elapsed);
                }
            }
            // a trigger, or a new period
            (_, true) => {
                if let Some(next) = self.next_reload.take() {
                    self.reload = next;
                }
                self.load(now);
            }
            (mode, false) if mode.is_periodic() => self.progress = Progress::Idle,
            _ => {}
        }
    }

    /// It changes so often that nobody could follow.
    pub(crate) fn is_fast(&self) -> bool {
        self.mode.is_periodic() && self.reload < FAST
    }

    pub(crate) fn gate(&self) -> bool {
        self.gate
    }

    /// Mode and what it was loaded with, for people.
    pub(crate) fn summary(&self) -> (Mode, u64) {
        (self.mode, self.reload)
    }
}
