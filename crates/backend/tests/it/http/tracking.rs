//! Visibility of a van on a tracking page and its end, tested over the API on a real connection.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use waypost_backend::change_feed::Change;
use waypost_backend::config::{Scope, SmtpConfig};
use waypost_backend::event::{Event, Origin, Role};
use waypost_backend::store::{Statement, Store, events};
use waypost_backend::{AppState, epc, http, integrations, web};
use waypost_service::clock::Clock;

use super::client::{EventStream, Server};
use super::{token, with};
use crate::support::backend::{on_both, shared, utc};

const NOW: &str = "2026-11-22T09:00:00.000Z";
const VAN: &str = "VAN-042";
const NUMBERS: [&str; 2] = ["106141412345678908", "395212340000000014"];

/// A van that is out with two parcels for two recipients.
struct Tour {
    shared: AppState,
    server: Server,
    /// Tokens of the links, in the order of stops.
    tokens: Vec<String>,
}

impl Tour {
    /// `fix_age` is the maximum age of a visible fix. The clock runs in real time.
    async fn start(store: Store, fix_age: Duration) -> Self {
        let shared = AppState { clock: Clock::live(), ..shared(store, NOW) };
        shared.clock.set_utc(utc(NOW), shared.clock.uptime());
        let shared = with(&shared, |config| {
            config.visibility.max_fix_age = fix_age;
            config.tokens = vec![
                token("depot", "put", &[Scope::Routes]),
                token("anna", "desk", &[Scope::Desk]),
            ];
        });
        let router = http::router().merge(integrations::router());
        let server = Server::with(&shared, router).await;
        let mut tour = Self { shared, server, tokens: Vec::new() };
        tour.put_route().await;
        tour.record_event("parcel.loaded", 1, &NUMBERS, None).await;
        tour.record_event("route.departed", 2, &NUMBERS, None).await;
        tour.set_duty("on").await;
        tour.move_to(48.125_123, 11.531_456);
        tour
    }

