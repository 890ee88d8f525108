//! `PUT /api/v1/routes/{route}` → a route that waits for its van, parcels with links, and events that announce them.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::manifest::{self, Checked};
use super::names;
use crate::backend::api::{Allowed, Body, Problem, Query, scope};
use crate::backend::event::{Event, Origin};
use crate::backend::live::Change;
use crate::backend::store::parcels::Parcel;
use crate::backend::store::routes::{Others, Put, Route};
use crate::backend::{Shared, epc, octets};
use crate::wire::VanId;
use crate::wire::epcis::Names;

/// Of a request: the van's 256 KiB, and a recipient of each parcel.
const MAX_BYTES: usize = 1024 * 1024;

/// Parcels that one event announces, so that no event of one parcel is long because of the others.
const ANNOUNCED_TOGETHER: usize = 100;

/// The JSON-LD context that GS1 publishes.
const GS1_CONTEXT: &str = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld";

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v1/routes/{route}", put(put_route).get(route).delete(withdraw))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
}

/// What is put.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    van: String,
    manifest: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    #[serde(default)]
    replace: bool,
}

async fn put_route(
    _: Allowed<scope::Routes>,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(choice): Query<Choice>,
    Body(wanted): Body<Wanted>,
) -> Result<Response, Problem> {
    let van =
        VanId::new(&wanted.van).map_err(|error| Problem::bad_request(format!("van: {error}")))?;
    let names = Names::new(&shared.config.domain, &van)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let checked = manifest::check(&wanted.manifest, &name, &names).map_err(|faults| {
        let detail = format!("the manifest has {} faults: see errors", faults.len());
        Problem::bad_request(detail).with_errors(faults)
    })?;
    let put = kept(&shared, &wanted, &checked);
    let before: Vec<String> =
        shared.store.parcels_of_route(&name).await?.into_iter().map(|parcel| parcel.epc).collect();
    let parcels: Vec<Parcel> =
        checked.parcels.iter().map(|parcel| parcel_of(parcel, &put)).collect();
    let fresh: Vec<&str> = parcels
        .iter()
        .map(|parcel| parcel.epc.as_str())
        .filter(|epc| !before.iter().any(|known| known == epc))
        .collect();
    let events = announcements(&shared, &names, &put, &checked, &fresh);
    let others = if choice.replace { Others::GoAway } else { Others::Stay };
    let status = match shared.store.put_route(&put, &parcels, &events, others).await? {
        Put::Created => StatusCode::CREATED,
        Put::Changed | Put::Same => StatusCode::OK,
        refused => return Err(conflict(&put, &refused)),
    };
    let epcs = before.into_iter().chain(parcels.into_iter().map(|parcel| parcel.epc)).collect();
    tell(&shared, &put, epcs).await;
    let answer = shown(&shared, &name, Detail::Links).await?;
    Ok((status, Json(answer)).into_response())
}

fn conflict(put: &Route, refused: &Put) -> Problem {
    let Route { route, van, rev, .. } = put;
    Problem::conflict(match refused {
        Put::Behind { rev: known, withdrawn: true } => {
            format!(
                "route {route} was withdrawn at rev {known}: put it with a higher rev, or by another name"
            )
        }
        Put::Behind { rev: known, .. } => {
            format!(
                "rev is {rev}: route {route} has rev {known} with another content; put a higher one"
            )
        }
        Put::OtherVan { van: known } => format!(
            "van is {van}: route {route} is of {known}; withdraw it and put it by another name"
        ),
        Put::Busy { route: known } => format!(
            "van {van} has route {known} at that time: withdraw it, or put this one with ?replace=true"
        ),
        Put::Created | Put::Changed | Put::Same => String::new(),
    })
}

fn kept(shared: &Shared, wanted: &Wanted, checked: &Checked) -> Route {
    let doc = wanted.manifest.to_string();
    Route {
        route: checked.manifest.route.clone(),
        van: wanted.van.clone(),
        rev: checked.manifest.rev,
        valid_from: checked.manifest.valid_from,
        valid_until: checked.manifest.valid_until,
        digest: names::digest_of(&[&wanted.van, &doc]),
        doc,
        manifest: checked.payload.clone(),
        put_at: shared.now(),
        sent_rev: None,
        withdrawn: false,
        completed: false,
    }
}

