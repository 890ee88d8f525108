//! Capture of partners' events over HTTP.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use waypost_backend::event::{Event, Origin};
use waypost_backend::queries;
use waypost_backend::store::capture_jobs::CaptureJob;
use waypost_backend::store::events;

use super::site::{NOW, Response, Site};
use crate::support::backend::{on_both, set_clock, shared as instance, utc};
use crate::support::schema::read_json;
use crate::support::shared;

const CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";
const PARCEL: &str = "https://id.gs1.org/00/395212340000000014";

pub(super) fn event(step: &str, time: &str) -> Value {
    json!({"type": "ObjectEvent", "eventTime": time, "eventTimeZoneOffset": "+00:00", "action": "OBSERVE",
        "bizStep": step, "epcList": ["urn:epc:id:sscc:9521234.3000000001"],
        "readPoint": {"id": "https://id.gs1.org/414/9521234000020"}})
}

pub(super) fn document(events: &[Value]) -> Value {
    json!({"@context": [CONTEXT, {"shop": "https://shop.example.com/"}], "type": "EPCISDocument",
        "schemaVersion": "2.0", "creationDate": "2026-11-22T05:00:00Z", "epcisBody": {"eventList": events}})
}

impl Site {
    /// Captures a document, and waits for the end of its job.
    pub(super) async fn captured(&self, who: &str, document: &Value, how: &str) -> Value {
        let body = Some(("application/ld+json", document.to_string()));
        let headers = [("GS1-Capture-Error-Behaviour", how)];
        let accepted = self.request_with(who, "POST /epcis/v2/capture", body, &headers).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        let place = accepted.header("location").unwrap().to_owned();
        self.finished(who, &place).await
    }

    pub(super) async fn finished(&self, who: &str, place: &str) -> Value {
        for _ in 0..200 {
            let job = self.get(who, place).await.json;
            if job["running"] == json!(false) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the job does not end");
    }
}

fn listed(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let list = answer.json.pointer("/epcisBody/queryResults/resultsBody/eventList").unwrap();
    list.as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_captured_is_there_once_under_one_name() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let mut extended = event("packing", "2026-11-22T05:00:00Z");
        extended["shop:shelf"] = json!({"shop:row": 7});
        extended["recordTime"] = json!("2001-01-01T00:00:00Z");
        let document = document(&[extended, event("shipping", "2026-11-22T05:10:00Z")]);
        for _ in 0..2 {
            let job = site.captured("warehouse", &document, "rollback").await;
            assert_eq!((&job["success"], &job["errors"]), (&json!(true), &json!([])), "{job}");
        }
        let events = site.shared.store.events_for_epc(PARCEL).await.unwrap();
        assert_eq!(events.len(), 2, "a repeated event is stored once");
        assert_eq!(
            (events[0].origin, events[0].source.as_str()),
            (Origin::Capture, "capture:warehouse")
        );
        assert_eq!((events[0].van.as_deref(), events[0].kind.as_str()), (None, ""));

        let found = listed(&site.get("reader", "/epcis/v2/events?EQ_bizStep=packing").await);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["recordTime"], NOW);
        assert_eq!(found[0]["shop:shelf"]["shop:row"], 7);
        assert_eq!(found[0]["@context"][1]["shop"], "https://shop.example.com/");
        let id = found[0]["eventID"].as_str().unwrap();
        assert!(id.starts_with("urn:uuid:"), "{id}");
        let one = site.get("reader", &format!("/epcis/v2/events/{id}")).await;
        assert_eq!((one.status, &one.json), (200, &found[0]));
        assert_eq!(site.get("reader", "/epcis/v2/events/urn:x:none").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn with_rollback_one_bad_event_keeps_all_out_and_with_proceed_itself() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let document = document(&[
            event("packing", "2026-11-22T05:00:00Z"),
            event("wrapping", "2026-11-22T05:10:00Z"),
        ]);
        let job = site.captured("warehouse", &document, "rollback").await;
        assert_eq!(job["success"], false);
        assert_eq!(job["errors"][0]["place"], "eventList[1].bizStep");
        assert_eq!(site.shared.store.events_for_epc(PARCEL).await.unwrap().len(), 0);
        let job = site.captured("warehouse", &document, "proceed").await;
        assert_eq!(
            (&job["success"], &job["captureErrorBehaviour"]),
            (&json!(false), &json!("proceed"))
        );
        assert_eq!(site.shared.store.events_for_epc(PARCEL).await.unwrap().len(), 1);

        let mut clash = event("packing", "2026-11-22T05:00:00Z");
        clash["eventID"] = json!("urn:uuid:019aaa00-0006-7000-8000-000000000006");
        let one = super::capture::document(&[clash.clone()]);
        assert_eq!(site.captured("warehouse", &one, "rollback").await["success"], true);
        clash["bizStep"] = json!("shipping");
        let other = super::capture::document(&[clash.clone()]);
        let job = site.captured("warehouse", &other, "rollback").await;
        assert_eq!(job["errors"][0]["place"], "eventList[0].eventID", "{job}");
        // Another token's use of the same id is independent.
        assert_eq!(site.captured("partner", &other, "rollback").await["success"], true);
    })
    .await;
}

