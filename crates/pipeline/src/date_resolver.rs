//! Resolves the date of epochs: the century that `RMC` omits, the week rollover that old receivers
//! miss, and epochs without a date.
//!
//! The host clock may be wrong by any amount: a gateway without a battery boots in 1970 or on the
//! day of its last shutdown. It is used only if its time of day agrees with the receiver's
//! within 5 s. A wrong clock agrees by chance once in 9,000 days. An agreeing host clock supplies
//! the date, even for a receiver that never sends one.

use std::time::Duration;

use super::epoch::{ReportedDate, ReportedDates};
use waypost_model::units::{Date, TimeOfDay, Uptime, UtcTime};

/// Maximum age of the last known date. After 12 h a time of day is ambiguous between two days.
const MAX_DATE_AGE: Duration = Duration::from_hours(12);

/// Maximum difference in ms between the time of day and the continuation of the last one, within
/// which the drive is continuous: the receiver's clock cannot have been set meanwhile.
const CONTINUITY_TOLERANCE_MS: i64 = 5_000;

/// Number of consecutive epochs with the same date after which a receiver is believed that
/// contradicts the date of the drive so far.
const CONTRADICTIONS: u32 = 30;

/// Time around midnight in ms within which a receiver's date may lag behind its time or lead.
const MIDNIGHT_MS: u32 = 10_000;

/// First day of GPS time: no receiver reports an earlier one.
const GPS_EPOCH: Date = Date::new(1980, 1, 6).expect("valid date");

/// Length of a GPS week era. Week numbers are modulo 1024, so a receiver that missed a rollover is
/// off by whole eras (IS-GPS-200 §20.3.3.3.1.1).
const ERA_DAYS: i64 = 1024 * 7;

/// Maximum difference in ms between the host's and the receiver's time of day at which the host
/// clock is trusted.
const HOST_CLOCK_TOLERANCE_MS: i64 = 5_000;

/// Prior knowledge of the date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateHint {
    /// Recording of unknown age: the receiver's date is used as reported.
    AsReported,
    /// Live receiver. Dates before this release day are moved forward by whole eras. Dates ten
    /// years or more after it are rejected as default dates of a cold receiver.
    NotBefore(Date),
    /// Recording with a `# Date:`. The last era up to that day is used, with a slack of a week for
    /// time zones and wrong clocks.
    NotAfter(Date),
}

impl DateHint {
    /// Maximum number of days by which a recording may postdate its `# Date:`.
    const SLACK_DAYS: i64 = 7;

    /// Ten years. Moved by whole eras, the first day of every era falls on 2038-11-21, beyond this
    /// horizon. This rejects the default dates of cold receivers (1980, 1999, 2019). An agent older
    /// than this needs a host clock that agrees with the receiver.
    const HORIZON_DAYS: i64 = 3653;

    /// Maximum distance in days from a recording's `# Date:` at which the first day of an era is
    /// accepted as a real date.
    const NEAR_DAYS: i64 = 30;

    /// Resolves a reported date. Returns `None` if the day does not exist or is the default date of
    /// a cold receiver.
    #[must_use]
    pub fn resolve(self, said: ReportedDate) -> Option<Date> {
        let date = self.with_century(said).filter(|date| date.days_since(GPS_EPOCH) >= 0)?;
        match self {
            Self::AsReported => Some(date),
            Self::NotBefore(floor) => {
                let eras = (floor.days_since(date).max(0) + ERA_DAYS - 1) / ERA_DAYS;
                let date = date.plus_days(eras * ERA_DAYS)?;
                Some(date).filter(|date| date.days_since(floor) < Self::HORIZON_DAYS)
            }
            Self::NotAfter(day) => {
                let eras = (day.days_since(date) + Self::SLACK_DAYS).max(0) / ERA_DAYS;
                let date = date.plus_days(eras * ERA_DAYS)?;
                let near = date.days_since(day).abs() <= Self::NEAR_DAYS;
                Some(date).filter(|date| eras == 0 || near || !is_rollover_date(*date))
            }
        }
    }

    fn with_century(self, said: ReportedDate) -> Option<Date> {
        Some(match (said, self) {
            (ReportedDate::Full(date), _) => date,
            (ReportedDate::Short(short), Self::AsReported) => {
                // No receiver reports a year before 1980.
                short.in_century(if short.year_of_century < 80 { 20 } else { 19 })?
            }
            (ReportedDate::Short(short), Self::NotBefore(day) | Self::NotAfter(day)) => (19..=21)
                .filter_map(|century| short.in_century(century))
                .min_by_key(|date| date.days_since(day).abs())?,
        })
    }
}

