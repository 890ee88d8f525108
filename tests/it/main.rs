//! Tests of the agent, in the feature set of its package when built with `cargo test -p waypost`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod architecture;
mod cli;
mod compact;
mod config_files;
mod control;
mod day;
mod delivery;
mod doctor;
mod drop_ins;
mod epcis;
mod fuzzed;
mod geofence;
mod golden;
mod identify;
mod identity;
mod invariants;
mod outbox_model;
mod packed;
mod real_world;
mod recipes;
mod recordings;
mod reload;
mod reports;
mod same_core;
mod schemas;
mod simulated_day;
mod speed_noise;
mod support;
mod tls;
mod transports;
