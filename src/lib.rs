//! **waypost**, the tracking agent for delivery vans. It turns the bytes of a GNSS receiver into
//! fixes and track points, and keeps every record until the broker has acknowledged it.
//!
//! ```text
//!  receiver ── serial, tcp, gpsd, log ──┐
//!                                       ▼
//!  ① gnss_source bytes with the uptime at which they were read
//!     scanner    deduplicated codes and tags
//!                                       │ bounded channel
//!                                       ▼
//!  ② core        framing → sentence → epoch → fix → trip → track → record     sans-I/O
//!     engine     drives the core, forwards its records, schedules commits of the outbox
//!                       │                                   │
//!                       │ newest fix, conflated             │ records
//!                       │                                   ▼
//!  ③ outbox             │               SQLite: records stay until acknowledged
//!                       ▼                                   │ cursor
//!  ④ uplink      live position first          then events, then track, newest first
//!                       └─────────────────┬─────────────────┘
//!                                         ▼
//!                          MQTT 5 broker: a record is deleted on PUBACK
//!
//!     control     local socket: status queries and driver input
//! ```
//!
//! Rules for all modules:
//!
//! - **Data flows one way**, and so do dependencies. `tests/it/architecture.rs` enforces the order
//!   of the modules.
//! - **The core is pure.** The same bytes with the same times produce the same records, live and in
//!   a replay.
//! - **A lost receiver or connection is a state, not an error.** Both are reopened with capped
//!   backoff.
//! - **Shutdown is the end of the data.** A signal cancels only the sources; data already read are
//!   processed completely.
//! - **UTC comes from the receiver, durations from [`Uptime`](waypost_model::units::Uptime).** No record uses the
//!   host's clock.
//!
//! The backend (feature `backend`, program `waypost-backend`) shares `wire`, `units` and the
//! parsers of parcel numbers with the agent, and no other module.

// Foundations.
pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod doctor;
pub mod engine;
pub mod gnss_source;
pub mod metrics;
pub mod outbox;
pub mod replay;
pub mod scanner;
pub mod service_status;
mod transport;
pub mod uplink;
