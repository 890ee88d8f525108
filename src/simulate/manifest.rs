//! Route, parcels and timetable → the manifest of the day, as the backend would publish it (docs/contract.md).
//!
//! Places are rounded to about a metre: nobody surveys front doors better. The windows are an hour about the arrival, on
//! full quarters.

use std::time::Duration;

use serde::Serialize;

use super::parcel::{Parcel, Wishes, delivery_stops};
use super::plan::stop_id;
use super::route::Route;
use super::timetable::Timetable;
use super::way::Point;
use crate::units::UtcTime;

/// URI of the station, of GS1's prefix 952.
const STATION: &str = "https://id.gs1.org/414/9521234000013";
const STATION_RADIUS_M: u32 = 150;
const STOP_RADIUS_M: u32 = 60;
/// Before the day and after it.
const VALID: Duration = Duration::from_secs(3600);
const QUARTER_MS: i64 = 15 * 60 * 1000;

#[derive(Serialize)]
struct Manifest<'a> {
    v: u8,
    route: String,
    rev: u32,
    date: String,
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
    window: [String; 2],
    service_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_place: Option<&'static str>,
    parcels: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    epc: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rfid: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "is_false")]
    authority_to_leave: bool,
    #[serde(skip_serializing_if = "is_false")]
    signature_required: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(yes: &bool) -> bool {
    !*yes
}

pub(super) fn json(route: &Route, parcels: &[Parcel], table: &Timetable) -> String {
    let start = route.settings.start;
    let station = route.place(Point::default()).rounded_to_1e5();
    let after = |time: Duration| start.checked_add(time).expect("the year was checked");
    let from = start.checked_sub(VALID).expect("the year was checked");
    let stops = delivery_stops(route).map(|(index, seq)| {
        let stop = &route.stops[index];
        let place = route.place(stop.point()).rounded_to_1e5();
        let due = parcels.iter().filter(|parcel| parcel.stop == index);
        let parcels: Vec<Item<'_>> = due.map(item).collect();
        let leave = parcels.iter().any(|parcel| parcel.authority_to_leave);
        Stop {
            seq,
            id: stop_id(seq),
            lat: place.lat_deg(),
            lon: place.lon_deg(),
            radius_m: STOP_RADIUS_M,
            window: window(after(table.visits[index].arrived)),
            service_s: stop.dwell.as_secs(),
            safe_place: leave.then_some("porch"),
            parcels,
        }
    });
    let manifest = Manifest {
        v: 1,
        route: format!("R-{}-{:03}", start.date().to_string().replace('-', ""), route.settings.van),
        rev: 1,
        date: start.date().to_string(),
        station: Station {
            id: STATION,
            lat: station.lat_deg(),
            lon: station.lon_deg(),
            radius_m: STATION_RADIUS_M,
        },
        valid_from: from.to_string(),
        valid_until: after(table.end + VALID).to_string(),
        stops: stops.collect(),
    };
    let mut text = serde_json::to_string_pretty(&manifest).expect("text and numbers");
    text.push('\n');
    text
}

fn item(parcel: &Parcel) -> Item<'_> {
    Item {
        id: &parcel.key,
        epc: &parcel.epc,
        carrier: parcel.carrier,
        rfid: parcel.tag.as_deref().map(|tag| [tag]),
        authority_to_leave: parcel.wishes == Wishes::LeaveIt,
        signature_required: parcel.wishes == Wishes::Signature,
    }
}

/// From the quarter of an hour before that of the arrival, to an hour later.
fn window(arrival: UtcTime) -> [String; 2] {
    let quarter = arrival.as_unix_ms().div_euclid(QUARTER_MS);
    let at = |quarter: i64| UtcTime::from_unix_ms(quarter * QUARTER_MS).expect("the same day");
    [at(quarter - 1), at(quarter + 3)].map(|time| time.to_string())
}
