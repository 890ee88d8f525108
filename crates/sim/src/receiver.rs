//! Renders one epoch as sentences in the receiver's dialect.

use std::fmt::Write as _;
use std::time::Duration;

use super::profile::{ColdClock, Formatter, IdleCourse, Profile, Version, WithoutFix};
use super::sentence::{self, SentenceWriter};
use super::sky::{Dops, Satellite, SkyView, System};
use waypost_model::units::{Course, Date, Position, Speed, TimeOfDay, Uptime, UtcTime};

/// Position and velocity computed by the receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Solution {
    pub(super) position: Position,
    pub(super) altitude_msl_m: f64,
    pub(super) speed: Speed,
    pub(super) course: Course,
    pub(super) dops: Dops,
    /// Error of each axis in metres (68 %).
    pub(super) error_m: f64,
}

/// State of the receiver at one epoch.
#[derive(Debug)]
pub(super) struct ReceiverInput<'a> {
    pub(super) uptime: Uptime,
    /// Present once a satellite has provided the time.
    pub(super) utc: Option<UtcTime>,
    pub(super) view: &'a SkyView,
    pub(super) solution: Option<Solution>,
}

/// A receiver of one type, with its memory.
#[derive(Debug)]
pub(super) struct Receiver {
    profile: &'static Profile,
    writer: SentenceWriter,
    last_solution: Option<Solution>,
    /// The GGA of the last fix, for receivers that repeat it.
    last_gga: Option<String>,
    held_course: Option<Course>,
}

/// Below this speed in metres per second, the course is noise.
const MIN_COURSE_SPEED_MPS: f64 = 0.5;
/// Geoid height above the ellipsoid in metres, for central Europe; used for all routes.
const GEOID_M: f64 = 47.0;

impl Receiver {
    pub(super) fn new(profile: &'static Profile, writer: SentenceWriter) -> Self {
        Self { profile, writer, last_solution: None, last_gga: None, held_course: None }
    }

    /// Renders all sentences of the epoch.
    pub(super) fn encode_epoch(&mut self, now: &ReceiverInput<'_>) -> Vec<u8> {
        if let Some(solution) = now.solution {
            if solution.speed.as_mps() >= MIN_COURSE_SPEED_MPS {
                self.held_course = Some(solution.course);
            }
            self.last_solution = Some(solution);
        }
        let mut out = Vec::with_capacity(1024);
        for formatter in self.profile.sentences {
            for body in self.bodies(*formatter, now) {
                self.writer.write(&body, &mut out);
            }
        }
        out
    }

    fn bodies(&mut self, formatter: Formatter, now: &ReceiverInput<'_>) -> Vec<String> {
        let fields = match formatter {
            Formatter::Rmc => self.rmc(now),
            Formatter::Vtg => self.vtg(now),
            Formatter::Gga => return vec![self.gga(now)],
            Formatter::Gsa => return self.gsa(now),
            Formatter::Gsv => return self.gsv(now),
            Formatter::Gll => self.gll(now),
            Formatter::Gst => self.gst(now),
            Formatter::Gns => self.gns(now),
        };
        vec![format!("{}{fields}", self.profile.talker)]
    }

    /// Returns the receiver's date and time.
    fn clock(&self, now: &ReceiverInput<'_>) -> (Option<TimeOfDay>, Option<Date>) {
        let utc = now.utc.or_else(|| match self.profile.cold_clock {
            ColdClock::Empty => None,
            ColdClock::FromGpsEpoch => gps_epoch()?.checked_add(now.uptime.since_start()),
        });
        (utc.map(UtcTime::time_of_day), utc.map(UtcTime::date))
    }

    fn time(&self, now: &ReceiverInput<'_>) -> String {
        let time = self.clock(now).0;
        time.map(|time| sentence::time(time, self.profile.second_decimals)).unwrap_or_default()
    }

    fn position(&self, solution: &Solution) -> String {
        sentence::position(solution.position, self.profile.minute_decimals)
    }

    fn course(&self, solution: &Solution) -> String {
        let course = match self.profile.idle_course {
            _ if solution.speed.as_mps() >= MIN_COURSE_SPEED_MPS => Some(solution.course),
            IdleCourse::Noise => Some(solution.course),
            IdleCourse::Held => self.held_course,
            IdleCourse::Empty => None,
        };
        course.map(|course| format!("{:.2}", course.as_degrees())).unwrap_or_default()
    }

    fn rmc(&self, now: &ReceiverInput<'_>) -> String {
        let profile = self.profile;
        let held = self.last_solution.filter(|_| profile.without_fix == WithoutFix::LastPosition);
        let (status, mode) = if now.solution.is_some() { ('A', 'A') } else { ('V', 'N') };
        let motion = match now.solution.or(held) {
            Some(solution) => format!(
                "{},{:.*},{}",
                self.position(&solution),
                profile.knots_decimals,
                knots(&solution),
                self.course(&solution)
            ),
            None => ",,,,,".to_owned(),
        };
        let date = self.clock(now).1.map(sentence::date).unwrap_or_default();
        let mut fields = format!("RMC,{},{status},{motion},{date},,", self.time(now));
        if profile.version >= Version::V2_3 {
            let _ = write!(fields, ",{mode}");
        }
        if profile.version >= Version::V4_11 {
            fields.push_str(",V");
        }
        fields
    }

    fn vtg(&self, now: &ReceiverInput<'_>) -> String {
        let Some(solution) = now.solution else { return format!("VTG,{}", self.profile.vtg_void) };
        let (knots_decimals, kmh_decimals) =
            (self.profile.knots_decimals, self.profile.kmh_decimals);
        let kmh = solution.speed.as_mps() * 3.6;
        let course = self.course(&solution);
        format!(
            "VTG,{course},T,,M,{:.knots_decimals$},N,{kmh:.kmh_decimals$},K,A",
            knots(&solution)
        )
    }

