//! What a counter does in each mode: its count and its output, so many clocks after it was loaded.

use serde::{Deserialize, Serialize};

/// Modes of the 8254.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// 0: the output goes high when the count is over.
    TerminalCount,
    /// 1: the gate starts a low pulse as long as the count.
    OneShot,
    /// 2: a low pulse of one clock each period.
    Rate,
    /// 3: a square wave.
    #[default]
    Square,
    /// 4: a low pulse of one clock when the count is over.
    SoftwareStrobe,
    /// 5: the same after the gate has risen.
    HardwareStrobe,
}

impl Mode {
    /// The mode of three bits of a control word: the first of them does not count in modes 2 and 3.
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::TerminalCount,
            1 => Self::OneShot,
            2 | 6 => Self::Rate,
            4 => Self::SoftwareStrobe,
            5 => Self::HardwareStrobe,
            _ => Self::Square,
        }
    }

    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::TerminalCount => 0,
            Self::OneShot => 1,
            Self::Rate => 2,
            Self::Square => 3,
            Self::SoftwareStrobe => 4,
            Self::HardwareStrobe => 5,
        }
    }

    /// It begins anew by itself.
    pub(crate) fn is_periodic(self) -> bool {
        matches!(self, Self::Rate | Self::Square)
    }

    /// A rising gate loads the counter.
    pub(crate) fn is_triggered(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }

    /// A low gate holds the count.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Self::TerminalCount | Self::SoftwareStrobe)
    }

    /// The output before the counter is loaded.
    pub(crate) fn idle(self) -> bool {
        self != Self::TerminalCount
    }
}

/// A counter that was loaded with `reload`, 1 to 65536.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    pub(crate) mode: Mode,
    pub(crate) reload: u64,
}

impl Counting {
    /// The output is high for so many clocks of a square wave.
    fn high_part(self) -> u64 {
        self.reload.div_ceil(2)
    }

    /// The count after `elapsed` clocks; it wraps at `modulus`, which is 65536, or 10000 in BCD.
    pub(crate) fn count(self, elapsed: u64, modulus: u64) -> u64 {
        let count = match self.mode {
            Mode::Rate => self.reload - elapsed % self.reload,
            // by twos, twice a period, from an even number
            Mode::Square => {
                let into = elapsed % self.reload;
                let into_half = into.checked_sub(self.high_part()).unwrap_or(into);
                (self.reload & !1).saturating_sub(2 * into_half)
            }
            // goes on below 0
            _ => (self.reload + modulus - elapsed % modulus) % modulus,
        };
        count % modulus
    }

    /// The output after `elapsed` clocks.
    pub(crate) fn out(self, elapsed: u64) -> bool {
        match self.mode {
            Mode::TerminalCount | Mode::OneShot => elapsed >= self.reload,
            Mode::Rate => elapsed % self.reload != self.reload - 1,
            Mode::Square => elapsed % self.reload < self.high_part(),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != self.reload,
        }
    }

    /// How often the output has risen.
    pub(crate) fn rises(self, elapsed: u64) -> u64 {
        match self.mode {
            Mode::TerminalCount | Mode::OneShot => u64::from(elapsed >= self.reload),
            // a square wave of one clock is always high
            Mode::Square if self.reload == 1 => 0,
            Mode::Rate | Mode::Square => elapsed / self.reload,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => u64::from(elapsed > self.reload),
        }
    }

    /// After how many clocks, more than `elapsed`, the output changes next in a way that an interrupt controller notices: a
    /// pulse of one clock does so at its end.
    pub(crate) fn next_change(self, elapsed: u64) -> Option<u64> {
        let period = elapsed - elapsed % self.reload;
        match self.mode {
            Mode::TerminalCount | Mode::OneShot => (elapsed < self.reload).then_some(self.reload),
            Mode::Rate => Some(period + self.reload),
            Mode::Square if self.reload == 1 => None,
            Mode::Square => {
                let falls = period + self.high_part();
                Some(if elapsed < falls { falls } else { period + self.reload })
            }
            Mode::SoftwareStrobe | Mode::HardwareStrobe => {
                (elapsed <= self.reload).then_some(self.reload + 1)
            }
        }
    }
}
