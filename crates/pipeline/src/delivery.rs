//! Delivery tracking: turns fixes, scans, manifests, driver input and commands into events about
//! parcels, stops and the route.
//!
//! ```text
//! fix ───→ duty (may it be stored?) → geofence (station, stops) ─┐
//! scan ──→ parcel::code → scan rules (parcel states, location) ──┼→ events, state documents
//! manifest, command, driver input, time ─────────────────────────┘
//! ```
//!
//! The effect of a scan depends on location and manifest: at the station it loads or returns a
//! parcel, at the due stop it delivers it, elsewhere it is only a sighting. All persistent state is
//! in the documents emitted with the events. A power cut between two calls therefore changes
//! nothing.

mod command_log;
mod commands;
pub mod duty;
mod event_builder;
mod event_clock;
mod event_id;
mod geofence;
mod parcel_states;
mod rfid;
mod route;
mod route_completion;
mod route_tracking;
pub mod scan;
mod scan_handler;
mod scan_rules;
pub mod snapshot;
mod state_docs;

mod pending_scans;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use waypost_model::fix::Fix;
use waypost_model::motion::Motion;
use waypost_model::record::Seq;
use waypost_model::units::{Distance, Position, Uptime, UtcTime};

pub use duty::{Admission, PrivacyZone, Withheld};
pub use scan::{Scan, ScanEffect, ScanResult};
pub use snapshot::DeliverySnapshot;
pub use state_docs::{MAX_STATE_DOC_BYTES, StateDocChange};
use waypost_model::command::{Command, CommandKind, CommandResult};
use waypost_model::driver_input::DriverInput;
use waypost_model::duty::Duty;
use waypost_model::event::EventRecord;
use waypost_model::manifest::{Manifest, RejectedManifest};

use command_log::CommandLog;
use duty::{DutyState, PrivacyZones};
use event_clock::EventClock;
use event_id::EventIdGenerator;
use parcel_states::ParcelStates;
use pending_scans::PendingScans;
use rfid::RfidInventory;
use route::{Phase, RouteState, StopStates};
use route_tracking::CurrentPosition;
use scan_handler::ScanContext;
use snapshot::ScanCounters;
use state_docs::StateDocCache;

/// Configuration of delivery tracking.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryConfig {
    /// Van id, part of every event id.
    pub van: String,
    /// The operator's domain, for URIs of objects without a GS1 key.
    pub domain: String,
    /// Initial duty status, also restored at the start of each new route.
    pub duty_at_start: Duty,
    /// Time from the return of the van to the automatic end of duty.
    pub off_duty_after_return: Duration,
    /// Zones whose fixes are never stored.
    pub privacy_zones: Vec<PrivacyZone>,
    /// Names of fixed scanners at the station. Their scans are located at the station, wherever the
    /// van is.
    pub station_sources: Vec<String>,
}

impl DeliveryConfig {
    /// Creates a configuration: on duty from the start, and off duty ten minutes after the return.
    #[must_use]
    pub fn new(van: impl Into<String>, domain: impl Into<String>) -> Self {
        Self {
            van: van.into(),
            domain: domain.into(),
            duty_at_start: Duty::On,
            off_duty_after_return: Duration::from_mins(10),
            privacy_zones: Vec::new(),
            station_sources: Vec::new(),
        }
    }
}

/// Output accumulated since it was last drained. Commit the output of one call in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryOutput {
    /// Sequence number of the next event: set by the caller, advanced by each event.
    pub next_seq: Seq,
    /// Events in order.
    pub events: Vec<EventRecord>,
    /// Changed state documents in order; a later change of a key replaces an earlier one.
    pub state_docs: Vec<StateDocChange>,
    /// Results of commands.
    pub command_results: Vec<CommandResult>,
    /// Commands that other components execute: position reports, report intervals, messages to the
    /// driver.
    pub forwarded_commands: Vec<CommandKind>,
}

/// Effect of a `DriverInput`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverInputResult {
    Parcel {
        /// Key of the parcel.
        key: String,
        /// Effect on the parcel.
        effect: ScanEffect,
    },
    /// The last scan was undone.
    Undone,
    /// Duty or delay was set.
    Applied,
}

