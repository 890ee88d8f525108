//! Access control of dispatch, and its audit log.

use serde_json::json;
use waypost_backend::config::Scope;
use waypost_backend::store::{Statement, Value};
use waypost_backend::{AppState, queries};
use waypost_service::clock::Clock;

use super::client::{Response, Server};
use super::{token, with};
use crate::support::backend::{on_both, pass, shared};

const NOON: &str = "2026-11-22T12:00:00Z";

/// Dispatch paths that return data.
const SHOWN: &[&str] = &[
    "/api/v1/vans",
    "/api/v1/vans/live",
    "/api/v1/vans/VAN-042",
    "/api/v1/vans/VAN-042/day",
    "/api/v1/trace/106141412345678908",
    "/api/v1/poison",
    "/api/v1/audit",
];

fn with_tokens(shared: &AppState) -> AppState {
    with(shared, |config| {
        config.tokens = vec![
            token("anna", "desk-secret", &[Scope::Desk]),
            token(
                "depot",
                "routes-secret",
                &[Scope::Routes, Scope::Capture, Scope::Events, Scope::Metrics],
            ),
        ];
    })
}

async fn log_in(server: &Server, secret: &str) -> Response {
    let body = json!({"token": secret});
    server.json("POST", "/api/v1/session", &[("X-Waypost", "1")], &body).await
}

#[tokio::test]
async fn dispatch_is_closed_without_its_scope() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::start(&with_tokens(&shared)).await;
    let hash = with_tokens(&shared).config.tokens[0].sha256.clone();
    let bearer_hash = format!("Bearer {hash}");
    for path in SHOWN {
        for (status, headers) in [
            (401, &[][..]),
            (401, &[("Authorization", "Bearer wrong")]),
            (401, &[("Authorization", "Bearer ")]),
            (401, &[("Authorization", "Bearer")]),
            (401, &[("Authorization", "Basic ZGVzay1zZWNyZXQ6")]),
            (401, &[("Authorization", bearer_hash.as_str())]),
            (403, &[("Authorization", "Bearer routes-secret")]),
            (401, &[("Cookie", "__Host-waypost=")]),
            (401, &[("Cookie", "__Host-waypost=1.2.3.4; waypost=desk-secret")]),
            (401, &[("Cookie", "__Host-waypost=desk-secret")]),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = server.request(method, path, headers, "").await;
                assert_eq!(answer.status, status, "{method} {path} {headers:?}");
                assert_eq!(answer.header("cache-control"), Some("no-store"));
            }
        }
        if !path.ends_with("live") {
            let answer =
                server.request("GET", path, &[("Authorization", "Bearer desk-secret")], "").await;
            assert!([200, 404].contains(&answer.status), "{path} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_session_opens_dispatch_for_half_a_day_and_can_be_revoked() {
    on_both(async |store| {
        let shared = with_tokens(&shared(store, NOON));
        let server = Server::start(&shared).await;
        assert_eq!(log_in(&server, "routes-secret").await.status, 401);
        assert_eq!(log_in(&server, "wrong").await.status, 401);
        let started = log_in(&server, "desk-secret").await;
        assert_eq!(started.status, 204);
        let set = started.header("set-cookie").unwrap();
        for word in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age=43200"] {
            assert!(set.contains(word), "{set}");
        }
        let cookie = started.cookie();
        let vans = async |cookie: &str| {
            server.request("GET", "/api/v1/vans", &[("Cookie", cookie)], "").await.status
        };
        assert_eq!(vans(&cookie).await, 200);
        let another = Server::start(&shared).await;
        let elsewhere = another.request("GET", "/api/v1/vans", &[("Cookie", &cookie)], "").await;
        assert_eq!(elsewhere.status, 200, "another instance accepts it");

        let second = log_in(&server, "desk-secret").await.cookie();
        let ended = server
            .request("DELETE", "/api/v1/session", &[("Cookie", &cookie), ("X-Waypost", "1")], "")
            .await;
        assert_eq!(ended.status, 204);
        assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
        assert_eq!(vans(&cookie).await, 401, "revoked, although its signature is valid");
        assert_eq!(vans(&second).await, 200, "other sessions continue");
        pass(&shared, std::time::Duration::from_hours(12));
        assert_eq!(vans(&second).await, 401);
    })
    .await;
}

