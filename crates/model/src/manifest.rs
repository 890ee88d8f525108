//! Route manifest: the stops of the route in order, and the parcels due at each.
//!
//! [`Manifest::new`] validates and bounds every field. An error names place, value and remedy.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Preferences, StopRef};
use crate::parcel::code;
use crate::units::{Date, Distance, Position, UtcTime};

/// Maximum number of stops of a route.
pub const MAX_STOPS: usize = 1_000;
/// Maximum number of parcels of a route.
pub const MAX_PARCELS: usize = 5_000;
/// Maximum length of the id of a route or stop, in bytes.
pub const MAX_NAME: usize = 64;
/// Maximum length of a parcel's key, in bytes.
pub const MAX_KEY: usize = code::MAX_KEY;
/// Maximum length of a URI, in bytes.
pub const MAX_URI: usize = 256;
/// Maximum length of a free text, in bytes.
pub const MAX_TEXT: usize = 200;
/// Maximum number of RFID tags per parcel.
pub const MAX_TAGS: usize = 8;
/// Maximum length of a tag's memory, in hexadecimal digits.
pub const MAX_TAG: usize = 124;

const DEFAULT_RADIUS_M: f64 = 60.0;
const RADIUS_RANGE_M: std::ops::RangeInclusive<f64> = 20.0..=5_000.0;
const DEFAULT_SERVICE_S: u32 = 90;
const MAX_SERVICE_S: u32 = 86_400;

/// Validated route manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Id of the route.
    pub route: String,
    /// Revision: increases with each change of the same route.
    pub rev: u64,
    pub station: Station,
    /// Earliest time at which the route is driven.
    pub valid_from: Option<UtcTime>,
    /// End of validity: the route is then completed, with any parcels left.
    pub valid_until: Option<UtcTime>,
    /// Stops in the order of their sequence numbers.
    pub stops: Vec<Stop>,
}

/// Station where the van is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// URI of the station.
    pub id: String,
    /// WGS 84.
    pub position: Position,
    /// Radius of the geofence: 20..=5,000 m.
    pub radius: Distance,
}

/// Stop of the route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Sequence number: the order of the stops.
    pub seq: u32,
    /// Id of the stop, never an address.
    pub id: String,
    /// WGS 84.
    pub position: Position,
    /// Radius of the geofence: 20..=5,000 m.
    pub radius: Distance,
    /// Delivery window promised to the recipient.
    pub window: Option<(UtcTime, UtcTime)>,
    /// Expected duration of the stop.
    pub service: Duration,
    /// Parcels due at this stop.
    pub parcels: Vec<ManifestParcel>,
}

impl Stop {
    /// Returns the reference to this stop for events.
    #[must_use]
    pub fn stop_ref(&self) -> StopRef {
        StopRef { seq: self.seq, id: self.id.clone() }
    }
}

/// Parcel in the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestParcel {
    /// Normalised number of the parcel.
    pub key: String,
    /// URI of the parcel; `None` if it is derived from the key.
    pub epc: Option<String>,
    /// Memory of the RFID tags, in upper-case hexadecimal.
    pub tags: Vec<String>,
    /// Delivery preferences of the recipient.
    pub preferences: Preferences,
}

/// Validation error of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// Path of the field, such as `stops[17].lat`.
    pub path: String,
    /// Rejected value, shortened to 80 bytes.
    pub value: String,
    /// Expected value.
    pub remedy: &'static str,
}

/// The text appears in `state`, the log and on the driver's device. It leaves out the value of
/// fields about parcels and recipients, which are personal data.
impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path: place, value, remedy } = self;
        let personal = [".parcels[", "safe_place", "neighbour", "instructions"];
        if personal.iter().any(|part| place.contains(part)) {
            write!(f, "{place}: {remedy}")
        } else {
            write!(f, "{place} is {value}: {remedy}")
        }
    }
}

impl ManifestError {
    /// Creates an error for `value` at `place`.
    #[must_use]
    pub fn new(place: impl Into<String>, value: impl fmt::Display, remedy: &'static str) -> Self {
        const SHOWN: usize = 80;
        let mut value: String = value.to_string().chars().filter(|c| !c.is_control()).collect();
        if value.len() > SHOWN {
            value.truncate(value.floor_char_boundary(SHOWN));
            value.push('…');
        }
        Self { path: place.into(), value, remedy }
    }
}

/// Manifest as received, not validated yet. The field names are those of the JSON payload.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented by Manifest and docs/mqtt-contract.md")]
pub struct RawManifest {
    pub route: String,
    pub rev: u64,
    pub date: Option<String>,
    pub station: RawStation,
    pub valid_from: Option<String>,
    pub valid_until: Option<String>,
    pub stops: Vec<RawStop>,
}

