//! Emails and webhooks over real sockets, on both stores: each is sent once, and no stale one is
//! sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waypost_backend::change_feed::Change;
use waypost_backend::event::{Event, Origin, Role};
use waypost_backend::notifications::{self, ConfirmResult, SubscribeResult, Subscription};
use waypost_backend::store::parcels::Parcel;
use waypost_backend::store::routes::{ConflictPolicy, PutRouteResult, Route};
use waypost_backend::store::{Statement, Store, events};
use waypost_backend::{AppState, Config};

use crate::support::backend::{config, on_both, set_clock, shared, utc};
use crate::support::smtp_server::{self, ReceivedMessages, start_smtp_server};

/// Retention of tracking pages.
const PAGE: Duration = Duration::from_hours(24 * 30);
const EPC: &str = "https://id.gs1.org/00/395212340000000014";
const TOKEN: &str = "mQZ5m1H7Ck6pW2o0bq3x9w";

/// Starts an HTTP server that accepts POST requests.
fn hook() -> (SocketAddr, ReceivedMessages) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), ReceivedMessages::default());
    let webhook_posts = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            webhook_posts
                .lock()
                .unwrap()
                .push(format!("{head}\n{}", String::from_utf8(body).unwrap()));
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).unwrap();
        }
    });
    (address, heard)
}

struct TestSetup {
    shared: AppState,
    emails: ReceivedMessages,
    webhook_posts: ReceivedMessages,
    hook: SocketAddr,
}

fn configured(smtp: SocketAddr, private: bool) -> Config {
    let mut config = config();
    config.notifications.smtp = Some(smtp_server::smtp_config(smtp));
    config.notifications.webhook_enabled = true;
    config.notifications.allow_private_webhooks = private;
    config
}

fn instance(store: Store, now: &str, config: Config) -> AppState {
    let mut shared = shared(store, now);
    shared.config = Arc::new(config);
    shared
}

/// Stores a parcel that is due today, with a subscriber.
async fn set(store: Store, now: &str) -> TestSetup {
    let (smtp, emails) = start_smtp_server();
    let (hook, webhook_posts) = hook();
    let shared = instance(store, now, configured(smtp, true));
    put(&shared).await;
    TestSetup { shared, emails, webhook_posts, hook }
}

async fn put(shared: &AppState) {
    put_route(shared, "R", "2026-11-23", Some("Europe/Berlin")).await;
}

/// Stores a route of a day that lists the parcel.
async fn put_route(shared: &AppState, name: &str, day: &str, time_zone: Option<&str>) {
    let at = |time: &str| format!("{day}T{time}Z");
    let mut manifest = json!({"v": 1, "route": name, "rev": 1,
        "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1, "lon": 11.5, "radius_m": 150},
        "valid_from": at("05:00:00"), "valid_until": at("22:00:00"),
        "stops": [{"seq": 1, "id": "stop-1", "lat": 48.12, "lon": 11.52,
            "parcels": [{"number": "395212340000000014"}]}]});
    if let Some(zone) = time_zone {
        manifest["time_zone"] = zone.into();
    }
    let route = Route {
        route: name.to_owned(),
        van: "VAN-042".to_owned(),
        rev: 1,
        valid_from: Some(utc(&at("05:00:00"))),
        valid_until: Some(utc(&at("22:00:00"))),
        doc: manifest.to_string(),
        manifest: manifest.to_string(),
        digest: "d".to_owned(),
        put_at: utc(&at("05:00:00")),
        sent_rev: None,
        withdrawn: false,
        completed: false,
    };
    let parcel = Parcel {
        epc: EPC.to_owned(),
        number: "395212340000000014".to_owned(),
        token: TOKEN.to_owned(),
        postcode: Some("80331".to_owned()),
        route: Some(name.to_owned()),
        stop_id: Some("stop-1".to_owned()),
        stop_seq: Some(1),
        gift: false,
        language: Some("de".to_owned()),
        preferences: None,
        put_at: utc("2026-11-23T05:00:00Z"),
        ended_at: None,
        expires_at: None,
        case_state: None,
        case_at: None,
        case_note: None,
    };
    let done =
        shared.store.put_route(&route, &[parcel], &[], ConflictPolicy::Reject, PAGE).await.unwrap();
    assert_eq!(done, PutRouteResult::Created);
}

