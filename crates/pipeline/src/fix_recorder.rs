//! Stages after the fix filter: trip detection, trail simplification, records and delivery events.
//!
//! - While the position is withheld (off duty or in a privacy zone), only the time is used: no
//!   point, record or distance.
//! - An event is numbered after the newest point, and the trail stores that point. Consumers of the
//!   trail can therefore locate every event.

use super::PipelineOutput;
use super::delivery::{Admission, DeliveryOutput, DeliveryTracker};
use super::time_trust::{TimeTrust, TimeValidator};
use super::trail_simplifier::TrailSimplifier;
use super::trip_detector::TripDetector;
use waypost_model::duty::Duty;
use waypost_model::fix::Fix;
use waypost_model::motion::TripState;
use waypost_model::record::{Seq, TrackPoint};
use waypost_model::units::{Position, Uptime};

#[derive(Debug)]
pub(super) struct FixRecorder {
    trip_detector: TripDetector,
    simplifier: TrailSimplifier,
    next_seq: Seq,
    pub(super) newest: Option<Fix>,
    time_validator: TimeValidator,
    pub(super) time_trust: TimeTrust,
    pub(super) delivery: Option<DeliveryTracker>,
    /// The newest fix was withheld.
    withheld: bool,
}

impl FixRecorder {
    pub(super) fn new(
        trip_detector: TripDetector,
        simplifier: TrailSimplifier,
        next_seq: Seq,
    ) -> Self {
        Self {
            trip_detector,
            simplifier,
            next_seq,
            newest: None,
            time_validator: TimeValidator::default(),
            time_trust: TimeTrust::default(),
            delivery: None,
            withheld: false,
        }
    }

    pub(super) const fn trip_state(&self) -> TripState {
        self.trip_detector.state()
    }

    /// Newest fix for display. A withheld fix carries time and quality only.
    pub(super) fn public_fix(&self) -> Option<Fix> {
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
        self.newest.map(|fix| if self.is_withheld() { nothing_of(fix) } else { fix })
    }

    pub(super) fn is_withheld(&self) -> bool {
        self.withheld || self.delivery.as_ref().is_some_and(|delivery| delivery.duty() != Duty::On)
    }

    pub(super) fn observe(&mut self, fix: Fix, out: &mut PipelineOutput) {
        self.time_trust = self.time_validator.observe(&fix);
        self.newest = Some(fix);
        let admission = self.delivery.as_mut().map(|delivery| delivery.admission_for(fix.position));
        if let Some(Admission::Withhold(_)) = admission {
            return self.suppress(&fix, out);
        }
        self.withheld = false;
        self.trip_detector.observe(&fix);
        let TripState { motion, odometer, .. } = self.trip_detector.state();
        let held = Fix { position: self.trip_detector.anchor().unwrap_or(fix.position), ..fix };
        let point = TrackPoint { fix: held, motion, odometer }.rounded();
        let seq = self.next_seq;
        self.next_seq = seq.next();
        out.fixes.push(fix);
        out.points.push((seq, point));
        self.simplifier.push(seq, point, |seq, point| out.push_record(seq, point));
        self.update_delivery(out, |delivery, happenings| {
            delivery.observe(&held, motion, odometer, happenings);
        });
    }

    fn suppress(&mut self, fix: &Fix, out: &mut PipelineOutput) {
        if !self.withheld {
            self.withheld = true;
            self.finish(out);
            self.trip_detector.clear_anchor();
        }
        self.update_delivery(out, |delivery, happenings| {
            delivery.observe_withheld(fix.utc, fix.read_at, happenings);
        });
    }

    pub(super) fn update_delivery<T>(
        &mut self,
        out: &mut PipelineOutput,
        tell: impl FnOnce(&mut DeliveryTracker, &mut DeliveryOutput) -> T,
    ) -> Option<T> {
        let delivery = self.delivery.as_mut()?;
        out.delivery.next_seq = self.next_seq;
        let told = tell(delivery, &mut out.delivery);
        if out.delivery.next_seq != self.next_seq {
            self.next_seq = out.delivery.next_seq;
            self.simplifier.cut(|seq, point| out.push_record(seq, point));
        }
        Some(told)
    }

    pub(super) fn deadline(&self) -> Option<Uptime> {
        let delivery = self.delivery.as_ref().and_then(DeliveryTracker::deadline);
        self.simplifier.deadline().into_iter().chain(delivery).min()
    }

    /// Handles deadlines that have passed. Returns whether the delivery state may have changed.
    pub(super) fn tick(&mut self, now: Uptime, out: &mut PipelineOutput) -> bool {
        self.simplifier.tick(now, |seq, point| out.push_record(seq, point));
        let due = self
            .delivery
            .as_ref()
            .and_then(DeliveryTracker::deadline)
            .is_some_and(|due| now >= due);
        due && self
            .update_delivery(out, |delivery, happenings| delivery.tick(now, happenings))
            .is_some()
    }

    /// Flushes the simplifier at a gap or at the end of the input.
    pub(super) fn finish(&mut self, out: &mut PipelineOutput) {
        self.simplifier.finish(|seq, point| out.push_record(seq, point));
    }
}
