//! [`Fix`] → [`Transition`]: whether the van drives or stands, with hysteresis, and how far it has driven.
//!
//! A fix that the gate refused never comes here. The odometer counts only what was driven: the jitter of a standing
//! receiver adds nothing, and the first seconds of a trip, before the departure is believed, are not lost. A halted van
//! is held to the place where it halted: its receiver drifts, and the van does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fix::Fix;
use crate::units::{Distance, Position, Speed, Uptime, UtcTime};

/// When driving begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JourneyConfig {
    /// The van departs when it is at least this fast for [`Self::DEPART_AFTER`].
    pub depart_speed: Speed,
    /// The van halts when it is at most this fast for `dwell`.
    pub stop_speed: Speed,
    /// How long a halt takes to be one: longer than most traffic lights.
    pub dwell: Duration,
}

impl JourneyConfig {
    /// One jump of a parked receiver is no departure.
    pub const DEPART_AFTER: Duration = Duration::from_secs(3);
}

impl Default for JourneyConfig {
    fn default() -> Self {
        Self {
            depart_speed: Speed::from_mps(2.0).expect("a speed"),
            stop_speed: Speed::from_mps(0.8).expect("a speed"),
            dwell: Duration::from_secs(30),
        }
    }
}

/// Whether the van drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Motion {
    /// Not seen long enough to say.
    #[default]
    Unknown,
    /// Under way.
    Moving,
    /// Standing for the dwell time at least.
    Halted,
}

/// The van changed between driving and standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It set off.
    Departed,
    /// It came to a halt.
    Halted,
}

/// What is kept across a restart, in the transaction of the records that came with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JourneyState {
    /// Driving or standing.
    pub motion: Motion,
    /// Driven so far.
    pub odometer: Distance,
    /// Up to where the odometer has counted, and when. Of a halted van it is the anchor that it is held to.
    pub counted: Option<(UtcTime, Position)>,
}

/// The state machine.
#[derive(Debug)]
pub struct Journey {
    config: JourneyConfig,
    state: JourneyState,
    /// Since when the fixes speak for the other motion.
    otherwise_since: Option<Uptime>,
    /// The newest fix, and how long it came after the one before.
    seen: Option<(Uptime, UtcTime)>,
    interval: Duration,
    /// The newest speed that the receiver said, and when.
    said: Option<(Speed, Uptime)>,
    /// Where the way is measured from while the receiver says no speed.
    measured_from: Option<(Uptime, Position)>,
    /// Since when the fixes of a halted van are too far from its anchor for drift.
    away_since: Option<Uptime>,
    /// Since when a halted van is faster than one that stands: in a jam it may never be fast enough to depart.
    creeps_since: Option<Uptime>,
    /// The newest speed that a halted van was judged by, and when.
    judged: Option<(Speed, Uptime)>,
    /// Where the newest fix is held to.
    held_to: Option<Position>,
}

impl Journey {
    /// Receivers at 10 Hz say the speed once a second; so long it holds, and a little longer.
    const SPEED_HOLDS: Duration = Duration::from_secs(2);

    /// The way is measured over so long: the jitter of a parked receiver then stays below walking pace.
    const MEASURED_OVER: Duration = Duration::from_secs(5);

    /// What lies beyond a gap speaks neither for a halt nor for a departure before it. A receiver that is always as
    /// slow has no gaps.
    const MAX_GAP: Duration = Duration::from_secs(10);

    /// The slowest receiver whose pace is learnt.
    const MAX_INTERVAL: Duration = Duration::from_mins(1);

    /// No van is faster. The way of a jump is not driven.
    const MAX_MPS: f64 = 80.0;

    /// Drift stays within so much of the anchor, or three times what the receiver says of its accuracy.
    const DRIFT_M: f64 = 25.0;
    const MAX_DRIFT_M: f64 = 100.0;
    /// No receiver drifts so far: the van was carried, or the signal was away.
    const NO_DRIFT_M: f64 = 300.0;

