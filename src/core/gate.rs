//! [`Epoch`] → [`Fix`] or [`Rejection`]: the gate between what a receiver says and what we believe.
//!
//! What is no fix is rejected at once. What may be one waits, within bounds, for what is still missing: a date
//! ([`Calendar`]), or witnesses of a place that cannot be reached (`Whereabouts`). It comes out later and in order.

use std::collections::VecDeque;
use std::time::Duration;

use super::calendar::{Calendar, Era, nearest};
use super::epoch::{Epoch, SAME_INSTANT_MS};
use super::fix::{Fix, FixMode, FixQuality};
use super::whereabouts::Whereabouts;
use crate::units::{Distance, Dop, TimeOfDay, Uptime, UtcTime};

/// What came of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a fix, which may still wait for its date or for witnesses.
    Accepted,
    /// It does not say whether there is a fix.
    Silent,
    /// It is none.
    Rejected(Rejection),
}

/// Why an epoch is no fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The receiver says so, or gives no position.
    NoFix,
    /// It has a position and no time of day.
    NoTime,
    /// Fewer than three satellites, and neither RMC, GLL nor GSA says that there is a fix nevertheless.
    TooFewSatellites,
    /// 0° N 0° E.
    NullIsland,
    /// Typed in by hand, or a simulator's (GGA quality 7 and 8).
    NotMeasured,
    /// The instant was accepted before: the receiver repeats itself.
    Repeated,
    /// Its date is one that a cold receiver counts from, or none at all.
    ClockNotSet,
    /// No date came while [`Gate::MAX_WAITING`] later fixes waited for one.
    Undated,
    /// Out of reach of the last fix, and not witnessed by those after it.
    OutOfReach,
}

/// How many epochs were rejected, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectionCounters {
    /// [`Rejection::NoFix`].
    pub no_fix: u64,
    /// [`Rejection::NoTime`].
    pub no_time: u64,
    /// [`Rejection::TooFewSatellites`].
    pub too_few_satellites: u64,
    /// [`Rejection::NullIsland`].
    pub null_island: u64,
    /// [`Rejection::NotMeasured`].
    pub not_measured: u64,
    /// [`Rejection::Repeated`].
    pub repeated: u64,
    /// [`Rejection::ClockNotSet`].
    pub clock_not_set: u64,
    /// [`Rejection::Undated`].
    pub undated: u64,
    /// [`Rejection::OutOfReach`].
    pub out_of_reach: u64,
}

impl RejectionCounters {
    /// Each with the name of its reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("no_fix", self.no_fix),
            ("no_time", self.no_time),
            ("too_few_satellites", self.too_few_satellites),
            ("null_island", self.null_island),
            ("not_measured", self.not_measured),
            ("repeated", self.repeated),
            ("clock_not_set", self.clock_not_set),
            ("undated", self.undated),
            ("out_of_reach", self.out_of_reach),
        ]
        .into_iter()
    }

    fn count(&mut self, rejection: Rejection) {
        *match rejection {
            Rejection::NoFix => &mut self.no_fix,
            Rejection::NoTime => &mut self.no_time,
            Rejection::TooFewSatellites => &mut self.too_few_satellites,
            Rejection::NullIsland => &mut self.null_island,
            Rejection::NotMeasured => &mut self.not_measured,
            Rejection::Repeated => &mut self.repeated,
            Rejection::ClockNotSet => &mut self.clock_not_set,
            Rejection::Undated => &mut self.undated,
            Rejection::OutOfReach => &mut self.out_of_reach,
        } += 1;
    }

    /// Those that had a position and were not believed.
    #[must_use]
    pub const fn unbelieved(&self) -> u64 {
        self.no_time
            + self.too_few_satellites
            + self.null_island
            + self.not_measured
            + self.repeated
            + self.clock_not_set
            + self.undated
            + self.out_of_reach
    }
}

/// Lets through what can be believed.
#[derive(Debug)]
pub struct Gate {
    calendar: Calendar,
    /// Fixes that wait for the receiver's first date, oldest first.
    waiting: VecDeque<(TimeOfDay, Fix)>,
    /// The receiver sends sentences that have a field for the date.
    knows_dates: bool,
    whereabouts: Whereabouts,
    /// The time of day of the newest accepted epoch.
    accepted: Option<TimeOfDay>,
    /// The mode that was last said, and when.
    mode: Option<(FixMode, Uptime)>,
    counters: RejectionCounters,
}

impl Gate {
    /// A cold receiver may need 12.5 minutes for the date: the length of the almanac at 1 Hz.
    pub const MAX_WAITING: usize = 750;

    /// A receiver that has sent so many fixes and neither RMC nor ZDA sends none.
    const UNDATED_FOR_GOOD: usize = 10;

    /// 68 % horizontal radius at HDOP 1 of a receiver that says nothing better. Stated, not measured.
    pub const RANGE_ERROR_M: f64 = 5.0;

