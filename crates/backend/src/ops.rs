//! Operational endpoints: `/healthz` for load balancers, `/metrics` in `OpenMetrics` 1.0.
//!
//! Both contain counts and states only, no personal data.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::sync::Mutex;

use super::AppState;
use super::http::{Problem, RequireScope, scope};
use super::ingest::Counters;
use super::instances::InstanceMonitor;
use super::store::Statement;
use super::store::instances::AbsentInstance;
use waypost_model::units::Uptime;
use waypost_service::openmetrics::{MEDIA_TYPE, MetricsWriter};

/// Minimum interval of the health check's query and change.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Timeout of the health check's query; a slower store counts as down.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);

/// Routes of both endpoints; `counters` are those of the instance's consumer.
pub fn router(counters: Arc<Counters>, instances: InstanceMonitor) -> Router<AppState> {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .layer(Extension(Arc::new(StoreProbe::default())))
        .layer(Extension(instances))
        .layer(Extension(counters))
}

/// A van counts as rejected for this time after its last rejected message.
const REJECTED_SINCE: Duration = Duration::from_hours(24);

/// Result of the last query and change, so that requests cannot cause more than one per second.
#[derive(Debug, Default)]
struct StoreProbe(Mutex<Option<(Uptime, StoreHealth)>>);

#[derive(Clone, Copy, Debug)]
struct StoreHealth {
    answers: bool,
    takes_changes: bool,
}

impl StoreProbe {
    async fn health(&self, shared: &AppState) -> StoreHealth {
        let mut last = self.0.lock().await;
        let now = shared.clock.uptime();
        if let Some((at, health)) = *last
            && now.since(at) < PROBE_INTERVAL
        {
            return health;
        }
        let read = shared.store.read(Statement::new("SELECT 1", []));
        let answers = matches!(tokio::time::timeout(STORE_TIMEOUT, read).await, Ok(Ok(_)));
        let put = "INSERT INTO setting (name, value) VALUES ('health_check', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let put = Statement::new(put, [shared.now().to_string().into()]);
        let takes_changes = answers
            && matches!(
                tokio::time::timeout(STORE_TIMEOUT, shared.store.write(vec![put])).await,
                Ok(Ok(_))
            );
        let health = StoreHealth { answers, takes_changes };
        *last = Some((shared.clock.uptime(), health));
        health
    }
}

#[derive(Serialize)]
struct Health {
    /// `ok`; `degraded`: pages work, and van messages wait; or `down`.
    status: &'static str,
    store: &'static str,
    broker: &'static str,
    /// `plausible`, or why it is not: then expired data are kept, and messages may wait at the
    /// broker.
    clock: String,
    /// Tables that another session has locked against changes, as CREATE INDEX does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locked_tables: Vec<String>,
    /// Instances without a heartbeat; messages may wait in their sessions at the broker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instances_absent: Vec<AbsentInstance>,
    version: &'static str,
}

