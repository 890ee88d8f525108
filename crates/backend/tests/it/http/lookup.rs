//! The lookup by number and postcode reveals nothing without both.

use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Response, Server};
use super::{parcel, with};
use crate::support::backend::{on_both, shared};

const NOON: &str = "2026-11-22T12:00:00Z";
const NUMBER: &str = "106141412345678908";
const LINK: &str = "c2VjcmV0LXNlY3JldC1zZQ";

async fn track(server: &Server, from: &str, number: &str, postcode: &str) -> Response {
    let body = json!({"number": number, "postcode": postcode});
    server.json("POST", "/api/v1/track", &[("X-Forwarded-For", from)], &body).await
}

#[tokio::test]
async fn number_and_postcode_give_the_link_however_they_are_typed() {
    on_both(async |store| {
        let shared = shared(store, NOON);
        parcel(&shared, NUMBER, Some("SW1A1AA"), LINK).await;
        let server = Server::start(&shared).await;
        for (number, postcode) in [
            (NUMBER, "SW1A 1AA"),
            ("1 06141412345678908", "sw1a1aa"),
            ("(00)106141412345678908", "SW1A-1AA"),
        ] {
            let answer = track(&server, "", number, postcode).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.value()["token"], LINK);
            assert_eq!(answer.value()["url"], format!("https://track.example.com/t/{LINK}"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let looks = shared.store.audit_entries(i64::MAX, 10).await.unwrap();
        assert_eq!(looks.len(), 3);
        for (_, look) in looks {
            assert!(
                look.target.starts_with("…8908 ") && look.target.ends_with(" found"),
                "{look:?}"
            );
            assert!(!look.target.contains(NUMBER) && !look.target.contains("1AA"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_number_and_a_postcode_are_found_in_every_usual_spelling() {
    on_both(async |store| {
        let shared = with(&shared(store, NOON), |config| {
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        for (number, postcode, link) in [
            (NUMBER, "80331", "sscc"),
            ("ÄB-12/7", "1234", "own"),
            ("1Z999AA10123456784", "12345", "ups"),
        ] {
            parcel(&shared, number, Some(postcode), link).await;
        }
        let server = Server::start(&shared).await;
        for (n, (number, postcode, link)) in [
            ("1-0614141-234567890-8", "D-80331", "sscc"),
            ("１０６１４１４１２３４５６７８９０８", "８０３３１", "sscc"),
            ("urn:epc:id:sscc:0614141.1234567890", "DE 80331", "sscc"),
            ("URN:EPC:ID:SSCC:0614141.1234567890", "d80331", "sscc"),
            ("äb 127", "L-1234", "own"),
            ("Äb-12-7", "l1234", "own"),
            ("1z-999-aa1-0123456784", "12345-6789", "ups"),
            ("1Z999AA10123456784", "123456789", "ups"),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = track(&server, &format!("192.0.2.{n}"), number, postcode).await;
            assert_eq!(answer.status, 200, "{number} {postcode}");
            assert_eq!(answer.value()["token"], link, "{number} {postcode}");
        }
    })
    .await;
}

#[tokio::test]
async fn guessing_from_many_addresses_is_braked_and_the_link_still_works() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let shared =
        with(&shared, |config| config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    parcel(&shared, NUMBER, Some("80331"), LINK).await;
    let server = Server::start(&shared).await;
    let mut guesses = 0;
    let braked = loop {
        // Each from another address, for another number.
        let from = format!("198.51.{}.{}", guesses / 250, guesses % 250);
        let answer = track(&server, &from, &format!("JJD{guesses:016}"), "80331").await;
        if answer.status != 404 {
            break answer;
        }
        guesses += 1;
        assert!(guesses < 20_000, "a slow machine refills five a second");
    };
    assert!(guesses >= 1000, "{guesses}");
    assert_eq!((braked.status, braked.header("retry-after")), (429, Some("1")));
    let page = server.request("GET", &format!("/api/v1/track/{LINK}"), &[], "").await;
    assert_eq!(page.status, 200);
}

#[tokio::test]
async fn every_wrong_answer_is_the_same_byte_for_byte() {
    on_both(async |store| {
        let shared = with(&shared(store, NOON), |config| {
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        parcel(&shared, NUMBER, Some("80331"), LINK).await;
        parcel(&shared, "00340434161094042557", None, "bm8tcG9zdGNvZGUtaGVyZQ").await;
        let server = Server::start(&shared).await;
        let unknown = track(&server, "192.0.2.1", "106141412345678915", "80331").await;
        assert_eq!(unknown.status, 404);
        for (number, postcode) in [
            (NUMBER, "80332"),
            (NUMBER, ""),
            (NUMBER, "8033"),
            (NUMBER, "803311"),
            (NUMBER, "%"),
            (NUMBER, "' OR 1=1 --"),
            (NUMBER, "80331\u{0}x"),
            ("00340434161094042557", ""),
            ("00340434161094042557", "80331"),
            ("%", "80331"),
            ("' OR '1'='1", "80331"),
            ("", ""),
            ("\u{0}", "\u{0}"),
            ("😀", "80331"),
        ] {
            assert_eq!(
                track(&server, "192.0.2.1", number, postcode).await,
                unknown,
                "{number} {postcode}"
            );
        }
        let right = track(&server, "192.0.2.9", NUMBER, "80331").await;
        assert_eq!(right.status, 404, "six wrong attempts lock the number silently");
        assert_eq!(right, unknown);
        let other_words = track(&server, "192.0.2.9", "(00)106141412345678908", "80331").await;
        assert_eq!(other_words, unknown, "another spelling shares the lock");
    })
    .await;
}

#[tokio::test]
async fn a_locked_number_opens_again_and_an_expired_one_never() {
    on_both(async |store| {
        let shared = with(&shared(store, NOON), |config| {
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        parcel(&shared, NUMBER, Some("80331"), LINK).await;
        let server = Server::start(&shared).await;
        for _ in 0..5 {
            track(&server, "192.0.2.1", NUMBER, "1").await;
        }
        for _ in 0..20 {
            let right = track(&server, "192.0.2.2", NUMBER, "80331").await;
            assert_eq!(right.status, 200, "a correct lookup uses no attempt");
        }
        let unknown = track(&server, "192.0.2.1", NUMBER, "1").await;
        assert_eq!(track(&server, "192.0.2.3", NUMBER, "80331").await, unknown);

        let another = Server::start(&shared).await;
        assert_eq!(track(&another, "192.0.2.3", NUMBER, "80331").await.status, 200);
        let expire = waypost_backend::store::parcels::set_ended(
            &waypost_backend::epc::uris_for_number(NUMBER, "x")[0],
            shared.now(),
            shared.now(),
        );
        shared.store.write(vec![expire]).await.unwrap();
        assert_eq!(track(&another, "192.0.2.3", NUMBER, "80331").await, unknown);
    })
    .await;
}

#[tokio::test]
async fn guessing_at_once_gives_no_more_guesses() {
    on_both(async |store| {
        let shared = with(&shared(store, NOON), |config| {
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        parcel(&shared, NUMBER, Some("80331"), LINK).await;
        let server = Server::start(&shared).await;
        let guesses = (0..60).map(|guess| {
            let server = &server;
            async move {
                let from = format!("198.51.100.{guess}");
                // The right one is sent last, while others are still being processed.
                let code = if guess == 59 { "80331".to_owned() } else { format!("803{guess}x") };
                track(server, &from, NUMBER, &code).await.status
            }
        });
        let all: Vec<u16> = futures_util::future::join_all(guesses).await;
        assert!(all[..59].iter().all(|status| *status == 404));
        let later = track(&server, "192.0.2.2", NUMBER, "80331").await;
        assert_eq!(later.status, 404, "the number is locked now");
    })
    .await;
}

#[tokio::test]
async fn an_address_asks_so_often_and_is_told_when_again() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::start(&shared).await;
    let mut answers = Vec::new();
    for number in 0..22 {
        // A client cannot change its address with a header.
        let from = format!("203.0.113.{number}");
        answers.push(track(&server, &from, &format!("10614141234567{number:04}"), "1").await);
    }
    assert!(answers[..20].iter().all(|answer| answer.status == 404));
    let last = answers.last().unwrap();
    assert_eq!(last.status, 429);
    let again: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&again), "{again}");

    let behind =
        with(&shared, |config| config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    let server = Server::start(&behind).await;
    let mut statuses = Vec::new();
    for household in 0..22 {
        let from = format!("2001:db8:0:7::{household:x}");
        statuses.push(track(&server, &from, NUMBER, "1").await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "an IPv6 network counts as one address");
    assert_eq!(track(&server, "2001:db8:0:8::1", NUMBER, "1").await.status, 404);
    assert_eq!(track(&server, "10.1.1.1, 2001:db8:0:7::ffff", NUMBER, "1").await.status, 429);
}

/// Compares medians of interleaved requests, each from a new address and for a new number, so that
/// system load affects both kinds alike.
#[tokio::test]
async fn an_unknown_number_takes_as_long_as_a_wrong_postcode() {
    const TRIES: usize = 120;
    on_both(async |store| {
        let shared = with(&shared(store, NOON), |config| {
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        for parcel_number in 0..TRIES {
            parcel(
                &shared,
                &format!("JJD{parcel_number:016}"),
                Some("80331"),
                &format!("t{parcel_number}"),
            )
            .await;
        }
        let server = Server::start(&shared).await;
        let mut took = [Vec::new(), Vec::new()];
        for number in 0..TRIES {
            for (kind, offset) in [(0, 0), (1, 1_000_000)] {
                let asked = format!("JJD{:016}", number + offset);
                let from = format!("10.0.{number}.{kind}");
                let started = begin();
                assert_eq!(track(&server, &from, &asked, "1").await.status, 404);
                took[kind].push(started.elapsed());
            }
        }
        let [known, unknown] = took.map(|mut times| {
            times.sort_unstable();
            times[TRIES / 2].max(Duration::from_micros(1))
        });
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        eprintln!("wrong postcode {known:?}, unknown number {unknown:?}");
        assert!((0.6..1.6).contains(&ratio), "wrong postcode {known:?}, unknown {unknown:?}");
    })
    .await;
}

#[expect(clippy::disallowed_methods, reason = "the test measures response times")]
fn begin() -> Instant {
    Instant::now()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_not_asked_as_it_should_be_is_a_problem_that_says_how() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::start(&shared).await;
    let json = ("Content-Type", "application/json");
    let long = "9".repeat(70_000);
    for (status, method, path, headers, body) in [
        (415, "POST", "/api/v1/track", &[][..], "{}"),
        (415, "POST", "/api/v1/track", &[("Content-Type", "text/plain")], "{}"),
        (
            415,
            "POST",
            "/api/v1/track",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "number=1",
        ),
        (400, "POST", "/api/v1/track", &[json], "{"),
        (400, "POST", "/api/v1/track", &[json], "{}"),
        (400, "POST", "/api/v1/track", &[json], r#"{"number":1,"postcode":"1"}"#),
        (400, "POST", "/api/v1/track", &[json], r#"{"number":"1","postcode":"1","epc":"x"}"#),
        (
            400,
            "POST",
            "/api/v1/track",
            &[json],
            &format!(r#"{{"number":"{}","postcode":"1"}}"#, &long[..200]),
        ),
        (400, "POST", "/api/v1/track", &[json], &"[".repeat(60_000)),
        (413, "POST", "/api/v1/track", &[json], &long),
        (405, "GET", "/api/v1/track", &[], ""),
        (405, "DELETE", "/api/v1/track/x", &[], ""),
        (404, "GET", "/api/v1/track/", &[], ""),
        (404, "GET", "/api/v1/track/../vans", &[], ""),
        (404, "GET", "/api/v1/track/%2e%2e%2fvans", &[], ""),
        (404, "GET", "/api/v1/track/%00", &[], ""),
        (400, "GET", "/api/v1/track/%ff", &[], ""),
        (404, "GET", &format!("/api/v1/track/{}", &long[..5000]), &[], ""),
        (404, "GET", "/api/v1/track/%25", &[], ""),
        (404, "GET", "//api/v1/vans", &[], ""),
        (404, "GET", "/api/v1/VANS", &[], ""),
        (405, "TRACE", "/api/v1/vans", &[], ""),
        (
            405,
            "OPTIONS",
            "/api/v1/vans",
            &[("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")],
            "",
        ),
    ] {
        let answer = server.request(method, path, headers, body).await;
        assert_eq!(answer.status, status, "{method} {path:.60} {body:.60}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path:.60}"
        );
        assert_eq!(answer.value()["status"], status);
        assert_eq!(answer.value()["type"], "about:blank");
        assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
        for name in ["content-security-policy", "x-content-type-options", "referrer-policy"] {
            assert!(answer.header(name).is_some(), "{name}");
        }
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}
