//! Jump filter: holds back fixes that are out of reach of the last one until later fixes confirm
//! them.
//!
//! Garage doors, bridges and jammers cause one or more wrong fixes with good quality figures. A van
//! that was carried, or a wrong first fix, looks the same at first. Fixes out of reach therefore
//! wait. If the following fixes agree with them, all are released in order and none is lost. If the
//! van is back at its old position, they are dropped.
//!
//! After a gap or a restart, no speed limits the way. The first fix there waits for two more if it is
//! far from the last place or of poor quality.

use std::time::Duration;

use waypost_model::fix::Fix;
use waypost_model::units::{Distance, Position, Speed};

/// The newest accepted fix, and the fixes that contradict it.
#[derive(Debug, Default)]
pub(super) struct JumpFilter {
    accepted: Option<Fix>,
    /// Mutually consistent fixes that contradict the accepted one, oldest first.
    candidates: Vec<Fix>,
    /// The candidates follow a gap.
    after_gap: bool,
    /// Last place of an earlier run.
    last_place: Option<Position>,
}

impl JumpFilter {
    /// Number of fixes that confirm a new position, the first included.
    const CONFIRMATIONS: usize = 8;
    /// Minimum time between the first and the last of them. A 10 Hz receiver repeats its errors ten
    /// times per second.
    const CONFIRMED_OVER: Duration = Duration::from_secs(5);
    /// Maximum number of buffered candidates. Faster receivers lose older ones.
    const MAX_CANDIDATES: usize = 64;

    /// Plausible speed between two fixes: the reported speed times this factor, plus
    /// `SPEED_MARGIN_MPS`.
    const SPEED_FACTOR: f64 = 1.5;
    const SPEED_MARGIN_MPS: f64 = 15.0;
    /// Maximum speed in m/s for receivers that report no speed.
    const MAX_MPS: f64 = 80.0;
    /// Longest gap over which the reported speeds are representative.
    const MAX_REPORTED_GAP: Duration = Duration::from_secs(10);
    /// Maximum mean speed in m/s over a longer gap.
    const MAX_MEAN_MPS: f64 = 60.0;
    /// Allowed distance in metres between fixes of a stationary van, in addition to `SIGMAS` times
    /// their accuracies.
    const MARGIN_M: f64 = 50.0;
    const SIGMAS: f64 = 3.0;
    const MAX_ACCURACY_M: f64 = 150.0;
    const DEFAULT_ACCURACY_M: f64 = 10.0;

    /// Pause after which the first fix needs confirmation if it is far away or poor.
    const GAP: Duration = Duration::from_secs(60);
    /// Number of fixes that confirm a position after a gap, the first included.
    const CONFIRMATIONS_AFTER_GAP: usize = 3;
    /// Distance in metres from the last place within which a good fix needs no confirmation.
    const NEAR_M: f64 = 300.0;
    /// Number of satellites below which a fix is poor: without redundancy, one bad measurement
    /// falsifies the position.
    const GOOD_SATELLITES: u8 = 5;
    /// Accuracy in metres above which a fix is poor.
    const GOOD_ACCURACY_M: f64 = 50.0;

    pub(super) const fn new(last_place: Option<Position>) -> Self {
        Self { accepted: None, candidates: Vec::new(), after_gap: false, last_place }
    }

    /// Processes a fix, passes confirmed fixes to `accept`, and returns the number of dropped ones.
    pub(super) fn push(&mut self, fix: Fix, accept: &mut impl FnMut(Fix)) -> u64 {
        let follows_gap = self.accepted.is_none_or(|before| gap(&before, &fix) > Self::GAP);
        let reachable = match &self.accepted {
            _ if follows_gap => self.is_near_and_good(&fix),
            Some(before) => Self::is_reachable(before, &fix),
            None => true,
        };
        if reachable {
            let given_up = self.drop_candidates();
            self.accept(fix, accept);
            return given_up;
        }
        self.after_gap = follows_gap;
        let agree = self.candidates.last().is_none_or(|witness| Self::is_reachable(witness, &fix));
        let mut given_up = if agree { 0 } else { self.drop_candidates() };
        if self.candidates.len() == Self::MAX_CANDIDATES {
            self.candidates.remove(1);
            given_up += 1;
        }
        self.candidates.push(fix);
        let witnessed_for =
            self.candidates.first().map_or(Duration::ZERO, |first| gap(first, &fix));
        let (confirmations, over) = if self.after_gap {
            (Self::CONFIRMATIONS_AFTER_GAP, Duration::ZERO)
        } else {
            (Self::CONFIRMATIONS, Self::CONFIRMED_OVER)
        };
        if self.candidates.len() >= confirmations && witnessed_for >= over {
            for witness in std::mem::take(&mut self.candidates) {
                self.accept(witness, accept);
            }
        }
        given_up
    }

    /// Handles the end of the input. Fixes after a gap that nothing has contradicted are accepted;
    /// others are dropped. Returns the number of dropped ones.
    pub(super) fn finish(&mut self, accept: &mut impl FnMut(Fix)) -> u64 {
        if self.after_gap {
            for fix in std::mem::take(&mut self.candidates) {
                self.accept(fix, accept);
            }
        }
        self.drop_candidates()
    }

    /// Drops the candidates and returns their number.
    fn drop_candidates(&mut self) -> u64 {
        self.candidates.drain(..).count() as u64
    }

