//! Status of captures: `GET /epcis/v2/capture` and `GET /epcis/v2/capture/{id}` (EPCIS 2.0 §12.6.1).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::AppState;
use crate::http::{FieldError, Problem, QueryParams, RequireScope, scope};
use crate::integrations::query::{self, Paging};
use crate::store::capture_jobs::CaptureJob;
use waypost_model::units::UtcTime;

pub(super) async fn get_job(
    allowed: RequireScope<scope::Capture>,
    State(shared): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let found = shared.store.job(&id).await?.filter(|job| job.token_name == allowed.token_name);
    let job = found.ok_or_else(|| Problem::not_found("this token has no capture with this id"))?;
    let behaviour = job.behaviour.parse().expect("the behaviour is a valid header value");
    let headers = [(HeaderName::from_static("gs1-capture-error-behaviour"), behaviour)];
    let headers: [(HeaderName, HeaderValue); 1] = headers;
    Ok((headers, Json(job_json(&job))).into_response())
}

fn job_json(job: &CaptureJob) -> Value {
    let errors: Vec<FieldError> =
        job.errors.as_deref().and_then(|text| parse_faults(text).ok()).unwrap_or_default();
    let errors: Vec<Value> = errors
        .iter()
        .map(|fault| {
            json!({
                "type": "epcisException:ValidationException",
                "title": "Validation",
                "status": 400,
                "detail": format!("{} is {}: {}", fault.place, fault.value, fault.remedy),
                "place": fault.place,
                "value": fault.value,
                "remedy": fault.remedy,
            })
        })
        .collect();
    let mut shown = json!({
        "captureID": job.id,
        "createdAt": job.made_at.to_string(),
        "running": job.state == "running",
        "success": job.state != "errors",
        "captureErrorBehaviour": job.behaviour,
        "events": job.events,
        "errors": errors,
    });
    if let Some(at) = job.finished_at {
        shown["finishedAt"] = Value::from(at.to_string());
    }
    shown
}

fn parse_faults(text: &str) -> Result<Vec<FieldError>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Kept {
        place: String,
        value: String,
        remedy: String,
    }
    let kept: Vec<Kept> = serde_json::from_str(text)?;
    let fault = |Kept { place, value, remedy }| FieldError { place, value, remedy };
    Ok(kept.into_iter().map(fault).collect())
}

pub(super) async fn list_jobs(
    allowed: RequireScope<scope::Capture>,
    State(shared): State<AppState>,
    QueryParams(paging): QueryParams<Paging>,
) -> Result<Response, Problem> {
    let limit = query::per_page(paging.per_page)?;
    let before = match &paging.next {
        None => None,
        Some(token) => Some(
            token
                .split_once('.')
                .and_then(|(at, id)| Some((UtcTime::from_unix_ms(at.parse().ok()?)?, id)))
                .ok_or_else(query::invalid_page_token)?,
        ),
    };
    let mut jobs = shared.store.jobs(&allowed.token_name, before, limit + 1).await?;
    let next = query::cut_page(&mut jobs, limit).map(|last| {
        format!(
            "/epcis/v2/capture?perPage={limit}&nextPageToken={}.{}",
            last.made_at.as_unix_ms(),
            last.id
        )
    });
    let shown: Vec<Value> = jobs.iter().map(job_json).collect();
    Ok((query::next_link(next.as_deref()), Json(shown)).into_response())
}