/// Station as received.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented by Station and docs/mqtt-contract.md")]
pub struct RawStation {
    pub id: String,
    pub lat: f64,
    pub lon: f64,
    pub radius_m: f64,
}

/// Stop as received.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented by Stop and docs/mqtt-contract.md")]
pub struct RawStop {
    pub seq: u32,
    pub id: String,
    pub lat: f64,
    pub lon: f64,
    pub radius_m: Option<f64>,
    pub window: Option<(String, String)>,
    pub service_s: Option<u32>,
    pub safe_place: Option<String>,
    pub parcels: Vec<RawParcel>,
}

/// Parcel as received.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented by ManifestParcel and docs/mqtt-contract.md")]
pub struct RawParcel {
    pub id: String,
    pub epc: Option<String>,
    #[serde(default)]
    pub rfid: Vec<String>,
    pub authority_to_leave: Option<bool>,
    pub signature_required: Option<bool>,
    pub safe_place: Option<String>,
    pub neighbour: Option<String>,
}

impl Manifest {
    /// Validates a received manifest.
    ///
    /// # Errors
    /// Returns the first validation error.
    pub fn new(draft: RawManifest) -> Result<Self, ManifestError> {
        let RawManifest { route, rev, date, station, valid_from, valid_until, stops } = draft;
        check_text("route", &route, MAX_NAME)?;
        check_range("rev", rev, 1..=u64::from(u32::MAX), "must be 1 to 4294967295")?;
        if let Some(date) = date.filter(|date| Date::parse(date).is_none()) {
            return Err(ManifestError::new("date", date, "write YYYY-MM-DD"));
        }
        let (from, until) =
            (parse_time("valid_from", valid_from)?, parse_time("valid_until", valid_until)?);
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            return Err(ManifestError::new("valid_until", until, "must be later than valid_from"));
        }
        check_text("station.id", &station.id, MAX_URI)?;
        let station = Station {
            position: check_position("station", station.lat, station.lon)?,
            radius: check_radius("station", station.radius_m)?,
            id: station.id,
        };
        let stops = check_stops(stops)?;
        Ok(Self { route, rev, station, valid_from: from, valid_until: until, stops })
    }

    /// Returns the number of parcels.
    #[must_use]
    pub fn parcel_count(&self) -> usize {
        self.stops.iter().map(|stop| stop.parcels.len()).sum()
    }
}

fn check_stops(drafts: Vec<RawStop>) -> Result<Vec<Stop>, ManifestError> {
    check_range("stops", drafts.len(), 0..=MAX_STOPS, "at most 1,000 stops; split the route")?;
    let parcels = drafts.iter().map(|stop| stop.parcels.len()).sum();
    check_range(
        "stops[].parcels",
        parcels,
        0..=MAX_PARCELS,
        "at most 5,000 parcels; split the route",
    )?;
    let (mut seqs, mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut stops = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.into_iter().enumerate() {
        let place = format!("stops[{index}]");
        if !seqs.insert(draft.seq) {
            let place = format!("{place}.seq");
            return Err(ManifestError::new(place, draft.seq, "must be unique among the stops"));
        }
        if !ids.insert(draft.id.clone()) {
            let place = format!("{place}.id");
            return Err(ManifestError::new(place, draft.id, "must be unique among the stop ids"));
        }
        stops.push(check_stop(&place, draft, &mut keys)?);
    }
    stops.sort_by_key(|stop| stop.seq);
    Ok(stops)
}

fn check_stop(
    place: &str,
    draft: RawStop,
    keys: &mut BTreeSet<String>,
) -> Result<Stop, ManifestError> {
    let at = |name: &str| format!("{place}.{name}");
    check_text(&at("id"), &draft.id, MAX_NAME)?;
    let window = match draft.window {
        None => None,
        Some((from, until)) => {
            let from = parse_time(&at("window[0]"), Some(from))?;
            let until = parse_time(&at("window[1]"), Some(until))?;
            from.zip(until)
        }
    };
    if let Some((_, until)) = window.filter(|(from, until)| from > until) {
        return Err(ManifestError::new(
            at("window[1]"),
            until,
            "must not be before the start of the window",
        ));
    }
    let service_s = draft.service_s.unwrap_or(DEFAULT_SERVICE_S);
    check_range(&at("service_s"), service_s, 0..=MAX_SERVICE_S, "must be at most 86400 s")?;
    if let Some(words) = &draft.safe_place {
        check_text(&at("safe_place"), words, MAX_TEXT)?;
    }
    let mut parcels = Vec::with_capacity(draft.parcels.len());
    for (index, parcel) in draft.parcels.into_iter().enumerate() {
        let place = at(&format!("parcels[{index}]"));
        let listed = check_parcel(&place, parcel, draft.safe_place.as_ref())?;
        if !keys.insert(listed.key.clone()) {
            let place = format!("{place}.id");
            return Err(ManifestError::new(
                place,
                listed.key,
                "duplicate parcel; list each parcel once",
            ));
        }
        parcels.push(listed);
    }
    Ok(Stop {
        seq: draft.seq,
        position: check_position(place, draft.lat, draft.lon)?,
        radius: check_radius(place, draft.radius_m.unwrap_or(DEFAULT_RADIUS_M))?,
        window,
        service: Duration::from_secs(u64::from(service_s)),
        id: draft.id,
        parcels,
    })
}

fn check_parcel(
    place: &str,
    draft: RawParcel,
    safe_place: Option<&String>,
) -> Result<ManifestParcel, ManifestError> {
    let at = |name: &str| format!("{place}.{name}");
    check_text(&at("id"), &draft.id, MAX_KEY)?;
    let key = code::normalised(&draft.id);
    if key.is_empty() {
        return Err(ManifestError::new(at("id"), draft.id, "write the number on the parcel"));
    }
    for (name, words, max) in [
        ("epc", &draft.epc, MAX_URI),
        ("safe_place", &draft.safe_place, MAX_TEXT),
        ("neighbour", &draft.neighbour, MAX_TEXT),
    ] {
        if let Some(words) = words {
            check_text(&at(name), words, max)?;
        }
    }
    check_range(&at("rfid"), draft.rfid.len(), 0..=MAX_TAGS, "at most 8 tags")?;
    let mut tags = Vec::with_capacity(draft.rfid.len());
    for (index, tag) in draft.rfid.iter().enumerate() {
        let fits = !tag.is_empty() && tag.len() <= MAX_TAG;
        if !fits || !tag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let place = at(&format!("rfid[{index}]"));
            return Err(ManifestError::new(place, tag, "must be 1 to 124 hexadecimal digits"));
        }
        tags.push(tag.to_ascii_uppercase());
    }
    let preferences = Preferences {
        authority_to_leave: draft.authority_to_leave,
        safe_place: draft.safe_place.or_else(|| safe_place.cloned()),
        neighbour: draft.neighbour,
        signature_required: draft.signature_required,
    };
    Ok(ManifestParcel { key, epc: draft.epc, tags, preferences })
}

