//! Marks → [`Leg`]: a road with rounded corners, and the speed that each piece of it allows.
//!
//! A corner is a parabola (products and sums only, so that every platform drives the same line), and the speeds at the
//! ends of the pieces come from one pass against the direction of travel: whoever keeps to them can always brake in time.

use super::random::Random;
use super::route::Van;
use super::way::{Mark, Point, Surroundings};

/// A straight line, short in corners.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) length_m: f64,
    pub(super) limit_mps: f64,
    /// At most, when leaving it.
    pub(super) end_mps: f64,
    /// A red light at its end, for so many steps.
    pub(super) wait_steps: u32,
    pub(super) surroundings: Surroundings,
}

impl Piece {
    fn new(from: Point, to: Point, limit_mps: f64, surroundings: Surroundings) -> Self {
        let length_m = from.distance_m(to);
        Self { from, to, length_m, limit_mps, end_mps: limit_mps, wait_steps: 0, surroundings }
    }

    /// Degrees clockwise from north.
    pub(super) fn course_deg(&self) -> f64 {
        let (east, north) = self.from.to(self.to);
        east.atan2(north).to_degrees().rem_euclid(360.0)
    }
}

/// The braking that is planned for, as a part of the van's: the rest corrects what the steps round.
const PLANNED_BRAKING: f64 = 0.85;
/// Nobody turns the wheel on the spot.
const SLOWEST_CORNER_MPS: f64 = 1.5;
/// Straight lines of which a corner consists.
const CORNER_PIECES: u8 = 8;
/// Where traffic lights stand: the cosine of 45°.
const CROSSING_COSINE: f64 = 0.71;

/// The pieces of the way from a standstill at `from` to a standstill at the last mark.
pub(super) fn plan(from: Point, way: &[Mark], van: &Van, random: &mut Random) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = from;
    let way: Vec<&Mark> = distinct(from, way);
    for (index, mark) in way.iter().enumerate() {
        let Some(next) = way.get(index + 1) else {
            pieces.push(Piece::new(start, mark.point, mark.limit_mps, mark.surroundings));
            break;
        };
        let corner = Corner::new(start, mark, next.point, van);
        let mut straight = Piece::new(start, corner.entry, mark.limit_mps, mark.surroundings);
        if let Some(steps) = corner.light_steps(mark, van, random) {
            straight.wait_steps = steps;
        }
        pieces.push(straight);
        corner.round(&mut pieces);
        start = corner.exit;
    }
    pieces.retain(|piece| piece.length_m > 0.0);
    limit_ends(&mut pieces, van.braking_mps2 * PLANNED_BRAKING);
    pieces
}

/// Two marks on one spot have no direction between them.
fn distinct(from: Point, way: &[Mark]) -> Vec<&Mark> {
    let mut last = from;
    let mut kept: Vec<&Mark> = Vec::with_capacity(way.len());
    for mark in way {
        if last.distance_m(mark.point) >= 1.0 {
            last = mark.point;
            kept.push(mark);
        }
    }
    kept
}

/// Against the direction of travel: slow enough for the next piece, and able to brake for what comes after.
fn limit_ends(pieces: &mut [Piece], braking_mps2: f64) {
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

/// The speed that the rest of a piece allows.
pub(super) fn allowed_mps(piece: &Piece, rest_m: f64, van: &Van) -> f64 {
    let braking_mps2 = van.braking_mps2 * PLANNED_BRAKING;
    let squared = piece.end_mps * piece.end_mps + 2.0 * braking_mps2 * rest_m.max(0.0);
    squared.sqrt().min(piece.limit_mps)
}

/// Where two straight roads meet.
struct Corner {
    entry: Point,
    at: Point,
    exit: Point,
    /// Of the angle by which the road turns: 1 is straight on, −1 is back.
    cosine: f64,
    limit_mps: f64,
    surroundings: Surroundings,
}

impl Corner {
    fn new(start: Point, mark: &Mark, next: Point, van: &Van) -> Self {
        let (before, after) = (start.distance_m(mark.point), mark.point.distance_m(next));
        let ((e1, n1), (e2, n2)) = (start.to(mark.point), mark.point.to(next));
        let cosine = ((e1 * e2 + n1 * n2) / (before * after)).clamp(-1.0, 1.0);
        // A fast road has wide bends, a street's corner is cut by some metres.
        let wide_m = (0.04 * mark.limit_mps * mark.limit_mps).clamp(6.0, 40.0);
        let cut_m = wide_m.min(before * 0.45).min(after * 0.45);
        // tan² of half the angle, without trigonometry; the radius that fits a tangent of `cut_m`.
        let tan_squared = (1.0 - cosine) / (1.0 + cosine).max(1e-9);
        let radius_m = cut_m / tan_squared.sqrt().max(1e-6);
        let bend_mps = (van.cornering_mps2 * radius_m).sqrt().max(SLOWEST_CORNER_MPS);
        Self {
            entry: mark.point.towards(start, cut_m / before),
            at: mark.point,
            exit: mark.point.towards(next, cut_m / after),
            cosine,
            limit_mps: bend_mps.min(mark.limit_mps),
            surroundings: mark.surroundings,
        }
    }

    fn light_steps(&self, mark: &Mark, van: &Van, random: &mut Random) -> Option<u32> {
        let crossing = self.cosine < CROSSING_COSINE && mark.surroundings == Surroundings::Urban;
        let red = crossing && random.chance(van.light_chance.get());
        red.then(|| super::steps_of(van.light.as_secs_f64() * random.between(0.1, 1.0)).max(1))
    }

    fn round(&self, pieces: &mut Vec<Piece>) {
        let mut from = self.entry;
        for step in 1..=CORNER_PIECES {
            let part = f64::from(step) / f64::from(CORNER_PIECES);
            let (before, after) =
                (self.entry.towards(self.at, part), self.at.towards(self.exit, part));
            let to = before.towards(after, part);
            pieces.push(Piece::new(from, to, self.limit_mps, self.surroundings));
            from = to;
        }
    }
}
