//! Integration tests of the whole crate, one file per subject.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[cfg(feature = "backend")]
mod alerts;
#[cfg(feature = "backend")]
mod api;
mod architecture;
#[cfg(feature = "backend")]
mod backend_config;
mod browser;
mod cli;
mod codes;
mod compact;
mod config_files;
mod contract;
mod control;
mod day;
mod delivery;
#[cfg(feature = "demo")]
mod demo;
mod drop_ins;
mod epcis;
mod fuzzed;
mod geofence;
mod golden;
mod hazards;
mod identity;
#[cfg(feature = "backend")]
mod ingest;
mod invariants;
#[cfg(feature = "backend")]
mod operated;
mod outbox_model;
mod package;
mod packed;
mod pages;
mod played;
mod real_world;
mod recipes;
mod recordings;
mod reload;
mod same_core;
mod schemas;
#[cfg(feature = "backend")]
mod store;
mod support;
mod tls;
#[cfg(feature = "backend")]
mod upstream;
mod ways;
mod why;
