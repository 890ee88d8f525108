//! Plans one leg of the route: a road with rounded corners, and the speed limit of each segment.
//!
//! A corner is a parabola, computed with products and sums only, so that every platform drives the
//! same line. One pass against the direction of travel sets the speed at the end of each segment,
//! such that the van can always brake in time.

use super::random::Random;
use super::road::{Point, RoadPoint, Surroundings};
use super::route::Van;

/// A straight part of the road; corners consist of short ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoadSegment {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) length_m: f64,
    pub(super) limit_mps: f64,
    /// Maximum speed at its end.
    pub(super) end_mps: f64,
    /// Duration of the red light at its end, in steps; 0 without a light.
    pub(super) wait_steps: u32,
    pub(super) surroundings: Surroundings,
}

impl RoadSegment {
    fn new(from: Point, to: Point, limit_mps: f64, surroundings: Surroundings) -> Self {
        let length_m = from.distance_m(to);
        Self { from, to, length_m, limit_mps, end_mps: limit_mps, wait_steps: 0, surroundings }
    }

    /// Returns the course in degrees clockwise from north.
    pub(super) fn course_deg(&self) -> f64 {
        let (east, north) = self.from.offset_to(self.to);
        east.atan2(north).to_degrees().rem_euclid(360.0)
    }
}

/// Share of the van's braking used for planning. The rest compensates for the rounding of steps.
const PLANNED_BRAKING: f64 = 0.85;
/// Lower limit for the speed in corners, in metres per second.
const SLOWEST_CORNER_MPS: f64 = 1.5;
/// Number of straight segments in a corner.
const CORNER_SEGMENTS: u8 = 8;
/// Traffic lights occur at corners of 45° or more: its cosine.
const CROSSING_COSINE: f64 = 0.71;

/// Returns the segments of the road from a standstill at `from` to a standstill at the last point.
pub(super) fn plan_leg(
    from: Point,
    way: &[RoadPoint],
    van: &Van,
    random: &mut Random,
) -> Vec<RoadSegment> {
    let mut pieces: Vec<RoadSegment> = Vec::new();
    let mut start = from;
    let way: Vec<&RoadPoint> = distinct(from, way);
    for (index, mark) in way.iter().enumerate() {
        let Some(next) = way.get(index + 1) else {
            pieces.push(RoadSegment::new(start, mark.point, mark.limit_mps, mark.surroundings));
            break;
        };
        let corner = Corner::new(start, mark, next.point, van);
        let mut straight = RoadSegment::new(start, corner.entry, mark.limit_mps, mark.surroundings);
        if let Some(steps) = corner.light_steps(mark, van, random) {
            straight.wait_steps = steps;
        }
        pieces.push(straight);
        corner.append_segments(&mut pieces);
        start = corner.exit;
    }
    pieces.retain(|piece| piece.length_m > 0.0);
    limit_ends(&mut pieces, van.braking_mps2 * PLANNED_BRAKING);
    pieces
}

/// Drops points that coincide with the point before, because they give no direction.
fn distinct(from: Point, way: &[RoadPoint]) -> Vec<&RoadPoint> {
    let mut last = from;
    let mut kept: Vec<&RoadPoint> = Vec::with_capacity(way.len());
    for mark in way {
        if last.distance_m(mark.point) >= 1.0 {
            last = mark.point;
            kept.push(mark);
        }
    }
    kept
}

/// Limits the end speeds, against the direction of travel, so that the van can brake for all later
/// segments.
fn limit_ends(pieces: &mut [RoadSegment], braking_mps2: f64) {
    let mut allowed_mps: f64 = 0.0;
    for piece in pieces.iter_mut().rev() {
        if piece.wait_steps > 0 {
            allowed_mps = 0.0;
        }
        piece.end_mps = allowed_mps.min(piece.limit_mps);
        let entry = piece.end_mps * piece.end_mps + 2.0 * braking_mps2 * piece.length_m;
        allowed_mps = entry.sqrt().min(piece.limit_mps);
    }
}

/// Returns the speed allowed with `rest_m` metres left on the segment.
pub(super) fn allowed_mps(piece: &RoadSegment, rest_m: f64, van: &Van) -> f64 {
    let braking_mps2 = van.braking_mps2 * PLANNED_BRAKING;
    let squared = piece.end_mps * piece.end_mps + 2.0 * braking_mps2 * rest_m.max(0.0);
    squared.sqrt().min(piece.limit_mps)
}

/// The corner between two straight roads.
struct Corner {
    entry: Point,
    at: Point,
    exit: Point,
    /// Cosine of the angle of the turn: 1 is straight on, −1 is back.
    cosine: f64,
    limit_mps: f64,
    surroundings: Surroundings,
}

impl Corner {
    fn new(start: Point, mark: &RoadPoint, next: Point, van: &Van) -> Self {
        let (before, after) = (start.distance_m(mark.point), mark.point.distance_m(next));
        let ((e1, n1), (e2, n2)) = (start.offset_to(mark.point), mark.point.offset_to(next));
        let cosine = ((e1 * e2 + n1 * n2) / (before * after)).clamp(-1.0, 1.0);
        // Fast roads have wide bends; a corner in a street is cut by some metres.
        let wide_m = (0.04 * mark.limit_mps * mark.limit_mps).clamp(6.0, 40.0);
        let cut_m = wide_m.min(before * 0.45).min(after * 0.45);
        // tan² of half the angle, without trigonometry; the radius that fits a tangent of `cut_m`.
        let tan_squared = (1.0 - cosine) / (1.0 + cosine).max(1e-9);
        let radius_m = cut_m / tan_squared.sqrt().max(1e-6);
        let bend_mps = (van.cornering_mps2 * radius_m).sqrt().max(SLOWEST_CORNER_MPS);
        Self {
            entry: mark.point.interpolate(start, cut_m / before),
            at: mark.point,
            exit: mark.point.interpolate(next, cut_m / after),
            cosine,
            limit_mps: bend_mps.min(mark.limit_mps),
            surroundings: mark.surroundings,
        }
    }

    fn light_steps(&self, mark: &RoadPoint, van: &Van, random: &mut Random) -> Option<u32> {
        let crossing = self.cosine < CROSSING_COSINE && mark.surroundings == Surroundings::Urban;
        let red = crossing && random.chance(van.light_chance.get());
        red.then(|| super::steps_of(van.light.as_secs_f64() * random.between(0.1, 1.0)).max(1))
    }

    fn append_segments(&self, pieces: &mut Vec<RoadSegment>) {
        let mut from = self.entry;
        for step in 1..=CORNER_SEGMENTS {
            let part = f64::from(step) / f64::from(CORNER_SEGMENTS);
            let (before, after) =
                (self.entry.interpolate(self.at, part), self.at.interpolate(self.exit, part));
            let to = before.interpolate(after, part);
            pieces.push(RoadSegment::new(from, to, self.limit_mps, self.surroundings));
            from = to;
        }
    }
}
