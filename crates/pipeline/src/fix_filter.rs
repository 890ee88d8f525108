//! Fix filter: decides which epochs become fixes.
//!
//! Epochs without a usable fix are rejected at once. Others may wait, within bounds, for a date
//! (`DateResolver`) or for the confirmation of an implausible jump (`JumpFilter`). Delayed fixes
//! are released in order.

use std::collections::VecDeque;
use std::time::Duration;

use super::date_resolver::{DateHint, DateResolver, nearest};
use super::epoch::{Epoch, ReportedDates, SAME_INSTANT_MS};
use super::frozen_detector::FrozenDetector;
use super::jump_filter::JumpFilter;
use super::sentence::PosMode;
use waypost_model::fix::{Fix, FixMode, FixQuality};
use waypost_model::units::{Distance, Dop, Position, TimeOfDay, Uptime, UtcTime};

/// Result of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterDecision {
    /// The epoch is a fix. It may still wait for its date or for confirmation.
    Accepted,
    /// The epoch carries no fix status.
    NoStatus,
    /// The epoch is not a fix.
    Rejected(Rejection),
}

/// Reason for the rejection of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The receiver reports no fix, or no position.
    NoFix,
    /// A position without a time of day.
    NoTime,
    /// Fewer than three satellites, and no confirmation by RMC, GLL or GSA.
    TooFewSatellites,
    /// 0° N 0° E.
    NullIsland,
    /// Manual input or a simulator (GGA quality 7 and 8).
    NotMeasured,
    /// An epoch with the same time was already accepted: the receiver repeats itself.
    Repeated,
    /// The date is a cold receiver's default, or invalid.
    ClockNotSet,
    /// No date arrived while `MAX_WAITING` later fixes were queued.
    Undated,
    /// Too far from the last fix, and not confirmed by later fixes.
    OutOfReach,
    /// The position stays the same while the receiver reports speed: it repeats its last one.
    Frozen,
}

impl Rejection {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::NoFix,
        Self::NoTime,
        Self::TooFewSatellites,
        Self::NullIsland,
        Self::NotMeasured,
        Self::Repeated,
        Self::ClockNotSet,
        Self::Undated,
        Self::OutOfReach,
        Self::Frozen,
    ];

    /// Returns the name of the reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoFix => "no_fix",
            Self::NoTime => "no_time",
            Self::TooFewSatellites => "too_few_satellites",
            Self::NullIsland => "null_island",
            Self::NotMeasured => "not_measured",
            Self::Repeated => "repeated",
            Self::ClockNotSet => "clock_not_set",
            Self::Undated => "undated",
            Self::OutOfReach => "out_of_reach",
            Self::Frozen => "frozen",
        }
    }
}

/// Rejected epochs by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectionCounters {
    pub no_fix: u64,
    pub no_time: u64,
    pub too_few_satellites: u64,
    pub null_island: u64,
    pub not_measured: u64,
    pub repeated: u64,
    pub clock_not_set: u64,
    pub undated: u64,
    pub out_of_reach: u64,
    pub frozen: u64,
}

impl RejectionCounters {
    /// Iterates over reason names and counts.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Rejection::ALL.into_iter().map(|reason| {
            let mut counters = *self;
            (reason.as_str(), *counters.counter(reason))
        })
    }

    fn count(&mut self, rejection: Rejection) {
        *self.counter(rejection) += 1;
    }

    const fn counter(&mut self, rejection: Rejection) -> &mut u64 {
        match rejection {
            Rejection::NoFix => &mut self.no_fix,
            Rejection::NoTime => &mut self.no_time,
            Rejection::TooFewSatellites => &mut self.too_few_satellites,
            Rejection::NullIsland => &mut self.null_island,
            Rejection::NotMeasured => &mut self.not_measured,
            Rejection::Repeated => &mut self.repeated,
            Rejection::ClockNotSet => &mut self.clock_not_set,
            Rejection::Undated => &mut self.undated,
            Rejection::OutOfReach => &mut self.out_of_reach,
            Rejection::Frozen => &mut self.frozen,
        }
    }

    /// Number of rejected epochs with a position.
    #[must_use]
    pub const fn rejected_positions(&self) -> u64 {
        self.no_time
            + self.too_few_satellites
            + self.null_island
            + self.not_measured
            + self.repeated
            + self.clock_not_set
            + self.undated
            + self.out_of_reach
            + self.frozen
    }
}