/// Responds with 200 while pages can be served. A lost broker connection, a read-only store or an
/// absent instance is reported, but is no reason to redirect recipients.
async fn health(
    State(shared): State<AppState>,
    Extension(counters): Extension<Arc<Counters>>,
    Extension(instances): Extension<InstanceMonitor>,
    Extension(probe): Extension<Arc<StoreProbe>>,
) -> Response {
    let store = probe.health(&shared).await;
    let broker = counters.connected.load(Ordering::Relaxed);
    // A store with a full disk remains readable, and other tables remain writable if one is locked.
    let refuses = counters.store_unavailable.load(Ordering::Relaxed) || !store.takes_changes;
    let clock = clock_problem(&shared, &counters).await;
    let (locked_tables, instances_absent) = (instances.locked_tables(), instances.absent());
    let is_well = broker
        && !refuses
        && clock.is_none()
        && locked_tables.is_empty()
        && instances_absent.is_empty();
    let health = Health {
        status: match (store.answers, is_well) {
            (true, true) => "ok",
            (true, false) => "degraded",
            (false, _) => "down",
        },
        store: match (store.answers, refuses) {
            (true, false) => "answers",
            (true, true) => "takes nothing",
            (false, _) => "does not answer",
        },
        broker: if broker { "connected" } else { "not connected" },
        clock: clock.unwrap_or_else(|| "plausible".to_owned()),
        locked_tables,
        instances_absent,
        version: env!("CARGO_PKG_VERSION"),
    };
    let status = if store.answers { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// Why the time is not plausible, by the traffic and by the store.
async fn clock_problem(shared: &AppState, counters: &Counters) -> Option<String> {
    if counters.clock_doubtful.load(Ordering::Relaxed) {
        return Some(
            "the times of all vans differ from ours; set the clock of this host".to_owned(),
        );
    }
    let asked = shared.store.check_clock(shared.now());
    let problem = tokio::time::timeout(STORE_TIMEOUT, asked).await.ok()?.ok()??;
    Some(problem.to_string())
}

async fn metrics(
    _: RequireScope<scope::Metrics>,
    State(shared): State<AppState>,
    Extension(counters): Extension<Arc<Counters>>,
    Extension(instances): Extension<InstanceMonitor>,
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
    let mut families = MetricsWriter::new("waypost_backend");
    families.gauge("vans", "Known vans.", count(0));
    families.gauge("vans_online", "Vans connected to the broker.", count(1));
    families.gauge("vans_heard_5m", "Vans with a message in the last five minutes.", count(2));
    let since = shared.now().checked_sub(REJECTED_SINCE).unwrap_or(shared.now());
    let rejected = shared.store.rejected_vans(since).await?.len();
    families.gauge("vans_rejected", "Vans with rejected messages in the last day.", rejected);
    let absent = instances.absent();
    families.gauge("instances_running", "Instances with a recent heartbeat.", instances.running());
    families.gauge("instances_absent", "Registered instances without a heartbeat.", absent.len());
    let missing: u64 = absent.iter().map(|instance| instance.events_missing).sum();
    families.gauge(
        "instances_absent_events",
        "Events provably missing since the last heartbeat of absent instances.",
        missing,
    );
    let locked = instances.locked_tables().len();
    families.gauge("database_tables_locked", "Tables locked against changes.", locked);
    consumer_metrics(&mut families, &counters);
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], families.finish()))
}

fn consumer_metrics(families: &mut MetricsWriter, counters: &Counters) {
    let connected = u8::from(counters.connected.load(Ordering::Relaxed));
    families.gauge("broker_connected", "1 if connected to the broker.", connected);
    let waiting = counters.messages_queued.load(Ordering::Relaxed);
    families.gauge("messages_waiting", "Received messages that are not stored yet.", waiting);
    for (name, counter, help) in [
        ("messages", &counters.messages, "Messages from vans, including duplicates."),
        ("events", &counters.events, "New events."),
        ("events_repeated", &counters.events_repeated, "Duplicate events."),
        ("points", &counters.points, "New track points."),
        ("points_repeated", &counters.points_repeated, "Duplicate track points."),
        (
            "other_domain",
            &counters.domain_mismatches,
            "Events with a domain other than parcels.domain.",
        ),
        ("poison", &counters.dead_letters, "Messages stored as dead letters."),
        (
            "poison_unkept",
            &counters.dead_letters_dropped,
            "Dead letters dropped by the rate limit.",
        ),
        (
            "unkept",
            &counters.messages_dropped,
            "QoS 0 messages dropped because the store was too slow.",
        ),
        ("batches", &counters.batches, "Consumer transactions."),
        (
            "store_waits",
            &counters.store_retries,
            "Consumer transactions retried because the store was unavailable.",
        ),
        ("broker_connections", &counters.connections, "Connections established to the broker."),
    ] {
        families.counter(name, help, counter.load(Ordering::Relaxed));
    }
}
