//! Which day it is: the century that `RMC` leaves out, the week rollover that old receivers miss, and the days of
//! epochs that carry a time only.
//!
//! The host's clock may be wrong by any amount: a gateway without a battery boots in 1970, or on the day of its last
//! shutdown. It is believed only where it shows the same time of day as the receiver, within five seconds: a
//! clock that is wrong does so by chance once in 9,000 days. Then it says the day, also to a receiver that never does.

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

/// How far the host's clock and the receiver's may be apart and still be two clocks that are right.
const AGREES_WITHIN_MS: i64 = 5_000;

/// What is known of the date beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// A recording of unknown age: the receiver is believed.
    AsSaid,
    /// It cannot be earlier than this day, on which the agent was built: earlier dates are moved on by whole eras. Nor is
    /// it ten years later: what comes out there was no date, but what a cold receiver counts from.
    NotBefore(Date),
    /// It cannot be later than this day (a recording's `# Date:`), time zones and a wrong calendar of a week allowed
    /// for: the last era before it is taken.
    NotAfter(Date),
}

impl Era {
    /// How much later than its own `# Date:` a recording may be.
    const SLACK_DAYS: i64 = 7;

    /// Ten years. Every era begins on the same day, 2038-11-21 among them, so a cold receiver's 1980, 1999 or 2019 is
    /// beyond it. Whoever drives with a copy that is so old needs a host clock that agrees with the receiver.
    const HORIZON_DAYS: i64 = 3653;

    /// How far from its `# Date:` the first day of an era is still believed to be a day.
    const NEAR_DAYS: i64 = 30;

    /// The day that was meant; `None` if there is no such day, or if a cold receiver only counts from it.
    #[must_use]
    pub fn resolve(self, said: SaidDate) -> Option<Date> {
        let date = self.with_century(said)?;
        match self {
            Self::AsSaid => Some(date),
            Self::NotBefore(floor) => {
                let eras = (floor.days_since(date).max(0) + ERA_DAYS - 1) / ERA_DAYS;
                let date = date.plus_days(eras * ERA_DAYS)?;
                Some(date).filter(|date| date.days_since(floor) < Self::HORIZON_DAYS)
            }
            Self::NotAfter(day) => {
                let eras = (day.days_since(date) + Self::SLACK_DAYS).max(0) / ERA_DAYS;
                let date = date.plus_days(eras * ERA_DAYS)?;
                let near = date.days_since(day).abs() <= Self::NEAR_DAYS;
                Some(date).filter(|date| eras == 0 || near || !begins_an_era(*date))
            }
        }
    }

    fn with_century(self, said: SaidDate) -> Option<Date> {
        Some(match (said, self) {
            (SaidDate::Full(date), _) => date,
            (SaidDate::Short(short), Self::AsSaid) => {
                // gpsd's pivot: what is below 69 is in this century.
                short.in_century(if short.year_of_century < 69 { 20 } else { 19 })?
            }
            (SaidDate::Short(short), Self::NotBefore(day) | Self::NotAfter(day)) => (19..=21)
                .filter_map(|century| short.in_century(century))
                .min_by_key(|date| date.days_since(day).abs())?,
        })
    }
}

/// GPS time began on 1980-01-06; a receiver that does not know the week yet counts from the beginning of one.
fn begins_an_era(date: Date) -> bool {
    const GPS_EPOCH: Date = Date::new(1980, 1, 6).expect("there is such a day");
    (0..=1).contains(&date.days_since(GPS_EPOCH).rem_euclid(ERA_DAYS))
}

/// The receiver counts its days from a beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockNotSet;

/// Dates the epochs of one receiver.
#[derive(Debug)]
pub struct Calendar {
    era: Era,
    /// The newest epoch whose day is known.
    known: Option<(Date, TimeOfDay, Uptime)>,
    /// What the host's clock showed, and when.
    host: Option<(UtcTime, Uptime)>,
}

impl Calendar {
    /// Knows no day yet.
    #[must_use]
    pub const fn new(era: Era) -> Self {
        Self { era, known: None, host: None }
    }

    /// Notes what the host's clock shows at `at`. It may be wrong.
    pub const fn observe_host(&mut self, utc: UtcTime, at: Uptime) {
        self.host = Some((utc, at));
    }

    /// The instant of an epoch that was read at `at`; `None` before the first date, and when the last one is too long ago
    /// to tell the day from the time.
    ///
    /// # Errors
    /// The day that was said is none: then the receiver's clock is not set, and its time of day is no better.
    pub fn date(
        &mut self,
        said: Option<SaidDate>,
        time: TimeOfDay,
        at: Uptime,
    ) -> Result<Option<UtcTime>, ClockNotSet> {
        let host = self.agreeing_host(time, at);
        let said = match (said, host) {
            (Some(said), Some(host)) => self.in_host_era(said, host),
            (Some(said), None) => Some(self.era.resolve(said).ok_or(ClockNotSet)?),
            (None, _) => None,
        };
        let date = said.or_else(|| self.continued(time, at)).or_else(|| Some(host?.date()));
        if let Some(date) = date {
            self.known = Some((date, time, at));
        }
        Ok(date.and_then(|date| UtcTime::new(date, time)))
    }

    /// Lets the day of a recording that never says one be the day that it bears; false if it bears none.
    pub fn assume(&mut self, time: TimeOfDay, at: Uptime) -> bool {
        if let (None, Era::NotAfter(day)) = (self.known, self.era) {
            self.known = Some((day, time, at));
        }
        self.continued(time, at).is_some()
    }

