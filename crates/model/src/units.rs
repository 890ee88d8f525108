//! Measured quantities as types. Constructors reject NaN, infinities and impossible values, so
//! later code needs no checks.
//!
//! Each quantity is stored as an integer with a fixed resolution, finer than any receiver reports.
//! Values therefore compare exactly, delta encoding is lossless, and x86-64 and aarch64 produce the
//! same bytes.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

/// Monotonic time since the start of the agent or of a recording. Not a date.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Uptime(Duration);

impl Uptime {
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Creates the time `since_start` after the start.
    #[must_use]
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Creates the time `ms` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Duration since the start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Duration since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Uptime {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// A UTC instant in milliseconds since 1970. It is always receiver time, never host time.
///
/// The 61st second of a leap second is the first of the next minute, as in POSIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct UtcTime(i64);

impl TryFrom<i64> for UtcTime {
    type Error = &'static str;

    fn try_from(ms: i64) -> Result<Self, Self::Error> {
        Self::from_unix_ms(ms).ok_or("an instant outside the years 1..=9999")
    }
}

impl From<UtcTime> for i64 {
    fn from(time: UtcTime) -> Self {
        time.0
    }
}

impl UtcTime {
    /// Creates an instant from milliseconds since 1970-01-01T00:00:00Z; `None` outside the years
    /// 1..=9999, which RFC 3339 cannot represent.
    #[must_use]
    pub fn from_unix_ms(ms: i64) -> Option<Self> {
        let year = DateTime::from_timestamp_millis(ms)?.year();
        (1..=9999).contains(&year).then_some(Self(ms))
    }

    /// Combines a date and a time of day.
    #[must_use]
    pub fn new(date: Date, time: TimeOfDay) -> Option<Self> {
        let midnight = date.0.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
        Self::from_unix_ms(midnight + i64::from(time.as_millis()))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_unix_ms(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 in UTC, such as `2026-11-22T09:41:07.000Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Self::from_unix_ms(time.timestamp_millis())
    }

    #[must_use]
    pub fn date(self) -> Date {
        Date(self.to_naive().date())
    }

    #[must_use]
    pub fn time_of_day(self) -> TimeOfDay {
        let ms = self.0.rem_euclid(i64::from(TimeOfDay::DAY_MS));
        TimeOfDay(u32::try_from(ms).expect("less than a day"))
    }

    /// `later` after this instant; `None` past the year 9999.
    #[must_use]
    pub fn checked_add(self, later: Duration) -> Option<Self> {
        let ms = i64::try_from(later.as_millis()).ok()?;
        Self::from_unix_ms(self.0.checked_add(ms)?)
    }

    /// `earlier` before this instant; `None` before the year 1.
    #[must_use]
    pub fn checked_sub(self, earlier: Duration) -> Option<Self> {
        let ms = i64::try_from(earlier.as_millis()).ok()?;
        Self::from_unix_ms(self.0.checked_sub(ms)?)
    }

    /// Milliseconds from `other` to this instant; negative if `other` is later.
    #[must_use]
    pub const fn millis_since(self, other: Self) -> i64 {
        self.0 - other.0
    }

    fn to_naive(self) -> NaiveDateTime {
        DateTime::from_timestamp_millis(self.0)
            .expect("the constructor checked the year")
            .naive_utc()
    }
}

/// RFC 3339 with milliseconds: `2026-11-22T09:41:07.000Z`.
impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_naive().and_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A Gregorian calendar date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(NaiveDate);

impl Date {
    /// Creates a date; `None` if the day does not exist or the year is outside 1..=9999.
    #[must_use]
    pub const fn new(year: i32, month: u32, day: u32) -> Option<Self> {
        match NaiveDate::from_ymd_opt(year, month, day) {
            Some(date) if 1 <= year && year <= 9999 => Some(Self(date)),
            _ => None,
        }
    }

    /// Parses `YYYY-MM-DD`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let date: NaiveDate = text.parse().ok()?;
        Self::new(date.year(), date.month(), date.day())
    }

    /// The Gregorian year, 1..=9999.
    #[must_use]
    pub fn year(self) -> i32 {
        self.0.year()
    }

    /// The month, 1..=12.
    #[must_use]
    pub fn month(self) -> u32 {
        self.0.month()
    }

    /// The day of the month, 1..=31.
    #[must_use]
    pub fn day(self) -> u32 {
        self.0.day()
    }

    /// This day plus `days`, which may be negative; `None` outside the years 1..=9999.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Option<Self> {
        let date = self.0.checked_add_signed(chrono::TimeDelta::try_days(days)?)?;
        Self::new(date.year(), date.month(), date.day())
    }

    /// Days from `other` to this day; negative if `other` is later.
    #[must_use]
    pub fn days_since(self, other: Self) -> i64 {
        (self.0 - other.0).num_days()
    }
}

/// `YYYY-MM-DD`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// UTC time of day in milliseconds, including the 61st second of a leap second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// Milliseconds of a day without a leap second.
    pub const DAY_MS: u32 = 86_400_000;

    /// Creates a time; `None` unless hour ≤ 23, minute ≤ 59, millisecond ≤ 999 and second ≤ 59, or
    /// 60 at 23:59 (ITU-R TF.460 leap second).
    #[must_use]
    pub fn new(hour: u32, minute: u32, second: u32, millisecond: u32) -> Option<Self> {
        let leap = second == 60 && hour == 23 && minute == 59;
        let valid = hour <= 23 && minute <= 59 && (second <= 59 || leap) && millisecond <= 999;
        valid.then(|| Self(((hour * 60 + minute) * 60 + second) * 1000 + millisecond))
    }

    /// Milliseconds since midnight, below 86,401,000.
    #[must_use]
    pub const fn as_millis(self) -> u32 {
        self.0
    }

    /// Milliseconds from `earlier` to this time, by the shorter way around midnight:
    /// −43,200,000..=43,200,000.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        let day = i64::from(Self::DAY_MS);
        let forward = (i64::from(self.0) - i64::from(earlier.0)).rem_euclid(day);
        if forward > day / 2 { forward - day } else { forward }
    }
}

/// Mean radius of the Earth in metres (IUGG).
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Length of a degree of latitude on a sphere of that radius, in metres.
pub const METRES_PER_DEGREE: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

/// Latitude and longitude, WGS 84. The resolution is 1e-9 degrees (0.1 mm), as RTK receivers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    lat_e9: i64,
    lon_e9: i64,
}

impl Position {
    /// Degrees, north and east positive; `None` unless −90..=90 and −180..=180.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    pub fn from_degrees(lat: f64, lon: f64) -> Option<Self> {
        let valid = (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon);
        valid.then(|| Self {
            lat_e9: (lat * 1e9).round() as i64,
            lon_e9: (lon * 1e9).round() as i64,
        })
    }

    /// Billionths of a degree, north positive.
    #[must_use]
    pub const fn lat_e9(self) -> i64 {
        self.lat_e9
    }

    /// Billionths of a degree, east positive.
    #[must_use]
    pub const fn lon_e9(self) -> i64 {
        self.lon_e9
    }

    /// Degrees, north positive.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "1.8e11 is exact in 53 bits")]
    pub fn lat_deg(self) -> f64 {
        self.lat_e9 as f64 / 1e9
    }

    /// Degrees, east positive.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "1.8e11 is exact in 53 bits")]
    pub fn lon_deg(self) -> f64 {
        self.lon_e9 as f64 / 1e9
    }

    /// Rounds to five decimals of a degree, the wire precision.
    #[must_use]
    pub const fn rounded_to_1e5(self) -> Self {
        const STEP: i64 = 10_000;
        const fn round(e9: i64) -> i64 {
            (e9 + STEP / 2).div_euclid(STEP) * STEP
        }
        Self { lat_e9: round(self.lat_e9), lon_e9: round(self.lon_e9) }
    }

    /// Whether this is exactly 0° N 0° E, which receivers without a fix write. No street is there.
    #[must_use]
    pub const fn is_null_island(self) -> bool {
        self.lat_e9 == 0 && self.lon_e9 == 0
    }

    /// Offset from here to `other` in metres east and north, on a plane that touches the globe
    /// between the two. It is exact to millimetres within 1 to 2 km. It uses no platform-specific
    /// math functions, so all platforms give the same bytes.
    #[must_use]
    pub fn offset_m(self, other: Self) -> [f64; 2] {
        let (from, to) = (self.lat_deg(), other.lat_deg());
        let mut east_deg = other.lon_deg() - self.lon_deg();
        if east_deg.abs() > 180.0 {
            east_deg -= 360.0_f64.copysign(east_deg);
        }
        let east_m = east_deg * cosine(f64::midpoint(from, to)) * METRES_PER_DEGREE;
        [east_m, (to - from) * METRES_PER_DEGREE]
    }

    /// Great-circle distance on a sphere of the mean radius (haversine). The error is within 0.6 % of
    /// the ellipsoid.
    #[must_use]
    pub fn distance_to(self, other: Self) -> Distance {
        let (from, to) = (self.lat_deg().to_radians(), other.lat_deg().to_radians());
        let half_lat = (to - from) / 2.0;
        let half_lon = (other.lon_deg() - self.lon_deg()).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + from.cos() * to.cos() * half_lon.sin().powi(2);
        let metres = 2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin();
        Distance::from_metres(metres).expect("at most half the circumference")
    }
}

/// Cosine of −90..=90 degrees by its Taylor series, accurate to 1e-10.
fn cosine(degrees: f64) -> f64 {
    let x2 = degrees.to_radians() * degrees.to_radians();
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..=9 {
        term *= -x2 / f64::from((2 * n - 1) * (2 * n));
        sum += term;
    }
    sum
}

/// Speed over ground, with a resolution of 1 mm/s.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Speed(u32);

impl Speed {
    /// gpsd's limit in m/s: a higher value is a corrupted field (`gpsd_error_model`).
    const MAX_MPS: f64 = 9999.9;

    /// Metres per second; `None` unless 0..=9999.9.
    #[must_use]
    pub fn from_mps(mps: f64) -> Option<Self> {
        (0.0..=Self::MAX_MPS).contains(&mps).then(|| Self(rounded_u32(mps * 1000.0)))
    }

    /// International knots (1852 m/h); `None` as in [`Self::from_mps`].
    #[must_use]
    pub fn from_knots(knots: f64) -> Option<Self> {
        Self::from_mps(knots * (1852.0 / 3600.0))
    }

    /// Kilometres per hour; `None` as in [`Self::from_mps`].
    #[must_use]
    pub fn from_kmh(kmh: f64) -> Option<Self> {
        Self::from_mps(kmh / 3.6)
    }

    /// Millimetres per second.
    #[must_use]
    pub const fn as_mmps(self) -> u32 {
        self.0
    }

    /// Metres per second.
    #[must_use]
    pub fn as_mps(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// Course over ground in degrees true, with a resolution of 0.01°. Not the heading, which is the
/// direction of the nose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Course(u16);

impl Course {
    /// Degrees clockwise from true north; `None` unless 0..=360. 360 becomes 0.
    #[must_use]
    pub fn from_degrees(degrees: f64) -> Option<Self> {
        let valid = (0.0..=360.0).contains(&degrees);
        valid.then(|| {
            Self(u16::try_from(rounded_u32(degrees * 100.0) % 36_000).expect("below 36,000"))
        })
    }

    /// Degrees clockwise from true north, 0..360.
    #[must_use]
    pub fn as_degrees(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// A length along the ground, with a resolution of 1 mm.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Distance(u64);

impl Distance {
    /// Metres; `None` unless 0..=1e12.
    #[must_use]
    pub fn from_metres(metres: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        (0.0..=1e12).contains(&metres).then(|| Self((metres * 1000.0).round() as u64))
    }

    /// Metres.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "1e15 mm are exact in 53 bits")]
    pub fn as_metres(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Adds two lengths, saturating at the maximum.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A height, with a resolution of 1 cm. The field name states the reference: mean sea level or
/// ellipsoid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Height(i32);

impl Height {
    /// Metres; `None` unless −100,000..=1,000,000.
    #[must_use]
    pub fn from_metres(metres: f64) -> Option<Self> {
        (-100_000.0..=1_000_000.0).contains(&metres).then(|| Self(rounded_i32(metres * 100.0)))
    }

    /// Metres.
    #[must_use]
    pub fn as_metres(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Converts a height above a surface that itself lies at `surface`: the sum of both; `None` as
    /// in [`Self::from_metres`].
    #[must_use]
    pub fn offset_by(self, surface: Self) -> Option<Self> {
        Self::from_metres(self.as_metres() + surface.as_metres())
    }
}

/// Dilution of precision, with a resolution of 0.01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dop(u16);

impl Dop {
    /// Creates a factor; `None` unless 0.01..=89.99. Receivers write 0, 99.9 or 99.99 for
    /// "unknown".
    #[must_use]
    pub fn new(dop: f64) -> Option<Self> {
        let valid = (0.01..=89.99).contains(&dop);
        valid.then(|| Self(u16::try_from(rounded_u32(dop * 100.0)).expect("below 9,000")))
    }

    /// Returns whether a factor is above every usable value. Receivers write 99.9 or 99.99 for a
    /// geometry that they cannot use.
    #[must_use]
    pub fn is_out_of_range(dop: f64) -> bool {
        dop > 89.99
    }

    /// The dimensionless factor.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the callers checked the range")]
fn rounded_i32(value: f64) -> i32 {
    value.round() as i32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the callers checked the range"
)]
fn rounded_u32(value: f64) -> u32 {
    value.round() as u32
}

/// Earliest plausible date of a live receiver. It is advanced with each release.
pub const RELEASE_DATE: Date = match Date::new(2026, 11, 1) {
    Some(date) => date,
    None => panic!("the release date is valid"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_the_plane_is_that_on_the_globe() {
        for tenth in -900..=900 {
            let degrees = f64::from(tenth) / 10.0;
            assert!((cosine(degrees) - degrees.to_radians().cos()).abs() < 1e-10, "{degrees}");
        }
        for (lat, lon) in [(48.1, 11.5), (-33.9, 179.999), (69.6, -179.999), (0.0, 0.0)] {
            let here = Position::from_degrees(lat, lon).unwrap();
            let far_lon = lon + 0.008;
            let far_lon = if far_lon > 180.0 { far_lon - 360.0 } else { far_lon };
            let there = Position::from_degrees(lat + 0.006, far_lon).unwrap();
            let [east, north] = here.offset_m(there);
            let globe = here.distance_to(there).as_metres();
            assert!((east.hypot(north) - globe).abs() < 0.01, "{lat} {lon}: {globe}");
            assert!(east > 0.0 && north > 0.0);
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1e9] {
            assert_eq!(Speed::from_mps(bad), None, "{bad} m/s");
            assert_eq!(Course::from_degrees(bad), None, "{bad}°");
            assert_eq!(Position::from_degrees(bad.abs().max(90.1), 0.0), None, "{bad}° N");
            assert_eq!(Dop::new(bad), None, "DOP {bad}");
        }
        assert_eq!(Height::from_metres(f64::NAN), None);
        assert_eq!(Distance::from_metres(-1.0), None);
        assert_eq!(Dop::new(99.99), None, "99.99 means unknown");
    }

    #[test]
    fn north_is_one_direction_and_not_two() {
        assert_eq!(Course::from_degrees(360.0), Course::from_degrees(0.0));
        assert_eq!(Course::from_degrees(359.999), Course::from_degrees(0.0));
    }

    #[test]
    fn a_leap_second_is_legal_only_at_the_end_of_the_day() {
        assert!(TimeOfDay::new(23, 59, 60, 500).is_some());
        assert!(TimeOfDay::new(12, 0, 60, 0).is_none());
        let day = Date::new(2016, 12, 31).unwrap();
        let leap = UtcTime::new(day, TimeOfDay::new(23, 59, 60, 0).unwrap()).unwrap();
        assert_eq!(leap.to_string(), "2017-01-01T00:00:00.000Z");
    }

    #[test]
    fn times_are_compared_on_the_shorter_way_round_midnight() {
        let before = TimeOfDay::new(23, 59, 59, 0).unwrap();
        let after = TimeOfDay::new(0, 0, 1, 0).unwrap();
        assert_eq!(after.millis_since(before), 2000);
        assert_eq!(before.millis_since(after), -2000);
    }

    #[test]
    fn a_time_is_read_as_it_is_written() {
        let text = "2026-11-22T09:41:07.250Z";
        let time = UtcTime::parse(text).unwrap();
        assert_eq!(time.to_string(), text);
        assert_eq!(UtcTime::new(time.date(), time.time_of_day()), Some(time));
        assert_eq!(UtcTime::from_unix_ms(i64::MAX), None);
        assert_eq!(Date::new(2023, 2, 29), None);
    }

    #[test]
    fn a_degree_of_latitude_is_sixty_nautical_miles() {
        let from = Position::from_degrees(48.0, 11.0).unwrap();
        let to = Position::from_degrees(49.0, 11.0).unwrap();
        let metres = from.distance_to(to).as_metres();
        assert!((metres / (60.0 * 1852.0) - 1.0).abs() < 0.006, "{metres} m");
        let antipode = Position::from_degrees(-48.0, -169.0).unwrap();
        assert!((from.distance_to(antipode).as_metres() / 20_015_000.0 - 1.0).abs() < 0.001);
    }
}
