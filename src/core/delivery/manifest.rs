//! [`Draft`] → [`Manifest`]: the route that the van drives, its stops in order, and what is due where.
//!
//! Everything in a manifest has been checked and is bounded; each refusal names the place, the value and the remedy.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Preferences, StopRef};
use crate::core::parcel::code;
use crate::units::{Date, Distance, Position, UtcTime};

/// No route has more stops.
pub const MAX_STOPS: usize = 1_000;
/// No van has more parcels.
pub const MAX_PARCELS: usize = 5_000;
/// Of a route's name and a stop's, in bytes.
pub const MAX_NAME: usize = 64;
/// Of a parcel's key, in bytes.
pub const MAX_KEY: usize = code::MAX_KEY;
/// Of a URI, in bytes.
pub const MAX_URI: usize = 256;
/// Of words for people, in bytes.
pub const MAX_TEXT: usize = 200;
/// Radio tags of one parcel.
pub const MAX_TAGS: usize = 8;
/// Of a tag's memory, in hexadecimal digits.
pub const MAX_TAG: usize = 124;

const DEFAULT_RADIUS_M: f64 = 60.0;
const RADIUS_M: std::ops::RangeInclusive<f64> = 20.0..=5_000.0;
const DEFAULT_SERVICE_S: u32 = 90;
const MAX_SERVICE_S: u32 = 86_400;

/// A route that was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub route: String,
    /// Rises with each change of the same route.
    pub rev: u64,
    /// Where the van is loaded.
    pub station: Station,
    /// Before this nobody drives it.
    pub valid_from: Option<UtcTime>,
    /// Then it is over, whatever is left.
    pub valid_until: Option<UtcTime>,
    /// In the order of their numbers.
    pub stops: Vec<Stop>,
}

/// Where the van is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// Its URI.
    pub id: String,
    /// WGS 84.
    pub position: Position,
    /// Of its fence.
    pub radius: Distance,
}

/// A stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Its number: the order in which stops are driven to.
    pub seq: u32,
    /// Its name, never an address.
    pub id: String,
    /// WGS 84.
    pub position: Position,
    /// Of its fence: 20..=5,000 m.
    pub radius: Distance,
    /// What the recipient was promised.
    pub window: Option<(UtcTime, UtcTime)>,
    /// How long it takes.
    pub service: Duration,
    /// What is due here.
    pub parcels: Vec<Listed>,
}

impl Stop {
    /// As events name it.
    #[must_use]
    pub fn as_ref(&self) -> StopRef {
        StopRef { seq: self.seq, id: self.id.clone() }
    }
}

/// A parcel as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its number, normalised.
    pub key: String,
    /// Its URI; `None` = made from the key.
    pub epc: Option<String>,
    /// Memory of its radio tags, hexadecimal, upper case.
    pub tags: Vec<String>,
    /// What the recipient asks for.
    pub preferences: Preferences,
}

/// Why a manifest is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestRefusal {
    /// Such as `stops[17].lat`.
    pub place: String,
    /// What stands there, shortened.
    pub value: String,
    /// What should.
    pub remedy: &'static str,
}

/// For `state`, the log and people at the van: without the value where it is about a parcel or a recipient.
impl fmt::Display for ManifestRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, value, remedy } = self;
        let personal = [".parcels[", "safe_place", "neighbour", "instructions"];
        if personal.iter().any(|part| place.contains(part)) {
            write!(f, "{place}: {remedy}")
        } else {
            write!(f, "{place} is {value}: {remedy}")
        }
    }
}

impl ManifestRefusal {
    /// A refusal of `value` at `place`.
    #[must_use]
    pub fn new(place: impl Into<String>, value: impl fmt::Display, remedy: &'static str) -> Self {
        const SHOWN: usize = 80;
        let mut value: String = value.to_string().chars().filter(|c| !c.is_control()).collect();
        if value.len() > SHOWN {
            value.truncate(value.floor_char_boundary(SHOWN));
            value.push('…');
        }
        Self { place: place.into(), value, remedy }
    }
}

/// A manifest as it was written, unchecked. The names are the wire's.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "docs/contract.md and Manifest say it")]
pub struct Draft {
    pub route: String,
    pub rev: u64,
    pub date: Option<String>,
    pub station: DraftStation,
    pub valid_from: Option<String>,
    pub valid_until: Option<String>,
    pub stops: Vec<DraftStop>,
}

/// A station as it was written.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "docs/contract.md and Station say it")]
pub struct DraftStation {
    pub id: String,
    pub lat: f64,
    pub lon: f64,
    pub radius_m: f64,
}