    /// Who is farther away for so long has been moved too slowly to depart: pushed, towed, on a ferry.
    const AWAY_FOR: Duration = Duration::from_secs(30);
    /// If its receiver sees it move, be it slowly, it takes less to believe it.
    const SLOWLY_AWAY_FOR: Duration = Duration::from_secs(5);

    /// Goes on from `state`.
    #[must_use]
    pub const fn new(config: JourneyConfig, state: JourneyState) -> Self {
        Self {
            config,
            state,
            otherwise_since: None,
            seen: None,
            interval: Duration::ZERO,
            said: None,
            measured_from: None,
            away_since: None,
            creeps_since: None,
            judged: None,
            held_to: None,
        }
    }

    /// What must be kept across a restart.
    #[must_use]
    pub const fn state(&self) -> JourneyState {
        self.state
    }

    /// Where the van stands while the newest fix is its receiver's drift; `None` while it moves.
    #[must_use]
    pub const fn held_to(&self) -> Option<Position> {
        self.held_to
    }

    /// Forgets where the van is: what comes next is none of the way so far, and is not to be known from it.
    pub fn forget_place(&mut self) {
        let state = JourneyState { motion: Motion::Unknown, counted: None, ..self.state };
        *self = Self::new(self.config, state);
    }

    /// Takes one fix.
    pub fn observe(&mut self, fix: &Fix) -> Option<Transition> {
        if let Some((read_at, utc)) = self.seen {
            // Logs that are played one after the other have gaps in UTC only.
            let by_utc = u64::try_from(fix.utc.millis_since(utc)).map(Duration::from_millis);
            let gap = fix.read_at.since(read_at).max(by_utc.unwrap_or_default());
            if gap > Self::MAX_GAP.max(self.interval * 2) {
                (self.otherwise_since, self.said, self.measured_from) = (None, None, None);
                (self.away_since, self.creeps_since) = (None, None);
            }
            // A gap is no interval: a second one must not pass for the receiver's pace.
            self.interval = gap.min(Self::MAX_INTERVAL);
        }
        self.seen = Some((fix.read_at, fix.utc));
        let speed = self.speed(fix);
        let known = self.state.motion != Motion::Unknown;
        let transition = speed.and_then(|speed| self.decide(speed, fix.read_at));
        if !known && transition == Some(Transition::Halted) {
            // The first fixes of a cold receiver were still on their way here.
            self.state.counted = None;
        }
        match (self.state.motion, self.state.counted) {
            (Motion::Moving, Some((utc, from))) => {
                // Until a standing van is believed to stand, its receiver only jitters.
                let stands = speed.is_some_and(|speed| speed <= self.config.stop_speed);
                let way_m = from.distance_to(fix.position).as_metres();
                if !stands || way_m > Self::DRIFT_M {
                    self.drive_from(utc, from, fix);
                }
            }
            (Motion::Halted | Motion::Unknown, Some(_)) => {}
            (_, None) => self.state.counted = Some((fix.utc, fix.position)),
        }
        self.held_to = self.hold(fix, speed);
        transition
    }

    /// Counts the way from the last counted place to `fix`, unless it is a jump.
    fn drive_from(&mut self, utc: UtcTime, from: Position, fix: &Fix) {
        let way = from.distance_to(fix.position);
        let ms = u32::try_from(fix.utc.millis_since(utc)).unwrap_or(0);
        if way.as_metres() * 1000.0 <= Self::MAX_MPS * f64::from(ms) {
            self.state.odometer = self.state.odometer.saturating_add(way);
        }
        self.state.counted = Some((fix.utc, fix.position));
    }

