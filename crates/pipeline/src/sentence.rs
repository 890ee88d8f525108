//! Parses NMEA lines into typed sentences.
//!
//! The `nmea` crate splits the envelope. The fix sentences are parsed here, because real receivers
//! omit, add and misformat fields. An absent or invalid optional field is `None` and does not
//! discard the sentence. Field numbers follow NMEA 0183 v4.11.

use std::fmt;

use nmea::SentenceType;

use super::constellation::{Constellation, Constellations};
use super::fields::Fields;
pub use super::fields::ShortDate;
use super::receiver_messages::{BoundedText, Txt};
use waypost_model::fix::FixQuality;
use waypost_model::units::{Course, Date, Distance, Dop, Height, Position, Speed, TimeOfDay};

/// Maximum time difference in ms within one epoch (gpsd's tolerance for a reporting cycle).
pub const SAME_INSTANT_MS: i64 = 10;

/// Talker and formatter, such as `GNRMC`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SentenceId([u8; 5]);

impl fmt::Debug for SentenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A sentence with a valid envelope and checksum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sentence {
    pub id: SentenceId,
    pub content: Content,
}

/// Parsed content of a sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// Recommended minimum: the only common sentence with a date.
    Rmc(Rmc),
    /// Fix data.
    Gga(FixData),
    /// Geographic position.
    Gll(Gll),
    /// Fix data of several constellations.
    Gns(FixData),
    /// Mode and active satellites.
    Gsa(Gsa),
    /// Course and speed over ground.
    Vtg(Vtg),
    /// Time and date.
    Zda(Zda),
    /// Error statistics.
    Gst(Gst),
    /// Satellites in view.
    Gsv(Gsv),
    /// Text from the receiver.
    Txt(Txt),
    /// A well-formed sentence without fix data.
    Other,
}

/// `RMC`. The position is reliable only if `valid` is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rmc {
    /// Field 1.
    pub time: Option<TimeOfDay>,
    /// Field 2 is `A` or a letter of a better mode (Unicore writes `D` there), and field 12, if
    /// present, is not `N`.
    pub valid: bool,
    /// Fields 3 to 6.
    pub position: Option<Position>,
    /// Field 7.
    pub speed: Option<Speed>,
    /// Field 8.
    pub course: Option<Course>,
    /// Field 9, with a two-digit year.
    pub date: Option<ShortDate>,
    /// Field 12 (NMEA 2.3).
    pub mode: Option<PosMode>,
}

/// `GGA` and `GNS`, which have the same content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixData {
    /// Field 1.
    pub time: Option<TimeOfDay>,
    /// Fields 2 to 5.
    pub position: Option<Position>,
    /// Field 6: the quality of `GGA`, or the best mode of all constellations in `GNS`. Receivers
    /// list more than the two constellations of the original standard.
    pub pos_mode: PosMode,
    /// Field 7: 0..=99.
    pub satellites_used: Option<u8>,
    /// Field 8.
    pub hdop: Option<Dop>,
    /// Field 8 is above every usable value: the receiver warns of a bad geometry.
    pub has_bad_hdop: bool,
    /// Field 9.
    pub altitude_msl: Option<Height>,
    /// Field 11 of `GGA`, 10 of `GNS`: height of the geoid above the ellipsoid.
    pub geoid_separation: Option<Height>,
}

/// `GLL`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gll {
    /// Field 5.
    pub time: Option<TimeOfDay>,
    /// Field 6 is `A` or a letter of a better mode, and field 7, if present, is not `N`.
    pub valid: bool,
    /// Fields 1 to 4.
    pub position: Option<Position>,
    /// Field 7 (NMEA 2.3).
    pub mode: Option<PosMode>,
}

/// `GSA`. A receiver sends one per constellation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gsa {
    /// Field 2: 1 no fix, 2 2D, 3 3D.
    pub mode: Option<u8>,
    /// Field 16.
    pub hdop: Option<Dop>,
    /// Constellations of the satellites in fields 3 to 14: by field 18 (NMEA 4.11), the talker, or
    /// the satellite numbers.
    pub used: Constellations,
}

/// `VTG`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vtg {
    /// Field 1, true.
    pub course: Option<Course>,
    /// Field 5, else field 7.
    pub speed: Option<Speed>,
}

/// `ZDA`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zda {
    /// Field 1.
    pub time: Option<TimeOfDay>,
    /// Fields 2 to 4.
    pub date: Option<Date>,
    /// Fields 2 to 4 of a receiver that writes the year with two digits.
    pub short_date: Option<ShortDate>,
}