#[tokio::test]
async fn a_cookie_that_was_changed_anywhere_opens_nothing() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let shared = with_tokens(&shared);
    let server = Server::start(&shared).await;
    let cookie = log_in(&server, "desk-secret").await.cookie();
    let (name, value) = cookie.split_once('=').unwrap();
    let opens = async |value: &str| {
        let cookie = format!("{name}={value}");
        server.request("GET", "/api/v1/vans", &[("Cookie", &cookie)], "").await.status
    };
    assert_eq!(opens(value).await, 200);
    for at in (0..value.len()).step_by(3) {
        let mut bytes = value.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(opens(&changed).await, 401, "{at}: {changed}");
    }
    let parts: Vec<&str> = value.split('.').collect();
    let [until, session, who, signature] = parts[..] else { panic!("{value}") };
    let later = until.parse::<u64>().unwrap() + 1;
    let depot = hex::encode(b"depot");
    for forged in [
        format!("{later}.{session}.{who}.{signature}"),
        format!("{until}.{session}.{depot}.{signature}"),
        format!("{until}.{session}.{who}."),
        format!("{until}.{session}.{who}.{}", &signature[..32]),
        format!("{until}.{session}.{who}.{signature}{signature}"),
        format!("{until}.{session}.{who}.x.{signature}"),
        format!("+{until}.{session}.{who}.{signature}"),
        format!("{until}.{session}.{who}.{}", "0".repeat(64)),
        "9".repeat(10_000),
    ] {
        assert_eq!(opens(&forged).await, 401, "{forged:.80}");
    }
    let other_token = with(&shared, |config| {
        config.tokens = vec![token("anna", "another-secret", &[Scope::Desk])];
    });
    let renewed = Server::start(&other_token).await;
    let answer = renewed.request("GET", "/api/v1/vans", &[("Cookie", &cookie)], "").await;
    assert_eq!(answer.status, 401, "a session ends with its token");
}

#[tokio::test]
async fn another_sites_page_changes_nothing_with_a_dispatchers_cookie() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let shared = with_tokens(&shared);
    super::parcel(&shared, "106141412345678908", Some("80331"), "t").await;
    let server = Server::start(&shared).await;
    let cookie = log_in(&server, "desk-secret").await.cookie();
    let body = json!({"state": "lost"});
    let path = "/api/v1/trace/106141412345678908/case";
    let put = async |headers: &[(&str, &str)]| {
        let mut all = vec![("Cookie", cookie.as_str())];
        all.extend(headers);
        server.json("PUT", path, &all, &body).await.status
    };
    for (allowed, headers) in [
        (false, &[][..]),
        (false, &[("Origin", "https://evil.example")]),
        (false, &[("Origin", "null")]),
        (false, &[("Origin", "https://evil.example"), ("X-Waypost", "1")]),
        (false, &[("Origin", "https://track.example.com.evil.example")]),
        (false, &[("Sec-Fetch-Site", "cross-site")]),
        (false, &[("Sec-Fetch-Site", "same-site"), ("X-Waypost", "1")]),
        (false, &[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://track.example.com")]),
        (true, &[("Sec-Fetch-Site", "same-origin")]),
        (true, &[("Origin", "https://track.example.com")]),
        (true, &[("Origin", "http://localhost")]),
        (true, &[("X-Waypost", "1")]),
    ] {
        let status = put(headers).await;
        assert_eq!(status != 403, allowed, "{status} {headers:?}");
    }
    for (method, path) in [("POST", "/api/v1/session"), ("DELETE", "/api/v1/session")] {
        let headers = [("Cookie", cookie.as_str()), ("Origin", "https://evil.example")];
        let answer = server.json(method, path, &headers, &json!({"token": "desk-secret"})).await;
        assert_eq!(answer.status, 403, "another site cannot log a user in or out");
    }
}

#[tokio::test]
async fn guessing_tokens_for_a_session_is_slow() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::start(&with_tokens(&shared)).await;
    let mut statuses = Vec::new();
    for guess in 0..12 {
        statuses.push(log_in(&server, &format!("guess {guess}")).await.status);
    }
    assert_eq!((statuses[9], statuses[11]), (401, 429));
    assert_eq!(log_in(&server, "desk-secret").await.status, 429);
}

