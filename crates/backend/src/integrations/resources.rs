//! Top-level resources (EPCIS 2.0 §12.7): the values that occur in events, each with its events.

use axum::Json;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::epcis::Vocabulary;
use super::protocol::{BASE, discover};
use super::query::{self, Paging};
use crate::AppState;
use crate::http::{Problem, QueryParams, RequireScope, scope};
use crate::store::event_query::Values;
use waypost_wire::epcis::{GS1_CONTEXT, segment};

/// A kind of resource.
#[derive(Clone, Copy, Debug)]
struct Resource {
    name: &'static str,
    values: Values,
    /// Parameter that selects the events of a value.
    parameter: &'static str,
    /// Vocabulary of values that exist without an event.
    vocabulary: Option<Vocabulary>,
}

const EVENT_TYPES: Resource = Resource {
    name: "eventTypes",
    values: Values::EventTypes,
    parameter: "eventType",
    vocabulary: Some(Vocabulary::EventType),
};
const EPCS: Resource =
    Resource { name: "epcs", values: Values::Epcs, parameter: "MATCH_anyEPC", vocabulary: None };
const BIZ_STEPS: Resource = Resource {
    name: "bizSteps",
    values: Values::BizSteps,
    parameter: "EQ_bizStep",
    vocabulary: None,
};
const BIZ_LOCATIONS: Resource = Resource {
    name: "bizLocations",
    values: Values::BizLocations,
    parameter: "EQ_bizLocation",
    vocabulary: None,
};
const READ_POINTS: Resource = Resource {
    name: "readPoints",
    values: Values::ReadPoints,
    parameter: "EQ_readPoint",
    vocabulary: None,
};
const DISPOSITIONS: Resource = Resource {
    name: "dispositions",
    values: Values::Dispositions,
    parameter: "EQ_disposition",
    vocabulary: None,
};

pub(super) fn router() -> Router<AppState> {
    macro_rules! list {
        ($resource:expr) => {
            get(async |_: RequireScope<scope::Events>, shared: State<AppState>, paging| {
                list($resource, shared, paging).await
            })
            .options(discover)
        };
    }
    macro_rules! one {
        ($resource:expr) => {
            get(async |_: RequireScope<scope::Events>, shared: State<AppState>, Path(value)| {
                one($resource, shared, value).await
            })
            .options(discover)
        };
    }
    macro_rules! events {
        ($resource:expr) => {
            get(
                async |_: RequireScope<scope::Events>,
                       shared: State<AppState>,
                       Path(value),
                       uri: Uri,
                       query| { events($resource, shared, value, &uri, query).await },
            )
            .options(discover)
        };
    }
    Router::new()
        .route("/epcis/v2/eventTypes", list!(EVENT_TYPES))
        .route("/epcis/v2/eventTypes/{eventType}", one!(EVENT_TYPES))
        .route("/epcis/v2/eventTypes/{eventType}/events", events!(EVENT_TYPES))
        .route("/epcis/v2/epcs", list!(EPCS))
        .route("/epcis/v2/epcs/{epc}", one!(EPCS))
        .route("/epcis/v2/epcs/{epc}/events", events!(EPCS))
        .route("/epcis/v2/bizSteps", list!(BIZ_STEPS))
        .route("/epcis/v2/bizSteps/{bizStep}", one!(BIZ_STEPS))
        .route("/epcis/v2/bizSteps/{bizStep}/events", events!(BIZ_STEPS))
        .route("/epcis/v2/bizLocations", list!(BIZ_LOCATIONS))
        .route("/epcis/v2/bizLocations/{bizLocation}", one!(BIZ_LOCATIONS))
        .route("/epcis/v2/bizLocations/{bizLocation}/events", events!(BIZ_LOCATIONS))
        .route("/epcis/v2/readPoints", list!(READ_POINTS))
        .route("/epcis/v2/readPoints/{readPoint}", one!(READ_POINTS))
        .route("/epcis/v2/readPoints/{readPoint}/events", events!(READ_POINTS))
        .route("/epcis/v2/dispositions", list!(DISPOSITIONS))
        .route("/epcis/v2/dispositions/{disposition}", one!(DISPOSITIONS))
        .route("/epcis/v2/dispositions/{disposition}/events", events!(DISPOSITIONS))
}

pub(super) fn collection(members: &[String]) -> Value {
    json!({"@context": [GS1_CONTEXT], "type": "Collection", "member": members})
}

async fn list(
    resource: Resource,
    State(shared): State<AppState>,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Response, Problem> {
    let limit = query::per_page(paging.per_page)?;
    let after = paging.next.unwrap_or_default();
    let mut values = shared.store.distinct_values(resource.values, &after, limit + 1).await?;
    if let Some(vocabulary) = resource.vocabulary {
        let terms = vocabulary.terms().into_iter().filter(|term| *term > after.as_str());
        values.extend(terms.map(str::to_owned));
        values.sort();
        values.dedup();
    }
    let next = query::cut_page(&mut values, limit).map(|last| {
        format!("{BASE}/{}?perPage={limit}&nextPageToken={}", resource.name, segment(last))
    });
    let members = collection(&values);
    Ok((query::next_link(next.as_deref()), [query::LD_JSON], Json(members)).into_response())
}

/// Query that selects the events of a value.
fn selection(resource: Resource, value: &str) -> Result<Vec<(String, String)>, Problem> {
    // The separator of several values is not part of one.
    let parameters = vec![(resource.parameter.to_owned(), value.to_owned())];
    if value.contains('|') {
        return Err(Problem::not_found("no event has this value"));
    }
    query::params::parse(&parameters).map_err(query::invalid_query)?;
    Ok(parameters)
}

/// The sub-resources of a value: its events.
async fn one(
    resource: Resource,
    State(shared): State<AppState>,
    value: String,
) -> Result<Response, Problem> {
    let parameters = selection(resource, &value)?;
    let asked = query::params::parse(&parameters).map_err(query::invalid_query)?;
    let is_term = resource.vocabulary.is_some_and(|known| known.terms().contains(&value.as_str()));
    if !is_term && shared.store.count_events(&asked.query, 1).await? == 0 {
        return Err(Problem::not_found("no event has this value"));
    }
    Ok(([query::LD_JSON], Json(collection(&["events".to_owned()]))).into_response())
}

async fn events(
    resource: Resource,
    State(shared): State<AppState>,
    value: String,
    uri: &Uri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = selection(resource, &value)?;
    let query = query.unwrap_or_default();
    query::answer(&shared, uri.path(), &query, &parameters, "SimpleEventQuery").await
}
