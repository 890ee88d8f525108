//! A van changes nothing about parcels and routes that it was not given, whatever it reports.

use std::time::Duration;

use serde_json::{Value as Json, json};
use waypost_backend::ingest::parse::MessageParser;
use waypost_backend::queries::{self, TrackingPageResult};
use waypost_backend::store::parcels::Parcel;
use waypost_backend::store::routes::{ConflictPolicy, PutRouteResult, Route};
use waypost_backend::store::{IncomingMessage, Statement, Store};
use waypost_backend::{AppState, notifications};

use crate::support::backend::{on_both, set_clock, shared, utc};
use crate::support::repository;

pub(crate) const NOW: &str = "2026-11-22T12:00:00.000Z";
const PAGE: Duration = Duration::from_hours(24 * 30);
pub(crate) const PARCEL: &str = "https://id.gs1.org/00/395212340000000014";
const OTHER_PARCEL: &str = "https://id.gs1.org/00/395212340000000021";

/// Every event kind of the contract, and one that this version does not know.
const KINDS: [&str; 18] = [
    "parcel.loaded",
    "route.departed",
    "stop.arrived",
    "stop.departed",
    "stop.skipped",
    "parcel.delivered",
    "parcel.collected",
    "parcel.attempted",
    "parcel.returned",
    "parcel.not_found",
    "van.inventory",
    "parcel.damaged",
    "parcel.void",
    "parcel.seen",
    "route.completed",
    "route.assigned",
    "event.retracted",
    "parcel.teleported",
];

/// Gives a van a parcel by a route of one stop.
pub(crate) async fn put_route(store: &Store, (route, rev, van): (&str, u64, &str), epc: &str) {
    let number = epc.rsplit('/').next().unwrap();
    let manifest = json!({"v": 1, "route": route, "rev": rev,
        "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1, "lon": 11.5, "radius_m": 150},
        "valid_from": "2026-11-22T05:00:00Z", "valid_until": "2026-11-22T22:00:00Z",
        "stops": [{"seq": 1, "id": format!("door of {number}"), "lat": 48.12, "lon": 11.52,
            "parcels": [{"number": number}]}]});
    let put = Route {
        route: route.to_owned(),
        van: van.to_owned(),
        rev,
        valid_from: Some(utc("2026-11-22T05:00:00Z")),
        valid_until: Some(utc("2026-11-22T22:00:00Z")),
        doc: manifest.to_string(),
        manifest: manifest.to_string(),
        digest: format!("{route} {rev}"),
        put_at: utc("2026-11-22T05:00:00Z"),
        sent_rev: None,
        withdrawn: false,
        completed: false,
    };
    let parcel = Parcel {
        epc: epc.to_owned(),
        number: number.to_owned(),
        token: format!("token of {number}"),
        postcode: None,
        route: Some(route.to_owned()),
        stop_id: Some(format!("door of {number}")),
        stop_seq: Some(1),
        gift: false,
        language: None,
        preferences: None,
        put_at: utc("2026-11-22T05:00:00Z"),
        ended_at: None,
        expires_at: None,
        case_state: None,
        case_at: None,
        case_note: None,
    };
    let done = store.put_route(&put, &[parcel], &[], ConflictPolicy::Reject, PAGE).await.unwrap();
    assert!(matches!(done, PutRouteResult::Created | PutRouteResult::Updated), "{done:?}");
}

/// An event as a van publishes it.
#[derive(Clone, Copy)]
pub(crate) struct Report<'a> {
    pub(crate) van: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) seq: u64,
    pub(crate) time: &'a str,
    pub(crate) route: &'a str,
    pub(crate) epc: &'a str,
}