/// Stores an event of a van.
async fn store_event(shared: &AppState, kind: &str, at: &str) {
    shared.store.write(events::insert(&event(shared, kind, at))).await.unwrap();
}

/// Stores an event of a van on a route, with a reason.
async fn store_event_on(shared: &AppState, route: &str, kind: &str, at: &str, reason: &str) {
    let mut event = event(shared, kind, at);
    event.route = Some(route.to_owned());
    event.data["waypost:reason"] = reason.into();
    shared.store.write(events::insert(&event)).await.unwrap();
}

/// Stores a van's retraction of an event.
async fn retract_event(shared: &AppState, kind: &str, at: &str) {
    let mut event = event(shared, kind, at);
    event.id += "/wrong";
    event.retracts = true;
    event.data["errorDeclaration"] = json!({"declarationTime": at});
    shared.store.write(events::insert(&event)).await.unwrap();
}

fn event(shared: &AppState, kind: &str, at: &str) -> Event {
    let id = format!("urn:uuid:{kind}/{at}");
    let data = json!({"type": "ObjectEvent", "action": "OBSERVE", "eventID": id, "eventTime": at,
        "epcList": [EPC], "waypost:stopSeq": 1, "waypost:outcome": "handed_to_resident"});
    Event {
        n: 0,
        source: "https://id.example.com/fleet/obj/VAN-042".to_owned(),
        event_id: id.clone(),
        id,
        kind: kind.to_owned(),
        origin: Origin::Van,
        van: Some("VAN-042".to_owned()),
        seq: None,
        route: Some("R".to_owned()),
        time: utc(at),
        captured_at: shared.now(),
        retracts: false,
        epcs: vec![(EPC.to_owned(), Role::Epc)],
        job: None,
        data,
    }
}

async fn subscribe(shared: &AppState, channel: &str, address: &str) -> SubscribeResult {
    let subscription =
        Subscription { channel: channel.to_owned(), address: address.to_owned(), language: None };
    notifications::subscribe(shared, TOKEN, &subscription).await.unwrap()
}

/// Subscribes by e-mail and webhook, and confirms. Returns the secret of the webhook, if it is new.
async fn both_subscribe(set: &TestSetup) -> Option<String> {
    let SubscribeResult::Accepted(view) = subscribe(&set.shared, "email", "max@example.com").await
    else {
        panic!("not taken")
    };
    assert_eq!(view.address, "m…@example.com");
    confirm_all(&set.shared).await;
    let url = format!("http://{}/hook", set.hook);
    match subscribe(&set.shared, "webhook", &url).await {
        SubscribeResult::Accepted(view) => view.secret,
        other => panic!("{other:?}"),
    }
}

/// Confirms all addresses, as their owners would by the link in the confirmation mail.
async fn confirm_all(shared: &AppState) {
    let sql = "SELECT confirm_token FROM subscriber WHERE confirmed_at IS NULL";
    for row in shared.store.read(Statement::new(sql, [])).await.unwrap() {
        let confirmed = notifications::confirm(shared, row.text(0)).await.unwrap();
        assert!(matches!(confirmed, ConfirmResult::Confirmed { .. }));
    }
}

/// Data of the webhook posts, in order.
fn webhook_data(webhook_posts: &ReceivedMessages) -> Vec<Value> {
    let webhook_posts = webhook_posts.lock().unwrap();
    let body = |post: &String| -> Value {
        serde_json::from_str(post.split("\n\n").last().unwrap()).unwrap()
    };
    webhook_posts.iter().map(body).collect()
}

/// Subjects of the e-mails, decoded, in order.
fn subjects(emails: &ReceivedMessages) -> Vec<String> {
    let emails = emails.lock().unwrap();
    let subject = |email: &String| {
        let unfolded = email.replace("\n ", " ");
        let line = unfolded.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
        // Encoded words (RFC 2047): the blank between two of them is not part of the text.
        let (mut text, mut was_encoded) = (String::new(), true);
        for word in line.split(' ') {
            let base64 = word.strip_prefix("=?utf-8?b?").and_then(|word| word.strip_suffix("?="));
            let is_continued = was_encoded && base64.is_some();
            if !text.is_empty() && !is_continued {
                text.push(' ');
            }
            was_encoded = base64.is_some();
            text += &base64.map_or_else(
                || word.to_owned(),
                |word| String::from_utf8(waypost_wire::base64::decode(word).unwrap()).unwrap(),
            );
        }
        text
    };
    emails.iter().map(subject).collect()
}