/// `GST`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gst {
    /// Field 1.
    pub time: Option<TimeOfDay>,
    /// 68 % horizontal radius, from the standard deviations of latitude and longitude in fields 6
    /// and 7.
    pub accuracy: Option<Distance>,
}

/// `GSV`. A receiver sends one or more per constellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gsv {
    /// By the talker.
    pub constellation: Option<Constellation>,
    /// Field 2: number within the group, from 1.
    pub number: u8,
    /// Last field (NMEA 4.10): signal id. Each signal of a constellation has its own group. 0 if
    /// absent.
    pub signal: u8,
    /// Field 3.
    pub in_view: Option<u8>,
    /// Fields 7, 11, 15 and 19: C/N0 in dB-Hz; `None` where the satellite is not tracked.
    pub cn0_dbhz: [Option<u8>; 4],
}

/// Positioning mode, from worst to best: GGA quality, or the mode indicator of RMC, GLL and GNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PosMode {
    /// 0, `N`.
    NoFix,
    /// 8, `S`: a simulator.
    Simulator,
    /// 7, `M`: typed in by hand.
    Manual,
    /// 6, `E`: dead reckoning.
    Estimated,
    /// 1, `A`.
    Autonomous,
    /// 2, `D`.
    Differential,
    /// 3, `P`.
    Precise,
    /// 5, `F`.
    RtkFloat,
    /// 4, `R`.
    Rtk,
}

impl PosMode {
    fn from_quality(field: &str) -> Option<Self> {
        Some(match field {
            "0" => Self::NoFix,
            "1" => Self::Autonomous,
            "2" => Self::Differential,
            "3" => Self::Precise,
            "4" => Self::Rtk,
            "5" => Self::RtkFloat,
            "6" => Self::Estimated,
            "7" => Self::Manual,
            "8" => Self::Simulator,
            _ => return None,
        })
    }

    fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'N' => Self::NoFix,
            b'A' => Self::Autonomous,
            b'D' => Self::Differential,
            b'P' => Self::Precise,
            b'R' => Self::Rtk,
            b'F' => Self::RtkFloat,
            b'E' => Self::Estimated,
            b'M' => Self::Manual,
            b'S' => Self::Simulator,
            _ => return None,
        })
    }

    fn from_single_letter(field: &str) -> Option<Self> {
        match field.as_bytes() {
            [letter] => Self::from_letter(*letter),
            _ => None,
        }
    }
}

/// Reason why a line is not a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentenceError {
    /// The talker, the formatter, `,` or `*hh` is missing.
    Envelope,
    /// The checksum is wrong: the line was damaged in transit.
    Checksum,
}

impl Sentence {
    /// Parses a line that starts with `$`, without its terminator. Unreadable fields are `None`.
    ///
    /// # Errors
    /// `Refusal` if the envelope or the checksum is invalid.
    pub fn parse(line: &[u8]) -> Result<Self, SentenceError> {
        let line = std::str::from_utf8(line).map_err(|_| SentenceError::Envelope)?;
        let address = address(line)?;
        if !checksum_matches(line)? {
            return Err(SentenceError::Checksum);
        }
        let tag = SentenceId(address);
        // `nmea` supports only its own formatters and at most 102 bytes; no fix sentence is longer.
        let Ok(envelope) = nmea::parse_nmea_sentence(line) else {
            return Ok(Self { id: tag, content: Content::Other });
        };
        let fields = Fields::new(envelope.data);
        let talker = [address[0], address[1]];
        let content = match envelope.message_id {
            SentenceType::RMC => Content::Rmc(rmc(&fields)),
            SentenceType::GGA => Content::Gga(gga(&fields)),
            SentenceType::GLL => Content::Gll(gll(&fields)),
            SentenceType::GNS => Content::Gns(gns(&fields)),
            SentenceType::GSA => Content::Gsa(gsa(&fields, talker)),
            SentenceType::VTG => Content::Vtg(vtg(&fields)),
            SentenceType::ZDA => Content::Zda(zda(&fields)),
            SentenceType::GST => Content::Gst(gst(&fields)),
            SentenceType::GSV => Content::Gsv(gsv(&fields, talker)),
            SentenceType::TXT => Content::Txt(txt(&fields)),
            _ => Content::Other,
        };
        Ok(Self { id: tag, content })
    }
}

