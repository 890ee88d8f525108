//! Detects a receiver that repeats its last position while its clock and its speed go on, as some do
//! in a tunnel.

use waypost_model::fix::Fix;
use waypost_model::units::{Position, Speed, TimeOfDay};

/// The position that the receiver reports, and the way that it claims to have made meanwhile.
#[derive(Debug, Default)]
pub(super) struct FrozenDetector {
    newest: Option<(Position, TimeOfDay)>,
    claimed_m: f64,
    /// The receiver has reported positions with four or more decimals of a minute.
    has_fine_positions: bool,
}

impl FrozenDetector {
    /// Minimum speed of a moving van, m/s. A parked van keeps its position rightly.
    const MOVING_MPS: f64 = 2.0;
    /// Claimed way in metres beyond which a position with four decimals of a minute (0.2 m) must have
    /// changed.
    const FINE_M: f64 = 3.0;
    /// The same for two decimals (18 m).
    const COARSE_M: f64 = 40.0;
    /// Maximum interval between two fixes, ms. A longer one is a gap.
    const MAX_INTERVAL_MS: i64 = 10_000;

    /// Returns whether `fix` repeats the last position.
    pub(super) fn observe(&mut self, fix: &Fix, time: TimeOfDay) -> bool {
        let before = self.newest.replace((fix.position, time));
        let Some((_, at)) = before.filter(|(position, _)| *position == fix.position) else {
            self.claimed_m = 0.0;
            self.has_fine_positions |= is_fine(fix.position);
            return false;
        };
        let mps = fix.speed.map_or(0.0, Speed::as_mps);
        if mps < Self::MOVING_MPS {
            self.claimed_m = 0.0;
            return false;
        }
        let ms = time.millis_since(at);
        if (1..=Self::MAX_INTERVAL_MS).contains(&ms) {
            self.claimed_m += mps * f64::from(u32::try_from(ms).unwrap_or(0)) / 1000.0;
        }
        let limit_m = if self.has_fine_positions { Self::FINE_M } else { Self::COARSE_M };
        self.claimed_m > limit_m
    }
}

/// Returns whether one of the coordinates has more than three decimals of a minute.
fn is_fine(position: Position) -> bool {
    [position.lat_deg(), position.lon_deg()].into_iter().any(|degrees| {
        let thousandths = degrees * 60_000.0;
        (thousandths - thousandths.round()).abs() > 0.01
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    /// Feeds one fix per second, each `(metres to the north, m/s)`; returns which are repeats.
    fn repeats(script: &[(f64, f64)]) -> Vec<bool> {
        let mut detector = FrozenDetector::default();
        (0_u32..)
            .zip(script)
            .map(|(second, (north_m, mps))| {
                let fix = Fix { speed: Speed::from_mps(*mps), ..fix(second * 1000, *north_m) };
                detector.observe(&fix, TimeOfDay::new(8, 0, second, 0).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_position_that_stays_while_the_van_drives_is_a_repeat() {
        let tunnel = [(0.3, 14.0), (14.3, 14.0), (14.3, 14.0), (14.3, 14.0), (70.3, 14.0)];
        assert_eq!(repeats(&tunnel), [false, false, true, true, false]);
    }

    #[test]
    fn a_parked_van_and_a_coarse_receiver_repeat_nothing() {
        assert!(repeats(&[(0.3, 0.4); 50]).iter().all(|repeat| !repeat));
        // Two decimals of a minute are 18.5 m.
        let mut detector = FrozenDetector::default();
        for second in 0..50 {
            let hundredths = f64::from((second * 10 * 100) / 1852);
            let position = Position::from_degrees(48.0 + hundredths / 6_000.0, 11.5).unwrap();
            assert!(!is_fine(position), "{second} s");
            let speed = Speed::from_mps(10.0);
            let fix = Fix { position, speed, ..fix(second * 1000, 0.0) };
            let time = TimeOfDay::new(8, 0, second, 0).unwrap();
            assert!(!detector.observe(&fix, time), "{second} s");
        }
    }
}