#[tokio::test]
async fn over_plain_http_the_cookie_is_one_that_browsers_keep() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let shared = with(&with_tokens(&shared), |config| {
        "http://127.0.0.1:8080".clone_into(&mut config.http.public_url);
    });
    let server = Server::start(&shared).await;
    let started = log_in(&server, "desk-secret").await;
    let set = started.header("set-cookie").unwrap();
    assert!(set.starts_with("waypost=") && !set.contains("Secure"), "{set}");
    assert!(started.header("strict-transport-security").is_none());
}

#[tokio::test]
async fn who_looked_at_what_can_be_read_by_parts() {
    on_both(async |store| {
        let shared = with_tokens(&shared(store, NOON));
        let server = Server::start(&shared).await;
        for _ in 0..3 {
            log_in(&server, "desk-secret").await;
        }
        let desk = [("Authorization", "Bearer desk-secret")];
        let read = async |query: &str| -> serde_json::Value {
            server.request("GET", &format!("/api/v1/audit{query}"), &desk, "").await.value()
        };
        let all = read("").await;
        assert_eq!(all.as_array().unwrap().len(), 3);
        assert_eq!(all[0]["who"], "anna");
        assert_eq!(all[0]["what"], "session");
        assert_eq!(all[0]["at"], "2026-11-22T12:00:00.000Z");
        let before = all[0]["n"].as_i64().unwrap();
        assert_eq!(read(&format!("?before={before}&limit=1")).await, json!([all[1]]));
        let wrong = server.request("GET", "/api/v1/audit?limit=x", &desk, "").await;
        assert_eq!((wrong.status, wrong.value()["status"].as_u64()), (400, Some(400)));
    })
    .await;
}

