//! Events of a named query as server-sent events, as they are captured.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;

use super::super::query;
use super::delivery::{next_events, position};
use crate::AppState;
use crate::http::{Problem, ShutdownToken};
use crate::store::epcis_queries::NamedQuery;

/// Interval of looking for new events.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Interval of keep-alive comments, shorter than the idle timeout of common proxies.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

struct State {
    shared: AppState,
    query: NamedQuery,
    after: (i64, i64),
    stopping: Option<ShutdownToken>,
    _permit: OwnedSemaphorePermit,
}

/// Opens a stream of new events, or of those after `Last-Event-ID`. It ends at shutdown, and if the
/// store is unavailable; the client then continues with the id of its last event.
pub(super) fn open(
    shared: AppState,
    query: NamedQuery,
    headers: &HeaderMap,
    stopping: Option<ShutdownToken>,
    permit: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let after = match headers.get("last-event-id") {
        None => (shared.now().as_unix_ms(), 0),
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.split_once('.'))
            .and_then(|(at, n)| Some((at.parse().ok()?, n.parse().ok()?)))
            .ok_or_else(|| Problem::bad_request("Last-Event-ID: send the id of an event"))?,
    };
    let state = State { shared, query, after, stopping, _permit: permit };
    let stream = unfold(state, async |mut state| {
        let event = next(&mut state).await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    let mut response =
        Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response();
    // Disables response buffering in nginx, which would delay events.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Waits for the next events; `None` ends the stream.
async fn next(state: &mut State) -> Option<SseEvent> {
    loop {
        let events = next_events(&state.shared, &state.query.doc, state.after).await.ok()?;
        if let Some(last) = events.last() {
            state.after = position(last);
            let document = query::query_document(&state.shared, &events, &state.query.name, None);
            let id = format!("{}.{}", state.after.0, state.after.1);
            return Some(SseEvent::default().event("epcis").id(id).data(document.to_string()));
        }
        match &state.stopping {
            Some(ShutdownToken(stop)) => tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            },
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
