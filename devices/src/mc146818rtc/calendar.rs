//! Days, months and years.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A moment as a calendar has it. Fields may be out of their ranges: they count as what they come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DateTime {
    pub(crate) year: i64,
    /// January is 1.
    pub(crate) month: i64,
    /// From 1 on.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

impl DateTime {
    /// The moment that many seconds after the start of 1970, which may be before it. The calendar is the Gregorian one.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // years begin in March here, so that the day that comes and goes is their last
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = 400 * era + year_of_era + i64::from(month <= 2);
        Self { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 }
    }

    /// Seconds since the start of 1970.
    pub(crate) fn seconds(self) -> i64 {
        let months = 12 * self.year + self.month - 1;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
        let (year, month_from_march) = (year - i64::from(month < 2), (month + 10) % 12);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = 146_097 * era + day_of_era - 719_468;
        days * DAY + 3600 * self.hour + 60 * self.minute + self.second
    }

    /// The day of the week of that moment: Sunday is 1.
    pub(crate) fn weekday(seconds: i64) -> i64 {
        // 1970 began on a Thursday
        (seconds.div_euclid(DAY) + 4).rem_euclid(7) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i64, month: i64, day: i64) -> DateTime {
        DateTime { year, month, day, ..DateTime::default() }
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let mut days = date(1900, 1, 1).seconds() / DAY;
        let mut weekday = 2;
        for year in 1900..2700 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                for day in 1..=length {
                    let date = date(year, month, day);
                    assert_eq!(date.seconds(), days * DAY);
                    assert_eq!(DateTime::from_seconds(days * DAY), date);
                    assert_eq!(DateTime::weekday(days * DAY), weekday, "{date:?}");
                    days += 1;
                    weekday = weekday % 7 + 1;
                }
            }
        }
    }

    #[test]
    fn known_moments_are_the_seconds_that_posix_counts() {
        let moment = DateTime { hour: 23, minute: 31, second: 30, ..date(2009, 2, 13) };
        assert_eq!(moment.seconds(), 1_234_567_890);
        assert_eq!(DateTime::from_seconds(1_234_567_890), moment);
        assert_eq!(date(1970, 1, 1).seconds(), 0);
        assert_eq!(
            DateTime::from_seconds(-1),
            DateTime { hour: 23, minute: 59, second: 59, ..date(1969, 12, 31) }
        );
    }

    #[test]
    fn fields_beyond_their_ranges_carry_over() {
        let moment = DateTime { hour: 24, minute: 60, second: 75, ..date(2023, 14, 30) };
        assert_eq!(
            DateTime::from_seconds(moment.seconds()),
            DateTime { hour: 1, minute: 1, second: 15, ..date(2024, 3, 2) }
        );
        assert_eq!(date(2024, 0, 0).seconds(), date(2023, 11, 30).seconds());
    }
}
