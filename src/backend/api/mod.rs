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
pub mod problem;
pub mod rate;
pub mod serve;
pub mod session;
pub mod shell;
pub mod tls;

pub use self::auth::{Allowed, scope};
pub use self::client::ClientAddress;
pub use self::problem::{Body, Fault, Problem, Query};
