//! Promises of the whole crate, one file for each kind.

mod architecture;
mod cli;
mod config_files;
mod contract;
mod delivery;
mod golden;
mod invariants;
mod real_world;
mod recordings;
mod same_core;
mod support;
