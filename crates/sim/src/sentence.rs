//! Formats NMEA fields and sentences (NMEA 0183 v4.11 §5.3), adds checksums, and corrupts some
//! sentences.

use super::random::{Random, Stream};
use waypost_model::units::{Date, Position, TimeOfDay};

/// Writes consecutive sentences.
#[derive(Debug)]
pub(super) struct SentenceWriter {
    random: Random,
    bad_share: f64,
}

impl SentenceWriter {
    pub(super) fn new(seed: u64, bad_share: f64) -> Self {
        Self { random: Random::new(seed, Stream::Line), bad_share }
    }

    /// Appends `$body*hh` and CR LF. A corrupted sentence has one wrong character between `$` and
    /// `*`.
    pub(super) fn write(&mut self, body: &str, out: &mut Vec<u8>) {
        let checksum = body.bytes().fold(0, |sum: u8, byte| sum ^ byte);
        let start = out.len() + 1;
        out.push(b'$');
        out.extend_from_slice(body.as_bytes());
        out.extend_from_slice(format!("*{checksum:02X}\r\n").as_bytes());
        if self.random.chance(self.bad_share) {
            let spoilt = &mut out[start + self.random.index(body.len())];
            // Flipping the lowest bit could turn `+` into `*`.
            *spoilt = if *spoilt == b'8' { b'9' } else { b'8' };
        }
    }
}

/// Formats `ddmm.mmmm,N,dddmm.mmmm,E`, rounded with integers.
pub(super) fn position(position: Position, decimals: u32) -> String {
    let latitude = angle(position.lat_e9(), 2, decimals);
    let longitude = angle(position.lon_e9(), 3, decimals);
    let north = if position.lat_e9() < 0 { 'S' } else { 'N' };
    let east = if position.lon_e9() < 0 { 'W' } else { 'E' };
    format!("{latitude},{north},{longitude},{east}")
}

fn angle(e9: i64, degree_digits: usize, decimals: u32) -> String {
    let scale = 10_u64.pow(decimals);
    let units = (e9.unsigned_abs() * 60 * scale + 500_000_000) / 1_000_000_000;
    let (degrees, rest) = (units / (60 * scale), units % (60 * scale));
    let (minutes, fraction) = (rest / scale, rest % scale);
    let digits = usize::try_from(decimals).expect("a few");
    format!("{degrees:0degree_digits$}{minutes:02}.{fraction:0digits$}")
}

/// Formats `hhmmss.sss`.
pub(super) fn time(time: TimeOfDay, decimals: usize) -> String {
    let ms = time.as_millis();
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let fraction = format!("{:03}", ms % 1000);
    format!("{hour:02}{minute:02}{second:02}.{}", &fraction[..decimals.min(3)])
}

/// Formats `ddmmyy`.
pub(super) fn date(date: Date) -> String {
    format!("{:02}{:02}{:02}", date.day(), date.month(), date.year().rem_euclid(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_never_reads_sixty() {
        let nearly = Position::from_degrees(-48.999_999_9, 9.999_999_9).unwrap();
        assert_eq!(position(nearly, 4), "4900.0000,S,01000.0000,E");
        let place = Position::from_degrees(48.123_456_7, -0.123_456_7).unwrap();
        assert_eq!(position(place, 5), "4807.40740,N,00007.40740,W");
    }

    #[test]
    fn the_checksum_is_the_standards() {
        let mut out = Vec::new();
        SentenceWriter::new(1, 0.0).write("GPGSV,1,1,00", &mut out);
        assert_eq!(out, b"$GPGSV,1,1,00*79\r\n", "as recorded from several receivers");
    }
}
