//! One connection: from the attempt to its end.

mod fill;

use std::time::Duration;

use tokio::sync::watch;

use super::cadence::{PositionCadence, StateCadence};
use super::in_flight::{Fault, InFlight};
use super::lanes::{Batch, Batching, Encoded, Lanes};
use super::link::{Closed, Link, LinkEvent, Links, ReasonCode, WaitsFor, Welcome};
use super::pace::Pace;
use super::{FAREWELL, Relay, Stop};
use crate::core::record::Record;
use crate::outbox::{OutboxError, OutboxStats};
use crate::units::Uptime;

/// The client limits an attempt itself; this is for one that does not keep to it.
const CONNECT_AT_MOST: Duration = Duration::from_secs(30);

/// What a PUBLISH holds beside topic and payload (MQTT 5 §3.3): fixed header 5, topic length 2, packet identifier 2,
/// property length 1; the rest is for properties that a client may add.
const PUBLISH_OVERHEAD_BYTES: usize = 64;

/// Why an epoch ended.
#[derive(Debug)]
pub(super) enum End {
    /// As told.
    Stopped,
    /// The link is gone.
    Lost { error: String, reason: Option<ReasonCode>, waits_for: WaitsFor },
    /// The outbox is gone.
    Outbox(OutboxError),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        Self::Lost {
            error: closed.text().to_owned(),
            reason: closed.reason(),
            waits_for: closed.waits_for(),
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::lost(fault.to_string())
    }
}

impl End {
    fn lost(error: String) -> Self {
        Self::Lost { error, reason: None, waits_for: WaitsFor::Broker }
    }
}

/// What waits for PUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Connection,
    State,
    Track(Batch),
}

/// How far the leave-taking is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// `offline` is still to be said.
    ToSay,
    /// It is under way, or has arrived.
    Said,
    /// DISCONNECT was sent.
    Disconnecting,
}

/// What there is from CONNACK on.
#[derive(Debug)]
struct Session {
    since: Uptime,
    welcome: Welcome,
    in_flight: InFlight<Message>,
    pace: Pace,
    lanes: Lanes,
    /// A batch that waits for room in the window.
    ready: Option<Encoded>,
    online_said: bool,
    /// A position was handed over, and is not sent yet.
    position_under_way: bool,
    position: PositionCadence,
    state: StateCadence,
    /// After an error, the outbox is left alone until then.
    outbox_not_before: Uptime,
    /// The outbox's error that was logged.
    outbox_error: Option<String>,
    /// What the broker has against `connection` or `state`.
    control_refused: Option<ReasonCode>,
}

impl Session {
    fn tracks(&self) -> usize {
        self.in_flight.iter().filter(|message| matches!(message, Message::Track(_))).count()
    }

    /// The largest payload on `topic` that the broker takes.
    fn max_payload(&self, topic: &str) -> usize {
        let packet = usize::try_from(self.welcome.max_packet_bytes).unwrap_or(usize::MAX);
        packet.saturating_sub(topic.len() + PUBLISH_OVERHEAD_BYTES)
    }
}

/// What ended the waiting.
enum Happened {
    Stop { closed: bool },
    Link(LinkEvent),
    Input,
    Question,
    Time(Uptime),
}

/// One connection.
pub(super) struct Epoch<'a, L: Links> {
    relay: &'a mut Relay<L>,
    link: L::Link,
    opened: Uptime,
    /// When the broker last said something.
    heard: Uptime,
    session: Option<Session>,
    stats: watch::Receiver<OutboxStats>,
    drained: bool,
    /// How far the leave-taking is, and until when it may take.
    leave: Option<(Leave, Uptime)>,
    stop_open: bool,
    live_open: bool,
    health_open: bool,
}

impl<'a, L: Links> Epoch<'a, L> {
    pub(super) fn new(relay: &'a mut Relay<L>, link: L::Link) -> Self {
        let now = relay.pace.uptime();
        let stats = relay.inputs.outbox.stats();
        Self {
            relay,
            link,
            opened: now,
            heard: now,
            session: None,
            stats,
            drained: false,
            leave: None,
            stop_open: true,
            live_open: true,
            health_open: true,
        }
    }

