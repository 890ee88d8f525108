//! Applies scans, control requests, manifests and commands to the delivery state, and sends back
//! the results.
//!
//! Untrusted input causes at most one event, one response and one counter increment per message.

use std::borrow::Cow;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::control::{
    AgentCommand, AgentRequest, Disposition, OutcomeRequest, ParcelOutcome, Reply,
};
use crate::scanner::{self, ScannerRegistry, ScannerSummary};
use crate::uplink::{CommandResponse, Downlink, DownlinkReceiver, ReportingOverrides};
use waypost_model::command::CommandKind;
use waypost_model::driver_input::{Delay, DelayReason, DriverInput, ReportedOutcome};
use waypost_model::event::{Alert, FailureReason, Outcome, ReaderKind};
use waypost_model::manifest::RejectedManifest;
use waypost_model::units::Uptime;
use waypost_pipeline::delivery::{DriverInputResult, ManifestResult, Scan, ScanEffect, ScanResult};
use waypost_pipeline::{Pipeline, PipelineOutput};
use waypost_service::clock::Clock;
use waypost_wire::command::{self, CommandResultPayload};
use waypost_wire::command_signature::CommandKeys;
use waypost_wire::manifest;

/// Duration of a flush: points that arrive in this time are sent without batching, too.
const FLUSH_DURATION: Duration = Duration::from_secs(10);

/// Input channels of the engine, and channels for its results.
#[derive(Debug)]
pub struct EngineInputs {
    /// Events of the scanners.
    pub scans: mpsc::Receiver<scanner::ScannerEvent>,
    /// State of the scanners.
    pub scanners: ScannerRegistry,
    /// Publishes the state of the scanners.
    pub scanner_summaries: watch::Sender<Vec<ScannerSummary>>,
    /// Requests from the control socket.
    pub requests: mpsc::Receiver<AgentRequest>,
    /// Manifests and commands from the backend.
    pub downlink: DownlinkReceiver,
    /// Results of commands, sent to the backend.
    pub answers: mpsc::Sender<CommandResponse>,
    /// Key that commands must be signed with; `None` accepts every command that the broker
    /// delivers.
    pub command_keys: Option<CommandKeys>,
    /// Publishes the number of commands rejected since the agent started.
    pub unsigned_commands: watch::Sender<u64>,
}

/// One input.
#[derive(Debug)]
pub(super) enum Input {
    Scan(scanner::ScannerEvent),
    Request(AgentRequest),
    Downlink(Downlink),
}

/// Handles the inputs of the engine other than the GNSS source.
#[derive(Debug)]
pub(super) struct InputHandler {
    inputs: Option<EngineInputs>,
    clock: Clock,
    overrides: ReportingOverrides,
    message: Option<(String, Uptime)>,
    /// Reason why the newest manifest was rejected.
    manifest_rejected: Option<RejectedManifest>,
    /// Incremented when a scanner changes. Other changes increment the revision of the pipeline.
    revision: u64,
}

impl InputHandler {
    pub(super) fn new(inputs: Option<EngineInputs>, clock: Clock) -> Self {
        let overrides = ReportingOverrides::default();
        Self { inputs, clock, overrides, message: None, manifest_rejected: None, revision: 0 }
    }

    /// Revision of the scanner states.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Reporting overrides that the backend requested.
    pub(super) const fn overrides(&self) -> ReportingOverrides {
        self.overrides
    }

    /// Newest message for the driver, with its time of arrival.
    pub(super) const fn message(&self) -> Option<&(String, Uptime)> {
        self.message.as_ref()
    }

