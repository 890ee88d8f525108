//! A parcel with several parties in one timeline: packed and shipped by a warehouse, sorted by a
//! carrier, delivered by a van.

use std::time::Duration;

use serde_json::{Value, json};
use waypost_backend::ingest::parse::MessageParser;
use waypost_backend::store::IncomingMessage;

use super::capture::{document, event};
use super::routes::wanted;
use super::site::Site;
use crate::support::backend::{on_both, set_clock, utc};

const PARCEL: &str = "https://id.gs1.org/00/395212340000000014";
const VAN: &str = "https://parcels.example.com/fleet/obj/VAN-042";

/// Creates a message on `event`, as specified in docs/mqtt-contract.md.
fn van_says(kind: &str, seq: u64, time: &str, more: &Value) -> Vec<u8> {
    let id = format!("urn:uuid:019aaa00-0000-5000-8000-{seq:012}");
    let mut data = json!({
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
            {"waypost": "https://w3id.org/waypost/v1/"}],
        "eventID": id, "eventTime": time, "eventTimeZoneOffset": "+00:00", "waypost:seq": seq,
        "bizTransactionList": [{"type": "https://ns.parcels.example.com/van/btt/delivery_route",
            "bizTransaction": "https://parcels.example.com/route/bt/R-1"}],
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"specversion": "1.0", "id": id, "source": VAN, "type": format!("org.w3id.waypost.{kind}.v1"),
        "time": time, "subject": "R-1", "datacontenttype": "application/ld+json",
        "sequence": format!("{seq:012}"), "data": data})
    .to_string()
    .into_bytes()
}

fn days_work() -> Vec<Vec<u8>> {
    let station = json!({"id": "https://id.gs1.org/414/9521234000013"});
    let stop = json!({"id": "https://parcels.example.com/route/R-1/loc/stop-1"});
    vec![
        van_says(
            "parcel.loaded",
            1,
            "2026-11-22T07:12:00.000Z",
            &json!({
            "type": "AggregationEvent", "action": "ADD", "parentID": VAN, "childEPCs": [PARCEL],
            "bizStep": "loading", "readPoint": station, "bizLocation": station}),
        ),
        van_says(
            "route.departed",
            2,
            "2026-11-22T07:58:00.000Z",
            &json!({
            "type": "ObjectEvent", "action": "OBSERVE", "epcList": [PARCEL], "bizStep": "departing",
            "disposition": "in_transit", "readPoint": {"id": "geo:48.11730,11.51667;u=5"}}),
        ),
        van_says(
            "stop.arrived",
            3,
            "2026-11-22T09:41:00.000Z",
            &json!({
            "type": "ObjectEvent", "action": "OBSERVE", "epcList": [PARCEL], "bizStep": "arriving",
            "disposition": "in_transit", "bizLocation": stop, "waypost:stopSeq": 1}),
        ),
        van_says(
            "parcel.delivered",
            4,
            "2026-11-22T09:42:43.500Z",
            &json!({
            "type": "AggregationEvent", "action": "DELETE", "parentID": VAN, "childEPCs": [PARCEL],
            "bizStep": "accepting", "bizLocation": stop, "waypost:stopSeq": 1,
            "waypost:outcome": "handed_to_resident"}),
        ),
    ]
}

