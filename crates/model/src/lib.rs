//! Data types that the waypost agent and backend share. No I/O, no clock, no randomness.

pub mod command;
pub mod driver_input;
pub mod duty;
pub mod event;
pub mod fix;
pub mod manifest;
pub mod motion;
pub mod parcel;
pub mod record;
pub mod road;
pub mod units;
