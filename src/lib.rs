//! waypost: the tracking agent for delivery vans.

pub mod clock;
pub mod units;

pub mod core;
pub mod replay;
pub mod source;
pub mod wire;
