//! Scans, requests, manifests and commands → the pipeline's delivery; what came of them → who asked.
//!
//! A stranger at a scanner, at the socket or on the broker makes at most one event, one answer and one counter each time.

use std::borrow::Cow;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::control::{Asked, HandOver, OutcomeAsked, ParcelOutcome, Reply, Request};
use crate::core::delivery::event::{Alert, Outcome, ReadBy, Reason};
use crate::core::delivery::{
    self, Became, Delay, DelayReason, Fate, ManifestRefusal, ManifestVerdict, Order, Said, Saying,
    Scan, ScanVerdict,
};
use crate::core::{Output, Pipeline};
use crate::relay::{Answer, Downlink, DownlinkReceiver, Wishes};
use crate::scanner::{self, Roster, Standing};
use crate::units::Uptime;
use crate::wire::command::{self, CommandResult};
use crate::wire::manifest;
use crate::wire::signed::CommandKey;

/// A command to flush lasts so long: points that come meanwhile do not wait either.
const FLUSH_FOR: Duration = Duration::from_secs(10);

/// Where it comes in, and where answers go.
#[derive(Debug)]
pub struct Inlets {
    /// What scanners say.
    pub scans: mpsc::Receiver<scanner::Event>,
    /// How they are.
    pub roster: Roster,
    /// The same, for whoever wants to know.
    pub standings: watch::Sender<Vec<Standing>>,
    /// From the local socket.
    pub requests: mpsc::Receiver<Request>,
    /// From the backend.
    pub downlink: DownlinkReceiver,
    /// To the backend.
    pub answers: mpsc::Sender<Answer>,
    /// Whose commands count; `None`: whatever the broker lets through.
    pub command_key: Option<CommandKey>,
    /// How many commands did not count, since the agent started.
    pub unsigned_commands: watch::Sender<u64>,
}

/// Something that came in.
#[derive(Debug)]
pub(super) enum Inlet {
    Scan(scanner::Event),
    Request(Request),
    Downlink(Downlink),
}

/// The desk at which all of that is dealt with.
#[derive(Debug)]
pub(super) struct Desk {
    inlets: Option<Inlets>,
    clock: Clock,
    wishes: Wishes,
    message: Option<(String, Uptime)>,
    /// Why the newest manifest was not taken.
    refused: Option<ManifestRefusal>,
    /// Rises when a scanner has changed. What is wished comes by the pipeline, whose revision rises with it.
    revision: u64,
}

impl Desk {
    pub(super) fn new(inlets: Option<Inlets>, clock: Clock) -> Self {
        let wishes = Wishes::default();
        Self { inlets, clock, wishes, message: None, refused: None, revision: 0 }
    }

    /// Rises when a scanner has changed.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// What the backend wishes of the relay.
    pub(super) const fn wishes(&self) -> Wishes {
        self.wishes
    }

    /// The newest words for the driver, and when they came.
    pub(super) const fn message(&self) -> Option<&(String, Uptime)> {
        self.message.as_ref()
    }

    /// Takes what commands want of others than the delivery.
    pub(super) fn heed(&mut self, orders: &mut Vec<Order>) {
        let now = self.clock.uptime();
        for order in orders.drain(..) {
            match order {
                Order::ReportNow { .. } => self.wishes.reports += 1,
                Order::SetRate { interval_s, for_s } => {
                    let every = Duration::from_secs(interval_s.into());
                    self.wishes.rate = Some((every, now + Duration::from_secs(for_s.into())));
                }
                Order::Flush => self.wishes.flush_until = now + FLUSH_FOR,
                Order::Message { text } => self.message = Some((text, now)),
                // The others are the delivery's, and the journal sees to its files by itself.
                _ => {}
            }
        }
    }

