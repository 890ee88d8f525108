//! Named queries, and their subscriptions by webhook and stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::capture::{document, event};
use super::site::Site;
use crate::support::backend::{on_both, set_clock};

const TOKEN: &str = "a token of sixteen bytes";

/// Requests to a receiver: signature and body.
type Received = Arc<Mutex<Vec<(Option<String>, String)>>>;

/// Starts a receiver that refuses the first `refusals` requests.
async fn receiver(refusals: usize) -> (String, Received) {
    let received = Received::default();
    let (kept, left) = (received.clone(), Arc::new(Mutex::new(refusals)));
    let app = Router::new().route(
        "/hook",
        post(async move |headers: HeaderMap, body: String| {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            let signature = headers.get("gs1-signature");
            let signature = signature.map(|value| value.to_str().unwrap().to_owned());
            kept.lock().unwrap().push((signature, body));
            StatusCode::NO_CONTENT
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, received)
}

/// Waits until the receiver has `count` requests.
async fn wait_for(received: &Received, count: usize) -> Vec<(Option<String>, Value)> {
    for _ in 0..400 {
        if received.lock().unwrap().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let received = received.lock().unwrap();
    assert_eq!(received.len(), count);
    let parsed = received.iter();
    parsed
        .map(|(signature, body)| (signature.clone(), serde_json::from_str(body).unwrap()))
        .collect()
}

fn steps(document: &Value) -> Vec<&str> {
    let list = document.pointer("/epcisBody/queryResults/resultsBody/eventList").unwrap();
    list.as_array().unwrap().iter().map(|event| event["bizStep"].as_str().unwrap()).collect()
}

/// Creates a query for what was packed or shipped.
async fn named(site: &Site, who: &str, name: &str) {
    let query = json!({"name": name, "query": {"EQ_bizStep": ["packing", "shipping"],
        "MATCH_epc": ["urn:epc:idpat:sscc:9521234.*"], "perPage": 1, "orderDirection": "ASC"}});
    let created = site.json(who, "POST /epcis/v2/queries", &query).await;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.header("location"), Some(&*format!("/epcis/v2/queries/{name}")));
}

/// Captures one event for each step.
async fn happened(site: &Site, steps: &[(&str, &str)]) {
    let events: Vec<Value> = steps.iter().map(|(step, time)| event(step, time)).collect();
    let job = site.captured("warehouse", &document(&events), "rollback").await;
    assert_eq!(job["success"], true, "{job}");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one history of a query")]
async fn a_query_has_a_name_and_its_events_have_pages() {
    on_both(async |store| {
        let site = Site::start(store).await;
        named(&site, "reader", "out").await;
        named(&site, "warehouse", "more").await;
        happened(
            &site,
            &[
                ("packing", "2026-11-22T05:00:00Z"),
                ("storing", "2026-11-22T05:01:00Z"),
                ("shipping", "2026-11-22T05:02:00Z"),
            ],
        )
        .await;
        let page = site.get("warehouse", "/epcis/v2/queries/out/events").await;
        assert_eq!(steps(&page.json), ["packing"], "{}", page.text);
        assert_eq!(page.json["epcisBody"]["queryResults"]["queryName"], "out");
        let next = page.header("link").unwrap().trim_start_matches('<').split('>').next().unwrap();
        let page = site.get("reader", next).await;
        assert_eq!((steps(&page.json), page.header("link")), (vec!["shipping"], None));
        let all = site.get("reader", "/epcis/v2/queries/out/events?perPage=9").await;
        assert_eq!(steps(&all.json), ["packing", "shipping"]);

        let listed = site.get("reader", "/epcis/v2/queries?perPage=1").await;
        assert_eq!(
            (&listed.json[0]["name"], listed.json.as_array().unwrap().len()),
            (&json!("more"), 1)
        );
        let next =
            listed.header("link").unwrap().trim_start_matches('<').split('>').next().unwrap();
        assert_eq!(site.get("reader", next).await.json[0]["name"], "out");
        let shown = site.get("reader", "/epcis/v2/queries/out").await;
        assert_eq!(shown.json["query"]["EQ_bizStep"], json!(["packing", "shipping"]));

        let query = |name: &str, query: Value| json!({"name": name, "query": query});
        for (who, request, body, status, kind) in [
            (
                "reader",
                "POST /epcis/v2/queries",
                query("out", json!({})),
                409,
                "ResourceAlreadyExistsException",
            ),
            (
                "reader",
                "POST /epcis/v2/queries",
                query("a b", json!({})),
                400,
                "ValidationException",
            ),
            (
                "reader",
                "POST /epcis/v2/queries",
                query("x", json!({"EQ_bizStep": ["x"]})),
                400,
                "QueryParameterException",
            ),
            (
                "reader",
                "POST /epcis/v2/queries",
                query("x", json!([])),
                400,
                "QueryParameterException",
            ),
            ("partner", "POST /epcis/v2/queries", query("x", json!({})), 403, "SecurityException"),
            ("reader", "GET /epcis/v2/queries/none", json!(null), 404, "NoSuchNameException"),
            (
                "reader",
                "GET /epcis/v2/queries/none/events",
                json!(null),
                404,
                "NoSuchNameException",
            ),
            (
                "reader",
                "GET /epcis/v2/queries/out/events?EQ_action=ADD",
                json!(null),
                400,
                "QueryParameterException",
            ),
            ("warehouse", "DELETE /epcis/v2/queries/out", json!(null), 403, "SecurityException"),
        ] {
            let answer = site.json(who, request, &body).await;
            assert_eq!(answer.status, status, "{request} {}", answer.text);
            assert_eq!(answer.json["type"], format!("epcisException:{kind}"), "{request}");
        }
        assert_eq!(site.request("reader", "DELETE /epcis/v2/queries/out", None).await.status, 204);
        assert_eq!(site.get("reader", "/epcis/v2/queries/out").await.status, 404);
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one history of a query")]
async fn a_subscriber_gets_each_event_once_signed_and_again_after_a_failure() {
    on_both(async |store| {
        let site = Site::start(store).await;
        named(&site, "reader", "out").await;
        let path = "/epcis/v2/queries/out/subscriptions";
        let (url, received) = receiver(1).await;
        happened(&site, &[("packing", "2026-11-22T05:00:00Z")]).await;
        set_clock(&site.shared, "2026-11-22T06:00:01Z");
        let controls = json!({"dest": url, "signatureToken": TOKEN, "stream": true});
        let created = site.json("reader", &format!("POST {path}"), &controls).await;
        assert_eq!(created.status, 201, "{}", created.text);
        assert!(!created.text.contains(TOKEN));
        let place = created.header("location").unwrap().to_owned();
        happened(
            &site,
            &[("shipping", "2026-11-22T05:10:00Z"), ("storing", "2026-11-22T05:11:00Z")],
        )
        .await;

        // The first attempt fails, the second is due ten seconds later.
        set_clock(&site.shared, "2026-11-22T06:00:10Z");
        for _ in 0..400 {
            if site.get("reader", &place).await.json["lastError"] == "status 503" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(site.get("reader", &place).await.json["lastError"], "status 503");
        set_clock(&site.shared, "2026-11-22T06:00:25Z");
        let sent = wait_for(&received, 1).await;
        let (signature, body) = &sent[0];
        assert_eq!(steps(body), ["shipping"], "the event before the subscription is not sent");
        assert_eq!(
            body["epcisBody"]["queryResults"]["subscriptionID"],
            created.json["subscriptionID"]
        );
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, TOKEN.as_bytes());
        let text = received.lock().unwrap()[0].1.clone();
        let expected = base64::Engine::encode(
            &base64::prelude::BASE64_STANDARD,
            ring::hmac::sign(&key, text.as_bytes()),
        );
        assert_eq!(signature.as_deref(), Some(&*expected));

        happened(&site, &[("packing", "2026-11-22T05:20:00Z")]).await;
        set_clock(&site.shared, "2026-11-22T06:00:40Z");
        assert_eq!(steps(&wait_for(&received, 2).await[1].1), ["packing"]);
        assert_eq!(site.get("reader", &place).await.json["lastError"], json!(null));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(received.lock().unwrap().len(), 2, "nothing is sent twice");

        // A subscription is its token's; it ends with its query.
        assert_eq!(site.get("warehouse", path).await.json, json!([]));
        assert_eq!(site.get("warehouse", &place).await.status, 404);
        assert_eq!(site.get("reader", path).await.json.as_array().unwrap().len(), 1);
        assert_eq!(site.request("reader", &format!("DELETE {place}"), None).await.status, 204);
        assert_eq!(site.request("reader", &format!("DELETE {place}"), None).await.status, 404);
        for wrong in [
            json!({"dest": "ftp://example.com", "stream": true}),
            json!({"dest": "https://user:key@example.com/", "stream": true}),
            json!({"dest": "https://example.com/"}),
            json!({"dest": "https://example.com/", "schedule": {"second": "0"}}),
            json!({"dest": "https://example.com/", "stream": true, "signatureToken": "short"}),
            json!({"dest": "https://example.com/", "stream": true, "reportIfEmpty": true}),
            json!({"dest": "https://example.com/", "stream": true, "initialRecordTime": "now"}),
            json!({"stream": true}),
        ] {
            let answer = site.json("reader", &format!("POST {path}"), &wrong).await;
            assert_eq!(answer.status, 400, "{wrong} {}", answer.text);
            assert_eq!(
                answer.json["type"], "epcisException:SubscriptionControlsException",
                "{wrong}"
            );
        }
        let limited = json!({"name": "few", "query": {"maxEventCount": 7}});
        assert_eq!(site.json("reader", "POST /epcis/v2/queries", &limited).await.status, 201);
        let refused =
            site.json("reader", "POST /epcis/v2/queries/few/subscriptions", &controls).await;
        assert_eq!(refused.json["type"], "epcisException:SubscribeNotPermittedException");
    })
    .await;
}

#[tokio::test]
async fn a_stream_sends_new_events_and_continues_after_the_last_one() {
    on_both(async |store| {
        let site = Site::start(store).await;
        named(&site, "reader", "out").await;
        let host = site.url.trim_start_matches("http://").to_owned();
        let open = async |more: &str| {
            let mut stream = TcpStream::connect(&host).await.unwrap();
            let request = format!(
                "GET /epcis/v2/queries/out/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer reader\r\n\
                 Accept: text/event-stream\r\n{more}\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        };
        let read = async |stream: &mut TcpStream, end: &str| {
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.contains(end) {
                let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer));
                let count = read.await.expect("an event arrives in time").unwrap();
                assert_ne!(count, 0, "{text}");
                text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            text
        };
        let mut stream = open("").await;
        assert!(read(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        happened(&site, &[("packing", "2026-11-22T05:00:00Z"), ("storing", "2026-11-22T05:01:00Z")]).await;
        set_clock(&site.shared, "2026-11-22T06:00:10Z");
        let text = read(&mut stream, "\n\n").await;
        assert!(text.contains("event: epcis") && text.contains("packing"), "{text}");
        assert!(!text.contains("storing"), "{text}");
        let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();

        happened(&site, &[("shipping", "2026-11-22T05:02:00Z")]).await;
        set_clock(&site.shared, "2026-11-22T06:00:20Z");
        let mut stream = open(&format!("Last-Event-ID: {id}\r\n")).await;
        let text = read(&mut stream, "shipping").await;
        assert!(!text.contains("packing"), "{text}");
    })
    .await;
}