/// A stop as it was written.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "docs/contract.md and Stop say it")]
pub struct DraftStop {
    pub seq: u32,
    pub id: String,
    pub lat: f64,
    pub lon: f64,
    pub radius_m: Option<f64>,
    pub window: Option<(String, String)>,
    pub service_s: Option<u32>,
    pub safe_place: Option<String>,
    pub parcels: Vec<DraftParcel>,
}

/// A parcel as it was written.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "docs/contract.md and Listed say it")]
pub struct DraftParcel {
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
    /// Checks a draft.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(draft: Draft) -> Result<Self, ManifestRefusal> {
        let Draft { route, rev, date, station, valid_from, valid_until, stops } = draft;
        text("route", &route, MAX_NAME)?;
        within("rev", rev, 1..=u64::from(u32::MAX), "a whole number from 1 on")?;
        if let Some(date) = date.filter(|date| Date::parse(date).is_none()) {
            return Err(ManifestRefusal::new("date", date, "write YYYY-MM-DD"));
        }
        let (from, until) = (time("valid_from", valid_from)?, time("valid_until", valid_until)?);
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            return Err(ManifestRefusal::new("valid_until", until, "later than valid_from"));
        }
        text("station.id", &station.id, MAX_URI)?;
        let station = Station {
            position: position("station", station.lat, station.lon)?,
            radius: radius("station", station.radius_m)?,
            id: station.id,
        };
        let stops = check_stops(stops)?;
        Ok(Self { route, rev, station, valid_from: from, valid_until: until, stops })
    }

    /// How many parcels it lists.
    #[must_use]
    pub fn parcels(&self) -> usize {
        self.stops.iter().map(|stop| stop.parcels.len()).sum()
    }
}

fn check_stops(drafts: Vec<DraftStop>) -> Result<Vec<Stop>, ManifestRefusal> {
    within("stops", drafts.len(), 0..=MAX_STOPS, "at most 1,000 stops; split the route")?;
    let parcels = drafts.iter().map(|stop| stop.parcels.len()).sum();
    within("stops[].parcels", parcels, 0..=MAX_PARCELS, "at most 5,000 parcels; split the route")?;
    let (mut seqs, mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut stops = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.into_iter().enumerate() {
        let place = format!("stops[{index}]");
        if !seqs.insert(draft.seq) {
            let place = format!("{place}.seq");
            return Err(ManifestRefusal::new(place, draft.seq, "a number that no other stop has"));
        }
        if !ids.insert(draft.id.clone()) {
            let place = format!("{place}.id");
            return Err(ManifestRefusal::new(place, draft.id, "a name that no other stop has"));
        }
        stops.push(check_stop(&place, draft, &mut keys)?);
    }
    stops.sort_by_key(|stop| stop.seq);
    Ok(stops)
}

fn check_stop(
    place: &str,
    draft: DraftStop,
    keys: &mut BTreeSet<String>,
) -> Result<Stop, ManifestRefusal> {
    let at = |name: &str| format!("{place}.{name}");
    text(&at("id"), &draft.id, MAX_NAME)?;
    let window = match draft.window {
        None => None,
        Some((from, until)) => {
            let from = time(&at("window[0]"), Some(from))?;
            let until = time(&at("window[1]"), Some(until))?;
            from.zip(until)
        }
    };
    if let Some((_, until)) = window.filter(|(from, until)| from > until) {
        return Err(ManifestRefusal::new(at("window[1]"), until, "not before the window begins"));
    }
    let service_s = draft.service_s.unwrap_or(DEFAULT_SERVICE_S);
    within(&at("service_s"), service_s, 0..=MAX_SERVICE_S, "at most a day")?;
    if let Some(words) = &draft.safe_place {
        text(&at("safe_place"), words, MAX_TEXT)?;
    }
    let mut parcels = Vec::with_capacity(draft.parcels.len());
    for (index, parcel) in draft.parcels.into_iter().enumerate() {
        let place = at(&format!("parcels[{index}]"));
        let listed = check_parcel(&place, parcel, draft.safe_place.as_ref())?;
        if !keys.insert(listed.key.clone()) {
            let place = format!("{place}.id");
            return Err(ManifestRefusal::new(place, listed.key, "a parcel is due once"));
        }
        parcels.push(listed);
    }
    Ok(Stop {
        seq: draft.seq,
        position: position(place, draft.lat, draft.lon)?,
        radius: radius(place, draft.radius_m.unwrap_or(DEFAULT_RADIUS_M))?,
        window,
        service: Duration::from_secs(u64::from(service_s)),
        id: draft.id,
        parcels,
    })
}

fn check_parcel(
    place: &str,
    draft: DraftParcel,
    safe_place: Option<&String>,
) -> Result<Listed, ManifestRefusal> {
    let at = |name: &str| format!("{place}.{name}");
    text(&at("id"), &draft.id, MAX_KEY)?;
    let key = code::normalised(&draft.id);
    if key.is_empty() {
        return Err(ManifestRefusal::new(at("id"), draft.id, "the number on the parcel"));
    }
    for (name, words, max) in [
        ("epc", &draft.epc, MAX_URI),
        ("safe_place", &draft.safe_place, MAX_TEXT),
        ("neighbour", &draft.neighbour, MAX_TEXT),
    ] {
        if let Some(words) = words {
            text(&at(name), words, max)?;
        }
    }
    within(&at("rfid"), draft.rfid.len(), 0..=MAX_TAGS, "at most 8 tags")?;
    let mut tags = Vec::with_capacity(draft.rfid.len());
    for (index, tag) in draft.rfid.iter().enumerate() {
        let fits = !tag.is_empty() && tag.len() <= MAX_TAG;
        if !fits || !tag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let place = at(&format!("rfid[{index}]"));
            return Err(ManifestRefusal::new(place, tag, "1 to 124 hexadecimal digits"));
        }
        tags.push(tag.to_ascii_uppercase());
    }
    let preferences = Preferences {
        authority_to_leave: draft.authority_to_leave,
        safe_place: draft.safe_place.or_else(|| safe_place.cloned()),
        neighbour: draft.neighbour,
        signature_required: draft.signature_required,
    };
    Ok(Listed { key, epc: draft.epc, tags, preferences })
}

