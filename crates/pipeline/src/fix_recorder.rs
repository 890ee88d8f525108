//! Stages after the fix filter: trip detection, trail simplification, records and delivery events.
//!
//! - While the position is withheld (off duty or in a privacy zone), only the time is used: no
//!   point, record or distance.
//! - The points of a halted van are held at its anchor. While its speed may be the beginning of a
//!   departure, they wait; once the departure is certain, the trail has the receiver's own positions
//!   from the first of them.
//! - An event is numbered after the newest point, and the trail stores that point. Consumers of the
//!   trail can therefore locate every event.

use std::collections::VecDeque;

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

/// A point of a halted van that may be departing, and the position that the receiver reported.
#[derive(Clone, Copy, Debug)]
struct HeldPoint {
    seq: Seq,
    point: TrackPoint,
    reported: Position,
}

#[derive(Debug)]
pub(super) struct FixRecorder {
    trip_detector: TripDetector,
    simplifier: TrailSimplifier,
    next_seq: Seq,
    /// Points that wait for the decision about a departure, oldest first.
    held: VecDeque<HeldPoint>,
    pub(super) newest: Option<Fix>,
    time_validator: TimeValidator,
    pub(super) time_trust: TimeTrust,
    pub(super) delivery: Option<DeliveryTracker>,
    /// The newest fix was withheld.
    withheld: bool,
}

impl FixRecorder {
    /// Maximum number of points that wait: five seconds at 10 Hz.
    const MAX_HELD: usize = 50;

    pub(super) fn new(
        trip_detector: TripDetector,
        simplifier: TrailSimplifier,
        next_seq: Seq,
    ) -> Self {
        Self {
            trip_detector,
            simplifier,
            next_seq,
            held: VecDeque::new(),
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
        let drives = self.trip_detector.drives();
        if self.trip_detector.may_depart(fix.read_at) && self.held.len() < Self::MAX_HELD {
            self.held.push_back(HeldPoint { seq, point, reported: fix.position });
        } else {
            self.release(drives, out);
            self.simplifier.push(seq, point, |seq, point| out.push_record(seq, point));
        }
        self.update_delivery(out, |delivery, happenings| {
            delivery.observe(&held, motion, odometer, happenings);
        });
    }

    /// Passes the points that wait to the trail: of a van that has departed where the receiver
    /// reported them, else at the anchor.
    fn release(&mut self, has_departed: bool, out: &mut PipelineOutput) {
        let motion = self.trip_detector.state().motion;
        for HeldPoint { seq, point, reported } in self.held.drain(..) {
            let fix = Fix { position: reported, ..point.fix };
            // A van that creeps in a jam is still halted.
            let driven = TrackPoint { fix, motion, ..point };
            let point = if has_departed { driven.rounded() } else { point };
            self.simplifier.push(seq, point, |seq, point| out.push_record(seq, point));
        }
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
            self.release(false, out);
            self.simplifier.cut(|seq, point| out.push_record(seq, point));
        }
        Some(told)
    }

    pub(super) fn deadline(&self) -> Option<Uptime> {
        let delivery = self.delivery.as_ref().and_then(DeliveryTracker::deadline);
        let held = self.held.back();
        let held = held.map(|held| held.point.fix.read_at + TrailSimplifier::SIGNAL_LOST_AFTER);
        self.simplifier.deadline().into_iter().chain(held).chain(delivery).min()
    }

