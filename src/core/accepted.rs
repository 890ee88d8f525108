//! [`Fix`] → journey, point, record and event: everything behind the gate.
//!
//! - What may not be kept (off duty, at a private place) tells the time and nothing else: no point, no record, no way.
//! - An event has the number after the newest point, and the trail keeps that point: whoever reads the trail finds where
//!   it happened.

use super::Output;
use super::delivery::{Admission, Delivery, Duty, Happenings};
use super::fix::Fix;
use super::journey::{Journey, JourneyState};
use super::record::{Seq, TrackPoint};
use super::sampling::Sampler;
use super::trust::{TimeTrust, TimeWitness};
use crate::units::{Position, Uptime};

#[derive(Debug)]
pub(super) struct Accepted {
    journey: Journey,
    sampler: Sampler,
    next_seq: Seq,
    pub(super) newest: Option<Fix>,
    witness: TimeWitness,
    pub(super) time: TimeTrust,
    pub(super) delivery: Option<Delivery>,
    /// The newest fix was not to be kept.
    withheld: bool,
}

impl Accepted {
    pub(super) fn new(journey: Journey, sampler: Sampler, next_seq: Seq) -> Self {
        Self {
            journey,
            sampler,
            next_seq,
            newest: None,
            witness: TimeWitness::default(),
            time: TimeTrust::default(),
            delivery: None,
            withheld: false,
        }
    }

    pub(super) const fn journey_state(&self) -> JourneyState {
        self.journey.state()
    }

    /// The newest fix; of one that may not be kept, time and quality alone.
    pub(super) fn newest_to_show(&self) -> Option<Fix> {
        let nowhere = Position::from_degrees(0.0, 0.0)?;
        let nothing_of = |fix: Fix| Fix {
            position: nowhere,
            speed: None,
            course: None,
            altitude_msl: None,
            height_hae: None,
            accuracy: None,
            ..fix
        };
        self.newest.map(|fix| if self.withholds() { nothing_of(fix) } else { fix })
    }

    pub(super) fn withholds(&self) -> bool {
        self.withheld || self.delivery.as_ref().is_some_and(|delivery| delivery.duty() != Duty::On)
    }

    pub(super) fn observe(&mut self, fix: Fix, out: &mut Output) {
        self.time = self.witness.observe(&fix);
        self.newest = Some(fix);
        let admission = self.delivery.as_mut().map(|delivery| delivery.admits(fix.position));
        if let Some(Admission::Withhold(_)) = admission {
            return self.withhold(&fix, out);
        }
        self.withheld = false;
        self.journey.observe(&fix);
        let JourneyState { motion, odometer, .. } = self.journey.state();
        let held = Fix { position: self.journey.held_to().unwrap_or(fix.position), ..fix };
        let point = TrackPoint { fix: held, motion, odometer }.rounded();
        let seq = self.next_seq;
        self.next_seq = seq.next();
        out.fixes.push(fix);
        out.points.push((seq, point));
        self.sampler.push(seq, point, |seq, point| out.keep(seq, point));
        self.deliver(out, |delivery, happenings| {
            delivery.observe(&held, motion, odometer, happenings);
        });
    }

    fn withhold(&mut self, fix: &Fix, out: &mut Output) {
        if !self.withheld {
            self.withheld = true;
            self.finish(out);
            self.journey.forget_place();
        }
        self.deliver(out, |delivery, happenings| {
            delivery.observe_withheld(fix.utc, fix.read_at, happenings);
        });
    }

    pub(super) fn deliver<T>(
        &mut self,
        out: &mut Output,
        tell: impl FnOnce(&mut Delivery, &mut Happenings) -> T,
    ) -> Option<T> {
        let delivery = self.delivery.as_mut()?;
        out.happenings.next_seq = self.next_seq;
        let told = tell(delivery, &mut out.happenings);
        if out.happenings.next_seq != self.next_seq {
            self.next_seq = out.happenings.next_seq;
            self.sampler.cut(|seq, point| out.keep(seq, point));
        }
        Some(told)
    }

    pub(super) fn deadline(&self) -> Option<Uptime> {
        let delivery = self.delivery.as_ref().and_then(Delivery::deadline);
        self.sampler.deadline().into_iter().chain(delivery).min()
    }

    /// Lets time pass; whether the delivery may have changed.
    pub(super) fn tick(&mut self, now: Uptime, out: &mut Output) -> bool {
        self.sampler.tick(now, |seq, point| out.keep(seq, point));
        let due = self.delivery.as_ref().and_then(Delivery::deadline).is_some_and(|due| now >= due);
        due && self.deliver(out, |delivery, happenings| delivery.tick(now, happenings)).is_some()
    }

    /// Nothing follows for now.
    pub(super) fn finish(&mut self, out: &mut Output) {
        self.sampler.finish(|seq, point| out.keep(seq, point));
    }
}