#[tokio::test]
async fn a_job_survives_a_restart_and_is_its_owners() {
    on_both(async |store| {
        // Accepted by an instance that crashed before the job ran.
        let dead = instance(store.clone(), NOW);
        let job = CaptureJob {
            id: "7".to_owned(),
            token_name: "warehouse".to_owned(),
            behaviour: "rollback".to_owned(),
            made_at: dead.now(),
            finished_at: None,
            state: "running".to_owned(),
            events: 1,
            doc: Some(json!({"events": [event("packing", "2026-11-22T05:00:00Z")]}).to_string()),
            errors: None,
        };
        dead.store.put_job(&job).await.unwrap();
        let until = utc("2026-11-22T06:02:00Z");
        assert!(dead.store.claim_job(dead.now(), until).await.unwrap().is_some());
        let none = dead.store.claim_job(dead.now(), until).await.unwrap();
        assert_eq!(none, None, "it is stored once");

        let site = Site::start(store).await;
        assert_eq!(site.get("warehouse", "/epcis/v2/capture/7").await.json["running"], true);
        set_clock(&site.shared, "2026-11-22T06:03:00Z");
        site.shared.captures.notify_one();
        assert_eq!(site.finished("warehouse", "/epcis/v2/capture/7").await["success"], true);
        assert_eq!(site.shared.store.events_for_epc(PARCEL).await.unwrap().len(), 1);
        assert_eq!(site.get("partner", "/epcis/v2/capture/7").await.status, 404);

        for _ in 0..3 {
            site.captured("warehouse", &document(&[]), "rollback").await;
        }
        let page = site.get("warehouse", "/epcis/v2/capture?perPage=3").await;
        assert_eq!(page.json.as_array().unwrap().len(), 3);
        let next = page.header("link").unwrap();
        let next = next.trim_start_matches('<').split('>').next().unwrap();
        let page = site.get("warehouse", next).await;
        assert_eq!((page.json.as_array().unwrap().len(), page.header("link")), (1, None));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_capture_is_refused_with_the_headers_that_say_what_is() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let ok = document(&[event("packing", "2026-11-22T05:00:00Z")]).to_string();
        let many = document(&vec![json!({}); 1_001]).to_string();
        let long = format!("{ok}{}", " ".repeat(4 * 1024 * 1024));
        let json = "application/json";
        for (who, kind, body, headers, status) in [
            ("nobody", json, &ok, &[][..], 401),
            ("reader", json, &ok, &[], 403),
            ("warehouse", "application/xml", &ok, &[], 415),
            ("warehouse", json, &"{".to_owned(), &[], 400),
            ("warehouse", json, &"{}".to_owned(), &[], 400),
            ("warehouse", json, &"[".repeat(100_000), &[], 400),
            ("warehouse", json, &many, &[], 413),
            ("warehouse", json, &long, &[], 413),
            ("warehouse", json, &ok, &[("GS1-Capture-Error-Behaviour", "retry")], 400),
            ("warehouse", json, &ok, &[("GS1-EPCIS-Version", "1.2")], 406),
            ("warehouse", json, &ok, &[("GS1-EPCIS-Version", "2.0.0")], 202),
        ] {
            let body = Some((kind, body.clone()));
            let answer = site.request_with(who, "POST /epcis/v2/capture", body, headers).await;
            assert_eq!(answer.status, status, "{who} {kind} {headers:?} {}", answer.text);
            assert_eq!(answer.header("gs1-epcis-capture-limit"), Some("1000"));
            assert_eq!(answer.header("gs1-epcis-capture-file-size-limit"), Some("4194304"));
            assert_eq!(answer.header("gs1-epcis-version"), Some("2.0"));
        }
        let discovered = site.request("", "OPTIONS /epcis/v2/capture", None).await;
        assert_eq!((discovered.status, discovered.header("gs1-cbv-version")), (204, Some("2.0")));
    })
    .await;
}