/// Whether `date` starts a GPS week era (the first on 1980-01-06). A receiver without a week number
/// counts from such a day.
fn is_rollover_date(date: Date) -> bool {
    (0..=1).contains(&date.days_since(GPS_EPOCH).rem_euclid(ERA_DAYS))
}

/// The receiver's clock is not set: it counts from the start of a week era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockNotSet;

/// Assigns dates to the epochs of one receiver.
#[derive(Debug)]
pub struct DateResolver {
    hint: DateHint,
    /// Newest epoch with a known date.
    last_dated: Option<(Date, TimeOfDay, Uptime)>,
    /// Last reading of the host clock and its time.
    host_clock: Option<(UtcTime, Uptime)>,
    /// Date that contradicts the drive so far, and the number of consecutive epochs that report it.
    contradiction: Option<(i64, u32)>,
}

impl DateResolver {
    #[must_use]
    pub const fn new(hint: DateHint) -> Self {
        Self { hint, last_dated: None, host_clock: None, contradiction: None }
    }

    /// Records the host clock's reading at `at`. It may be wrong.
    pub const fn observe_host_clock(&mut self, utc: UtcTime, at: Uptime) {
        self.host_clock = Some((utc, at));
    }

    /// Resolves the instant of an epoch read at `at`. Returns `None` before the first date, and if
    /// the last date is too old to infer the day.
    ///
    /// # Errors
    /// [`ClockNotSet`] if the reported day is a cold receiver's default: its time of day is wrong
    /// too.
    pub fn date(
        &mut self,
        said: ReportedDates,
        time: TimeOfDay,
        at: Uptime,
    ) -> Result<Option<UtcTime>, ClockNotSet> {
        let host = self.matching_host_time(time, at);
        let continued = self.extrapolate_date(time, at);
        let resolve = |said: Option<ReportedDate>| match (said?, host) {
            (said, Some(host)) => self.in_host_era(said, host),
            (said, None) => self.hint.resolve(said),
        };
        let (rmc, zda) = (resolve(said.rmc), resolve(said.zda));
        let reported = match (rmc, zda) {
            (Some(rmc), Some(zda)) if rmc != zda => {
                // One of the two is wrong: the drive so far decides, else an agreeing host clock.
                let known = continued.or_else(|| Some(host?.date()));
                Some(if known == Some(zda) { zda } else { rmc })
            }
            (rmc, zda) => rmc.or(zda),
        };
        if reported.is_none() && !said.is_empty() && host.is_none() {
            return Err(ClockNotSet);
        }
        let date = match (reported, continued) {
            (Some(reported), Some(continued)) => {
                Some(self.reconcile(reported, continued, (time, at), host))
            }
            _ => reported.or(continued).or_else(|| Some(host?.date())),
        };
        if let Some(date) = date {
            self.last_dated = Some((date, time, at));
        }
        Ok(date.and_then(|date| UtcTime::new(date, time)))
    }

    /// Decides between the reported date and the one that continues the drive.
    fn reconcile(
        &mut self,
        reported: Date,
        continued: Date,
        (time, at): (TimeOfDay, Uptime),
        host: Option<UtcTime>,
    ) -> Date {
        let days = reported.days_since(continued);
        if days == 0 || !self.is_continuous(time, at) {
            self.contradiction = None;
            return reported;
        }
        // Some receivers change their date some sentences before or after their time.
        let ms = time.as_millis();
        let is_midnight = !(MIDNIGHT_MS..TimeOfDay::DAY_MS - MIDNIGHT_MS).contains(&ms);
        if days.abs() == 1 && is_midnight {
            return continued;
        }
        // A host clock that has the receiver's time of day and the day of the drive has proved
        // right.
        if host.is_some_and(|host| host.date().days_since(continued) == 0) {
            return continued;
        }
        let count = match self.contradiction {
            Some((before, count)) if before == days => count + 1,
            _ => 1,
        };
        self.contradiction = Some((days, count));
        if count < CONTRADICTIONS {
            return continued;
        }
        self.contradiction = None;
        reported
    }

