//! Applies manifests, driver input and commands, and returns their results.

use std::sync::Arc;

use super::event_clock::EventTime;
use super::parcel_states::{HoldState, merge_newer};
use super::route::{RouteState, StopState, StopStates};
use super::scan_handler::ScanContext;
use super::state_docs::{self, StateDocChange};
use super::{DeliveryOutput, DeliveryTracker, DriverInputError, DriverInputResult, ManifestResult};
use waypost_model::command::{Command, CommandKind, CommandResult, CommandStatus};
use waypost_model::driver_input::{Delay, DriverInput};
use waypost_model::duty::Duty;
use waypost_model::event::{Preferences, ProofMethod, ReaderKind, ScanSource};
use waypost_model::manifest::Manifest;
use waypost_model::parcel::code::normalised;
use waypost_model::units::Uptime;

impl DeliveryTracker {
    pub(super) fn set_manifest(
        &mut self,
        manifest: Manifest,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) -> ManifestResult {
        if let Some(old) = self.manifest.clone() {
            if old.route != manifest.route {
                self.reset_route(at, out);
            } else if old.rev >= manifest.rev {
                return ManifestResult::Stale;
            } else {
                self.renumber(&old, &manifest);
            }
        }
        self.manifest_error = None;
        self.parcels.apply_manifest(&manifest, &self.config.domain);
        let pieces = state_docs::chunk("manifest", &manifest);
        self.delete_chunks(pieces.len(), out);
        self.manifest_chunks = pieces.len();
        out.state_docs.extend(pieces);
        self.persist_standstill(&manifest);
        self.manifest = Some(Arc::new(manifest));
        // The manifest's validity may have ended already.
        self.ticked_until = None;
        ManifestResult::Accepted
    }

    pub(super) fn clear_manifest(
        &mut self,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) -> ManifestResult {
        self.reset_route(at, out);
        self.manifest_error = None;
        self.delete_chunks(0, out);
        (self.manifest, self.manifest_chunks) = (None, 0);
        ManifestResult::Withdrawn
    }

    /// Completes the old route, whatever is left of it, and clears all state of that route.
    fn reset_route(&mut self, at: Uptime, out: &mut DeliveryOutput) {
        if let Some(when) = self.clock.time_at(at) {
            self.complete(when, out);
        }
        self.parcels.clear();
        self.rfid.start_trip();
        self.scan_context = ScanContext::default();
        self.stops = StopStates::default();
        self.route = RouteState { updated_at: self.route.updated_at, ..RouteState::default() };
    }

    fn delete_chunks(&self, from: usize, out: &mut DeliveryOutput) {
        let gone = from..self.manifest_chunks.max(from);
        out.state_docs.extend(
            gone.map(|index| StateDocChange { key: format!("manifest/{index}"), value: None }),
        );
    }

    /// Maps stop states to the new sequence numbers. Stop ids stay the same between revisions.
    fn renumber(&mut self, old: &Manifest, new: &Manifest) {
        let number = |seq: u32| {
            let stop = old.stops.iter().find(|stop| stop.seq == seq)?;
            new.stops.iter().find(|new| new.id == stop.id).map(|new| new.seq)
        };
        let states = std::mem::take(&mut self.stops.0).into_iter();
        let renumbered = states.filter_map(|(seq, state)| Some((number(seq)?, state)));
        self.stops = StopStates(renumbered.collect::<std::collections::BTreeMap<u32, StopState>>());
        if let Some(visit) = &mut self.route.visit {
            match number(visit.seq) {
                Some(seq) => visit.seq = seq,
                None => self.route.visit = None,
            }
        }
    }

    pub(super) fn apply_driver_input(
        &mut self,
        saying: &DriverInput,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) -> Result<DriverInputResult, DriverInputError> {
        if let DriverInput::Duty(duty) = saying {
            self.set_duty(*duty, at, out);
            return Ok(DriverInputResult::Applied);
        }
        if self.duty.duty != Duty::On {
            return Err(DriverInputError::NotOnDuty(self.duty.duty));
        }
        let when = self.clock.time_at(at).ok_or(DriverInputError::TimeUnknown)?;
        match saying {
            DriverInput::Parcel { key, outcome } => {
                let key = normalised(key);
                let became = self.check_driver_outcome(&key, *outcome)?;
                let reading = ScanSource {
                    reader: ReaderKind::Manual,
                    symbology: None,
                    raw: None,
                    check_ok: None,
                };
                self.apply_effect(&key, &became, (reading, ProofMethod::Manual), when, out);
                Ok(DriverInputResult::Parcel { key, effect: became })
            }
            DriverInput::Undo if self.undo(when, out) => Ok(DriverInputResult::Undone),
            DriverInput::Undo => Err(DriverInputError::NothingToUndo),
            DriverInput::Delay(delay) => {
                self.route.delay = *delay;
                Ok(DriverInputResult::Applied)
            }
            DriverInput::Duty(_) => Ok(DriverInputResult::Applied),
        }
    }