fn parcel_of(parcel: &manifest::CheckedParcel, put: &Route) -> Parcel {
    Parcel {
        epc: parcel.epc.clone(),
        number: parcel.number.clone(),
        token: octets::hex(&octets::random::<16>()),
        postcode: parcel.recipient.postcode.clone(),
        route: Some(put.route.clone()),
        stop_id: Some(parcel.stop_id.clone()),
        stop_seq: Some(parcel.stop_seq),
        gift: parcel.recipient.gift,
        language: parcel.recipient.language.clone(),
        preferences: None,
        put_at: put.put_at,
        ended_at: None,
        expires_at: None,
        case_state: None,
        case_at: None,
        case_note: None,
    }
}

/// `route.assigned`: a `TransactionEvent` that binds parcels to the route (EPCIS 2.0 §7.4.4).
fn announcements(
    shared: &Shared,
    names: &Names,
    put: &Route,
    checked: &Checked,
    fresh: &[&str],
) -> Vec<Event> {
    let station = json!({"id": names.station(&checked.manifest.station.id)});
    let rev = put.rev.to_string();
    let chunks = fresh.chunks(ANNOUNCED_TOGETHER).enumerate();
    let event = |(index, epcs): (usize, &[&str])| {
        let id =
            names::urn_of(&["route.assigned", &put.route, &rev, &put.digest, &index.to_string()]);
        let data = json!({
            "@context": [GS1_CONTEXT, {"van": names.namespace}],
            "type": "TransactionEvent",
            "eventID": id,
            "eventTime": put.put_at.to_string(),
            "eventTimeZoneOffset": "+00:00",
            "action": "ADD",
            "bizTransactionList": [{
                "type": names.term("btt/delivery_route"),
                "bizTransaction": names.route(&put.route),
            }],
            "parentID": names.van,
            "epcList": epcs,
            "bizStep": "staging_outbound",
            "readPoint": station,
            "bizLocation": station,
        });
        Event {
            n: 0,
            source: format!("https://{}/backend", shared.config.domain),
            id: id.clone(),
            event_id: id,
            kind: "route.assigned".to_owned(),
            origin: Origin::Backend,
            van: None,
            seq: None,
            route: Some(put.route.clone()),
            time: put.put_at,
            captured_at: put.put_at,
            retracts: false,
            epcs: epc::things(&data),
            job: None,
            data,
        }
    };
    chunks.map(event).collect()
}

async fn tell(shared: &Shared, route: &Route, epcs: Arc<[String]>) {
    let van: Arc<str> = route.van.as_str().into();
    shared.tell(Change::Route { route: route.route.as_str().into(), van: van.clone() }).await;
    shared.tell(Change::Parcels { epcs, van: Some(van) }).await;
    shared.downlink.notify_one();
}

/// How much of a route is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Links,
    Everything,
}

async fn shown(shared: &Shared, name: &str, detail: Detail) -> Result<Value, Problem> {
    let Some(route) = shared.store.route(name).await? else { return Err(unknown(name)) };
    let site = shared.config.http.public_url.trim_end_matches('/');
    let parcels = shared.store.parcels_of_route(name).await?;
    let parcels: Vec<Value> = parcels
        .iter()
        .map(|parcel| {
            json!({
                "number": parcel.number,
                "epc": parcel.epc,
                "stop_seq": parcel.stop_seq,
                "url": format!("{site}/t/{}", parcel.token),
            })
        })
        .collect();
    let status = match (route.withdrawn, route.completed, route.sent_rev) {
        (true, ..) => "withdrawn",
        (_, true, _) => "completed",
        (_, _, Some(rev)) if rev >= route.rev => "sent",
        _ => "waiting",
    };
    let mut answer = json!({
        "route": route.route,
        "van": route.van,
        "rev": route.rev,
        "status": status,
        "sent_rev": route.sent_rev,
        "put_at": route.put_at.to_string(),
        "parcels": parcels,
    });
    if detail == Detail::Everything {
        answer["manifest"] = serde_json::from_str(&route.doc).unwrap_or_default();
    }
    Ok(answer)
}

fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    Problem::not_found(format!("no route {shown}: put it first"))
}

async fn route(
    _: Allowed<scope::Routes>,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    shown(&shared, &name, Detail::Everything).await.map(Json)
}

async fn withdraw(
    _: Allowed<scope::Routes>,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let parcels = shared.store.parcels_of_route(&name).await?;
    let Some(route) = shared.store.withdraw_route(&name).await? else {
        return Err(unknown(&name));
    };
    tell(&shared, &route, parcels.into_iter().map(|parcel| parcel.epc).collect()).await;
    Ok(StatusCode::NO_CONTENT)
}