    /// Runs to the end, and says how long the link was up.
    pub(super) async fn run(mut self, stop: &mut watch::Receiver<Stop>) -> (End, Duration) {
        let now = self.relay.pace.uptime();
        let first = *stop.borrow_and_update();
        let end = match self.heed(first, now) {
            Err(end) => end,
            Ok(()) => loop {
                if let Err(end) = self.turn(stop).await {
                    break end;
                }
            },
        };
        let now = self.relay.pace.uptime();
        (end, self.session.map_or(Duration::ZERO, |session| now.since(session.since)))
    }

    /// Hands over what may go, then waits for something to happen. Nothing is lost with a branch that is cancelled: each
    /// of them only looks.
    async fn turn(&mut self, stop: &mut watch::Receiver<Stop>) -> Result<(), End> {
        let now = self.relay.pace.uptime();
        // The outbox may be slow.
        self.relay.pulse.clone().during(self.fill(now)).await?;
        let deadline = self.deadline(now);
        let Self { relay, link, stats, stop_open, live_open, health_open, .. } = self;
        let happened = tokio::select! {
            biased;
            changed = stop.changed(), if *stop_open => Happened::Stop { closed: changed.is_err() },
            () = relay.pulse.answer() => Happened::Question,
            event = link.event() => Happened::Link(event),
            changed = relay.inputs.live.changed(), if *live_open => {
                *live_open = changed.is_ok();
                Happened::Input
            }
            changed = relay.inputs.health.changed(), if *health_open => {
                *health_open = changed.is_ok();
                Happened::Input
            }
            Ok(()) = stats.changed() => Happened::Input,
            now = relay.pace.reached(deadline) => Happened::Time(now),
        };
        let now = self.relay.pace.uptime();
        match happened {
            Happened::Stop { closed: false } => {
                let stop = *stop.borrow_and_update();
                self.heed(stop, now)
            }
            Happened::Stop { closed: true } => {
                self.stop_open = false;
                if self.drained { Ok(()) } else { self.take_leave(now + FAREWELL) }
            }
            Happened::Link(event) => self.event(event, now),
            Happened::Input | Happened::Question => Ok(()),
            Happened::Time(now) => self.overdue(now),
        }
    }

    fn heed(&mut self, stop: Stop, now: Uptime) -> Result<(), End> {
        match stop {
            Stop::Running => Ok(()),
            Stop::Grace(grace) => self.take_leave(now + grace),
            Stop::Drained => {
                self.drained = true;
                if let Some(session) = &mut self.session {
                    session.lanes.at_once = true;
                }
                Ok(())
            }
        }
    }

    fn take_leave(&mut self, until: Uptime) -> Result<(), End> {
        if self.session.is_none() {
            return Err(End::Stopped);
        }
        let stage = self.leave.map_or(Leave::ToSay, |(stage, _)| stage);
        self.leave = Some((stage, until));
        Ok(())
    }

