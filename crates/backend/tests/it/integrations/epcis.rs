//! Identity of events, queries and resources of EPCIS 2.0.

use serde_json::{Value, json};

use super::capture::document;
use super::site::{Response, Site};
use crate::support::backend::on_both;

const CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";

fn list(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let list = answer.json.pointer("/epcisBody/queryResults/resultsBody/eventList").unwrap();
    list.as_array().unwrap().clone()
}

fn members(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["type"], "Collection");
    let members = answer.json["member"].as_array().unwrap().iter();
    members.map(|member| member.as_str().unwrap().to_owned()).collect()
}

/// Returns one event in several notations.
fn notations() -> Vec<Value> {
    let event = |time: &str, epcs: Value, place: &str, class: &str, amount: Value| {
        json!({"type": "ObjectEvent", "eventTime": time, "eventTimeZoneOffset": "+01:00", "action": "ADD",
            "epcList": epcs, "bizStep": "packing", "readPoint": {"id": place},
            "quantityList": [{"epcClass": class, "quantity": amount}]})
    };
    let urns =
        json!(["urn:epc:id:sgtin:0614141.107346.2017", "urn:epc:id:sscc:0614141.1234567890"]);
    let links = json!([
        "https://id.gs1.org/00/106141412345678908",
        "https://shop.example.com/01/10614141073464/21/2017?linkType=all",
    ]);
    let class = "urn:epc:class:lgtin:4012345.012345.998877";
    let class_link = "https://id.gs1.org/01/04012345123456/10/998877";
    let place = "urn:epc:id:sgln:0614141.07346.0";
    let place_link = "https://id.gs1.org/414/0614141073467";
    vec![
        event("2026-11-22T05:00:00+01:00", urns.clone(), place, class, json!(7)),
        event("2026-11-22T05:00:00.000+01:00", urns, place, class, json!(7.0)),
        event("2026-11-22T04:00:00Z", links.clone(), place, class_link, json!(7)),
        event("2026-11-22T06:00:00.0+02:00", links, place_link, class, json!(7)),
    ]
}

#[tokio::test]
async fn an_event_written_differently_is_the_same_event() {
    on_both(async |store| {
        let site = Site::start(store).await;
        for event in notations() {
            let job = site.captured("warehouse", &document(&[event]), "rollback").await;
            assert_eq!(job["success"], true, "{job}");
        }
        assert_eq!(list(&site.get("reader", "/epcis/v2/events").await).len(), 1);

        // With an id: the other notation repeats the event, other content clashes.
        for mut event in notations() {
            event["eventID"] = json!("urn:x:same");
            let job = site.captured("warehouse", &document(&[event]), "rollback").await;
            assert_eq!(job["success"], true, "{job}");
        }
        let mut other = notations().remove(0);
        other["eventID"] = json!("urn:x:same");
        other["eventTime"] = json!("2026-11-22T05:00:00.001+01:00");
        let job = site.captured("warehouse", &document(&[other]), "rollback").await;
        assert_eq!(job["errors"][0]["place"], "eventList[0].eventID", "{job}");
        assert_eq!(list(&site.get("reader", "/epcis/v2/events").await).len(), 2);

        // A declaration of error without an id applies to the event of the same content.
        let mut wrong = notations().remove(3);
        wrong["errorDeclaration"] = json!({"declarationTime": "2026-11-22T05:30:00Z"});
        let job = site.captured("warehouse", &document(&[wrong]), "rollback").await;
        assert_eq!(job["success"], true, "{job}");
        let events = list(&site.get("reader", "/epcis/v2/events").await);
        let retracted =
            events.iter().find(|event| event.get("errorDeclaration").is_some()).unwrap();
        let id = retracted["eventID"].as_str().unwrap();
        assert_eq!(events.iter().filter(|event| event["eventID"] == id).count(), 2);
        let shown = site.get("reader", &format!("/epcis/v2/events/{id}")).await;
        assert!(shown.json.get("errorDeclaration").is_some(), "{}", shown.text);
    })
    .await;
}

