//! Detects departures and halts with hysteresis, and measures the distance driven.
//!
//! Only fixes accepted by the filter are processed. The odometer ignores the jitter of a stationary
//! receiver, and it includes the first seconds of a trip, before the departure is confirmed. A
//! halted van is anchored at its stop position, because the receiver drifts and the van does not.

use std::time::Duration;

use super::halt_window::HaltWindow;
use waypost_model::fix::Fix;
use waypost_model::motion::{Motion, TripState};
use waypost_model::units::{Distance, Position, Speed, Uptime, UtcTime};

/// Thresholds for departures and halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TripConfig {
    /// Minimum speed of a departure, sustained for [`Self::DEPART_AFTER`].
    pub depart_speed: Speed,
    /// Maximum speed of a halt, sustained for `dwell`.
    pub stop_speed: Speed,
    /// Minimum duration of a halt: longer than most traffic lights.
    pub dwell: Duration,
}

impl TripConfig {
    /// Minimum duration of a departure. A single jump of a parked receiver does not count.
    pub const DEPART_AFTER: Duration = Duration::from_secs(3);
}

impl Default for TripConfig {
    fn default() -> Self {
        Self {
            depart_speed: Speed::from_mps(2.0).expect("valid speed"),
            stop_speed: Speed::from_mps(0.8).expect("valid speed"),
            dwell: Duration::from_secs(30),
        }
    }
}

/// Change of the motion state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Departed,
    Halted,
}

/// Trip state machine.
#[derive(Debug)]
pub struct TripDetector {
    config: TripConfig,
    state: TripState,
    /// Start of the period in which the fixes contradict the current motion.
    transition_since: Option<Uptime>,
    /// Samples of the last `dwell`.
    window: HaltWindow,
    /// Read time, UTC and position of the newest fix.
    last_fix: Option<(Uptime, UtcTime, Position)>,
    interval: Duration,
    /// Newest reported speed and its time.
    reported_speed: Option<(Speed, Uptime)>,
    /// Start of the speed measurement from positions while the receiver reports no speed.
    measured_from: Option<(Uptime, Position)>,
    /// Start of the period in which a halted van's fixes are too far from the anchor for drift.
    away_since: Option<Uptime>,
    /// Start of the period in which a halted van exceeds the stop speed. In a jam it may never
    /// reach the departure speed.
    creeping_since: Option<Uptime>,
    /// A creeping van has left the drift of its receiver.
    creeps: bool,
    /// Newest speed of a halted van and its time.
    last_speed: Option<(Speed, Uptime)>,
    /// Anchor of the newest fix.
    anchor: Option<Position>,
    /// The next fix is the first after a gap or a restart, in which the van may have moved.
    resumes: bool,
}

impl TripDetector {
    /// Validity of a reported speed. 10 Hz receivers report it once per second.
    const SPEED_VALID_FOR: Duration = Duration::from_secs(2);

    /// Duration of a speed measurement from positions. It keeps the jitter of a parked receiver
    /// below walking pace.
    const SPEED_WINDOW: Duration = Duration::from_secs(5);

    /// Maximum gap between fixes. Fixes after a longer gap do not confirm a halt or departure
    /// before it. Receivers that are always slow have a higher limit.
    const MAX_GAP: Duration = Duration::from_secs(10);

    /// Upper limit of the learned fix interval.
    const MAX_INTERVAL: Duration = Duration::from_mins(1);

    /// Maximum plausible speed in m/s. The distance of a faster jump is not counted.
    const MAX_MPS: f64 = 80.0;

    /// Minimum drift radius in metres around the anchor. The radius is three times the reported
    /// accuracy.
    const DRIFT_M: f64 = 25.0;
    /// Maximum drift radius in metres.
    const MAX_DRIFT_M: f64 = 100.0;
    /// Drift radius in metres of the first fix after a gap or a restart, in which the van may have
    /// moved, unless its accuracy is worse.
    const RESUMED_DRIFT_M: f64 = 30.0;
    /// Distance in metres that no drift reaches: the van was carried, or the signal was lost
    /// meanwhile.
    const RELOCATED_M: f64 = 300.0;

    /// Maximum distance in metres between the ends of a gap of at least `dwell` that was a halt.
    const GAP_HALT_M: f64 = 50.0;

    /// Distance in metres from which a van that exceeds the stop speed creeps. Noise of the speed
    /// alone moves nothing.
    const CREEP_M: f64 = 4.0;

