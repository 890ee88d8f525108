//! Typed access to the fields of a sentence by number. Unreadable fields are `None`.

use waypost_model::units::{Course, Date, Position, TimeOfDay};

/// Maximum number of stored fields. The parsed sentences have at most 18; further fields are
/// ignored.
const MAX_FIELDS: usize = 24;

/// The fields between address and checksum, numbered from 1 as in the standard.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    fields: [&'a str; MAX_FIELDS],
    /// Number of fields, including those beyond `MAX_FIELDS`.
    len: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(data: &'a str) -> Self {
        let mut fields = [""; MAX_FIELDS];
        for (slot, field) in fields.iter_mut().zip(data.split(',')) {
            *slot = field.trim();
        }
        Self { fields, len: data.split(',').count() }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns field `number`, or an empty string if it is absent.
    pub(super) fn get(&self, number: usize) -> &'a str {
        self.fields.get(number - 1).copied().unwrap_or("")
    }

    /// Parses a decimal number. `nan`, `inf` and `1e5`, which Rust accepts, are rejected (NMEA 0183
    /// §5.2.2).
    pub(super) fn number(&self, number: usize) -> Option<f64> {
        let field = self.get(number);
        let digits = field.strip_prefix(['-', '+']).unwrap_or(field);
        let decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        decimal.then(|| field.parse().ok())?
    }

    /// Parses a count, 0..=99.
    pub(super) fn count(&self, number: usize) -> Option<u8> {
        let field = self.get(number);
        let digits =
            (1..=3).contains(&field.len()) && field.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| field.parse().ok())?.filter(|count| *count <= 99)
    }

    /// Parses a course in degrees true.
    pub(super) fn course(&self, number: usize) -> Option<Course> {
        Course::from_degrees(self.number(number)?)
    }

    /// Parses `hhmmss.sss`. Digits beyond the millisecond are truncated.
    pub(super) fn time(&self, number: usize) -> Option<TimeOfDay> {
        let (whole, fraction) = self.get(number).split_once('.').unwrap_or((self.get(number), ""));
        let [hour, minute, second] = digit_pairs(whole)?;
        let fraction = fraction.get(..3).unwrap_or(fraction);
        let millisecond = match fraction.len() {
            0 => 0,
            len if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
                fraction.parse::<u32>().ok()? * 10_u32.pow(3 - u32::try_from(len).ok()?)
            }
            _ => return None,
        };
        TimeOfDay::new(u32::from(hour), u32::from(minute), u32::from(second), millisecond)
    }

    /// Parses `ddmmyy`.
    pub(super) fn short_date(&self, number: usize) -> Option<ShortDate> {
        let [day, month, year_of_century] = digit_pairs(self.get(number))?;
        // Validated against a leap year. 29 February is checked again once the century is known.
        let date = ShortDate { year_of_century, month, day };
        ShortDate { year_of_century: 0, ..date }.in_century(20).map(|_| date)
    }

    /// Parses four fields from `first`: latitude `ddmm.mmm`, `N` or `S`, longitude `dddmm.mmm`, `E`
    /// or `W`.
    pub(super) fn position(&self, first: usize) -> Option<Position> {
        let lat = self.angle(first, "N", "S")?;
        let lon = self.angle(first + 2, "E", "W")?;
        Position::from_degrees(lat, lon)
    }

    fn angle(&self, number: usize, positive: &str, negative: &str) -> Option<f64> {
        let packed = self.number(number).filter(|packed| *packed >= 0.0)?;
        let degrees = (packed / 100.0).floor();
        let minutes = packed - degrees * 100.0;
        let angle = (minutes < 60.0).then(|| degrees + minutes / 60.0)?;
        match self.get(number + 1) {
            side if side == positive => Some(angle),
            side if side == negative => Some(-angle),
            _ => None,
        }
    }
}

/// A date without its century, as in `RMC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortDate {
    /// 0..=99.
    pub year_of_century: u8,
    /// 1..=12.
    pub month: u8,
    /// 1..=31.
    pub day: u8,
}

impl ShortDate {
    /// The date in `century` (the first two digits of the year); `None` if it does not exist.
    #[must_use]
    pub fn in_century(self, century: i32) -> Option<Date> {
        let year = century * 100 + i32::from(self.year_of_century);
        Date::new(year, u32::from(self.month), u32::from(self.day))
    }
}

/// Parses six digits as three two-digit numbers.
fn digit_pairs(text: &str) -> Option<[u8; 3]> {
    let [a, b, c, d, e, f] = <[u8; 6]>::try_from(text.as_bytes()).ok()?;
    let pair = |tens: u8, ones: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| (tens - b'0') * 10 + (ones - b'0'))
    };
    Some([pair(a, b)?, pair(c, d)?, pair(e, f)?])
}
