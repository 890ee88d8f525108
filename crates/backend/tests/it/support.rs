//! Helpers of the backend's tests.

#[path = "../../../../tests/support/backend.rs"]
pub(crate) mod backend;
#[path = "../../../../tests/support/certs.rs"]
pub(crate) mod certs;
#[path = "../../../../tests/support/common.rs"]
mod common;
#[path = "../../../../tests/support/postgres.rs"]
pub(crate) mod postgres;
#[path = "../../../../tests/support/schema.rs"]
pub(crate) mod schema;
#[path = "../../../../tests/support/simulated_day.rs"]
pub(crate) mod simulated_day;
#[path = "../../../../tests/support/smtp_server.rs"]
pub(crate) mod smtp_server;
#[path = "../../../../tests/support/van.rs"]
pub(crate) mod van;

use std::process::Command;

pub(crate) use common::*;

/// The agent, for tests with a van.
pub(crate) fn agent() -> Command {
    Command::new(program("waypost"))
}