    /// Applies the parts of commands that do not concern the delivery state.
    pub(super) fn apply_commands(&mut self, orders: &mut Vec<CommandKind>) {
        let now = self.clock.uptime();
        for order in orders.drain(..) {
            match order {
                CommandKind::ReportNow { .. } => self.overrides.report_requests += 1,
                CommandKind::SetReportInterval { interval_s, duration_s } => {
                    let interval = Duration::from_secs(interval_s.into());
                    self.overrides.position_interval =
                        Some((interval, now + Duration::from_secs(duration_s.into())));
                }
                CommandKind::FlushOutbox => self.overrides.flush_until = now + FLUSH_DURATION,
                CommandKind::ShowMessage { text } => self.message = Some((text, now)),
                // The delivery tracker handles all other commands.
                _ => {}
            }
        }
    }

    /// Waits for the next input, for ever if all senders are gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Input {
        let Some(inputs) = &mut self.inputs else { return std::future::pending().await };
        tokio::select! {
            Some(event) = inputs.scans.recv() => Input::Scan(event),
            Some(request) = inputs.requests.recv() => Input::Request(request),
            Some(downlink) = inputs.downlink.recv() => Input::Downlink(downlink),
            else => std::future::pending().await,
        }
    }

    /// Takes an input that is already queued.
    pub(super) fn drain_next(&mut self) -> Option<Input> {
        let inputs = self.inputs.as_mut()?;
        let scan = inputs.scans.try_recv().ok().map(Input::Scan);
        let request = scan.or_else(|| inputs.requests.try_recv().ok().map(Input::Request));
        request.or_else(|| inputs.downlink.try_recv().map(Input::Downlink))
    }

    pub(super) fn scanner_summaries(&self) -> &[ScannerSummary] {
        self.inputs.as_ref().map_or(&[], |inputs| inputs.scanners.summaries())
    }

    pub(super) fn handle(
        &mut self,
        inlet: Input,
        pipeline: &mut Pipeline,
        out: &mut PipelineOutput,
    ) {
        let now = self.clock.uptime();
        match inlet {
            Input::Scan(event) => self.on_scanner_event(&event, now, pipeline, out),
            Input::Request(AgentRequest { command: asked, reply }) => {
                // The request is done even if the client has disconnected.
                let _ = reply.send(on_request(asked, now, pipeline, out));
            }
            Input::Downlink(Downlink::Manifest(payload)) => {
                self.on_manifest(&payload, now, pipeline, out);
            }
            Input::Downlink(Downlink::Command(payload)) => {
                self.on_command(&payload, now, pipeline, out);
            }
        }
    }

    fn on_scanner_event(
        &mut self,
        event: &scanner::ScannerEvent,
        now: Uptime,
        pipeline: &mut Pipeline,
        out: &mut PipelineOutput,
    ) {
        let Some(EngineInputs { scanners: roster, scanner_summaries: standings, .. }) =
            &mut self.inputs
        else {
            return;
        };
        roster.record(event, now);
        self.revision += 1;
        standings.send_replace(roster.summaries().to_vec());
        if let scanner::ScannerEvent::Scan(line) = event {
            let name = roster.summaries().get(line.scanner).map(|one| one.name.clone());
            let scan = Scan {
                source: name.unwrap_or_default(),
                reader: line.by,
                bytes: line.bytes.clone(),
                at: line.at,
                rssi: line.rssi,
                antenna: line.antenna,
            };
            let verdict = pipeline.update_delivery(out, |delivery, all| delivery.scan(&scan, all));
            tracing::debug!(scanner = scan.source, ?verdict, "scanned");
        }
    }

    fn on_manifest(
        &mut self,
        payload: &[u8],
        now: Uptime,
        pipeline: &mut Pipeline,
        out: &mut PipelineOutput,
    ) {
        let read = manifest::parse(payload);
        let refusal = read.as_ref().err().cloned();
        let verdict =
            pipeline.update_delivery(out, |delivery, all| delivery.manifest(read, now, all));
        match (verdict, refusal.as_ref()) {
            (Some(ManifestResult::Accepted), _) => tracing::info!("manifest accepted"),
            (Some(ManifestResult::Withdrawn), _) => tracing::debug!("manifest withdrawn"),
            // The retained manifest arrives on each connection; the same error is logged once.
            (Some(ManifestResult::Rejected), Some(rejected))
                if self.manifest_rejected != refusal =>
            {
                let error = &rejected.error;
                tracing::warn!(%error, "manifest rejected, keeping the previous one");
                tracing::debug!(value = error.value, "rejected manifest value");
            }
            _ => {}
        }
        self.manifest_rejected = refusal;
    }

    fn on_command(
        &self,
        payload: &[u8],
        now: Uptime,
        pipeline: &mut Pipeline,
        out: &mut PipelineOutput,
    ) {
        let Some(payload) = self.verify(payload) else { return };
        match command::parse(&payload) {
            Ok(parsed) => {
                let command = &parsed.command;
                pipeline.update_delivery(out, |delivery, all| delivery.command(command, now, all));
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "command invalid");
                out.delivery.command_results.extend(refusal.to_result(self.clock.utc()));
            }
        }
    }

    /// Returns the payload if its signature is valid or not required. Rejected commands are
    /// counted; the first one is logged as a warning.
    fn verify<'a>(&self, payload: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let inputs = self.inputs.as_ref()?;
        let Some(keys) = &inputs.command_keys else { return Some(Cow::Borrowed(payload)) };
        let error = match keys.open(payload) {
            Ok(command) => return Some(Cow::Owned(command)),
            Err(error) => error,
        };
        inputs.unsigned_commands.send_modify(|count| *count += 1);
        if *inputs.unsigned_commands.borrow() == 1 {
            tracing::warn!(%error, "unsigned command ignored; further ones are only counted");
        } else {
            tracing::debug!(%error, "unsigned command ignored");
        }
        None
    }

    /// Sends the results of commands. If the uplink's queue is full they are dropped; the sender
    /// may repeat its command.
    pub(super) fn publish_results(&self, answers: &mut Vec<waypost_model::command::CommandResult>) {
        for answer in answers.drain(..) {
            let payload = serde_json::to_vec(&CommandResultPayload::from(&answer))
                .expect("a command result serializes to JSON");
            if let Some(inputs) = &self.inputs {
                let _ = inputs.answers.try_send(CommandResponse { payload });
            }
        }
    }
}

