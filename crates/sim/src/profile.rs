//! Profiles of receiver types: the NMEA dialects, as found in recordings of real receivers.

use std::fmt;
use std::str::FromStr;

use super::sky::System;

/// A type of receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverType {
    /// `ublox-m8`: GPS and GLONASS, talker GN, RMC first, 5 decimals of a minute; no course at a
    /// standstill.
    UbloxM8,
    /// `ublox-m10`: GPS, GLONASS and Galileo in NMEA 4.11, with GNS and GST enabled.
    UbloxM10,
    /// `sirf-star`: GPS only, GGA first, GSV every 5 s; holds its course at a standstill.
    SirfStar,
    /// `mtk-3339`: GPS only, GSV every 5 s; counts from 1980 until the time is known.
    Mtk3339,
    /// `gga-only`: no speed, no date; without satellites it repeats its last sentence.
    GgaOnly,
    /// `rmc-only`: NMEA 2.2 without mode; without satellites it holds its position, with status V.
    RmcOnly,
}

impl ReceiverType {
    pub const ALL: [Self; 6] = [
        Self::UbloxM8,
        Self::UbloxM10,
        Self::SirfStar,
        Self::Mtk3339,
        Self::GgaOnly,
        Self::RmcOnly,
    ];

    /// Returns the name in route files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UbloxM8 => "ublox-m8",
            Self::UbloxM10 => "ublox-m10",
            Self::SirfStar => "sirf-star",
            Self::Mtk3339 => "mtk-3339",
            Self::GgaOnly => "gga-only",
            Self::RmcOnly => "rmc-only",
        }
    }

    pub(super) const fn profile(self) -> &'static Profile {
        match self {
            Self::UbloxM8 => &UBLOX_M8,
            Self::UbloxM10 => &UBLOX_M10,
            Self::SirfStar => &SIRF_STAR,
            Self::Mtk3339 => &MTK_3339,
            Self::GgaOnly => &GGA_ONLY,
            Self::RmcOnly => &RMC_ONLY,
        }
    }
}

impl fmt::Display for ReceiverType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReceiverType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
            format!("is unknown: write one of {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

/// A sentence type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Formatter {
    Rmc,
    Vtg,
    Gga,
    Gsa,
    Gsv,
    Gll,
    Gst,
    Gns,
}

/// NMEA version that a receiver follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// No mode indicators.
    V2_2,
    /// Mode indicators in RMC, VTG and GLL.
    V2_3,
    /// Navigational status in RMC, system and signal identifiers in GSA and GSV.
    V4_11,
}

/// Course of a standing van.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleCourse {
    /// An empty field.
    Empty,
    /// The last course while driving.
    Held,
    /// Random noise.
    Noise,
}

/// Output after the fix is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithoutFix {
    /// Empty fields.
    Empty,
    /// The last position, marked as void, with the current time.
    LastPosition,
    /// The last sentence with its old time, marked as valid.
    Frozen,
}

/// Time before the first satellite is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColdClock {
    /// Empty fields.
    Empty,
    /// Counts from the first day of GPS, 1980-01-06.
    FromGpsEpoch,
}

/// NMEA dialect of a receiver.
#[derive(Debug)]
pub(super) struct Profile {
    /// Talker of the sentences about the fix.
    pub(super) talker: &'static str,
    pub(super) systems: &'static [System],
    /// Sentences in the order of transmission.
    pub(super) sentences: &'static [Formatter],
    pub(super) version: Version,
    pub(super) minute_decimals: u32,
    pub(super) second_decimals: usize,
    pub(super) knots_decimals: usize,
    pub(super) kmh_decimals: usize,
    pub(super) dop_decimals: usize,
    /// Minimum number of digits for the satellite count.
    pub(super) count_digits: usize,
    /// Last fields of GGA, age and station of differential corrections, which are never present.
    pub(super) gga_end: &'static str,
    /// Fields of GGA after the position, without a fix.
    pub(super) gga_void: &'static str,
    pub(super) vtg_void: &'static str,
    pub(super) dop_void: &'static str,
    pub(super) gsv_every_s: u64,
    pub(super) idle_course: IdleCourse,
    pub(super) without_fix: WithoutFix,
    pub(super) cold_clock: ColdClock,
}

use Formatter::{Gga, Gll, Gns, Gsa, Gst, Gsv, Rmc, Vtg};

const UBLOX_M8: Profile = Profile {
    talker: "GN",
    systems: &[System::Gps, System::Glonass],
    sentences: &[Rmc, Vtg, Gga, Gsa, Gsv, Gll],
    version: Version::V2_3,
    minute_decimals: 5,
    second_decimals: 2,
    knots_decimals: 3,
    kmh_decimals: 3,
    dop_decimals: 2,
    count_digits: 2,
    gga_end: ",",
    gga_void: "0,00,99.99,,,,,,",
    vtg_void: ",,,,,,,,N",
    dop_void: "99.99",
    gsv_every_s: 1,
    idle_course: IdleCourse::Empty,
    without_fix: WithoutFix::Empty,
    cold_clock: ColdClock::Empty,
};

const UBLOX_M10: Profile = Profile {
    systems: &[System::Gps, System::Glonass, System::Galileo],
    sentences: &[Rmc, Vtg, Gga, Gsa, Gsv, Gll, Gst, Gns],
    version: Version::V4_11,
    ..UBLOX_M8
};

const SIRF_STAR: Profile = Profile {
    talker: "GP",
    systems: &[System::Gps],
    sentences: &[Gga, Gsa, Gsv, Rmc, Vtg],
    version: Version::V2_3,
    minute_decimals: 4,
    second_decimals: 3,
    knots_decimals: 2,
    kmh_decimals: 1,
    dop_decimals: 1,
    count_digits: 2,
    gga_end: ",0000",
    gga_void: "0,00,,,M,0.0,M,,0000",
    vtg_void: ",T,,M,,N,,K,N",
    dop_void: "",
    gsv_every_s: 5,
    idle_course: IdleCourse::Held,
    without_fix: WithoutFix::Empty,
    cold_clock: ColdClock::Empty,
};

const MTK_3339: Profile = Profile {
    kmh_decimals: 2,
    dop_decimals: 2,
    count_digits: 1,
    gga_end: ",",
    gga_void: "0,0,,,M,,M,,",
    vtg_void: "0.00,T,,M,0.00,N,0.00,K,N",
    idle_course: IdleCourse::Noise,
    cold_clock: ColdClock::FromGpsEpoch,
    ..SIRF_STAR
};

const GGA_ONLY: Profile =
    Profile { sentences: &[Gga], without_fix: WithoutFix::Frozen, ..SIRF_STAR };

const RMC_ONLY: Profile = Profile {
    sentences: &[Rmc],
    version: Version::V2_2,
    without_fix: WithoutFix::LastPosition,
    ..SIRF_STAR
};
