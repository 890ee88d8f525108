//! Selects the points of the trail that are stored and sent.
//!
//! Linear interpolation between stored points stays within `max_error` of every fix at its own time
//! (synchronised Euclidean distance). While the van moves, it also stays within `max_speed_error` of
//! every reported speed. The trail is therefore sparse and still accurate.
//!
//! The algorithm is one pass with constant state. Seen from the last stored point, a segment to a
//! later point is a velocity. Each point in between allows the velocities that pass it closely
//! enough, which form a disk. The intersection of the disks is kept as a polygon of 16 sides inside
//! the true set, so rounding can only add a point. If a new point's velocity is not allowed, the
//! point before it is stored and starts the next segment.

use std::time::Duration;

use waypost_model::motion::Motion;
use waypost_model::record::{Seq, TrackPoint};
use waypost_model::units::{Distance, Position, Speed, Uptime};

/// Sampling policy (`[track] sampling`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// Store every accepted fix.
    #[default]
    Raw,
    /// Store as few points as the bounds permit.
    Bounded(Bounds),
}

/// Error bounds of the trail between its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum synchronised Euclidean distance, above [`Self::MIN_ERROR_M`].
    pub max_error: Distance,
    /// Maximum speed error while the van moves, if the receiver reports a speed.
    pub max_speed_error: Speed,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_error: Distance::from_metres(5.0).expect("valid distance"),
            max_speed_error: Speed::from_mps(2.0).expect("valid speed"),
        }
    }
}

impl Bounds {
    /// Lower limit of `max_error` in metres. Rounding to 1e-5 degrees on the wire alone adds up to
    /// 0.8 m.
    pub const MIN_ERROR_M: f64 = 1.0;
}

/// Selects points one at a time.
#[derive(Debug)]
pub struct TrailSimplifier {
    sampling: Sampling,
    segment: Option<Segment>,
}

/// The current segment of the trail.
#[derive(Debug)]
struct Segment {
    /// The last stored point.
    start: TrackPoint,
    /// The newest point: the tentative end of the segment.
    end: Option<(Seq, TrackPoint)>,
    velocities: VelocityPolygon,
    accelerations: AccelerationRange,
}

impl TrailSimplifier {
    /// Maximum time between stored points of a moving van.
    const MAX_GAP_MOVING_MS: i64 = 60_000;
    /// Maximum time between stored points of a halted van.
    const MAX_GAP_HALTED_MS: i64 = 15 * 60_000;

    /// Without a new point for this time, the signal counts as lost and the newest point is stored.
    pub(super) const SIGNAL_LOST_AFTER: Duration = Duration::from_secs(10);

    #[must_use]
    pub const fn new(sampling: Sampling) -> Self {
        Self { sampling, segment: None }
    }

    /// Processes a point and passes the points to store to `keep`: the previous one, this one, or
    /// both.
    pub fn push(&mut self, seq: Seq, point: TrackPoint, mut keep: impl FnMut(Seq, TrackPoint)) {
        let Sampling::Bounded(bounds) = self.sampling else { return keep(seq, point) };
        while let Some(line) = &mut self.segment {
            if line.try_extend(&point, bounds) {
                line.end = Some((seq, point));
                return;
            }
            // The trail bends at the previous point; without one, a new segment starts here.
            self.segment = line.end.map(|(seq, to)| {
                keep(seq, to);
                Segment::new(to)
            });
        }
        keep(seq, point);
        self.segment = Some(Segment::new(point));
    }

