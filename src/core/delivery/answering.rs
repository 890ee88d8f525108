//! Manifests, commands and what people say → what changes by it, and the answer.

use std::sync::Arc;

use super::board::{Release, merged};
use super::clock::When;
use super::command::{Answer, AnswerStatus, Command, Order};
use super::duty::Duty;
use super::event::{Method, Preferences, ReadBy, Reading};
use super::kept::{self, Kept};
use super::manifest::Manifest;
use super::route::{StopState, Stops, Trip};
use super::saying::{Delay, Saying};
use super::scanning::Moment;
use super::{Delivery, Happenings, ManifestVerdict, Refusal, Said};
use crate::core::parcel::code::normalised;
use crate::units::Uptime;

impl Delivery {
    pub(super) fn replace(
        &mut self,
        manifest: Manifest,
        at: Uptime,
        out: &mut Happenings,
    ) -> ManifestVerdict {
        if let Some(old) = self.manifest.clone() {
            if old.route != manifest.route {
                self.begin_anew(at, out);
            } else if old.rev >= manifest.rev {
                return ManifestVerdict::Stale;
            } else {
                self.renumber(&old, &manifest);
            }
        }
        self.manifest_error = None;
        self.board.list(&manifest, &self.config.domain);
        let pieces = kept::split("manifest", &manifest);
        self.drop_pieces(pieces.len(), out);
        self.manifest_pieces = pieces.len();
        out.kept.extend(pieces);
        self.keep_still(&manifest);
        self.manifest = Some(Arc::new(manifest));
        // Its time may be over already.
        self.passed = None;
        ManifestVerdict::Taken
    }

    pub(super) fn withdraw(&mut self, at: Uptime, out: &mut Happenings) -> ManifestVerdict {
        self.begin_anew(at, out);
        self.manifest_error = None;
        self.drop_pieces(0, out);
        (self.manifest, self.manifest_pieces) = (None, 0);
        ManifestVerdict::Withdrawn
    }

    /// The old route is over, whatever is left of it.
    fn begin_anew(&mut self, at: Uptime, out: &mut Happenings) {
        if let Some(when) = self.clock.when(at) {
            self.complete(when, out);
        }
        self.board.clear();
        self.tags.begin();
        self.moment = Moment::default();
        self.stops = Stops::default();
        self.trip = Trip { touched: self.trip.touched, ..Trip::default() };
    }

    fn drop_pieces(&self, from: usize, out: &mut Happenings) {
        let gone = from..self.manifest_pieces.max(from);
        out.kept.extend(gone.map(|index| Kept { key: format!("manifest/{index}"), value: None }));
    }

    /// Stops keep their names and may have other numbers.
    fn renumber(&mut self, old: &Manifest, new: &Manifest) {
        let number = |seq: u32| {
            let stop = old.stops.iter().find(|stop| stop.seq == seq)?;
            new.stops.iter().find(|new| new.id == stop.id).map(|new| new.seq)
        };
        let states = std::mem::take(&mut self.stops.0).into_iter();
        let renumbered = states.filter_map(|(seq, state)| Some((number(seq)?, state)));
        self.stops = Stops(renumbered.collect::<std::collections::BTreeMap<u32, StopState>>());
        if let Some(visit) = &mut self.trip.visit {
            match number(visit.seq) {
                Some(seq) => visit.seq = seq,
                None => self.trip.visit = None,
            }
        }
    }

    pub(super) fn hear(
        &mut self,
        saying: &Saying,
        at: Uptime,
        out: &mut Happenings,
    ) -> Result<Said, Refusal> {
        if let Saying::Duty(duty) = saying {
            self.set_duty(*duty, at, out);
            return Ok(Said::Noted);
        }
        if self.duty.duty != Duty::On {
            return Err(Refusal::NotOnDuty(self.duty.duty));
        }
        let when = self.clock.when(at).ok_or(Refusal::TimeUnknown)?;
        match saying {
            Saying::Parcel { key, fate } => {
                let key = normalised(key);
                let became = self.fate_of(&key, *fate)?;
                let reading =
                    Reading { by: ReadBy::Manual, symbology: None, raw: None, check_ok: None };
                self.apply(&key, &became, (reading, Method::Manual), when, out);
                Ok(Said::Parcel { key, became })
            }
            Saying::Undo if self.undo(when, out) => Ok(Said::Undone),
            Saying::Undo => Err(Refusal::NothingToUndo),
            Saying::Delay(delay) => {
                self.trip.delay = *delay;
                Ok(Said::Noted)
            }
            Saying::Duty(_) => Ok(Said::Noted),
        }
    }

