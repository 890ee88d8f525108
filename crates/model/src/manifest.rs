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
/// Maximum number of delivery windows per stop.
pub const MAX_WINDOWS: usize = 4;
/// Maximum number of handling instructions per parcel.
pub const MAX_HANDLING: usize = 8;
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
    /// Offset of local time from UTC, minutes: -720..=840. Events state it.
    pub utc_offset_min: Option<i16>,
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
    /// Delivery window promised to the recipient: the first one of kind `promised`.
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
    /// Whether the sender requires a signature.
    pub requires_signature: bool,
    /// Delivery preferences of the recipient.
    pub preferences: Preferences,
}

/// Validation error of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// Path of the field, such as `stops[17].lat`.
    pub path: String,
    /// Kind of error.
    pub code: ErrorCode,
    /// Rejected value, shortened to 80 bytes.
    pub value: String,
    /// Expected value.
    pub remedy: &'static str,
}

/// Kind of a validation error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// Not JSON, or not the expected types.
    Malformed,
    /// A text is empty or contains control characters.
    InvalidText,
    /// A time, date, offset or other value has the wrong format.
    InvalidFormat,
    /// A number, a length or a count is outside its range.
    OutOfRange,
    /// A value that must be unique occurs twice.
    Duplicate,
    /// Two values contradict each other.
    Conflict,
    /// Valid, but this version cannot do it.
    Unsupported,
}

impl ErrorCode {
    /// Returns the code as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidText => "invalid_text",
            Self::InvalidFormat => "invalid_format",
            Self::OutOfRange => "out_of_range",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Manifest that was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct RejectedManifest {
    /// Route id, if the payload has a valid one.
    pub route: Option<String>,
    /// Revision, if the payload has one.
    pub rev: Option<u64>,
    /// First validation error.
    pub error: ManifestError,
}

/// The text appears in `state`, the log and on the driver's device. It leaves out the value of
/// fields about parcels and recipients, which are personal data.
impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path: place, value, remedy, .. } = self;
        if place.contains(".parcels[") {
            write!(f, "{place}: {remedy}")
        } else {
            write!(f, "{place} is {value}: {remedy}")
        }
    }
}

impl ManifestError {
    /// Creates an error for `value` at `place`.
    #[must_use]
    pub fn new(
        place: impl Into<String>,
        code: ErrorCode,
        value: impl fmt::Display,
        remedy: &'static str,
    ) -> Self {
        const SHOWN: usize = 80;
        let mut value: String = value.to_string().chars().filter(|c| !c.is_control()).collect();
        if value.len() > SHOWN {
            value.truncate(value.floor_char_boundary(SHOWN));
            value.push('…');
        }
        Self { path: place.into(), code, value, remedy }
    }

    /// Returns the JSON Pointer of the field (RFC 6901), such as `/stops/17/lat`; empty if the
    /// error
    /// concerns the whole payload.
    #[must_use]
    pub fn pointer(&self) -> String {
        if self.path.contains(' ') {
            return String::new();
        }
        format!("/{}", self.path.replace(']', "").replace(['.', '['], "/"))
    }
}

/// Manifest as received, not validated yet. The field names are those of the JSON payload.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawManifest {
    /// Id of the route, 1 to 64 bytes; never an address.
    pub route: String,
    /// Revision: a higher one of the same route replaces the manifest, any other is ignored.
    pub rev: u64,
    /// Name of the route for dispatchers.
    pub name: Option<String>,
    /// Day of service.
    pub service_date: Option<String>,
    /// Time zone of the route for people (IANA), such as `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// Offset of local time from UTC, such as `+01:00`; events state it.
    pub utc_offset: Option<String>,
    /// Station where the van is loaded.
    pub station: RawStation,
    /// Station where the route ends, if it is another one. This version rejects other stations.
    pub end_station: Option<RawStation>,
    /// Earliest time at which the route is driven.
    pub valid_from: Option<String>,
    /// End of validity: the route is then completed, with any parcels left.
    pub valid_until: Option<String>,
    /// Stops, up to 1,000, with up to 5,000 parcels in total.
    pub stops: Vec<RawStop>,
}

