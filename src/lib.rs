//! waypost: the tracking agent for delivery vans.

pub mod clock;
pub mod units;

pub mod core;
pub mod wire;

pub mod outbox;
pub mod relay;
