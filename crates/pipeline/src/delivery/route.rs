//! State of the route: position relative to the station and the stops, and totals for the summary.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::geofence::{Standstill, StopVisit};
use waypost_model::driver_input::Delay;
use waypost_model::units::{Distance, UtcTime};

/// Phase of the route, relative to the station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Before the first departure.
    #[default]
    Fresh,
    /// After a departure.
    Out,
    /// After a return.
    Back,
}

/// State of the route, persisted as the state document `route`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RouteState {
    pub(super) phase: Phase,
    /// Current standstill, at a stop or elsewhere. Not persisted, because it changes often in a
    /// jam.
    #[serde(skip)]
    pub(super) standstill: Option<Standstill>,
    /// Current standstill if it is at the station or a stop. Persisted, so that a power cut does
    /// not lose the arrival.
    pub(super) standstill_at_fence: Option<Standstill>,
    /// Current stop.
    pub(super) visit: Option<StopVisit>,
    /// Time and odometer at the first fix outside the station.
    pub(super) outside_since: Option<(UtcTime, Distance)>,
    /// Time and odometer when the van last started moving at the station.
    pub(super) drove_off: Option<(UtcTime, Distance)>,
    /// Time of the return.
    pub(super) back_since: Option<UtcTime>,
    /// Time of the first departure.
    pub(super) departed: Option<UtcTime>,
    /// Time and odometer at the departure, until the return.
    pub(super) left: Option<(UtcTime, Distance)>,
    /// Whether the route's end was reported since the last departure.
    pub(super) completion: CompletionState,
    /// Start of the current standstill away from station and stops.
    pub(super) idle_since: Option<UtcTime>,
    pub(super) duration: Duration,
    pub(super) distance: Distance,
    pub(super) dwell: Duration,
    pub(super) idle: Duration,
    /// Delay reported by a person.
    pub(super) delay: Option<Delay>,
    /// Receiver time of the last change.
    pub(super) updated_at: Option<UtcTime>,
}

/// Whether the end of the route was reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CompletionState {
    /// Not started yet, or reported.
    #[default]
    Reported,
    /// To be reported.
    Pending,
}

/// Persisted state of a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StopState {
    /// Whether the van has stopped there.
    pub(super) served: bool,
    /// Rank among the skipped stops: 0 if not skipped, 1 for the first skipped stop. A stop is
    /// skipped when the van leaves it unfinished; skipped stops come last, in this order.
    pub(super) skipped: u32,
}

/// States of the visited stops by sequence number, persisted as the state document `stops`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StopStates(pub(super) BTreeMap<u32, StopState>);

impl StopStates {
    pub(super) fn get(&self, seq: u32) -> StopState {
        self.0.get(&seq).copied().unwrap_or_default()
    }

    pub(super) fn mark_served(&mut self, seq: u32) {
        self.0.entry(seq).or_default().served = true;
    }

    /// Moves a stop behind all others.
    pub(super) fn mark_skipped(&mut self, seq: u32) {
        let last = self.0.values().map(|state| state.skipped).max().unwrap_or(0);
        self.0.entry(seq).or_default().skipped = last + 1;
    }

    pub(super) fn served_count(&self) -> u32 {
        u32::try_from(self.0.values().filter(|state| state.served).count()).unwrap_or(u32::MAX)
    }
}
