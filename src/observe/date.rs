//! Dates in the formats of HTTP and of logs.
//!
//! The problem: a gateway adds `Date` to a response without one (RFC 9110 §6.6.1), and access lines carry a time, but
//! std has no calendar. The civil-from-days algorithm (Howard Hinnant, "chrono-compatible low-level date algorithms")
//! is ten lines, which is less than a dependency costs.
//!
//! Not here: deadlines. Those are `Instant`s, which never go backwards.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01 was a Thursday
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time in UTC, to the millisecond, as calendar fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u64,
    month: u64,
    day: u64,
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

impl Date {
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    fn from_unix(since: Duration) -> Self {
        let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // The year is counted from March, so that the leap day is its last day.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            weekday: days % 7,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            millisecond: since.subsec_millis(),
        }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`: the IMF-fixdate of RFC 9110 §5.6.7, for field values.
    pub fn imf(self) -> Imf {
        Imf(self)
    }

    /// `06/Nov/1994:08:49:37 +0000`: Apache's combined log format, between its brackets.
    pub fn apache(self) -> Apache {
        Apache(self)
    }

    /// `1994-11-06T08:49:37.123Z` (RFC 3339), for everything else.
    pub fn iso(self) -> Iso {
        Iso(self)
    }
}

impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        // A clock set before 1970 gives 1970: a wrong date is better than a proxy that stops.
        Self::from_unix(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

/// See [`Date::imf`].
pub struct Imf(Date);
/// See [`Date::apache`].
pub struct Apache(Date);
/// See [`Date::iso`].
pub struct Iso(Date);

impl fmt::Display for Imf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, day, hour, minute, second, .. } = self.0;
        let (weekday, month) = (DAYS[self.0.weekday as usize], MONTHS[self.0.month as usize - 1]);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

impl fmt::Display for Apache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, day, hour, minute, second, .. } = self.0;
        let month = MONTHS[self.0.month as usize - 1];
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day, hour, minute, second, millisecond, .. } = self.0;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, imf) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // the example of RFC 9110
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), // 2100 has no leap day
        ] {
            assert_eq!(Date::from_unix(Duration::from_secs(seconds)).imf().to_string(), imf);
        }
        let date = Date::from_unix(Duration::from_millis(784_111_777_042));
        assert_eq!(date.apache().to_string(), "06/Nov/1994:08:49:37 +0000");
        assert_eq!(date.iso().to_string(), "1994-11-06T08:49:37.042Z");
    }

    #[test]
    fn days_follow_each_other() {
        let mut before = Date::from_unix(Duration::ZERO);
        for day in 1..200_000 {
            let date = Date::from_unix(Duration::from_secs(day * 86_400));
            let next_day = date.day == before.day + 1 && date.month == before.month;
            let next_month = date.day == 1 && before.day >= 28 && date.month == before.month % 12 + 1;
            assert!(next_day || next_month, "{before:?} is followed by {date:?}");
            assert_eq!(date.weekday, (before.weekday + 1) % 7);
            before = date;
        }
    }
}
