//! ② THINK: bytes and time in, records out. Pure: no IO, no clock, no tokio, no random numbers.

pub mod fix;
pub mod journey;
pub mod record;