/// The e-mails without the line breaks of quoted-printable.
fn unwrapped(emails: &ReceivedMessages) -> Vec<String> {
    let emails = emails.lock().unwrap();
    emails.iter().map(|email| email.replace("=\n", "").replace("=3D", "=")).collect()
}

fn kinds(webhook_posts: &ReceivedMessages) -> Vec<String> {
    let webhook_posts = webhook_posts.lock().unwrap();
    let body = |post: &String| -> Value {
        serde_json::from_str(post.split("\n\n").last().unwrap()).unwrap()
    };
    webhook_posts
        .iter()
        .map(|post| body(post)["data"]["kind"].as_str().unwrap().to_owned())
        .collect()
}

fn hmac(post: &str) -> (String, Vec<u8>) {
    let field = |name: &str| {
        let line = post.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    let body = post.split("\n\n").last().unwrap();
    let signed = format!("{}.{}.{body}", field("webhook-id"), field("webhook-timestamp"));
    let signature = field("webhook-signature");
    let signature = waypost_wire::base64::decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    (signed, signature)
}

#[tokio::test]
async fn each_kind_is_told_once_despite_repeats_restarts_and_two_instances() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        let secret = both_subscribe(&set).await.unwrap();
        assert_eq!(both_subscribe(&set).await, None, "the secret is shown once");
        for (now, kind, at) in [
            ("2026-11-23T07:00:10Z", "route.departed", "2026-11-23T07:00:00.000Z"),
            ("2026-11-23T08:00:10Z", "parcel.delivered", "2026-11-23T08:00:00.000Z"),
        ] {
            set_clock(&set.shared, now);
            let other = instance(store.clone(), now, (*set.shared.config).clone());
            for _ in 0..2 {
                store_event(&set.shared, kind, at).await;
                let (one, two) = tokio::join!(
                    notifications::run_once(&set.shared),
                    notifications::run_once(&other)
                );
                one.unwrap();
                two.unwrap();
            }
            let restarted = instance(store.clone(), now, (*set.shared.config).clone());
            notifications::run_once(&restarted).await.unwrap();
        }
        let emails = set.emails.lock().unwrap().clone();
        assert_eq!(emails.len(), 3, "out for delivery, at the last stop, delivered: {emails:?}");
        let mut kinds = kinds(&set.webhook_posts);
        assert_eq!(kinds.last().unwrap(), "delivered");
        kinds.sort();
        assert_eq!(kinds, ["delivered", "next_stops", "out_for_delivery"]);
        for subject in
            ["Ihr Paket ist in Zustellung", "Ihr Paket ist gleich da", "Ihr Paket wurde zugestellt"]
        {
            let subject = format!("Subject: {subject}\n");
            assert_eq!(
                emails.iter().filter(|letter| letter.contains(&subject)).count(),
                1,
                "{subject}"
            );
        }
        let end = "List-Unsubscribe: <https://track.example.com/unsubscribe/";
        assert!(emails.iter().all(|letter| letter.contains(end)), "{emails:?}");
        let (signed, signature) = hmac(&set.webhook_posts.lock().unwrap()[2]);
        let secret = waypost_wire::base64::decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        ring::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    })
    .await;
}