    /// Handles deadlines that have passed. Returns whether the delivery state may have changed.
    pub(super) fn tick(&mut self, now: Uptime, out: &mut PipelineOutput) -> bool {
        let signal_lost = self
            .held
            .back()
            .is_some_and(|held| now >= held.point.fix.read_at + TrailSimplifier::SIGNAL_LOST_AFTER);
        if signal_lost {
            self.release(false, out);
        }
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
        self.release(false, out);
        self.simplifier.finish(|seq, point| out.push_record(seq, point));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail_simplifier::{Bounds, Sampling};
    use crate::trip_detector::TripConfig;
    use waypost_model::fix::testing::fix;
    use waypost_model::motion::Motion;
    use waypost_model::record::Subject;
    use waypost_model::units::Speed;

    /// A van that stands for a minute and then drives off with `mps2`, with its receiver `off_m`
    /// north of the anchor by then. Returns the fixes and the stored points.
    fn departure(mps2: f64, off_m: f64, hz: u32) -> (Vec<Fix>, Vec<TrackPoint>) {
        let mut recorder = FixRecorder::new(
            TripDetector::new(TripConfig::default(), TripState::default()),
            TrailSimplifier::new(Sampling::Bounded(Bounds::default())),
            Seq::new(1),
        );
        let mut out = PipelineOutput::default();
        let (mut mps, mut north_m) = (0.0_f64, 0.0);
        for tick in 0..90 * hz {
            let second = f64::from(tick) / f64::from(hz);
            if second >= 60.0 {
                mps = (mps + mps2 / f64::from(hz)).min(13.0);
                north_m += mps / f64::from(hz);
            }
            let drift_m = off_m * (second / 60.0).min(1.0);
            let speed = Speed::from_mps(mps);
            recorder.observe(Fix { speed, ..fix(tick * 1000 / hz, north_m + drift_m) }, &mut out);
        }
        recorder.finish(&mut out);
        let points = out.records.iter().map(|record| {
            let Subject::Point(point) = record.subject;
            point
        });
        assert!(out.records.is_sorted_by(|one, next| one.seq < next.seq));
        (out.fixes, points.collect())
    }

    #[test]
    fn the_trail_of_a_departure_is_where_the_receiver_was() {
        for (mps2, off_m, hz) in
            [(0.5, 0.0, 1), (1.5, 0.0, 1), (3.0, 0.0, 1), (1.5, 12.0, 1), (1.5, 0.0, 10)]
        {
            let (fixes, points) = departure(mps2, off_m, hz);
            let moving = |fix: &&Fix| fix.speed.is_some_and(|speed| speed.as_mps() > 0.8);
            for fix in fixes.iter().filter(moving) {
                let after = points.iter().position(|point| point.fix.utc >= fix.utc).unwrap();
                let (from, to) = (&points[after.saturating_sub(1)].fix, &points[after].fix);
                let span_ms = to.utc.millis_since(from.utc).max(1);
                #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
                let share = fix.utc.millis_since(from.utc) as f64 / span_ms as f64;
                let (from, to) = (from.position, to.position);
                let mix = |a: f64, b: f64| a + (b - a) * share.clamp(0.0, 1.0);
                let there = Position::from_degrees(
                    mix(from.lat_deg(), to.lat_deg()),
                    mix(from.lon_deg(), to.lon_deg()),
                );
                let error_m = there.unwrap().distance_to(fix.position).as_metres();
                assert!(error_m <= 5.01, "{mps2} m/s², {off_m} m, {hz} Hz: {error_m} m");
            }
        }
    }

    #[test]
    fn a_wrong_speed_of_a_parked_van_leaves_it_at_its_anchor() {
        let mut recorder = FixRecorder::new(
            TripDetector::new(TripConfig::default(), TripState::default()),
            TrailSimplifier::new(Sampling::Raw),
            Seq::new(1),
        );
        let mut out = PipelineOutput::default();
        for second in 0..300 {
            let mps = if second > 60 && second % 10 < 2 { 2.5 } else { 0.0 };
            let at = fix(second * 1000, f64::from(second % 7));
            recorder.observe(Fix { speed: Speed::from_mps(mps), ..at }, &mut out);
        }
        recorder.finish(&mut out);
        assert_eq!(out.records.len(), 300, "none is lost");
        let halted = out.records.iter().map(|record| {
            let Subject::Point(point) = record.subject;
            (point.motion, point.fix.position)
        });
        let mut places: Vec<_> = halted
            .filter(|(motion, _)| *motion == Motion::Halted)
            .map(|(_, place)| (place.lat_e9(), place.lon_e9()))
            .collect();
        assert!(places.len() > 250);
        places.dedup();
        assert_eq!(places.len(), 1);
    }
}