/// Filters out invalid, undated and implausible fixes.
#[derive(Debug)]
pub struct FixFilter {
    date_resolver: DateResolver,
    /// Fixes that wait for the receiver's first date, oldest first.
    pending: VecDeque<(TimeOfDay, Fix)>,
    /// The receiver sends sentences with a date field.
    sends_dates: bool,
    jump_filter: JumpFilter,
    frozen: FrozenDetector,
    /// Time of day of the newest accepted epoch.
    last_accepted: Option<TimeOfDay>,
    /// Last reported mode and its time.
    last_mode: Option<(FixMode, Uptime)>,
    counters: RejectionCounters,
}

impl FixFilter {
    /// Maximum number of fixes that wait for a date. A cold receiver may need 12.5 minutes, the
    /// length of the almanac; this is that time at 1 Hz.
    pub const MAX_PENDING: usize = 750;

    /// After this many fixes without RMC or ZDA, the receiver is assumed to send no dates.
    const ASSUME_DATE_AFTER: usize = 10;

    /// Assumed 68 % horizontal radius in metres at HDOP 1, if the receiver reports no accuracy.
    /// Specified, not measured.
    pub const RANGE_ERROR_M: f64 = 5.0;

    /// Assumed 68 % horizontal radius in metres of a receiver that reports an unusable geometry
    /// (HDOP 99.99).
    pub const BAD_HDOP_ACCURACY_M: f64 = 500.0;

    /// Assumed 68 % horizontal radius in metres of a position by dead reckoning, for which the
    /// geometry of the satellites says nothing.
    pub const ESTIMATED_ACCURACY_M: f64 = 100.0;

    /// Maximum speed of a van, m/s (250 km/h). A field with a higher one is ignored.
    pub const MAX_SPEED_MPS: f64 = 70.0;

    /// Creates a filter. `last_place` is the last known position of an earlier run.
    #[must_use]
    pub fn new(era: DateHint, last_place: Option<Position>) -> Self {
        Self {
            date_resolver: DateResolver::new(era),
            pending: VecDeque::new(),
            sends_dates: false,
            jump_filter: JumpFilter::new(last_place),
            frozen: FrozenDetector::default(),
            last_accepted: None,
            last_mode: None,
            counters: RejectionCounters::default(),
        }
    }

    /// Validity of a reported mode. Some receivers report it only in every fifth epoch.
    const MODE_VALID_FOR: Duration = Duration::from_secs(6);

    /// Records the host clock's reading at `at`. It may be wrong.
    pub const fn observe_host_clock(&mut self, utc: UtcTime, at: Uptime) {
        self.date_resolver.observe_host_clock(utc, at);
    }

    /// Processes one epoch and passes released fixes to `accept`: none, its own, or with the first
    /// date all pending ones.
    pub fn push(&mut self, epoch: &Epoch, mut accept: impl FnMut(Fix)) -> FilterDecision {
        self.sends_dates |= !epoch.date.is_empty();
        let same = |(time, accepted): (TimeOfDay, TimeOfDay)| {
            time.millis_since(accepted).abs() <= SAME_INSTANT_MS
        };
        if epoch.is_late && epoch.time.zip(self.last_accepted).is_some_and(same) {
            // A late date still dates the fixes that wait for one.
            if !epoch.date.is_empty() {
                self.date_without_fix(epoch, &mut accept);
            }
            return FilterDecision::NoStatus;
        }
        let (time, mut fix) = match self.classify(epoch) {
            Ok(judged) => judged,
            Err(Rejection::NoFix)
                if !epoch.fix_status.is_reported() && epoch.gsa_mode != Some(1) =>
            {
                // A date without a fix: the receiver may know the satellites' time before it has a
                // position.
                self.date_without_fix(epoch, &mut accept);
                return FilterDecision::NoStatus;
            }
            Err(rejection) => {
                self.counters.count(rejection);
                return FilterDecision::Rejected(rejection);
            }
        };
        if self.frozen.observe(&fix, time) {
            self.counters.count(Rejection::Frozen);
            return FilterDecision::Rejected(Rejection::Frozen);
        }
        let Ok(utc) = self.date_resolver.date(epoch.date, time, fix.read_at) else {
            self.counters.count(Rejection::ClockNotSet);
            return FilterDecision::Rejected(Rejection::ClockNotSet);
        };
        self.last_accepted = Some(time);
        if reported_mode(epoch).is_some() {
            self.last_mode = Some((fix.mode, fix.read_at));
        }
        if let Some(utc) = utc {
            self.date_pending(utc, fix.read_at, &mut accept);
            fix.utc = utc;
            self.filter_jumps(fix, &mut accept);
        } else {
            self.enqueue_undated(time, fix);
            if self.pending.len() == Self::ASSUME_DATE_AFTER {
                self.assume_date(&mut accept);
            }
        }
        FilterDecision::Accepted
    }

