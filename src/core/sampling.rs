//! [`TrackPoint`] → kept or not: which points of the trail are worth storing and sending.
//!
//! Who joins the kept points by straight lines, at a steady pace between each two, is never farther than `max_error` from
//! where the van was *at that moment* (synchronised Euclidean distance), and never more than `max_speed_error` from the
//! speed that its receiver said. So the trail can be thin and still prove where the van was.
//!
//! One pass, and a state of fixed size. Seen from the last kept point, a line to a later one is a velocity; each point
//! between allows those velocities that pass it closely enough: a disk. What all of them allow is kept as a polygon of
//! 16 sides inside the true set, so rounding is on the side of a point too many. When a new point's velocity is not
//! allowed, the one before it is kept, and it all begins anew from there.

use std::time::Duration;

use super::journey::Motion;
use super::record::{Seq, TrackPoint};
use crate::units::{Distance, Position, Speed, Uptime};

/// The policy of `[track] sampling`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sampling {
    /// Every accepted fix.
    #[default]
    Raw,
    /// As few as prove the others.
    Bounded(Bounds),
}

/// How wrong the trail between its points may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Synchronised Euclidean distance; above [`Self::MIN_ERROR_M`].
    pub max_error: Distance,
    /// Of the speed over ground while the van moves, where the receiver says one.
    pub max_speed_error: Speed,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_error: Distance::from_metres(5.0).expect("a distance"),
            max_speed_error: Speed::from_mps(2.0).expect("a speed"),
        }
    }
}

impl Bounds {
    /// The wire rounds to 1e-5 degrees, which alone is up to 0.8 m.
    pub const MIN_ERROR_M: f64 = 1.0;
}

/// Decides, one point after the other.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    line: Option<Line>,
}

/// The line that is being drawn.
#[derive(Debug)]
struct Line {
    /// The last kept point.
    from: TrackPoint,
    /// The newest one, to where the line may go.
    to: Option<(Seq, TrackPoint)>,
    velocities: Velocities,
    slopes: Slopes,
}

impl Sampler {
    /// A van that drives straight on is still seen once a minute, one that stands every quarter of an hour.
    const MAX_GAP_MOVING_MS: i64 = 60_000;
    const MAX_GAP_HALTED_MS: i64 = 15 * 60_000;

    /// Nothing new for so long: the newest point is where the signal was lost.
    const SIGNAL_LOST_AFTER: Duration = Duration::from_secs(10);

    /// A sampler that has kept nothing yet.
    #[must_use]
    pub const fn new(sampling: Sampling) -> Self {
        Self { sampling, line: None }
    }

    /// Takes a point, and hands on those that are kept by now: the one before it, itself, or both.
    pub fn push(&mut self, seq: Seq, point: TrackPoint, mut keep: impl FnMut(Seq, TrackPoint)) {
        let Sampling::Bounded(bounds) = self.sampling else { return keep(seq, point) };
        while let Some(line) = &mut self.line {
            if line.follows(&point, bounds) {
                line.to = Some((seq, point));
                return;
            }
            // It bends at the point before; without one, this is where the next line begins.
            self.line = line.to.map(|(seq, to)| {
                keep(seq, to);
                Line::new(to)
            });
        }
        keep(seq, point);
        self.line = Some(Line::new(point));
    }

    /// When [`Self::tick`] is due if no point comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        let (_, to) = self.line.as_ref()?.to?;
        Some(to.fix.read_at + Self::SIGNAL_LOST_AFTER)
    }

    /// Keeps the newest point if nothing has come for long.
    pub fn tick(&mut self, now: Uptime, keep: impl FnMut(Seq, TrackPoint)) {
        if self.deadline().is_some_and(|due| now >= due) {
            self.finish(keep);
        }
    }

    /// Keeps the newest point, and begins the next line there: something happened at that place.
    pub fn cut(&mut self, mut keep: impl FnMut(Seq, TrackPoint)) {
        if let Some((seq, to)) = self.line.as_ref().and_then(|line| line.to) {
            keep(seq, to);
            self.line = Some(Line::new(to));
        }
    }

    /// Keeps the newest point, and whatever comes next: nothing follows for now.
    pub fn finish(&mut self, mut keep: impl FnMut(Seq, TrackPoint)) {
        if let Some((seq, to)) = self.line.take().and_then(|line| line.to) {
            keep(seq, to);
        }
    }
}

impl Line {
    fn new(from: TrackPoint) -> Self {
        Self { from, to: None, velocities: Velocities::default(), slopes: Slopes::default() }
    }

    /// Whether the line may go to `point`, past the one to which it went before.
    fn follows(&mut self, point: &TrackPoint, bounds: Bounds) -> bool {
        if let Some((_, passed)) = self.to {
            self.pass(&passed, bounds);
        }
        let newest = self.to.map_or(self.from, |(_, to)| to);
        let ms = self.ms_to(point);
        let max_gap_ms = match point.motion {
            Motion::Halted => Sampler::MAX_GAP_HALTED_MS,
            Motion::Moving | Motion::Unknown => Sampler::MAX_GAP_MOVING_MS,
        };
        point.motion == self.from.motion
            && point.fix.utc > newest.fix.utc
            && ms <= max_gap_ms
            && self.velocities.allow(self.velocity_to(sent(point.fix.position), ms))
            && self.slope_to(point, ms).is_none_or(|slope| self.slopes.allow(slope))
    }

