//! Whether the van moves, and the state of trip detection that a restart needs.

use serde::{Deserialize, Serialize};

use crate::units::{Distance, Position, UtcTime};

/// Motion state of the van.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Motion {
    /// Not enough fixes yet.
    #[default]
    Unknown,
    /// Driving.
    Moving,
    /// Stationary for at least the dwell time.
    Halted,
}

/// State that survives a restart. It is stored in the same transaction as its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripState {
    pub motion: Motion,
    /// Total distance driven.
    pub odometer: Distance,
    /// Time and position up to which the odometer has counted. For a halted van this is the anchor.
    pub counted: Option<(UtcTime, Position)>,
}