    /// Time outside the drift radius after which the van has moved without speed: carried, towed or
    /// on a ferry. Reflections of the signal displace a parked van for a minute or more.
    const MOVED_AFTER: Duration = Duration::from_mins(3);
    /// Shorter limit if the receiver reports slow movement.
    const MOVED_SLOWLY_AFTER: Duration = Duration::from_secs(5);

    /// Continues from a saved state.
    #[must_use]
    pub const fn new(config: TripConfig, state: TripState) -> Self {
        Self {
            config,
            state,
            transition_since: None,
            window: HaltWindow::new(config.dwell),
            last_fix: None,
            interval: Duration::ZERO,
            reported_speed: None,
            measured_from: None,
            away_since: None,
            creeping_since: None,
            creeps: false,
            last_speed: None,
            anchor: None,
            resumes: true,
        }
    }

    /// State to store across a restart.
    #[must_use]
    pub const fn state(&self) -> TripState {
        self.state
    }

    /// Anchor of a halted van while its fixes are only drift; `None` while it moves.
    #[must_use]
    pub const fn anchor(&self) -> Option<Position> {
        self.anchor
    }

    /// Whether a halted van's speed may be the beginning of a departure. It is decided within
    /// [`TripConfig::DEPART_AFTER`].
    #[must_use]
    pub fn may_depart(&self, now: Uptime) -> bool {
        let undecided =
            |since: Uptime| now.since(since) <= TripConfig::DEPART_AFTER + Self::SPEED_VALID_FOR;
        self.state.motion == Motion::Halted
            && !self.creeps
            && (self.creeping_since.is_some_and(undecided)
                || self.transition_since.is_some_and(undecided))
    }

    /// Whether the newest fix is shown where the receiver reported it, because the van drives or
    /// creeps.
    #[must_use]
    pub fn drives(&self) -> bool {
        self.state.motion == Motion::Moving || self.creeps
    }

    /// Discards the position, so that the distance of a withheld period is not counted.
    pub fn clear_anchor(&mut self) {
        let state = TripState { motion: Motion::Unknown, counted: None, ..self.state };
        *self = Self::new(self.config, state);
    }

    /// Processes one fix.
    pub fn observe(&mut self, fix: &Fix) -> Option<Transition> {
        let mut gap_halt = false;
        if let Some((read_at, utc, place)) = self.last_fix {
            // Concatenated logs have gaps in UTC only.
            let by_utc = u64::try_from(fix.utc.millis_since(utc)).map(Duration::from_millis);
            let gap = fix.read_at.since(read_at).max(by_utc.unwrap_or_default());
            if gap > Self::MAX_GAP.max(self.interval * 2) {
                (self.transition_since, self.reported_speed, self.measured_from) =
                    (None, None, None);
                (self.away_since, self.creeping_since) = (None, None);
                self.window.clear();
                self.resumes = true;
                // A car wash, a loading dock: the van stood where the signal was lost.
                gap_halt = self.state.motion == Motion::Moving
                    && gap >= self.config.dwell
                    && place.distance_to(fix.position).as_metres() <= Self::GAP_HALT_M;
            }
            // A gap is not an interval: a second gap must not raise the learned interval.
            self.interval = gap.min(Self::MAX_INTERVAL);
        }
        self.last_fix = Some((fix.read_at, fix.utc, fix.position));
        let speed = self.speed(fix);
        let known = self.state.motion != Motion::Unknown;
        if let Some(speed) = speed {
            let (is_slow, is_fast) =
                (speed <= self.config.stop_speed, speed >= self.config.depart_speed);
            self.window.push(fix, is_slow, is_fast);
        }
        let transition = if gap_halt {
            self.state.motion = Motion::Halted;
            self.state.counted = Some((fix.utc, fix.position));
            Some(Transition::Halted)
        } else {
            speed.and_then(|speed| self.update_motion(speed, fix.read_at))
        };
        if !known && transition == Some(Transition::Halted) {
            // The first fixes of a cold receiver may still converge to the true position.
            self.state.counted = None;
        }
        match (self.state.motion, self.state.counted) {
            (Motion::Moving, Some((utc, from))) => {
                // Until the halt is confirmed, movement within the drift radius is jitter.
                let stands = speed.is_some_and(|speed| speed <= self.config.stop_speed)
                    || self.window.may_stand();
                let road_distance_m = from.distance_to(fix.position).as_metres();
                if !stands || road_distance_m > Self::drift_m(fix) {
                    self.add_distance(utc, from, fix);
                }
            }
            (Motion::Halted | Motion::Unknown, Some(_)) => {}
            (_, None) => self.state.counted = Some((fix.utc, fix.position)),
        }
        self.anchor = self.anchor_position(fix, speed);
        self.resumes = false;
        transition
    }

