//! Fixes, scans, manifest and commands → [`Event`]s: what happens to the parcels on board.
//!
//! ```text
//! fix ───→ duty (may it be kept?) → site (station, stops) ┐
//! scan ──→ parcel::code → board (what is due where) ──────┼→ events, documents
//! manifest, command, saying, time ────────────────────────┘
//! ```
//!
//! What a scan means comes from place and manifest: at the station it loads or returns, at the stop where the parcel is
//! due it delivers, anywhere else it is seen. Everything that the future depends on is in the documents that come out
//! with the events, so that a power cut between two calls changes nothing.

mod answering;
mod board;
mod clock;
pub mod command;
mod driving;
pub mod duty;
mod ending;
pub mod event;
mod id;
mod kept;
pub mod manifest;
mod meaning;
mod route;
pub mod saying;
pub mod scan;
mod scanning;
mod site;
mod tags;
mod telling;
pub mod view;

#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::fix::Fix;
use crate::core::journey::Motion;
use crate::core::record::Seq;
use crate::units::{Distance, Position, Uptime, UtcTime};

pub use command::{Answer, AnswerStatus, Command, CommandId, Order};
pub use duty::{Admission, Duty, Withheld, Zone};
pub use event::{Event, EventId, EventRecord};
pub use kept::{Kept, MAX_DOCUMENT};
pub use manifest::{Manifest, ManifestRefusal};
pub use saying::{Delay, DelayReason, Fate, Saying};
pub use scan::{Became, Scan, ScanVerdict};
pub use view::View;

use board::Board;
use clock::EventClock;
use command::Answers;
use driving::Here;
use duty::{DutyState, Zones};
use id::Ids;
use kept::Written;
use route::{Phase, Stops, Trip};
use scanning::Moment;
use tags::Tags;
use view::Counters;
use waiting::Waiting;

/// How the delivery thinks.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryConfig {
    /// The van's id: it is in the name of each event.
    pub van: String,
    /// The operator's domain, for the URIs of what GS1 does not number.
    pub domain: String,
    /// What counts before anybody said whether the driver is on duty, and again with each new route.
    pub duty_at_start: Duty,
    /// The duty ends so long after the van came back from its route.
    pub off_duty_after_return: Duration,
    /// Where no fix is ever stored.
    pub privacy_zones: Vec<Zone>,
    /// Names of scanners that do not move: what they read is at the station, wherever the van is.
    pub station_sources: Vec<String>,
}

impl DeliveryConfig {
    /// A van that is on duty from the start, and for ten minutes after its return.
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

/// What came out since it was last emptied. What one call adds belongs into one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Happenings {
    /// The number of the next event: the caller sets it, and reads it afterwards.
    pub next_seq: Seq,
    /// What happened, in order.
    pub events: Vec<EventRecord>,
    /// The documents that changed, in order: a later one of the same key goes before.
    pub kept: Vec<Kept>,
    /// To commands.
    pub answers: Vec<Answer>,
    /// Parts of commands that are not the delivery's business: positions, rates, words for the driver.
    pub orders: Vec<Order>,
}

/// What came of a [`Saying`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Something about a parcel.
    Parcel {
        /// Its key.
        key: String,
        /// What became of it.
        became: Became,
    },
    /// The last scan was taken back.
    Undone,
    /// Duty or delay were changed.
    Noted,
}

/// Why a [`Saying`] has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An event needs a time.
    #[error("the van does not know the time yet; wait for the first fix")]
    TimeUnknown,
    /// Nothing is recorded off duty.
    #[error("the driver is {}; begin the duty first", .0.name())]
    NotOnDuty(Duty),
    /// No such parcel.
    #[error("{0} is not in the manifest; check the number")]
    Unknown(String),
    /// It is over.
    #[error("{0} was handed over or came back before; undo that first")]
    Finished(String),
    /// It must come back.
    #[error("{0} was recalled; take it back to the station")]
    Recalled(String),
    /// It makes no sense here.
    #[error("{0} is not in the van")]
    NotOnBoard(String),
    /// Nothing was scanned within the last minute.
    #[error("no scan within the last minute can be taken back")]
    NothingToUndo,
}

