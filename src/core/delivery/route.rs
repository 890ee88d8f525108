//! Where the van is on its route: at the station, out, at which stop, and what the route was in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::saying::Delay;
use super::site::{Still, Visit};
use crate::units::{Distance, UtcTime};

/// Where the van is with respect to the station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// It has not left yet.
    #[default]
    Fresh,
    /// It has left.
    Out,
    /// It came back.
    Back,
}

/// What is kept of the route, as the document `route`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Trip {
    pub(super) phase: Phase,
    /// The van stands, perhaps at a stop. A driver in a jam stands often.
    #[serde(skip)]
    pub(super) still: Option<Still>,
    /// The same, if it is at a fence: only there a power cut must not forget it.
    pub(super) still_at_fence: Option<Still>,
    /// The van is at a stop.
    pub(super) visit: Option<Visit>,
    /// Since when it is outside the station, and where the odometer stood then.
    pub(super) outside_since: Option<(UtcTime, Distance)>,
    /// When it last drove off at the station, and where the odometer stood then.
    pub(super) drove_off: Option<(UtcTime, Distance)>,
    /// Since when it is back.
    pub(super) back_since: Option<UtcTime>,
    /// When it first departed.
    pub(super) departed: Option<UtcTime>,
    /// When it left, and where the odometer stood, until it is back.
    pub(super) left: Option<(UtcTime, Distance)>,
    /// Whether the end was told since it left last.
    pub(super) ending: Ending,
    /// Since when it stands elsewhere.
    pub(super) idle_since: Option<UtcTime>,
    pub(super) duration: Duration,
    pub(super) distance: Distance,
    pub(super) dwell: Duration,
    pub(super) idle: Duration,
    /// What a person said.
    pub(super) delay: Option<Delay>,
    /// When this was last changed.
    pub(super) touched: Option<UtcTime>,
}

/// Whether the route's end was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    /// It has not begun, or it was told.
    #[default]
    Told,
    /// It is to be told.
    Due,
}

/// What is kept of a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StopState {
    /// The van stood there.
    pub(super) served: bool,
    /// The van left with something undone: 1 for the first such stop. It goes to the end in this order.
    pub(super) skipped: u32,
}

/// The stops of which there is something to say, by their numbers: the document `stops`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stops(pub(super) BTreeMap<u32, StopState>);

impl Stops {
    pub(super) fn of(&self, seq: u32) -> StopState {
        self.0.get(&seq).copied().unwrap_or_default()
    }

    pub(super) fn serve(&mut self, seq: u32) {
        self.0.entry(seq).or_default().served = true;
    }

    /// Puts `seq` behind all others.
    pub(super) fn skip(&mut self, seq: u32) {
        let last = self.0.values().map(|state| state.skipped).max().unwrap_or(0);
        self.0.entry(seq).or_default().skipped = last + 1;
    }

    pub(super) fn served(&self) -> u32 {
        u32::try_from(self.0.values().filter(|state| state.served).count()).unwrap_or(u32::MAX)
    }
}
