//! GNSS fix: an accepted position with time and quality.

use serde::{Deserialize, Serialize};

use crate::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

/// A position accepted by the fix filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// UTC time reported by the receiver.
    pub utc: UtcTime,
    /// Read time of the first byte of the epoch.
    pub read_at: Uptime,
    /// WGS 84.
    pub position: Position,
    /// 2D or 3D.
    pub mode: FixMode,
    /// Positioning method.
    pub quality: FixQuality,
    /// Above mean sea level (NMEA 0183 GGA field 9).
    pub altitude_msl: Option<Height>,
    /// Above the WGS 84 ellipsoid: altitude plus geoid separation (GGA fields 9 and 11).
    pub height_hae: Option<Height>,
    /// Over ground.
    pub speed: Option<Speed>,
    /// Over ground, true.
    pub course: Option<Course>,
    /// Horizontal dilution of precision.
    pub hdop: Option<Dop>,
    /// Satellites used in the solution (GGA field 7), at most 99.
    pub satellites_used: Option<u8>,
    /// 68 % horizontal radius: GST if present, else HDOP × the range error.
    pub accuracy: Option<Distance>,
}

/// Dimensions of a fix (NMEA 0183 GSA field 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FixMode {
    /// Latitude and longitude. An altitude, if present, is held from an earlier fix.
    TwoD,
    /// Latitude, longitude and altitude.
    ThreeD,
}

impl FixMode {
    /// 2 or 3, as in GSA field 2 and on the wire.
    #[must_use]
    pub const fn dimensions(self) -> u8 {
        match self {
            Self::TwoD => 2,
            Self::ThreeD => 3,
        }
    }
}

/// Positioning method (NMEA 0183 GGA field 6, and the mode indicator of RMC, GLL and GNS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FixQuality {
    /// Autonomous GNSS (1, `A`).
    #[default]
    Gps,
    /// Differential, SBAS included (2, `D`).
    Dgps,
    /// Precise positioning service (3, `P`).
    Pps,
    /// Real-time kinematic, integers fixed (4, `R`).
    Rtk,
    /// Real-time kinematic, integers floating (5, `F`).
    RtkFloat,
    /// Dead reckoning (6, `E`).
    Estimated,
}

/// Builders for tests.
#[cfg(any(test, feature = "test-support"))]
#[expect(clippy::unwrap_used, reason = "test data is valid")]
pub mod testing {
    use super::{Fix, FixMode, FixQuality, Position, Uptime, UtcTime};

    /// A plain 3D fix, `ms` after the agent's start and after 2027-01-15T08:00Z, `north_m` metres
    /// north of 48° N 11° E.
    #[must_use]
    pub fn fix(ms: u32, north_m: f64) -> Fix {
        Fix {
            utc: UtcTime::from_unix_ms(1_800_000_000_000 + i64::from(ms)).unwrap(),
            read_at: Uptime::from_millis(u64::from(ms)),
            position: Position::from_degrees(48.0 + north_m / 111_195.0, 11.0).unwrap(),
            mode: FixMode::ThreeD,
            quality: FixQuality::Gps,
            altitude_msl: None,
            height_hae: None,
            speed: None,
            course: None,
            hdop: None,
            satellites_used: None,
            accuracy: None,
        }
    }
}