    /// The host's idea of the instant, if it has the receiver's time of day.
    fn agreeing_host(&self, time: TimeOfDay, at: Uptime) -> Option<UtcTime> {
        let (utc, noted_at) = self.host?;
        let about = utc.checked_add(at.since(noted_at))?.checked_sub(noted_at.since(at))?;
        let utc = nearest(about, time)?;
        Some(utc).filter(|utc| utc.millis_since(about).abs() <= AGREES_WITHIN_MS)
    }

    /// The said day, moved by whole eras next to that of a host's clock that is right.
    fn in_host_era(&self, said: SaidDate, host: UtcTime) -> Option<Date> {
        let date = self.era.with_century(said)?;
        let days = host.date().days_since(date);
        let eras = (days + ERA_DAYS / 2).div_euclid(ERA_DAYS);
        let moved = date.plus_days(eras * ERA_DAYS)?;
        // Some days apart after all: one of the two is wrong, and it may be the host.
        let same = host.date().days_since(moved).abs() <= 1;
        if same { Some(moved) } else { self.era.resolve(said) }
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

/// The instant at `time` of some day that is nearest to `about`.
pub(super) fn nearest(about: UtcTime, time: TimeOfDay) -> Option<UtcTime> {
    let days = [-1, 0, 1].into_iter().filter_map(|days| about.date().plus_days(days));
    days.filter_map(|date| UtcTime::new(date, time)).min_by_key(|utc| utc.millis_since(about).abs())
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
            (Era::NotBefore(date("2026-11-01")), short(36, 1, 1), "2036-01-01"),
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
    fn what_a_cold_receiver_counts_from_is_no_date() {
        let van = Era::NotBefore(date("2026-11-01"));
        let recording = Era::NotAfter(date("2026-11-22"));
        for (era, cold) in [
            (van, "1980-01-06"),
            (van, "1999-08-22"),
            (van, "2019-04-07"),
            (recording, "1980-01-06"),
            (recording, "1999-08-22"),
        ] {
            assert_eq!(era.resolve(SaidDate::Full(date(cold))), None, "{era:?} {cold}");
        }
        // Somebody did drive on that day.
        let rollover = Era::NotAfter(date("2019-05-01"));
        assert_eq!(rollover.resolve(short(19, 4, 7)), Some(date("2019-04-07")));
        // A recording from before the rollover: whatever it is, no era is missing.
        let before = Era::NotAfter(date("2019-03-14"));
        assert_eq!(before.resolve(short(99, 8, 22)), Some(date("1999-08-22")));
    }

    #[test]
    fn a_host_clock_that_has_the_receivers_time_of_day_says_the_day_and_another_does_not() {
        let time = TimeOfDay::new(23, 59, 58, 0).unwrap();
        let at = |seconds: u64| Uptime::from_millis(seconds * 1000);
        let van = Era::NotBefore(date("2026-11-01"));
        // (what the host showed 60 s before, what the receiver says of the day, the day)
        let cases = [
            ("2026-11-22T23:58:59.000Z", None, Some("2026-11-22")),
            ("2026-11-22T23:59:02.000Z", None, Some("2026-11-22")),
            ("2026-11-22T23:58:00.000Z", None, None),
            ("1970-01-01T00:00:10.000Z", None, None),
            // Twelve years after the release, and a receiver that is one era behind.
            ("2038-11-22T23:58:59.000Z", Some(short(19, 4, 8)), Some("2038-11-22")),
            ("2026-11-22T23:58:59.000Z", Some(short(7, 4, 8)), Some("2026-11-22")),
            // The right time of a wrong day: the receiver is believed.
            ("2026-11-09T23:58:59.000Z", Some(short(26, 11, 22)), Some("2026-11-22")),
        ];
        for (host, said, expected) in cases {
            let mut calendar = Calendar::new(van);
            calendar.observe_host(UtcTime::parse(host).unwrap(), at(0));
            let utc = calendar.date(said, time, at(60)).unwrap();
            assert_eq!(utc.map(|utc| utc.date()), expected.map(date), "{host} {said:?}");
        }
    }

    #[test]
    fn a_recording_that_never_says_its_day_is_of_the_day_that_it_bears() {
        let (time, at) = (TimeOfDay::new(12, 0, 0, 0).unwrap(), Uptime::ZERO);
        let mut bears_one = Calendar::new(Era::NotAfter(date("2026-11-22")));
        assert!(bears_one.assume(time, at));
        let utc = bears_one.date(None, time, at).unwrap().unwrap();
        assert_eq!(utc.to_string(), "2026-11-22T12:00:00.000Z");
        assert!(!Calendar::new(Era::AsSaid).assume(time, at));
    }

    #[test]
    fn midnight_may_pass_before_its_date_comes() {
        let time = |hour, minute| TimeOfDay::new(hour, minute, 0, 0).unwrap();
        let mut calendar = Calendar::new(Era::AsSaid);
        let at = |hours: u64| Uptime::new(Duration::from_hours(hours));
        assert_eq!(calendar.date(None, time(12, 0), at(0)), Ok(None));
        let utc = |time: Result<Option<UtcTime>, _>| time.unwrap().unwrap().to_string();
        assert_eq!(
            utc(calendar.date(Some(short(23, 12, 31)), time(23, 59), at(1))),
            "2023-12-31T23:59:00.000Z"
        );
        assert_eq!(utc(calendar.date(None, time(0, 1), at(1))), "2024-01-01T00:01:00.000Z");
        assert_eq!(utc(calendar.date(None, time(23, 58), at(1))), "2023-12-31T23:58:00.000Z");
        // The van stood under a roof for fourteen hours: 8 o'clock, of which day?
        assert_eq!(calendar.date(None, time(8, 0), at(15)), Ok(None));
    }
}