/// Reason why a `DriverInput` was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverInputError {
    /// An event needs a time.
    #[error("the van does not know the time yet; wait for the first fix")]
    TimeUnknown,
    /// Nothing is recorded off duty.
    #[error("the driver is {}; set the duty to on first", .0.as_str())]
    NotOnDuty(Duty),
    #[error("{0} is not in the manifest; check the number")]
    Unknown(String),
    /// The parcel was already delivered or returned.
    #[error("{0} was already delivered or returned; undo that first")]
    Finished(String),
    /// The parcel was recalled.
    #[error("{0} was recalled; take it back to the station")]
    Recalled(String),
    /// The outcome requires a parcel on board.
    #[error("{0} is not in the van; scan it at the station first")]
    NotOnBoard(String),
    /// No scan within the last minute.
    #[error("there is no scan within the last minute to undo")]
    NothingToUndo,
}

/// Result of receiving a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestResult {
    /// The manifest is in use from now on.
    Accepted,
    /// The current revision of the route is the same or newer.
    Stale,
    /// The van has no route any more.
    Withdrawn,
    /// The manifest is invalid; the current one stays in use.
    Rejected,
}

/// Sequence number of the newest event, as the state document `last_event`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct LastEvent(Option<Seq>);

/// State machine of delivery tracking.
#[derive(Debug)]
pub struct DeliveryTracker {
    config: DeliveryConfig,
    clock: EventClock,
    event_ids: EventIdGenerator,
    duty: DutyState,
    zones: PrivacyZones,
    manifest: Option<Arc<Manifest>>,
    manifest_rejected: Option<RejectedManifest>,
    /// Number of state documents that the manifest fills.
    manifest_chunks: usize,
    parcels: ParcelStates,
    route: RouteState,
    stops: StopStates,
    rfid: RfidInventory,
    scan_context: ScanContext,
    pending_scans: PendingScans,
    command_log: CommandLog,
    counters: ScanCounters,
    position: CurrentPosition,
    /// Newest time passed to [`Self::tick`] or to another input.
    ticked_until: Option<Uptime>,
    last_event: LastEvent,
    state_docs: StateDocCache,
}

impl DeliveryTracker {
    /// Restores the state from the documents of an earlier run. Documents that cannot be decoded
    /// are skipped and counted.
    #[must_use]
    pub fn new(config: DeliveryConfig, kept: &[(String, Vec<u8>)]) -> Self {
        let duty = DutyState { duty: config.duty_at_start, ended: None };
        let mut delivery = Self {
            clock: EventClock::default(),
            event_ids: EventIdGenerator::new(config.van.clone()),
            duty,
            zones: PrivacyZones::new(config.privacy_zones.clone()),
            manifest: None,
            manifest_rejected: None,
            manifest_chunks: 0,
            parcels: ParcelStates::default(),
            route: RouteState::default(),
            stops: StopStates::default(),
            rfid: RfidInventory::default(),
            scan_context: ScanContext::default(),
            pending_scans: PendingScans::default(),
            command_log: CommandLog::default(),
            counters: ScanCounters::default(),
            position: CurrentPosition::default(),
            ticked_until: None,
            last_event: LastEvent::default(),
            state_docs: StateDocCache::default(),
            config,
        };
        delivery.restore(kept);
        delivery
    }

    fn restore(&mut self, kept: &[(String, Vec<u8>)]) {
        let mut pieces: BTreeMap<usize, &[u8]> = BTreeMap::new();
        for (key, bytes) in kept {
            let read = match key.split_once('/') {
                Some(("parcel", key)) => self.parcels.restore(key, bytes),
                Some(("command", _)) => self.command_log.restore(bytes),
                Some(("waiting", number)) => self.pending_scans.restore(number, bytes),
                Some(("manifest", index)) => {
                    index.parse().map(|index| pieces.insert(index, bytes)).is_ok()
                }
                _ => match key.as_str() {
                    "route" => restored(&mut self.route, bytes),
                    "stops" => restored(&mut self.stops, bytes),
                    "duty" => restored(&mut self.duty, bytes),
                    "moment" => restored(&mut self.scan_context, bytes),
                    "last_event" => restored(&mut self.last_event, bytes),
                    _ => false,
                },
            };
            self.counters.unreadable += u64::from(!read);
        }
        self.manifest_chunks = pieces.keys().next_back().map_or(0, |last| last + 1);
        self.manifest = state_docs::unchunk(&pieces).map(Arc::new);
        self.counters.unreadable += u64::from(self.manifest.is_none() && !pieces.is_empty());
        if let Some(manifest) = &self.manifest {
            self.parcels.apply_manifest(manifest, &self.config.domain);
        }
        self.route.standstill = self.route.standstill_at_fence;
        self.scan_context.resume();
        self.clock = EventClock::new(self.route.updated_at);
        let Self {
            state_docs: written, route, stops, duty, scan_context: moment, last_event, ..
        } = self;
        written.seed("route", route);
        written.seed("stops", stops);
        written.seed("duty", duty);
        written.seed("moment", moment);
        written.seed("last_event", last_event);
    }