    /// Time at which [`Self::tick`] is due if no point arrives earlier.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        let (_, to) = self.segment.as_ref()?.end?;
        Some(to.fix.read_at + Self::SIGNAL_LOST_AFTER)
    }

    /// Stores the newest point if the signal is lost.
    pub fn tick(&mut self, now: Uptime, keep: impl FnMut(Seq, TrackPoint)) {
        if self.deadline().is_some_and(|due| now >= due) {
            self.finish(keep);
        }
    }

    /// Stores the newest point and starts a new segment there, because an event occurred at that
    /// position.
    pub fn cut(&mut self, mut keep: impl FnMut(Seq, TrackPoint)) {
        if let Some((seq, to)) = self.segment.as_ref().and_then(|line| line.end) {
            keep(seq, to);
            self.segment = Some(Segment::new(to));
        }
    }

    /// Stores the newest point and ends the segment. The next point is stored in any case.
    pub fn finish(&mut self, mut keep: impl FnMut(Seq, TrackPoint)) {
        if let Some((seq, to)) = self.segment.take().and_then(|line| line.end) {
            keep(seq, to);
        }
    }
}

impl Segment {
    fn new(start: TrackPoint) -> Self {
        Self {
            start,
            end: None,
            velocities: VelocityPolygon::default(),
            accelerations: AccelerationRange::default(),
        }
    }

    /// Tries to extend the segment to `point`, past its current end.
    fn try_extend(&mut self, point: &TrackPoint, bounds: Bounds) -> bool {
        if let Some((_, passed)) = self.end {
            self.constrain(&passed, bounds);
        }
        let newest = self.end.map_or(self.start, |(_, to)| to);
        let ms = self.ms_to(point);
        let max_gap_ms = match point.motion {
            Motion::Halted => TrailSimplifier::MAX_GAP_HALTED_MS,
            Motion::Moving | Motion::Unknown => TrailSimplifier::MAX_GAP_MOVING_MS,
        };
        point.motion == self.start.motion
            && point.fix.utc > newest.fix.utc
            && ms <= max_gap_ms
            && self.velocities.contains(self.velocity_to(published(point.fix.position), ms))
            && self
                .acceleration_to(point, ms)
                .is_none_or(|slope| self.accelerations.contains(slope))
    }

    /// Restricts the segment to pass close enough to `passed`.
    fn constrain(&mut self, passed: &TrackPoint, bounds: Bounds) {
        let ms = self.ms_to(passed);
        let seconds = seconds(ms);
        let radius = bounds.max_error.as_metres() / seconds;
        self.velocities.intersect(self.velocity_to(passed.fix.position, ms), radius);
        let moving = passed.motion != Motion::Halted;
        if let Some(slope) = self.acceleration_to(passed, ms).filter(|_| moving) {
            self.accelerations.intersect(slope, bounds.max_speed_error.as_mps() / seconds);
        }
    }

    fn ms_to(&self, point: &TrackPoint) -> i64 {
        point.fix.utc.millis_since(self.start.fix.utc)
    }

    /// Velocity in m/s (east, north) that reaches `position` in `ms`.
    fn velocity_to(&self, position: Position, ms: i64) -> [f64; 2] {
        let east_north = published(self.start.fix.position).offset_m(position);
        east_north.map(|metres| metres / seconds(ms))
    }

    /// Mean acceleration to the speed of `point`, if both ends have one.
    fn acceleration_to(&self, point: &TrackPoint, ms: i64) -> Option<f64> {
        let (from, to) = (self.start.fix.speed?, point.fix.speed?);
        Some((to.as_mps() - from.as_mps()) / seconds(ms))
    }
}

/// Velocities allowed by all points of the segment: a convex polygon, stored as its extent along
/// eight axes.
#[derive(Debug)]
struct VelocityPolygon {
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

/// Cosine of 11.25 degrees: the ratio of apothem to circumradius of a regular polygon of 16 sides.
const APOTHEM: f64 = 0.980_785_280_403_230_4;

impl Default for VelocityPolygon {
    fn default() -> Self {
        Self { extents: [(f64::NEG_INFINITY, f64::INFINITY); AXES.len()] }
    }
}

impl VelocityPolygon {
    fn intersect(&mut self, centre: [f64; 2], radius: f64) {
        for ((low, high), axis) in self.extents.iter_mut().zip(AXES) {
            let (along, reach) = (dot(centre, axis), radius * APOTHEM);
            *low = low.max(along - reach);
            *high = high.min(along + reach);
        }
    }