    /// Waits for ever once nobody is left who could say something. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Inlet {
        let Some(inlets) = &mut self.inlets else { return std::future::pending().await };
        tokio::select! {
            Some(event) = inlets.scans.recv() => Inlet::Scan(event),
            Some(request) = inlets.requests.recv() => Inlet::Request(request),
            Some(downlink) = inlets.downlink.recv() => Inlet::Downlink(downlink),
            else => std::future::pending().await,
        }
    }

    /// What came in before the end.
    pub(super) fn left(&mut self) -> Option<Inlet> {
        let inlets = self.inlets.as_mut()?;
        let scan = inlets.scans.try_recv().ok().map(Inlet::Scan);
        let request = scan.or_else(|| inlets.requests.try_recv().ok().map(Inlet::Request));
        request.or_else(|| inlets.downlink.try_recv().map(Inlet::Downlink))
    }

    pub(super) fn standings(&self) -> &[Standing] {
        self.inlets.as_ref().map_or(&[], |inlets| inlets.roster.standings())
    }

    pub(super) fn take(&mut self, inlet: Inlet, pipeline: &mut Pipeline, out: &mut Output) {
        let now = self.clock.uptime();
        match inlet {
            Inlet::Scan(event) => self.scanner_said(&event, now, pipeline, out),
            Inlet::Request(Request { asked, reply }) => {
                // Who does not wait for the answer has done it all the same.
                let _ = reply.send(asked_for(asked, now, pipeline, out));
            }
            Inlet::Downlink(Downlink::Manifest(payload)) => {
                self.manifest_came(&payload, now, pipeline, out);
            }
            Inlet::Downlink(Downlink::Command(payload)) => {
                self.command_came(&payload, now, pipeline, out);
            }
        }
    }

    fn scanner_said(
        &mut self,
        event: &scanner::Event,
        now: Uptime,
        pipeline: &mut Pipeline,
        out: &mut Output,
    ) {
        let Some(Inlets { roster, standings, .. }) = &mut self.inlets else { return };
        roster.note(event, now);
        self.revision += 1;
        standings.send_replace(roster.standings().to_vec());
        if let scanner::Event::Scan(line) = event {
            let name = roster.standings().get(line.scanner).map(|one| one.name.clone());
            let scan = Scan {
                source: name.unwrap_or_default(),
                by: line.by,
                bytes: line.bytes.clone(),
                at: line.at,
                rssi: line.rssi,
                antenna: line.antenna,
            };
            let verdict = pipeline.deliver(out, |delivery, all| delivery.scan(&scan, all));
            tracing::debug!(scanner = scan.source, ?verdict, "scanned");
        }
    }

    fn manifest_came(
        &mut self,
        payload: &[u8],
        now: Uptime,
        pipeline: &mut Pipeline,
        out: &mut Output,
    ) {
        let read = manifest::read(payload);
        let refusal = read.as_ref().err().cloned();
        let verdict = pipeline.deliver(out, |delivery, all| delivery.manifest(read, now, all));
        match (verdict, refusal.as_ref()) {
            (Some(ManifestVerdict::Taken), _) => tracing::info!("manifest taken"),
            (Some(ManifestVerdict::Withdrawn), _) => tracing::debug!("no manifest"),
            // It comes again with each connection.
            (Some(ManifestVerdict::Refused), Some(error)) if self.refused != refusal => {
                tracing::warn!(%error, "manifest refused, the old one stays");
                tracing::debug!(value = error.value, "what stood there");
            }
            _ => {}
        }
        self.refused = refusal;
    }

    fn command_came(&self, payload: &[u8], now: Uptime, pipeline: &mut Pipeline, out: &mut Output) {
        let Some(payload) = self.authentic(payload) else { return };
        match command::read(&payload) {
            Ok(command) => {
                pipeline.deliver(out, |delivery, all| delivery.command(&command, now, all));
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "command not understood");
                out.happenings.answers.extend(refusal.answer(self.clock.utc()));
            }
        }
    }

    /// A command that counts. Who has no right to give any is counted, and said once.
    fn authentic<'a>(&self, payload: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let inlets = self.inlets.as_ref()?;
        let Some(key) = &inlets.command_key else { return Some(Cow::Borrowed(payload)) };
        let error = match key.open(payload) {
            Ok(command) => return Some(Cow::Owned(command)),
            Err(error) => error,
        };
        inlets.unsigned_commands.send_modify(|count| *count += 1);
        if *inlets.unsigned_commands.borrow() == 1 {
            tracing::warn!(%error, "a command does not count, and no other without signature will");
        } else {
            tracing::debug!(%error, "command does not count");
        }
        None
    }

    /// Says what commands came to. What the relay has no room for is asked for again by whoever wants to know.
    pub(super) fn answer(&self, answers: &mut Vec<delivery::Answer>) {
        for answer in answers.drain(..) {
            let payload = serde_json::to_vec(&CommandResult::from(&answer))
                .expect("numbers and strings are JSON");
            if let Some(inlets) = &self.inlets {
                let _ = inlets.answers.try_send(Answer { payload });
            }
        }
    }
}