/// What came of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestVerdict {
    /// It is driven from now on.
    Taken,
    /// This revision or a newer one is driven already.
    Stale,
    /// There is no route any more.
    Withdrawn,
    /// It is wrong; the old one stays.
    Refused,
}

/// The number of the newest event.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct LastEvent(Option<Seq>);

/// The state machine.
#[derive(Debug)]
pub struct Delivery {
    config: DeliveryConfig,
    clock: EventClock,
    ids: Ids,
    duty: DutyState,
    zones: Zones,
    manifest: Option<Arc<Manifest>>,
    manifest_error: Option<String>,
    /// How many documents the manifest fills.
    manifest_pieces: usize,
    board: Board,
    trip: Trip,
    stops: Stops,
    tags: Tags,
    moment: Moment,
    waiting: Waiting,
    answers: Answers,
    counters: Counters,
    here: Here,
    /// Up to when time was let pass.
    passed: Option<Uptime>,
    /// The newest event's number.
    last_event: LastEvent,
    written: Written,
}

impl Delivery {
    /// Goes on exactly where the documents of an earlier run end. What cannot be read of them is counted and left out.
    #[must_use]
    pub fn new(config: DeliveryConfig, kept: &[(String, Vec<u8>)]) -> Self {
        let duty = DutyState { duty: config.duty_at_start, ended: None };
        let mut delivery = Self {
            clock: EventClock::default(),
            ids: Ids::new(config.van.clone()),
            duty,
            zones: Zones::new(config.privacy_zones.clone()),
            manifest: None,
            manifest_error: None,
            manifest_pieces: 0,
            board: Board::default(),
            trip: Trip::default(),
            stops: Stops::default(),
            tags: Tags::default(),
            moment: Moment::default(),
            waiting: Waiting::default(),
            answers: Answers::default(),
            counters: Counters::default(),
            here: Here::default(),
            passed: None,
            last_event: LastEvent::default(),
            written: Written::default(),
            config,
        };
        delivery.restore(kept);
        delivery
    }

    fn restore(&mut self, kept: &[(String, Vec<u8>)]) {
        let mut pieces: BTreeMap<usize, &[u8]> = BTreeMap::new();
        for (key, bytes) in kept {
            let read = match key.split_once('/') {
                Some(("parcel", key)) => self.board.restore(key, bytes),
                Some(("command", _)) => self.answers.restore(bytes),
                Some(("waiting", number)) => self.waiting.restore(number, bytes),
                Some(("manifest", index)) => {
                    index.parse().map(|index| pieces.insert(index, bytes)).is_ok()
                }
                _ => match key.as_str() {
                    "route" => restored(&mut self.trip, bytes),
                    "stops" => restored(&mut self.stops, bytes),
                    "duty" => restored(&mut self.duty, bytes),
                    "moment" => restored(&mut self.moment, bytes),
                    "last_event" => restored(&mut self.last_event, bytes),
                    _ => false,
                },
            };
            self.counters.unreadable += u64::from(!read);
        }
        self.manifest_pieces = pieces.keys().next_back().map_or(0, |last| last + 1);
        self.manifest = kept::join(&pieces).map(Arc::new);
        self.counters.unreadable += u64::from(self.manifest.is_none() && !pieces.is_empty());
        if let Some(manifest) = &self.manifest {
            self.board.list(manifest, &self.config.domain);
        }
        self.trip.still = self.trip.still_at_fence;
        self.moment.resume();
        self.clock = EventClock::new(self.trip.touched);
        let Self { written, trip, stops, duty, moment, last_event, .. } = self;
        written.begin("route", trip);
        written.begin("stops", stops);
        written.begin("duty", duty);
        written.begin("moment", moment);
        written.begin("last_event", last_event);
    }