    /// Where a halted van stands: at its anchor, unless it creeps or is too far away for drift.
    fn hold(&mut self, fix: &Fix, speed: Option<Speed>) -> Option<Position> {
        let halted = self.state.motion == Motion::Halted;
        let Some((utc, anchor)) = self.state.counted.filter(|_| halted) else {
            (self.away_since, self.creeps_since) = (None, None);
            return None;
        };
        if speed.is_some() {
            self.judged = speed.map(|speed| (speed, fix.read_at));
        }
        // Who is judged by the way made is so every few seconds only.
        let speed = self.judged.filter(|(_, at)| fix.read_at.since(*at) <= Self::MEASURED_OVER * 2);
        let speed = speed.map(|(speed, _)| speed);
        let lasts = |since: &mut Option<Uptime>, holds: bool, long: Duration| {
            *since = since.or(Some(fix.read_at)).filter(|_| holds);
            since.is_some_and(|since| fix.read_at.since(since) >= long)
        };
        let faster = speed.is_some_and(|speed| speed > self.config.stop_speed);
        let creeps = lasts(&mut self.creeps_since, faster, JourneyConfig::DEPART_AFTER);
        let said = fix.accuracy.map_or(0.0, |accuracy| accuracy.as_metres() * 3.0);
        let way_m = anchor.distance_to(fix.position).as_metres();
        let away = way_m > said.clamp(Self::DRIFT_M, Self::MAX_DRIFT_M);
        let slowly =
            speed.is_some_and(|speed| speed.as_mps() * 2.0 > self.config.stop_speed.as_mps());
        let long = if slowly { Self::SLOWLY_AWAY_FOR } else { Self::AWAY_FOR };
        let moved = lasts(&mut self.away_since, away, long);
        let fast = away && speed.is_some_and(|speed| speed >= self.config.depart_speed);
        if creeps {
            self.drive_from(utc, anchor, fix);
        } else if fast {
            // It departs, or its receiver erred: the way counts from the anchor when that is known.
            return None;
        } else if moved || way_m > Self::NO_DRIFT_M {
            self.state.counted = Some((fix.utc, fix.position));
        } else {
            return Some(anchor);
        }
        Some(fix.position)
    }

    /// The speed that the receiver says, or said just now; else what the way made says, now and then.
    fn speed(&mut self, fix: &Fix) -> Option<Speed> {
        if let Some(speed) = fix.speed {
            (self.said, self.measured_from) = (Some((speed, fix.read_at)), None);
            return Some(speed);
        }
        if let Some((speed, at)) = self.said
            && fix.read_at.since(at) <= Self::SPEED_HOLDS
        {
            return Some(speed);
        }
        let (since, from) = *self.measured_from.get_or_insert((fix.read_at, fix.position));
        let time = fix.read_at.since(since);
        if time < Self::MEASURED_OVER {
            return None;
        }
        self.measured_from = Some((fix.read_at, fix.position));
        Speed::from_mps(from.distance_to(fix.position).as_metres() / time.as_secs_f64())
    }