    fn contains(&self, velocity: [f64; 2]) -> bool {
        let within = |((low, high), axis)| (low..=high).contains(&dot(velocity, axis));
        self.extents.into_iter().zip(AXES).all(within)
    }
}

/// Accelerations allowed by all points of the segment.
#[derive(Debug)]
struct AccelerationRange {
    low: f64,
    high: f64,
}

impl Default for AccelerationRange {
    fn default() -> Self {
        Self { low: f64::NEG_INFINITY, high: f64::INFINITY }
    }
}

impl AccelerationRange {
    fn intersect(&mut self, slope: f64, error: f64) {
        self.low = self.low.max(slope - error);
        self.high = self.high.min(slope + error);
    }

    fn contains(&self, slope: f64) -> bool {
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

/// Rounds to wire precision, so that the bound holds for the received data.
fn published(position: Position) -> Position {
    position.rounded_to_1e5()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use waypost_model::fix::Fix;
    use waypost_model::fix::testing::fix;

    /// Indices of the stored points.
    fn kept(points: &[TrackPoint]) -> Vec<usize> {
        let mut simplifier = TrailSimplifier::new(Sampling::Bounded(Bounds::default()));
        let mut kept = Vec::new();
        let mut keep = |seq: Seq, point: TrackPoint| {
            let place = usize::try_from(seq.get()).unwrap();
            assert_eq!(points[place], point);
            kept.push(place);
        };
        for (seq, point) in (0..).zip(points) {
            simplifier.tick(point.fix.read_at, &mut keep);
            simplifier.push(Seq::new(seq), *point, &mut keep);
        }
        simplifier.finish(keep);
        kept
    }

    /// A van that turns and accelerates by (degrees, m/s) per second.
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

    /// Largest distance and speed error between stored points, computed independently of the
    /// simplifier.
    fn errors(points: &[TrackPoint], kept: &[usize]) -> (f64, f64) {
        let (mut farthest, mut fastest) = (0.0_f64, 0.0_f64);
        for pair in kept.windows(2) {
            let (from, to) = (&points[pair[0]].fix, &points[pair[1]].fix);
            for between in &points[pair[0]..=pair[1]] {
                let share = seconds(between.fix.utc.millis_since(from.utc))
                    / seconds(to.utc.millis_since(from.utc));
                let mix = |a: f64, b: f64| a + (b - a) * share;
                let (a, b) = (published(from.position), published(to.position));
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
            let (mut simplifier, mut kept) =
                (TrailSimplifier::new(Sampling::Bounded(Bounds::default())), Vec::new());
            for (index, point) in points.iter().enumerate() {
                let mut keep = |seq: Seq, _| kept.push(seq.get());
                simplifier.push(Seq::new(index as u64), *point, &mut keep);
                if cut_after == Some(index) {
                    simplifier.cut(&mut keep);
                    simplifier.cut(&mut keep);
                }
            }
            simplifier.finish(|seq, _| kept.push(seq.get()));
            kept
        };
        let (plain, cut) = (kept(None), kept(Some(17)));
        assert!(!plain.contains(&17) && cut.contains(&17), "{plain:?} {cut:?}");
        assert!(cut.len() <= plain.len() + 1, "{plain:?} {cut:?}");
    }

    #[test]
    fn raw_keeps_all() {
        let mut simplifier = TrailSimplifier::new(Sampling::Raw);
        let mut kept = 0;
        for (seq, point) in (0..).zip(drive(&[(0.0, 0.0); 40])) {
            simplifier.push(Seq::new(seq), point, |_, _| kept += 1);
        }
        assert_eq!((kept, simplifier.deadline()), (40, None));
    }
}
