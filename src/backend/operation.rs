//! How the instance is → `/healthz` for whoever balances load, `/metrics` in `OpenMetrics` 1.0 for whoever watches.
//!
//! Neither says anything of a person: counts and states only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;

use super::Shared;
use super::api::{Allowed, Problem, scope};
use super::ingest::Counters;
use super::store::Statement;
use crate::openmetrics::{Families, MEDIA_TYPE};

/// A store that takes longer is no store that one sends customers to.
const STORE_WITHIN: Duration = Duration::from_secs(3);

/// Both paths; `counters` are those of the instance's consumer.
pub fn router(counters: Arc<Counters>) -> Router<Shared> {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .layer(Extension(counters))
}

#[derive(Serialize)]
struct Health {
    /// `ok`; `degraded`: customers are answered, and what vans say waits at the broker; or `down`.
    status: &'static str,
    store: &'static str,
    broker: &'static str,
    version: &'static str,
}

/// 200 while pages can be answered. A broker that is away, or a store that takes nothing, is said and is no reason to send
/// customers elsewhere.
async fn health(
    State(shared): State<Shared>,
    Extension(counters): Extension<Arc<Counters>>,
) -> Response {
    let asked = shared.store.read(Statement::new("SELECT 1", []));
    let store = matches!(tokio::time::timeout(STORE_WITHIN, asked).await, Ok(Ok(_)));
    let broker = counters.connected.load(Ordering::Relaxed);
    // A full disk can still be read.
    let refuses = counters.store_refuses.load(Ordering::Relaxed);
    let health = Health {
        status: match (store, broker && !refuses) {
            (true, true) => "ok",
            (true, false) => "degraded",
            (false, _) => "down",
        },
        store: match (store, refuses) {
            (true, false) => "answers",
            (true, true) => "takes nothing",
            (false, _) => "does not answer",
        },
        broker: if broker { "connected" } else { "not connected" },
        version: env!("CARGO_PKG_VERSION"),
    };
    let status = if store { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn metrics(
    _: Allowed<scope::Metrics>,
    State(shared): State<Shared>,
    Extension(counters): Extension<Arc<Counters>>,
) -> Result<impl IntoResponse, Problem> {
    let now = shared.now().as_unix_ms();
    let vans = shared
        .store
        .read(Statement::new(
            "SELECT COUNT(*), COUNT(CASE WHEN connection_state = 'online' THEN 1 END),
                    COUNT(CASE WHEN heard_at > $1 THEN 1 END) FROM van",
            [(now - 300_000).into()],
        ))
        .await?;
    let count = |column: usize| vans.first().map_or(0, |row| row.int(column));
    let mut families = Families::new("waypost_backend");
    families.gauge("vans", "Vans that were ever heard of.", count(0));
    families.gauge("vans_online", "Vans with a connection to the broker.", count(1));
    families.gauge("vans_heard_5m", "Vans of which something came within five minutes.", count(2));
    consumer(&mut families, &counters);
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], families.finish()))
}

fn consumer(families: &mut Families, counters: &Counters) {
    let connected = u8::from(counters.connected.load(Ordering::Relaxed));
    families.gauge("broker_connected", "Whether there is a connection to the broker.", connected);
    let waiting = counters.waiting.load(Ordering::Relaxed);
    families.gauge("messages_waiting", "Messages that came and are not stored yet.", waiting);
    for (name, counter, help) in [
        ("messages", &counters.messages, "Messages of vans, repeats included."),
        ("events", &counters.events, "Events that were new."),
        ("events_repeated", &counters.events_repeated, "Events that were there before."),
        ("points", &counters.points, "Points of trails that were new."),
        ("points_repeated", &counters.points_repeated, "Points that were there before."),
        (
            "other_domain",
            &counters.other_domain,
            "Events named with another domain than parcels.domain.",
        ),
        ("poison", &counters.poison, "Messages set aside with their reason."),
        ("poison_unkept", &counters.poison_unkept, "Such messages that were not kept: too many."),
        (
            "unkept",
            &counters.unkept,
            "Messages without QoS that came faster than the store takes them.",
        ),
        ("batches", &counters.batches, "Transactions of the consumer."),
        ("store_waits", &counters.store_waits, "Times that the store did not answer the consumer."),
        ("broker_connections", &counters.connections, "Connections made to the broker."),
    ] {
        families.counter(name, help, counter.load(Ordering::Relaxed));
    }
}
