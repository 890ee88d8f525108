//! Routes and commands over HTTP.

use serde_json::{Value, json};
use waypost_backend::change_feed::Change;
use waypost_backend::event::Origin;

use super::site::Site;
use crate::support::backend::on_both;

pub(super) fn wanted(rev: u64, numbers: &[&str]) -> Value {
    let parcels: Vec<Value> = numbers
        .iter()
        .map(|number| json!({"number": number, "recipient": {"postcode": "80331", "language": "de"}}))
        .collect();
    json!({"van": "VAN-042", "manifest": {
        "v": 1, "route": "R-1", "rev": rev,
        "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1173, "lon": 11.5167, "radius_m": 150},
        "valid_from": "2026-11-22T05:00:00Z", "valid_until": "2026-11-22T22:00:00Z",
        "stops": [{"seq": 1, "id": "stop-1", "lat": 48.1379, "lon": 11.5755, "parcels": parcels}]}})
}

const PUT: &str = "PUT /api/v1/routes/R-1";

fn links(answer: &Value) -> Vec<String> {
    let parcels = answer["parcels"].as_array().unwrap().iter();
    parcels.map(|parcel| parcel["url"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_route_is_put_changed_read_and_withdrawn() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let mut changes = site.shared.change_feed.subscribe();
        let first = site.json("planner", PUT, &wanted(1, &["395212340000000014", "B"])).await;
        assert_eq!(first.status, 201, "{}", first.text);
        let told = [changes.try_recv().unwrap(), changes.try_recv().unwrap()];
        assert!(matches!(&told[0], Change::Route { route, .. } if &**route == "R-1"));
        assert!(matches!(&told[1], Change::Parcels { epcs, .. } if epcs.len() == 2));
        let known = links(&first.json);
        assert!(known[0].starts_with("https://track.example.com/t/") && known[0] != known[1]);
        assert_eq!(first.json["status"], "waiting");
        assert_eq!(first.header("cache-control"), Some("no-store"));

        let store = &site.shared.store;
        let token = known[0].rsplit('/').next().unwrap();
        let parcel = store.parcel_by_token(token).await.unwrap().unwrap();
        assert_eq!(parcel.epc, "https://id.gs1.org/00/395212340000000014");
        assert_eq!(
            (parcel.postcode.as_deref(), parcel.language.as_deref()),
            (Some("80331"), Some("de"))
        );
        let sent = store.route("R-1").await.unwrap().unwrap().manifest;
        assert!(!sent.contains("80331") && !sent.contains("recipient"), "{sent}");
        let announced = store.events_for_epc(&parcel.epc).await.unwrap();
        assert_eq!(announced.len(), 1);
        assert_eq!(
            (announced[0].kind.as_str(), announced[0].origin),
            ("route.assigned", Origin::Backend)
        );

        let same = site.json("planner", PUT, &wanted(1, &["395212340000000014", "B"])).await;
        assert_eq!((same.status, links(&same.json)), (200, known.clone()));
        for (rev, numbers) in [(1, &["B"][..]), (0, &["B"])] {
            let behind = site.json("planner", PUT, &wanted(rev, numbers)).await;
            assert_eq!(behind.status, if rev == 0 { 400 } else { 409 }, "{}", behind.text);
        }
        let changed = site.json("planner", PUT, &wanted(2, &["395212340000000014", "C"])).await;
        assert_eq!((changed.status, &links(&changed.json)[0]), (200, &known[0]));
        assert_eq!(store.events_for_epc(&parcel.epc).await.unwrap().len(), 1, "announced once");

        let read = site.get("planner", "/api/v1/routes/R-1").await;
        assert_eq!(read.json["manifest"], wanted(2, &["395212340000000014", "C"])["manifest"]);
        assert_eq!(site.request("planner", "DELETE /api/v1/routes/R-1", None).await.status, 204);
        assert_eq!(site.request("planner", "DELETE /api/v1/routes/R-1", None).await.status, 404);
        assert_eq!(site.get("planner", "/api/v1/routes/R-1").await.json["status"], "withdrawn");
        let again = site.json("planner", PUT, &wanted(2, &["B"])).await;
        assert_eq!(again.status, 409, "{}", again.text);
    })
    .await;
}

