//! [`TrackPoint`] → kept or not: which points of the trail are worth storing and sending.

use super::record::TrackPoint;

/// The policy of `[track] sampling`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sampling {
    /// Every accepted fix.
    #[default]
    Raw,
}

impl Sampling {
    /// Whether `point` is kept.
    #[must_use]
    pub const fn keeps(self, _point: &TrackPoint) -> bool {
        match self {
            Self::Raw => true,
        }
    }
}