#[tokio::test]
async fn an_event_alone_is_captured_at_once_and_retracted_under_its_name() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let mut one = event("packing", "2026-11-22T05:00:00Z");
        assert_eq!(
            site.json("warehouse", "POST /epcis/v2/events", &one).await.status,
            400,
            "no context"
        );
        one["@context"] = json!(CONTEXT);
        let created = site.json("warehouse", "POST /epcis/v2/events", &one).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let place = created.header("location").unwrap().to_owned();
        assert_eq!(site.get("reader", &place).await.json["bizStep"], "packing");
        assert_eq!(
            site.json("warehouse", "POST /epcis/v2/events", &one).await.status,
            201,
            "the same again"
        );

        let mut wrong = created.json.clone();
        wrong["errorDeclaration"] =
            json!({"declarationTime": "2026-11-22T05:30:00Z", "reason": "did_not_occur"});
        let retracted = site.json("warehouse", "POST /epcis/v2/events", &wrong).await;
        assert_eq!(retracted.status, 201, "{}", retracted.text);
        let events = site.shared.store.events_for_epc(PARCEL).await.unwrap();
        let said: Vec<_> = events.iter().map(|event| (event.retracts, &event.event_id)).collect();
        assert_eq!(said, [(false, &events[0].event_id), (true, &events[0].event_id)]);
        assert!(site.get("reader", &place).await.json.get("errorDeclaration").is_some());

        let mut other = one.clone();
        other["eventID"] = created.json["eventID"].clone();
        other["bizStep"] = json!("shipping");
        assert_eq!(site.json("warehouse", "POST /epcis/v2/events", &other).await.status, 409);
    })
    .await;
}

