//! Helpers of the system tests.

#[path = "../support/backend.rs"]
pub(crate) mod backend;
#[path = "../support/common.rs"]
mod common;
#[path = "../support/postgres.rs"]
pub(crate) mod postgres;
#[path = "../support/smtp_server.rs"]
pub(crate) mod smtp_server;
#[path = "../support/van.rs"]
pub(crate) mod van;
#[path = "../support/webdriver.rs"]
pub(crate) mod webdriver;

use std::process::Command;

pub(crate) use common::*;

/// The agent.
pub(crate) fn agent() -> Command {
    Command::new(program("waypost"))
}