    /// `passed` lies between: the line must not go too far from it.
    fn pass(&mut self, passed: &TrackPoint, bounds: Bounds) {
        let ms = self.ms_to(passed);
        let seconds = seconds(ms);
        let radius = bounds.max_error.as_metres() / seconds;
        self.velocities.narrow(self.velocity_to(passed.fix.position, ms), radius);
        let moving = passed.motion != Motion::Halted;
        if let Some(slope) = self.slope_to(passed, ms).filter(|_| moving) {
            self.slopes.narrow(slope, bounds.max_speed_error.as_mps() / seconds);
        }
    }

    fn ms_to(&self, point: &TrackPoint) -> i64 {
        point.fix.utc.millis_since(self.from.fix.utc)
    }

    /// Metres per second to the east and to the north that lead to `position` in `ms`.
    fn velocity_to(&self, position: Position, ms: i64) -> [f64; 2] {
        let east_north = sent(self.from.fix.position).metres_to(position);
        east_north.map(|metres| metres / seconds(ms))
    }

    /// The mean acceleration to the speed of `point`, if both ends have one.
    fn slope_to(&self, point: &TrackPoint, ms: i64) -> Option<f64> {
        let (from, to) = (self.from.fix.speed?, point.fix.speed?);
        Some((to.as_mps() - from.as_mps()) / seconds(ms))
    }
}

/// The velocities that every point so far allows: a convex polygon, as its extent along eight axes.
#[derive(Debug)]
struct Velocities {
    extents: [(f64, f64); AXES.len()],
}

/// Unit vectors, 22.5 degrees apart.
const AXES: [[f64; 2]; 8] = [
    [1.0, 0.0],
    [0.923_879_532_511_286_7, 0.382_683_432_365_089_8],
    [std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::FRAC_1_SQRT_2],
    [0.382_683_432_365_089_8, 0.923_879_532_511_286_7],
    [0.0, 1.0],
    [-0.382_683_432_365_089_8, 0.923_879_532_511_286_7],
    [-std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::FRAC_1_SQRT_2],
    [-0.923_879_532_511_286_7, 0.382_683_432_365_089_8],
];

/// The cosine of 11.25 degrees: how far the sides of a polygon of 16 are from the centre of the circle around it.
const APOTHEM: f64 = 0.980_785_280_403_230_4;

impl Default for Velocities {
    fn default() -> Self {
        Self { extents: [(f64::NEG_INFINITY, f64::INFINITY); AXES.len()] }
    }
}

impl Velocities {
    fn narrow(&mut self, centre: [f64; 2], radius: f64) {
        for ((low, high), axis) in self.extents.iter_mut().zip(AXES) {
            let (along, reach) = (dot(centre, axis), radius * APOTHEM);
            *low = low.max(along - reach);
            *high = high.min(along + reach);
        }
    }

    fn allow(&self, velocity: [f64; 2]) -> bool {
        let within = |((low, high), axis)| (low..=high).contains(&dot(velocity, axis));
        self.extents.into_iter().zip(AXES).all(within)
    }
}

/// The accelerations that every point so far allows.
#[derive(Debug)]
struct Slopes {
    low: f64,
    high: f64,
}

impl Default for Slopes {
    fn default() -> Self {
        Self { low: f64::NEG_INFINITY, high: f64::INFINITY }
    }
}

impl Slopes {
    fn narrow(&mut self, slope: f64, error: f64) {
        self.low = self.low.max(slope - error);
        self.high = self.high.min(slope + error);
    }

