//! A series of documents → server-sent events that end when the instance stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;

use super::places::Place;
use super::serve::Stopping;

/// A comment goes out so often that no proxy takes the connection for dead.
const ALIVE: Duration = Duration::from_secs(15);

/// A browser that lost the connection waits so long before it comes back.
const AGAIN: Duration = Duration::from_secs(2);

/// What is sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event of this name with a document.
    Event(&'static str, Arc<str>),
    /// A last event without a document.
    Last(&'static str),
    /// Nothing will come any more.
    End,
}

/// Something that gives documents one after the other.
pub(super) trait Series: Send + 'static {
    /// Waits for the next.
    fn next(&mut self) -> impl Future<Output = Next> + Send;
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Going,
    Ended,
}

/// Sends a series as long as the client listens. The place is free when it has ended.
pub(super) fn events<S: Series>(series: S, stopping: Option<Stopping>, place: Place) -> Response {
    let begin = (series, stopping, place, Stage::New);
    let stream = unfold(begin, async |(mut series, stopping, place, stage)| {
        if stage == Stage::Ended {
            return None;
        }
        let next = tokio::select! {
            next = series.next() => next,
            () = stopped(stopping.as_ref()) => Next::End,
        };
        let (event, then) = match next {
            Next::Event(name, document) => {
                (Event::default().event(name).data(&*document), Stage::Going)
            }
            Next::Last(name) => (Event::default().event(name).data("{}"), Stage::Ended),
            Next::End => return None,
        };
        let event = if stage == Stage::New { event.retry(AGAIN) } else { event };
        Some((Ok::<_, Infallible>(event), (series, stopping, place, then)))
    });
    let mut response =
        Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)).into_response();
    // A proxy that gathers answers before it passes them on would hold the van back (nginx).
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    response
}

async fn stopped(stopping: Option<&Stopping>) {
    match stopping {
        Some(Stopping(stop)) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}