/// Station as received.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawStation {
    /// URI of the station, such as a GLN as GS1 Digital Link, or the operator's own id.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Degrees north, WGS 84.
    pub lat: f64,
    /// Degrees east, WGS 84.
    pub lon: f64,
    /// Radius of the geofence, m.
    pub radius_m: f64,
}

/// Stop as received.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawStop {
    /// Sequence number: the order of the stops.
    pub seq: u32,
    /// Id of the stop, 1 to 64 bytes; never an address.
    pub id: String,
    /// Degrees north, WGS 84.
    pub lat: f64,
    /// Degrees east, WGS 84.
    pub lon: f64,
    /// Radius of the geofence, m; 60 if absent.
    pub radius_m: Option<f64>,
    /// Where to park or ring, if that is not the middle of the geofence.
    pub entrance: Option<RawPlace>,
    /// Kind of place, such as `door`, `locker`, `pickup_point`, `business` or `depot`.
    pub place: Option<String>,
    /// Delivery windows, up to 4.
    #[serde(default)]
    pub windows: Vec<RawWindow>,
    /// Expected duration of the stop, s; 90 if absent.
    pub service_s: Option<u32>,
    /// Parcels due at this stop.
    pub parcels: Vec<RawParcel>,
}

/// Place as received.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawPlace {
    /// Degrees north, WGS 84.
    pub lat: f64,
    /// Degrees east, WGS 84.
    pub lon: f64,
}

/// Window of a stop as received.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawWindow {
    /// Start of the window.
    pub from: String,
    /// End of the window.
    pub until: String,
    /// `promised` (also if absent) or another kind, such as `access`.
    pub kind: Option<String>,
}

/// Parcel as received.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawParcel {
    /// Number on the label, compared without spaces and in upper case; up to 128 bytes.
    pub number: String,
    /// URI of the parcel; derived from the number if absent.
    pub epc: Option<String>,
    /// `deliver` (also if absent). `collect` is reserved; a manifest with an unknown task is
    /// rejected.
    pub task: Option<String>,
    /// Carrier of the parcel, for people.
    pub carrier: Option<String>,
    /// Memory of up to 8 RFID tags, hexadecimal.
    #[serde(default)]
    pub rfid: Vec<String>,
    /// Shipment that the parcel belongs to.
    pub shipment: Option<RawShipment>,
    /// Weight, kg.
    pub weight_kg: Option<f64>,
    /// Size, m.
    pub dimensions_m: Option<RawDimensions>,
    /// Handling instructions, such as `fragile`; up to 8.
    #[serde(default)]
    pub handling: Vec<String>,
    /// What the sender requires of the delivery.
    #[serde(default)]
    pub require: RawRequirements,
    /// Payment on delivery.
    pub collect_payment: Option<RawPayment>,
    /// Delivery preferences of the recipient.
    #[serde(default)]
    pub preferences: RawPreferences,
}

/// Shipment of a parcel as received: parcel `index` of `count`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawShipment {
    /// Id of the shipment.
    pub id: String,
    /// Number of this parcel in the shipment, from 1.
    pub index: u32,
    /// Number of parcels of the shipment.
    pub count: u32,
}

/// Size of a parcel as received, m.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawDimensions {
    /// Length, m.
    pub length: f64,
    /// Width, m.
    pub width: f64,
    /// Height, m.
    pub height: f64,
}

/// What the sender requires of the delivery, as received.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRequirements {
    /// Whether a signature is required.
    pub signature: Option<bool>,
    /// Check of the recipient's identity.
    pub id_check: Option<RawIdCheck>,
    /// Whether the recipient must name a PIN.
    pub pin: Option<bool>,
    /// Whether a photo is required.
    pub photo: Option<bool>,
}

/// Check of the recipient's identity, as received.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawIdCheck {
    /// Minimum age of the recipient, years.
    pub min_age: Option<u32>,
}

/// Payment on delivery, as received.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawPayment {
    /// Amount as a decimal, such as `49.90`.
    pub amount: String,
    /// Currency (ISO 4217), such as `EUR`.
    pub currency: String,
    /// Accepted methods, such as `cash` and `card`; up to 4.
    #[serde(default)]
    pub methods: Vec<String>,
}

