//! Events, parcels and routes are stored once each; the first writer wins.

use std::time::Duration;

use serde_json::json;
use waypost_backend::epc;
use waypost_backend::event::{Event, Origin};
use waypost_backend::store::parcels::{self, Parcel};
use waypost_backend::store::routes::{ConflictPolicy, PutRouteResult, Route};
use waypost_backend::store::{PendingRoute, Store, events};

use crate::support::backend::{on_both, on_both_locations, utc};

/// Retention of tracking pages.
const PAGE: Duration = Duration::from_hours(24 * 30);
const NOW: &str = "2026-11-22T06:00:00.000Z";

fn event(id: &str, time: &str, epcs: &[&str]) -> Event {
    let data = json!({
        "type": "ObjectEvent", "action": "OBSERVE", "bizStep": "packing", "eventTime": time,
        "epcList": epcs, "readPoint": {"id": "geo:48,11"}, "note": "ünïcode \u{1F600}",
    });
    Event {
        n: 0,
        source: "capture:warehouse".to_owned(),
        id: id.to_owned(),
        event_id: id.to_owned(),
        kind: String::new(),
        origin: Origin::Capture,
        van: Some("VAN-042".to_owned()),
        seq: Some(7),
        route: Some("R-1".to_owned()),
        time: utc(time),
        captured_at: utc(NOW),
        retracts: false,
        epcs: epc::epcs_in(&data),
        job: None,
        data,
    }
}

fn route(name: &str, rev: u64, content: &str) -> Route {
    Route {
        route: name.to_owned(),
        van: "VAN-042".to_owned(),
        rev,
        valid_from: Some(utc("2026-11-22T05:00:00Z")),
        valid_until: Some(utc("2026-11-22T22:00:00Z")),
        doc: content.to_owned(),
        manifest: content.to_owned(),
        digest: content.to_owned(),
        put_at: utc(NOW),
        sent_rev: None,
        withdrawn: false,
        completed: false,
    }
}

fn parcel(route: &str, number: &str, token: &str) -> Parcel {
    Parcel {
        epc: format!("https://parcels.example.com/parcel/obj/{number}"),
        number: number.to_owned(),
        token: token.to_owned(),
        postcode: Some("80331".to_owned()),
        route: Some(route.to_owned()),
        stop_id: Some("stop-1".to_owned()),
        stop_seq: Some(1),
        gift: true,
        language: None,
        preferences: None,
        put_at: utc(NOW),
        ended_at: None,
        expires_at: None,
        case_state: None,
        case_at: None,
        case_note: None,
    }
}

async fn put(store: &Store, route: &Route, parcels: &[Parcel]) -> PutRouteResult {
    store.put_route(route, parcels, &[], ConflictPolicy::Reject, PAGE).await.unwrap()
}