    /// A gate that has accepted nothing yet.
    #[must_use]
    pub fn new(era: Era) -> Self {
        Self {
            calendar: Calendar::new(era),
            waiting: VecDeque::new(),
            knows_dates: false,
            whereabouts: Whereabouts::default(),
            accepted: None,
            mode: None,
            counters: RejectionCounters::default(),
        }
    }

    /// Some receivers say the mode in every fifth epoch only; so long it holds.
    const MODE_HOLDS: Duration = Duration::from_secs(6);

    /// Notes what the host's clock shows at `at`. It may be wrong.
    pub const fn observe_host(&mut self, utc: UtcTime, at: Uptime) {
        self.calendar.observe_host(utc, at);
    }

    /// Judges one epoch and hands on what it makes known: nothing, its fix, or with the first date all that waited.
    pub fn push(&mut self, epoch: &Epoch, mut accept: impl FnMut(Fix)) -> Verdict {
        self.knows_dates |= epoch.names_day;
        let same = |(time, accepted): (TimeOfDay, TimeOfDay)| {
            time.millis_since(accepted).abs() <= SAME_INSTANT_MS
        };
        if epoch.is_late && epoch.time.zip(self.accepted).is_some_and(same) {
            return Verdict::Silent;
        }
        let (time, mut fix) = match self.judge(epoch) {
            Ok(judged) => judged,
            Err(Rejection::NoFix) if !epoch.judged && epoch.gsa_mode != Some(1) => {
                // A date of its own: the receiver counts satellites' time also before it has a position.
                let date = |time| self.calendar.date(epoch.date, time, epoch.read_at).ok()?;
                if let Some(utc) = epoch.time.and_then(date) {
                    self.stamp_waiting(utc, epoch.read_at, &mut accept);
                }
                return Verdict::Silent;
            }
            Err(rejection) => {
                self.counters.count(rejection);
                return Verdict::Rejected(rejection);
            }
        };
        let Ok(utc) = self.calendar.date(epoch.date, time, fix.read_at) else {
            self.counters.count(Rejection::ClockNotSet);
            return Verdict::Rejected(Rejection::ClockNotSet);
        };
        self.accepted = Some(time);
        if said_mode(epoch).is_some() {
            self.mode = Some((fix.mode, fix.read_at));
        }
        if let Some(utc) = utc {
            self.stamp_waiting(utc, fix.read_at, &mut accept);
            fix.utc = utc;
            self.place(fix, &mut accept);
        } else {
            self.wait_for_date(time, fix);
            if self.waiting.len() == Self::UNDATED_FOR_GOOD {
                self.assume_day(&mut accept);
            }
        }
        Verdict::Accepted
    }

    fn wait_for_date(&mut self, time: TimeOfDay, fix: Fix) {
        if self.waiting.len() == Self::MAX_WAITING {
            self.waiting.pop_front();
            self.counters.count(Rejection::Undated);
        }
        self.waiting.push_back((time, fix));
    }

    /// It was `utc` at `at`: what waited for a date gets its own.
    fn stamp_waiting(&mut self, utc: UtcTime, at: Uptime, accept: &mut impl FnMut(Fix)) {
        while let Some((time, waited)) = self.waiting.pop_front() {
            let about = utc.checked_sub(at.since(waited.read_at));
            match about.and_then(|about| nearest(about, time)) {
                Some(utc) => self.place(Fix { utc, ..waited }, accept),
                None => self.counters.count(Rejection::Undated),
            }
        }
    }

    /// The receiver will not say its day. A recording may bear one.
    fn assume_day(&mut self, accept: &mut impl FnMut(Fix)) {
        let Some((first, fix)) = self.waiting.front() else { return };
        if self.knows_dates || !self.calendar.assume(*first, fix.read_at) {
            return;
        }
        while let Some((time, waited)) = self.waiting.pop_front() {
            match self.calendar.date(None, time, waited.read_at) {
                Ok(Some(utc)) => self.place(Fix { utc, ..waited }, accept),
                _ => self.counters.count(Rejection::Undated),
            }
        }
    }

    fn place(&mut self, fix: Fix, accept: &mut impl FnMut(Fix)) {
        self.counters.out_of_reach += self.whereabouts.push(fix, accept);
    }