fn asked_for(asked: Asked, now: Uptime, pipeline: &mut Pipeline, out: &mut Output) -> Reply {
    let saying = match asked {
        Asked::Scan { code } => {
            let (source, by) = ("socket".to_owned(), ReadBy::Manual);
            let bytes = code.into_bytes();
            let scan = Scan { source, by, bytes, at: now, rssi: None, antenna: None };
            let verdict = pipeline.deliver(out, |delivery, all| delivery.scan(&scan, all));
            return verdict.map_or_else(nobody, |verdict| verdict_in_words(&verdict));
        }
        Asked::Outcome(asked) => match saying_of(asked) {
            Ok(saying) => saying,
            Err(refusal) => return Reply::Refused(refusal),
        },
        Asked::Duty(duty) => Saying::Duty(duty),
        Asked::Delay { code: None } => Saying::Delay(None),
        Asked::Delay { code: Some(code) } => match DelayReason::parse(&code) {
            Some(reason) => Saying::Delay(Some(Delay { by: Delay::UNSAID, reason })),
            None => {
                return Reply::Refused(format!(
                    "{code} is no reason for a delay: write AO weather, BE traffic, AI breakdown, AF accident or BG other"
                ));
            }
        },
    };
    match pipeline.deliver(out, |delivery, all| delivery.say(&saying, now, all)) {
        None => nobody(),
        Some(Ok(Said::Parcel { key, became })) => Reply::Done(became_in_words(&key, &became)),
        Some(Ok(Said::Undone)) => Reply::Done("the last scan was taken back".to_owned()),
        Some(Ok(Said::Noted)) => Reply::Done("noted".to_owned()),
        Some(Err(refusal)) => Reply::Refused(refusal.to_string()),
    }
}

fn nobody() -> Reply {
    Reply::Refused("this agent carries no parcels".to_owned())
}

fn saying_of(asked: OutcomeAsked) -> Result<Saying, String> {
    let OutcomeAsked { parcel, outcome, code, how } = asked;
    let fate = match outcome {
        ParcelOutcome::Delivered => Fate::Delivered(match how {
            None => Outcome::HandedOver,
            Some(HandOver::SafePlace) => Outcome::SafePlace,
            Some(HandOver::Neighbour) => Outcome::Neighbour,
            Some(HandOver::Locker) => Outcome::Locker,
        }),
        ParcelOutcome::Attempt => {
            let code = code.unwrap_or_else(|| Reason::Other.code().to_owned());
            let reason = Reason::from_code(&code.to_uppercase());
            Fate::Attempted(reason.ok_or_else(|| {
                format!("{code} is no reason: write one of docs/contract.md, such as AQ for nobody at home")
            })?)
        }
        ParcelOutcome::Damaged => Fate::Damaged,
        ParcelOutcome::NotFound => Fate::NotFound,
        ParcelOutcome::Returned => Fate::Returned,
        ParcelOutcome::Undo => return Ok(Saying::Undo),
    };
    Ok(Saying::Parcel { key: parcel, fate })
}

fn verdict_in_words(verdict: &ScanVerdict) -> Reply {
    let refused = |words: &str| Reply::Refused(words.to_owned());
    let done = |words: &str| Reply::Done(words.to_owned());
    match verdict {
        ScanVerdict::Waits => done("kept until the van knows the time"),
        ScanVerdict::GivenUp => refused("too many scans wait for the time; wait for the first fix"),
        ScanVerdict::Repeat => done("the same code as just now"),
        ScanVerdict::Garbage => refused("this is no code of a parcel; `waypost code` explains it"),
        ScanVerdict::OffDuty => {
            refused("nothing is recorded off duty; `waypost duty on` begins it")
        }
        ScanVerdict::Tag => done("a radio tag was counted"),
        ScanVerdict::BadControl => {
            refused("this control code is not known; docs/contract.md has them")
        }
        ScanVerdict::Armed(_) => done("the next scan within a minute gets this outcome"),
        ScanVerdict::Undone => done("the last scan was taken back"),
        ScanVerdict::NothingToUndo => refused("no scan within the last minute can be taken back"),
        ScanVerdict::Noted => done("noted"),
        ScanVerdict::Parcel { key, became } => Reply::Done(became_in_words(key, became)),
    }
}

