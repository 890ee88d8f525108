//! How the receiver and the route are, for `state` and `position` (pure).

use std::time::Duration;

use crate::units::Uptime;
use crate::wire::json::{Delay, Duty, GnssState, NextStop, Scanner, StopStatus};

/// What the engine knows of the receiver and of the route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// All but `age_s`, which the relay fills in.
    pub gnss: GnssState,
    /// When the newest fix was read.
    pub newest_fix_at: Option<Uptime>,
    /// The route.
    pub route: RouteState,
    /// What the backend wishes for a while.
    pub wishes: Wishes,
    /// The newest words for the driver, and when they came; not for the wire.
    pub message: Option<(String, Uptime)>,
}

/// What the backend wishes for a while. Times are the agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How often a report was asked for: each time position and state are said at once.
    pub reports: u64,
    /// Until then no point waits for others.
    pub flush_until: Uptime,
    /// A position at least so often, and until when.
    pub rate: Option<(Duration, Uptime)>,
}

/// Where the van is on its route. The default is a van on duty without one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteState {
    /// Whether the driver is on duty.
    pub duty: Duty,
    /// The route of the manifest.
    pub route: Option<String>,
    /// The manifest's revision that is in use.
    pub manifest_rev: Option<u64>,
    /// Why the newest manifest is not in use.
    pub manifest_error: Option<String>,
    /// Where the van goes.
    pub next_stop: Option<NextStop>,
    /// How late it is.
    pub delay: Option<Delay>,
    /// What reads parcels.
    pub scanners: Vec<Scanner>,
    /// Whether it is under way, near or at the stop `stop_seq`; `None` to say what its motion says.
    pub stop_status: Option<StopStatus>,
    /// The stop that `stop_status` is about.
    pub stop_seq: Option<u32>,
    /// Stops that are not finished, this one not counted.
    pub stops_remaining: Option<u32>,
}

impl Health {
    /// Whether somebody who was told `before` should hear of this at once.
    pub(super) fn is_news(&self, before: &Self) -> bool {
        self.gnss.receiver != before.gnss.receiver
            || self.gnss.mode != before.gnss.mode
            || self.route.is_news(&before.route)
            || self.wishes.reports != before.wishes.reports
    }
}

impl RouteState {
    fn is_news(&self, before: &Self) -> bool {
        let scanners = self.scanners.iter().map(|scanner| (&scanner.name, scanner.state));
        let scanners_before = before.scanners.iter().map(|scanner| (&scanner.name, scanner.state));
        self.duty != before.duty
            || self.route != before.route
            || self.manifest_rev != before.manifest_rev
            || self.manifest_error != before.manifest_error
            || self.delay != before.delay
            || !scanners.eq(scanners_before)
    }

    /// What a live position says of the stop; its change is said at once.
    pub(super) fn place(&self) -> (Option<StopStatus>, Option<u32>) {
        (self.stop_status, self.stop_seq)
    }
}