    fn gga(&mut self, now: &ReceiverInput<'_>) -> String {
        let profile = self.profile;
        let (talker, time) = (profile.talker, self.time(now));
        let Some(solution) = now.solution else {
            let frozen = profile.without_fix == WithoutFix::Frozen;
            let last = self.last_gga.clone().filter(|_| frozen);
            return last.unwrap_or_else(|| format!("{talker}GGA,{time},,,,,{}", profile.gga_void));
        };
        // NMEA 0183 has two digits for it; u-blox stops at 12.
        let used = used(now.view).count().min(12);
        let body = format!(
            "{talker}GGA,{time},{},1,{used:0digits$},{:.dops$},{:.1},M,{GEOID_M:.1},M,{}",
            self.position(&solution),
            solution.dops.hdop,
            solution.altitude_msl_m,
            profile.gga_end,
            digits = profile.count_digits,
            dops = profile.dop_decimals,
        );
        self.last_gga = Some(body.clone());
        body
    }

    fn gsa(&self, now: &ReceiverInput<'_>) -> Vec<String> {
        let profile = self.profile;
        let (mode, dops) = match now.solution {
            Some(Solution { dops: Dops { pdop, hdop, vdop }, .. }) => {
                let decimals = profile.dop_decimals;
                (3, format!("{pdop:.decimals$},{hdop:.decimals$},{vdop:.decimals$}"))
            }
            None => (1, [profile.dop_void; 3].join(",")),
        };
        let sentence = |system: &System| {
            let mut numbers: Vec<String> = Vec::new();
            if now.solution.is_some() {
                let of_system = used(now.view).filter(|one| one.system == *system);
                numbers.extend(of_system.map(|one| format!("{:02}", one.number)));
            }
            numbers.resize(12, String::new());
            let mut body = format!("{}GSA,A,{mode},{},{dops}", profile.talker, numbers.join(","));
            if profile.version >= Version::V4_11 {
                let _ = write!(body, ",{}", system.id());
            }
            body
        };
        profile.systems.iter().map(sentence).collect()
    }

    fn gsv(&self, now: &ReceiverInput<'_>) -> Vec<String> {
        let due = Duration::from_secs(self.profile.gsv_every_s).as_millis();
        if !now.uptime.since_start().as_millis().is_multiple_of(due) {
            return Vec::new();
        }
        self.profile
            .systems
            .iter()
            .flat_map(|system| self.gsv_for_system(*system, now.view))
            .collect()
    }

    fn gsv_for_system(&self, system: System, view: &SkyView) -> Vec<String> {
        let identified = self.profile.version >= Version::V4_11;
        let talker = system.talker();
        let satellites: Vec<_> =
            view.satellites.iter().filter(|one| one.system == system).collect();
        if satellites.is_empty() {
            return vec![format!("{talker}GSV,1,1,00{}", if identified { ",0" } else { "" })];
        }
        let (total, sentences) = (satellites.len(), satellites.len().div_ceil(4));
        let fours = satellites.chunks(4).enumerate().map(|(index, four)| {
            let mut body = format!("{talker}GSV,{sentences},{},{total:02}", index + 1);
            for one in four {
                let (number, elevation) = (one.number, one.elevation_deg);
                // Azimuth is 000..359, so 359.7 is truncated, not rounded.
                let azimuth = one.azimuth_deg.floor();
                let snr = one.snr_db.map(|snr| format!("{snr:02.0}")).unwrap_or_default();
                let _ = write!(body, ",{number:02},{elevation:02.0},{azimuth:03.0},{snr}");
            }
            if identified {
                let _ = write!(body, ",{}", system.signal());
            }
            body
        });
        fours.collect()
    }

    fn gll(&self, now: &ReceiverInput<'_>) -> String {
        let time = self.time(now);
        match now.solution {
            Some(solution) => format!("GLL,{},{time},A,A", self.position(&solution)),
            None => format!("GLL,,,,,{time},V,N"),
        }
    }

    fn gst(&self, now: &ReceiverInput<'_>) -> String {
        let time = self.time(now);
        let Some(Solution { error_m, dops, .. }) = now.solution else {
            return format!("GST,{time},,,,,,,");
        };
        let height_m = error_m * dops.vdop / dops.hdop;
        format!("GST,{time},{:.0},,,,{error_m:.1},{error_m:.1},{height_m:.1}", error_m * 10.0)
    }

    /// Has one mode each for GPS, GLONASS, Galileo and `BeiDou`; no type here receives `BeiDou`.
    fn gns(&self, now: &ReceiverInput<'_>) -> String {
        let time = self.time(now);
        let Some(solution) = now.solution else {
            return format!("GNS,{time},,,,,NNNN,00,99.99,,,,,V");
        };
        let mode = |system| if used(now.view).any(|one| one.system == system) { 'A' } else { 'N' };
        let modes: String =
            [System::Gps, System::Glonass, System::Galileo].map(mode).iter().collect();
        format!(
            "GNS,{time},{},{modes}N,{:02},{:.2},{:.1},{GEOID_M:.1},,,V",
            self.position(&solution),
            used(now.view).count(),
            solution.dops.hdop,
            solution.altitude_msl_m,
        )
    }
}

fn used(view: &SkyView) -> impl Iterator<Item = &Satellite> {
    view.satellites.iter().filter(|one| one.used)
}

fn knots(solution: &Solution) -> f64 {
    solution.speed.as_mps() * (3600.0 / 1852.0)
}

/// Returns 1980-01-06.
fn gps_epoch() -> Option<UtcTime> {
    UtcTime::from_unix_ms(315_964_800_000)
}