fn became_in_words(key: &str, became: &Became) -> String {
    let words = match became {
        Became::Loaded => "loaded".to_owned(),
        Became::Unloaded => "unloaded again".to_owned(),
        Became::Delivered(outcome) => format!("delivered, {}", outcome.name().replace('_', " ")),
        Became::Attempted(reason) => format!("not delivered, {}", reason.name().replace('_', " ")),
        Became::Damaged => "damaged".to_owned(),
        Became::Returned => "returned".to_owned(),
        Became::NotFound => "not found".to_owned(),
        Became::Void => "never left the station".to_owned(),
        Became::Seen(None) => "seen".to_owned(),
        Became::Seen(Some(Alert::WrongStop { due })) => {
            format!("seen; it is due at stop {}", due.seq)
        }
        Became::Seen(Some(Alert::Unknown)) => "seen; it is not in the manifest".to_owned(),
        Became::Seen(Some(Alert::Recalled)) => "seen; it was recalled and goes back".to_owned(),
        Became::Seen(Some(Alert::Finished)) => "seen; it was finished before".to_owned(),
        Became::Seen(Some(Alert::NotLoaded)) => "seen; it was never loaded".to_owned(),
    };
    format!("{key}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::PipelineConfig;
    use crate::core::calendar::Era;
    use crate::core::delivery::{Delivery, DeliveryConfig};
    use crate::core::journey::{JourneyConfig, JourneyState};
    use crate::core::record::Seq;
    use crate::core::sampling::Sampling;
    use crate::relay::{DownlinkSender, downlink};
    use crate::wire::signed::tests::{for_the_van, van};

    fn command(id: u8) -> Vec<u8> {
        let id = format!("0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f{id:02}");
        format!(r#"{{"v":1,"id":"{id}","cmd":"fly"}}"#).into_bytes()
    }

    /// A desk, and the other ends of what is kept open.
    fn desk(
        command_key: Option<CommandKey>,
    ) -> (Desk, watch::Receiver<u64>, mpsc::Receiver<Answer>, DownlinkSender) {
        let (sender, downlink) = downlink();
        let (answers, said) = mpsc::channel(8);
        let unsigned_commands = watch::Sender::new(0);
        let unsigned = unsigned_commands.subscribe();
        let inlets = Inlets {
            scans: mpsc::channel(1).1,
            roster: Roster::new(&[]),
            standings: watch::Sender::default(),
            requests: mpsc::channel(1).1,
            downlink,
            answers,
            command_key,
            unsigned_commands,
        };
        (Desk::new(Some(inlets), Clock::live()), unsigned, said, sender)
    }

    /// How many of the commands were answered, and how many did not count.
    fn answered(command_key: Option<CommandKey>, payloads: &[Vec<u8>]) -> (usize, u64) {
        let (mut desk, unsigned, mut said, _sender) = desk(command_key);
        let journey = JourneyConfig::default();
        let config = PipelineConfig { era: Era::AsSaid, journey, sampling: Sampling::Raw };
        let delivery = Delivery::new(DeliveryConfig::new("VAN-042", "id.example.com"), &[]);
        let mut pipeline =
            Pipeline::new(config, Seq::new(1), JourneyState::default()).with_delivery(delivery);
        let mut out = Output::default();
        for payload in payloads {
            let inlet = Inlet::Downlink(Downlink::Command(payload.clone()));
            desk.take(inlet, &mut pipeline, &mut out);
        }
        desk.answer(&mut out.happenings.answers);
        (std::iter::from_fn(|| said.try_recv().ok()).count(), *unsigned.borrow())
    }

    #[test]
    fn with_a_key_only_signed_commands_count_and_strangers_are_not_answered() {
        let malformed = br#"{"v":1,"id":"0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10","cmd":7}"#;
        let bare = [command(10), command(11), malformed.to_vec(), b"{}".to_vec()];
        assert_eq!(answered(Some(van()), &bare), (0, 4));
        let signed = [for_the_van(&command(10)), for_the_van(malformed), command(11)];
        assert_eq!(answered(Some(van()), &signed), (2, 1));
        assert_eq!(answered(None, &bare), (3, 0));
        assert_eq!(answered(None, &[for_the_van(&command(10))]), (0, 0), "it has no id");
    }
}
