//! Health of the receiver and state of the route, for `state` and `position`. No I/O.

use std::time::Duration;

use waypost_model::units::Uptime;
use waypost_wire::payloads::{
    Delay, Duty, GnssState, ManifestRef, ManifestRejected, NextStop, Scanner, StopStatus,
};

/// State of receiver and route, as known to the engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Receiver state without `age_s`, which the uplink fills in.
    pub gnss: GnssState,
    /// Time at which the newest fix was read.
    pub newest_fix_at: Option<Uptime>,
    /// State of the route.
    pub route: RouteState,
    /// Temporary reporting overrides of the backend.
    pub overrides: ReportingOverrides,
    /// Newest message to the driver, and when it was received. Not published.
    pub driver_message: Option<(String, Uptime)>,
}

/// Temporary reporting overrides of the backend. Times are in the agent's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportingOverrides {
    /// Number of report requests. Each one sends position and state at once.
    pub report_requests: u64,
    /// Until this time, fresh points do not wait for others.
    pub flush_until: Uptime,
    /// Maximum interval of positions, and until when it applies.
    pub position_interval: Option<(Duration, Uptime)>,
}

/// State of the route. The default is a van on duty without a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteState {
    /// Duty of the driver.
    pub duty: Duty,
    /// Manifest in use.
    pub manifest: Option<ManifestRef>,
    /// Newest manifest, if it was rejected.
    pub manifest_rejected: Option<ManifestRejected>,
    /// Next stop.
    pub next_stop: Option<NextStop>,
    /// Delay against the plan.
    pub delay: Option<Delay>,
    /// Scanners and their states.
    pub scanners: Vec<Scanner>,
    /// Whether the van is under way to, near or at the stop `stop_seq`. `None` to derive it from
    /// the motion.
    pub stop_status: Option<StopStatus>,
    /// Stop to which `stop_status` applies.
    pub stop_seq: Option<u32>,
    /// Number of unfinished stops after this one.
    pub stops_remaining: Option<u32>,
}

impl Health {
    /// Whether a change since `before` must be reported at once.
    pub(super) fn changed_since(&self, before: &Self) -> bool {
        self.gnss.receiver != before.gnss.receiver
            || self.gnss.mode != before.gnss.mode
            || self.route.changed_since(&before.route)
            || self.overrides.report_requests != before.overrides.report_requests
    }
}

impl RouteState {
    fn changed_since(&self, before: &Self) -> bool {
        let scanners = self.scanners.iter().map(|scanner| (&scanner.name, scanner.state));
        let scanners_before = before.scanners.iter().map(|scanner| (&scanner.name, scanner.state));
        self.duty != before.duty
            || self.manifest != before.manifest
            || self.manifest_rejected != before.manifest_rejected
            || self.delay != before.delay
            || !scanners.eq(scanners_before)
    }

    /// Stop status in a live position. A change is sent at once.
    pub(super) fn stop(&self) -> (Option<StopStatus>, Option<u32>) {
        (self.stop_status, self.stop_seq)
    }
}