/// Publishes an event and stores it. Fails if it becomes a dead letter.
pub(crate) async fn report(shared: &AppState, report: Report<'_>) {
    let Report { van, kind, id, seq, time, route, epc } = report;
    let text = std::fs::read_to_string(repository("docs/contract/event.example.json")).unwrap();
    let mut event: Json = serde_json::from_str(&text).unwrap();
    event["source"] = json!(format!("https://id.example.com/fleet/obj/{van}"));
    event["type"] = json!(format!("org.w3id.waypost.{kind}.v1"));
    event["id"] = json!(format!("{id}/{seq}"));
    event["time"] = json!(time);
    event["subject"] = json!(route);
    event["sequence"] = json!(format!("{seq:012}"));
    event.as_object_mut().unwrap().remove("previoussequence");
    let data = event["data"].as_object_mut().unwrap();
    data.insert("eventID".to_owned(), json!(id));
    data.insert("eventTime".to_owned(), json!(time));
    data.insert("childEPCs".to_owned(), json!([epc]));
    data.insert("waypost:stopSeq".to_owned(), json!(1));
    if kind == "event.retracted" {
        data.insert("errorDeclaration".to_owned(), json!({"declarationTime": time}));
    }
    let payload = event.to_string().into_bytes();
    let topic = format!("fleet/v1/{van}/event");
    let parsed = MessageParser::new("fleet").parse(&topic, &payload, shared.now());
    assert!(parsed.is_ok(), "{van} {kind}: {parsed:?}");
    let message = IncomingMessage { topic, bytes: payload.len(), payload, parsed };
    let page = shared.config.retention.page;
    let taken = shared.store.ingest(&[message], shared.now(), page).await.unwrap();
    assert_eq!(taken.events_new, 1, "{van} {kind}");
}

/// Everything that an event may change: the page of the parcel, its end, the e-mails that are due,
/// and the progress of its route.
pub(crate) async fn known(
    shared: &AppState,
    epc: &str,
) -> (Json, Option<String>, Vec<String>, Json) {
    let parcel = shared.store.parcel(epc).await.unwrap().unwrap();
    let page = queries::page_for_parcel(shared, &parcel).await.unwrap();
    let due = notifications::rules::due_alerts(&page, shared.now());
    let due = due.iter().map(|alert| alert.kind.as_str().to_owned()).collect();
    let van = queries::van(shared, "VAN-A").await.unwrap();
    let route = van.map(|van| serde_json::to_value(van.route).unwrap()).unwrap_or_default();
    let view = serde_json::to_value(&page.view).unwrap();
    (view, parcel.ended_at.map(|at| at.to_string()), due, route)
}

/// A van of a route exists once it has been heard.
pub(crate) async fn heard(store: &Store, van: &str) {
    let sql = "INSERT INTO van (van, heard_at) VALUES ($1, $2)";
    store.write(vec![Statement::new(sql, [van.into(), utc(NOW).into()])]).await.unwrap();
}

pub(crate) async fn start(store: Store) -> AppState {
    put_route(&store, ("R-A", 1, "VAN-A"), PARCEL).await;
    put_route(&store, ("R-B", 1, "VAN-B"), OTHER_PARCEL).await;
    heard(&store, "VAN-A").await;
    heard(&store, "VAN-B").await;
    let shared = shared(store, NOW);
    let loaded = Report {
        van: "VAN-A",
        kind: "parcel.loaded",
        id: "urn:uuid:loaded",
        seq: 1,
        time: "2026-11-22T06:00:00.000Z",
        route: "R-A",
        epc: PARCEL,
    };
    report(&shared, loaded).await;
    let departed = Report { kind: "route.departed", id: "urn:uuid:departed", seq: 2, ..loaded };
    report(&shared, Report { time: "2026-11-22T07:00:00.000Z", ..departed }).await;
    shared
}

#[tokio::test]
async fn no_event_of_another_van_changes_a_parcel_or_a_route() {
    on_both(async |store| {
        let shared = start(store).await;
        let before = known(&shared, PARCEL).await;
        assert_eq!(before.0["status"], "out_for_delivery");
        for (seq, kind) in (10..).zip(KINDS) {
            let id = format!("urn:uuid:foreign-{seq}");
            // A retraction of the other van's departure, under its own source.
            let id = if kind == "event.retracted" { "urn:uuid:departed" } else { &id };
            let time = "2026-11-22T11:59:00.000Z";
            let foreign = Report { van: "VAN-B", kind, id, seq, time, route: "R-A", epc: PARCEL };
            report(&shared, foreign).await;
            assert_eq!(known(&shared, PARCEL).await, before, "{kind}, on the other's route");
            let own_route = Report { route: "R-B", seq: seq + 100, ..foreign };
            report(&shared, own_route).await;
            assert_eq!(known(&shared, PARCEL).await, before, "{kind}, on its own route");
            let parcel = shared.store.events_for_epc(PARCEL).await.unwrap();
            let kept =
                parcel.iter().filter(|event| event.kind == kind && event.origin.as_str() == "van");
            assert!(kept.count() >= 2, "{kind} is kept");
        }
        let reporter = queries::van(&shared, "VAN-B").await.unwrap().unwrap();
        assert!(
            reporter.attention.contains(&"not_assigned".to_owned()),
            "{:?}",
            reporter.attention
        );
        assert!(reporter.attention.contains(&"other_route".to_owned()), "{:?}", reporter.attention);
        let shown = reporter.concerns.iter().find(|found| found.kind == "not_assigned").unwrap();
        assert_eq!(shown.number, "395212340000000014");
        assert!(shown.reported.is_some());
        let innocent = queries::van(&shared, "VAN-A").await.unwrap().unwrap();
        assert!(innocent.concerns.is_empty(), "{:?}", innocent.concerns);
        // The dispatcher sees each report in the trace.
        let trace = queries::trace(&shared, "395212340000000014").await.unwrap().unwrap();
        let marked =
            trace.sightings.iter().filter(|one| one.alert.as_deref() == Some("not_assigned"));
        assert_eq!(marked.count(), 2 * KINDS.len());
    })
    .await;
}

