//! **waypost**, the tracking agent for delivery vans: what a receiver says becomes fixes, fixes become records, and
//! no record is forgotten before the broker has it.
//!
//! ```text
//!  receiver ── serial, tcp, gpsd, log ──┐
//!                                       ▼
//!  ① source      bytes, and the Uptime at which they were read
//!     scanner     codes and tags, each once
//!                                       │ bounded channel
//!                                       ▼
//!  ② core        framing → sentence → epoch → fix → journey → sampling → record     pure: time is an argument
//!     engine     drives the core; hands on its records at once, and says when the outbox commits
//!                       │                                   │
//!                       │ newest fix, conflated             │ records
//!                       │                                   ▼
//!  ③ outbox             │               SQLite: what was accepted stays until it has arrived
//!                       ▼                                   │ cursor
//!  ④ relay       live lane first: position       then events, then track, fresh first
//!                       └─────────────────┬─────────────────┘
//!                                         ▼
//!                          MQTT 5 broker: a record leaves on PUBACK
//!
//!     control     people on this host ask how the agent is, and tell it what only they know
//! ```
//!
//! Rules that hold everywhere:
//!
//! - **Data flows one way**, and so do dependencies: a module uses what stands above it in the list below. A test
//!   (`tests/it/architecture.rs`) holds the code against this.
//! - **The core is pure.** The same bytes with the same times give the same records, live and in a replay.
//! - **A receiver or link that is gone is a state, not an error.** Both come back by themselves, with capped backoff.
//! - **Stopping is the end of the data.** A signal cancels only the sources; what they gave goes through to the end.
//! - **UTC comes from the receiver, durations from [`Uptime`](units::Uptime).** The host's clock is in no record.
//!
//! The other end of the wire is `backend` (feature `backend`, program `waypost-backend`): it shares [`wire`], [`units`] and
//! what reads numbers with the agent, and nothing else of this.

// What everything stands on.
pub mod units;

pub mod backoff;
pub mod clock;
pub mod notify;
pub mod pem;
mod port;
pub mod rollcall;
pub mod tasks;

pub mod openmetrics;
pub mod settings;

// The data flow.
pub mod core;
pub mod wire;

pub mod scanner;

pub mod source;

pub mod outbox;

pub mod relay;

pub mod control;

pub mod engine;

// The frame around it.
pub mod code;
pub mod config;
pub mod daemon;
pub mod decode;
pub mod logging;
pub mod metrics;
pub mod replay;
pub mod systemd;
pub mod why;

#[cfg(feature = "simulate")]
pub mod simulate;

#[cfg(feature = "backend")]
pub mod backend;

#[cfg(feature = "demo")]
pub mod demo;

pub mod cli;
mod exit;