    /// Returns whether a fix at `position` may be stored. Call it for each fix before storing it.
    pub fn admission_for(&mut self, position: Position) -> Admission {
        let private = self.zones.observe(position);
        match (self.duty.duty, private) {
            (Duty::On, false) => Admission::Keep,
            (Duty::On, true) => Admission::Withhold(Withheld::PrivacyZone),
            (Duty::Off | Duty::Break, _) => Admission::Withhold(Withheld::OffDuty),
        }
    }

    /// Returns the duty status of the driver.
    #[must_use]
    pub const fn duty(&self) -> Duty {
        self.duty.duty
    }

    /// Handles an admitted fix. While the van is halted, `fix` must have the anchor position of the
    /// trip detector.
    pub fn observe(
        &mut self,
        fix: &Fix,
        motion: Motion,
        odometer: Distance,
        out: &mut DeliveryOutput,
    ) {
        self.on_fix(fix, motion, odometer, out);
        self.flush_state_docs(out);
    }

    /// Handles a withheld fix: only its time is used.
    pub fn observe_withheld(&mut self, utc: UtcTime, read_at: Uptime, out: &mut DeliveryOutput) {
        self.on_withheld_fix(utc, read_at, out);
        self.flush_state_docs(out);
    }

    /// Handles a scan.
    pub fn scan(&mut self, scan: &Scan, out: &mut DeliveryOutput) -> ScanResult {
        let verdict = self.handle_scan(scan, out);
        self.flush_state_docs(out);
        verdict
    }

    /// Applies input from a person.
    ///
    /// # Errors
    /// Returns a `Refusal` if the input is not possible in the current state. Nothing changes
    /// then.
    pub fn driver_input(
        &mut self,
        saying: &DriverInput,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) -> Result<DriverInputResult, DriverInputError> {
        let said = self.apply_driver_input(saying, at, out);
        self.flush_state_docs(out);
        said
    }

    /// Adopts a manifest; `None` withdraws the route. An invalid manifest leaves the current one in
    /// use.
    pub fn manifest(
        &mut self,
        manifest: Result<Option<Manifest>, RejectedManifest>,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) -> ManifestResult {
        let verdict = match manifest {
            Ok(Some(manifest)) => self.set_manifest(manifest, at, out),
            Ok(None) => self.clear_manifest(at, out),
            Err(rejected) => {
                self.manifest_rejected = Some(rejected);
                ManifestResult::Rejected
            }
        };
        self.flush_state_docs(out);
        verdict
    }

    /// Executes a command, unless it was executed before.
    pub fn command(&mut self, command: &Command, at: Uptime, out: &mut DeliveryOutput) {
        self.execute_command(command, at, out);
        self.flush_state_docs(out);
    }

    /// Returns when [`Self::tick`] is due if there is no other input before.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        let ends = self.deadlines().into_iter().flatten();
        let ends = ends.filter_map(|utc| self.clock.uptime_of(utc));
        let listens = self.duty.duty == Duty::On && self.route.phase == Phase::Out;
        let tags = self.rfid.deadline().filter(|_| listens);
        // An action that was due and not performed is waiting for other input, not for time.
        ends.chain(tags).filter(|due| self.ticked_until.is_none_or(|passed| *due > passed)).min()
    }

    /// Advances the time. Calls before the deadline have no effect.
    pub fn tick(&mut self, now: Uptime, out: &mut DeliveryOutput) {
        self.on_tick(now, out);
        self.flush_state_docs(out);
    }

    /// Outputs the changed state documents.
    fn flush_state_docs(&mut self, out: &mut DeliveryOutput) {
        out.state_docs.extend(self.parcels.take_changed());
        out.state_docs.append(&mut self.pending_scans.changed_docs);
        out.state_docs.append(&mut self.command_log.changed_docs);
        if self.state_docs.change("route", &self.route).is_some() {
            self.route.updated_at = self.clock.last_utc().or(self.route.updated_at);
            out.state_docs.push(self.state_docs.update("route", &self.route));
        }
        let Self { state_docs: written, stops, duty, scan_context: moment, last_event, .. } = self;
        let changed = [
            written.change("stops", stops),
            written.change("duty", duty),
            written.change("moment", moment),
            written.change("last_event", last_event),
        ];
        out.state_docs.extend(changed.into_iter().flatten());
    }
}

fn restored<T: serde::de::DeserializeOwned>(state: &mut T, bytes: &[u8]) -> bool {
    let Some(read) = state_docs::decode(bytes) else { return false };
    *state = read;
    true
}