#[tokio::test]
async fn events_are_found_by_what_is_asked_page_by_page() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let mut events: Vec<Value> = (0..25)
            .map(|minute| event("transporting", &format!("2026-11-22T04:{:02}:00Z", minute / 2)))
            .collect();
        for (n, event) in events.iter_mut().enumerate() {
            event["eventID"] = json!(format!("urn:x:{n}"));
        }
        events.push(json!({"type": "AggregationEvent", "eventTime": "2026-11-22T05:00:00+01:00",
            "eventTimeZoneOffset": "+01:00", "action": "ADD", "bizStep": "packing", "disposition": "in_progress",
            "parentID": "urn:x:pallet", "childEPCs": ["urn:x:child"], "bizLocation": {"id": "urn:x:hall"}}));
        let job = site.captured("warehouse", &document(&events), "rollback").await;
        assert_eq!(job["success"], true, "{job}");
        for (query, count) in [
            ("", 26),
            ("eventType=AggregationEvent", 1),
            ("eventType=AggregationEvent|ObjectEvent", 26),
            ("EQ_action=ADD&EQ_bizStep=packing&EQ_disposition=in_progress", 1),
            ("EQ_action=ADD&EQ_bizStep=shipping", 0),
            ("EQ_bizLocation=urn:x:hall", 1),
            ("EQ_readPoint=https://id.gs1.org/414/9521234000020", 25),
            ("EQ_eventID=urn:x:3|urn:x:4", 2),
            ("MATCH_epc=urn:x:child", 1),
            ("MATCH_epc=urn:x:pallet", 0),
            ("MATCH_anyEPC=urn:x:pallet", 1),
            ("MATCH_epc=https://example.org/00/395212340000000014", 25),
            ("GE_eventTime=2026-11-22T04:10:00Z", 5),
            ("GE_eventTime=2026-11-22T05:10:00%2B01:00&LT_eventTime=2026-11-22T04:12:00Z", 4),
            ("GE_recordTime=2026-11-22T06:00:00Z", 26),
            ("LT_recordTime=2026-11-22T06:00:00Z", 0),
        ] {
            let found = site.get("reader", &format!("/epcis/v2/events?perPage=100&{query}")).await;
            assert_eq!(listed(&found).len(), count, "{query}");
        }
        for (order, direction) in [("eventTime", "ASC"), ("eventTime", "DESC"), ("recordTime", "ASC")] {
            let mut place =
                format!("/epcis/v2/events?perPage=7&MATCH_epc={PARCEL}&orderBy={order}&orderDirection={direction}");
            let mut ids = Vec::new();
            for _ in 0..4 {
                let page = site.get("reader", &place).await;
                ids.extend(listed(&page).iter().map(|event| event["eventID"].to_string()));
                match page.header("link") {
                    Some(link) => {
                        place = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
                    }
                    None => break,
                }
            }
            let expected: Vec<String> = (0..25).map(|n| format!("\"urn:x:{n}\"")).collect();
            if direction == "DESC" {
                ids.reverse();
            }
            assert_eq!(ids, expected, "{order} {direction}");
        }
        let refused = site.get("reader", "/epcis/v2/events?EQ_bizstep=packing").await;
        assert_eq!((refused.status, &refused.json["errors"][0]["place"]), (400, &json!("EQ_bizstep")));
        assert_eq!(site.get("partner", "/epcis/v2/events").await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn gs1s_good_examples_are_taken_and_the_bad_ones_refused() {
    let (Some(good), Some(bad)) = (shared("epcis"), shared("epcis/invalid")) else { return };
    on_both(async |store| {
        let site = Site::start(store).await;
        set_clock(&site.shared, "2026-11-22T20:00:00Z");
        for (folder, number, ok) in [(&good, 16, true), (&bad, 9, false)] {
            let files: Vec<_> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file())
                .collect();
            assert_eq!(files.len(), number);
            for file in files {
                let example = read_json(&file);
                let taken = if example["type"] == "EPCISDocument" {
                    site.captured("warehouse", &example, "rollback").await["success"] == true
                } else {
                    let answer = site.json("warehouse", "POST /epcis/v2/events", &example).await;
                    assert_eq!(
                        answer.status,
                        if ok { 201 } else { 400 },
                        "{} {}",
                        file.display(),
                        answer.text
                    );
                    answer.status == 201
                };
                assert_eq!(taken, ok, "{}", file.display());
            }
        }
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one history of retractions")]
async fn a_token_takes_back_what_came_by_it_and_of_others_only_with_the_scope_for_that() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let steps = async || {
            let trace = queries::trace(&site.shared, "395212340000000014").await.unwrap();
            trace.map_or(0, |trace| trace.timeline.len())
        };
        let named = |id: &str, step: &str| {
            let mut event = event(step, "2026-11-22T05:00:00Z");
            event["@context"] = json!(CONTEXT);
            event["eventID"] = json!(format!("urn:x:{id}"));
            event
        };
        let wrong = |event: &Value| {
            let mut event = event.clone();
            event["errorDeclaration"] = json!({"declarationTime": "2026-11-22T05:30:00Z"});
            event
        };
        let packed = named("packed", "packing");
        let said = site.json("partner", "POST /epcis/v2/events", &packed).await;
        assert_eq!((said.status, steps().await), (201, 1), "{}", said.text);
        let back = site.json("warehouse", "POST /epcis/v2/events", &wrong(&packed)).await;
        assert_eq!(back.status, 403, "{}", back.text);
        assert!(back.text.contains("by the token partner"), "{}", back.text);
        let job = site.captured("warehouse", &document(&[wrong(&packed)]), "rollback").await;
        assert_eq!(job["errors"][0]["place"], "eventList[0].errorDeclaration", "{job}");
        assert_eq!(steps().await, 1);
        for (id, who) in [("packed", "partner"), ("sorted", "corrector")] {
            let event = named(id, "receiving");
            if id == "sorted" {
                assert_eq!(site.json("partner", "POST /epcis/v2/events", &event).await.status, 201);
            }
            let back = site.json(who, "POST /epcis/v2/events", &wrong(&event)).await;
            assert_eq!(back.status, 201, "{who} {}", back.text);
            let shown = site.get("reader", &format!("/epcis/v2/events/urn:x:{id}")).await.json;
            assert!(shown.get("errorDeclaration").is_some(), "{shown}");
            assert_eq!(steps().await, 0, "{who}");
        }

        // A retraction that arrives first applies to the token's own events only. If two tokens
        // capture the same event, each can retract its own.
        let shipped = named("shipped", "shipping");
        for (who, body, expected) in [
            ("warehouse", wrong(&shipped), 0),
            ("warehouse", shipped.clone(), 0),
            ("partner", shipped.clone(), 1),
            ("partner", wrong(&shipped), 0),
        ] {
            let answer = site.json(who, "POST /epcis/v2/events", &body).await;
            assert_eq!((answer.status, steps().await), (201, expected), "{who} {body}");
        }

        let for_van = Event {
            source: "https://parcels.example.com/vans/VAN-042".to_owned(),
            origin: Origin::Van,
            ..site.shared.store.events_for_epc(PARCEL).await.unwrap().remove(0)
        };
        let for_van = Event { event_id: "urn:x:van".to_owned(), retracts: false, ..for_van };
        site.shared.store.write(events::insert(&for_van)).await.unwrap();
        for who in ["warehouse", "corrector"] {
            let back =
                site.json(who, "POST /epcis/v2/events", &wrong(&named("van", "receiving"))).await;
            assert_eq!(back.status, 403, "{who} {}", back.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_captures_only_parcels_of_its_owners_at_its_sites() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let own = event("packing", "2026-11-22T05:00:00Z");
        let mut other_owner = own.clone();
        other_owner["epcList"] = json!(["urn:epc:id:sscc:0614141.1234567890"]);
        let mut mixed = own.clone();
        mixed["epcList"] = json!([own["epcList"][0], other_owner["epcList"][0]]);
        let mut other_site = own.clone();
        other_site["readPoint"] = json!({"id": "https://id.gs1.org/414/0614141000012"});
        let mut nowhere = own.clone();
        nowhere.as_object_mut().unwrap().remove("readPoint");
        let job = site
            .captured(
                "bound",
                &document(&[own, other_owner, mixed, other_site, nowhere]),
                "proceed",
            )
            .await;
        assert_eq!(job["errors"].as_array().unwrap().len(), 4, "{job}");
        assert_eq!(site.shared.store.events_for_epc(PARCEL).await.unwrap().len(), 1);
        let foreign = "https://id.gs1.org/00/106141412345678908";
        assert_eq!(site.shared.store.events_for_epc(foreign).await.unwrap(), []);
        let mut single = event("packing", "2026-11-22T05:00:00Z");
        single["@context"] = json!(CONTEXT);
        single["epcList"] = json!(["urn:epc:id:sscc:0614141.1234567890"]);
        let refused = site.json("bound", "POST /epcis/v2/events", &single).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        let allowed = site.json("warehouse", "POST /epcis/v2/events", &single).await;
        assert_eq!(allowed.status, 201, "{}", allowed.text);
        let list = "parcel,status,time,place\n106141412345678908,sorted,2026-11-22T05:00:00Z,x\n";
        let body = Some(("text/csv", list.to_owned()));
        let import = site.request("bound", "POST /api/v1/import?carrier=dhl", body).await;
        assert_eq!((&import.json["taken"], &import.json["bad"]), (&json!(0), &json!(1)));
    })
    .await;
}