#[tokio::test]
async fn after_eight_hours_without_a_link_only_what_is_still_true_is_told() {
    on_both(async |store| {
        let set = set(store, "2026-11-23T06:00:00Z").await;
        both_subscribe(&set).await;
        notifications::run_once(&set.shared).await.unwrap();
        set_clock(&set.shared, "2026-11-23T17:00:00Z");
        store_event(&set.shared, "route.departed", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&set.shared).await.unwrap();
        assert_eq!(kinds(&set.webhook_posts), [""; 0], "it left nine hours ago");
        store_event(&set.shared, "stop.arrived", "2026-11-23T08:59:00.000Z").await;
        store_event(&set.shared, "parcel.delivered", "2026-11-23T09:00:00.000Z").await;
        notifications::run_once(&set.shared).await.unwrap();
        assert_eq!(kinds(&set.webhook_posts), ["delivered"]);
        let emails = set.emails.lock().unwrap().clone();
        assert_eq!(emails.len(), 1);
        let email = &unwrapped(&set.emails)[0];
        assert!(email.contains("23.11.2026, 10:00 Uhr (MEZ)"), "{email}");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again_and_what_is_not_so_any_more_is_not_sent() {
    on_both(async |store| {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let away = instance(store.clone(), "2026-11-23T06:00:00Z", configured(nobody, true));
        put(&away).await;
        assert!(matches!(
            subscribe(&away, "email", "max@example.com").await,
            SubscribeResult::Accepted(_)
        ));
        confirm_all(&away).await;
        set_clock(&away, "2026-11-23T07:00:10Z");
        store_event(&away, "route.departed", "2026-11-23T07:00:00.000Z").await;
        notifications::run_once(&away).await.unwrap();
        let (smtp, emails) = start_smtp_server();
        let there = instance(store, "2026-11-23T07:00:20Z", configured(smtp, true));
        notifications::run_once(&there).await.unwrap();
        assert_eq!(emails.lock().unwrap().len(), 0, "not yet");
        set_clock(&there, "2026-11-23T07:10:00Z");
        notifications::run_once(&there).await.unwrap();
        let emails = emails.lock().unwrap().clone();
        assert_eq!(emails.len(), 1, "{emails:?}");
        assert!(emails[0].contains("Ihr Paket ist in Zustellung"), "no alert of being near");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_reaches_no_private_address_and_a_subscription_ends_without_a_login() {
    on_both(async |store| {
        let (smtp, emails) = start_smtp_server();
        let (hook, webhook_posts) = hook();
        let shared = instance(store.clone(), "2026-11-23T06:00:00Z", configured(smtp, false));
        put(&shared).await;
        for wrong in [
            format!("http://{hook}/"),
            "https://user@example.com/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "https://".to_owned(),
        ] {
            let answer = subscribe(&shared, "webhook", &wrong).await;
            assert!(matches!(answer, SubscribeResult::Invalid(_)), "{wrong}: {answer:?}");
        }
        let url = format!("https://localhost:{}/", hook.port());
        assert!(matches!(subscribe(&shared, "webhook", &url).await, SubscribeResult::Accepted(_)));
        let SubscribeResult::Accepted(letter) =
            subscribe(&shared, "email", "max@example.com").await
        else {
            panic!("not taken")
        };
        confirm_all(&shared).await;
        assert!(!notifications::unsubscribe(&shared, "another", &letter.id).await.unwrap());
        assert!(notifications::unsubscribe(&shared, TOKEN, &letter.id).await.unwrap());
        set_clock(&shared, "2026-11-23T08:00:10Z");
        store_event(&shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&shared).await.unwrap();
        assert!(webhook_posts.lock().unwrap().is_empty() && emails.lock().unwrap().is_empty());
        let sql = "SELECT state, error FROM alert WHERE kind = 'delivered'";
        let rows = store.read(Statement::new(sql, [])).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].text(0), "dead");
        assert!(rows[0].text(1).contains("private network"), "{}", rows[0].text(1));
    })
    .await;
}

#[tokio::test]
async fn who_sends_is_woken_by_what_happens() {
    on_both(async |store| {
        let set = set(store, "2026-11-23T06:00:00Z").await;
        both_subscribe(&set).await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(notifications::run(set.shared.clone(), stop.clone()));
        // The first full scan finds nothing.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        set_clock(&set.shared, "2026-11-23T08:00:10Z");
        store_event(&set.shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        set.shared
            .publish_change(Change::Parcels { epcs: Arc::new([EPC.to_owned()]), van: None })
            .await;
        let told = async {
            while set.emails.lock().unwrap().is_empty() || kinds(&set.webhook_posts).is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Before the next full scan.
        tokio::time::timeout(Duration::from_secs(40), told).await.unwrap();
        assert_eq!(kinds(&set.webhook_posts), ["delivered"]);
        stop.cancel();
        running.await.unwrap().unwrap();
    })
    .await;
}

/// SMTP and HTTP guarantee at-least-once delivery only; a recipient detects a duplicate by its id.
#[tokio::test]
async fn what_a_process_sent_before_it_died_is_sent_again_under_the_same_name() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        both_subscribe(&set).await;
        set_clock(&set.shared, "2026-11-23T08:00:10Z");
        store_event(&set.shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&set.shared).await.unwrap();
        // Restores the row to its state before it was marked as sent.
        let until = utc("2026-11-23T08:02:10Z");
        let sql = "UPDATE alert SET state = 'waiting', tries = 0, claimed_until = $1 WHERE state = 'sent'";
        store.write(vec![Statement::new(sql, [until.into()])]).await.unwrap();
        notifications::run_once(&set.shared).await.unwrap();
        assert_eq!(set.emails.lock().unwrap().len(), 1, "it is claimed");
        set_clock(&set.shared, "2026-11-23T08:02:11Z");
        notifications::run_once(&set.shared).await.unwrap();
        for (heard, field) in [(&set.emails, "message-id:"), (&set.webhook_posts, "webhook-id:")] {
            let heard = heard.lock().unwrap();
            let name = |text: &String| {
                let is_it = |line: &&str| line.to_ascii_lowercase().starts_with(field);
                text.lines().find(is_it).unwrap().to_owned()
            };
            let names: Vec<String> = heard.iter().map(name).collect();
            assert_eq!(names.len(), 2, "{names:?}");
            assert_eq!(names[0], names[1]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_hand_over_that_was_taken_back_in_time_does_not_keep_the_true_one_from_being_told() {
    on_both(async |store| {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let away = instance(store.clone(), "2026-11-23T06:00:00Z", configured(nobody, true));
        put(&away).await;
        assert!(matches!(
            subscribe(&away, "email", "max@example.com").await,
            SubscribeResult::Accepted(_)
        ));
        confirm_all(&away).await;
        set_clock(&away, "2026-11-23T08:00:10Z");
        store_event(&away, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&away).await.unwrap();
        retract_event(&away, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        let (smtp, emails) = start_smtp_server();
        let there = instance(store, "2026-11-23T08:05:00Z", configured(smtp, true));
        notifications::run_once(&there).await.unwrap();
        assert_eq!(emails.lock().unwrap().len(), 0, "it was retracted");
        store_event(&there, "parcel.delivered", "2026-11-23T08:04:00.000Z").await;
        for _ in 0..2 {
            notifications::run_once(&there).await.unwrap();
            let emails = emails.lock().unwrap().clone();
            assert_eq!(emails.len(), 1, "{emails:?}");
            assert!(emails[0].contains("Ihr Paket wurde zugestellt"));
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_receives_one_request_and_nothing_else_until_its_owner_confirms() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        let shared = &set.shared;
        let SubscribeResult::Accepted(view) = subscribe(shared, "email", "max@example.com").await
        else {
            panic!("not taken")
        };
        assert!(!view.confirmed && view.secret.is_none());
        notifications::run_once(shared).await.unwrap();
        set_clock(shared, "2026-11-23T07:00:10Z");
        store_event(shared, "route.departed", "2026-11-23T07:00:00.000Z").await;
        notifications::run_once(shared).await.unwrap();
        assert_eq!(subjects(&set.emails), ["Bitte bestätigen: Nachrichten zu Ihrem Paket"]);
        let email = unwrapped(&set.emails).remove(0);
        let (_, link) = email.split_once("https://track.example.com/confirm/").unwrap();
        let token = link.split(['?', '\n', ' ']).next().unwrap();
        assert!(!email.contains(TOKEN), "a stranger does not learn the link of the parcel");
        assert_ne!(token, view.id, "who sees the page cannot confirm");
        let unknown = notifications::confirm(shared, &view.id).await.unwrap();
        assert_eq!(unknown, ConfirmResult::Unknown);
        for _ in 0..2 {
            let confirmed = notifications::confirm(shared, token).await.unwrap();
            let address = "m…@example.com".to_owned();
            assert_eq!(confirmed, ConfirmResult::Confirmed { address });
        }
        notifications::run_once(shared).await.unwrap();
        assert_eq!(subjects(&set.emails).len(), 1, "what applied before is on the page");
        set_clock(shared, "2026-11-23T08:00:10Z");
        store_event(shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(shared).await.unwrap();
        assert_eq!(subjects(&set.emails)[1..], ["Ihr Paket wurde zugestellt"]);
    })
    .await;
}

#[tokio::test]
async fn strangers_addresses_are_limited_and_forgotten_without_a_confirmation() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        let shared = &set.shared;
        for n in 0..3 {
            let accepted = subscribe(shared, "email", &format!("stranger{n}@example.com")).await;
            assert!(matches!(accepted, SubscribeResult::Accepted(_)));
        }
        let fourth = subscribe(shared, "email", "stranger3@example.com").await;
        assert_eq!(fourth, SubscribeResult::TooMany);
        for wrong in ["anna@example", "anna@localhost", "anna", "a@b@example.com"] {
            let answer = subscribe(shared, "email", wrong).await;
            assert!(matches!(answer, SubscribeResult::Invalid(_)), "{wrong}: {answer:?}");
        }
        let keep = waypost_backend::config::Retention::default();
        store.purge(utc("2026-11-25T05:59:00Z"), &keep).await.unwrap();
        assert_eq!(store.subscribers(EPC).await.unwrap().len(), 3);
        store.purge(utc("2026-11-25T06:01:00Z"), &keep).await.unwrap();
        assert_eq!(store.subscribers(EPC).await.unwrap(), []);
        let sql = "SELECT 1 FROM alert";
        assert_eq!(store.read(Statement::new(sql, [])).await.unwrap().len(), 0);
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story of two days")]
async fn a_second_attempt_and_a_second_day_are_told_again_and_what_was_wrong_is_corrected() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        let shared = &set.shared;
        both_subscribe(&set).await;
        let run = async |now: &str| {
            set_clock(shared, now);
            notifications::run_once(shared).await.unwrap();
            notifications::run_once(shared).await.unwrap();
        };
        store_event(shared, "route.departed", "2026-11-23T07:00:00.000Z").await;
        run("2026-11-23T07:00:10Z").await;
        // Delivered by mistake, and corrected to a refusal.
        store_event(shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        run("2026-11-23T08:00:10Z").await;
        retract_event(shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        store_event_on(shared, "R", "parcel.attempted", "2026-11-23T08:03:00.000Z", "refused")
            .await;
        run("2026-11-23T08:03:10Z").await;
        store_event_on(shared, "R", "parcel.returned", "2026-11-23T16:00:00.000Z", "refused").await;
        run("2026-11-23T16:00:10Z").await;
        // The second day, with two attempts.
        put_route(shared, "R-2", "2026-11-24", None).await;
        store_event_on(shared, "R-2", "route.departed", "2026-11-24T07:00:00.000Z", "").await;
        run("2026-11-24T07:00:10Z").await;
        for at in ["2026-11-24T09:00:00.000Z", "2026-11-24T15:00:00.000Z"] {
            store_event_on(shared, "R-2", "parcel.attempted", at, "no_one_home").await;
            run(at).await;
        }
        let mut kinds = kinds(&set.webhook_posts);
        // The van is near on both days: the parcel's stop is the only one.
        kinds.retain(|kind| kind != "next_stops");
        let mut sorted = kinds.clone();
        sorted.sort();
        let mut expected = [
            "out_for_delivery",
            "delivered",
            "correction",
            "refused",
            "returned",
            "out_for_delivery",
            "attempted",
            "attempted",
        ];
        assert_eq!((kinds[0].as_str(), kinds[1].as_str()), (expected[0], expected[1]));
        expected.sort_unstable();
        assert_eq!(sorted, expected);
        let mut told = subjects(&set.emails);
        told.retain(|subject| subject != "Ihr Paket ist gleich da");
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for subject in [
            "Korrektur: Unsere letzte Nachricht zu Ihrem Paket trifft nicht zu",
            "Die Annahme Ihres Pakets wurde verweigert",
            "Ihr Paket ist zurück im Zustelldepot",
        ] {
            assert_eq!(told.iter().filter(|one| *one == subject).count(), 1, "{subject}: {told:?}");
        }
        let emails = unwrapped(&set.emails);
        assert!(emails.iter().any(|email| email.contains("23.11.2026, 09:03 Uhr (MEZ)")));
        assert!(
            emails.iter().any(|email| email.contains("24.11.2026, 15:00 Uhr (UTC)")),
            "a route without a zone has the default one: {emails:?}"
        );
        let ids = |post: &Value| post["id"].as_str().unwrap().to_owned();
        let posts = webhook_data(&set.webhook_posts);
        let different: std::collections::BTreeSet<String> = posts.iter().map(ids).collect();
        assert_eq!(different.len(), posts.len(), "each occurrence has its own id");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_names_the_parcel_and_the_event() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        both_subscribe(&set).await;
        set_clock(&set.shared, "2026-11-23T08:00:10Z");
        store_event(&set.shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&set.shared).await.unwrap();
        let posts = webhook_data(&set.webhook_posts);
        let expected = json!({
            "number": "395212340000000014",
            "epc": EPC,
            "kind": "delivered",
            "page": format!("https://track.example.com/t/{TOKEN}"),
            "happened_at": "2026-11-23T08:00:00.000Z",
            "eventID": "urn:uuid:parcel.delivered/2026-11-23T08:00:00.000Z",
            "event_type": "org.w3id.waypost.parcel.delivered.v1",
        });
        assert_eq!(posts[0]["data"], expected);
        retract_event(&set.shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&set.shared).await.unwrap();
        let correction = &webhook_data(&set.webhook_posts)[1]["data"];
        assert_eq!(correction["kind"], "correction");
        assert_eq!(correction["eventID"], expected["eventID"]);
        assert_eq!(correction["event_type"], "org.w3id.waypost.event.retracted.v1");
    })
    .await;
}

#[tokio::test]
async fn a_secret_belongs_to_one_endpoint_and_signs_for_a_day_after_its_rotation() {
    on_both(async |store| {
        let set = set(store.clone(), "2026-11-23T06:00:00Z").await;
        let shared = &set.shared;
        let first = both_subscribe(&set).await.unwrap();
        let other = format!("http://{}/other", set.hook);
        let SubscribeResult::Accepted(other) = subscribe(shared, "webhook", &other).await else {
            panic!("not taken")
        };
        assert_ne!(other.secret.as_deref(), Some(first.as_str()));
        let page = shared.store.subscribers(EPC).await.unwrap();
        assert!(page.iter().all(|subscriber| subscriber.view().secret.is_none()));
        let hook = page.iter().find(|one| one.address.ends_with("/hook")).unwrap().id.clone();
        let rotate = async |id: &str, current: &str| {
            notifications::rotate_secret(shared, TOKEN, id, current).await.unwrap()
        };
        assert_eq!(rotate(&hook, other.secret.as_deref().unwrap()).await, None);
        assert_eq!(rotate(&other.id, &first).await, None);
        let second = rotate(&hook, &first).await.unwrap();
        assert_eq!(rotate(&hook, &first).await, None, "the old one gives no right");
        let verifies = |post: &str, secret: &str| {
            let key = waypost_wire::base64::decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
            let field = |name: &str| {
                let line = post.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
                line.unwrap().split_once(':').unwrap().1.trim().to_owned()
            };
            let body = post.split("\n\n").last().unwrap();
            let signed = format!("{}.{}.{body}", field("webhook-id"), field("webhook-timestamp"));
            field("webhook-signature").split(' ').any(|one| {
                let tag = waypost_wire::base64::decode(one.strip_prefix("v1,").unwrap()).unwrap();
                ring::hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
            })
        };
        let posts_to = |path: &str| {
            let posts = set.webhook_posts.lock().unwrap();
            let is_for = |post: &&String| post.starts_with(&format!("POST {path} "));
            posts.iter().filter(is_for).cloned().collect::<Vec<_>>()
        };
        set_clock(shared, "2026-11-23T07:00:10Z");
        store_event(shared, "route.departed", "2026-11-23T07:00:00.000Z").await;
        notifications::run_once(shared).await.unwrap();
        let during = posts_to("/hook")[0].clone();
        assert!(verifies(&during, &first) && verifies(&during, &second));
        let foreign = posts_to("/other")[0].clone();
        assert!(!verifies(&foreign, &first) && !verifies(&foreign, &second));
        assert!(verifies(&foreign, other.secret.as_deref().unwrap()));
        set_clock(shared, "2026-11-24T08:00:00Z");
        store_event(shared, "parcel.delivered", "2026-11-24T07:59:00.000Z").await;
        notifications::run_once(shared).await.unwrap();
        let after = posts_to("/hook").pop().unwrap();
        assert!(!verifies(&after, &first) && verifies(&after, &second));
    })
    .await;
}
