//! HTTP API for recipients and dispatchers: JSON and server-sent events.
//!
//! ```text
//! serve     connections: TLS, limits, graceful shutdown
//! auth      tokens with scopes, dispatcher sessions
//! customer  number and postcode → link → page, stream
//! desk      vans, history, traces, stream
//! ```
//!
//! - **Personal data is not cached**: every response has `no-store` unless its handler overrides
//!   it.
//! - **Cross-origin access is impossible**: there is no CORS, and changes by session need proof of
//!   the same origin.
//! - Errors are `application/problem+json` (RFC 9457).

mod audit_log;
pub mod auth;
pub mod client_address;
pub mod connection_limit;
mod dispatcher;
mod fleet_feed;
pub mod middleware;
pub mod problem;
pub mod rate_limit;
mod recipient;
pub mod server;
pub mod session;
mod sse;
pub mod tls;
mod tracking_feed;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};

use self::audit_log::AuditLog;
pub use self::auth::{RequireScope, scope};
pub use self::client_address::ClientAddress;
use self::connection_limit::ConnectionLimiter;
use self::fleet_feed::FleetFeed;
pub use self::problem::{FieldError, JsonBody, Problem, QueryParams};
use self::rate_limit::{Quota, RateLimiter};
pub use self::server::{ShutdownToken, serve};
use self::tracking_feed::TrackingFeed;
use crate::AppState;

/// Quota of lookups per client address.
const LOOKUP_QUOTA: Quota = Quota { burst: 20, interval: Duration::from_secs(6) };

/// Quota of failed lookups over all client addresses: a brake on guessing from many addresses at
/// once. The links of parcels keep working.
const FAILED_LOOKUP_QUOTA: Quota = Quota { burst: 1000, interval: Duration::from_millis(200) };

/// Quota of wrong postcodes per number. It makes guessing infeasible; the link of the parcel keeps
/// working.
const POSTCODE_QUOTA: Quota = Quota { burst: 6, interval: Duration::from_hours(1) };

/// Quota of changes per tracking page: delivery preferences and subscriptions.
const CHANGE_QUOTA: Quota = Quota { burst: 10, interval: Duration::from_mins(1) };

/// Quota of confirmation mails per address over all parcels, against mail to strangers.
const CONFIRMATION_QUOTA: Quota = Quota { burst: 3, interval: Duration::from_hours(8) };

/// Quota of login attempts per client address.
const LOGIN_QUOTA: Quota = Quota { burst: 10, interval: Duration::from_secs(10) };

/// Maximum number of keys per rate limiter, 50 bytes each.
const MAX_TRACKED_KEYS: usize = 50_000;

/// Maximum number of concurrent streams.
const MAX_STREAMS: usize = 6000;

/// Maximum number of concurrent streams per client address, which many users may share.
const MAX_STREAMS_PER_CLIENT: usize = 60;

/// State of the API beside [`Shared`]: rate limiters, audit log and feeds.
#[derive(Debug)]
struct ApiState {
    lookups: RateLimiter<ClientAddress>,
    failed_lookups: RateLimiter<()>,
    /// Whether `failed_lookups` refuses at present.
    brake_on: AtomicBool,
    postcode_failures: RateLimiter<[u8; 16]>,
    page_changes: RateLimiter<[u8; 16]>,
    confirmations: RateLimiter<[u8; 16]>,
    logins: RateLimiter<ClientAddress>,
    streams: ConnectionLimiter,
    audit_log: AuditLog,
    tracking_feed: Arc<TrackingFeed>,
    fleet_feed: Arc<FleetFeed>,
}

impl ApiState {
    fn new() -> Self {
        Self {
            lookups: RateLimiter::new(LOOKUP_QUOTA, MAX_TRACKED_KEYS),
            failed_lookups: RateLimiter::new(FAILED_LOOKUP_QUOTA, 1),
            brake_on: AtomicBool::new(false),
            postcode_failures: RateLimiter::new(POSTCODE_QUOTA, MAX_TRACKED_KEYS),
            page_changes: RateLimiter::new(CHANGE_QUOTA, MAX_TRACKED_KEYS),
            confirmations: RateLimiter::new(CONFIRMATION_QUOTA, MAX_TRACKED_KEYS),
            logins: RateLimiter::new(LOGIN_QUOTA, MAX_TRACKED_KEYS),
            streams: ConnectionLimiter::new(MAX_STREAMS, MAX_STREAMS_PER_CLIENT),
            audit_log: AuditLog::default(),
            tracking_feed: Arc::default(),
            fleet_feed: Arc::default(),
        }
    }
}

/// Returns the routes of the API. Each call creates its own rate limiters, so call it once.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", post(recipient::lookup_form))
        .route("/api/v1/track", post(recipient::lookup))
        .route("/api/v1/track/{token}", get(recipient::page))
        .route("/api/v1/track/{token}/live", get(recipient::stream))
        .route("/api/v1/track/{token}/wish", put(recipient::set_preferences))
        .route("/api/v1/track/{token}/alerts", post(recipient::subscribe))
        .route("/api/v1/track/{token}/alerts/{id}", delete(recipient::unsubscribe))
        .route("/api/v1/track/{token}/alerts/{id}/secret", post(recipient::rotate_secret))
        .route("/api/v1/pages", get(recipient::branding))
        .route("/api/v1/session", post(dispatcher::log_in).delete(dispatcher::log_out))
        .route("/api/v1/vans", get(dispatcher::vans))
        .route("/api/v1/vans/live", get(dispatcher::stream))
        .route("/api/v1/vans/{van}", get(dispatcher::van))
        .route("/api/v1/vans/{van}/day", get(dispatcher::day))
        .route("/api/v1/trace/{number}", get(dispatcher::trace))
        .route("/api/v1/trace/{number}/case", put(dispatcher::case))
        .route("/api/v1/instances", get(dispatcher::instances))
        .route("/api/v1/poison", get(dispatcher::dead_letters))
        .route("/api/v1/poison/{n}", delete(dispatcher::drop_dead_letter))
        .route("/api/v1/poison/{n}/retry", post(dispatcher::retry_dead_letter))
        .route("/api/v1/audit", get(dispatcher::audit))
        .layer(Extension(Arc::new(ApiState::new())))
}
