//! Live position as OwnTracks JSON, for the OwnTracks recorder, map and other consumers.
//!
//! Members and units are those of `_type: "location"` in the OwnTracks booklet
//! (owntracks.org/booklet/tech/json): km/h, and whole metres and degrees.

use serde::{Deserialize, Serialize};

use super::VanId;
use super::payloads::{decimals, published_course};
use waypost_model::record::TrackPoint;

/// OwnTracks location.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// `location`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Degrees north, WGS 84, 5 decimals.
    pub lat: f64,
    /// Degrees east, as `lat`.
    pub lon: f64,
    /// UTC of the fix, s since 1970.
    pub tst: i64,
    /// 68 % horizontal radius, m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc: Option<i64>,
    /// Altitude above mean sea level, m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt: Option<i64>,
    /// Speed over ground, km/h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vel: Option<i64>,
    /// Course over ground, degrees true, 0..360; absent below 0.5 m/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cog: Option<i64>,
    /// Tracker id: the last two characters of the van id, shown on the map.
    pub tid: String,
    /// Trigger: `t`, the timer.
    pub t: String,
}

impl Location {
    /// Returns the location of `van` at `point`.
    #[must_use]
    pub fn new(van: &VanId, point: &TrackPoint) -> Self {
        let TrackPoint { fix, .. } = point;
        let van = van.as_str();
        Self {
            kind: "location".to_owned(),
            lat: decimals(fix.position.lat_deg(), 5),
            lon: decimals(fix.position.lon_deg(), 5),
            tst: fix.utc.as_unix_ms().div_euclid(1000),
            acc: fix.accuracy.map(|accuracy| round(accuracy.as_metres())),
            alt: fix.altitude_msl.map(|altitude| round(altitude.as_metres())),
            vel: fix.speed.map(|speed| round(speed.as_mps() * 3.6)),
            cog: published_course(point).map(|course| round(course.as_degrees()) % 360),
            tid: van[van.len().saturating_sub(2)..].to_owned(),
            t: "t".to_owned(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "units keep it far below 2^53")]
fn round(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::Fix;
    use waypost_model::fix::testing::fix;
    use waypost_model::motion::Motion;
    use waypost_model::units::{Course, Distance, Speed};

    #[test]
    fn a_location_has_the_members_and_units_of_the_booklet() {
        let fix = Fix {
            speed: Speed::from_mps(10.0),
            course: Course::from_degrees(359.7),
            accuracy: Distance::from_metres(4.4),
            ..fix(1500, 0.0)
        };
        let point = TrackPoint { fix, motion: Motion::Moving, odometer: Distance::default() };
        let location = Location::new(&VanId::new("VAN-042").unwrap(), &point);
        let said = serde_json::to_value(&location).unwrap();
        let utc = fix.utc.as_unix_ms() / 1000;
        assert_eq!(said["_type"], "location");
        assert_eq!((said["tst"].as_i64(), said["vel"].as_i64()), (Some(utc), Some(36)));
        assert_eq!((said["cog"].as_i64(), said["acc"].as_i64()), (Some(0), Some(4)));
        assert_eq!((&said["tid"], &said["t"]), (&"42".into(), &"t".into()));
        let halted = TrackPoint { motion: Motion::Halted, ..point };
        let said = serde_json::to_value(Location::new(&VanId::new("7").unwrap(), &halted)).unwrap();
        assert_eq!((said.get("cog"), &said["tid"]), (None, &"7".into()));
    }
}
