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
use waypost_backend::notifications::{self, SubscribeResult, Subscription};
use waypost_backend::store::parcels::Parcel;
use waypost_backend::store::routes::{ConflictPolicy, PutRouteResult, Route};
use waypost_backend::store::{Statement, Store, events};
use waypost_backend::{AppState, Config};

use crate::support::backend::{config, on_both, set_clock, shared, utc};
use crate::support::smtp_server::{self, ReceivedMessages, start_smtp_server};

const EPC: &str = "https://id.gs1.org/00/395212340000000014";
const TOKEN: &str = "mQZ5m1H7Ck6pW2o0bq3x9w";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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
    config.notifications.webhook_secret = Some(SECRET.to_owned());
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
    let manifest = json!({"v": 1, "route": "R", "rev": 1,
        "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1, "lon": 11.5, "radius_m": 150},
        "valid_from": "2026-11-23T05:00:00Z", "valid_until": "2026-11-23T22:00:00Z",
        "stops": [{"seq": 1, "id": "stop-1", "lat": 48.12, "lon": 11.52,
            "parcels": [{"number": "395212340000000014"}]}]});
    let route = Route {
        route: "R".to_owned(),
        van: "VAN-042".to_owned(),
        rev: 1,
        valid_from: Some(utc("2026-11-23T05:00:00Z")),
        valid_until: Some(utc("2026-11-23T22:00:00Z")),
        doc: manifest.to_string(),
        manifest: manifest.to_string(),
        digest: "d".to_owned(),
        put_at: utc("2026-11-23T05:00:00Z"),
        sent_rev: None,
        withdrawn: false,
        completed: false,
    };
    let parcel = Parcel {
        epc: EPC.to_owned(),
        number: "395212340000000014".to_owned(),
        token: TOKEN.to_owned(),
        postcode: Some("80331".to_owned()),
        route: Some("R".to_owned()),
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
        shared.store.put_route(&route, &[parcel], &[], ConflictPolicy::Reject).await.unwrap();
    assert_eq!(done, PutRouteResult::Created);
}

/// Stores an event of a van.
async fn store_event(shared: &AppState, kind: &str, at: &str) {
    shared.store.write(events::insert(&event(shared, kind, at))).await.unwrap();
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

async fn both_subscribe(set: &TestSetup) {
    let SubscribeResult::Accepted(view) = subscribe(&set.shared, "email", "max@example.com").await
    else {
        panic!("not taken")
    };
    assert_eq!(view.address, "m…@example.com");
    let url = format!("http://{}/hook", set.hook);
    assert!(matches!(subscribe(&set.shared, "webhook", &url).await, SubscribeResult::Accepted(_)));
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
        both_subscribe(&set).await;
        both_subscribe(&set).await;
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
        let secret = waypost_wire::base64::decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
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
        assert!(emails[0].contains("2026-11-23 09:00"), "{}", emails[0]);
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
        assert!(!notifications::unsubscribe(&shared, "another", &letter.id).await.unwrap());
        assert!(notifications::unsubscribe(&shared, TOKEN, &letter.id).await.unwrap());
        set_clock(&shared, "2026-11-23T08:00:10Z");
        store_event(&shared, "parcel.delivered", "2026-11-23T08:00:00.000Z").await;
        notifications::run_once(&shared).await.unwrap();
        assert!(webhook_posts.lock().unwrap().is_empty() && emails.lock().unwrap().is_empty());
        let sql = "SELECT state, error FROM alert";
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