fn on_request(
    asked: AgentCommand,
    now: Uptime,
    pipeline: &mut Pipeline,
    out: &mut PipelineOutput,
) -> Reply {
    let saying = match asked {
        AgentCommand::Scan { code } => {
            let (source, by) = ("socket".to_owned(), ReaderKind::Manual);
            let bytes = code.into_bytes();
            let scan = Scan { source, reader: by, bytes, at: now, rssi: None, antenna: None };
            let verdict = pipeline.update_delivery(out, |delivery, all| delivery.scan(&scan, all));
            return verdict.map_or_else(no_delivery, |verdict| describe_scan_result(&verdict));
        }
        AgentCommand::Outcome(asked) => match driver_input_from(asked) {
            Ok(saying) => saying,
            Err(refusal) => return Reply::Rejected(refusal),
        },
        AgentCommand::Duty(duty) => DriverInput::Duty(duty),
        AgentCommand::Delay { code: None } => DriverInput::Delay(None),
        AgentCommand::Delay { code: Some(code) } => match DelayReason::parse(&code) {
            Some(reason) => DriverInput::Delay(Some(Delay { by: Delay::DEFAULT_DELAY, reason })),
            None => {
                return Reply::Rejected(format!(
                    "{code} is not a reason for a delay: use AO weather, BE traffic, AI breakdown, AF accident or BG other"
                ));
            }
        },
    };
    match pipeline.update_delivery(out, |delivery, all| delivery.driver_input(&saying, now, all)) {
        None => no_delivery(),
        Some(Ok(DriverInputResult::Parcel { key, effect: became })) => {
            Reply::Done(describe_effect(&key, &became))
        }
        Some(Ok(DriverInputResult::Undone)) => Reply::Done("the last scan was undone".to_owned()),
        Some(Ok(DriverInputResult::Applied)) => Reply::Done("recorded".to_owned()),
        Some(Err(refusal)) => Reply::Rejected(refusal.to_string()),
    }
}

