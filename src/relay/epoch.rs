//! One connection: from the attempt to its end.

mod answered;
mod deadlines;
mod events;
mod fill;
mod position;
mod state;
mod tracks;

use std::time::Duration;

use tokio::sync::watch;

use super::cadence::{PositionCadence, StateCadence};
use super::events::{Attempt, EventLane, ReadyEvent};
use super::in_flight::{Fault, InFlight};
use super::lanes::{Batch, Batching, Encoded, Lanes, Order};
use super::link::{Closed, Link, LinkEvent, Links, ReasonCode, Stage, WaitsFor, Welcome};
use super::pace::Pace;
use super::subscription::Wanted;
use super::{FAREWELL, Relay, Stop, Traffic};
use crate::outbox::{OutboxError, OutboxStats};
use crate::units::Uptime;
use crate::wire::json::StopStatus;

/// The client limits an attempt itself; this is for one that does not keep to it.
const CONNECT_AT_MOST: Duration = Duration::from_secs(30);

/// What a PUBLISH holds beside topic and payload (MQTT 5 §3.3): fixed header 5, topic length 2, packet identifier 2,
/// property length 1; the rest is for properties that a client may add.
const PUBLISH_OVERHEAD_BYTES: usize = 64;

/// A broker that does not allow a subscription cuts it at once; later, it is the network.
const CUTS_WITHIN: Duration = Duration::from_secs(5);

/// Why an epoch ended.
#[derive(Debug)]
pub(super) enum End {
    /// As told.
    Stopped,
    /// The link is gone.
    Lost { error: String, reason: Option<ReasonCode>, stage: Option<Stage>, waits_for: WaitsFor },
    /// The outbox is gone.
    Outbox(OutboxError),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        Self::Lost {
            error: closed.text().to_owned(),
            reason: closed.reason(),
            stage: closed.stage(),
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
        Self::Lost { error, reason: None, stage: None, waits_for: WaitsFor::Broker }
    }
}

/// What waits for PUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Subscription,
    Connection,
    State,
    /// To a command, by its number.
    Answer(u64),
    Event(Attempt),
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

/// How far SUBSCRIBE is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscribed {
    ToDo,
    UnderWay { since: Uptime },
    Answered,
}

/// What there is from CONNACK on.
#[derive(Debug)]
struct Session {
    since: Uptime,
    welcome: Welcome,
    in_flight: InFlight<Message>,
    pace: Pace,
    event_lane: EventLane,
    /// An event that waits for room in the window.
    ready_event: Option<ReadyEvent>,
    lanes: Lanes,
    /// A batch that waits for room in the window.
    ready: Option<Encoded>,
    /// To what this connection subscribes.
    wanted: Wanted,
    subscription: Subscribed,
    online_said: bool,
    /// Messages of QoS 0 that were handed over, and are not sent yet.
    positions_under_way: usize,
    position: PositionCadence,
    /// What the last one said of the stop.
    place_said: Option<(Option<StopStatus>, Option<u32>)>,
    /// How many reports had been asked for when it was said.
    reports_said: Option<u64>,
    state: StateCadence,
    /// After an error, the outbox is left alone until then.
    outbox_not_before: Uptime,
    /// The outbox's error that was logged.
    outbox_error: Option<String>,
    /// What the broker has against `connection`, `state` and `cmd/res`.
    control_refused: [Option<ReasonCode>; 3],
}

impl Session {
    fn tracks(&self) -> usize {
        self.in_flight.iter().filter(|message| matches!(message, Message::Track(_))).count()
    }

    fn events(&self) -> usize {
        self.in_flight.iter().filter(|message| matches!(message, Message::Event(_))).count()
    }

    fn oldest_event(&self) -> Option<Attempt> {
        self.in_flight.iter().find_map(|message| match message {
            Message::Event(attempt) => Some(*attempt),
            _ => None,
        })
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
        // What was sent on another connection does not wait for the backend on this one.
        relay.acks.begin_again();
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
        if let End::Lost { .. } = &end
            && let Some(oldest) = self.session.as_ref().and_then(Session::oldest_event)
        {
            self.relay.suspects.lost_with(oldest, now);
        }
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
            answer = relay.inputs.answers.recv(), if relay.answers_open => {
                relay.take_answer(answer);
                Happened::Input
            }
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
            if self.session.is_none() {
                self.relay.air.count_attempt(&closed);
            }
            self.closed_over_subscription(&closed, now);
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
            LinkEvent::Sent(0) => {
                session.positions_under_way = session.positions_under_way.saturating_sub(1);
            }
            LinkEvent::Sent(packet_id) => session.in_flight.sent(packet_id)?,
            LinkEvent::Acked { packet_id, reason } => {
                let under_way = session.in_flight.bytes();
                let (message, bytes, since) = session.in_flight.acked(packet_id)?;
                session.pace.acked((bytes, under_way), now.since(since), now);
                session.in_flight.limit(session.pace.window());
                self.answered(message, reason, now);
            }
            LinkEvent::Subscribed { packet_id, reasons } => {
                if session.in_flight.acked(packet_id)?.0 != Message::Subscription {
                    return Err(Fault::NotInFlight(packet_id).into());
                }
                self.subscribed(&reasons);
            }
            LinkEvent::Message { topic, payload, retained } => {
                self.heard_of(&topic, payload, retained, now);
            }
            LinkEvent::Alive => self.relay.air.count(Traffic::Ping),
            LinkEvent::Connected(_) | LinkEvent::Closed(_) => {}
        }
        Ok(())
    }

    /// Whether what comes down is why the broker, and not the relay, ended the connection.
    fn closed_over_subscription(&mut self, closed: &Closed, now: Uptime) {
        let Some(session) = &self.session else { return };
        if let Closed::Oversized { .. } = closed {
            self.relay.go_without_downlink(session.wanted, closed.text(), now);
        } else if let Subscribed::UnderWay { since } = session.subscription
            && now.since(since) <= CUTS_WITHIN
        {
            self.relay.ended_before_suback(session.wanted, closed.text(), now);
        }
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
        let order = if config.waits_for_ack() { Order::Ascending } else { Order::FreshFirst };
        let lanes = Lanes::new(batching, order, self.stats.borrow().newest);
        let wanted = self.relay.subscription.wanted(config.waits_for_ack(), now);
        let window = config.in_flight.min(welcome.receive_max);
        let pace = Pace::new(config.in_flight_bytes, config.backlog_bytes_per_s, now);
        self.session = Some(Session {
            since: now,
            welcome,
            in_flight: InFlight::new(window, pace.window()),
            pace,
            event_lane: EventLane::default(),
            ready_event: None,
            lanes,
            ready: None,
            wanted,
            subscription: Subscribed::ToDo,
            online_said: false,
            positions_under_way: 0,
            position: PositionCadence::default(),
            place_said: None,
            reports_said: None,
            state: StateCadence::default(),
            outbox_not_before: Uptime::ZERO,
            outbox_error: None,
            control_refused: [None; 3],
        });
        self.relay.answers.begin_again();
        self.relay.air.count(Traffic::Connection);
        self.relay.report.connected();
    }
}