    pub(super) fn obey(&mut self, command: &Command, at: Uptime, out: &mut Happenings) {
        if let Some(answer) = self.answers.to(command.id) {
            out.answers.push(answer.clone());
            return;
        }
        let when = self.clock.when(at);
        let utc = when.map(|when| when.utc);
        let answer =
            |status, detail: Option<String>| Answer { id: command.id, status, detail, utc };
        let answer = match (command.expires, when) {
            (Some(_), None) => {
                // Not remembered: the same command may come again when the time is known.
                let detail = "the van does not know the time yet; send it again".to_owned();
                out.answers.push(answer(AnswerStatus::Rejected, Some(detail)));
                return;
            }
            (Some(expires), Some(when)) if when.utc > expires => {
                answer(AnswerStatus::Expired, None)
            }
            _ => {
                let (status, detail) = self.run(&command.order, when, at, out);
                answer(status, detail)
            }
        };
        let answer = self.answers.remember(&command.order, answer);
        out.answers.push(answer);
    }

    fn run(
        &mut self,
        order: &Order,
        when: Option<When>,
        at: Uptime,
        out: &mut Happenings,
    ) -> (AnswerStatus, Option<String>) {
        match order {
            Order::Duty(duty) => {
                self.set_duty(*duty, at, out);
                (AnswerStatus::Done, None)
            }
            Order::Delay(delay) => {
                let delay = delay.map(|(reason, seconds)| Delay {
                    by: std::time::Duration::from_secs(u64::from(seconds)),
                    reason,
                });
                self.trip.delay = delay;
                (AnswerStatus::Done, None)
            }
            Order::Recall { parcel } => match self.board.change(parcel) {
                None => unknown(parcel),
                Some(state) if state.status.is_finished() => {
                    (AnswerStatus::Stale, Some("it was handed over or came back before".to_owned()))
                }
                Some(state) => {
                    state.release = Release::Recalled;
                    (AnswerStatus::Done, None)
                }
            },
            Order::UpdatePreferences { route, stop, parcel, preferences } => {
                self.prefer((route.as_deref(), stop.as_deref(), parcel.as_deref()), preferences)
            }
            Order::ReportNow { parcel } => {
                out.orders.push(order.clone());
                match parcel {
                    None => (AnswerStatus::Accepted, None),
                    Some(parcel) => self.report(parcel, when),
                }
            }
            Order::Unsupported { name } => {
                (AnswerStatus::Rejected, Some(format!("{name} is not known to this version")))
            }
            Order::SetRate { .. } | Order::Flush | Order::Message { .. } | Order::RotateLog => {
                out.orders.push(order.clone());
                (AnswerStatus::Accepted, None)
            }
        }
    }

    /// What became of a parcel, from the van's own memory.
    fn report(&self, key: &str, when: Option<When>) -> (AnswerStatus, Option<String>) {
        let Some(state) = self.board.state(key) else { return unknown(key) };
        let seen = state.sighting.as_ref();
        let seen = seen.map_or_else(
            || "never seen".to_owned(),
            |sighting| format!("last seen {} in event {}", sighting.utc, sighting.id),
        );
        let known = if when.is_some() { "" } else { "; the time is not known" };
        (AnswerStatus::Done, Some(format!("{}; {seen}{known}", state.status.name())))
    }

    fn prefer(
        &mut self,
        (route, stop, parcel): (Option<&str>, Option<&str>, Option<&str>),
        preferences: &Preferences,
    ) -> (AnswerStatus, Option<String>) {
        let Some(manifest) = self.manifest.clone() else {
            return (AnswerStatus::Stale, Some("there is no route".to_owned()));
        };
        if route.is_some_and(|route| route != manifest.route) {
            return (AnswerStatus::Stale, Some(format!("the route is {}", manifest.route)));
        }
        let named = |stop: &&super::manifest::Stop, name: &str| stop.id == name;
        let keys: Vec<String> = match (parcel, stop) {
            (Some(parcel), _) => vec![parcel.to_owned()],
            (None, Some(name)) => {
                let stop = manifest.stops.iter().find(|stop| named(stop, name));
                let listed = stop.into_iter().flat_map(|stop| &stop.parcels);
                listed.map(|listed| listed.key.clone()).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut status = (AnswerStatus::Rejected, Some("no such parcel".to_owned()));
        for key in keys {
            match self.board.state(&key).map(|state| state.status.is_finished()) {
                None => {}
                Some(true) => {
                    let detail = "it was handed over or came back before".to_owned();
                    if status.0 == AnswerStatus::Rejected {
                        status = (AnswerStatus::Stale, Some(detail));
                    }
                }
                Some(false) => {
                    if let Some(state) = self.board.change(&key) {
                        let old = std::mem::take(&mut state.preferences);
                        state.preferences = merged(old, preferences);
                    }
                    status = (AnswerStatus::Done, None);
                }
            }
        }
        status
    }
}

fn unknown(key: &str) -> (AnswerStatus, Option<String>) {
    (AnswerStatus::Rejected, Some(format!("{key} is not in the manifest")))
}