    fn decide(&mut self, speed: Speed, at: Uptime) -> Option<Transition> {
        let (fast, slow) = (speed >= self.config.depart_speed, speed <= self.config.stop_speed);
        let (otherwise, after, next) = match self.state.motion {
            Motion::Moving => (slow, self.config.dwell, Motion::Halted),
            Motion::Unknown if slow => (true, self.config.dwell, Motion::Halted),
            Motion::Halted | Motion::Unknown => (fast, JourneyConfig::DEPART_AFTER, Motion::Moving),
        };
        if !otherwise {
            self.otherwise_since = None;
            return None;
        }
        let since = *self.otherwise_since.get_or_insert(at);
        if at.since(since) < after {
            return None;
        }
        self.otherwise_since = None;
        self.state.motion = next;
        Some(if next == Motion::Moving { Transition::Departed } else { Transition::Halted })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fix::tests::fix;
    use super::*;

    /// A van that drives north, one fix a second, with the given speeds in m/s.
    struct Drive {
        journey: Journey,
        second: u32,
        north_m: f64,
        with_speed: bool,
    }

    impl Drive {
        fn new() -> Self {
            let journey = Journey::new(JourneyConfig::default(), JourneyState::default());
            Self { journey, second: 0, north_m: 0.0, with_speed: true }
        }

        fn go(&mut self, seconds: u32, mps: f64) -> Vec<Transition> {
            let mut transitions = Vec::new();
            for _ in 0..seconds {
                self.second += 1;
                self.north_m += mps;
                let speed = Speed::from_mps(mps.abs()).filter(|_| self.with_speed);
                let fix = Fix { speed, ..fix(self.second * 1000, self.north_m) };
                transitions.extend(self.journey.observe(&fix));
            }
            transitions
        }

        fn odometer_m(&self) -> f64 {
            self.journey.state().odometer.as_metres()
        }
    }

    #[test]
    fn a_van_departs_once_and_halts_once_and_a_traffic_light_is_no_halt() {
        let mut drive = Drive::new();
        assert_eq!(drive.go(60, 0.0), [Transition::Halted]);
        assert_eq!(drive.go(60, 10.0), [Transition::Departed]);
        assert_eq!(drive.go(25, 0.0), []);
        assert_eq!(drive.go(60, 10.0), []);
        assert_eq!(drive.go(31, 0.0), [Transition::Halted]);
        assert_eq!(drive.go(3600, 0.3), []);
    }

    #[test]
    fn the_odometer_counts_the_first_seconds_of_a_trip_and_not_the_jitter_of_a_parked_van() {
        let mut drive = Drive::new();
        drive.go(60, 0.0);
        drive.go(100, 10.0);
        assert!((drive.odometer_m() - 1000.0).abs() < 2.0, "{}", drive.odometer_m());
        drive.go(40, 0.0);
        let parked = drive.odometer_m();
        for _ in 0..600 {
            drive.go(1, 0.4);
            drive.go(1, -0.4);
        }
        assert!(drive.odometer_m() - parked < 1.0, "{}", drive.odometer_m() - parked);
    }

    #[test]
    fn a_halted_van_is_held_to_its_place_until_it_drives_or_is_moved() {
        let mut drive = Drive::new();
        drive.go(31, 0.0);
        let anchor = drive.journey.held_to().unwrap();
        for _ in 0..600 {
            drive.go(5, 0.7);
            assert_eq!(drive.journey.held_to(), Some(anchor), "drift");
            drive.go(5, -0.7);
        }
        drive.go(3, 1.5);
        assert_eq!(drive.journey.held_to(), Some(anchor), "a few wrong speeds");
        let before = drive.odometer_m();
        drive.go(17, 1.5);
        let crept = drive.journey.held_to().unwrap();
        assert!((anchor.distance_to(crept).as_metres() - 30.0).abs() < 0.5, "a jam is driving");
        assert!((drive.odometer_m() - before - 30.0).abs() < 0.5, "{}", drive.odometer_m());
        drive.go(60, 0.7);
        let pushed = drive.journey.held_to().unwrap();
        assert!(crept.distance_to(pushed).as_metres() > 20.0, "pushed aside");
        drive.go(4, 10.0);
        assert_eq!(drive.journey.held_to(), None, "off it goes");
    }

    #[test]
    fn a_halted_van_that_comes_back_elsewhere_is_there_at_once() {
        let mut drive = Drive::new();
        drive.go(60, 0.0);
        let anchor = drive.journey.held_to().unwrap();
        drive.second += 600;
        drive.north_m += 30_000.0;
        drive.go(1, 0.0);
        let there = drive.journey.held_to().unwrap();
        assert!(anchor.distance_to(there).as_metres() > 29_000.0, "carried by a ferry");
        assert!(drive.odometer_m() < 1.0, "and not driven");
    }

    #[test]
    fn two_gaps_in_a_row_are_two_gaps() {
        let mut drive = Drive::new();
        drive.go(60, 10.0);
        for gap in [600, 900] {
            drive.second += gap;
            drive.north_m += f64::from(gap) * 10.0;
            assert_eq!(drive.go(1, 0.5), [], "what lies beyond a gap is no halt before it");
        }
        assert_eq!(drive.journey.state().motion, Motion::Moving);
    }

    #[test]
    fn noise_before_a_gap_and_after_it_is_no_way_driven() {
        let mut drive = Drive::new();
        drive.go(60, 0.0);
        drive.go(1, 1.0);
        drive.second += 600;
        drive.north_m += 90.0;
        drive.go(1, 1.0);
        assert!(drive.odometer_m() < 1.0, "{}", drive.odometer_m());
    }

    #[test]
    fn a_jam_is_driven_by_a_receiver_without_speed_too() {
        let mut drive = Drive { with_speed: false, ..Drive::new() };
        drive.go(60, 0.0);
        drive.go(300, 1.5);
        assert!((drive.odometer_m() - 450.0).abs() < 30.0, "{}", drive.odometer_m());
    }

    #[test]
    fn a_receiver_without_speed_is_judged_by_the_way_it_made() {
        let mut drive = Drive { with_speed: false, ..Drive::new() };
        assert_eq!(drive.go(60, 0.0), [Transition::Halted]);
        assert_eq!(drive.go(60, 10.0), [Transition::Departed]);
        assert!((drive.odometer_m() - 600.0).abs() < 45.0, "{}", drive.odometer_m());
        assert_eq!(drive.go(60, 0.0), [Transition::Halted]);
    }

    #[test]
    fn what_lies_beyond_a_tunnel_is_no_halt_before_it() {
        let mut drive = Drive::new();
        drive.go(60, 10.0);
        assert_eq!(drive.go(1, 0.5), []);
        drive.second += 300;
        drive.north_m += 3000.0;
        assert_eq!(drive.go(1, 0.5), []);
        assert_eq!(drive.journey.state().motion, Motion::Moving);
        assert!((drive.odometer_m() - 3600.0).abs() < 15.0, "{}", drive.odometer_m());
    }

    #[test]
    fn a_receiver_with_two_fixes_a_minute_is_judged_too() {
        let mut drive = Drive::new();
        let mut slowly = |fixes: u32, mps: f64| {
            let mut transitions = Vec::new();
            for _ in 0..fixes {
                drive.second += 29;
                drive.north_m += 29.0 * mps;
                transitions.extend(drive.go(1, mps));
            }
            transitions
        };
        assert_eq!(slowly(10, 0.0), [Transition::Halted]);
        assert_eq!(slowly(10, 10.0), [Transition::Departed]);
        assert_eq!(slowly(10, 0.0), [Transition::Halted]);
    }

    #[test]
    fn the_way_of_a_jump_is_not_driven() {
        let mut drive = Drive::new();
        drive.go(60, 10.0);
        let before = drive.odometer_m();
        drive.north_m += 30_000.0;
        drive.go(1, 10.0);
        drive.north_m -= 30_000.0;
        drive.go(1, 10.0);
        assert!(drive.odometer_m() - before < 1.0, "{}", drive.odometer_m() - before);
    }

    #[test]
    fn a_speed_that_is_said_once_a_second_holds_between() {
        let mut drive = Drive::new();
        for second in 0..120 {
            drive.with_speed = second % 2 == 0;
            drive.go(1, if second < 60 { 10.0 } else { 0.0 });
        }
        assert_eq!(drive.journey.state().motion, Motion::Halted);
        assert!((drive.odometer_m() - 600.0).abs() < 45.0, "{}", drive.odometer_m());
    }

    #[test]
    fn a_way_that_is_not_to_be_known_is_not_counted() {
        let mut drive = Drive::new();
        drive.go(60, 10.0);
        let before = drive.odometer_m();
        drive.journey.forget_place();
        assert_eq!(drive.journey.state().counted, None);
        drive.second += 60;
        drive.north_m += 600.0;
        drive.go(11, 10.0);
        assert!(
            (drive.odometer_m() - before - 100.0).abs() < 1.0,
            "{}",
            drive.odometer_m() - before
        );
    }

    #[test]
    fn a_journey_goes_on_where_it_stopped() {
        let mut drive = Drive::new();
        drive.go(100, 10.0);
        let before = drive.journey.state();
        drive.journey = Journey::new(JourneyConfig::default(), before);
        drive.go(10, 10.0);
        assert_eq!(drive.journey.state().motion, Motion::Moving);
        assert!(drive.odometer_m() > before.odometer.as_metres() + 95.0);
    }
}