    /// Whether a fix at `position` may be stored: asked for each, before anybody stores it.
    pub fn admits(&mut self, position: Position) -> Admission {
        let private = self.zones.enter(position);
        match (self.duty.duty, private) {
            (Duty::On, false) => Admission::Keep,
            (Duty::On, true) => Admission::Withhold(Withheld::PrivacyZone),
            (Duty::Off | Duty::Break, _) => Admission::Withhold(Withheld::OffDuty),
        }
    }

    /// Whether the driver is on duty.
    #[must_use]
    pub const fn duty(&self) -> Duty {
        self.duty.duty
    }

    /// Takes a fix that was admitted. Of a halted van, `fix` says the place that the journey holds it to.
    pub fn observe(&mut self, fix: &Fix, motion: Motion, odometer: Distance, out: &mut Happenings) {
        self.drive(fix, motion, odometer, out);
        self.settle(out);
    }

    /// Takes the time of a fix that was withheld, and nothing else of it.
    pub fn observe_withheld(&mut self, utc: UtcTime, read_at: Uptime, out: &mut Happenings) {
        self.withheld(utc, read_at, out);
        self.settle(out);
    }

    /// Takes what a scanner read.
    pub fn scan(&mut self, scan: &Scan, out: &mut Happenings) -> ScanVerdict {
        let verdict = self.read(scan, out);
        self.settle(out);
        verdict
    }

    /// Takes what a person says.
    ///
    /// # Errors
    /// [`Refusal`], and nothing changes.
    pub fn say(
        &mut self,
        saying: &Saying,
        at: Uptime,
        out: &mut Happenings,
    ) -> Result<Said, Refusal> {
        let said = self.hear(saying, at, out);
        self.settle(out);
        said
    }

    /// Takes a manifest; `None` = there is none any more. One that was refused leaves the old one in force.
    pub fn manifest(
        &mut self,
        manifest: Result<Option<Manifest>, ManifestRefusal>,
        at: Uptime,
        out: &mut Happenings,
    ) -> ManifestVerdict {
        let verdict = match manifest {
            Ok(Some(manifest)) => self.replace(manifest, at, out),
            Ok(None) => self.withdraw(at, out),
            Err(refusal) => {
                self.manifest_error = Some(refusal.to_string());
                ManifestVerdict::Refused
            }
        };
        self.settle(out);
        verdict
    }

    /// Runs a command, once.
    pub fn command(&mut self, command: &Command, at: Uptime, out: &mut Happenings) {
        self.obey(command, at, out);
        self.settle(out);
    }

    /// When [`Self::tick`] is due if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        let ends = self.endings().into_iter().flatten();
        let ends = ends.filter_map(|utc| self.clock.uptime_of(utc));
        let listens = self.duty.duty == Duty::On && self.trip.phase == Phase::Out;
        let tags = self.tags.deadline().filter(|_| listens);
        // What was not done by then waits for something else than time.
        ends.chain(tags).filter(|due| self.passed.is_none_or(|passed| *due > passed)).min()
    }

    /// Lets time pass. Spurious calls do nothing.
    pub fn tick(&mut self, now: Uptime, out: &mut Happenings) {
        self.pass(now, out);
        self.settle(out);
    }

    /// Hands over the documents that changed.
    fn settle(&mut self, out: &mut Happenings) {
        out.kept.extend(self.board.changed());
        out.kept.append(&mut self.waiting.changed);
        out.kept.append(&mut self.answers.changed);
        if self.written.changed("route", &self.trip).is_some() {
            self.trip.touched = self.clock.told().or(self.trip.touched);
            out.kept.push(self.written.document("route", &self.trip));
        }
        let Self { written, stops, duty, moment, last_event, .. } = self;
        let changed = [
            written.changed("stops", stops),
            written.changed("duty", duty),
            written.changed("moment", moment),
            written.changed("last_event", last_event),
        ];
        out.kept.extend(changed.into_iter().flatten());
    }
}

fn restored<T: serde::de::DeserializeOwned>(state: &mut T, bytes: &[u8]) -> bool {
    let Some(read) = kept::decode(bytes) else { return false };
    *state = read;
    true
}
