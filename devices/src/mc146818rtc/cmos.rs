//! The 128 bytes behind the index, and what they say about time.

use super::calendar::DateTime;
use super::registers::*;

/// To the hour, to the minute, and in the worst case to both once more on the next day.
const MOST_STEPS: u32 = 2 * (24 + 60 + 60);

/// Registers and RAM, by index. Bit 7 of an index does not count.
#[derive(Clone, Debug)]
pub(crate) struct Cmos([u8; SIZE]);

impl Cmos {
    /// As a board has it that was never written to: the time stands for nothing yet, 24-hour mode, BCD.
    pub(crate) fn new() -> Self {
        let mut cmos = Self([0; SIZE]);
        cmos.set(REG_A, DIVIDER_RUNS | 0x06);
        cmos.set(REG_B, B_24H);
        cmos.set(REG_D, D_VRT);
        cmos
    }

    /// As it was saved, if it has the right number of bytes.
    pub(crate) fn from_saved(bytes: Vec<u8>) -> Option<Self> {
        let mut cmos = Self(bytes.try_into().ok()?);
        cmos.set(REG_A, cmos.get(REG_A) & !A_UIP);
        cmos.set(REG_C, cmos.get(REG_C) & C_CAUSES);
        cmos.set(REG_D, D_VRT);
        Some(cmos)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub(crate) fn get(&self, index: u8) -> u8 {
        self.0.get(usize::from(index & INDEX_MASK)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.0.get_mut(usize::from(index & INDEX_MASK)) {
            *byte = value;
        }
    }

    pub(crate) fn has(&self, register: u8, bit: u8) -> bool {
        self.get(register) & bit != 0
    }

    /// The divider lets time pass.
    pub(crate) fn divider_runs(&self) -> bool {
        self.get(REG_A) & A_DIVIDER <= DIVIDER_RUNS
    }

    /// The time moves on each second.
    pub(crate) fn ticks(&self) -> bool {
        self.divider_runs() && !self.has(REG_B, B_SET)
    }

    /// Periods of 1/32768 s between two periodic interrupts, if there are any.
    pub(crate) fn period(&self) -> Option<u64> {
        let rate = match self.get(REG_A) & A_RATE {
            0 => return None,
            // these two are as slow as 8 and 9 with a crystal of 32768 Hz
            rate @ (1 | 2) => rate + 7,
            rate => rate,
        };
        self.has(REG_B, B_PIE).then_some(1 << (rate - 1))
    }

    fn encode(&self, value: i64) -> u8 {
        let value = if self.has(REG_B, B_DM) { value } else { 16 * (value / 10 % 10) + value % 10 };
        // all bytes that come here are below 256: centuries are below 100
        (value & 0xff) as u8
    }

    fn decode(&self, value: u8) -> i64 {
        let value = if self.has(REG_B, B_DM) { value } else { (value >> 4) * 10 + (value & 0x0f) };
        value.into()
    }

    fn encode_hour(&self, hour: i64) -> u8 {
        if self.has(REG_B, B_24H) {
            return self.encode(hour);
        }
        let of_twelve = self.encode((hour + 11) % 12 + 1);
        if hour >= 12 { of_twelve | PM } else { of_twelve }
    }

    fn decode_hour(&self, hour: u8) -> i64 {
        if self.has(REG_B, B_24H) {
            return self.decode(hour);
        }
        self.decode(hour & !PM) % 12 + if hour & PM != 0 { 12 } else { 0 }
    }

    /// Shows that time, in seconds since 1970. The century goes from 0 to 99.
    pub(crate) fn show(&mut self, seconds: i64) {
        let DateTime { year, month, day, hour, minute, second } = DateTime::from_seconds(seconds);
        let year = year.rem_euclid(10_000);
        let fields = [
            (SECONDS, second),
            (MINUTES, minute),
            (DAY_OF_WEEK, DateTime::weekday(seconds)),
            (DAY_OF_MONTH, day),
            (MONTH, month),
            (YEAR, year % 100),
            (CENTURY, year / 100),
        ];
        for (register, value) in fields {
            self.set(register, self.encode(value));
        }
        self.set(HOURS, self.encode_hour(hour));
    }

    /// The time that is shown, in seconds since 1970. What is in no calendar counts as what it comes to.
    pub(crate) fn shown(&self) -> i64 {
        let field = |register| self.decode(self.get(register));
        let time = DateTime {
            year: 100 * field(CENTURY) + field(YEAR),
            month: field(MONTH),
            day: field(DAY_OF_MONTH),
            hour: self.decode_hour(self.get(HOURS)),
            minute: field(MINUTES),
            second: field(SECONDS),
        };
        time.seconds()
    }

    /// The first second after `seconds` at which the alarm goes off. An alarm at a time that never comes does not.
    pub(crate) fn next_alarm(&self, seconds: i64) -> Option<i64> {
        let matches = |register, value| {
            let alarm = self.get(register);
            let alarm_value =
                if register == HOURS_ALARM { self.decode_hour(alarm) } else { self.decode(alarm) };
            alarm & DONT_CARE == DONT_CARE || alarm_value == value
        };
        let units = [(HOURS_ALARM, 3600, 24), (MINUTES_ALARM, 60, 60), (SECONDS_ALARM, 1, 60)];
        let mut next = seconds + 1;
        for _ in 0..MOST_STEPS {
            let differs = units
                .iter()
                .find(|(register, length, of)| !matches(*register, next.div_euclid(*length).rem_euclid(*of)));
            // to where the largest unit that is wrong changes
            let Some((_, length, _)) = differs else { return Some(next) };
            next = (next.div_euclid(*length) + 1) * length;
        }
        None
    }

    /// Forgets the time that is shown.
    pub(crate) fn blank(&mut self) {
        TIME.into_iter().for_each(|register| self.set(register, 0));
    }
}
