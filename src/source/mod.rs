//! ① IN: bytes, and the [`Uptime`] at which they were read.

pub mod log;

use crate::units::Uptime;

/// Bytes as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// At least one.
    pub bytes: Vec<u8>,
    /// When.
    pub at: Uptime,
}