    /// Whether a fix after a gap needs no confirmation.
    fn is_near_and_good(&self, fix: &Fix) -> bool {
        let place = self.accepted.map(|before| before.position).or(self.last_place);
        let is_near =
            place.is_none_or(|place| place.distance_to(fix.position).as_metres() <= Self::NEAR_M);
        let has_satellites = fix.satellites_used.is_none_or(|used| used >= Self::GOOD_SATELLITES);
        let is_accurate =
            fix.accuracy.is_none_or(|accuracy| accuracy.as_metres() <= Self::GOOD_ACCURACY_M);
        is_near && has_satellites && is_accurate
    }

    fn accept(&mut self, fix: Fix, accept: &mut impl FnMut(Fix)) {
        self.accepted = Some(fix);
        accept(fix);
    }

    fn is_reachable(from: &Fix, to: &Fix) -> bool {
        let time = gap(from, to);
        let reported = from.speed.max(to.speed).map(Speed::as_mps);
        let mps = match reported {
            _ if time > Self::MAX_REPORTED_GAP => Self::MAX_MEAN_MPS,
            Some(mps) => mps * Self::SPEED_FACTOR + Self::SPEED_MARGIN_MPS,
            None => Self::MAX_MPS,
        };
        let accuracy = |fix: &Fix| {
            let said = fix.accuracy.map_or(Self::DEFAULT_ACCURACY_M, Distance::as_metres);
            said.min(Self::MAX_ACCURACY_M)
        };
        let margin = Self::MARGIN_M + Self::SIGMAS * (accuracy(from) + accuracy(to));
        from.position.distance_to(to.position).as_metres() <= mps * time.as_secs_f64() + margin
    }
}

/// Time between two fixes. Concatenated recordings have gaps in UTC only, of either sign.
fn gap(from: &Fix, to: &Fix) -> Duration {
    let by_utc = Duration::from_millis(to.utc.millis_since(from.utc).unsigned_abs());
    to.read_at.since(from.read_at).max(by_utc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    /// Milliseconds, metres to the north, m/s.
    type Seen = (u32, f64, Option<f64>);

    /// Returns the milliseconds of the accepted fixes and the number of dropped ones.
    fn believed(script: &[Seen]) -> (Vec<u128>, u64) {
        let (mut whereabouts, mut out, mut given_up) = (JumpFilter::default(), Vec::new(), 0);
        for (ms, north_m, mps) in script {
            let fix = Fix { speed: mps.and_then(Speed::from_mps), ..fix(*ms, *north_m) };
            given_up += whereabouts.push(fix, &mut |fix| {
                out.push(fix.read_at.since_start().as_millis());
            });
        }
        let given_up = given_up
            + whereabouts.finish(&mut |fix| {
                out.push(fix.read_at.since_start().as_millis());
            });
        (out, given_up)
    }

    /// A minute of driving at 10 m/s whose fixes from `from` to `to` (ms) are 40 km away.
    fn teleported(hz: u32, from: u32, to: u32) -> (Vec<u128>, u64) {
        let away = |ms| if (from..to).contains(&ms) { 40_000.0 } else { 0.0 };
        let script: Vec<_> = (0..60 * hz)
            .map(|n| n * 1000 / hz)
            .map(|ms| (ms, f64::from(ms) / 100.0 + away(ms), Some(10.0)))
            .collect();
        believed(&script)
    }

    #[test]
    fn a_teleport_of_one_or_of_five_fixes_does_not_come_out() {
        for (hz, fixes) in [(1, 1), (1, 5), (10, 10), (10, 45)] {
            let to = 30_000 + fixes * 1000 / hz;
            let (out, given_up) = teleported(hz, 30_000, to);
            assert_eq!(given_up, u64::from(fixes), "{fixes} at {hz} Hz");
            assert_eq!(out.len() as u64 + given_up, u64::from(60 * hz));
            assert!(out.iter().all(|ms| !(30_000..u128::from(to)).contains(ms)));
        }
    }

    #[test]
    fn a_new_place_is_believed_when_it_is_witnessed_and_no_fix_of_it_is_lost() {
        for hz in [1, 10] {
            let (out, given_up) = teleported(hz, 30_000, 100_000);
            assert_eq!((out.len() as u64, given_up), (u64::from(60 * hz), 0));
            assert!(out.is_sorted());
        }
    }

    #[test]
    fn a_wrong_first_fix_does_not_lock_the_van_out() {
        let (out, given_up) = teleported(1, 0, 1);
        assert_eq!((out.len(), given_up), (60, 0));
    }

    #[test]
    fn what_a_van_can_do_is_believed_at_once() {
        let cases: &[(&str, &[Seen])] = &[
            ("a motorway", &[(0, 0.0, Some(36.0)), (1000, 36.0, Some(36.0))]),
            ("a jitter", &[(0, 0.0, Some(0.0)), (1000, 90.0, Some(0.0))]),
            ("no speed reported", &[(0, 0.0, None), (1000, 50.0, None)]),
            ("a tunnel", &[(0, 0.0, Some(25.0)), (240_000, 6000.0, Some(25.0))]),
            ("a ferry", &[(0, 0.0, Some(0.0)), (3_600_000, 40_000.0, Some(0.0))]),
            ("a fix every 30 s", &[(0, 0.0, Some(0.0)), (30_000, 600.0, Some(25.0))]),
        ];
        for (name, script) in cases {
            let (out, given_up) = believed(script);
            assert_eq!((out.len(), given_up), (script.len(), 0), "{name}");
        }
    }

    #[test]
    fn lies_that_disagree_are_no_witnesses() {
        let elsewhere = |n: u32| (n * 1000, 40_000.0 * f64::from(1 + n % 2), Some(1.0));
        let script: Vec<_> =
            [(0, 0.0, Some(1.0))].into_iter().chain((1..=30).map(elsewhere)).collect();
        let (out, given_up) = believed(&script);
        assert_eq!((out.len(), given_up), (1, 30));
    }
}
