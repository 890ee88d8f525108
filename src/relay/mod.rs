//! ④ OUT: outbox and live position → MQTT, over one [`Link`] after the other.
//!
//! - A connection is an *epoch*: a fresh client, a clean session, and everything that is still in the outbox is sent again
//!   from the lowest `Seq`. Nothing of the client's own memory outlives it.
//! - A record leaves the outbox only after a PUBACK that accepts it; where that says nothing (MQTT 3.1.1) or is not enough,
//!   only after the backend's own word. A refusal keeps it; so does everything in which
//!   client and broker contradict what was handed over, and that ends the epoch.
//! - `position` goes first and is replaced, never queued; then events, one a message and in order; fresh points go before
//!   the backlog.
//! - A link that is gone is a state, not an error: the next epoch begins after a backoff with jitter.
//!
//! [`Relay`] is the loop over epochs, `epoch` is one of them; `in_flight`, `backoff`, `cadence` and `refusals` decide and
//! do nothing; `mqtt` is the only file that knows the client.

mod acks;
mod air;
mod backoff;
mod budget;
mod cadence;
mod config;
mod downlink;
mod epoch;
mod events;
mod health;
mod in_flight;
mod lanes;
mod link;
pub mod mqtt;
mod pace;
mod refusals;
mod removals;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::core::record::{Record, Seq};
use crate::outbox::{Document, Outbox, OutboxError};
use crate::rollcall::Pulse;
use crate::units::Uptime;
use crate::wire::VERSION;
use crate::wire::json::{Connection, ConnectionState};
use acks::Acks;
pub use air::AirUse;
use air::{AirMeter, Traffic};
pub use backoff::BackoffConfig;
use backoff::Reconnect;
pub use budget::{Budget, Stretch};
pub use cadence::PositionCadence;
pub use config::{Broker, Credentials, MqttVersion, Proxy, RelayConfig, Transport};
use downlink::Answers;
pub use downlink::{
    Answer, Downlink, DownlinkReceiver, DownlinkSender, MAX_ANSWERS, MAX_COMMAND_BYTES,
    MAX_COMMANDS, MAX_MANIFEST_BYTES, downlink,
};
use epoch::{End, Epoch};
use events::Suspects;
pub use health::{Health, RouteState, Wishes};
pub use in_flight::Fault;
pub use link::{
    Closed, Delivery, Distrust, Link, LinkEvent, Links, Overrun, Publication, ReasonCode, Stage,
    WaitsFor, Welcome,
};
use refusals::Refusals;
use removals::Removals;
use status::Report;
pub use status::{LinkState, LinkStatus};
use subscription::{Subscription, Wanted};
pub use tls::{Identity, TlsConfig, own_certificate};

/// How long the relay that has sent everything waits for the broker to take its leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// Under this name the outbox keeps the bytes on the air.
const AIR_DOCUMENT: &str = "air";

/// And so often: what a power cut forgets of them is little.
const KEEP_AIR_EVERY: Duration = Duration::from_mins(15);

/// What the relay reads.
#[derive(Debug)]
pub struct Inputs {
    /// What must arrive.
    pub outbox: Outbox,
    /// The newest accepted fix.
    pub live: watch::Receiver<Option<Record>>,
    /// How the receiver and the route are.
    pub health: watch::Receiver<Health>,
    /// The agent's time and UTC. The link's own timers run as the world does, also in a replay.
    pub clock: Clock,
    /// Where manifests and commands go.
    pub downlink: DownlinkSender,
    /// What commands came to.
    pub answers: mpsc::Receiver<Answer>,
}

/// Whether, and how, the relay should stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// Not yet.
    #[default]
    Running,
    /// Begin nothing new, wait for what is under way at most this long, and take leave.
    Grace(Duration),
    /// No record will come any more: take leave when the outbox is empty. What the broker refuses keeps it from being so.
    Drained,
}

/// Why the relay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Stop: the outbox is closed or gone.
    #[error("relay: {0}")]
    Outbox(#[source] OutboxError),
}

/// The loop over connections.
#[derive(Debug)]
pub struct Relay<L> {
    config: RelayConfig,
    inputs: Inputs,
    links: L,
    /// The world's time, in which the broker lives.
    pace: Clock,
    reconnect: Reconnect,
    removals: Removals,
    refusals: Refusals,
    event_refusals: Refusals,
    suspects: Suspects,
    acks: Acks,
    /// Events that no broker took so far because of their size: a person should know once.
    oversized: BTreeSet<Seq>,
    subscription: Subscription,
    answers: Answers,
    answers_open: bool,
    air: AirMeter,
    stretch: Stretch,
    air_kept: Option<Vec<u8>>,
    /// When the bytes on the air are kept again.
    keep_air_at: Uptime,
    report: Report,
    pulse: Pulse,
}

impl<L: Links> Relay<L> {
    /// A relay that has done nothing yet.
    #[must_use]
    pub fn new(config: RelayConfig, inputs: Inputs, links: L) -> Self {
        let documents = inputs.outbox.documents();
        let air_kept =
            documents.into_iter().find(|(key, _)| key == AIR_DOCUMENT).map(|(_, air)| air);
        let pace = Clock::live();
        Self {
            acks: Acks::new(inputs.outbox.first_seq()),
            air: AirMeter::new(config.carrier(), air_kept.as_deref()),
            air_kept,
            stretch: Stretch::NONE,
            keep_air_at: pace.uptime() + KEEP_AIR_EVERY,
            reconnect: Reconnect::new(config.backoff, fastrand::Rng::new()),
            report: Report::new(inputs.clock.clone()),
            config,
            inputs,
            links,
            pace,
            removals: Removals::default(),
            refusals: Refusals::default(),
            event_refusals: Refusals::default(),
            suspects: Suspects::default(),
            oversized: BTreeSet::new(),
            subscription: Subscription::default(),
            answers: Answers::default(),
            answers_open: true,
            pulse: Pulse::default(),
        }
    }