/// Checks that a text has 1 to `max` bytes and no control characters.
fn check_text(place: &str, text: &str, max: usize) -> Result<(), ManifestError> {
    if text.trim().is_empty() {
        return Err(ManifestError::new(place, "empty", "write at least one character"));
    }
    if text.len() > max {
        return Err(ManifestError::new(place, text, "too long; shorten it"));
    }
    if text.chars().any(char::is_control) {
        return Err(ManifestError::new(place, text, "remove the control characters"));
    }
    Ok(())
}

fn check_range<T: PartialOrd + fmt::Display>(
    place: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    remedy: &'static str,
) -> Result<(), ManifestError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ManifestError::new(place, value, remedy))
}

fn parse_time(place: &str, text: Option<String>) -> Result<Option<UtcTime>, ManifestError> {
    let Some(text) = text else { return Ok(None) };
    let time = UtcTime::parse(&text);
    time.map(Some)
        .ok_or_else(|| ManifestError::new(place, text, "write RFC 3339, as 2026-11-22T05:00:00Z"))
}

fn check_position(place: &str, lat: f64, lon: f64) -> Result<Position, ManifestError> {
    if !(-90.0..=90.0).contains(&lat) {
        return Err(ManifestError::new(format!("{place}.lat"), lat, "degrees from -90 to 90"));
    }
    let position = Position::from_degrees(lat, lon).ok_or_else(|| {
        ManifestError::new(format!("{place}.lon"), lon, "degrees from -180 to 180")
    })?;
    if position.is_null_island() {
        let remedy = "0 N 0 E is not a delivery address; geocode the stop first";
        return Err(ManifestError::new(format!("{place}.lat"), lat, remedy));
    }
    Ok(position)
}

fn check_radius(place: &str, metres: f64) -> Result<Distance, ManifestError> {
    let place = format!("{place}.radius_m");
    check_range(&place, metres, RADIUS_RANGE_M, "must be 20 to 5000 metres")?;
    Ok(Distance::from_metres(metres).expect("the range was checked"))
}

/// Builders for tests.
#[cfg(any(test, feature = "test-support"))]
pub mod testing {
    use super::{RawManifest, RawParcel, RawStation, RawStop};

    /// Returns a stop `north_m` metres north of 48° N 11° E with these parcels.
    #[must_use]
    pub fn stop(seq: u32, north_m: f64, parcels: &[&str]) -> RawStop {
        let parcels = parcels.iter().map(|key| RawParcel {
            id: (*key).to_owned(),
            epc: None,
            rfid: Vec::new(),
            authority_to_leave: None,
            signature_required: None,
            safe_place: None,
            neighbour: None,
        });
        RawStop {
            seq,
            id: format!("stop-{seq}"),
            lat: 48.0 + north_m / 111_195.0,
            lon: 11.0,
            radius_m: None,
            window: None,
            service_s: None,
            safe_place: None,
            parcels: parcels.collect(),
        }
    }