    /// Whether the time of day continues the last one, by the monotonic clock or, in a recording
    /// without pauses, by itself.
    fn is_continuous(&self, time: TimeOfDay, at: Uptime) -> bool {
        let Some((_, known, known_at)) = self.last_dated else { return false };
        let elapsed = i64::try_from(at.since(known_at).as_millis()).unwrap_or(i64::MAX);
        (time.millis_since(known) - elapsed).abs() <= CONTINUITY_TOLERANCE_MS
    }

    /// Assumes the recording's `# Date:` for a receiver that never sends one. Returns `false` if
    /// there is none.
    pub fn assume_date(&mut self, time: TimeOfDay, at: Uptime) -> bool {
        if let (None, DateHint::NotAfter(day)) = (self.last_dated, self.hint) {
            self.last_dated = Some((day, time, at));
        }
        self.extrapolate_date(time, at).is_some()
    }

    /// The host clock's instant, if its time of day matches the receiver's.
    fn matching_host_time(&self, time: TimeOfDay, at: Uptime) -> Option<UtcTime> {
        let (utc, noted_at) = self.host_clock?;
        let about = utc.checked_add(at.since(noted_at))?.checked_sub(noted_at.since(at))?;
        let utc = nearest(about, time)?;
        Some(utc).filter(|utc| utc.millis_since(about).abs() <= HOST_CLOCK_TOLERANCE_MS)
    }

    /// Moves the reported date by whole eras to the one nearest to a trusted host clock.
    fn in_host_era(&self, said: ReportedDate, host: UtcTime) -> Option<Date> {
        let date = self.hint.with_century(said)?;
        let days = host.date().days_since(date);
        let eras = (days + ERA_DAYS / 2).div_euclid(ERA_DAYS);
        let moved = date.plus_days(eras * ERA_DAYS)?;
        // More than a day apart: either of the two may be wrong, so the host clock is not used.
        let same = host.date().days_since(moved).abs() <= 1;
        if same { Some(moved) } else { self.hint.resolve(said) }
    }

    /// Infers the date of `time` as the day nearest to the newest known instant. Midnight may pass
    /// before the receiver sends its new date.
    fn extrapolate_date(&self, time: TimeOfDay, at: Uptime) -> Option<Date> {
        let (date, known, _) =
            self.last_dated.filter(|(_, _, data_as_of)| at.since(*data_as_of) < MAX_DATE_AGE)?;
        let half_day = i64::from(TimeOfDay::DAY_MS) / 2;
        let difference = i64::from(time.as_millis()) - i64::from(known.as_millis());
        match difference {
            later_day if later_day < -half_day => date.plus_days(1),
            earlier_day if earlier_day > half_day => date.plus_days(-1),
            _ => Some(date),
        }
    }
}