/// The five characters after `$`, also for proprietary sentences.
fn address(line: &str) -> Result<[u8; 5], SentenceError> {
    let address = line.as_bytes().get(1..6).filter(|address| !address.contains(&b'*'));
    address.and_then(|address| address.try_into().ok()).ok_or(SentenceError::Envelope)
}

/// Compares the XOR of all bytes between `$` and the last `*` (§5.3.1). A text field may contain
/// `*`.
fn checksum_matches(line: &str) -> Result<bool, SentenceError> {
    let (body, given) = line.rsplit_once('*').ok_or(SentenceError::Envelope)?;
    let given = given
        .get(..2)
        .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        .ok_or(SentenceError::Envelope)?;
    let computed = body.bytes().skip(1).fold(0, |sum, byte| sum ^ byte);
    Ok(computed == given)
}

fn rmc(fields: &Fields<'_>) -> Rmc {
    let mode = PosMode::from_single_letter(fields.get(12));
    Rmc {
        time: fields.time(1),
        valid: is_valid_status(fields.get(2)) && mode != Some(PosMode::NoFix),
        position: fields.position(3),
        speed: fields.number(7).and_then(Speed::from_knots),
        course: fields.course(8),
        date: fields.short_date(9),
        mode,
    }
}

/// Returns whether a status field reports a fix. NMEA 0183 knows `A` and `V`; some receivers write
/// the mode instead.
fn is_valid_status(field: &str) -> bool {
    matches!(field, "A" | "D" | "R" | "F" | "P" | "E")
}

fn gga(fields: &Fields<'_>) -> FixData {
    // Some receivers omit the quality. A position then implies a fix.
    let unspecified = match fields.position(2) {
        Some(_) => PosMode::Autonomous,
        None => PosMode::NoFix,
    };
    fix_data(fields, PosMode::from_quality(fields.get(6)).unwrap_or(unspecified), 11)
}

fn gns(fields: &Fields<'_>) -> FixData {
    let modes = fields.get(6).bytes().filter_map(PosMode::from_letter);
    fix_data(fields, modes.max().unwrap_or(PosMode::NoFix), 10)
}

fn fix_data(fields: &Fields<'_>, pos_mode: PosMode, geoid_field: usize) -> FixData {
    FixData {
        time: fields.time(1),
        position: fields.position(2),
        pos_mode,
        satellites_used: fields.count(7),
        hdop: fields.number(8).and_then(Dop::new),
        has_bad_hdop: fields.number(8).is_some_and(Dop::is_out_of_range),
        altitude_msl: fields.number(9).and_then(Height::from_metres),
        geoid_separation: fields.number(geoid_field).and_then(Height::from_metres),
    }
}

fn gll(fields: &Fields<'_>) -> Gll {
    let mode = PosMode::from_single_letter(fields.get(7));
    Gll {
        time: fields.time(5),
        valid: is_valid_status(fields.get(6)) && mode != Some(PosMode::NoFix),
        position: fields.position(1),
        mode,
    }
}

fn gsa(fields: &Fields<'_>, talker: [u8; 2]) -> Gsa {
    let mode = fields.count(2).filter(|mode| (1..=3).contains(mode));
    let satellites = || (3..=14).filter_map(|number| fields.get(number).parse::<u16>().ok());
    let system = Constellation::from_system_id(fields.get(18));
    // Old receivers use the talker `GP` for every constellation.
    let system = system.or_else(|| Constellation::from_talker(talker).filter(|_| talker != *b"GP"));
    let of = |satellite| system.or_else(|| Constellation::from_satellite_number(satellite));
    let used = satellites().filter_map(of).fold(Constellations::default(), Constellations::with);
    Gsa { mode, hdop: fields.number(16).and_then(Dop::new), used }
}

fn gsv(fields: &Fields<'_>, talker: [u8; 2]) -> Gsv {
    Gsv {
        constellation: Constellation::from_talker(talker),
        number: fields.count(2).unwrap_or(1),
        // Three fields, four per satellite, and optionally the signal id.
        signal: match fields.len() {
            len if len > 3 && len % 4 == 0 => u8::from_str_radix(fields.get(len), 16).unwrap_or(0),
            _ => 0,
        },
        in_view: fields.count(3),
        cn0_dbhz: [7, 11, 15, 19].map(|number| fields.count(number).filter(|cn0| *cn0 > 0)),
    }
}