#[tokio::test]
async fn a_day_is_asked_for_by_times_that_make_sense() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::start(&with_tokens(&shared)).await;
    for query in [
        "from=yesterday",
        "from=2026-11-22T10:00:00Z&until=2026-11-22T09:00:00Z",
        "from=2026-11-01T10:00:00Z&until=2026-11-22T09:00:00Z",
        "from=0001-01-01T00:00:00Z",
        "form=2026-11-22T10:00:00Z",
    ] {
        let path = format!("/api/v1/vans/VAN-042/day?{query}");
        let answer =
            server.request("GET", &path, &[("Authorization", "Bearer desk-secret")], "").await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn a_thousand_vans_come_in_the_order_of_their_ids_each_with_its_route() {
    const VANS: usize = 1000;
    on_both(async |store| {
        let shared = shared(store, NOON);
        let noon = shared.now().as_unix_ms();
        let name = |van: usize| format!("VAN-{van:04}");
        let manifest = |van: usize| {
            json!({"v": 1, "route": format!("R-{van}"), "rev": 1,
                "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1, "lon": 11.5, "radius_m": 150},
                "stops": [{"seq": 1, "id": "door", "lat": 48.2, "lon": 11.6,
                    "parcels": [{"number": format!("PARCEL{van}")}]}]})
            .to_string()
        };
        let van = |van| vec![Value::from(name(van)), noon.into()];
        let route = |van: usize| {
            let text = manifest(van);
            vec![
                format!("R-{van}").into(),
                name(van).into(),
                1_i64.into(),
                text.clone().into(),
                text.into(),
                "".into(),
                noon.into(),
                0_i64.into(),
            ]
        };
        let routes = "INSERT INTO route (route, van, rev, doc, manifest, digest, put_at, withdrawn) VALUES";
        let mut rows = Statement::bulk_insert("INSERT INTO van (van, heard_at) VALUES", (0..VANS).rev().map(van).collect(), "");
        rows.extend(Statement::bulk_insert(routes, (0..VANS).map(route).collect(), ""));
        shared.store.write(rows).await.unwrap();
        let clock = Clock::live();
        for look in ["first", "second"] {
            let started = clock.uptime();
            let vans = queries::vans(&shared).await.unwrap();
            eprintln!("{look} look: {:?}", clock.uptime().since_start() - started.since_start());
            assert_eq!(vans.len(), VANS);
            for (index, van) in vans.iter().enumerate() {
                assert_eq!(van.van, name(index));
                assert_eq!(van.route.as_ref().unwrap().route, format!("R-{index}"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_case_of_an_ambiguous_number_needs_the_parcel_and_changes_no_other() {
    on_both(async |store| {
        let shared = with_tokens(&shared(store, NOON));
        // One number of two carriers, told apart by their hyphens only.
        for (number, link) in [("AB-12-7", "one"), ("AB-127", "two"), ("AB-13", "three")] {
            super::parcel(&shared, number, None, link).await;
        }
        let server = Server::start(&shared).await;
        let desk = [("Authorization", "Bearer desk-secret")];
        let path = "/api/v1/trace/ab127/case";
        let refused = server.json("PUT", path, &desk, &json!({"state": "open"})).await;
        assert_eq!(refused.status, 409);
        let detail = refused.value()["detail"].as_str().unwrap().to_owned();
        let epcs = ["AB-12-7", "AB-127"]
            .map(|number| format!("https://parcels.example.com/parcel/obj/{number}"));
        assert!(epcs.iter().all(|epc| detail.contains(epc)), "{detail}");
        let states = async || {
            let sql = "SELECT token, case_state FROM parcel ORDER BY token";
            let rows = shared.store.read(Statement::new(sql, [])).await.unwrap();
            let state = |row: &waypost_backend::store::Row| row.maybe_text(1).map(str::to_owned);
            rows.iter().map(state).collect::<Vec<_>>()
        };
        assert_eq!(states().await, [None, None, None]);
        let view = server.request("GET", "/api/v1/trace/ab127", &desk, "").await.value();
        assert_eq!(view["others"].as_array().unwrap().len(), 1, "{view}");
        let body = json!({"state": "open", "epc": epcs[1]});
        let answer = server.json("PUT", path, &desk, &body).await;
        assert_eq!((answer.status, &answer.value()["epc"]), (200, &json!(epcs[1])));
        assert_eq!(states().await, [None, None, Some("open".to_owned())]);
        let foreign =
            json!({"state": "open", "epc": "https://parcels.example.com/parcel/obj/AB-13"});
        assert_eq!(server.json("PUT", path, &desk, &foreign).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_case_that_the_audit_log_cannot_record_is_not_stored() {
    on_both(async |store| {
        let shared = with_tokens(&shared(store, NOON));
        super::parcel(&shared, "AB-13", None, "link").await;
        let server = Server::start(&shared).await;
        let sql = "ALTER TABLE audit RENAME TO audit_gone";
        shared.store.write(vec![Statement::new(sql, [])]).await.unwrap();
        let desk = [("Authorization", "Bearer desk-secret")];
        let path = "/api/v1/trace/AB-13/case";
        let answer = server.json("PUT", path, &desk, &json!({"state": "lost"})).await;
        assert!(answer.status >= 500, "{answer:?}");
        let sql = "SELECT case_state FROM parcel";
        let rows = shared.store.read(Statement::new(sql, [])).await.unwrap();
        assert_eq!(rows[0].maybe_text(0), None);
    })
    .await;
}