/// 1 to `max` bytes, none of them a control character.
fn text(place: &str, text: &str, max: usize) -> Result<(), ManifestRefusal> {
    if text.trim().is_empty() {
        return Err(ManifestRefusal::new(place, "empty", "write something"));
    }
    if text.len() > max {
        return Err(ManifestRefusal::new(place, text, "too long; shorten it"));
    }
    if text.chars().any(char::is_control) {
        return Err(ManifestRefusal::new(place, text, "leave control characters out"));
    }
    Ok(())
}

fn within<T: PartialOrd + fmt::Display>(
    place: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    remedy: &'static str,
) -> Result<(), ManifestRefusal> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ManifestRefusal::new(place, value, remedy))
}

fn time(place: &str, text: Option<String>) -> Result<Option<UtcTime>, ManifestRefusal> {
    let Some(text) = text else { return Ok(None) };
    let time = UtcTime::parse(&text);
    time.map(Some)
        .ok_or_else(|| ManifestRefusal::new(place, text, "write RFC 3339, as 2026-11-22T05:00:00Z"))
}

fn position(place: &str, lat: f64, lon: f64) -> Result<Position, ManifestRefusal> {
    if !(-90.0..=90.0).contains(&lat) {
        return Err(ManifestRefusal::new(format!("{place}.lat"), lat, "degrees from -90 to 90"));
    }
    let position = Position::from_degrees(lat, lon).ok_or_else(|| {
        ManifestRefusal::new(format!("{place}.lon"), lon, "degrees from -180 to 180")
    })?;
    if position.is_null_island() {
        let remedy = "0 N 0 E is no address; find the place first";
        return Err(ManifestRefusal::new(format!("{place}.lat"), lat, remedy));
    }
    Ok(position)
}

fn radius(place: &str, metres: f64) -> Result<Distance, ManifestRefusal> {
    let place = format!("{place}.radius_m");
    within(&place, metres, RADIUS_M, "20 to 5000 metres")?;
    Ok(Distance::from_metres(metres).expect("the range was checked"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stop `north_m` metres north of 48° N 11° E with these parcels.
    pub(crate) fn stop(seq: u32, north_m: f64, parcels: &[&str]) -> DraftStop {
        let parcels = parcels.iter().map(|key| DraftParcel {
            id: (*key).to_owned(),
            epc: None,
            rfid: Vec::new(),
            authority_to_leave: None,
            signature_required: None,
            safe_place: None,
            neighbour: None,
        });
        DraftStop {
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

    /// The station is at 48° N 11° E, 100 m around.
    pub(crate) fn draft(rev: u64, stops: Vec<DraftStop>) -> Draft {
        Draft {
            route: "R-1".to_owned(),
            rev,
            date: Some("2027-01-15".to_owned()),
            station: DraftStation {
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
        type Spoil = fn(&mut Draft);
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
            ("stops[1].parcels[0].id: a parcel is due once", |draft| {
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
