//! Satellite statistics from `GSV` and `GSA`: number in view, signal strength, constellations in
//! use.
//!
//! They do not affect fixes. They show a technician whether the antenna is on the roof or under the
//! seat.

use std::time::Duration;

use super::constellation::{Constellation, Constellations};
use super::sentence::{Gsa, Gsv};
use waypost_model::units::Uptime;

/// Summary of the satellites in view and in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SatelliteSummary {
    /// Satellites in view; `None` if not reported.
    pub in_view: Option<u8>,
    /// Mean C/N0 in dB-Hz of the four strongest satellites. Below about 35 the antenna is badly
    /// placed.
    pub cn0_dbhz: Option<u8>,
    /// Constellations with a satellite in the solution.
    pub used: Constellations,
}

/// Newest data of one constellation.
#[derive(Clone, Copy, Debug, Default)]
struct ConstellationState {
    at: Option<Uptime>,
    in_view: u8,
    /// Signal whose group starts the `GSV` cycle.
    first_signal: Option<u8>,
    /// Four strongest values of the current group.
    group_dbhz: [u8; 4],
    /// Values of the strongest group in this cycle.
    strongest_dbhz: [u8; 4],
    used_at: Option<Uptime>,
}

/// Aggregates `GSV` and `GSA` sentences.
#[derive(Debug, Default)]
pub(super) struct SatelliteTracker {
    constellations: [ConstellationState; Constellation::ALL.len()],
}

impl SatelliteTracker {
    /// Validity of a report. Some receivers send `GSV` only every fifth second.
    const VALID_FOR: Duration = Duration::from_secs(15);

    pub(super) fn observe_gsv(&mut self, gsv: &Gsv, at: Uptime) {
        let (Some(constellation), Some(in_view)) = (gsv.constellation, gsv.in_view) else { return };
        let seen = &mut self.constellations[constellation.index()];
        if gsv.number <= 1 {
            seen.group_dbhz = [0; 4];
            if seen.first_signal.is_none_or(|first| first == gsv.signal) {
                (seen.first_signal, seen.in_view) = (Some(gsv.signal), 0);
                seen.strongest_dbhz = [0; 4];
            }
        }
        (seen.at, seen.in_view) = (Some(at), seen.in_view.max(in_view));
        for cn0 in gsv.cn0_dbhz.into_iter().flatten() {
            if let Some(slot) = seen.group_dbhz.iter_mut().min().filter(|slot| **slot < cn0) {
                *slot = cn0;
            }
        }
        let strength = |four: [u8; 4]| four.into_iter().map(u16::from).sum::<u16>();
        if strength(seen.group_dbhz) > strength(seen.strongest_dbhz) {
            seen.strongest_dbhz = seen.group_dbhz;
        }
    }

    pub(super) fn observe_gsa(&mut self, gsa: &Gsa, at: Uptime) {
        for constellation in gsa.used.iter() {
            self.constellations[constellation.index()].used_at = Some(at);
        }
    }

    pub(super) fn summary(&self, now: Uptime) -> SatelliteSummary {
        let lately = |at: Option<Uptime>| at.is_some_and(|at| now.since(at) <= Self::VALID_FOR);
        let seen = || self.constellations.iter().filter(|seen| lately(seen.at));
        let mut cn0: Vec<u8> = seen().flat_map(|seen| seen.strongest_dbhz).collect();
        cn0.sort_unstable_by(|a, b| b.cmp(a));
        let strongest = cn0.first_chunk::<4>().filter(|four| four.iter().all(|cn0| *cn0 > 0));
        let mean = strongest.map(|four| four.iter().map(|cn0| u16::from(*cn0)).sum::<u16>() / 4);
        let used = Constellation::ALL
            .into_iter()
            .filter(|one| lately(self.constellations[one.index()].used_at));
        SatelliteSummary {
            in_view: seen().map(|seen| seen.in_view).reduce(u8::saturating_add),
            cn0_dbhz: mean.and_then(|mean| u8::try_from(mean).ok()),
            used: used.fold(Constellations::default(), Constellations::with),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentence::Content;
    use super::super::sentence::tests::sentence;
    use super::*;

    fn sky(bodies: &[(u64, &str)]) -> SatelliteSummary {
        let (mut sky, mut at) = (SatelliteTracker::default(), Uptime::ZERO);
        for (second, body) in bodies {
            at = Uptime::from_millis(second * 1000);
            match sentence(body).content {
                Content::Gsv(gsv) => sky.observe_gsv(&gsv, at),
                Content::Gsa(gsa) => sky.observe_gsa(&gsa, at),
                other => panic!("{other:?}"),
            }
        }
        sky.summary(at)
    }

    fn used(view: SatelliteSummary) -> Vec<&'static str> {
        view.used.iter().map(Constellation::as_str).collect()
    }

    #[test]
    fn satellites_in_view_are_those_of_all_constellations_and_the_strongest_four_count() {
        let view = sky(&[
            (0, "GPGSV,2,1,07,07,79,048,42,02,51,062,43,26,36,256,42,27,27,138,40"),
            (0, "GPGSV,2,2,07,09,23,313,30,04,19,159,,15,12,041,42"),
            (0, "GLGSV,1,1,02,65,79,048,47,66,-3,062,20,1"),
        ]);
        assert_eq!((view.in_view, view.cn0_dbhz), (Some(9), Some(43)));
        let gone = sky(&[(0, "GPGSV,1,1,01,07,79,048,42"), (60, "GPGSA,A,1,,,,,,,,,,,,,,,")]);
        assert_eq!((gone.in_view, gone.cn0_dbhz), (None, None));
        assert_eq!(sky(&[(0, "GPGSV,1,1,00")]).in_view, Some(0));
        // One group per signal. The weaker one is last and must not lower the result.
        let l1 = "GPGSV,1,1,04,07,79,048,42,02,51,062,43,26,36,256,42,27,27,138,41,1";
        let l2 = "GPGSV,1,1,01,07,79,048,29,6";
        for second in [1, 2] {
            let view = sky(&[(0, l1), (0, l2), (second, l1), (second, l2)]);
            assert_eq!((view.in_view, view.cn0_dbhz), (Some(4), Some(42)));
        }
    }

    #[test]
    fn the_systems_in_use_are_known_by_system_id_talker_or_satellite_number() {
        for (body, expected) in [
            ("GNGSA,A,3,07,02,,,,,,,,,,,1.8,1.0,1.5,3", vec!["galileo"]),
            ("GLGSA,A,3,70,71,,,,,,,,,,,1.8,1.0,1.5", vec!["glonass"]),
            ("GNGSA,A,3,07,02,70,301,,,,,,,,,1.8,1.0,1.5", vec!["gps", "glonass", "galileo"]),
            ("GPGSA,A,3,07,02,46,,,,,,,,,,1.8,1.0,1.5", vec!["gps"]),
            ("GPGSA,A,1,,,,,,,,,,,,,,,", vec![]),
        ] {
            assert_eq!(used(sky(&[(0, body)])), expected, "{body}");
        }
    }
}