fn txt(fields: &Fields<'_>) -> Txt {
    // A comma separates fields, so a text with commas spans several fields.
    let words = (4..=8).map(|number| fields.get(number)).filter(|part| !part.is_empty());
    let words: Vec<&str> = words.collect();
    Txt { kind: fields.count(3), text: BoundedText::new(&words.join(", ")) }
}

fn vtg(fields: &Fields<'_>) -> Vtg {
    // Before NMEA 2.0 the fields had no unit letters in between: course, magnetic, knots, km/h.
    let lettered = fields.get(2) == "T" || fields.get(2).is_empty();
    let (knots, kmh) = if lettered { (5, 7) } else { (3, 4) };
    let in_knots = fields.number(knots).and_then(Speed::from_knots);
    let in_kmh = || fields.number(kmh).and_then(Speed::from_kmh);
    Vtg { course: fields.course(1), speed: in_knots.or_else(in_kmh) }
}

fn zda(fields: &Fields<'_>) -> Zda {
    let number = |index| fields.get(index).parse::<u32>().ok();
    let date = || {
        let year = i32::try_from(number(4)?).ok().filter(|year| *year >= 100)?;
        Date::new(year, number(3)?, number(2)?)
    };
    let short_date = || {
        let part = |index| number(index).and_then(|part| u8::try_from(part).ok());
        let year_of_century = part(4).filter(|year| *year < 100)?;
        let date = ShortDate { year_of_century, month: part(3)?, day: part(2)? };
        // Validated against a leap year. 29 February is checked again once the century is known.
        ShortDate { year_of_century: 0, ..date }.in_century(20).map(|_| date)
    };
    Zda { time: fields.time(1), date: date(), short_date: short_date() }
}

fn gst(fields: &Fields<'_>) -> Gst {
    let sigma = |index| fields.number(index).filter(|metres| (0.0..1e6).contains(metres));
    let radius = || Distance::from_metres(sigma(6)?.hypot(sigma(7)?));
    Gst { time: fields.time(1), accuracy: radius() }
}