    /// Dates the pending fixes by an epoch without a fix of its own.
    fn date_without_fix(&mut self, epoch: &Epoch, accept: &mut impl FnMut(Fix)) {
        let date = |time| self.date_resolver.date(epoch.date, time, epoch.read_at).ok()?;
        if let Some(utc) = epoch.time.and_then(date) {
            self.date_pending(utc, epoch.read_at, accept);
        }
    }

    fn enqueue_undated(&mut self, time: TimeOfDay, fix: Fix) {
        if self.pending.len() == Self::MAX_PENDING {
            self.pending.pop_front();
            self.counters.count(Rejection::Undated);
        }
        self.pending.push_back((time, fix));
    }

    /// Assigns dates to pending fixes, given that it was `utc` at `at`.
    fn date_pending(&mut self, utc: UtcTime, at: Uptime, accept: &mut impl FnMut(Fix)) {
        while let Some((time, backlog_samples)) = self.pending.pop_front() {
            let about = utc.checked_sub(at.since(backlog_samples.read_at));
            match about.and_then(|about| nearest(about, time)) {
                Some(utc) => self.filter_jumps(Fix { utc, ..backlog_samples }, accept),
                None => self.counters.count(Rejection::Undated),
            }
        }
    }

    /// Assumes the recording's `# Date:` for a receiver that never sends one.
    fn assume_date(&mut self, accept: &mut impl FnMut(Fix)) {
        let Some((first, fix)) = self.pending.front() else { return };
        if self.sends_dates || !self.date_resolver.assume_date(*first, fix.read_at) {
            return;
        }
        while let Some((time, backlog_samples)) = self.pending.pop_front() {
            match self.date_resolver.date(ReportedDates::default(), time, backlog_samples.read_at) {
                Ok(Some(utc)) => self.filter_jumps(Fix { utc, ..backlog_samples }, accept),
                _ => self.counters.count(Rejection::Undated),
            }
        }
    }

    fn filter_jumps(&mut self, fix: Fix, accept: &mut impl FnMut(Fix)) {
        self.counters.out_of_reach += self.jump_filter.push(fix, accept);
    }

    /// Handles the end of the input: dates pending fixes if possible, and counts the rest as
    /// rejected.
    pub fn finish(&mut self, mut accept: impl FnMut(Fix)) {
        self.assume_date(&mut accept);
        for _ in self.pending.drain(..) {
            self.counters.count(Rejection::Undated);
        }
        self.counters.out_of_reach += self.jump_filter.finish(&mut accept);
    }

    #[must_use]
    pub const fn counters(&self) -> RejectionCounters {
        self.counters
    }

    /// Converts an epoch into a fix dated 1970-01-01, or rejects it.
    fn classify(&self, epoch: &Epoch) -> Result<(TimeOfDay, Fix), Rejection> {
        let position =
            epoch.position.filter(|_| epoch.fix_status.is_fix()).ok_or(Rejection::NoFix)?;
        let time = epoch.time.ok_or(Rejection::NoTime)?;
        if position.is_null_island() {
            return Err(Rejection::NullIsland);
        }
        let few = epoch.satellites_used.is_some_and(|used| used < 3);
        // Dead reckoning needs no satellite.
        let is_estimated = epoch.pos_mode == Some(PosMode::Estimated);
        if few
            && !is_estimated
            && !epoch.valid_by_rmc_or_gll
            && epoch.gsa_mode.is_none_or(|mode| mode < 2)
        {
            return Err(Rejection::TooFewSatellites);
        }
        let quality = epoch.pos_mode.map_or(Some(FixQuality::Gps), PosMode::fix_quality);
        let quality = quality.ok_or(Rejection::NotMeasured)?;
        if self.last_accepted == Some(time) {
            return Err(Rejection::Repeated);
        }
        let by_hdop = |dop: Dop| Distance::from_metres(dop.value() * Self::RANGE_ERROR_M);
        let unusable = || Distance::from_metres(Self::BAD_HDOP_ACCURACY_M);
        let by_geometry = match epoch.hdop {
            _ if is_estimated => Distance::from_metres(Self::ESTIMATED_ACCURACY_M),
            Some(dop) => by_hdop(dop),
            None if epoch.has_bad_hdop => unusable(),
            None => None,
        };
        let fix = Fix {
            utc: UtcTime::from_unix_ms(i64::from(time.as_millis()))
                .expect("a time of day on 1970-01-01"),
            read_at: epoch.read_at,
            position,
            mode: reported_mode(epoch)
                .or_else(|| self.recent_mode(epoch.read_at))
                .unwrap_or(FixMode::TwoD),
            quality,
            altitude_msl: epoch.altitude_msl,
            height_hae: epoch
                .altitude_msl
                .zip(epoch.geoid_separation)
                .and_then(|(msl, geoid)| msl.offset_by(geoid)),
            // A faster van has no speed, but a receiver error.
            speed: epoch.speed().filter(|speed| speed.as_mps() <= Self::MAX_SPEED_MPS),
            course: epoch.course(),
            hdop: epoch.hdop,
            satellites_used: epoch.satellites_used,
            accuracy: epoch.accuracy.or(by_geometry),
        };
        Ok((time, fix))
    }