/// The instant with time of day `time` that is nearest to `about`.
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

    fn rmc(date: Option<ReportedDate>) -> ReportedDates {
        ReportedDates { rmc: date, zda: None }
    }

    fn short(year_of_century: u8, month: u8, day: u8) -> ReportedDate {
        ReportedDate::Short(ShortDate { year_of_century, month, day })
    }

    #[test]
    fn a_missed_week_rollover_is_repaired_by_whole_eras() {
        let cases = [
            // A van in 2026: correct, one era behind, two eras behind, and a receiver that counts
            // from 1980.
            (DateHint::NotBefore(date("2026-11-01")), short(26, 11, 22), "2026-11-22"),
            (DateHint::NotBefore(date("2026-11-01")), short(7, 4, 8), "2026-11-22"),
            (
                DateHint::NotBefore(date("2026-11-01")),
                ReportedDate::Full(date("1987-08-23")),
                "2026-11-22",
            ),
            (DateHint::NotBefore(date("2026-11-01")), short(36, 1, 1), "2036-01-01"),
            // A recording with a `# Date:`.
            (DateHint::NotAfter(date("2013-03-31")), short(13, 4, 1), "2013-04-01"),
            (DateHint::NotAfter(date("2019-05-01")), short(99, 8, 22), "2019-04-07"),
            (DateHint::NotAfter(date("1998-06-01")), short(98, 5, 31), "1998-05-31"),
            // A recording without one: the date is used as reported.
            (DateHint::AsReported, short(99, 8, 22), "1999-08-22"),
            (DateHint::AsReported, short(8, 2, 29), "2008-02-29"),
        ];
        for (era, said, expected) in cases {
            assert_eq!(era.resolve(said), Some(date(expected)), "{era:?} {said:?}");
        }
        assert_eq!(DateHint::AsReported.resolve(short(7, 2, 29)), None, "2007 had no 29 February");
    }

    #[test]
    fn what_a_cold_receiver_counts_from_is_no_date() {
        let van = DateHint::NotBefore(date("2026-11-01"));
        let recording = DateHint::NotAfter(date("2026-11-22"));
        for (era, cold) in [
            (van, "1980-01-06"),
            (van, "1999-08-22"),
            (van, "2019-04-07"),
            (recording, "1980-01-06"),
            (recording, "1999-08-22"),
        ] {
            assert_eq!(era.resolve(ReportedDate::Full(date(cold))), None, "{era:?} {cold}");
        }
        // A real drive on the rollover day.
        let rollover = DateHint::NotAfter(date("2019-05-01"));
        assert_eq!(rollover.resolve(short(19, 4, 7)), Some(date("2019-04-07")));
        // A recording from before the rollover: no era is added.
        let before = DateHint::NotAfter(date("2019-03-14"));
        assert_eq!(before.resolve(short(99, 8, 22)), Some(date("1999-08-22")));
    }

    #[test]
    fn a_host_clock_that_has_the_receivers_time_of_day_says_the_day_and_another_does_not() {
        let time = TimeOfDay::new(23, 59, 58, 0).unwrap();
        let at = |seconds: u64| Uptime::from_millis(seconds * 1000);
        let van = DateHint::NotBefore(date("2026-11-01"));
        // (host clock 60 s earlier, reported date, expected day)
        let cases = [
            ("2026-11-22T23:58:59.000Z", None, Some("2026-11-22")),
            ("2026-11-22T23:59:02.000Z", None, Some("2026-11-22")),
            ("2026-11-22T23:58:00.000Z", None, None),
            ("1970-01-01T00:00:10.000Z", None, None),
            // Twelve years after the release, with a receiver that is one era behind.
            ("2038-11-22T23:58:59.000Z", Some(short(19, 4, 8)), Some("2038-11-22")),
            ("2026-11-22T23:58:59.000Z", Some(short(7, 4, 8)), Some("2026-11-22")),
            // Right time of day on a wrong day: the receiver's date is used.
            ("2026-11-09T23:58:59.000Z", Some(short(26, 11, 22)), Some("2026-11-22")),
        ];
        for (host, said, expected) in cases {
            let mut calendar = DateResolver::new(van);
            calendar.observe_host_clock(UtcTime::parse(host).unwrap(), at(0));
            let utc = calendar.date(rmc(said), time, at(60)).unwrap();
            assert_eq!(utc.map(|utc| utc.date()), expected.map(date), "{host} {said:?}");
        }
    }

    #[test]
    fn a_recording_that_never_says_its_day_is_of_the_day_that_it_bears() {
        let (time, at) = (TimeOfDay::new(12, 0, 0, 0).unwrap(), Uptime::ZERO);
        let mut bears_one = DateResolver::new(DateHint::NotAfter(date("2026-11-22")));
        assert!(bears_one.assume_date(time, at));
        let utc = bears_one.date(rmc(None), time, at).unwrap().unwrap();
        assert_eq!(utc.to_string(), "2026-11-22T12:00:00.000Z");
        assert!(!DateResolver::new(DateHint::AsReported).assume_date(time, at));
    }

    #[test]
    fn midnight_may_pass_before_its_date_comes() {
        let time = |hour, minute| TimeOfDay::new(hour, minute, 0, 0).unwrap();
        let mut calendar = DateResolver::new(DateHint::AsReported);
        let at = |hours: u64| Uptime::new(Duration::from_hours(hours));
        assert_eq!(calendar.date(rmc(None), time(12, 0), at(0)), Ok(None));
        let utc = |time: Result<Option<UtcTime>, _>| time.unwrap().unwrap().to_string();
        assert_eq!(
            utc(calendar.date(rmc(Some(short(23, 12, 31))), time(23, 59), at(1))),
            "2023-12-31T23:59:00.000Z"
        );
        assert_eq!(utc(calendar.date(rmc(None), time(0, 1), at(1))), "2024-01-01T00:01:00.000Z");
        assert_eq!(utc(calendar.date(rmc(None), time(23, 58), at(1))), "2023-12-31T23:58:00.000Z");
        // After fourteen hours without a fix, the day of 8 o'clock is ambiguous.
        assert_eq!(calendar.date(rmc(None), time(8, 0), at(15)), Ok(None));
    }

    /// Dates each `(time, reported date of RMC, of ZDA)` one second after the other.
    fn dated(
        resolver: &mut DateResolver,
        epochs: &[(TimeOfDay, Option<ReportedDate>, Option<ReportedDate>)],
    ) -> Vec<String> {
        (0..)
            .zip(epochs)
            .map(|(second, (time, rmc, zda))| {
                let at = Uptime::from_millis(second * 1000);
                let utc = resolver.date(ReportedDates { rmc: *rmc, zda: *zda }, *time, at);
                utc.unwrap().map_or_else(String::new, |utc| utc.to_string()[..19].to_owned())
            })
            .collect()
    }

    fn time(hour: u32, minute: u32, second: u32) -> TimeOfDay {
        TimeOfDay::new(hour, minute, second, 0).unwrap()
    }

    #[test]
    fn a_date_that_lags_behind_at_midnight_takes_no_fix_back_by_a_day() {
        let (old, new) = (Some(short(26, 11, 30)), Some(short(26, 12, 1)));
        let epochs = [
            (time(23, 59, 58), old, None),
            (time(23, 59, 59), old, None),
            (time(0, 0, 0), old, None),
            (time(0, 0, 1), new, None),
        ];
        let expected = [
            "2026-11-30T23:59:58",
            "2026-11-30T23:59:59",
            "2026-12-01T00:00:00",
            "2026-12-01T00:00:01",
        ];
        assert_eq!(dated(&mut DateResolver::new(DateHint::AsReported), &epochs), expected);
        let early = [
            (time(23, 59, 58), old, None),
            (time(23, 59, 59), new, None),
            (time(0, 0, 0), new, None),
        ];
        let resolved = dated(&mut DateResolver::new(DateHint::AsReported), &early);
        assert_eq!(resolved, expected[..3]);
    }

    #[test]
    fn rmc_and_zda_that_disagree_are_decided_by_the_drive_or_by_an_agreeing_clock() {
        let (right, wrong) = (Some(short(26, 12, 1)), Some(ReportedDate::Full(date("2006-04-16"))));
        let noon = time(12, 0, 0);
        for (rmc, zda) in [(right, wrong), (wrong, right)] {
            let mut drive = DateResolver::new(DateHint::AsReported);
            let epochs = [(noon, right, None), (time(12, 0, 1), rmc, zda)];
            let expected = ["2026-12-01T12:00:00", "2026-12-01T12:00:01"];
            assert_eq!(dated(&mut drive, &epochs), expected);
            let mut clock = DateResolver::new(DateHint::AsReported);
            clock.observe_host_clock(UtcTime::parse("2026-12-01T12:00:01Z").unwrap(), Uptime::ZERO);
            assert_eq!(dated(&mut clock, &[(noon, rmc, zda)]), expected[..1]);
        }
    }

    #[test]
    fn a_wrong_date_in_the_middle_of_a_drive_is_not_believed_until_it_lasts() {
        let (right, wrong) = (Some(short(26, 12, 1)), Some(short(26, 3, 8)));
        let start = [(time(12, 0, 0), right, None)];
        let wrong: Vec<_> = (1..60).map(|second| (time(12, 0, second), wrong, None)).collect();
        let mut alone = DateResolver::new(DateHint::AsReported);
        let days = dated(&mut alone, &[&start[..], &wrong].concat());
        let right_days = days.iter().filter(|day| day.starts_with("2026-12-01")).count();
        assert_eq!(right_days, 30, "a receiver that corrects itself is believed in the end");
        let mut with_clock = DateResolver::new(DateHint::AsReported);
        with_clock
            .observe_host_clock(UtcTime::parse("2026-12-01T12:00:01Z").unwrap(), Uptime::ZERO);
        let days = dated(&mut with_clock, &[&start[..], &wrong].concat());
        assert!(days.iter().all(|day| day.starts_with("2026-12-01")), "{days:?}");
    }

    #[test]
    fn nothing_is_dated_before_1980_and_two_digits_are_a_short_date() {
        let hint = DateHint::AsReported;
        assert_eq!(hint.resolve(ReportedDate::Full(date("1979-12-31"))), None);
        assert_eq!(hint.resolve(short(79, 12, 31)), Some(date("2079-12-31")));
        assert_eq!(hint.resolve(short(26, 12, 1)), Some(date("2026-12-01")));
    }
}