fn no_delivery() -> Reply {
    Reply::Rejected("this agent has no delivery module".to_owned())
}

fn driver_input_from(asked: OutcomeRequest) -> Result<DriverInput, String> {
    let OutcomeRequest { parcel, outcome, code, how } = asked;
    let outcome = match outcome {
        ParcelOutcome::Delivered => ReportedOutcome::Delivered(match how {
            None => Outcome::HandedOver,
            Some(Disposition::SafePlace) => Outcome::SafePlace,
            Some(Disposition::Neighbour) => Outcome::Neighbour,
            Some(Disposition::Locker) => Outcome::Locker,
        }),
        ParcelOutcome::Attempt => {
            let code = code.unwrap_or_else(|| FailureReason::Other.code().to_owned());
            let reason = FailureReason::from_code(&code.to_uppercase());
            ReportedOutcome::Attempted(reason.ok_or_else(|| {
                format!("{code} is not a reason: use one of docs/mqtt-contract.md, such as AQ for no one at home")
            })?)
        }
        ParcelOutcome::Damaged => ReportedOutcome::Damaged,
        ParcelOutcome::NotFound => ReportedOutcome::NotFound,
        ParcelOutcome::Returned => ReportedOutcome::Returned,
        ParcelOutcome::Undo => return Ok(DriverInput::Undo),
    };
    Ok(DriverInput::Parcel { key: parcel, outcome })
}

fn describe_scan_result(verdict: &ScanResult) -> Reply {
    let refused = |words: &str| Reply::Rejected(words.to_owned());
    let done = |words: &str| Reply::Done(words.to_owned());
    match verdict {
        ScanResult::Deferred => done("queued until the time is known"),
        ScanResult::Dropped => refused("too many queued scans; wait for the first fix"),
        ScanResult::Repeat => done("the same code was scanned just before"),
        ScanResult::Unrecognized => refused("not a parcel code; `waypost identify` identifies it"),
        ScanResult::OffDuty => {
            refused("nothing is recorded off duty; `waypost duty on` starts duty")
        }
        ScanResult::Tag => done("an RFID tag was counted"),
        ScanResult::UnknownControlCode => {
            refused("unknown control code; docs/mqtt-contract.md lists them")
        }
        ScanResult::Armed(_) => done("the next scan within a minute records this outcome"),
        ScanResult::Undone => done("the last scan was undone"),
        ScanResult::NothingToUndo => refused("no scan within the last minute can be undone"),
        ScanResult::Applied => done("recorded"),
        ScanResult::Parcel { key, effect: became } => Reply::Done(describe_effect(key, became)),
    }
}