/// Returns stage and time of each step of a page.
fn stages(page: &Value) -> Vec<(&str, &str)> {
    let steps = page["timeline"].as_array().unwrap().iter();
    steps.map(|step| (step["stage"].as_str().unwrap(), step["at"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_parcel_of_many_hands_has_one_timeline_of_eight_stages_each_once() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let warehouse = document(&[
            event("packing", "2026-11-21T14:00:00Z"),
            event("shipping", "2026-11-21T16:30:00Z"),
        ]);
        let carrier = "Parcel;Status;Time;Place\r\n\
            (00) 395212340000000014;sorted;2026-11-21T23:10:00+01:00;\"Hub; North\"\r\n\
            395212340000000014;sorted;2026-11-21T22:10:00Z;\"Hub; North\"\r\n\
            395212340000000014;lost in space;2026-11-21T22:10:00Z;x\r\n";
        // The van's events arrive first, because the order does not depend on arrival.
        let reader = MessageParser::new("fleet");
        let now = utc("2026-11-22T10:00:00Z");
        set_clock(&site.shared, "2026-11-22T05:30:00Z");
        let put = site
            .json("planner", "PUT /api/v1/routes/R-1", &wanted(1, &["395212340000000014"]))
            .await;
        assert_eq!(put.status, 201, "{}", put.text);
        set_clock(&site.shared, "2026-11-22T10:00:00Z");
        for _ in 0..2 {
            let arrivals: Vec<IncomingMessage> = days_work()
                .into_iter()
                .rev()
                .map(|payload| {
                    let topic = "fleet/v1/VAN-042/event".to_owned();
                    let said = reader.parse(&topic, &payload, now);
                    assert!(said.is_ok(), "{said:?}");
                    IncomingMessage { topic, bytes: payload.len(), payload, parsed: said }
                })
                .collect();
            site.shared.store.ingest(&arrivals, now, Duration::from_hours(720)).await.unwrap();
            let job = site.captured("warehouse", &warehouse, "rollback").await;
            assert_eq!(job["success"], true, "{job}");
            let body = Some(("text/csv; charset=utf-8", carrier.to_owned()));
            let list = site.request("partner", "POST /api/v1/import?carrier=dhl", body).await;
            assert_eq!((list.status, &list.json["bad"]), (200, &json!(1)), "{}", list.text);
            assert_eq!(list.json["errors"][0]["place"], "line 4 status");
        }
        let link = put.json["parcels"][0]["url"].as_str().unwrap();
        let token = link.rsplit('/').next().unwrap();
        let page = site.get("", &format!("/api/v1/track/{token}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let stages = stages(&page.json);
        let expected = [
            ("packed", "2026-11-21T14:00:00.000Z"),
            ("shipped", "2026-11-21T16:30:00.000Z"),
            ("sorted", "2026-11-21T22:10:00.000Z"),
            ("announced", "2026-11-22T05:30:00.000Z"),
            ("loaded", "2026-11-22T07:12:00.000Z"),
            ("out_for_delivery", "2026-11-22T07:58:00.000Z"),
            ("arrived", "2026-11-22T09:41:00.000Z"),
            ("delivered", "2026-11-22T09:42:43.500Z"),
        ];
        assert_eq!(stages, expected);
        assert_eq!(page.json["timeline"][2]["by"], "dhl");
        assert_eq!(page.json["timeline"][2]["place"], "Hub; North");
        assert_eq!(page.json["status"], "delivered");
    })
    .await;
}

#[tokio::test]
async fn with_strict_a_list_with_one_bad_line_leaves_nothing() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let list = "parcel,status,time,place\nA,sorted,2026-11-21T22:10:00Z,x\nA,lost,2026-11-21T22:10:00Z,x\n";
        let send = async |query: &str, kind: &'static str| {
            let request = format!("POST /api/v1/import{query}");
            site.request("partner", &request, Some((kind, list.to_owned()))).await
        };
        let refused = send("?carrier=dhl&strict=true", "text/csv").await;
        assert_eq!((refused.status, &refused.json["errors"][0]["place"]), (400, &json!("line 3 status")));
        let taken = send("?carrier=dhl", "text/csv").await;
        assert_eq!((&taken.json["taken"], &taken.json["known"]), (&json!(1), &json!(0)), "{}", taken.text);
        let again = send("?carrier=dhl", "text/csv").await;
        assert_eq!((&again.json["taken"], &again.json["known"]), (&json!(0), &json!(1)), "{}", again.text);
        for (query, kind, status) in
            [("", "text/csv", 400), ("?carrier=dhl", "text/plain", 415), ("?carrier=dhl&x=1", "text/csv", 400)]
        {
            assert_eq!(send(query, kind).await.status, status, "{query} {kind}");
        }
    })
    .await;
}
