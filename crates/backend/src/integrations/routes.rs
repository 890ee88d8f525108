//! Routes: `PUT /api/v1/routes/{route}` stores a route for its van, creates parcels with tracking
//! links, and events that announce them.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ids;
use super::manifest_validation::{self, ValidManifest};
use crate::change_feed::Change;
use crate::event::{Event, Origin};
use crate::http::{JsonBody, Problem, QueryParams, RequireScope, scope};
use crate::store::parcels::Parcel;
use crate::store::routes::{ConflictPolicy, PutRouteResult, Route};
use crate::{AppState, epc, octets};
use waypost_wire::VanId;
use waypost_wire::epcis::{GS1_CONTEXT, Identifiers, NAMESPACE, term};

/// Maximum size of a request in bytes: 256 KiB for the van, plus the recipients.
const MAX_BYTES: usize = 1024 * 1024;

/// Maximum number of parcels per announcement event; keeps each parcel's event short.
const MAX_ANNOUNCED_PER_EVENT: usize = 100;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/routes/{route}", put(put_route).get(route).delete(withdraw))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
}

/// Body of a PUT request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutRouteRequest {
    van: String,
    manifest: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryOptions {
    #[serde(default)]
    replace: bool,
}

async fn put_route(
    _: RequireScope<scope::Routes>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
    QueryParams(choice): QueryParams<QueryOptions>,
    JsonBody(wanted): JsonBody<PutRouteRequest>,
) -> Result<Response, Problem> {
    let van =
        VanId::new(&wanted.van).map_err(|error| Problem::bad_request(format!("van: {error}")))?;
    let names = Identifiers::new(&shared.config.domain, &van)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let checked =
        manifest_validation::validate(&wanted.manifest, &name, &names).map_err(|faults| {
            let detail = format!("the manifest has {} faults; see errors", faults.len());
            Problem::bad_request(detail).with_errors(faults)
        })?;
    let put = stored_revision(&shared, &wanted, &checked);
    let before: Vec<String> =
        shared.store.parcels_for_route(&name).await?.into_iter().map(|parcel| parcel.epc).collect();
    let parcels: Vec<Parcel> =
        checked.parcels.iter().map(|parcel| new_parcel(parcel, &put)).collect();
    let fresh: Vec<&str> = parcels
        .iter()
        .map(|parcel| parcel.epc.as_str())
        .filter(|epc| !before.iter().any(|known| known == epc))
        .collect();
    let events = announcements(&shared, &names, &put, &checked, &fresh);
    let others = if choice.replace { ConflictPolicy::Replace } else { ConflictPolicy::Reject };
    let page = shared.config.retention.page;
    let status = match shared.store.put_route(&put, &parcels, &events, others, page).await? {
        PutRouteResult::Created => StatusCode::CREATED,
        PutRouteResult::Updated | PutRouteResult::Unchanged => StatusCode::OK,
        refused => return Err(conflict(&put, &refused)),
    };
    let epcs = before.into_iter().chain(parcels.into_iter().map(|parcel| parcel.epc)).collect();
    publish_changes(&shared, &put, epcs).await;
    let answer = route_json(&shared, &name, Detail::Links).await?;
    Ok((status, Json(answer)).into_response())
}

fn conflict(put: &Route, refused: &PutRouteResult) -> Problem {
    let Route { route, van, rev, .. } = put;
    Problem::conflict(match refused {
        PutRouteResult::StaleRevision { rev: known, withdrawn: true } => {
            format!(
                "route {route} was withdrawn at rev {known}; send a higher rev, or use another name"
            )
        }
        PutRouteResult::StaleRevision { rev: known, .. } => {
            format!(
                "rev is {rev}: route {route} has rev {known} with different content; send a higher rev"
            )
        }
        PutRouteResult::OtherVan { van: known } => format!(
            "van is {van}: route {route} belongs to {known}; withdraw it and use another name"
        ),
        PutRouteResult::VanBusy { route: known } => format!(
            "van {van} has route {known} at that time; withdraw it, or repeat with ?replace=true"
        ),
        PutRouteResult::Created | PutRouteResult::Updated | PutRouteResult::Unchanged => {
            String::new()
        }
    })
}

fn stored_revision(shared: &AppState, wanted: &PutRouteRequest, checked: &ValidManifest) -> Route {
    let doc = wanted.manifest.to_string();
    Route {
        route: checked.manifest.route.clone(),
        van: wanted.van.clone(),
        rev: checked.manifest.rev,
        valid_from: checked.manifest.valid_from,
        valid_until: checked.manifest.valid_until,
        digest: ids::digest(&[&wanted.van, &doc]),
        doc,
        manifest: checked.payload.clone(),
        put_at: shared.now(),
        sent_rev: None,
        withdrawn: false,
        completed: false,
    }
}

fn new_parcel(parcel: &manifest_validation::ValidParcel, put: &Route) -> Parcel {
    Parcel {
        epc: parcel.epc.clone(),
        number: parcel.number.clone(),
        token: hex::encode(octets::random::<16>()),
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

/// Builds `route.assigned`: a `TransactionEvent` that links parcels to the route (EPCIS 2.0
/// §7.4.4).
fn announcements(
    shared: &AppState,
    names: &Identifiers,
    put: &Route,
    checked: &ValidManifest,
    fresh: &[&str],
) -> Vec<Event> {
    let station = json!({"id": names.station(&checked.manifest.station.id)});
    let rev = put.rev.to_string();
    let chunks = fresh.chunks(MAX_ANNOUNCED_PER_EVENT).enumerate();
    let event = |(index, epcs): (usize, &[&str])| {
        let id = ids::urn(&["route.assigned", &put.route, &rev, &put.digest, &index.to_string()]);
        let data = json!({
            "@context": [GS1_CONTEXT, {"waypost": NAMESPACE}],
            "type": "TransactionEvent",
            "eventID": id,
            "eventTime": put.put_at.to_string(),
            "eventTimeZoneOffset": "+00:00",
            "action": "ADD",
            "bizTransactionList": [{
                "type": term("btt/delivery_route"),
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
            epcs: epc::epcs_in(&data),
            job: None,
            data,
        }
    };
    chunks.map(event).collect()
}

async fn publish_changes(shared: &AppState, route: &Route, epcs: Arc<[String]>) {
    let van: Arc<str> = route.van.as_str().into();
    shared
        .publish_change(Change::Route { route: route.route.as_str().into(), van: van.clone() })
        .await;
    shared.publish_change(Change::Parcels { epcs, van: Some(van) }).await;
    shared.downlink.notify_one();
}

/// Level of detail of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Links,
    Everything,
}

async fn route_json(shared: &AppState, name: &str, detail: Detail) -> Result<Value, Problem> {
    let Some(route) = shared.store.route(name).await? else { return Err(not_found(name)) };
    let site = shared.config.http.public_url.trim_end_matches('/');
    let parcels = shared.store.parcels_for_route(name).await?;
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

fn not_found(name: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    Problem::not_found(format!("no route {shown}: create it first"))
}

async fn route(
    _: RequireScope<scope::Routes>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    route_json(&shared, &name, Detail::Everything).await.map(Json)
}

async fn withdraw(
    _: RequireScope<scope::Routes>,
    State(shared): State<AppState>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let parcels = shared.store.parcels_for_route(&name).await?;
    let Some(route) = shared.store.withdraw_route(&name).await? else {
        return Err(not_found(&name));
    };
    publish_changes(&shared, &route, parcels.into_iter().map(|parcel| parcel.epc).collect()).await;
    Ok(StatusCode::NO_CONTENT)
}