/// Stores events of each type.
async fn stocked(site: &Site) {
    let base = |kind: &str, minute: u32, more: Value| {
        let mut event = json!({"type": kind, "eventTime": format!("2026-11-22T05:{minute:02}:00Z"),
            "eventTimeZoneOffset": "+00:00", "eventID": format!("urn:x:{minute}")});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let events = [
        base(
            "ObjectEvent",
            1,
            json!({"action": "OBSERVE", "epcList": ["urn:epc:id:sgtin:0614141.107346.2017"],
            "bizStep": "shipping", "disposition": "in_transit", "readPoint": {"id": "urn:epc:id:sgln:0614141.07346.0"}}),
        ),
        base(
            "ObjectEvent",
            2,
            json!({"action": "OBSERVE", "epcList": ["https://id.gs1.org/01/10614141073464/21/2018"],
            "bizStep": "https://example.com/step/wrapping", "bizLocation": {"id": "https://id.gs1.org/414/0614141073467"}}),
        ),
        base(
            "AggregationEvent",
            3,
            json!({"action": "ADD", "parentID": "urn:epc:id:sscc:0614141.1234567890",
            "childEPCs": ["urn:epc:id:sgtin:0614141.107346.2017"], "bizStep": "packing", "disposition": "in_progress"}),
        ),
        base(
            "TransformationEvent",
            4,
            json!({"inputEPCList": ["urn:epc:id:sgtin:0614141.107346.2018"],
            "outputEPCList": ["urn:epc:id:sgtin:4012345.077889.25"]}),
        ),
        base("ext:Wrapping", 5, json!({"epcList": ["urn:x:parcel"], "bizStep": "packing"})),
    ];
    let job = site.captured("warehouse", &document(&events), "rollback").await;
    assert_eq!(job["success"], true, "{job}");
}

#[tokio::test]
async fn objects_are_found_in_either_syntax_by_role_and_by_pattern() {
    on_both(async |store| {
        let site = Site::start(store).await;
        stocked(&site).await;
        for (query, expected) in [
            ("MATCH_epc=urn:epc:id:sgtin:0614141.107346.2017", &[1, 3][..]),
            ("MATCH_epc=https://id.gs1.org/01/10614141073464/21/2017", &[1, 3]),
            ("MATCH_epc=https://example.com/a/01/10614141073464/21/2018", &[2]),
            ("MATCH_epc=urn:epc:idpat:sgtin:0614141.107346.*", &[1, 2, 3]),
            ("MATCH_epc=urn:epc:idpat:sgtin:0614141.*.*", &[1, 2, 3]),
            ("MATCH_epc=urn:epc:idpat:sgtin:*.*.*", &[1, 2, 3]),
            ("MATCH_epc=urn:epc:idpat:sgtin:4012345.*.*", &[]),
            ("MATCH_anyEPC=urn:epc:idpat:sgtin:4012345.*.*", &[4]),
            ("MATCH_outputEPC=https://id.gs1.org/01/04012345778892/21/25", &[4]),
            ("MATCH_inputEPC=https://id.gs1.org/01/10614141073464/21/2018", &[4]),
            ("MATCH_parentID=https://id.gs1.org/00/106141412345678908", &[3]),
            ("MATCH_parentID=urn:epc:idpat:sscc:0614141.*|urn:x:none", &[3]),
            ("MATCH_epc=urn:epc:idpat:sscc:*.*", &[]),
            ("MATCH_anyEPC=urn:epc:idpat:sscc:*.*", &[3]),
            ("MATCH_epc=urn:x:parcel", &[5]),
            ("MATCH_epc=urn:epc:idpat:sgtin:0614141.107346.*&MATCH_parentID=urn:epc:idpat:sscc:*.*", &[3]),
            ("EQ_readPoint=https://id.gs1.org/414/0614141073467", &[1]),
            ("EQ_bizLocation=urn:epc:id:sgln:0614141.07346.0", &[2]),
            ("EQ_bizStep=urn:epcglobal:cbv:bizstep:shipping", &[1]),
            ("EQ_disposition=https://ref.gs1.org/cbv/Disp-in_progress", &[3]),
            ("eventType=ext:Wrapping", &[5]),
            ("maxEventCount=5", &[1, 2, 3, 4, 5]),
        ] {
            let found = site.get("reader", &format!("/epcis/v2/events?orderDirection=ASC&{query}")).await;
            let ids: Vec<Value> = list(&found).iter().map(|event| event["eventID"].clone()).collect();
            let expected: Vec<String> = expected.iter().map(|n| format!("urn:x:{n}")).collect();
            assert_eq!(ids, expected, "{query}");
        }
        // The limit counts all pages.
        let mut place = "/epcis/v2/events?eventCountLimit=3&perPage=2".to_owned();
        let mut counts = Vec::new();
        loop {
            let page = site.get("reader", &place).await;
            counts.push(list(&page).len());
            let Some(link) = page.header("link") else { break };
            place = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        }
        assert_eq!(counts, [2, 1]);
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_cannot_be_answered_is_refused_by_an_exception_of_epcis() {
    on_both(async |store| {
        let site = Site::start(store).await;
        stocked(&site).await;
        let query = "epcisException:QueryParameterException";
        let acceptable = "epcisException:NotAcceptableException";
        let events = "GET /epcis/v2/events";
        let xml = [("accept", "application/xml")];
        let stream = [("accept", "text/event-stream, application/json;q=0")];
        let urns = [("gs1-epc-format", "Always_EPC_URN")];
        let old = [("gs1-epcis-max", "1.2")];
        for (who, request, headers, status, kind) in [
            ("reader", "GET /epcis/v2/events?EQ_bizStep=wrapping", &[][..], 400, query),
            ("reader", "GET /epcis/v2/events?EQ_disposition=gone", &[], 400, query),
            ("reader", "GET /epcis/v2/events?EQ_action=SEE", &[], 400, query),
            ("reader", "GET /epcis/v2/events?eventType=QuantityEvent", &[], 400, query),
            ("reader", "GET /epcis/v2/events?MATCH_epc=urn:epc:idpat:sgtin:*.7.*", &[], 400, query),
            ("reader", "GET /epcis/v2/events?MATCH_epc=395212340000000014", &[], 400, query),
            ("reader", "GET /epcis/v2/events?WD_readPoint=urn:x:a", &[], 400, query),
            ("reader", "GET /epcis/v2/events?maxEventCount=1&eventCountLimit=1", &[], 400, query),
            (
                "reader",
                "GET /epcis/v2/events?maxEventCount=4",
                &[],
                413,
                "epcisException:QueryTooLargeException",
            ),
            ("reader", events, &xml, 406, acceptable),
            ("reader", events, &stream, 200, ""),
            ("reader", events, &urns, 406, acceptable),
            ("reader", events, &old, 406, acceptable),
            ("nobody", events, &[], 401, "epcisException:SecurityException"),
            ("partner", events, &[], 403, "epcisException:SecurityException"),
            (
                "reader",
                "GET /epcis/v2/events/urn:x:none",
                &[],
                404,
                "epcisException:NoSuchResourceException",
            ),
            (
                "reader",
                "GET /epcis/v2/masterData",
                &[],
                404,
                "epcisException:NoSuchResourceException",
            ),
            ("reader", "GET /epcis/v2/bizSteps/wrapping", &[], 400, query),
            (
                "reader",
                "GET /epcis/v2/bizSteps/killing",
                &[],
                404,
                "epcisException:NoSuchResourceException",
            ),
            ("reader", "DELETE /epcis/v2/epcs", &[], 405, "epcisException:NoSuchResourceException"),
            (
                "warehouse",
                "POST /epcis/v2/capture",
                &[],
                415,
                "epcisException:UnsupportedMediaTypeException",
            ),
        ] {
            let answer = site.request_with(who, request, None, headers).await;
            assert_eq!(answer.status, status, "{request} {headers:?} {}", answer.text);
            if status != 200 {
                assert_eq!(answer.json["type"], kind, "{request} {}", answer.text);
                assert_eq!(
                    answer.header("content-type"),
                    Some("application/problem+json"),
                    "{request}"
                );
            }
            assert_eq!(answer.header("gs1-epcis-version"), Some("2.0"), "{request}");
        }
        let body = json!({"@context": CONTEXT, "type": "ObjectEvent"});
        let invalid = site.json("warehouse", "POST /epcis/v2/events", &body).await;
        assert_eq!(invalid.json["type"], "epcisException:ValidationException", "{}", invalid.text);
        for (accept, kind) in
            [("application/json", "application/json"), ("*/*", "application/ld+json")]
        {
            let answer = site.request_with("reader", events, None, &[("accept", accept)]).await;
            assert_eq!(answer.header("content-type"), Some(kind));
        }
        // Problems outside EPCIS keep their type.
        assert_eq!(site.get("reader", "/api/v1/none").await.json["type"], "about:blank");
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn each_resource_lists_its_values_and_their_events() {
    on_both(async |store| {
        let site = Site::start(store).await;
        assert_eq!(members(&site.get("reader", "/epcis/v2/eventTypes").await).len(), 5);
        assert_eq!(members(&site.get("reader", "/epcis/v2/epcs").await), [""; 0]);
        stocked(&site).await;
        let location = "https://id.gs1.org/414/0614141073467";
        let wrapping = "https://example.com/step/wrapping";
        let epcs = [
            "https://id.gs1.org/00/106141412345678908",
            "https://id.gs1.org/01/04012345778892/21/25",
            "https://id.gs1.org/01/10614141073464/21/2017",
            "https://id.gs1.org/01/10614141073464/21/2018",
            "urn:x:parcel",
        ];
        let types = [
            "AggregationEvent",
            "AssociationEvent",
            "ObjectEvent",
            "TransactionEvent",
            "TransformationEvent",
            "ext:Wrapping",
        ];
        for (resource, values, counts) in [
            ("eventTypes", &types[..], &[1, 0, 2, 0, 1, 1][..]),
            ("epcs", &epcs, &[1, 1, 2, 2, 1]),
            ("bizSteps", &[wrapping, "packing", "shipping"], &[1, 2, 1]),
            ("bizLocations", &[location], &[1]),
            ("readPoints", &[location], &[1]),
            ("dispositions", &["in_progress", "in_transit"], &[1, 1]),
        ] {
            let answer = site.get("reader", &format!("/epcis/v2/{resource}")).await;
            let mut found = members(&answer);
            found.sort();
            assert_eq!(found, values, "{resource}");
            assert_eq!(site.get("partner", &format!("/epcis/v2/{resource}")).await.status, 403);
            for (value, count) in values.iter().zip(counts) {
                let path = format!("/epcis/v2/{resource}/{}", waypost_wire::epcis::segment(value));
                assert_eq!(members(&site.get("reader", &path).await), ["events"], "{path}");
                let events = site.get("reader", &format!("{path}/events")).await;
                assert_eq!(list(&events).len(), *count, "{path}");
            }
            // Page by page, the same values.
            let mut place = format!("/epcis/v2/{resource}?perPage=1");
            let mut paged = Vec::new();
            loop {
                let page = site.get("reader", &place).await;
                paged.extend(members(&page));
                let Some(link) = page.header("link") else { break };
                place = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
            }
            paged.sort();
            assert_eq!(paged, values, "{resource}");
        }
        let path =
            "/epcis/v2/bizSteps/packing/events?perPage=1&eventType=ext:Wrapping|AggregationEvent";
        let page = site.get("reader", path).await;
        let next = page
            .header("link")
            .unwrap()
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap()
            .to_owned();
        let last = site.get("reader", &next).await;
        assert_eq!(
            (list(&page).len(), list(&last).len(), last.header("link")),
            (1, 1, None),
            "{next}"
        );
    })
    .await;
}