    pub(super) fn execute_command(
        &mut self,
        command: &Command,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) {
        if let Some(answer) = self.command_log.previous_result(command.id) {
            out.command_results.push(answer.clone());
            return;
        }
        let when = self.clock.time_at(at);
        let utc = when.map(|when| when.utc);
        let answer =
            |status, detail: Option<String>| CommandResult { id: command.id, status, detail, utc };
        let answer = match (command.expires, when) {
            (Some(_), None) => {
                // Not recorded: the backend may resend the command once the time is known.
                let detail =
                    "the van does not know the time yet; send the command again".to_owned();
                out.command_results.push(answer(CommandStatus::Rejected, Some(detail)));
                return;
            }
            (Some(expires), Some(when)) if when.utc > expires => {
                answer(CommandStatus::Expired, None)
            }
            _ => {
                let (status, detail) = self.run(&command.kind, when, at, out);
                answer(status, detail)
            }
        };
        let answer = self.command_log.record(&command.kind, answer);
        out.command_results.push(answer);
    }

    fn run(
        &mut self,
        order: &CommandKind,
        when: Option<EventTime>,
        at: Uptime,
        out: &mut DeliveryOutput,
    ) -> (CommandStatus, Option<String>) {
        match order {
            CommandKind::Duty(duty) => {
                self.set_duty(*duty, at, out);
                (CommandStatus::Done, None)
            }
            CommandKind::Delay(delay) => {
                let delay = delay.map(|(reason, seconds)| Delay {
                    by: std::time::Duration::from_secs(u64::from(seconds)),
                    reason,
                });
                self.route.delay = delay;
                (CommandStatus::Done, None)
            }
            CommandKind::Recall { parcel } => match self.parcels.state_mut(parcel) {
                None => unknown_parcel(parcel),
                Some(state) if state.status.is_finished() => {
                    (CommandStatus::Stale, Some("already delivered or returned".to_owned()))
                }
                Some(state) => {
                    state.hold = HoldState::Recalled;
                    (CommandStatus::Done, None)
                }
            },
            CommandKind::UpdatePreferences { route, stop, parcel, preferences } => self
                .set_preferences(
                    (route.as_deref(), stop.as_deref(), parcel.as_deref()),
                    preferences,
                ),
            CommandKind::ReportNow { parcel } => {
                out.forwarded_commands.push(order.clone());
                match parcel {
                    None => (CommandStatus::Accepted, None),
                    Some(parcel) => self.report_parcel(parcel, when),
                }
            }
            CommandKind::Unsupported { name } => {
                (CommandStatus::Rejected, Some(format!("{name} is not supported by this version")))
            }
            CommandKind::SetRate { .. }
            | CommandKind::Flush
            | CommandKind::Message { .. }
            | CommandKind::RotateLog => {
                out.forwarded_commands.push(order.clone());
                (CommandStatus::Accepted, None)
            }
        }
    }

    /// Describes the state of a parcel from the van's own records.
    fn report_parcel(&self, key: &str, when: Option<EventTime>) -> (CommandStatus, Option<String>) {
        let Some(state) = self.parcels.state(key) else { return unknown_parcel(key) };
        let seen = state.sighting.as_ref();
        let seen = seen.map_or_else(
            || "never seen".to_owned(),
            |sighting| format!("last seen {} in event {}", sighting.utc, sighting.id),
        );
        let known = if when.is_some() { "" } else { "; the time is not known" };
        (CommandStatus::Done, Some(format!("{}; {seen}{known}", state.status.as_str())))
    }

    fn set_preferences(
        &mut self,
        (route, stop, parcel): (Option<&str>, Option<&str>, Option<&str>),
        preferences: &Preferences,
    ) -> (CommandStatus, Option<String>) {
        let Some(manifest) = self.manifest.clone() else {
            return (CommandStatus::Stale, Some("the van has no route".to_owned()));
        };
        if route.is_some_and(|route| route != manifest.route) {
            return (
                CommandStatus::Stale,
                Some(format!("the current route is {}", manifest.route)),
            );
        }
        let named = |stop: &&waypost_model::manifest::Stop, name: &str| stop.id == name;
        let keys: Vec<String> = match (parcel, stop) {
            (Some(parcel), _) => vec![parcel.to_owned()],
            (None, Some(name)) => {
                let stop = manifest.stops.iter().find(|stop| named(stop, name));
                let listed = stop.into_iter().flat_map(|stop| &stop.parcels);
                listed.map(|listed| listed.key.clone()).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut status = (CommandStatus::Rejected, Some("no such parcel".to_owned()));
        for key in keys {
            match self.parcels.state(&key).map(|state| state.status.is_finished()) {
                None => {}
                Some(true) => {
                    let detail = "already delivered or returned".to_owned();
                    if status.0 == CommandStatus::Rejected {
                        status = (CommandStatus::Stale, Some(detail));
                    }
                }
                Some(false) => {
                    if let Some(state) = self.parcels.state_mut(&key) {
                        let old = std::mem::take(&mut state.preferences);
                        state.preferences = merge_newer(old, preferences);
                    }
                    status = (CommandStatus::Done, None);
                }
            }
        }
        status
    }
}

fn unknown_parcel(key: &str) -> (CommandStatus, Option<String>) {
    (CommandStatus::Rejected, Some(format!("{key} is not in the manifest")))
}