impl PosMode {
    /// Converts a positioning mode. Returns `None` for unmeasured positions: manual input or a
    /// simulator.
    pub(super) fn fix_quality(self) -> Option<FixQuality> {
        Some(match self {
            Self::Autonomous => FixQuality::Gps,
            Self::Differential => FixQuality::Dgps,
            Self::Precise => FixQuality::Pps,
            Self::Rtk => FixQuality::Rtk,
            Self::RtkFloat => FixQuality::RtkFloat,
            Self::Estimated => FixQuality::Estimated,
            Self::NoFix | Self::Manual | Self::Simulator => return None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Builds a line with its checksum from `GPRMC,…`.
    pub(crate) fn line(body: &str) -> String {
        let checksum = body.bytes().fold(0, |sum, byte| sum ^ byte);
        format!("${body}*{checksum:02X}")
    }

    /// Parses `GPRMC,…` as a sentence.
    pub(crate) fn sentence(body: &str) -> Sentence {
        Sentence::parse(line(body).as_bytes()).unwrap()
    }

    fn rmc_of(body: &str) -> Rmc {
        match sentence(body).content {
            Content::Rmc(rmc) => rmc,
            other => panic!("{body} is {other:?}"),
        }
    }

    #[test]
    fn a_damaged_line_is_refused_with_its_reason() {
        let cases: &[(&[u8], SentenceError)] = &[
            (b"$GPGLL,4916.45,N,12311.12,W,225444,A*30", SentenceError::Checksum),
            (b"$GPGLL,4916.45,N,12311.12,W,225444,A", SentenceError::Envelope),
            (b"$GPGLL,4916.45,N,12311.12,W,225444,A*", SentenceError::Envelope),
            (b"$GPGLL,4916.45,N,12311.12,W,225444,A*G1", SentenceError::Envelope),
            (b"$GP*17", SentenceError::Envelope),
            (b"$", SentenceError::Envelope),
            (b"", SentenceError::Envelope),
            (b"$\xff\xfe", SentenceError::Envelope),
        ];
        for (bytes, refusal) in cases {
            assert_eq!(Sentence::parse(bytes), Err(*refusal), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_checksum_may_be_in_lower_case_and_a_text_may_hold_a_star() {
        for altitude in 0..256 {
            let upper =
                line(&format!("GPGGA,120000,4800.0,N,01100.0,E,1,08,1.0,{altitude},M,,M,,"));
            let (body, checksum) = upper.rsplit_once('*').unwrap();
            assert!(
                Sentence::parse(format!("{body}*{}", checksum.to_lowercase()).as_bytes()).is_ok()
            );
        }
        assert_eq!(sentence("GPTXT,01,01,02,5*5").content, Content::Other);
    }

    #[test]
    fn an_absent_or_bad_optional_field_is_none_and_the_rest_is_kept() {
        let whole = rmc_of("GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998,011.3,E,A");
        assert_eq!(
            whole.position,
            Position::from_degrees(-(37.0 + 51.65 / 60.0), 145.0 + 7.36 / 60.0)
        );
        assert_eq!(whole.date, Some(ShortDate { year_of_century: 98, month: 9, day: 13 }));
        // Half a magnetic variation, none at all, and no mode: observed on real receivers.
        for tail in [",0,A", ",020.3,", ",,", ""] {
            let rmc =
                rmc_of(&format!("GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998{tail}"));
            assert!(
                rmc.valid && rmc.position == whole.position && rmc.date == whole.date,
                "{tail:?}"
            );
        }
        let filler = rmc_of("GPRMC,36000.0000,V,,,,,,,,,");
        assert!(!filler.valid && filler.time.is_none());
        let nan = rmc_of("GPRMC,081836,A,3751.65,S,14507.36,E,nan,inf,2208-1,,");
        assert!(nan.valid && nan.speed.is_none() && nan.course.is_none() && nan.date.is_none());
        assert_eq!(rmc_of("GPRMC,081836,A,9127.0,N,19911.0,W,,,,,").position, None);
        assert!(!rmc_of("GPRMC,081836,A,3751.65,S,14507.36,E,0,0,130998,,,N").valid);
    }

    #[test]
    fn a_position_counts_with_any_number_of_constellations() {
        for (modes, best) in [
            ("A", PosMode::Autonomous),
            ("AAN", PosMode::Autonomous),
            ("NNNNNN", PosMode::NoFix),
            ("NDRA", PosMode::Rtk),
        ] {
            let body =
                format!("GNGNS,112257.00,3844.24011,N,00908.43828,W,{modes},10,0.5,124.8,46.0,,");
            match sentence(&body).content {
                Content::Gns(gns) => assert_eq!(gns.pos_mode, best, "{modes}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_old_gll_without_mode_and_a_zda_with_a_zone_are_read() {
        let Content::Gll(gll) = sentence("GPGLL,4916.45,N,12311.12,W,225444,A").content else {
            panic!()
        };
        assert!(gll.valid && gll.time == TimeOfDay::new(22, 54, 44, 0));
        let Content::Zda(zda) = sentence("GPZDA,082710.00,16,09,2002,+08,00").content else {
            panic!()
        };
        assert_eq!(zda.date, Date::new(2002, 9, 16));
    }

    #[test]
    fn a_gsa_with_empty_or_unknown_dop_keeps_its_mode() {
        for (dops, hdop) in
            [(",,", None), ("99.99,99.99,99.99", None), ("2.5,1.3,2.1", Dop::new(1.3))]
        {
            let Content::Gsa(gsa) =
                sentence(&format!("GPGSA,A,3,04,05,,09,12,,,24,,,,,{dops}")).content
            else {
                panic!()
            };
            assert_eq!((gsa.mode, gsa.hdop), (Some(3), hdop), "{dops}");
        }
    }

    #[test]
    fn speed_is_read_in_both_layouts_of_vtg() {
        for body in [
            "GPVTG,054.7,T,034.4,M,005.5,N,010.2,K",
            "GPVTG,054.7,034.4,005.5,010.2",
            "GPVTG,054.7,T,,M,,N,010.19,K,A",
        ] {
            let Content::Vtg(vtg) = sentence(body).content else { panic!() };
            assert!((vtg.speed.unwrap().as_mps() - 2.83).abs() < 0.01, "{body}");
            assert_eq!(vtg.course, Course::from_degrees(54.7));
        }
    }

    #[test]
    fn milliseconds_are_exact_and_a_leap_second_is_a_time() {
        for (text, time) in [
            ("123519", (12, 35, 19, 0)),
            ("123519.4", (12, 35, 19, 400)),
            ("123519.487", (12, 35, 19, 487)),
            ("123519.4879", (12, 35, 19, 487)),
            ("235960.00", (23, 59, 60, 0)),
        ] {
            let (hour, minute, second, ms) = time;
            let expected = TimeOfDay::new(hour, minute, second, ms);
            assert!(expected.is_some());
            assert_eq!(rmc_of(&format!("GPRMC,{text},V,,,,,,,,,")).time, expected, "{text}");
        }
    }
}
