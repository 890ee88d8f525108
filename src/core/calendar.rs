//! Which day it is: the century that `RMC` leaves out, the week rollover that old receivers miss, and the days of
//! epochs that carry a time only.

use std::time::Duration;

use super::epoch::SaidDate;
use crate::units::{Date, TimeOfDay, Uptime, UtcTime};

/// After so long without a date the time of day could be that of two days.
const HALF_DAY: Duration = Duration::from_hours(12);

/// GPS counts weeks modulo 1024: a receiver that missed a rollover is wrong by whole eras (IS-GPS-200 §20.3.3.3.1.1).
const ERA_DAYS: i64 = 1024 * 7;

/// No van drives with this agent before this day. It is moved on with each release.
pub const RELEASED: Date = match Date::new(2026, 11, 1) {
    Some(date) => date,
    None => panic!("there is such a day"),
};

/// What is known of the date beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// A recording of unknown age: the receiver is believed.
    AsSaid,
    /// It cannot be earlier than this day, on which the agent was built: earlier dates are moved on by whole eras.
    NotBefore(Date),
    /// It cannot be later than this day (a recording's `# Date:`), time zones and a wrong calendar of a week allowed
    /// for: the last era before it is taken.
    NotAfter(Date),
}

impl Era {
    /// How much later than its own `# Date:` a recording may be.
    const SLACK_DAYS: i64 = 7;

    /// The day that was meant; `None` if there is no such day.
    #[must_use]
    pub fn resolve(self, said: SaidDate) -> Option<Date> {
        let date = match (said, self) {
            (SaidDate::Full(date), _) => date,
            (SaidDate::Short(short), Self::AsSaid) => {
                // gpsd's pivot: what is below 69 is in this century.
                short.in_century(if short.year_of_century < 69 { 20 } else { 19 })?
            }
            (SaidDate::Short(short), Self::NotBefore(day) | Self::NotAfter(day)) => (19..=21)
                .filter_map(|century| short.in_century(century))
                .min_by_key(|date| date.days_since(day).abs())?,
        };
        match self {
            Self::AsSaid => Some(date),
            Self::NotBefore(floor) => {
                let eras = (floor.days_since(date).max(0) + ERA_DAYS - 1) / ERA_DAYS;
                date.plus_days(eras * ERA_DAYS)
            }
            Self::NotAfter(day) => {
                let eras = (day.days_since(date) + Self::SLACK_DAYS).max(0) / ERA_DAYS;
                date.plus_days(eras * ERA_DAYS)
            }
        }
    }
}

/// Dates the epochs of one receiver.
#[derive(Debug)]
pub struct Calendar {
    era: Era,
    /// The newest epoch whose day is known.
    known: Option<(Date, TimeOfDay, Uptime)>,
}

impl Calendar {
    /// Knows no day yet.
    #[must_use]
    pub const fn new(era: Era) -> Self {
        Self { era, known: None }
    }

    /// The instant of an epoch that was read at `at`; `None` before the first date, and when the last one is too long ago
    /// to tell the day from the time.
    pub fn date(&mut self, said: Option<SaidDate>, time: TimeOfDay, at: Uptime) -> Option<UtcTime> {
        let date = match said.and_then(|said| self.era.resolve(said)) {
            Some(date) => date,
            None => self.continued(time, at)?,
        };
        self.known = Some((date, time, at));
        UtcTime::new(date, time)
    }

    /// The day of `time` if it is the one nearest to the newest known instant: midnight may pass before its date comes.
    fn continued(&self, time: TimeOfDay, at: Uptime) -> Option<Date> {
        let (date, known, _) =
            self.known.filter(|(_, _, known_at)| at.since(*known_at) < HALF_DAY)?;
        let half_day = i64::from(TimeOfDay::DAY_MS) / 2;
        let difference = i64::from(time.as_millis()) - i64::from(known.as_millis());
        match difference {
            later_day if later_day < -half_day => date.plus_days(1),
            earlier_day if earlier_day > half_day => date.plus_days(-1),
            _ => Some(date),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentence::ShortDate;
    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text).unwrap()
    }

    fn short(year_of_century: u8, month: u8, day: u8) -> SaidDate {
        SaidDate::Short(ShortDate { year_of_century, month, day })
    }

    #[test]
    fn a_missed_week_rollover_is_repaired_by_whole_eras() {
        let cases = [
            // A van in 2026: right, one era behind, two eras behind, and a receiver that counts from 1980.
            (Era::NotBefore(date("2026-11-01")), short(26, 11, 22), "2026-11-22"),
            (Era::NotBefore(date("2026-11-01")), short(7, 4, 8), "2026-11-22"),
            (Era::NotBefore(date("2026-11-01")), SaidDate::Full(date("1987-08-23")), "2026-11-22"),
            (Era::NotBefore(date("2026-11-01")), short(41, 1, 1), "2041-01-01"),
            // A recording says when it was made.
            (Era::NotAfter(date("2013-03-31")), short(13, 4, 1), "2013-04-01"),
            (Era::NotAfter(date("2019-05-01")), short(99, 8, 22), "2019-04-07"),
            (Era::NotAfter(date("1998-06-01")), short(98, 5, 31), "1998-05-31"),
            // A recording that says nothing is believed.
            (Era::AsSaid, short(99, 8, 22), "1999-08-22"),
            (Era::AsSaid, short(8, 2, 29), "2008-02-29"),
        ];
        for (era, said, expected) in cases {
            assert_eq!(era.resolve(said), Some(date(expected)), "{era:?} {said:?}");
        }
        assert_eq!(Era::AsSaid.resolve(short(7, 2, 29)), None, "2007 had no 29 February");
    }

    #[test]
    fn midnight_may_pass_before_its_date_comes() {
        let time = |hour, minute| TimeOfDay::new(hour, minute, 0, 0).unwrap();
        let mut calendar = Calendar::new(Era::AsSaid);
        let at = |hours: u64| Uptime::new(Duration::from_hours(hours));
        assert_eq!(calendar.date(None, time(12, 0), at(0)), None);
        let utc = |time: Option<UtcTime>| time.unwrap().to_string();
        assert_eq!(
            utc(calendar.date(Some(short(23, 12, 31)), time(23, 59), at(1))),
            "2023-12-31T23:59:00.000Z"
        );
        assert_eq!(utc(calendar.date(None, time(0, 1), at(1))), "2024-01-01T00:01:00.000Z");
        assert_eq!(utc(calendar.date(None, time(23, 58), at(1))), "2023-12-31T23:58:00.000Z");
        // The van stood under a roof for fourteen hours: 8 o'clock, of which day?
        assert_eq!(calendar.date(None, time(8, 0), at(15)), None);
    }
}
