//! `POST /api/v1/vans/{van}/commands` → a command that waits for its van; `GET` says what became of it.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use crate::backend::api::{Allowed, Body, Problem, scope};
use crate::backend::store::commands::Command;
use crate::backend::{Shared, epc, octets};
use crate::core::delivery::command::Order;
use crate::wire::command::{self, CommandRefusal};
use crate::wire::{VERSION, VanId};

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v1/vans/{van}/commands", post(give))
        .route("/api/v1/commands/{id}", get(given))
        .layer(DefaultBodyLimit::max(2 * command::MAX_BYTES))
}

/// The body is the payload of `cmd` (docs/contract.md); without `id` it is given one, without `v` it is of version 1.
async fn give(
    _: Allowed<scope::Routes>,
    State(shared): State<Shared>,
    Path(van): Path<String>,
    Body(mut payload): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    VanId::new(&van).map_err(|error| Problem::bad_request(format!("van: {error}")))?;
    payload.entry("v").or_insert_with(|| VERSION.into());
    payload.entry("id").or_insert_with(|| octets::random_uuid().into());
    let doc = Value::Object(payload.clone()).to_string();
    let read = command::read(doc.as_bytes()).map_err(|refusal| {
        Problem::bad_request(match refusal {
            CommandRefusal::Nobody(detail) => format!("the command: {detail}"),
            CommandRefusal::Rejected { detail, .. } => detail,
        })
    })?;
    if let Order::Unsupported { name } = &read.order {
        return Err(Problem::bad_request(format!(
            "cmd is {name}: write one of docs/contract.md, as message"
        )));
    }
    let parcel = match &read.order {
        Order::ReportNow { parcel } | Order::UpdatePreferences { parcel, .. } => parcel.clone(),
        Order::Recall { parcel } => Some(parcel.clone()),
        _ => None,
    };
    let name = payload.get("cmd").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut command = Command::new(read.id.to_string(), van, name, doc, shared.now());
    command.expires_at = read.expires;
    command.epc = match parcel {
        None => None,
        Some(number) => about(&shared, &number).await?,
    };
    let is_new = shared.store.put_command(&command).await?;
    let known = shared.store.command(&command.id).await?.ok_or_else(|| unknown(&command.id))?;
    if !is_new && (&known.van, &known.doc) != (&command.van, &command.doc) {
        return Err(Problem::conflict(format!(
            "id is {}: another command has it; leave id out, or write a new UUID",
            command.id
        )));
    }
    shared.downlink.notify_one();
    let place = [(header::LOCATION, format!("/api/v1/commands/{}", known.id))];
    Ok((StatusCode::ACCEPTED, place, Json(shown(&known))).into_response())
}

async fn about(shared: &Shared, number: &str) -> Result<Option<String>, Problem> {
    let domain = &shared.config.domain;
    let known = shared.store.parcels_called(number, domain).await?.into_iter().next();
    let named = known.map(|parcel| parcel.epc);
    Ok(named.or_else(|| epc::of_number(number, domain).into_iter().next()))
}

async fn given(
    _: Allowed<scope::Routes>,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let command = shared.store.command(&id).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(shown(&command)))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(64).collect();
    Problem::not_found(format!("no command {shown}: give it first"))
}

fn shown(command: &Command) -> Value {
    json!({
        "id": command.id,
        "van": command.van,
        "cmd": command.name,
        "status": command.status,
        "detail": command.detail,
        "made_at": command.made_at.to_string(),
        "sent_at": command.sent_at.map(|at| at.to_string()),
        "answered_at": command.answered_at.map(|at| at.to_string()),
        "expires_at": command.expires_at.map(|at| at.to_string()),
    })
}