/// Delivery preferences of the recipient, as received.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawPreferences {
    /// Whether the parcel may be left unattended.
    pub authority_to_leave: Option<bool>,
    /// Safe place where to leave the parcel; up to 200 bytes.
    pub safe_place: Option<String>,
    /// Neighbour who may accept the parcel; up to 200 bytes.
    pub neighbour: Option<String>,
    /// Whether the recipient wants to sign for the parcel.
    pub signature_required: Option<bool>,
}

impl Manifest {
    /// Validates a received manifest.
    ///
    /// # Errors
    /// Returns the first validation error.
    pub fn new(draft: RawManifest) -> Result<Self, ManifestError> {
        let RawManifest { route, rev, station, stops, .. } = draft;
        check_text("route", &route, MAX_NAME)?;
        check_range("rev", rev, 1..=u64::from(u32::MAX), "must be 1 to 4294967295")?;
        for (place, text) in [("name", &draft.name), ("time_zone", &draft.time_zone)] {
            if let Some(text) = text {
                check_text(place, text, MAX_NAME)?;
            }
        }
        if let Some(date) = draft.service_date.filter(|date| Date::parse(date).is_none()) {
            let code = ErrorCode::InvalidFormat;
            return Err(ManifestError::new("service_date", code, date, "write YYYY-MM-DD"));
        }
        let utc_offset_min = draft.utc_offset.map(parse_utc_offset).transpose()?;
        let from = parse_time("valid_from", draft.valid_from)?;
        let until = parse_time("valid_until", draft.valid_until)?;
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            let (code, remedy) = (ErrorCode::Conflict, "must be later than valid_from");
            return Err(ManifestError::new("valid_until", code, until, remedy));
        }
        if draft.end_station.is_some_and(|end| end.id != station.id) {
            let (code, remedy) =
                (ErrorCode::Unsupported, "this version ends a route at its station");
            return Err(ManifestError::new("end_station", code, "another station", remedy));
        }
        let station = check_station("station", station)?;
        let stops = check_stops(stops)?;
        Ok(Self {
            route,
            rev,
            station,
            valid_from: from,
            valid_until: until,
            utc_offset_min,
            stops,
        })
    }

    /// Returns the number of parcels.
    #[must_use]
    pub fn parcel_count(&self) -> usize {
        self.stops.iter().map(|stop| stop.parcels.len()).sum()
    }
}

fn check_station(place: &str, station: RawStation) -> Result<Station, ManifestError> {
    check_text(&format!("{place}.id"), &station.id, MAX_URI)?;
    if let Some(name) = &station.name {
        check_text(&format!("{place}.name"), name, MAX_TEXT)?;
    }
    Ok(Station {
        position: check_position(place, station.lat, station.lon)?,
        radius: check_radius(place, station.radius_m)?,
        id: station.id,
    })
}

