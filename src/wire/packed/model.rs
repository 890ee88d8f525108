//! What the next point is predicted from. It is written once for writer and reader, so that they cannot differ.

use super::bits::{Coder, Ended, Usual};
use super::raw::{ALTITUDE, COURSE, MOTIONS, Precision, Raw, SPEED, index};
use crate::core::journey::Motion;
use crate::core::record::Seq;

/// The time between two fixes from which on they say nothing about the way to the next.
const NEAR_MS: i64 = 60_000;

/// The fields in the order of the bits.
#[derive(Clone, Copy)]
enum Field {
    SeqStep,
    UtcStep,
    Present,
    Labels,
    Geoid,
    Hdop,
    Satellites,
    Spread,
    Lat,
    Lon,
    Speed,
    Course,
    Altitude,
    Odometer,
}

/// What the next point is predicted from, the same on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    before: Raw,
    seq_step: i64,
    utc_step_ms: i64,
    lat_step: i64,
    lon_step: i64,
    usual: [Usual; 14],
}

/// One point through the coder.
struct Pass<'a, C> {
    coder: &'a mut C,
    usual: [Usual; 14],
}

impl<C: Coder> Pass<'_, C> {
    /// `value` as its distance from what was predicted; the one that was read if this is a reader.
    fn code(&mut self, field: Field, predicted: i64, value: i64) -> Result<i64, Ended> {
        let usual = &mut self.usual[field as usize];
        let residual = self.coder.residual(usual, value.wrapping_sub(predicted))?;
        Ok(predicted.wrapping_add(residual))
    }
}

impl Model {
    pub(super) fn new(first: Seq, precision: Precision) -> Self {
        let step = match precision {
            Precision::Kept => 60,
            Precision::Said => 3,
        };
        // Guesses in the order of `Field`: they matter for the first points of a batch only.
        let usual = [0, 0, 0, 0, 0, 8, 1, 2, step, step, 20, 40, 4, 2].map(Usual::about);
        let seq = i64::try_from(first.get()).unwrap_or(i64::MAX);
        let before = Raw { seq, ..Raw::default() };
        Self { before, seq_step: 0, utc_step_ms: 0, lat_step: 0, lon_step: 0, usual }
    }

    /// Writes `point`, or ignores it and reads one. What wraps is damage that no CRC saw.
    pub(super) fn pass(
        &mut self,
        coder: &mut impl Coder,
        point: &Raw,
        first: bool,
    ) -> Result<Raw, Ended> {
        let mut pass = Pass { coder, usual: self.usual };
        let last_step_ms = self.utc_step_ms;
        let mut next = self.seldom(&mut pass, point)?;
        let before = self.before;
        let near = [last_step_ms, self.utc_step_ms].iter().all(|ms| (1..=NEAR_MS).contains(ms));
        let goes_on = |step: i64| {
            if near { step.wrapping_mul(self.utc_step_ms) / last_step_ms } else { 0 }
        };
        let lat = before.lat.wrapping_add(goes_on(self.lat_step));
        let lon = before.lon.wrapping_add(goes_on(self.lon_step));
        next.lat = pass.code(Field::Lat, lat, point.lat)?;
        next.lon = pass.code(Field::Lon, lon, point.lon)?;
        if next.present & SPEED != 0 {
            next.speed_cmps = pass.code(Field::Speed, before.speed_cmps, point.speed_cmps)?;
        }
        if next.present & COURSE != 0 {
            // The shorter way round.
            let turn = point.course_ddeg.wrapping_sub(before.course_ddeg).wrapping_add(1800);
            let turn = turn.rem_euclid(3600) - 1800;
            let turned = pass.code(Field::Course, 0, turn)?;
            next.course_ddeg = before.course_ddeg.wrapping_add(turned).rem_euclid(3600);
        }
        if next.present & ALTITUDE != 0 {
            next.altitude_dm = pass.code(Field::Altitude, before.altitude_dm, point.altitude_dm)?;
        }
        let drives = near && next.labels % 3 == index(&MOTIONS, &Motion::Moving);
        let way = if drives { next.speed_cmps.wrapping_mul(self.utc_step_ms) / 10_000 } else { 0 };
        let odometer = before.odometer_dm.wrapping_add(way);
        next.odometer_dm = pass.code(Field::Odometer, odometer, point.odometer_dm)?;
        self.lat_step = next.lat.wrapping_sub(before.lat);
        self.lon_step = next.lon.wrapping_sub(before.lon);
        self.before = next;
        // The first point is written out, and no measure of what is usual.
        if !first {
            self.usual = pass.usual;
        }
        Ok(next)
    }

    /// What seldom changes, behind a flag, and what the receiver thinks of its fix, behind another.
    fn seldom(&mut self, pass: &mut Pass<'_, impl Coder>, point: &Raw) -> Result<Raw, Ended> {
        let before = self.before;
        let mut next = before;
        let seq_step = point.seq.wrapping_sub(before.seq);
        let utc_step_ms = point.utc_ms.wrapping_sub(before.utc_ms);
        let steps = (seq_step, utc_step_ms) == (self.seq_step, self.utc_step_ms);
        let kind = |raw: &Raw| (raw.present, raw.labels, raw.geoid_dm);
        if pass.coder.flag(!steps || kind(point) != kind(&before))? {
            self.seq_step = pass.code(Field::SeqStep, self.seq_step, seq_step)?;
            self.utc_step_ms = pass.code(Field::UtcStep, self.utc_step_ms, utc_step_ms)?;
            next.present = pass.code(Field::Present, before.present, point.present)?;
            next.labels = pass.code(Field::Labels, before.labels, point.labels)?;
            next.geoid_dm = pass.code(Field::Geoid, before.geoid_dm, point.geoid_dm)?;
        }
        next.seq = before.seq.wrapping_add(self.seq_step);
        next.utc_ms = before.utc_ms.wrapping_add(self.utc_step_ms);
        let quality = |raw: &Raw| (raw.hdop_e2, raw.satellites, raw.spread_dm);
        if pass.coder.flag(quality(point) != quality(&before))? {
            next.hdop_e2 = pass.code(Field::Hdop, before.hdop_e2, point.hdop_e2)?;
            next.satellites = pass.code(Field::Satellites, before.satellites, point.satellites)?;
            next.spread_dm = pass.code(Field::Spread, before.spread_dm, point.spread_dm)?;
        }
        Ok(next)
    }
}
