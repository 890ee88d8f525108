//! Fields of a sentence by number: what cannot be read is `None`.

use crate::units::{Course, Date, Position, TimeOfDay};

/// The sentences read here have at most 18 fields; what comes after is nobody's.
const MAX_FIELDS: usize = 24;

/// The fields between address and checksum, numbered from 1 as the standard does.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    fields: [&'a str; MAX_FIELDS],
    /// How many there are.
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

    /// How many fields there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Field `number`; empty if it is not there.
    pub(super) fn get(&self, number: usize) -> &'a str {
        self.fields.get(number - 1).copied().unwrap_or("")
    }

    /// A decimal number. `nan`, `inf` and `1e5`, which Rust would take, are none (NMEA 0183 §5.2.2).
    pub(super) fn number(&self, number: usize) -> Option<f64> {
        let field = self.get(number);
        let digits = field.strip_prefix(['-', '+']).unwrap_or(field);
        let decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        decimal.then(|| field.parse().ok())?
    }

    /// A count, 0..=99.
    pub(super) fn count(&self, number: usize) -> Option<u8> {
        let field = self.get(number);
        let digits =
            (1..=3).contains(&field.len()) && field.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| field.parse().ok())?.filter(|count| *count <= 99)
    }

    /// Degrees true.
    pub(super) fn course(&self, number: usize) -> Option<Course> {
        Course::from_degrees(self.number(number)?)
    }

    /// `hhmmss.sss`; digits beyond the millisecond are cut off.
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

    /// `ddmmyy`.
    pub(super) fn short_date(&self, number: usize) -> Option<ShortDate> {
        let [day, month, year_of_century] = digit_pairs(self.get(number))?;
        // A leap year has every day that a century can have: 29 February is judged when the century is known.
        let date = ShortDate { year_of_century, month, day };
        ShortDate { year_of_century: 0, ..date }.in_century(20).map(|_| date)
    }

    /// Four fields from `first` on: latitude `ddmm.mmm`, `N` or `S`, longitude `dddmm.mmm`, `E` or `W`.
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

/// A date as `RMC` has it: the century is for the reader to know.
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
    /// The day in `century` (the first two digits of the year); `None` if it has no such day.
    #[must_use]
    pub fn in_century(self, century: i32) -> Option<Date> {
        let year = century * 100 + i32::from(self.year_of_century);
        Date::new(year, u32::from(self.month), u32::from(self.day))
    }
}

/// Six digits as three numbers.
fn digit_pairs(text: &str) -> Option<[u8; 3]> {
    let [a, b, c, d, e, f] = <[u8; 6]>::try_from(text.as_bytes()).ok()?;
    let pair = |tens: u8, ones: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| (tens - b'0') * 10 + (ones - b'0'))
    };
    Some([pair(a, b)?, pair(c, d)?, pair(e, f)?])
}