    fn recent_mode(&self, at: Uptime) -> Option<FixMode> {
        self.last_mode
            .filter(|(_, said_at)| at.since(*said_at) <= Self::MODE_VALID_FOR)
            .map(|(mode, _)| mode)
    }
}

/// The mode from GSA; without GSA, from an altitude or a fourth satellite.
fn reported_mode(epoch: &Epoch) -> Option<FixMode> {
    match epoch.gsa_mode {
        Some(2) => Some(FixMode::TwoD),
        Some(3) => Some(FixMode::ThreeD),
        _ if epoch.altitude_msl.is_some() => Some(FixMode::ThreeD),
        _ if epoch.satellites_used.is_some_and(|used| used > 3) => Some(FixMode::ThreeD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch::EpochAssembler;
    use super::super::sentence::tests::sentence;
    use super::*;
    use waypost_model::units::Height;
    use waypost_model::units::RELEASE_DATE;

    /// Feeds each sentence as an epoch of its own, 1 s apart, and returns the fixes.
    fn judged(gate: &mut FixFilter, bodies: &[&str]) -> Vec<Fix> {
        let mut fixes = Vec::new();
        for (second, body) in (0..).zip(bodies) {
            let mut epochs = EpochAssembler::default();
            let at = Uptime::from_millis(second * 1000);
            epochs.push(&sentence(body), (at, at), |_| {});
            epochs.finish(|epoch| {
                gate.push(&epoch, |fix| fixes.push(fix));
            });
        }
        fixes
    }

    #[test]
    fn what_cannot_be_believed_is_rejected_with_its_reason() {
        type FailureReason = fn(&RejectionCounters) -> u64;
        let cases: [(&str, FailureReason); 8] = [
            ("GPRMC,120000,V,4800.0,N,01100.0,E,0,0,221126,,", |c| c.no_fix),
            ("GPGGA,120000,4800.0,N,01100.0,E,0,00,,,M,,M,,", |c| c.no_fix),
            ("GPRMC,000012,A,4800.0,N,01100.0,E,0,0,060180,,", |c| c.clock_not_set),
            ("GPRMC,,A,4800.0,N,01100.0,E,0,0,221126,,", |c| c.no_time),
            ("GPRMC,120000,A,0000.0,N,00000.0,E,0,0,221126,,", |c| c.null_island),
            ("GPGGA,120000,4800.0,N,01100.0,E,7,08,1.0,5,M,,M,,", |c| c.not_measured),
            ("GPGGA,120000,4800.0,N,01100.0,E,8,08,1.0,5,M,,M,,", |c| c.not_measured),
            ("GPGGA,120000,4800.0,N,01100.0,E,1,00,1.0,5,M,,M,,", |c| c.too_few_satellites),
        ];
        for (body, reason) in cases {
            let mut gate = FixFilter::new(DateHint::NotBefore(RELEASE_DATE), None);
            assert_eq!(judged(&mut gate, &[body]), [], "{body}");
            assert_eq!(reason(&gate.counters()), 1, "{body}: {:?}", gate.counters());
        }
    }

    #[test]
    fn a_receiver_that_repeats_itself_gives_one_fix() {
        let mut gate = FixFilter::new(DateHint::AsReported, None);
        let tunnel = "GPRMC,120000,A,4800.0,N,01100.0,E,10,0,221126,,";
        assert_eq!(judged(&mut gate, &[tunnel; 60]).len(), 1);
        assert_eq!(gate.counters().repeated, 59);
    }

    #[test]
    fn fixes_before_the_first_date_wait_and_are_stamped_when_it_comes() {
        let mut gate = FixFilter::new(DateHint::AsReported, None);
        let undated = |time: &str| format!("GPGGA,{time},4800.0,N,01100.0,E,1,08,1.0,5,M,,M,,");
        let (before, after) = (undated("235958"), undated("235959"));
        let dated = "GPRMC,000000,A,4800.0,N,01100.0,E,10,0,010127,,";
        let fixes = judged(&mut gate, &[&before, &after, dated]);
        let utc: Vec<String> = fixes.iter().map(|fix| fix.utc.to_string()).collect();
        assert_eq!(
            utc,
            ["2026-12-31T23:59:58.000Z", "2026-12-31T23:59:59.000Z", "2027-01-01T00:00:00.000Z"]
        );
    }

    #[test]
    fn a_date_in_an_epoch_of_its_own_is_enough_and_one_without_fix_is_not_believed() {
        let undated = "GPGGA,120000,4800.0,N,01100.0,E,1,08,1.0,5,M,,M,,";
        let cold = "GPRMC,120001,V,,,,,,,060180,,";
        let date = "GPZDA,120002.50,22,11,2026,00,00";
        let mut gate = FixFilter::new(DateHint::AsReported, None);
        assert_eq!(judged(&mut gate, &[cold, undated]), []);
        let fixes = judged(&mut gate, &[date]);
        assert_eq!(fixes[0].utc.to_string(), "2026-11-22T12:00:00.000Z");
        assert_eq!(gate.counters().no_fix, 1, "ZDA carries no fix status");
    }

    #[test]
    fn a_late_sentence_of_the_same_instant_is_no_second_fix() {
        let (mut gate, mut epochs, mut fixes) =
            (FixFilter::new(DateHint::AsReported, None), EpochAssembler::default(), 0);
        for second in 0..30 {
            let at = Uptime::from_millis(second * 1000);
            let rmc = format!("GPRMC,1200{second:02}.00,A,4800.0,N,01100.0,E,0,0,221126,,");
            let late = format!("GPGLL,4800.0,N,01100.0,E,1200{second:02}.003,A,A");
            for body in [Some(rmc), Some(late).filter(|_| second % 10 == 9)].iter().flatten() {
                epochs.push(&sentence(body), (at, at), |epoch| {
                    gate.push(&epoch, |_| fixes += 1);
                });
            }
        }
        epochs.finish(|epoch| {
            gate.push(&epoch, |_| fixes += 1);
        });
        assert_eq!(fixes, 30);
        assert_eq!(gate.counters(), RejectionCounters::default(), "late is not rejected");
    }

    #[test]
    fn what_waits_for_a_date_is_bounded_and_counted() {
        let mut gate = FixFilter::new(DateHint::AsReported, None);
        let bodies: Vec<String> = (0..FixFilter::MAX_PENDING + 10)
            .map(|s| {
                format!(
                    "GPGGA,{:02}{:02}{:02},4800.0,N,01100.0,E,1,08,1.0,5,M,,M,,",
                    s / 3600,
                    s / 60 % 60,
                    s % 60
                )
            })
            .collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        assert_eq!(judged(&mut gate, &bodies), []);
        assert_eq!(gate.counters().undated, 10);
        gate.finish(|_| {});
        assert_eq!(gate.counters().undated, bodies.len() as u64);
    }

    #[test]
    fn accuracy_is_the_receivers_own_or_the_stated_range_error() {
        let mut gate = FixFilter::new(DateHint::AsReported, None);
        judged(&mut gate, &["GPRMC,115959,A,4800.0,N,01100.0,E,10,0,221126,,"]);
        let fixes =
            judged(&mut gate, &["GPGGA,120000,4800.0,N,01100.0,E,1,08,1.2,500.0,M,47.0,M,,"]);
        assert_eq!(fixes[0].accuracy, Distance::from_metres(6.0));
        assert_eq!(fixes[0].height_hae, Height::from_metres(547.0));
    }
}