#[tokio::test]
async fn a_forged_end_deletes_neither_page_nor_parcel() {
    on_both(async |store| {
        let shared = start(store).await;
        let forged = Report {
            van: "VAN-B",
            kind: "parcel.delivered",
            id: "urn:uuid:forged",
            seq: 10,
            time: "2001-01-01T00:00:00.000Z",
            route: "R-A",
            epc: PARCEL,
        };
        report(&shared, forged).await;
        let page = queries::page_by_token(&shared, "token of 395212340000000014").await.unwrap();
        assert!(matches!(page, TrackingPageResult::Page(_)), "{page:?}");
        shared.store.purge(shared.now(), &shared.config.retention).await.unwrap();
        assert!(shared.store.parcel(PARCEL).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_van_that_was_given_the_parcel_counts_before_and_after() {
    on_both(async |store| {
        let shared = start(store).await;
        let status =
            async |shared: &AppState| known(shared, OTHER_PARCEL).await.0["status"].clone();
        // A later revision gives the parcel to nobody; the van of the first one still has it.
        put_route(&shared.store, ("R-B", 2, "VAN-B"), "https://id.gs1.org/00/395212340000000038")
            .await;
        let delivered = Report {
            van: "VAN-B",
            kind: "parcel.delivered",
            id: "urn:uuid:given-before",
            seq: 20,
            time: "2026-11-22T11:00:00.000Z",
            route: "R-B",
            epc: OTHER_PARCEL,
        };
        report(&shared, delivered).await;
        assert_eq!(status(&shared).await, "delivered");
        // An event that arrives before the route counts once the route is there.
        let third = "https://id.gs1.org/00/395212340000000045";
        heard(&shared.store, "VAN-C").await;
        let early =
            Report { van: "VAN-C", id: "urn:uuid:early", route: "R-C", epc: third, ..delivered };
        report(&shared, early).await;
        put_route(&shared.store, ("R-C", 1, "VAN-C"), third).await;
        let (view, ended, ..) = known(&shared, third).await;
        assert_eq!(view["status"], "delivered");
        assert!(ended.is_some());
        let reporter = queries::van(&shared, "VAN-C").await.unwrap().unwrap();
        assert!(!reporter.attention.contains(&"not_assigned".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_recorded_transfer_gives_the_parcel_to_the_other_van() {
    on_both(async |store| {
        let shared = start(store).await;
        let delivered = Report {
            van: "VAN-B",
            kind: "parcel.delivered",
            id: "urn:uuid:handed-over",
            seq: 30,
            time: "2026-11-22T11:00:00.000Z",
            route: "R-B",
            epc: PARCEL,
        };
        report(&shared, delivered).await;
        assert_eq!(known(&shared, PARCEL).await.0["status"], "out_for_delivery");
        set_clock(&shared, "2026-11-22T12:01:00.000Z");
        let by = ("anna", shared.now());
        shared.store.transfer_parcel(PARCEL, "VAN-B", by, PAGE).await.unwrap();
        let (view, ended, ..) = known(&shared, PARCEL).await;
        assert_eq!(view["status"], "delivered");
        assert!(ended.is_some());
        let reporter = queries::van(&shared, "VAN-B").await.unwrap().unwrap();
        assert!(!reporter.attention.contains(&"not_assigned".to_owned()));
        let audit = shared.store.audit_entries(i64::MAX, 10).await.unwrap();
        assert!(audit.iter().any(|(_, entry)| entry.action == "transfer" && entry.actor == "anna"));
    })
    .await;
}