#[tokio::test]
async fn an_event_is_kept_once_and_found_by_all_that_it_is_about() {
    on_both(async |store| {
        let many: Vec<String> = (0..400).map(|n| format!("urn:x:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (late, early) = (
            event("urn:a", "2026-11-22T05:00:00Z", &many),
            event("urn:b", "2026-11-22T04:00:00Z", &["urn:x:7", "urn:y"]),
        );
        for event in [&late, &early, &late] {
            store.write(events::insert(event)).await.unwrap();
        }
        // Other content under an existing id changes nothing.
        let other = event("urn:a", "2026-11-22T05:00:00Z", &["urn:stranger"]);
        let outcomes = store.write(events::insert(&other)).await.unwrap();
        assert_eq!(outcomes[0].rows_affected, 0);
        assert_eq!(store.events_for_epc("urn:stranger").await.unwrap(), []);

        let found = store.events_for_epc("urn:x:7").await.unwrap();
        let expected = [Event { n: 2, ..early }, Event { n: 1, ..late.clone() }];
        assert_eq!(found.iter().map(|event| event.n > 0).collect::<Vec<_>>(), [true, true]);
        let numbered: Vec<Event> = found
            .iter()
            .zip(&expected)
            .map(|(found, expected)| Event { n: expected.n, ..found.clone() })
            .collect();
        assert_eq!(numbered, expected);
        assert_eq!(store.events_for_epc("urn:x:399").await.unwrap().len(), 1);
        assert_eq!(store.events_for_routes_after(&[("R-1", 0)]).await.unwrap().len(), 2);
        assert_eq!(store.events_by_event_id("urn:a").await.unwrap().len(), 1);
        let day = |from, until| store.events_for_van("VAN-042", utc(from), utc(until));
        let found = day("2026-11-22T04:00:00Z", "2026-11-22T05:00:00Z").await.unwrap();
        assert_eq!(found.len(), 1, "the end is not part of the time");
    })
    .await;
}

#[tokio::test]
async fn a_token_stays_whatever_route_the_parcel_is_on() {
    on_both(async |store| {
        let first = route("R-1", 1, "a");
        let (a, b) = (parcel("R-1", "A", "token-a"), parcel("R-1", "B", "token-b"));
        assert_eq!(put(&store, &first, &[a.clone(), b.clone()]).await, PutRouteResult::Created);
        assert_eq!(store.parcel_by_token("token-a").await.unwrap(), Some(a.clone()));
        assert_eq!(store.parcels_for_route("R-1").await.unwrap(), [a.clone(), b.clone()]);

        // A later revision without B, and without a postcode for A.
        let again =
            Parcel { token: "other".to_owned(), postcode: None, stop_seq: Some(2), ..a.clone() };
        assert_eq!(put(&store, &route("R-1", 2, "b"), &[again]).await, PutRouteResult::Updated);
        let known = store.parcel(&a.epc).await.unwrap().unwrap();
        assert_eq!(known, Parcel { stop_seq: Some(2), ..a.clone() });
        let off = store.parcel_by_token("token-b").await.unwrap().unwrap();
        assert_eq!((off.route, off.stop_seq), (None, None));

        // The parcel's delivery ended; on another route it starts again.
        store.write(vec![parcels::set_ended(&a.epc, utc(NOW), utc(NOW))]).await.unwrap();
        put(
            &store,
            &route("R-1", 3, "c"),
            &[Parcel { route: Some("R-1".to_owned()), ..a.clone() }],
        )
        .await;
        assert!(store.parcel(&a.epc).await.unwrap().unwrap().ended_at.is_some(), "the same route");
        let tomorrow = Route {
            valid_from: Some(utc("2026-11-23T05:00:00Z")),
            valid_until: Some(utc("2026-11-23T22:00:00Z")),
            ..route("R-2", 1, "d")
        };
        let a2 = Parcel { route: Some("R-2".to_owned()), ..a.clone() };
        assert_eq!(put(&store, &tomorrow, &[a2]).await, PutRouteResult::Created);
        let known = store.parcel(&a.epc).await.unwrap().unwrap();
        assert_eq!(
            (known.ended_at, known.expires_at, known.token.as_str()),
            (None, None, "token-a")
        );
    })
    .await;
}

#[tokio::test]
async fn a_parcel_is_found_by_its_number_as_people_type_it() {
    on_both(async |store| {
        let sscc = Parcel {
            epc: "https://id.gs1.org/00/395212340000000014".to_owned(),
            ..parcel("R-1", "395212340000000014", "t1")
        };
        put(&store, &route("R-1", 1, "a"), &[sscc, parcel("R-1", "1Z999AA10123456784", "t2")])
            .await;
        for (typed, token) in [
            ("395212340000000014", Some("t1")),
            ("(00) 3 9521234 0000000014", Some("t1")),
            (" 1z 999 aa1 0123456784", Some("t2")),
            ("395212340000000021", None),
            ("", None),
            ("' OR 1=1 --", None),
        ] {
            let found = store.find_parcels(typed, "parcels.example.com").await.unwrap();
            assert_eq!(found.first().map(|parcel| parcel.token.as_str()), token, "{typed}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_revisions_at_once_one_wins_and_leaves_no_trace_of_the_other() {
    on_both_locations(async |place| {
        // Two instances on a server; only one on a file.
        let one = place.open().await;
        let two = if matches!(place, crate::support::backend::StoreLocation::Postgres(_)) {
            place.open().await
        } else {
            one.clone()
        };
        for rev in 1..=20 {
            let (left, right) = (route("R-1", rev, "left"), route("R-1", rev, "right"));
            let (l, r) = ([parcel("R-1", "LEFT", "tl")], [parcel("R-1", "RIGHT", "tr")]);
            let (first, second) = tokio::join!(put(&one, &left, &l), put(&two, &right, &r));
            let won = |put: &PutRouteResult| {
                matches!(put, PutRouteResult::Created | PutRouteResult::Updated)
            };
            assert!(won(&first) ^ won(&second), "{first:?} {second:?}");
            let lost = if won(&first) { second } else { first };
            assert_eq!(lost, PutRouteResult::StaleRevision { rev, withdrawn: false });
            let kept = one.route("R-1").await.unwrap().unwrap();
            let listed = one.parcels_for_route("R-1").await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].number.to_lowercase(), kept.digest);
        }
    })
    .await;
}

#[tokio::test]
async fn a_route_is_put_in_the_place_of_another_only_on_purpose() {
    on_both(async |store| {
        let first = route("R-1", 1, "a");
        put(&store, &first, &[parcel("R-1", "A", "ta")]).await;
        assert_eq!(put(&store, &first, &[]).await, PutRouteResult::Unchanged);
        assert_eq!(
            put(&store, &route("R-1", 1, "b"), &[]).await,
            PutRouteResult::StaleRevision { rev: 1, withdrawn: false }
        );
        let other_van = Route { van: "VAN-043".to_owned(), ..route("R-1", 2, "b") };
        assert_eq!(
            put(&store, &other_van, &[]).await,
            PutRouteResult::OtherVan { van: "VAN-042".to_owned() }
        );

        let second = route("R-2", 1, "b");
        let busy = PutRouteResult::VanBusy { route: "R-1".to_owned() };
        assert_eq!(put(&store, &second, &[parcel("R-2", "B", "tb")]).await, busy);
        assert_eq!(store.parcel_by_token("tb").await.unwrap(), None);
        let now = utc(NOW);
        let routes = async || {
            let found = store.revisions_for_vans(&[("VAN-042", None)], now).await.unwrap();
            found.into_iter().map(|revision| revision.route).collect::<Vec<_>>()
        };
        assert_eq!(routes().await, ["R-1"]);

        let parcels = [parcel("R-2", "B", "tb")];
        let replaced =
            store.put_route(&second, &parcels, &[], ConflictPolicy::Replace, PAGE).await.unwrap();
        assert_eq!(replaced, PutRouteResult::Created);
        let gone = store.route("R-1").await.unwrap().unwrap();
        assert!(gone.withdrawn && gone.sent_rev == Some(1), "nothing to send for it: {gone:?}");
        assert_eq!(store.parcel_by_token("ta").await.unwrap().unwrap().route, None);
        assert_eq!(routes().await, ["R-2"]);

        let withdrawn = store.withdraw_route("R-2").await.unwrap().unwrap();
        assert!(withdrawn.withdrawn);
        assert_eq!(store.withdraw_route("R-2").await.unwrap(), None);
        assert!(routes().await.is_empty());
        let behind = PutRouteResult::StaleRevision { rev: 1, withdrawn: true };
        assert_eq!(put(&store, &second, &[]).await, behind);
        assert_eq!(put(&store, &route("R-2", 2, "c"), &[]).await, PutRouteResult::Updated);
    })
    .await;
}

#[tokio::test]
async fn a_route_that_was_driven_to_its_end_is_in_nobodys_way() {
    on_both(async |store| {
        put(&store, &route("R-1", 1, "a"), &[]).await;
        let back = Event { kind: "route.completed".to_owned(), ..event("urn:c", NOW, &[]) };
        store.write(events::insert(&back)).await.unwrap();
        assert!(store.route("R-1").await.unwrap().unwrap().completed);
        assert_eq!(put(&store, &route("R-2", 1, "b"), &[]).await, PutRouteResult::Created);
    })
    .await;
}

#[tokio::test]
async fn only_the_routes_own_van_ends_it_and_takes_that_back() {
    on_both(async |store| {
        put(&store, &route("R-1", 1, "a"), &[]).await;
        let said = |id: &str, van: &str| Event {
            kind: "route.completed".to_owned(),
            source: format!("https://id.example.com/fleet/obj/{van}"),
            van: Some(van.to_owned()),
            event_id: "urn:c".to_owned(),
            ..event(id, NOW, &[])
        };
        let completed = async || store.route("R-1").await.unwrap().unwrap().completed;
        for (event, expected) in [
            (said("urn:1", "VAN-007"), false),
            (said("urn:2", "VAN-042"), true),
            (
                Event {
                    retracts: true,
                    kind: "event.retracted".to_owned(),
                    ..said("urn:3", "VAN-007")
                },
                true,
            ),
            (
                Event {
                    retracts: true,
                    kind: "event.retracted".to_owned(),
                    ..said("urn:4", "VAN-042")
                },
                false,
            ),
        ] {
            store.write(events::insert(&event)).await.unwrap();
            assert_eq!(completed().await, expected, "{}", event.id);
        }
        let busy = PutRouteResult::VanBusy { route: "R-1".to_owned() };
        assert_eq!(put(&store, &route("R-2", 1, "b"), &[]).await, busy);
    })
    .await;
}

const LEASE: Duration = Duration::from_secs(30);

async fn claimed(store: &Store) -> Vec<PendingRoute> {
    store.claim_routes(utc(NOW), LEASE, 10).await.unwrap()
}

fn tomorrow(name: &str) -> Route {
    Route {
        valid_from: Some(utc("2026-11-23T05:00:00Z")),
        valid_until: Some(utc("2026-11-23T22:00:00Z")),
        ..route(name, 1, name)
    }
}

#[tokio::test]
async fn a_route_that_another_displaced_is_sent_again_when_its_turn_has_come() {
    on_both(async |store| {
        put(&store, &tomorrow("R-2"), &[]).await;
        store.record_route_sent(&claimed(&store).await[0]).await.unwrap();
        put(&store, &route("R-1", 1, "a"), &[]).await;
        store.record_route_sent(&claimed(&store).await[0]).await.unwrap();
        assert_eq!(store.route("R-2").await.unwrap().unwrap().sent_rev, None);
        assert_eq!(claimed(&store).await, [], "today's route comes first");
        store.withdraw_route("R-1").await.unwrap();
        let turn = claimed(&store).await;
        let names: Vec<(&str, bool)> =
            turn.iter().map(|route| (route.route.as_str(), route.is_replaced)).collect();
        assert_eq!(names, [("R-1", true), ("R-2", false)], "nothing is to be sent for the first");
        for route in &turn {
            store.record_route_sent(route).await.unwrap();
        }
        assert_eq!(claimed(&store).await, []);
        assert_eq!(store.route("R-2").await.unwrap().unwrap().sent_rev, Some(1));
    })
    .await;
}

#[tokio::test]
async fn an_empty_manifest_that_comes_late_leaves_no_van_without_its_next_route() {
    on_both(async |store| {
        for is_late in [false, true] {
            put(&store, &route("R-1", 1 + u64::from(is_late), "a"), &[]).await;
            store.record_route_sent(&claimed(&store).await[0]).await.unwrap();
            store.withdraw_route("R-1").await.unwrap();
            let empty = claimed(&store).await.remove(0);
            assert!(empty.withdrawn && !empty.is_replaced);
            let next = if is_late { "R-3" } else { "R-2" };
            put(&store, &tomorrow(next), &[]).await;
            let other = claimed(&store).await.remove(0);
            // Another instance sends it. The order of recorded PUBACKs does not show the broker's
            // last message.
            let (first, second) = if is_late { (&other, &empty) } else { (&empty, &other) };
            store.record_route_sent(first).await.unwrap();
            store.record_route_sent(second).await.unwrap();
            let again = claimed(&store).await;
            assert_eq!(again.len(), 1, "{next} is pending again");
            store.record_route_sent(&again[0]).await.unwrap();
            assert_eq!(store.route(next).await.unwrap().unwrap().sent_rev, Some(1));
            store.withdraw_route(next).await.unwrap();
            store.record_route_sent(&claimed(&store).await[0]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn events_of_a_route_are_kept_with_it_or_not_at_all() {
    on_both(async |store| {
        let say = |id: &str| [event(id, NOW, &["urn:x:1"])];
        let first = route("R-1", 1, "a");
        store.put_route(&first, &[], &say("urn:1"), ConflictPolicy::Reject, PAGE).await.unwrap();
        let lost = route("R-1", 1, "b");
        store.put_route(&lost, &[], &say("urn:2"), ConflictPolicy::Reject, PAGE).await.unwrap();
        let found = store.events_for_epc("urn:x:1").await.unwrap();
        assert_eq!(found.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["urn:1"]);
    })
    .await;
}