    /// The input has ended: what still waits will not get what it waits for.
    pub fn finish(&mut self, mut accept: impl FnMut(Fix)) {
        self.assume_day(&mut accept);
        for _ in self.waiting.drain(..) {
            self.counters.count(Rejection::Undated);
        }
        self.counters.out_of_reach += self.whereabouts.finish();
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn counters(&self) -> RejectionCounters {
        self.counters
    }

    /// The fix of an epoch, still on the first day of 1970.
    fn judge(&self, epoch: &Epoch) -> Result<(TimeOfDay, Fix), Rejection> {
        let position = epoch.position.filter(|_| !epoch.denied).ok_or(Rejection::NoFix)?;
        let time = epoch.time.ok_or(Rejection::NoTime)?;
        if position.is_null_island() {
            return Err(Rejection::NullIsland);
        }
        let few = epoch.satellites_used.is_some_and(|used| used < 3);
        if few && !epoch.witnessed && epoch.gsa_mode.is_none_or(|mode| mode < 2) {
            return Err(Rejection::TooFewSatellites);
        }
        let quality = epoch.indicator.map_or(Some(FixQuality::Gps), FixQuality::of);
        let quality = quality.ok_or(Rejection::NotMeasured)?;
        if self.accepted == Some(time) {
            return Err(Rejection::Repeated);
        }
        let by_hdop = |dop: Dop| Distance::from_metres(dop.value() * Self::RANGE_ERROR_M);
        let fix = Fix {
            utc: UtcTime::from_unix_ms(i64::from(time.as_millis()))
                .expect("a day after 1970 began"),
            read_at: epoch.read_at,
            position,
            mode: said_mode(epoch)
                .or_else(|| self.held_mode(epoch.read_at))
                .unwrap_or(FixMode::TwoD),
            quality,
            altitude_msl: epoch.altitude_msl,
            height_hae: epoch
                .altitude_msl
                .zip(epoch.geoid_separation)
                .and_then(|(msl, geoid)| msl.above(geoid)),
            speed: epoch.speed,
            course: epoch.course,
            hdop: epoch.hdop,
            satellites_used: epoch.satellites_used,
            accuracy: epoch.accuracy.or_else(|| epoch.hdop.and_then(by_hdop)),
        };
        Ok((time, fix))
    }

    fn held_mode(&self, at: Uptime) -> Option<FixMode> {
        self.mode
            .filter(|(_, said_at)| at.since(*said_at) <= Self::MODE_HOLDS)
            .map(|(mode, _)| mode)
    }
}

/// GSA says it; without GSA an altitude or a fourth satellite does.
fn said_mode(epoch: &Epoch) -> Option<FixMode> {
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
    use super::super::calendar::RELEASED;
    use super::super::epoch::EpochAssembler;
    use super::super::sentence::tests::sentence;
    use super::*;
    use crate::units::Height;

    /// The fixes of sentences, each an epoch of its own, a second apart.
    fn judged(gate: &mut Gate, bodies: &[&str]) -> Vec<Fix> {
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
        type Reason = fn(&RejectionCounters) -> u64;
        let cases: [(&str, Reason); 8] = [
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
            let mut gate = Gate::new(Era::NotBefore(RELEASED));
            assert_eq!(judged(&mut gate, &[body]), [], "{body}");
            assert_eq!(reason(&gate.counters()), 1, "{body}: {:?}", gate.counters());
        }
    }

    #[test]
    fn a_receiver_that_repeats_itself_gives_one_fix() {
        let mut gate = Gate::new(Era::AsSaid);
        let tunnel = "GPRMC,120000,A,4800.0,N,01100.0,E,10,0,221126,,";
        assert_eq!(judged(&mut gate, &[tunnel; 60]).len(), 1);
        assert_eq!(gate.counters().repeated, 59);
    }

    #[test]
    fn fixes_before_the_first_date_wait_and_are_stamped_when_it_comes() {
        let mut gate = Gate::new(Era::AsSaid);
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
        let mut gate = Gate::new(Era::AsSaid);
        assert_eq!(judged(&mut gate, &[cold, undated]), []);
        let fixes = judged(&mut gate, &[date]);
        assert_eq!(fixes[0].utc.to_string(), "2026-11-22T12:00:00.000Z");
        assert_eq!(gate.counters().no_fix, 1, "ZDA says nothing about a fix");
    }

    #[test]
    fn a_late_sentence_of_the_same_instant_is_no_second_fix() {
        let (mut gate, mut epochs, mut fixes) =
            (Gate::new(Era::AsSaid), EpochAssembler::default(), 0);
        for second in 0..30 {
            let at = Uptime::from_millis(second * 1000);
            let rmc = format!("GPRMC,1200{second:02}.00,A,4800.0,N,01100.0,E,10,0,221126,,");
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
        assert_eq!(gate.counters(), RejectionCounters::default(), "late is not wrong");
    }

    #[test]
    fn what_waits_for_a_date_is_bounded_and_counted() {
        let mut gate = Gate::new(Era::AsSaid);
        let bodies: Vec<String> = (0..Gate::MAX_WAITING + 10)
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
        let mut gate = Gate::new(Era::AsSaid);
        judged(&mut gate, &["GPRMC,115959,A,4800.0,N,01100.0,E,10,0,221126,,"]);
        let fixes =
            judged(&mut gate, &["GPGGA,120000,4800.0,N,01100.0,E,1,08,1.2,500.0,M,47.0,M,,"]);
        assert_eq!(fixes[0].accuracy, Distance::from_metres(6.0));
        assert_eq!(fixes[0].height_hae, Height::from_metres(547.0));
    }
}