    /// Answers with this pulse.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// Rolls the same dice each time.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.reconnect = Reconnect::new(self.config.backoff, fastrand::Rng::with_seed(seed));
        self
    }

    /// What the link does, now and at each change.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.report.subscribe()
    }

    /// Connects, sends, and connects again, until `stop` says otherwise or its sender is gone.
    ///
    /// # Errors
    /// [`RelayError`], if the outbox was closed. Whatever happens to the link is none.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) -> Result<(), RelayError> {
        while !self.may_end(&stop) {
            self.report.enter(LinkState::Connecting);
            let began = self.pace.uptime();
            let link = self.links.open(&self.connection(ConnectionState::ConnectionBroken));
            let (end, lived) = Epoch::new(&mut self, link).run(&mut stop).await;
            self.pulse.clone().during(self.flush()).await?;
            self.reconnect.ended(lived);
            match end {
                End::Stopped => break,
                End::Outbox(error) => return Err(RelayError::Outbox(error)),
                End::Lost { error, reason, stage, waits_for } => {
                    let tried = self.pace.uptime().since(began + lived);
                    let wait = self.reconnect.next_wait(waits_for, tried);
                    self.report.lost(error, (stage, reason), wait);
                    self.wait(wait, &mut stop).await;
                }
            }
        }
        self.look_at_air();
        self.keep_air();
        self.report.enter(LinkState::Stopped);
        Ok(())
    }

    /// Whether there is nothing left to do without a link.
    fn may_end(&self, stop: &watch::Receiver<Stop>) -> bool {
        match *stop.borrow() {
            Stop::Grace(_) => true,
            Stop::Drained => self.inputs.outbox.stats().borrow().pending == 0,
            Stop::Running => stop.has_changed().is_err(),
        }
    }

    async fn wait(&mut self, wait: Duration, stop: &mut watch::Receiver<Stop>) {
        let mut stats = self.inputs.outbox.stats();
        let until = self.pace.uptime() + wait;
        while !self.may_end(stop) {
            tokio::select! {
                changed = stop.changed() => if changed.is_err() { return },
                Ok(()) = stats.changed() => {}
                () = self.pulse.answer() => {}
                answer = self.inputs.answers.recv(), if self.answers_open => self.take_answer(answer),
                _ = self.pace.reached(Some(until)) => return,
            }
        }
    }

    /// The engine answered a command; `None` when it never will again.
    fn take_answer(&mut self, answer: Option<Answer>) {
        match answer.map(|answer| self.answers.keep(answer)) {
            None => self.answers_open = false,
            Some(true) => {}
            Some(false) => self.report.count(|status| status.answers_lost += 1),
        }
    }

    fn ended_before_suback(&mut self, wanted: Wanted, error: &str, now: Uptime) {
        if self.subscription.ended_unanswered(wanted, now) {
            self.report.downlink(Some(format!("the broker ends who subscribes: {error}")));
        }
    }

    fn go_without_downlink(&mut self, wanted: Wanted, error: &str, now: Uptime) {
        self.subscription.give_up(wanted, now);
        self.report.downlink(Some(error.to_owned()));
    }

    /// What has gone over the air, and how far to stretch for it.
    fn look_at_air(&mut self) {
        let utc = self.inputs.clock.utc();
        let used = self.air.turn(utc);
        self.stretch = self.config.budget.stretch(used.month, utc, self.stretch);
        self.report.air(used, self.stretch);
        if self.pace.uptime() >= self.keep_air_at {
            self.keep_air();
        }
    }

    /// It goes to the disk with what the engine commits next.
    fn keep_air(&mut self) {
        let now = self.pace.uptime();
        self.keep_air_at = now + KEEP_AIR_EVERY;
        if let Some(document) =
            self.air.document().filter(|air| self.air_kept.as_ref() != Some(air))
        {
            self.air_kept = Some(document.clone());
            let document = Document { key: AIR_DOCUMENT.to_owned(), value: Some(document) };
            self.inputs.outbox.accept_events(Vec::new(), vec![document], now);
        }
    }

    /// Removes what has arrived. A failure is none of the link's: it is tried again.
    async fn flush(&mut self) -> Result<(), RelayError> {
        let (now, failed_before) = (self.pace.uptime(), self.removals.have_failed());
        match self.removals.flush(&self.inputs.outbox, now).await {
            Err(error @ OutboxError::Closed { .. }) => return Err(RelayError::Outbox(error)),
            Err(error) if !failed_before => {
                tracing::warn!(%error, "acknowledged records not removed, trying again");
            }
            Ok(()) if failed_before => tracing::info!("acknowledged records removed"),
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    fn connection(&self, state: ConnectionState) -> Publication {
        // The Will is written before anybody knows when it will be said.
        let now = (state != ConnectionState::ConnectionBroken).then(|| self.inputs.clock.utc());
        let connection = Connection {
            v: VERSION,
            van: self.config.van.to_string(),
            state,
            ts: now.flatten().map(|utc| utc.to_string()),
            session: self.inputs.outbox.session(),
            version: now.is_some().then(|| env!("CARGO_PKG_VERSION").to_owned()),
        };
        Publication {
            topic: self.config.topics.connection.clone(),
            payload: serde_json::to_vec(&connection).expect("numbers and strings are JSON"),
            delivery: Delivery::Retained,
            content_type: None,
        }
    }
}