    async fn put_route(&mut self) {
        let parcel =
            |index: usize| json!({"number": NUMBERS[index], "recipient": {"postcode": "80331"}});
        let route = json!({"van": VAN, "manifest": {
            "v": 1, "route": "R-1", "rev": 1,
            "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1173, "lon": 11.5167, "radius_m": 150},
            "valid_from": "2026-11-22T05:00:00Z", "valid_until": "2026-11-22T22:00:00Z",
            "stops": [
                {"seq": 1, "id": "door-of-anna", "lat": 48.1379, "lon": 11.5755, "parcels": [parcel(0)]},
                {"seq": 2, "id": "door-of-berta", "lat": 48.1422, "lon": 11.5911, "parcels": [parcel(1)]}]}});
        let headers = [("Authorization", "Bearer put")];
        let put = self.server.json("PUT", "/api/v1/routes/R-1", &headers, &route).await;
        assert_eq!(put.status, 201, "{put:?}");
        let links = put.value()["parcels"].as_array().unwrap().clone();
        let link =
            |link: &Value| link["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        self.tokens = links.iter().map(link).collect();
    }

    async fn record_event(&self, kind: &str, seq: u64, numbers: &[&str], stop: Option<u32>) {
        let mut things = Vec::new();
        for number in numbers {
            let domain = &self.shared.config.domain;
            let parcel = self.shared.store.find_parcels(number, domain).await.unwrap().remove(0);
            things.push((parcel.epc, Role::Epc));
        }
        let names: Vec<&str> = things.iter().map(|(epc, _)| epc.as_str()).collect();
        let now = self.shared.now();
        let data = json!({"type": "ObjectEvent", "epcList": names, "waypost:stopSeq": stop, "waypost:outcome": "handed_over"});
        let event = Event {
            n: 0,
            source: format!("https://parcels.example.com/vans/{VAN}"),
            id: format!("{seq}"),
            event_id: format!("urn:uuid:{seq}"),
            kind: kind.to_owned(),
            origin: Origin::Van,
            van: Some(VAN.to_owned()),
            seq: Some(seq),
            route: Some("R-1".to_owned()),
            time: now,
            captured_at: now,
            retracts: false,
            epcs: things,
            job: None,
            data,
        };
        self.shared.store.write(events::insert(&event)).await.unwrap();
        let epcs: Arc<[String]> = event.epcs.into_iter().map(|(epc, _)| epc).collect();
        self.shared.publish_change(Change::Parcels { epcs, van: Some(VAN.into()) }).await;
    }

    async fn set_duty(&self, duty: &str) {
        self.store_duty(duty).await;
        self.shared.publish_change(Change::Van { van: VAN.into() }).await;
    }

    /// Stores the state as another instance would, without a notification.
    async fn store_duty(&self, duty: &str) {
        let state = json!({"v": 1, "van": VAN, "ts": self.shared.now().to_string(), "duty": duty, "route": "R-1",
            "gnss": {"receiver": "open", "mode": 3, "sentences_bad": 0, "fixes_rejected": 0},
            "outbox": {"pending": 0, "dropped": 0, "bytes": 0}});
        let now = self.shared.now();
        let said = Statement::new(
            "INSERT INTO van (van, state, state_time, heard_at) VALUES ($1, $2, $3, $3) \
             ON CONFLICT (van) DO UPDATE SET state = excluded.state, state_time = excluded.state_time",
            [VAN.into(), state.to_string().into(), now.into()],
        );
        self.shared.store.write(vec![said]).await.unwrap();
    }

    /// Reports a position while driving.
    fn move_to(&self, lat: f64, lon: f64) {
        self.observe_position(lat, lon, 9.0);
    }

    fn observe_position(&self, lat: f64, lon: f64, speed_mps: f64) {
        let observe = || {
            let now = self.shared.now();
            let position = json!({"v": 1, "van": VAN, "seq": now.as_unix_ms(), "ts": now.to_string(),
                "lat": lat, "lon": lon, "speed_mps": speed_mps, "acc_m": 4.0, "mode": 3,
                "stop_status": "in_transit_to", "lane": "live", "backlog": false, "stopped": false});
            self.shared.change_feed.observe(serde_json::from_value(position).unwrap())
        };
        // A position of the same millisecond as the one before is not newer.
        let mut attempts = 0..50;
        while !observe() {
            assert!(attempts.next().is_some(), "the position is never newer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    async fn page(&self, parcel: usize) -> Value {
        let answer = self.server.get(&format!("/api/v1/track/{}", self.tokens[parcel])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.value()
    }

    async fn watch(&self, parcel: usize) -> EventStream<tokio::net::TcpStream> {
        let path = format!("/api/v1/track/{}/live", self.tokens[parcel]);
        let events = self.server.events(&path, &[]).await;
        assert_eq!(events.status, 200);
        events
    }

    /// Waits until the page satisfies `so`; returns the time that took on the page's own clock, in
    /// milliseconds.
    async fn wait_until(
        &self,
        page: &mut EventStream<tokio::net::TcpStream>,
        so: impl Fn(&Value) -> bool,
    ) -> i64 {
        let from = self.shared.now();
        loop {
            let view = page.document().await;
            if so(&view) {
                return self.shared.now().millis_since(from);
            }
        }
    }
}

fn is_shown(view: &Value) -> bool {
    !view["live"].is_null()
}

const LONG: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_page_says_nothing_of_other_recipients() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        for own in 0..2 {
            let other = 1 - own;
            let view = tour.page(own).await;
            assert!(is_shown(&view), "{view}");
            assert_eq!(view["stops_away"], own);
            let path = format!("/api/v1/track/{}/live", tour.tokens[own]);
            let streamed = tour.server.events(&path, &[]).await.document().await;
            for text in [view.to_string(), streamed.to_string()] {
                let door =
                    [("door-of-berta", "48.142", "11.591"), ("door-of-anna", "48.138", "11.57")]
                        [own];
                let (door, lat, lon) = door;
                for secret in [
                    NUMBERS[other],
                    &tour.tokens[other],
                    door,
                    lat,
                    lon,
                    "80331",
                    VAN,
                    "48.1251",
                    "11.5314",
                ] {
                    assert!(!text.contains(secret), "{secret}: {text}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_opens_its_own_page_and_nothing_else() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let told = Statement::new(
            "INSERT INTO subscriber (id, epc, channel, address, made_at) VALUES ('of-berta', $1, 'email', 'b@example.com', 1)",
            [epc::uris_for_number(NUMBERS[1], "x").remove(0).into()],
        );
        tour.shared.store.write(vec![told]).await.unwrap();
        let anna = &tour.tokens[0];
        let ask = async |method: &str, path: &str| tour.server.request(method, path, &[], "").await.status;
        assert_eq!(ask("DELETE", &format!("/api/v1/track/{anna}/alerts/of-berta")).await, 404);
        let rows = Statement::new("SELECT id FROM subscriber WHERE id = 'of-berta'", []);
        assert_eq!(tour.shared.store.read(rows).await.unwrap().len(), 1, "others cannot end it");
        assert!(!tour.page(0).await.to_string().contains("of-berta"));

        let mut changed = anna.clone().into_bytes();
        changed[3] = if changed[3] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let upper = if anna.to_uppercase() == *anna { anna.to_lowercase() } else { anna.to_uppercase() };
        for other in [
            changed.as_str(),
            upper.as_str(),
            &anna[..anna.len() - 1],
            &format!("{anna}A"),
            &format!("{anna}%00"),
            &format!("{anna}%20"),
            &format!("{anna}/"),
            &format!("{anna}%2F..%2F{}", tour.tokens[1]),
            &format!("{anna};{}", tour.tokens[1]),
            "%25",
            "_",
            "*",
            NUMBERS[0],
            "' OR 1=1 --",
        ] {
            let other = other.replace(' ', "%20");
            for (method, rest) in [("GET", ""), ("HEAD", ""), ("GET", "/live"), ("DELETE", "/alerts/of-berta")] {
                let status = ask(method, &format!("/api/v1/track/{other}{rest}")).await;
                assert_eq!(status, 404, "{method} {other}{rest}");
            }
        }
        for desk in ["vans", "vans/VAN-042", "vans/VAN-042/day", "audit", "poison", "routes/R-1"] {
            let bearer_token = format!("Bearer {anna}");
            let headers = [("Authorization", bearer_token.as_str())];
            let answer = tour.server.request("GET", &format!("/api/v1/{desk}"), &headers, "").await;
            assert_eq!(answer.status, 401, "{desk}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_van_is_gone_in_the_second_of_the_delivery_and_never_comes_back() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let (mut anna, mut berta) = (tour.watch(0).await, tour.watch(1).await);
        assert!(is_shown(&anna.document().await));
        assert_eq!(berta.document().await["stops_away"], 1);
        tour.record_event("parcel.delivered", 3, &NUMBERS[..1], Some(1)).await;
        let took_ms = tour.wait_until(&mut anna, |view| view["status"] == "delivered").await;
        assert!(took_ms < 1000, "{took_ms} ms");
        tour.wait_until(&mut berta, |view| view["stops_away"] == 0).await;
        for step in 0..3 {
            tour.move_to(48.13 + f64::from(step) / 500.0, 11.58);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tour.wait_until(&mut berta, |view| view["live"]["lat"] == 48.134).await;
        assert!(!is_shown(&tour.page(0).await));
        assert!(anna.is_quiet(Duration::from_millis(1500)).await, "nothing has changed since");

        tour.shared
            .store
            .write(vec![waypost_backend::store::parcels::set_ended(
                &tour.shared.store.parcel_by_token(&tour.tokens[0]).await.unwrap().unwrap().epc,
                tour.shared.now(),
                tour.shared.now(),
            )])
            .await
            .unwrap();
        let path = format!("/api/v1/track/{}", tour.tokens[0]);
        let gone = tour.server.get(&path).await;
        assert_eq!(gone.status, 410);
        assert!(!gone.body.contains(NUMBERS[0]));
        assert_eq!(tour.server.get(&format!("{path}/live")).await.status, 410);
        let wish = json!({"safe_place": "shed"});
        assert_eq!(tour.server.json("PUT", &format!("{path}/wish"), &[], &wish).await.status, 410);
    })
    .await;
}

#[tokio::test]
async fn the_van_is_gone_when_its_driver_is_off_duty() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let mut anna = tour.watch(0).await;
        assert!(is_shown(&anna.document().await));
        for duty in ["off", "break"] {
            tour.set_duty(duty).await;
            let took_ms = tour.wait_until(&mut anna, |view| !is_shown(view)).await;
            assert!(took_ms < 1000, "{duty}: {took_ms} ms");
            tour.move_to(48.126, 11.54);
            assert!(!is_shown(&tour.page(0).await));
            tokio::time::sleep(Duration::from_millis(10)).await;
            tour.set_duty("on").await;
            tour.wait_until(&mut anna, is_shown).await;
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_comes_later_sees_nothing_of_what_was_shown_to_others_before() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let mut first = tour.watch(0).await;
        assert!(is_shown(&first.document().await));
        for (duty, shown) in [("off", false), ("on", true), ("break", false)] {
            tour.store_duty(duty).await;
            let mut later = tour.watch(0).await;
            assert_eq!(is_shown(&later.document().await), shown, "{duty}");
        }
        tour.wait_until(&mut first, |view| !is_shown(view)).await;
    })
    .await;
}

#[tokio::test]
async fn a_subscription_ends_only_by_its_own_page_or_its_own_email() {
    on_both(async |store| {
        let mut tour = Tour::start(store, LONG).await;
        let shared = with(&tour.shared, |config| {
            config.notifications.smtp = Some(SmtpConfig {
                url: "smtp://127.0.0.1:9".to_owned(),
                username: None,
                password: None,
                from: "Parcels <parcels@example.com>".to_owned(),
            });
        });
        tour.server = Server::with(&shared, http::router().merge(web::router())).await;
        let subscribe = async |parcel: usize, address: &str| {
            let path = format!("/api/v1/track/{}/alerts", tour.tokens[parcel]);
            let body = json!({"channel": "email", "address": address});
            let answer = tour.server.json("POST", &path, &[], &body).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            let view = answer.value();
            assert!(!view.to_string().contains(address), "{view}");
            view["id"].as_str().unwrap().to_owned()
        };
        let of_anna = subscribe(0, "anna@example.com").await;
        let of_berta = subscribe(1, "berta@example.com").await;
        let ask = async |method: &str, path: &str| tour.server.request(method, path, &[], "").await;
        let end = async |parcel: usize, id: &str| {
            let path = format!("/api/v1/track/{}/alerts/{id}", tour.tokens[parcel]);
            ask("DELETE", &path).await.status
        };
        let upper = of_berta.to_uppercase();
        for id in [of_berta.as_str(), &upper, "%27%20OR%201=1", "%25", "_"] {
            assert_eq!(end(0, id).await, 404, "{id}");
        }
        for parcel in 0..2 {
            assert_eq!(tour.page(parcel).await["alerts"].as_array().unwrap().len(), 1);
        }
        assert!(!tour.page(0).await.to_string().contains(&of_berta));
        assert_eq!((end(1, &of_berta).await, end(1, &of_berta).await), (204, 404));

        let letter = |id: &str| format!("/unsubscribe/{id}");
        let known = ask("GET", &letter(&of_anna)).await;
        let unknown = ask("GET", &letter(&of_berta)).await;
        assert_eq!((known.status, &known.body), (200, &unknown.body), "subscribers are secret");
        assert_eq!(
            tour.page(0).await["alerts"].as_array().unwrap().len(),
            1,
            "a GET ends no subscription"
        );
        for _ in 0..2 {
            assert_eq!(ask("POST", &letter(&of_anna)).await.status, 200);
            assert_eq!(tour.page(0).await["alerts"], json!([]));
        }
    })
    .await;
}

#[tokio::test]
async fn the_van_is_gone_when_nothing_more_is_heard_of_it_although_nothing_happens() {
    on_both(async |store| {
        let tour = Tour::start(store, Duration::from_secs(2)).await;
        let mut anna = tour.watch(0).await;
        tour.move_to(48.126, 11.54);
        tour.wait_until(&mut anna, |view| view["live"]["lat"] == 48.126).await;
        let took_ms = tour.wait_until(&mut anna, |view| !is_shown(view)).await;
        assert!((1000..3000).contains(&took_ms), "{took_ms} ms");
        tour.move_to(48.127, 11.55);
        tour.wait_until(&mut anna, is_shown).await;
    })
    .await;
}

#[tokio::test]
async fn many_look_at_one_page_and_a_stopped_server_lets_all_go() {
    let place = crate::support::backend::StoreLocation::sqlite();
    let mut tour = Tour::start(place.open().await, LONG).await;
    let mut pages = Vec::new();
    for _ in 0..40 {
        pages.push(tour.watch(0).await);
    }
    for page in &mut pages {
        page.document().await;
    }
    tour.move_to(48.13, 11.55);
    for page in &mut pages {
        tour.wait_until(page, |view| view["live"]["lat"] == 48.13).await;
    }
    for _ in 0..20 {
        pages.push(tour.watch(1).await);
    }
    let path = format!("/api/v1/track/{}/live", tour.tokens[0]);
    let full = tour.server.get(&path).await;
    assert_eq!(full.status, 503, "the limit per address applies");
    assert!(full.header("retry-after").is_some());
    tour.server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(8), &mut tour.server.task).await.unwrap().unwrap();
    for page in &mut pages {
        while page.next().await.is_some() {}
    }
}

#[tokio::test]
async fn dispatchers_see_all_vans_first_and_then_what_changes_at_most_twice_a_second() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let headers = [("Authorization", "Bearer desk")];
        let mut desk = tour.server.events("/api/v1/vans/live", &headers).await;
        assert_eq!(desk.status, 200);
        let first = desk.document().await;
        assert_eq!(
            (first["van"].as_str(), first["position"]["lat"].as_f64()),
            (Some(VAN), Some(48.125_123))
        );
        let from = tour.shared.now();
        let mut moved = 0;
        let mut seen = 0;
        while tour.shared.now().millis_since(from) < 3000 {
            moved += 1;
            tour.move_to(48.13 + f64::from(moved) / 1e5, 11.55);
            if !desk.is_quiet(Duration::from_millis(20)).await {
                seen += 1;
            }
        }
        eprintln!("{moved} positions, {seen} views");
        assert!((2..=9).contains(&seen), "{seen} of {moved}");
        let last = 48.13 + f64::from(moved) / 1e5;
        tour.wait_until(&mut desk, |view| {
            (view["position"]["lat"].as_f64().unwrap() - last).abs() < 1e-9
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_van_that_stands_is_shown_to_dispatchers_with_all_that_is_known_of_it() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        tour.observe_position(48.1379, 11.5755, 0.0);
        let headers = [("Authorization", "Bearer desk")];
        for path in ["vans", "vans/VAN-042", "vans/VAN-042/day", &format!("trace/{}", NUMBERS[0])] {
            let answer = tour.server.request("GET", &format!("/api/v1/{path}"), &headers, "").await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        let vans = tour.server.request("GET", "/api/v1/vans", &headers, "").await.value();
        assert_eq!(vans[0]["route"]["stops_total"], 2, "{vans}");
        assert_eq!(vans[0]["position"]["speed_mps"], 0.0, "{vans}");
    })
    .await;
}

#[tokio::test]
async fn a_wish_is_taken_back_as_a_whole_and_each_refusal_says_why() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let path = format!("/api/v1/track/{}/wish", tour.tokens[0]);
        let put = async |wish: Value| tour.server.json("PUT", &path, &[], &wish).await;
        let asked = put(json!({"safe_place": "shed", "authority_to_leave": true})).await.value();
        assert_eq!(asked["manage"]["asked"]["safe_place"], "shed");
        let other = put(json!({"neighbour": "Huber"})).await.value();
        assert_eq!(other["manage"]["asked"], json!({"neighbour": "Huber"}));
        let withdrawn = put(json!({})).await;
        assert_eq!(withdrawn.status, 202);
        let manage = &withdrawn.value()["manage"];
        assert_eq!((&manage["asked"], &manage["answer"]), (&Value::Null, &json!("waiting")));
        assert_eq!(put(json!({})).await.status, 202, "again changes nothing");
        let sql = "SELECT doc FROM command WHERE name = 'set_preferences' ORDER BY made_at, id";
        let rows = tour.shared.store.read(Statement::new(sql, [])).await.unwrap();
        let sets: Vec<Value> = rows
            .iter()
            .map(|row| serde_json::from_str::<Value>(row.text(0)).unwrap())
            .map(|doc| doc["args"]["preferences"].clone())
            .collect();
        assert_eq!(sets.len(), 3, "{sets:?}");
        for set in [
            json!({"safe_place": "shed", "authority_to_leave": true}),
            json!({"neighbour": "Huber"}),
            json!({}),
        ] {
            assert!(sets.contains(&set), "{set} in {sets:?}");
        }
        let code = async |wish: Value| {
            let answer = put(wish).await;
            (answer.status, answer.value()["code"].clone())
        };
        let day = waypost_model::units::UtcTime::from_unix_ms(
            tour.shared.now().as_unix_ms() + 2 * 86_400_000,
        );
        let day = day.unwrap().to_string()[..10].to_owned();
        assert_eq!(code(json!({"other_day": day})).await, (409, json!("van_near")));
        assert_eq!(code(json!({"neighbour": "Huber"})).await, (202, Value::Null));
        tour.record_event("parcel.delivered", 91, &NUMBERS[..1], Some(1)).await;
        let refused = put(json!({})).await;
        assert_eq!(
            (refused.status, &refused.value()["code"]),
            (409, &json!("delivered")),
            "{refused:?}"
        );
    })
    .await;
}

/// Starts an instance that serves the pages too.
async fn with_pages(shared: &AppState) -> Server {
    let router = http::router().merge(web::router());
    Server::with(shared, router).await
}

#[tokio::test]
async fn a_browser_gets_a_page_for_an_error_and_for_an_outage() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let html = [
            ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("Accept-Language", "de"),
        ];
        let path = format!("/t/{}", tour.tokens[0]);
        let server = with_pages(&tour.shared).await;
        let unknown = server.request("GET", "/nowhere", &html, "").await;
        assert_eq!(unknown.status, 404);
        assert_eq!(unknown.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(unknown.body.contains("Diese Seite gibt es nicht"), "{}", unknown.body);
        let put = server.request("PUT", "/", &html, "").await;
        assert_eq!((put.status, put.header("allow").is_some()), (405, true));
        assert!(put.body.contains("<html lang=\"de\""));
        for accept in ["*/*", "application/json", "application/problem+json, text/html"] {
            let answer = server.request("GET", "/nowhere", &[("Accept", accept)], "").await;
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{accept}");
        }
        let sql = "ALTER TABLE parcel RENAME TO parcel_gone";
        tour.shared.store.write(vec![Statement::new(sql, [])]).await.unwrap();
        let outage = server.request("GET", &path, &html, "").await;
        assert!(outage.status >= 500);
        assert!(outage.body.contains("Zurzeit nicht verfügbar"), "{}", outage.body);
        assert!(!outage.body.contains("parcel_gone") && !outage.body.contains("SQL"));
        assert_eq!(outage.header("cache-control"), Some("no-store"));
        assert!(outage.header("content-security-policy").unwrap().contains("script-src 'self'"));
    })
    .await;
}