fn describe_effect(key: &str, became: &ScanEffect) -> String {
    let words = match became {
        ScanEffect::Loaded => "loaded".to_owned(),
        ScanEffect::Unloaded => "unloaded again".to_owned(),
        ScanEffect::Delivered(outcome) => {
            format!("delivered, {}", outcome.as_str().replace('_', " "))
        }
        ScanEffect::Attempted(reason) => {
            format!("not delivered, {}", reason.as_str().replace('_', " "))
        }
        ScanEffect::Damaged => "damaged".to_owned(),
        ScanEffect::Returned => "returned".to_owned(),
        ScanEffect::NotFound => "not found".to_owned(),
        ScanEffect::Void => "never left the station".to_owned(),
        ScanEffect::Seen(None) => "seen".to_owned(),
        ScanEffect::Seen(Some(Alert::WrongStop { due })) => {
            format!("seen; it is due at stop {}", due.seq)
        }
        ScanEffect::Seen(Some(Alert::Unknown)) => "seen; it is not in the manifest".to_owned(),
        ScanEffect::Seen(Some(Alert::Recalled)) => {
            "seen; it was recalled and must be returned".to_owned()
        }
        ScanEffect::Seen(Some(Alert::Finished)) => "seen; it was already completed".to_owned(),
        ScanEffect::Seen(Some(Alert::NotLoaded)) => "seen; it was never loaded".to_owned(),
    };
    format!("{key}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::{DownlinkSender, downlink};
    use waypost_model::motion::TripState;
    use waypost_model::record::Seq;
    use waypost_pipeline::PipelineConfig;
    use waypost_pipeline::date_resolver::DateHint;
    use waypost_pipeline::delivery::{DeliveryConfig, DeliveryTracker};
    use waypost_pipeline::trail_simplifier::Sampling;
    use waypost_pipeline::trip_detector::TripConfig;
    use waypost_wire::command_signature::testing::{signed_for_van, van};

    fn command(id: u8) -> Vec<u8> {
        let id = format!("0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f{id:02}");
        format!(r#"{{"v":1,"id":"{id}","cmd":"fly"}}"#).into_bytes()
    }

    /// Creates a handler, with the other ends of its channels.
    fn input_handler(
        command_keys: Option<CommandKeys>,
    ) -> (InputHandler, watch::Receiver<u64>, mpsc::Receiver<CommandResponse>, DownlinkSender) {
        let (sender, downlink) = downlink();
        let (answers, said) = mpsc::channel(8);
        let unsigned_commands = watch::Sender::new(0);
        let unsigned = unsigned_commands.subscribe();
        let inputs = EngineInputs {
            scans: mpsc::channel(1).1,
            scanners: ScannerRegistry::new(&[]),
            scanner_summaries: watch::Sender::default(),
            requests: mpsc::channel(1).1,
            downlink,
            answers,
            command_keys,
            unsigned_commands,
        };
        (InputHandler::new(Some(inputs), Clock::live()), unsigned, said, sender)
    }

    /// Number of results sent, and number of commands rejected.
    fn count_results(command_keys: Option<CommandKeys>, payloads: &[Vec<u8>]) -> (usize, u64) {
        let (mut desk, unsigned, mut said, _sender) = input_handler(command_keys);
        let journey = TripConfig::default();
        let config = PipelineConfig {
            date_hint: DateHint::AsReported,
            trip: journey,
            sampling: Sampling::Raw,
        };
        let delivery = DeliveryTracker::new(DeliveryConfig::new("VAN-042", "id.example.com"), &[]);
        let mut pipeline =
            Pipeline::new(config, Seq::new(1), TripState::default()).with_delivery(delivery);
        let mut out = PipelineOutput::default();
        for payload in payloads {
            let inlet = Input::Downlink(Downlink::Command(payload.clone()));
            desk.handle(inlet, &mut pipeline, &mut out);
        }
        desk.publish_results(&mut out.delivery.command_results);
        (std::iter::from_fn(|| said.try_recv().ok()).count(), *unsigned.borrow())
    }

    #[test]
    fn with_a_key_only_signed_commands_count_and_strangers_are_not_answered() {
        let malformed = br#"{"v":1,"id":"0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10","cmd":7}"#;
        let bare = [command(10), command(11), malformed.to_vec(), b"{}".to_vec()];
        assert_eq!(count_results(Some(van()), &bare), (0, 4));
        let signed = [signed_for_van(&command(10)), signed_for_van(malformed), command(11)];
        assert_eq!(count_results(Some(van()), &signed), (2, 1));
        assert_eq!(count_results(None, &bare), (3, 0));
        assert_eq!(
            count_results(None, &[signed_for_van(&command(10))]),
            (0, 0),
            "the envelope has no id"
        );
    }
}