    /// Adds the distance from the last counted position to `fix`, unless it is a jump.
    fn add_distance(&mut self, utc: UtcTime, from: Position, fix: &Fix) {
        let way = from.distance_to(fix.position);
        let ms = u32::try_from(fix.utc.millis_since(utc)).unwrap_or(0);
        if way.as_metres() * 1000.0 <= Self::MAX_MPS * f64::from(ms) {
            self.state.odometer = self.state.odometer.saturating_add(way);
        }
        self.state.counted = Some((fix.utc, fix.position));
    }

    /// Position of a halted van: its anchor, unless it creeps or is too far away for drift.
    fn anchor_position(&mut self, fix: &Fix, speed: Option<Speed>) -> Option<Position> {
        let halted = self.state.motion == Motion::Halted;
        let Some((utc, anchor)) = self.state.counted.filter(|_| halted) else {
            (self.away_since, self.creeping_since, self.creeps) = (None, None, false);
            return None;
        };
        if speed.is_some() {
            self.last_speed = speed.map(|speed| (speed, fix.read_at));
        }
        // Speeds measured from positions are available only every few seconds.
        let speed =
            self.last_speed.filter(|(_, at)| fix.read_at.since(*at) <= Self::SPEED_WINDOW * 2);
        let speed = speed.map(|(speed, _)| speed);
        let lasts = |since: &mut Option<Uptime>, holds: bool, long: Duration| {
            *since = since.or(Some(fix.read_at)).filter(|_| holds);
            since.is_some_and(|since| fix.read_at.since(since) >= long)
        };
        let faster = speed.is_some_and(|speed| speed > self.config.stop_speed);
        let faster_for_long = lasts(&mut self.creeping_since, faster, TripConfig::DEPART_AFTER);
        let road_distance_m = anchor.distance_to(fix.position).as_metres();
        let accuracy_m = fix.accuracy.map_or(0.0, Distance::as_metres);
        let left = road_distance_m > Self::CREEP_M.max(accuracy_m.min(Self::DRIFT_M) / 2.0);
        self.creeps = faster_for_long && (self.creeps || left);
        let creeps = self.creeps;
        let away = road_distance_m > Self::drift_m(fix);
        let slowly =
            speed.is_some_and(|speed| speed.as_mps() * 2.0 > self.config.stop_speed.as_mps());
        let long = if slowly { Self::MOVED_SLOWLY_AFTER } else { Self::MOVED_AFTER };
        let moved = lasts(&mut self.away_since, away, long);
        let fast = away && speed.is_some_and(|speed| speed >= self.config.depart_speed);
        if creeps {
            self.add_distance(utc, anchor, fix);
        } else if fast {
            // A departure or a receiver error. Once that is decided, the distance counts from the
            // anchor.
            return None;
        } else if moved
            || road_distance_m > Self::RELOCATED_M
            || self.resumes && road_distance_m > accuracy_m.max(Self::RESUMED_DRIFT_M)
        {
            self.state.counted = Some((fix.utc, fix.position));
        } else {
            return Some(anchor);
        }
        Some(fix.position)
    }

    /// Drift radius in metres of a stationary receiver.
    fn drift_m(fix: &Fix) -> f64 {
        let said = fix.accuracy.map_or(0.0, |accuracy| accuracy.as_metres() * 3.0);
        said.clamp(Self::DRIFT_M, Self::MAX_DRIFT_M)
    }

    /// Speed reported now or recently; otherwise the speed measured from positions, at intervals.
    fn speed(&mut self, fix: &Fix) -> Option<Speed> {
        if let Some(speed) = fix.speed {
            (self.reported_speed, self.measured_from) = (Some((speed, fix.read_at)), None);
            return Some(speed);
        }
        if let Some((speed, at)) = self.reported_speed
            && fix.read_at.since(at) <= Self::SPEED_VALID_FOR
        {
            return Some(speed);
        }
        let (since, from) = *self.measured_from.get_or_insert((fix.read_at, fix.position));
        let time = fix.read_at.since(since);
        if time < Self::SPEED_WINDOW {
            return None;
        }
        self.measured_from = Some((fix.read_at, fix.position));
        Speed::from_mps(from.distance_to(fix.position).as_metres() / time.as_secs_f64())
    }

