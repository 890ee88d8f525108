//! waypost: the tracking agent for delivery vans.

pub mod backoff;
pub mod clock;
pub mod units;

pub mod core;
pub mod source;
pub mod wire;

pub mod outbox;

pub mod relay;

pub mod engine;

pub mod cli;
pub mod config;
pub mod daemon;
pub mod logging;
pub mod replay;
#[cfg(feature = "simulate")]
pub mod simulate;