/// Parses an offset such as `+01:00`, in minutes.
fn parse_utc_offset(text: String) -> Result<i16, ManifestError> {
    let parse = |text: &str| {
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|c| c.is_ascii_digit());
        let whole: i16 = [hours, minutes].into_iter().all(digits).then_some(0)?;
        let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
        let offset = sign * (whole + 60 * hours + minutes);
        (minutes < 60 && (-720..=840).contains(&offset)).then_some(offset)
    };
    parse(&text).ok_or_else(|| {
        let remedy = "write an offset from -12:00 to +14:00, such as +01:00";
        ManifestError::new("utc_offset", ErrorCode::InvalidFormat, text, remedy)
    })
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
            let (code, remedy) = (ErrorCode::Duplicate, "must be unique among the stops");
            return Err(ManifestError::new(place, code, draft.seq, remedy));
        }
        if !ids.insert(draft.id.clone()) {
            let place = format!("{place}.id");
            let (code, remedy) = (ErrorCode::Duplicate, "must be unique among the stop ids");
            return Err(ManifestError::new(place, code, draft.id, remedy));
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
    let window = check_windows(&at("windows"), &draft.windows)?;
    if let Some(kind) = &draft.place {
        check_text(&at("place"), kind, MAX_NAME)?;
    }
    if let Some(entrance) = draft.entrance {
        check_position(&at("entrance"), entrance.lat, entrance.lon)?;
    }
    let service_s = draft.service_s.unwrap_or(DEFAULT_SERVICE_S);
    check_range(&at("service_s"), service_s, 0..=MAX_SERVICE_S, "must be at most 86400 s")?;
    let mut parcels = Vec::with_capacity(draft.parcels.len());
    for (index, parcel) in draft.parcels.into_iter().enumerate() {
        let place = at(&format!("parcels[{index}]"));
        let listed = check_parcel(&place, parcel)?;
        if !keys.insert(listed.key.clone()) {
            let place = format!("{place}.number");
            let (code, remedy) = (ErrorCode::Duplicate, "duplicate parcel; list each parcel once");
            return Err(ManifestError::new(place, code, listed.key, remedy));
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

/// Returns the promised window: the first one whose kind is `promised` or absent.
fn check_windows(
    place: &str,
    windows: &[RawWindow],
) -> Result<Option<(UtcTime, UtcTime)>, ManifestError> {
    check_range(place, windows.len(), 0..=MAX_WINDOWS, "at most 4 windows")?;
    let mut promised = None;
    for (index, window) in windows.iter().enumerate() {
        let at = |name: &str| format!("{place}[{index}].{name}");
        let from = parse_time(&at("from"), Some(window.from.clone()))?;
        let until = parse_time(&at("until"), Some(window.until.clone()))?;
        if let Some(kind) = &window.kind {
            check_text(&at("kind"), kind, MAX_NAME)?;
        }
        let pair = from.zip(until);
        if let Some((_, until)) = pair.filter(|(from, until)| from > until) {
            let (code, remedy) =
                (ErrorCode::Conflict, "must not be before the start of the window");
            return Err(ManifestError::new(at("until"), code, until, remedy));
        }
        if promised.is_none() && window.kind.as_deref().is_none_or(|kind| kind == "promised") {
            promised = pair;
        }
    }
    Ok(promised)
}

fn check_parcel(place: &str, draft: RawParcel) -> Result<ManifestParcel, ManifestError> {
    let at = |name: &str| format!("{place}.{name}");
    check_text(&at("number"), &draft.number, MAX_KEY)?;
    let key = code::normalised(&draft.number);
    if key.is_empty() {
        let remedy = "write the number on the parcel";
        let code = ErrorCode::InvalidText;
        return Err(ManifestError::new(at("number"), code, draft.number, remedy));
    }
    match draft.task.as_deref() {
        None | Some("deliver") => {}
        Some(task) => {
            let remedy = "this version knows the task deliver only";
            return Err(ManifestError::new(at("task"), ErrorCode::Unsupported, task, remedy));
        }
    }
    check_parcel_details(&at, &draft)?;
    let RawPreferences { authority_to_leave, safe_place, neighbour, signature_required } =
        draft.preferences;
    for (name, words, max) in [
        ("epc", &draft.epc, MAX_URI),
        ("carrier", &draft.carrier, MAX_NAME),
        ("preferences.safe_place", &safe_place, MAX_TEXT),
        ("preferences.neighbour", &neighbour, MAX_TEXT),
    ] {
        if let Some(words) = words {
            check_text(&at(name), words, max)?;
        }
    }
    let requires_signature = draft.require.signature == Some(true);
    if requires_signature && authority_to_leave == Some(true) {
        let remedy = "contradicts require.signature; remove one of them";
        let place = at("preferences.authority_to_leave");
        return Err(ManifestError::new(place, ErrorCode::Conflict, true, remedy));
    }
    check_range(&at("rfid"), draft.rfid.len(), 0..=MAX_TAGS, "at most 8 tags")?;
    let mut tags = Vec::with_capacity(draft.rfid.len());
    for (index, tag) in draft.rfid.iter().enumerate() {
        let fits = !tag.is_empty() && tag.len() <= MAX_TAG;
        if !fits || !tag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let place = at(&format!("rfid[{index}]"));
            let (code, remedy) = (ErrorCode::InvalidFormat, "must be 1 to 124 hexadecimal digits");
            return Err(ManifestError::new(place, code, tag, remedy));
        }
        tags.push(tag.to_ascii_uppercase());
    }
    let preferences = Preferences { authority_to_leave, safe_place, neighbour, signature_required };
    Ok(ManifestParcel { key, epc: draft.epc, tags, requires_signature, preferences })
}

/// Checks the members that are for people and for the backend only.
fn check_parcel_details(
    at: &impl Fn(&str) -> String,
    draft: &RawParcel,
) -> Result<(), ManifestError> {
    if let Some(RawShipment { id, index, count }) = &draft.shipment {
        check_text(&at("shipment.id"), id, MAX_NAME)?;
        check_range(&at("shipment.count"), *count, 1..=10_000, "must be 1 to 10000")?;
        check_range(&at("shipment.index"), *index, 1..=*count, "must be 1 to shipment.count")?;
    }
    if let Some(weight) = draft.weight_kg {
        check_range(&at("weight_kg"), weight, 0.0..=2_000.0, "must be 0 to 2000 kg")?;
    }
    if let Some(RawDimensions { length, width, height }) = draft.dimensions_m {
        for (name, metres) in [("length", length), ("width", width), ("height", height)] {
            let place = at(&format!("dimensions_m.{name}"));
            check_range(&place, metres, 0.0..=20.0, "must be 0 to 20 m")?;
        }
    }
    check_range(&at("handling"), draft.handling.len(), 0..=MAX_HANDLING, "at most 8")?;
    for (index, word) in draft.handling.iter().enumerate() {
        check_text(&at(&format!("handling[{index}]")), word, MAX_NAME)?;
    }
    if let Some(age) = draft.require.id_check.and_then(|check| check.min_age) {
        check_range(&at("require.id_check.min_age"), age, 1..=120, "must be 1 to 120 years")?;
    }
    if let Some(RawPayment { amount, currency, methods }) = &draft.collect_payment {
        let is_amount = {
            let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
            let digits = |part: &str, max: usize| {
                (1..=max).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit())
            };
            digits(whole, 9) && digits(fraction, 4)
        };
        let code = ErrorCode::InvalidFormat;
        if !is_amount {
            let (place, remedy) = (at("collect_payment.amount"), "write a decimal, such as 49.90");
            return Err(ManifestError::new(place, code, amount, remedy));
        }
        if currency.len() != 3 || !currency.bytes().all(|c| c.is_ascii_uppercase()) {
            let place = at("collect_payment.currency");
            let remedy = "write a code of ISO 4217, such as EUR";
            return Err(ManifestError::new(place, code, currency, remedy));
        }
        check_range(&at("collect_payment.methods"), methods.len(), 0..=4, "at most 4 methods")?;
        for (index, method) in methods.iter().enumerate() {
            check_text(&at(&format!("collect_payment.methods[{index}]")), method, MAX_NAME)?;
        }
    }
    Ok(())
}

/// Checks that a text has 1 to `max` bytes and no control characters.
fn check_text(place: &str, text: &str, max: usize) -> Result<(), ManifestError> {
    if text.trim().is_empty() {
        let (code, remedy) = (ErrorCode::InvalidText, "write at least one character");
        return Err(ManifestError::new(place, code, "empty", remedy));
    }
    if text.len() > max {
        return Err(ManifestError::new(place, ErrorCode::OutOfRange, text, "too long; shorten it"));
    }
    if text.chars().any(char::is_control) {
        let (code, remedy) = (ErrorCode::InvalidText, "remove the control characters");
        return Err(ManifestError::new(place, code, text, remedy));
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
    Err(ManifestError::new(place, ErrorCode::OutOfRange, value, remedy))
}

fn parse_time(place: &str, text: Option<String>) -> Result<Option<UtcTime>, ManifestError> {
    let Some(text) = text else { return Ok(None) };
    let time = UtcTime::parse(&text);
    time.map(Some).ok_or_else(|| {
        let remedy = "write RFC 3339, as 2026-11-22T05:00:00Z";
        ManifestError::new(place, ErrorCode::InvalidFormat, text, remedy)
    })
}

fn check_position(place: &str, lat: f64, lon: f64) -> Result<Position, ManifestError> {
    let error = |name: &str, value: f64, remedy: &'static str| {
        ManifestError::new(format!("{place}.{name}"), ErrorCode::OutOfRange, value, remedy)
    };
    if !(-90.0..=90.0).contains(&lat) {
        return Err(error("lat", lat, "degrees from -90 to 90"));
    }
    let position = Position::from_degrees(lat, lon)
        .ok_or_else(|| error("lon", lon, "degrees from -180 to 180"))?;
    if position.is_null_island() {
        let remedy = "0 N 0 E is not a delivery address; geocode the stop first";
        return Err(error("lat", lat, remedy));
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
    use super::{RawManifest, RawParcel, RawPreferences, RawRequirements, RawStation, RawStop};

    /// Returns a parcel with nothing but its number.
    #[must_use]
    pub fn parcel(number: &str) -> RawParcel {
        RawParcel {
            number: number.to_owned(),
            epc: None,
            task: None,
            carrier: None,
            rfid: Vec::new(),
            shipment: None,
            weight_kg: None,
            dimensions_m: None,
            handling: Vec::new(),
            require: RawRequirements::default(),
            collect_payment: None,
            preferences: RawPreferences::default(),
        }
    }

    /// Returns a stop `north_m` metres north of 48° N 11° E with these parcels.
    #[must_use]
    pub fn stop(seq: u32, north_m: f64, parcels: &[&str]) -> RawStop {
        let parcels = parcels.iter().map(|number| parcel(number));
        RawStop {
            seq,
            id: format!("stop-{seq}"),
            lat: 48.0 + north_m / 111_195.0,
            lon: 11.0,
            radius_m: None,
            entrance: None,
            place: None,
            windows: Vec::new(),
            service_s: None,
            parcels: parcels.collect(),
        }
    }

    /// Returns a manifest whose station is at 48° N 11° E with a radius of 100 m.
    #[must_use]
    pub fn draft(rev: u64, stops: Vec<RawStop>) -> RawManifest {
        RawManifest {
            route: "R-1".to_owned(),
            rev,
            name: None,
            service_date: Some("2027-01-15".to_owned()),
            time_zone: None,
            utc_offset: None,
            station: RawStation {
                id: "https://id.gs1.org/414/9521234000013".to_owned(),
                name: None,
                lat: 48.0,
                lon: 11.0,
                radius_m: 100.0,
            },
            end_station: None,
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
        second.parcels[0].preferences.safe_place = Some("porch".to_owned());
        let manifest = Manifest::new(draft(3, vec![second, stop(1, 500.0, &["A"])])).unwrap();
        assert_eq!(manifest.stops.iter().map(|stop| stop.seq).collect::<Vec<_>>(), [1, 2]);
        let listed = &manifest.stops[1].parcels[0];
        assert_eq!(listed.key, "1Z999AA10123456784");
        assert_eq!(listed.preferences.safe_place.as_deref(), Some("porch"));
        assert!((manifest.stops[0].radius.as_metres() - 60.0).abs() < 1e-9);
    }

    type Spoil = fn(&mut RawManifest);

    fn expect_refusals(cases: &[(&str, Spoil)]) {
        for (expected, spoil) in cases {
            let mut bad = draft(1, vec![stop(1, 500.0, &["A"]), stop(2, 900.0, &["B"])]);
            spoil(&mut bad);
            let refusal = Manifest::new(bad).expect_err(expected).to_string();
            assert!(refusal.starts_with(expected), "{refusal}");
            assert!(refusal.len() < 200, "{refusal}");
        }
    }

    #[test]
    fn each_refusal_names_the_place_and_the_value_unless_it_is_personal() {
        expect_refusals(&[
            ("route is empty", |draft| draft.route.clear()),
            ("route is RRRR", |draft| draft.route = "R".repeat(65)),
            ("rev is 0", |draft| draft.rev = 0),
            ("service_date is 2027-02-30", |draft| {
                draft.service_date = Some("2027-02-30".to_owned());
            }),
            ("valid_until is yesterday", |draft| draft.valid_until = Some("yesterday".to_owned())),
            ("valid_until is 2027-01-01T00:00:00.000Z", |draft| {
                draft.valid_from = Some("2027-01-02T00:00:00Z".to_owned());
                draft.valid_until = Some("2027-01-01T00:00:00Z".to_owned());
            }),
        ]);
    }

    #[test]
    fn each_refusal_of_the_newer_members_names_the_place() {
        expect_refusals(&[
            ("utc_offset is +1:00", |draft| draft.utc_offset = Some("+1:00".to_owned())),
            ("utc_offset is +14:15", |draft| draft.utc_offset = Some("+14:15".to_owned())),
            ("end_station is another station", |draft| {
                let station = draft.station.clone();
                draft.end_station = Some(RawStation { id: "https://x/".to_owned(), ..station });
            }),
            ("stops[0].windows[0].until is 2027-01-01T09:00:00.000Z", |draft| {
                draft.stops[0].windows = vec![RawWindow {
                    from: "2027-01-01T10:00:00Z".to_owned(),
                    until: "2027-01-01T09:00:00Z".to_owned(),
                    kind: None,
                }];
            }),
            ("stops[0].parcels[0].task: ", |draft| {
                draft.stops[0].parcels[0].task = Some("collect".to_owned());
            }),
            ("stops[0].parcels[0].preferences.authority_to_leave: ", |draft| {
                let parcel = &mut draft.stops[0].parcels[0];
                parcel.preferences.authority_to_leave = Some(true);
                parcel.require.signature = Some(true);
            }),
            ("stops[0].parcels[0].shipment.index: ", |draft| {
                let shipment = RawShipment { id: "S".to_owned(), index: 3, count: 2 };
                draft.stops[0].parcels[0].shipment = Some(shipment);
            }),
        ]);
    }

    #[test]
    fn each_refusal_of_a_place_or_a_list_names_the_place() {
        expect_refusals(&[
            ("station.lat is 91", |draft| draft.station.lat = 91.0),
            ("station.radius_m is 5001", |draft| draft.station.radius_m = 5001.0),
            ("stops[1].seq is 1", |draft| draft.stops[1].seq = 1),
            ("stops[1].id is stop-1", |draft| draft.stops[1].id = "stop-1".to_owned()),
            ("stops[1].lat is NaN", |draft| draft.stops[1].lat = f64::NAN),
            ("stops[1].lon is 180.5", |draft| draft.stops[1].lon = 180.5),
            ("stops[1].lat is 0", |draft| (draft.stops[1].lat, draft.stops[1].lon) = (0.0, 0.0)),
            ("stops[0].radius_m is 19.9", |draft| draft.stops[0].radius_m = Some(19.9)),
            ("stops[0].service_s is 86401", |draft| draft.stops[0].service_s = Some(86_401)),
            ("stops[1].parcels[0].number: duplicate parcel", |draft| {
                draft.stops[1].parcels[0].number = "a".to_owned();
            }),
            ("stops[1].parcels[0].number: ", |draft| {
                draft.stops[1].parcels[0].number = " ".to_owned();
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
        ]);
    }

    #[test]
    fn an_offset_is_read_and_the_promised_window_is_found() {
        let mut stop = stop(1, 500.0, &["A"]);
        let window = |from: &str, until: &str, kind: Option<&str>| RawWindow {
            from: format!("2027-01-15T{from}:00Z"),
            until: format!("2027-01-15T{until}:00Z"),
            kind: kind.map(str::to_owned),
        };
        stop.windows = vec![
            window("08:00", "18:00", Some("access")),
            window("09:00", "11:00", Some("promised")),
            window("14:00", "16:00", None),
        ];
        for (text, minutes) in [("+01:00", 60), ("-09:30", -570), ("+00:00", 0), ("+14:00", 840)] {
            let mut draft = draft(1, vec![stop.clone()]);
            draft.utc_offset = Some(text.to_owned());
            let manifest = Manifest::new(draft).unwrap();
            assert_eq!(manifest.utc_offset_min, Some(minutes), "{text}");
            let (from, until) = manifest.stops[0].window.unwrap();
            assert_eq!(from.to_string(), "2027-01-15T09:00:00.000Z");
            assert_eq!(until.to_string(), "2027-01-15T11:00:00.000Z");
        }
    }

    #[test]
    fn a_path_becomes_a_pointer() {
        for (path, pointer) in [
            ("rev", "/rev"),
            ("stops[17].lat", "/stops/17/lat"),
            ("stops[0].parcels[1].rfid[0]", "/stops/0/parcels/1/rfid/0"),
            ("the payload", ""),
            ("line 1 column 2", ""),
        ] {
            let error = ManifestError::new(path, ErrorCode::Malformed, "x", "y");
            assert_eq!(error.pointer(), pointer);
        }
    }
}
