//! Predictor of the next track point, shared by encoder and decoder.

use super::bits::{AdaptiveMean, ResidualCoder, UnexpectedEnd};
use super::raw::{ALTITUDE, COURSE, MOTIONS, Precision, Raw, SPEED, index};
use waypost_model::motion::Motion;
use waypost_model::record::Seq;

/// Maximum time between fixes for a linear prediction of the next position.
const MAX_EXTRAPOLATION_MS: i64 = 60_000;

/// Fields in the order of the bits.
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

/// State of the predictor, equal on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    previous: Raw,
    seq_step: i64,
    utc_step_ms: i64,
    lat_step: i64,
    lon_step: i64,
    means: [AdaptiveMean; 14],
}

/// Coding of one point.
struct PointCoder<'a, C> {
    coder: &'a mut C,
    means: [AdaptiveMean; 14],
}

impl<C: ResidualCoder> PointCoder<'_, C> {
    /// Codes a field as its residual. A decoder ignores `value` and returns the decoded one.
    fn code(&mut self, field: Field, predicted: i64, value: i64) -> Result<i64, UnexpectedEnd> {
        let usual = &mut self.means[field as usize];
        let residual = self.coder.residual(usual, value.wrapping_sub(predicted))?;
        Ok(predicted.wrapping_add(residual))
    }
}

impl Model {
    pub(super) fn new(first: Seq, precision: Precision) -> Self {
        let step = match precision {
            Precision::Stored => 60,
            Precision::Published => 3,
        };
        // Initial means in the order of `Field`. They only matter for the first points of a batch.
        let means =
            [0, 0, 0, 0, 0, 8, 1, 2, step, step, 20, 40, 4, 2].map(AdaptiveMean::starting_at);
        let seq = i64::try_from(first.get()).unwrap_or(i64::MAX);
        let previous = Raw { seq, ..Raw::default() };
        Self { previous, seq_step: 0, utc_step_ms: 0, lat_step: 0, lon_step: 0, means }
    }

    /// Encodes `point`, or ignores it and decodes one. Arithmetic wraps, because the CRC may miss
    /// damage.
    pub(super) fn transcode(
        &mut self,
        coder: &mut impl ResidualCoder,
        point: &Raw,
        first: bool,
    ) -> Result<Raw, UnexpectedEnd> {
        let mut pass = PointCoder { coder, means: self.means };
        let last_step_ms = self.utc_step_ms;
        let mut next = self.transcode_rare_fields(&mut pass, point)?;
        let before = self.previous;
        let near = [last_step_ms, self.utc_step_ms]
            .iter()
            .all(|ms| (1..=MAX_EXTRAPOLATION_MS).contains(ms));
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
            // Shortest turn.
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
        self.previous = next;
        // The first point is an absolute value and would distort the means.
        if !first {
            self.means = pass.means;
        }
        Ok(next)
    }

    /// Codes the rarely changing fields behind one flag, and the quality of the fix behind another.
    fn transcode_rare_fields(
        &mut self,
        pass: &mut PointCoder<'_, impl ResidualCoder>,
        point: &Raw,
    ) -> Result<Raw, UnexpectedEnd> {
        let before = self.previous;
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