    fn event(&mut self, event: LinkEvent, now: Uptime) -> Result<(), End> {
        if let LinkEvent::Closed(closed) = event {
            return Err(if self.leave.is_some() { End::Stopped } else { closed.into() });
        }
        if !matches!(event, LinkEvent::Sent(_)) {
            self.heard = now;
        }
        if let LinkEvent::Connected(welcome) = event {
            self.welcomed(welcome, now);
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        match event {
            LinkEvent::Sent(0) => session.position_under_way = false,
            LinkEvent::Sent(packet_id) => session.in_flight.sent(packet_id)?,
            LinkEvent::Acked { packet_id, reason } => {
                let under_way = session.in_flight.bytes();
                let (message, bytes, since) = session.in_flight.acked(packet_id)?;
                session.pace.acked((bytes, under_way), now.since(since), now);
                session.in_flight.limit(session.pace.window());
                self.answered(message, reason, now);
            }
            LinkEvent::Connected(_) | LinkEvent::Alive | LinkEvent::Closed(_) => {}
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: Welcome, now: Uptime) {
        let config = &self.relay.config;
        let batching = Batching {
            points: config.track_batch,
            backlog_points: config.backlog_batch,
            interval: config.track_interval,
            max_error: config.track_error,
            encoding: config.track_encoding,
        };
        let mut lanes = Lanes::new(batching, self.stats.borrow().newest);
        lanes.at_once = self.drained;
        let window = config.in_flight.min(welcome.receive_max);
        let pace = Pace::new(config.in_flight_bytes, config.backlog_bytes_per_s, now);
        self.session = Some(Session {
            since: now,
            welcome,
            in_flight: InFlight::new(window, pace.window()),
            pace,
            lanes,
            ready: None,
            online_said: false,
            position_under_way: false,
            position: PositionCadence::default(),
            state: StateCadence::default(),
            outbox_not_before: Uptime::ZERO,
            outbox_error: None,
            control_refused: None,
        });
        self.relay.report.connected();
    }

    /// A PUBACK came.
    fn answered(&mut self, message: Message, reason: ReasonCode, now: Uptime) {
        let Relay { config, inputs, removals, refusals, report, .. } = &mut *self.relay;
        let Some(session) = &mut self.session else { return };
        let unheard = reason == ReasonCode::NO_MATCHING_SUBSCRIBERS && config.require_subscriber;
        match message {
            Message::Track(batch) if reason.is_failure() || unheard => {
                session.lanes.park(batch, now);
                if refusals.refused(reason, now) {
                    let topic = &config.topics.track;
                    tracing::warn!(%topic, %reason, "broker refuses records, keeping them");
                }
                report.count(|status| status.last_reason = Some(reason));
            }
            Message::Track(batch) => {
                inputs.outbox.acknowledge(&(batch.first..=batch.last));
                removals.note(&inputs.outbox, batch.points, now);
                if refusals.accepted(now) {
                    tracing::info!(topic = %config.topics.track, "broker accepts records again");
                    report.count(|status| status.last_reason = None);
                }
                report.count(|status| status.points_acked += batch.points);
            }
            Message::Connection | Message::State => {
                let refused = reason.is_failure().then_some(reason);
                if let Some(reason) = refused
                    && session.control_refused != refused
                {
                    tracing::warn!(?message, %reason, "broker refuses a message about the agent");
                }
                session.control_refused = refused;
            }
        }
    }

    /// A deadline has passed: of those that `fill` does not see to.
    fn overdue(&self, now: Uptime) -> Result<(), End> {
        if self.leave.is_some_and(|(_, until)| now >= until) {
            return Err(End::Stopped);
        }
        match self.watchdog() {
            Some((due, error)) if now >= due => Err(End::lost(error.to_owned())),
            _ => Ok(()),
        }
    }

    /// When the link counts as dead, and why.
    fn watchdog(&self) -> Option<(Uptime, &'static str)> {
        let Some(session) = &self.session else {
            return Some((self.opened + CONNECT_AT_MOST, "no answer from the broker to CONNECT"));
        };
        let acks = session.in_flight.oldest().map(|oldest| {
            (oldest + self.relay.config.ack_timeout, "no PUBACK from the broker in time")
        });
        // PINGRESP comes once in each keep alive; zero turns it off.
        let keep_alive = session.welcome.keep_alive;
        let silence = (!keep_alive.is_zero()).then(|| {
            (self.heard + keep_alive * 7 / 4, "nothing from the broker for nearly two keep alives")
        });
        [acks, silence].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// When something is due. What is due already, and still there after `fill`, waits for something else.
    fn deadline(&self, now: Uptime) -> Option<Uptime> {
        let ends = [self.watchdog().map(|(due, _)| due), self.leave.map(|(_, until)| until)];
        let removals = self.relay.removals.deadline();
        let mut chores = vec![removals, self.relay.refusals.deadline()];
        if let Some(session) = &self.session {
            chores.push(Some(session.outbox_not_before));
            chores.push(session.lanes.deadline(now));
            chores.push(Some(session.pace.backlog_due()));
            chores.push(Some(self.state_due(session)));
            chores.push(self.newest().and_then(|newest| self.position_due(session, &newest)));
        }
        let chores = chores.into_iter().flatten().filter(|due| *due > now);
        ends.into_iter().flatten().chain(chores).min()
    }

    fn newest(&self) -> Option<Record> {
        *self.relay.inputs.live.borrow()
    }

    fn position_due(&self, session: &Session, newest: &Record) -> Option<Uptime> {
        let due = session.position.due(newest, &self.relay.config)?;
        // The last one of a recording has no successor to wait for.
        Some(if self.drained { Uptime::ZERO } else { due })
    }

    fn state_due(&self, session: &Session) -> Uptime {
        let health = self.relay.inputs.health.borrow();
        let interval = self.relay.config.state_interval;
        session.state.due(&health.gnss.receiver, health.gnss.mode, interval)
    }
}