#[tokio::test]
async fn an_address_is_confirmed_by_its_link_and_a_secret_rotated_by_its_owner() {
    on_both(async |store| {
        let tour = Tour::start(store, LONG).await;
        let shared = with(&tour.shared, |config| {
            let (smtp, _) = crate::support::smtp_server::start_smtp_server();
            let smtp = crate::support::smtp_server::smtp_config(smtp);
            config.notifications.smtp = Some(smtp);
            config.notifications.webhook_enabled = true;
        });
        let server = with_pages(&shared).await;
        let path = format!("/api/v1/track/{}/alerts", tour.tokens[0]);
        let subscribe = async |channel: &str, address: &str| {
            let body = json!({"channel": channel, "address": address});
            server.json("POST", &path, &[], &body).await
        };
        assert_eq!(subscribe("email", "anna@example").await.status, 400);
        let made = subscribe("email", "anna@example.com").await;
        assert_eq!((made.status, &made.value()["confirmed"]), (201, &json!(false)));
        assert!(!made.body.contains("secret") && !made.body.contains("token"));
        let sql = "SELECT confirm_token FROM subscriber";
        let rows = shared.store.read(Statement::new(sql, [])).await.unwrap();
        let link = format!("/confirm/{}?lang=en", rows[0].text(0));
        let asked = server.get(&link).await;
        assert!(asked.status == 200 && asked.body.contains("Yes, notify me"));
        let view = async || {
            let page = server.get(&format!("/api/v1/track/{}", tour.tokens[0])).await.value();
            page["alerts"][0]["confirmed"].clone()
        };
        assert_eq!(view().await, false, "a mail server that follows links confirms nothing");
        let done = server.request("POST", &link, &[], "").await;
        assert!(done.status == 200 && done.body.contains("a…@example.com"), "{}", done.body);
        assert_eq!(view().await, true);
        assert_eq!(server.request("POST", "/confirm/x?lang=en", &[], "").await.status, 404);
        // The same stranger is asked three times, however often someone enters the address.
        let id = made.value()["id"].as_str().unwrap().to_owned();
        for expected in [201, 201, 429] {
            let gone = server.request("DELETE", &format!("{path}/{id}"), &[], "").await.status;
            assert!([204, 404].contains(&gone));
            assert_eq!(subscribe("email", "Anna@example.com").await.status, expected);
        }

        let made = subscribe("webhook", "https://example.com/hook").await.value();
        let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        let rotate = async |secret: &str| {
            let path = format!("{path}/{id}/secret");
            server.json("POST", &path, &[], &json!({"secret": secret})).await
        };
        assert_eq!(rotate("whsec_AAAA").await.status, 404);
        let second = rotate(secret).await;
        assert_eq!(second.status, 200, "{second:?}");
        assert!(second.value()["secret"].as_str().unwrap().starts_with("whsec_"));
        let page = server.get(&format!("/api/v1/track/{}", tour.tokens[0])).await;
        assert!(!page.body.contains("whsec_"), "a secret is shown once");
    })
    .await;
}
