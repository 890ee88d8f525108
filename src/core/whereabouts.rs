//! Where the van can be: a fix that the last one cannot reach is not believed until others witness it.
//!
//! One wrong fix, or a few in a row, come out of a garage door, a bridge or a jammer, with good figures of their own. A
//! van that was carried, or a first fix that was wrong, looks the same at first. So what is out of reach waits: when the
//! next fixes agree with it they all come out, in order, and none is lost; when the van is back where it was, they go.

use std::time::Duration;

use super::fix::Fix;
use crate::units::{Distance, Speed};

/// The newest believed fix, and those that contradict it.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    believed: Option<Fix>,
    /// Fixes that agree with one another and not with the believed one, oldest first.
    witnesses: Vec<Fix>,
}

impl Whereabouts {
    /// So many fixes witness a new place, itself included …
    const WITNESSES: usize = 8;
    /// … over so long: a receiver with 10 Hz repeats its mistakes ten times a second.
    const WITNESSED_FOR: Duration = Duration::from_secs(5);
    /// Of a faster receiver the oldest go.
    const MAX_WITNESSES: usize = 64;

    /// Beyond the reported speeds: how much faster a van may have been between two fixes.
    const SPEED_FACTOR: f64 = 1.5;
    const SPEED_MARGIN_MPS: f64 = 15.0;
    /// Of a receiver that reports no speed.
    const MAX_MPS: f64 = 80.0;
    /// Nobody reported what happened in a gap that is longer; no van has a higher mean.
    const REPORTED: Duration = Duration::from_secs(10);
    const MAX_MEAN_MPS: f64 = 60.0;
    /// What two fixes of a standing van may differ by, beside three times what they say themselves.
    const MARGIN_M: f64 = 50.0;
    const SIGMAS: f64 = 3.0;
    const MAX_ACCURACY_M: f64 = 150.0;
    const UNSAID_ACCURACY_M: f64 = 10.0;

    /// Hands on what is believed by now, and returns how many fixes are given up.
    pub(super) fn push(&mut self, fix: Fix, accept: &mut impl FnMut(Fix)) -> u64 {
        let reachable = self.believed.is_none_or(|believed| Self::reaches(&believed, &fix));
        if reachable {
            let given_up = self.finish();
            self.believe(fix, accept);
            return given_up;
        }
        let agree = self.witnesses.last().is_none_or(|witness| Self::reaches(witness, &fix));
        let mut given_up = if agree { 0 } else { self.finish() };
        if self.witnesses.len() == Self::MAX_WITNESSES {
            self.witnesses.remove(1);
            given_up += 1;
        }
        self.witnesses.push(fix);
        let witnessed_for = self.witnesses.first().map_or(Duration::ZERO, |first| gap(first, &fix));
        if self.witnesses.len() >= Self::WITNESSES && witnessed_for >= Self::WITNESSED_FOR {
            for witness in std::mem::take(&mut self.witnesses) {
                self.believe(witness, accept);
            }
        }
        given_up
    }

    /// Gives the witnesses up; how many they were.
    pub(super) fn finish(&mut self) -> u64 {
        self.witnesses.drain(..).count() as u64
    }

    fn believe(&mut self, fix: Fix, accept: &mut impl FnMut(Fix)) {
        self.believed = Some(fix);
        accept(fix);
    }

    fn reaches(from: &Fix, to: &Fix) -> bool {
        let time = gap(from, to);
        let reported = from.speed.max(to.speed).map(Speed::as_mps);
        let mps = match reported {
            _ if time > Self::REPORTED => Self::MAX_MEAN_MPS,
            Some(mps) => mps * Self::SPEED_FACTOR + Self::SPEED_MARGIN_MPS,
            None => Self::MAX_MPS,
        };
        let accuracy = |fix: &Fix| {
            let said = fix.accuracy.map_or(Self::UNSAID_ACCURACY_M, Distance::as_metres);
            said.min(Self::MAX_ACCURACY_M)
        };
        let margin = Self::MARGIN_M + Self::SIGMAS * (accuracy(from) + accuracy(to));
        from.position.distance_to(to.position).as_metres() <= mps * time.as_secs_f64() + margin
    }
}

/// The time between two fixes. Recordings that are played one after the other have gaps in UTC only, and of either sign.
fn gap(from: &Fix, to: &Fix) -> Duration {
    let by_utc = Duration::from_millis(to.utc.millis_since(from.utc).unsigned_abs());
    to.read_at.since(from.read_at).max(by_utc)
}

#[cfg(test)]
mod tests {
    use super::super::fix::tests::fix;
    use super::*;

    /// Milliseconds, metres to the north, m/s.
    type Seen = (u32, f64, Option<f64>);

    /// The milliseconds of those that came out, and how many were given up.
    fn believed(script: &[Seen]) -> (Vec<u128>, u64) {
        let (mut whereabouts, mut out, mut given_up) = (Whereabouts::default(), Vec::new(), 0);
        for (ms, north_m, mps) in script {
            let fix = Fix { speed: mps.and_then(Speed::from_mps), ..fix(*ms, *north_m) };
            given_up += whereabouts.push(fix, &mut |fix| {
                out.push(fix.read_at.since_start().as_millis());
            });
        }
        (out, given_up + whereabouts.finish())
    }

    /// A minute of a van with 10 m/s whose fixes from `from` to `to` (ms) are 40 km away.
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
