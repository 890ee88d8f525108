//! Commands to vans: `POST /api/v1/vans/{van}/commands` creates one, `GET /api/v1/commands/{id}`
//! returns its status.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use crate::http::{JsonBody, Problem, RequireScope, scope};
use crate::store::commands::Command;
use crate::{AppState, epc, octets, queries};
use waypost_model::command::CommandKind;
use waypost_wire::command::{self, CommandError, ParsedCommand};
use waypost_wire::{VERSION, VanId};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/vans/{van}/commands", post(create_command))
        .route("/api/v1/commands/{id}", get(get_command))
        .layer(DefaultBodyLimit::max(2 * command::MAX_BYTES))
}

/// Creates a command. The body is the payload of `command` (docs/mqtt-contract.md); a missing `id` is
/// generated, a missing `v` is 1.
async fn create_command(
    _: RequireScope<scope::Routes>,
    State(shared): State<AppState>,
    Path(van): Path<String>,
    JsonBody(mut payload): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    VanId::new(&van).map_err(|error| Problem::bad_request(format!("van: {error}")))?;
    payload.entry("v").or_insert_with(|| VERSION.into());
    payload.entry("id").or_insert_with(|| octets::random_uuid().into());
    let doc = Value::Object(payload.clone()).to_string();
    let read = command::parse(doc.as_bytes()).map_err(|refusal| {
        Problem::bad_request(match refusal {
            CommandError::Unanswerable(detail) => format!("the command: {detail}"),
            CommandError::Rejected { detail, .. } => detail,
        })
    })?;
    let ParsedCommand { command: read, unknown } = read;
    if let CommandKind::Unsupported { name } = &read.kind {
        return Err(Problem::bad_request(format!(
            "cmd is {name}: write a command of docs/mqtt-contract.md, for example show_message"
        )));
    }
    // A van ignores members that it does not know. Here, a misspelt one would change the meaning.
    if let Some(name) = unknown.first() {
        return Err(Problem::bad_request(format!(
            "{name}: not a member of {}; see docs/mqtt-contract.md for its arguments",
            payload.get("cmd").and_then(Value::as_str).unwrap_or_default()
        )));
    }
    let parcel = match &read.kind {
        CommandKind::ReportNow { parcel } | CommandKind::SetPreferences { parcel, .. } => {
            parcel.clone()
        }
        CommandKind::RecallParcel { parcel } => Some(parcel.clone()),
        _ => None,
    };
    let name = payload.get("cmd").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut command = Command::new(read.id.to_string(), van, name, doc, shared.now());
    command.expires_at = read.expires;
    command.epc = match parcel {
        None => None,
        Some(number) => resolve_epc(&shared, &number).await?,
    };
    let is_new = shared.store.put_command(&command).await?;
    let known = shared.store.command(&command.id).await?.ok_or_else(|| not_found(&command.id))?;
    if !is_new && (&known.van, &known.doc) != (&command.van, &command.doc) {
        return Err(Problem::conflict(format!(
            "id is {}: used by a different command; omit id, or send a new UUID",
            command.id
        )));
    }
    shared.downlink.notify_one();
    let place = [(header::LOCATION, format!("/api/v1/commands/{}", known.id))];
    Ok((StatusCode::ACCEPTED, place, Json(command_json(&known))).into_response())
}

async fn resolve_epc(shared: &AppState, number: &str) -> Result<Option<String>, Problem> {
    let domain = &shared.config.domain;
    let mut found = shared.store.find_parcels(number, domain).await?;
    // The van knows the number as its manifest has it.
    found.sort_by_key(|parcel| parcel.number != *number);
    let exact = found.iter().filter(|parcel| parcel.number == *number).count();
    if found.len() > 1 && exact != 1 {
        return Err(Problem::conflict(queries::ambiguous_number(&found)));
    }
    let named = found.into_iter().next().map(|parcel| parcel.epc);
    Ok(named.or_else(|| epc::uris_for_number(number, domain).into_iter().next()))
}

async fn get_command(
    _: RequireScope<scope::Routes>,
    State(shared): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let command = shared.store.command(&id).await?.ok_or_else(|| not_found(&id))?;
    Ok(Json(command_json(&command)))
}

fn not_found(id: &str) -> Problem {
    let shown: String = id.chars().take(64).collect();
    Problem::not_found(format!("no command {shown}: create it first"))
}

fn command_json(command: &Command) -> Value {
    json!({
        "id": command.id,
        "van": command.van,
        "cmd": command.name,
        "status": command.status,
        "code": command.code,
        "detail": command.detail,
        "made_at": command.made_at.to_string(),
        "sent_at": command.sent_at.map(|at| at.to_string()),
        "answered_at": command.answered_at.map(|at| at.to_string()),
        "expires_at": command.expires_at.map(|at| at.to_string()),
    })
}
