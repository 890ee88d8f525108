//! Server-sent events from an event source, closed at shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;

use super::connection_limit::Permit;
use super::server::ShutdownToken;

/// Interval of keep-alive comments, shorter than the idle timeout of common proxies.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Reconnect delay for browsers.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Next item of an event source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SseItem {
    /// An event with a JSON document.
    Event(&'static str, Arc<str>),
    /// The final event, without a document.
    Last(&'static str),
    /// The source has ended.
    End,
}

/// A source of events for one client.
pub(super) trait EventSource: Send + 'static {
    /// Waits for the next item.
    fn next(&mut self) -> impl Future<Output = SseItem> + Send;
}

/// State of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    New,
    Open,
    Closed,
}

/// Streams events until the client disconnects. The permit is released at the end.
pub(super) fn event_stream<S: EventSource>(
    series: S,
    stopping: Option<ShutdownToken>,
    place: Permit,
) -> Response {
    let begin = (series, stopping, place, StreamState::New);
    let stream = unfold(begin, async |(mut series, stopping, place, stage)| {
        if stage == StreamState::Closed {
            return None;
        }
        let next = tokio::select! {
            next = series.next() => next,
            () = shutdown_requested(stopping.as_ref()) => SseItem::End,
        };
        let (event, then) = match next {
            SseItem::Event(name, document) => {
                (Event::default().event(name).data(&*document), StreamState::Open)
            }
            SseItem::Last(name) => (Event::default().event(name).data("{}"), StreamState::Closed),
            SseItem::End => return None,
        };
        let event = if stage == StreamState::New { event.retry(RETRY_DELAY) } else { event };
        Some((Ok::<_, Infallible>(event), (series, stopping, place, then)))
    });
    let mut response =
        Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response();
    // Disables response buffering in nginx, which would delay events.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    response
}

async fn shutdown_requested(stopping: Option<&ShutdownToken>) {
    match stopping {
        Some(ShutdownToken(stop)) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}