    fn allow(&self, slope: f64) -> bool {
        (self.low..=self.high).contains(&slope)
    }
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

#[expect(clippy::cast_precision_loss, reason = "a quarter of an hour")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// As the wire rounds it: the bound holds for what arrives.
fn sent(position: Position) -> Position {
    position.rounded_to_1e5()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fix::Fix;
    use super::super::fix::tests::fix;
    use super::*;

    /// Seconds of those that are kept, with their places in `points`.
    fn kept(points: &[TrackPoint]) -> Vec<usize> {
        let mut sampler = Sampler::new(Sampling::Bounded(Bounds::default()));
        let mut kept = Vec::new();
        let mut keep = |seq: Seq, point: TrackPoint| {
            let place = usize::try_from(seq.get()).unwrap();
            assert_eq!(points[place], point);
            kept.push(place);
        };
        for (seq, point) in (0..).zip(points) {
            sampler.tick(point.fix.read_at, &mut keep);
            sampler.push(Seq::new(seq), *point, &mut keep);
        }
        sampler.finish(keep);
        kept
    }

    /// A van that turns and accelerates by (degrees, m/s) each second.
    fn drive(turns: &[(f64, f64)]) -> Vec<TrackPoint> {
        let (mut heading, mut mps, mut east_m, mut north_m) = (0.0_f64, 10.0_f64, 0.0, 0.0);
        (0..)
            .zip(turns)
            .map(|(second, (turn, faster))| {
                heading += turn.to_radians();
                mps = (mps + faster).clamp(0.0, 40.0);
                east_m += mps * heading.sin();
                north_m += mps * heading.cos();
                let position =
                    Position::from_degrees(48.0 + north_m / 111_195.0, 11.0 + east_m / 74_400.0);
                let fix = Fix {
                    position: position.unwrap(),
                    speed: Speed::from_mps(mps),
                    ..fix(second * 1000, 0.0)
                };
                TrackPoint { fix, motion: Motion::Moving, odometer: Distance::default() }
            })
            .collect()
    }

    /// The largest distance and speed error of the lines between kept points, by another way than the sampler's own.
    fn errors(points: &[TrackPoint], kept: &[usize]) -> (f64, f64) {
        let (mut farthest, mut fastest) = (0.0_f64, 0.0_f64);
        for pair in kept.windows(2) {
            let (from, to) = (&points[pair[0]].fix, &points[pair[1]].fix);
            for between in &points[pair[0]..=pair[1]] {
                let share = seconds(between.fix.utc.millis_since(from.utc))
                    / seconds(to.utc.millis_since(from.utc));
                let mix = |a: f64, b: f64| a + (b - a) * share;
                let (a, b) = (sent(from.position), sent(to.position));
                let (lat, lon) = (mix(a.lat_deg(), b.lat_deg()), mix(a.lon_deg(), b.lon_deg()));
                let there = Position::from_degrees(lat, lon).unwrap();
                farthest = farthest.max(there.distance_to(between.fix.position).as_metres());
                let mps = |fix: &Fix| fix.speed.unwrap().as_mps();
                fastest = fastest.max((mix(mps(from), mps(to)) - mps(&between.fix)).abs());
            }
        }
        (farthest, fastest)
    }

    proptest! {
        #[test]
        fn the_trail_is_never_farther_from_the_van_than_promised(
            turns in prop::collection::vec((-30.0..30.0, -3.0..3.0), 2..300)
        ) {
            let points = drive(&turns);
            let kept = kept(&points);
            prop_assert_eq!((kept[0], kept[kept.len() - 1]), (0, points.len() - 1));
            prop_assert!(kept.is_sorted());
            let (metres, mps) = errors(&points, &kept);
            prop_assert!(metres <= 5.01 && mps <= 2.01, "{} m, {} m/s", metres, mps);
        }
    }

    #[test]
    fn a_straight_road_needs_a_point_a_minute_and_a_bend_some_more() {
        let straight = drive(&[(0.0, 0.0); 301]);
        assert_eq!(kept(&straight), [0, 60, 120, 180, 240, 300]);
        let turns: Vec<_> =
            (0..301).map(|n| (if n % 60 == 30 { 90.0 } else { 0.0 }, 0.0)).collect();
        let bends = kept(&drive(&turns)).len();
        assert!((7..=12).contains(&bends), "{bends}");
    }

    #[test]
    fn a_parked_van_costs_four_points_an_hour_and_a_change_of_motion_is_kept() {
        let point = |second: u32, motion| TrackPoint {
            fix: fix(second * 1000, 0.0),
            motion,
            odometer: Distance::default(),
        };
        let mut points: Vec<_> = (0..3600).map(|second| point(second, Motion::Halted)).collect();
        points.push(point(3600, Motion::Moving));
        assert_eq!(kept(&points), [0, 900, 1800, 2700, 3599, 3600]);
    }

    #[test]
    fn where_the_signal_was_lost_and_found_is_kept() {
        let mut points = drive(&[(0.0, 0.0); 40]);
        points.drain(10..25);
        assert_eq!(kept(&points), [0, 9, 10, 24]);
    }

    #[test]
    fn the_place_of_an_event_is_kept_and_costs_one_point() {
        let points = drive(&[(0.0, 0.0); 40]);
        let kept = |cut_after: Option<usize>| {
            let (mut sampler, mut kept) =
                (Sampler::new(Sampling::Bounded(Bounds::default())), Vec::new());
            for (index, point) in points.iter().enumerate() {
                let mut keep = |seq: Seq, _| kept.push(seq.get());
                sampler.push(Seq::new(index as u64), *point, &mut keep);
                if cut_after == Some(index) {
                    sampler.cut(&mut keep);
                    sampler.cut(&mut keep);
                }
            }
            sampler.finish(|seq, _| kept.push(seq.get()));
            kept
        };
        let (plain, cut) = (kept(None), kept(Some(17)));
        assert!(!plain.contains(&17) && cut.contains(&17), "{plain:?} {cut:?}");
        assert!(cut.len() <= plain.len() + 1, "{plain:?} {cut:?}");
    }

    #[test]
    fn raw_keeps_all() {
        let mut sampler = Sampler::new(Sampling::Raw);
        let mut kept = 0;
        for (seq, point) in (0..).zip(drive(&[(0.0, 0.0); 40])) {
            sampler.push(Seq::new(seq), point, |_, _| kept += 1);
        }
        assert_eq!((kept, sampler.deadline()), (40, None));
    }
}
