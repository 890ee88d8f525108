//! Helpers of the agent's tests.

#[path = "../support/broker.rs"]
pub(crate) mod broker;
#[path = "../support/certs.rs"]
pub(crate) mod certs;
#[path = "../support/common.rs"]
mod common;
#[path = "../support/event_samples.rs"]
pub(crate) mod event_samples;
#[path = "../support/schema.rs"]
pub(crate) mod schema;
#[path = "../support/simulated_day.rs"]
pub(crate) mod simulated_day;
#[path = "../support/van.rs"]
pub(crate) mod van;

use std::process::Command;

pub(crate) use common::*;

/// The binary that cargo built for these tests.
pub(crate) const WAYPOST: &str = env!("CARGO_BIN_EXE_waypost");

/// The agent under test.
pub(crate) fn agent() -> Command {
    Command::new(WAYPOST)
}