    fn update_motion(&mut self, speed: Speed, at: Uptime) -> Option<Transition> {
        let (fast, slow) = (speed >= self.config.depart_speed, speed <= self.config.stop_speed);
        let (otherwise, after, next) = match self.state.motion {
            Motion::Moving => (slow, self.config.dwell, Motion::Halted),
            Motion::Unknown if slow => (true, self.config.dwell, Motion::Halted),
            Motion::Halted | Motion::Unknown => (fast, TripConfig::DEPART_AFTER, Motion::Moving),
        };
        if !otherwise {
            self.transition_since = None;
        }
        let lasts = otherwise && at.since(*self.transition_since.get_or_insert(at)) >= after;
        // Noise interrupts a halt for single samples.
        let halts = self.state.motion != Motion::Halted && self.window.is_halt();
        if !lasts && !halts {
            return None;
        }
        let next = if lasts { next } else { Motion::Halted };
        self.transition_since = None;
        self.state.motion = next;
        Some(if next == Motion::Moving { Transition::Departed } else { Transition::Halted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    /// A van that drives north at the given speeds in m/s, one fix per second.
    struct Drive {
        journey: TripDetector,
        second: u32,
        north_m: f64,
        with_speed: bool,
    }

    impl Drive {
        fn new() -> Self {
            let journey = TripDetector::new(TripConfig::default(), TripState::default());
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
        let anchor = drive.journey.anchor().unwrap();
        for _ in 0..600 {
            drive.go(5, 0.7);
            assert_eq!(drive.journey.anchor(), Some(anchor), "drift");
            drive.go(5, -0.7);
        }
        drive.go(3, 1.5);
        assert_eq!(drive.journey.anchor(), Some(anchor), "3 s of wrong speeds");
        let before = drive.odometer_m();
        drive.go(17, 1.5);
        let crept = drive.journey.anchor().unwrap();
        assert!((anchor.distance_to(crept).as_metres() - 30.0).abs() < 0.5, "a jam counts");
        assert!((drive.odometer_m() - before - 30.0).abs() < 0.5, "{}", drive.odometer_m());
        drive.go(60, 0.7);
        let pushed = drive.journey.anchor().unwrap();
        assert!(crept.distance_to(pushed).as_metres() > 20.0, "pushed aside");
        drive.go(4, 10.0);
        assert_eq!(drive.journey.anchor(), None, "departed");
    }

    #[test]
    fn a_halted_van_that_comes_back_elsewhere_is_there_at_once() {
        let mut drive = Drive::new();
        drive.go(60, 0.0);
        let anchor = drive.journey.anchor().unwrap();
        drive.second += 600;
        drive.north_m += 30_000.0;
        drive.go(1, 0.0);
        let there = drive.journey.anchor().unwrap();
        assert!(anchor.distance_to(there).as_metres() > 29_000.0, "moved by a ferry");
        assert!(drive.odometer_m() < 1.0, "not driven");
    }

    #[test]
    fn after_a_restart_the_anchor_holds_for_its_own_drift_only() {
        for (metres, is_held) in [(20.0, true), (45.0, false), (250.0, false)] {
            let mut drive = Drive::new();
            drive.go(60, 0.0);
            let before = drive.journey.state();
            drive.journey = TripDetector::new(TripConfig::default(), before);
            drive.second += 3600;
            drive.north_m += metres;
            drive.go(1, 0.0);
            let there = drive.journey.anchor().unwrap();
            let place = before.counted.unwrap().1;
            let shown_m = place.distance_to(there).as_metres();
            let expected_m = if is_held { 0.0 } else { metres };
            assert!((shown_m - expected_m).abs() < 0.5, "{metres} m: {shown_m} m");
        }
    }

    #[test]
    fn two_gaps_in_a_row_are_two_gaps() {
        let mut drive = Drive::new();
        drive.go(60, 10.0);
        for gap in [600, 900] {
            drive.second += gap;
            drive.north_m += f64::from(gap) * 10.0;
            assert_eq!(drive.go(1, 0.5), [], "no halt across a gap");
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
        drive.journey.clear_anchor();
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
        drive.journey = TripDetector::new(TripConfig::default(), before);
        drive.go(10, 10.0);
        assert_eq!(drive.journey.state().motion, Motion::Moving);
        assert!(drive.odometer_m() > before.odometer.as_metres() + 95.0);
    }
}
