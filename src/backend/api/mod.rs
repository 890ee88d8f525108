//! HTTP → what a customer and a dispatcher may see, as JSON and as server-sent events.
//!
//! ```text
//! serve     connections: TLS, limits, the graceful end
//! auth      who asks: tokens with scopes, the desk's session
//! customer  number and postcode → link → page, live          desk   vans, days, traces, live
//! ```
//!
//! - **Nothing of a person is cached**: every answer says `no-store` unless its own part says otherwise.
//! - **Pages of other origins may read nothing**: there is no CORS, and a session's changes need a sign of our own pages.
//! - What is refused is an `application/problem+json` (RFC 9457).

pub mod auth;
pub mod client;
mod customer;
mod desk;
mod fleet;
mod looks;
pub mod places;
pub mod problem;
pub mod rate;
pub mod serve;
pub mod session;
pub mod shell;
mod stream;
pub mod tls;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};

pub use self::auth::{Allowed, scope};
pub use self::client::ClientAddress;
use self::fleet::Fleet;
use self::looks::Looks;
use self::places::Places;
pub use self::problem::{Body, Fault, Problem, Query};
use self::rate::{Buckets, Rate};
pub use self::serve::{Stopping, serve};
use self::watched::Watched;
use crate::backend::Shared;

/// Asking by number and postcode: of one address.
const ASKED: Rate = Rate { burst: 20, every: Duration::from_secs(6) };

/// Wrong postcodes of one number: what is left to guess is not worth the wait, and the link of the parcel goes on working.
const WRONG: Rate = Rate { burst: 6, every: Duration::from_hours(1) };

/// Changes of one page: wishes, addresses to be told at.
const CHANGED: Rate = Rate { burst: 10, every: Duration::from_mins(1) };

/// Tokens that are tried for a session: of one address.
const TRIED: Rate = Rate { burst: 10, every: Duration::from_secs(10) };

/// Keys that are remembered of each; 50 bytes each.
const REMEMBERED: usize = 50_000;

/// Streams at a time.
const STREAMS: usize = 6000;

/// Of them those of one address: many people may be behind one.
const STREAMS_OF_ONE: usize = 60;

/// What the parts of this API share beside [`Shared`].
#[derive(Debug)]
struct Counter {
    asked: Buckets<ClientAddress>,
    wrong: Buckets<[u8; 16]>,
    changed: Buckets<[u8; 16]>,
    tried: Buckets<ClientAddress>,
    streams: Places,
    looks: Looks,
    watched: Arc<Watched>,
    fleet: Arc<Fleet>,
}

impl Counter {
    fn new() -> Self {
        Self {
            asked: Buckets::new(ASKED, REMEMBERED),
            wrong: Buckets::new(WRONG, REMEMBERED),
            changed: Buckets::new(CHANGED, REMEMBERED),
            tried: Buckets::new(TRIED, REMEMBERED),
            streams: Places::new(STREAMS, STREAMS_OF_ONE),
            looks: Looks::default(),
            watched: Arc::default(),
            fleet: Arc::default(),
        }
    }
}

/// The customer's and the dispatcher's paths. What it remembers of who asks is its own: call it once.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/", post(customer::form))
        .route("/api/v1/track", post(customer::ask))
        .route("/api/v1/track/{token}", get(customer::page))
        .route("/api/v1/track/{token}/live", get(customer::live))
        .route("/api/v1/track/{token}/wish", put(customer::wish))
        .route("/api/v1/track/{token}/alerts", post(customer::subscribe))
        .route("/api/v1/track/{token}/alerts/{id}", delete(customer::unsubscribe))
        .route("/api/v1/pages", get(customer::pages))
        .route("/api/v1/session", post(desk::log_in).delete(desk::log_out))
        .route("/api/v1/vans", get(desk::vans))
        .route("/api/v1/vans/live", get(desk::live))
        .route("/api/v1/vans/{van}", get(desk::van))
        .route("/api/v1/vans/{van}/day", get(desk::day))
        .route("/api/v1/trace/{number}", get(desk::trace))
        .route("/api/v1/trace/{number}/case", put(desk::case))
        .route("/api/v1/poison", get(desk::poison))
        .route("/api/v1/audit", get(desk::audit))
        .layer(Extension(Arc::new(Counter::new())))
}
