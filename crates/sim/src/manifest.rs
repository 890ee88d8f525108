//! Builds the manifest of the day as the backend publishes it (docs/mqtt-contract.md).
//!
//! Positions are rounded to about a metre, the accuracy of a typical address database. Time windows
//! cover about an hour around the arrival and start and end on full quarters.

use std::time::Duration;

use serde::Serialize;

use super::parcel::{Parcel, RecipientPreferences, delivery_stops};
use super::plan::stop_id;
use super::road::Point;
use super::route::Route;
use super::timetable::Timetable;
use waypost_model::units::UtcTime;

/// URI of the station, with GS1's example prefix 952.
const STATION_URI: &str = "https://id.gs1.org/414/9521234000013";
const STATION_RADIUS_M: u32 = 150;
const STOP_RADIUS_M: u32 = 60;
/// The manifest is valid from this long before the day until this long after it.
const VALIDITY_MARGIN: Duration = Duration::from_secs(3600);
const QUARTER_MS: i64 = 15 * 60 * 1000;

#[derive(Serialize)]
struct Manifest<'a> {
    v: u8,
    route: String,
    rev: u32,
    service_date: String,
    station: Station,
    valid_from: String,
    valid_until: String,
    stops: Vec<Stop<'a>>,
}

#[derive(Serialize)]
struct Station {
    id: &'static str,
    lat: f64,
    lon: f64,
    radius_m: u32,
}

#[derive(Serialize)]
struct Stop<'a> {
    seq: u32,
    id: String,
    lat: f64,
    lon: f64,
    radius_m: u32,
    windows: [Window; 1],
    service_s: u64,
    parcels: Vec<ParcelItem<'a>>,
}

#[derive(Serialize)]
struct ParcelItem<'a> {
    number: &'a str,
    epc: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rfid: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferences: Option<Preferences>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require: Option<Requirements>,
}

#[derive(Serialize)]
struct Window {
    from: String,
    until: String,
}

#[derive(Serialize)]
struct Preferences {
    authority_to_leave: bool,
    safe_place: &'static str,
}

#[derive(Serialize)]
struct Requirements {
    signature: bool,
}

pub(super) fn to_json(route: &Route, parcels: &[Parcel], table: &Timetable) -> String {
    let start = route.settings.start;
    let station = route.position_of(Point::default()).rounded_to_1e5();
    let after = |time: Duration| start.checked_add(time).expect("the year was checked");
    let from = start.checked_sub(VALIDITY_MARGIN).expect("the year was checked");
    let stops = delivery_stops(route).map(|(index, seq)| {
        let stop = &route.stops[index];
        let place = route.position_of(stop.point()).rounded_to_1e5();
        let due = parcels.iter().filter(|parcel| parcel.stop == index);
        let parcels: Vec<ParcelItem<'_>> = due.map(item).collect();
        Stop {
            seq,
            id: stop_id(seq),
            lat: place.lat_deg(),
            lon: place.lon_deg(),
            radius_m: STOP_RADIUS_M,
            windows: [window(after(table.visits[index].arrived))],
            service_s: stop.dwell.as_secs(),
            parcels,
        }
    });
    let manifest = Manifest {
        v: 1,
        route: format!("R-{}-{:03}", start.date().to_string().replace('-', ""), route.settings.van),
        rev: 1,
        service_date: start.date().to_string(),
        station: Station {
            id: STATION_URI,
            lat: station.lat_deg(),
            lon: station.lon_deg(),
            radius_m: STATION_RADIUS_M,
        },
        valid_from: from.to_string(),
        valid_until: after(table.end + VALIDITY_MARGIN).to_string(),
        stops: stops.collect(),
    };
    let mut text = serde_json::to_string_pretty(&manifest).expect("text and numbers");
    text.push('\n');
    text
}

fn item(parcel: &Parcel) -> ParcelItem<'_> {
    ParcelItem {
        number: &parcel.key,
        epc: &parcel.epc,
        carrier: parcel.carrier,
        rfid: parcel.tag.as_deref().map(|tag| [tag]),
        preferences: (parcel.preferences == RecipientPreferences::AuthorityToLeave)
            .then_some(Preferences { authority_to_leave: true, safe_place: "porch" }),
        require: (parcel.preferences == RecipientPreferences::SignatureRequired)
            .then_some(Requirements { signature: true }),
    }
}

/// Returns the window from the quarter before the one of the arrival to an hour later.
fn window(arrival: UtcTime) -> Window {
    let quarter = arrival.as_unix_ms().div_euclid(QUARTER_MS);
    let at = |quarter: i64| UtcTime::from_unix_ms(quarter * QUARTER_MS).expect("the same day");
    Window { from: at(quarter - 1).to_string(), until: at(quarter + 3).to_string() }
}