    /// Returns a manifest whose station is at 48° N 11° E with a radius of 100 m.
    #[must_use]
    pub fn draft(rev: u64, stops: Vec<RawStop>) -> RawManifest {
        RawManifest {
            route: "R-1".to_owned(),
            rev,
            date: Some("2027-01-15".to_owned()),
            station: RawStation {
                id: "https://id.gs1.org/414/9521234000013".to_owned(),
                lat: 48.0,
                lon: 11.0,
                radius_m: 100.0,
            },
            valid_from: None,
            valid_until: None,
            stops,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{draft, stop};
    use super::*;

    #[test]
    fn a_manifest_is_in_the_order_of_its_stops_and_its_keys_are_normalised() {
        let mut second = stop(2, 900.0, &["1z 999 aa1 01 2345 6784"]);
        second.safe_place = Some("porch".to_owned());
        let manifest = Manifest::new(draft(3, vec![second, stop(1, 500.0, &["A"])])).unwrap();
        assert_eq!(manifest.stops.iter().map(|stop| stop.seq).collect::<Vec<_>>(), [1, 2]);
        let listed = &manifest.stops[1].parcels[0];
        assert_eq!(listed.key, "1Z999AA10123456784");
        assert_eq!(listed.preferences.safe_place.as_deref(), Some("porch"));
        assert!((manifest.stops[0].radius.as_metres() - 60.0).abs() < 1e-9);
    }

    #[test]
    fn each_refusal_names_the_place_and_the_value_unless_it_is_personal() {
        type Spoil = fn(&mut RawManifest);
        let cases: &[(&str, Spoil)] = &[
            ("route is empty", |draft| draft.route.clear()),
            ("route is RRRR", |draft| draft.route = "R".repeat(65)),
            ("rev is 0", |draft| draft.rev = 0),
            ("date is 2027-02-30", |draft| draft.date = Some("2027-02-30".to_owned())),
            ("valid_until is yesterday", |draft| draft.valid_until = Some("yesterday".to_owned())),
            ("valid_until is 2027-01-01T00:00:00.000Z", |draft| {
                draft.valid_from = Some("2027-01-02T00:00:00Z".to_owned());
                draft.valid_until = Some("2027-01-01T00:00:00Z".to_owned());
            }),
            ("station.lat is 91", |draft| draft.station.lat = 91.0),
            ("station.radius_m is 5001", |draft| draft.station.radius_m = 5001.0),
            ("stops[1].seq is 1", |draft| draft.stops[1].seq = 1),
            ("stops[1].id is stop-1", |draft| draft.stops[1].id = "stop-1".to_owned()),
            ("stops[1].lat is NaN", |draft| draft.stops[1].lat = f64::NAN),
            ("stops[1].lon is 180.5", |draft| draft.stops[1].lon = 180.5),
            ("stops[1].lat is 0", |draft| (draft.stops[1].lat, draft.stops[1].lon) = (0.0, 0.0)),
            ("stops[0].radius_m is 19.9", |draft| draft.stops[0].radius_m = Some(19.9)),
            ("stops[0].service_s is 86401", |draft| draft.stops[0].service_s = Some(86_401)),
            ("stops[1].parcels[0].id: duplicate parcel", |draft| {
                draft.stops[1].parcels[0].id = "a".to_owned();
            }),
            ("stops[1].parcels[0].id: ", |draft| {
                draft.stops[1].parcels[0].id = " ".to_owned();
            }),
            ("stops[0].parcels[0].rfid[0]: ", |draft| {
                draft.stops[0].parcels[0].rfid = vec!["30G".to_owned()];
            }),
            ("stops[0].parcels[0].epc: ", |draft| {
                draft.stops[0].parcels[0].epc = Some(format!("https://{}", "x".repeat(256)));
            }),
            ("stops is 1001", |draft| {
                draft.stops = (0..1001).map(|seq| stop(seq, 500.0, &[])).collect();
            }),
            ("stops[].parcels is 5001", |draft| {
                draft.stops[0].parcels = vec![draft.stops[0].parcels[0].clone(); 5000];
            }),
        ];
        for (expected, spoil) in cases {
            let mut bad = draft(1, vec![stop(1, 500.0, &["A"]), stop(2, 900.0, &["B"])]);
            spoil(&mut bad);
            let refusal = Manifest::new(bad).expect_err(expected).to_string();
            assert!(refusal.starts_with(expected), "{refusal}");
            assert!(refusal.len() < 200, "{refusal}");
        }
    }
}