#[tokio::test]
async fn a_second_route_of_a_van_needs_replace() {
    on_both(async |store| {
        let site = Site::start(store).await;
        site.json("planner", PUT, &wanted(1, &["A"])).await;
        let mut second = wanted(1, &["B"]);
        second["manifest"]["route"] = json!("R-2");
        let refused = site.json("planner", "PUT /api/v1/routes/R-2", &second).await;
        assert_eq!(refused.status, 409);
        assert!(
            refused.json["detail"].as_str().unwrap().contains("replace=true"),
            "{}",
            refused.text
        );
        let taken = site.json("planner", "PUT /api/v1/routes/R-2?replace=true", &second).await;
        assert_eq!(taken.status, 201, "{}", taken.text);
        assert_eq!(site.get("planner", "/api/v1/routes/R-1").await.json["status"], "withdrawn");
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_route_is_told_by_place_and_only_to_who_may_put_it() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let mut wrong = wanted(1, &["A", "A"]);
        wrong["manifest"]["stops"][0]["lat"] = json!(91);
        let refused = site.json("planner", PUT, &wrong).await;
        assert_eq!(refused.status, 400);
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        let places: Vec<&str> = refused.json["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["place"].as_str().unwrap())
            .collect();
        assert_eq!(places, ["stops[0].parcels[1].number", "stops[0].lat"]);

        let good = wanted(1, &["A"]);
        for (who, request, status) in [
            ("nobody", PUT, 401),
            ("warehouse", PUT, 403),
            ("planner", "PUT /api/v1/routes/R-9", 400),
            ("planner", "PUT /api/v1/routes/R-1?replase=true", 400),
            ("planner", "POST /api/v1/routes/R-1", 405),
        ] {
            assert_eq!(site.json(who, request, &good).await.status, status, "{who} {request}");
        }
        let mut other = good.clone();
        other["van"] = json!("VAN/042");
        assert_eq!(site.json("planner", PUT, &other).await.status, 400);
        let form = Some(("text/plain", good.to_string()));
        assert_eq!(site.request("planner", PUT, form).await.status, 415);
        let mut long = good.clone();
        long["manifest"]["x"] = json!("x".repeat(2_000_000));
        assert_eq!(site.json("planner", PUT, &long).await.status, 413);
        assert_eq!(site.get("planner", "/api/v1/routes/R-1").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn of_two_routes_put_at_once_one_wins_and_the_other_is_told() {
    on_both(async |store| {
        let site = Site::start(store).await;
        let (left, right) = (wanted(1, &["LEFT"]), wanted(1, &["RIGHT"]));
        let (left, right) =
            tokio::join!(site.json("planner", PUT, &left), site.json("planner", PUT, &right));
        let mut answers = [left.status, right.status];
        answers.sort_unstable();
        assert_eq!(answers, [201, 409]);
    })
    .await;
}

#[tokio::test]
async fn a_command_waits_for_its_van_and_a_repeat_is_one() {
    on_both(async |store| {
        let site = Site::start(store).await;
        site.json("planner", PUT, &wanted(1, &["A"])).await;
        let give = "POST /api/v1/vans/VAN-042/commands";
        let recall = json!({"cmd": "recall_parcel", "args": {"parcel": "a"}});
        let given = site.json("planner", give, &recall).await;
        assert_eq!(given.status, 202, "{}", given.text);
        let place = given.header("location").unwrap().to_owned();
        let read = site.get("planner", &place).await;
        assert_eq!((read.status, &read.json["status"]), (200, &json!("waiting")));
        let id = read.json["id"].as_str().unwrap();
        let command = site.shared.store.command(id).await.unwrap().unwrap();
        assert_eq!(command.epc.as_deref(), Some("https://parcels.example.com/parcel/obj/A"));
        assert!(waypost_wire::command::parse(command.doc.as_bytes()).is_ok());

        let mut named = recall.clone();
        named["id"] = json!("0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10");
        assert_eq!(site.json("planner", give, &named).await.status, 202);
        assert_eq!(site.json("planner", give, &named).await.status, 202);
        named["args"]["parcel"] = json!("B");
        assert_eq!(site.json("planner", give, &named).await.status, 409);
        for wrong in [
            json!({"cmd": "fly"}),
            json!({"cmd": "set_duty", "args": {"duty": "always"}}),
            json!({"cmd": "flush_outbox", "id": "7"}),
            json!({"cmd": "flush_outbox", "expires": "soon"}),
            json!({}),
        ] {
            let refused = site.json("planner", give, &wrong).await;
            assert_eq!(refused.status, 400, "{wrong} {}", refused.text);
        }
        assert_eq!(site.get("planner", "/api/v1/commands/none").await.status, 404);
        assert_eq!(site.json("reader", give, &recall).await.status, 403);
    })
    .await;
}
