//! Which time the clock starts with, and what it moves with.

use super::calendar::DateTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};
use tz::TimeZone;

const NANOS: i128 = 1_000_000_000;

/// The time when the machine starts: `utc`, `localtime`, or a date with or without a time of day. QEMU's `-rtc base=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Base {
    /// The host's time of day, UTC.
    #[default]
    Utc,
    /// The host's time of day in its time zone.
    Localtime,
    /// Always this moment, in seconds since 1970.
    Date(i64),
}

impl Base {
    /// Nanoseconds since 1970 when the machine starts.
    pub(crate) fn start(self) -> i128 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self {
            Self::Utc => now().as_nanos() as i128,
            Self::Localtime => {
                let now = now();
                let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
                now.as_nanos() as i128 + i128::from(offset_of_zone(seconds)) * NANOS
            }
            Self::Date(seconds) => i128::from(seconds) * NANOS,
        }
    }

    /// The time goes on while the machine is not there.
    pub(crate) fn follows_host(self) -> bool {
        !matches!(self, Self::Date(_))
    }
}

/// Seconds by which the host's time zone is ahead of UTC at that moment.
fn offset_of_zone(seconds: i64) -> i32 {
    let zone = TimeZone::local();
    let offset = zone.as_ref().map(|zone| zone.find_local_time_type(seconds).map(|found| found.ut_offset()));
    match offset {
        Ok(Ok(offset)) => offset,
        _ => {
            tracing::warn!("the host's time zone is not known: localtime is UTC");
            0
        }
    }
}

/// A time that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither `utc` nor `localtime` nor a date like `2006-06-17` or `2006-06-17T16:01:21`")]
pub struct BadBase(String);

impl FromStr for Base {
    type Err = BadBase;

    fn from_str(text: &str) -> Result<Self, BadBase> {
        match text {
            "utc" => Ok(Self::Utc),
            "localtime" => Ok(Self::Localtime),
            _ => date(text).map(|date| Self::Date(date.seconds())).ok_or_else(|| BadBase(text.to_owned())),
        }
    }
}

/// A date that exists.
fn date(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('T').unwrap_or((text, "0:0:0"));
    let [year, month, day] = three(date, '-')?;
    let [hour, minute, second] = three(time, ':')?;
    let date = DateTime { year, month, day, hour, minute, second };
    (year <= 9999 && DateTime::from_seconds(date.seconds()) == date).then_some(date)
}

fn three(text: &str, between: char) -> Option<[i64; 3]> {
    let number = |text: &str| {
        let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let numbers: Option<Vec<i64>> = text.split(between).map(number).collect();
    numbers?.try_into().ok()
}

impl TryFrom<String> for Base {
    type Error = BadBase;

    fn try_from(text: String) -> Result<Self, BadBase> {
        text.parse()
    }
}

impl From<Base> for String {
    fn from(base: Base) -> Self {
        base.to_string()
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utc => f.write_str("utc"),
            Self::Localtime => f.write_str("localtime"),
            Self::Date(seconds) => {
                let DateTime { year, month, day, hour, minute, second } = DateTime::from_seconds(*seconds);
                write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
            }
        }
    }
}

/// What the time moves with. QEMU's `-rtc clock=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The machine's clock: stepped by hand where that one is.
    #[default]
    Vm,
    /// The host's clock, also in a machine whose own is stepped by hand.
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_read_and_written_as_they_are_said() {
        for text in ["utc", "localtime", "2006-06-17T16:01:21", "0001-01-01T00:00:00"] {
            assert_eq!(text.parse::<Base>().unwrap().to_string(), text);
        }
        assert_eq!("2006-06-17".parse::<Base>().unwrap().to_string(), "2006-06-17T00:00:00");
        assert_eq!("1970-1-2".parse::<Base>().unwrap(), Base::Date(86_400));
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "",
            "host",
            "2023-02-29",
            "2006-13-01",
            "2006-06-17T24:00:00",
            "2006-06-17T16:01",
            "-1-1-1",
            "2006-06",
            "12345-01-01",
            "2006-06-17T16:01:21T",
            "2006-06-17 16:01:21",
            "+206-01-01",
        ] {
            let error = text.parse::<Base>().unwrap_err().to_string();
            assert!(error.contains("2006-06-17T16:01:21"), "{error}");
        }
    }

    #[test]
    fn local_time_is_less_than_a_day_from_utc() {
        let (utc, local) = (Base::Utc.start(), Base::Localtime.start());
        assert!((local - utc).abs() < 86_400 * NANOS);
        assert!(utc > 1_700_000_000 * NANOS, "and that one is the host's");
    }
}
