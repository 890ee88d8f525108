//! Applies manifests, driver input and commands, and returns their results.

use std::sync::Arc;

use super::parcel_states::{HoldState, ParcelState};
use super::route::{RouteState, StopState, StopStates};
use super::scan_handler::ScanContext;
use super::state_docs::{self, StateDocChange};
use super::{DeliveryOutput, DeliveryTracker, DriverInputError, DriverInputResult, ManifestResult};
use waypost_model::command::{
    Command, CommandId, CommandKind, CommandResult, CommandStatus, ParcelReport, ResultCode,
};
use waypost_model::driver_input::DriverInput;
use waypost_model::duty::Duty;
use waypost_model::event::{Preferences, ProofMethod, ReaderKind, ScanSource};
use waypost_model::manifest::Manifest;
use waypost_model::parcel::code::normalised;
use waypost_model::units::{Uptime, UtcTime};

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
        self.manifest_rejected = None;
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
        self.manifest_rejected = None;
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
        let id = command.id;
        let answer = match (command.expires, when) {
            (Some(_), None) => {
                // Not recorded: the backend may resend the command once the time is known.
                let detail = "the van does not know the time yet; send the command again";
                let answer = Answer::rejected(ResultCode::ClockUnknown, detail);
                out.command_results.push(answer.into_result(id, utc));
                return;
            }
            (Some(expires), Some(when)) if when.utc > expires => {
                Answer::new(CommandStatus::Expired)
            }
            _ => self.run(&command.kind, at, out),
        };
        let result = self.command_log.record(&command.kind, answer.into_result(id, utc));
        out.command_results.push(result);
    }

    fn run(&mut self, kind: &CommandKind, at: Uptime, out: &mut DeliveryOutput) -> Answer {
        match kind {
            CommandKind::SetDuty(duty) => {
                self.set_duty(*duty, at, out);
                Answer::new(CommandStatus::Succeeded)
            }
            CommandKind::SetDelay(delay) => {
                self.route.delay = Some(*delay);
                Answer::new(CommandStatus::Succeeded)
            }
            CommandKind::ClearDelay => {
                self.route.delay = None;
                Answer::new(CommandStatus::Succeeded)
            }
            CommandKind::RecallParcel { parcel } => match self.parcels.state_mut(parcel) {
                None => unknown_parcel(parcel),
                Some(state) if state.status.is_finished() => parcel_finished(parcel, state),
                Some(state) => {
                    state.hold = HoldState::Recalled;
                    Answer::new(CommandStatus::Succeeded)
                }
            },
            CommandKind::SetPreferences { route, stop, parcel, preferences } => {
                match self.preference_keys(route.as_deref(), stop.as_deref(), parcel.as_deref()) {
                    Ok(keys) => self.set_preferences(&keys, preferences),
                    Err(answer) => answer,
                }
            }
            CommandKind::ReportNow { parcel } => {
                out.forwarded_commands.push(kind.clone());
                match parcel {
                    None => Answer::new(CommandStatus::Accepted),
                    Some(parcel) => self.report_parcel(parcel),
                }
            }
            CommandKind::Unsupported { name } => {
                let detail = format!("this version does not support {name}");
                Answer::rejected(ResultCode::Unsupported, detail)
            }
            CommandKind::SetReportInterval { .. }
            | CommandKind::FlushOutbox
            | CommandKind::ShowMessage { .. } => {
                out.forwarded_commands.push(kind.clone());
                Answer::new(CommandStatus::Accepted)
            }
        }
    }

    /// Reports the state of a parcel from the van's own records.
    fn report_parcel(&self, key: &str) -> Answer {
        let Some(state) = self.parcels.state(key) else { return unknown_parcel(key) };
        let report = ParcelReport {
            parcel: key.to_owned(),
            state: state.status.as_str().to_owned(),
            last_seen: state.sighting.as_ref().map(|sighting| (sighting.id, sighting.utc)),
        };
        Answer { report: Some(report), ..Answer::new(CommandStatus::Succeeded) }
    }

    /// Returns the keys of the parcels whose preferences a command sets.
    fn preference_keys(
        &self,
        route: Option<&str>,
        stop: Option<&str>,
        parcel: Option<&str>,
    ) -> Result<Vec<String>, Answer> {
        let Some(manifest) = &self.manifest else {
            return Err(Answer::rejected(ResultCode::NoRoute, "the van has no route"));
        };
        if route.is_some_and(|route| route != manifest.route) {
            let detail = format!("the current route is {}", manifest.route);
            return Err(Answer::rejected(ResultCode::OtherRoute, detail));
        }
        if let Some(parcel) = parcel {
            return Ok(vec![parcel.to_owned()]);
        }
        let stop = stop.and_then(|id| manifest.stops.iter().find(|stop| stop.id == id));
        let Some(stop) = stop else {
            return Err(Answer::rejected(ResultCode::UnknownStop, "the route has no such stop"));
        };
        Ok(stop.parcels.iter().map(|listed| listed.key.clone()).collect())
    }

    /// Replaces the preferences of the parcels that are not finished.
    fn set_preferences(&mut self, keys: &[String], preferences: &Preferences) -> Answer {
        let mut answer = None;
        for key in keys {
            let Some(state) = self.parcels.state(key) else { continue };
            if state.status.is_finished() {
                answer.get_or_insert_with(|| parcel_finished(key, state));
            } else if let Some(state) = self.parcels.state_mut(key) {
                state.preferences = Some(preferences.clone());
                answer = Some(Answer::new(CommandStatus::Succeeded));
            }
        }
        let named = keys.first().map_or("the parcel", String::as_str);
        answer.unwrap_or_else(|| unknown_parcel(named))
    }
}

/// Result of a command without its id and time.
struct Answer {
    status: CommandStatus,
    code: Option<ResultCode>,
    detail: Option<String>,
    report: Option<ParcelReport>,
}

impl Answer {
    const fn new(status: CommandStatus) -> Self {
        Self { status, code: None, detail: None, report: None }
    }

    fn rejected(code: ResultCode, detail: impl Into<String>) -> Self {
        Self { code: Some(code), detail: Some(detail.into()), ..Self::new(CommandStatus::Rejected) }
    }

    fn into_result(self, id: CommandId, utc: Option<UtcTime>) -> CommandResult {
        let Self { status, code, detail, report } = self;
        CommandResult { id, status, code, detail, report, utc }
    }
}

fn parcel_finished(key: &str, state: &ParcelState) -> Answer {
    let detail = format!("{key} is {}", state.status.as_str());
    Answer::rejected(ResultCode::ParcelFinished, detail)
}

fn unknown_parcel(key: &str) -> Answer {
    Answer::rejected(ResultCode::UnknownParcel, format!("{key} is not in the manifest"))
}
