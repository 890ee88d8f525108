//! Monthly data budget: increases report intervals so that the month ends within the budget. No
//! I/O.
//!
//! The measure is how much of the remaining budget is used ahead of the calendar. Up to 5 % ahead,
//! nothing changes; above it, intervals grow in steps. The limit is relative to the rest of the
//! month, so it tightens as the month progresses. Only the backlog is ever stopped. Events and
//! state changes are always sent, and positions at worst eight times less often than configured.

use waypost_model::units::{Date, UtcTime};

/// Factor for report intervals: 1, 2, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThrottleFactor(u32);

impl ThrottleFactor {
    /// Intervals as configured.
    pub const NONE: Self = Self(1);

    /// Minimum factor on a metered connection.
    const METERED: Self = Self(2);

    const MAX: Self = Self(8);

    /// Maximum usage ahead of the calendar for each factor, as a share of the remaining month.
    const STEPS: [(f64, Self); 3] = [(0.05, Self::NONE), (0.10, Self(2)), (0.15, Self(4))];

    /// Returns the factor.
    #[must_use]
    pub const fn factor(self) -> u32 {
        self.0
    }

    /// Whether the backlog may be sent.
    pub(super) fn allows_backlog(self) -> bool {
        self < Self::MAX
    }
}

/// Share of the budget to aim for. The estimate may be 3 % too low, and during the day the usage is
/// ahead of the calendar because the night uses nothing.
const TARGET_SHARE: f64 = 0.96;

/// Hysteresis: distance below the limit at which a lower factor is used again.
const HYSTERESIS: f64 = 0.02;

/// Data budget of the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes per calendar month (UTC). `None` disables the limit.
    pub monthly_bytes: Option<u64>,
    /// Whether the connection is metered, so that intervals are always at least doubled.
    pub metered: bool,
}

impl Budget {
    /// Returns the factor at `utc` when `used` bytes of its month are spent. An unknown month
    /// counts as half over. The factor falls below `held` only well below the limit, so that it
    /// does not flicker.
    pub(super) fn throttle_factor(
        self,
        used: u64,
        utc: Option<UtcTime>,
        held: ThrottleFactor,
    ) -> ThrottleFactor {
        let least = if self.metered { ThrottleFactor::METERED } else { ThrottleFactor::NONE };
        let Some(budget) = self.monthly_bytes else { return least };
        let gone = utc.map_or(0.5, elapsed_share_of_month);
        let ahead = (used_share(used, budget) / TARGET_SHARE - gone) / (1.0 - gone).max(1e-6);
        let step = |ahead: f64| {
            let step = ThrottleFactor::STEPS.into_iter().find(|(most, _)| ahead <= *most);
            step.map_or(ThrottleFactor::MAX, |(_, stretch)| stretch)
        };
        step(ahead).max(step(ahead + HYSTERESIS).min(held)).max(least)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a month's bytes are below 2^52")]
fn used_share(used: u64, budget: u64) -> f64 {
    used as f64 / budget.max(1) as f64
}

/// Elapsed share of the month: 0..1.
fn elapsed_share_of_month(utc: UtcTime) -> f64 {
    let today = utc.date();
    let (year, month) =
        if today.month() == 12 { (today.year() + 1, 1) } else { (today.year(), today.month() + 1) };
    // The month after the last representable one is missing; that last one is a December with 31
    // days.
    let next = Date::new(year, month, 1);
    let days = Date::new(today.year(), today.month(), 1)
        .zip(next)
        .and_then(|(first, next)| u32::try_from(next.days_since(first)).ok())
        .unwrap_or(31);
    let today =
        f64::from(today.day() - 1) + f64::from(utc.time_of_day().as_millis()) / 86_400_000.0;
    today / f64::from(days)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::uplink::data_usage::{DataMeter, Encryption, TrafficKind, TransportOverhead};

    /// Simulates a November of ten-hour days: a position per 5 s, a few points per 3 s and a state
    /// per minute, each slowed down by the factor. Returns the total bytes, and the seconds spent
    /// at each factor.
    fn november(budget: Budget) -> (u64, [u32; 9]) {
        let mut meter = DataMeter::new(TransportOverhead::plain(Encryption::Tls), None);
        let (mut used, mut seconds) = (0, [0; 9]);
        let (mut held, mut changes) = (ThrottleFactor::NONE, 0);
        for day in 1..=30 {
            let morning = UtcTime::parse(&format!("2026-11-{day:02}T07:00:00.000Z")).unwrap();
            let mut waiting = 0.0;
            meter.count(TrafficKind::Connection);
            for second in 0..36_000_u32 {
                let utc = morning.checked_add(Duration::from_secs(second.into())).unwrap();
                used = meter.roll_over(Some(utc)).month;
                let before = held;
                held = budget.throttle_factor(used, Some(utc), held);
                changes += u32::from(held != before);
                let factor = held.factor();
                seconds[factor as usize] += 1;
                waiting += 0.15;
                if second % (5 * factor) == 0 {
                    meter.count(TrafficKind::Qos0(23, 290));
                }
                if second % (3 * factor) == 0 && waiting >= 1.0 {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "few"
                    )]
                    let points = waiting as usize;
                    waiting = 0.0;
                    meter.count(TrafficKind::Qos1(20, 40 + 130 * points));
                }
                if second % (60 * factor) == 0 {
                    meter.count(TrafficKind::Qos1(20, 700));
                }
            }
        }
        assert!(changes < 200, "{changes} changes in a month");
        (used, seconds)
    }

    #[test]
    fn a_month_that_would_cost_more_ends_within_its_budget_and_uses_most_of_it() {
        let (control, seconds) = november(Budget::default());
        assert_eq!(seconds[1], 30 * 36_000);
        for percent in [80, 60, 40] {
            let monthly_bytes = Some(control / 100 * percent);
            let (used, seconds) = november(Budget { monthly_bytes, metered: false });
            let budget = control / 100 * percent;
            assert!(used <= budget, "{used} of {budget} bytes");
            assert!(used >= budget / 100 * 90, "{used} of {budget} bytes: throttled too much");
            assert!(seconds[1] > 0, "it starts as configured");
        }
        let enough = Some(control / 100 * 130);
        let (used, seconds) = november(Budget { monthly_bytes: enough, metered: false });
        assert_eq!((used, seconds[1]), (control, 30 * 36_000), "nothing is throttled");
        let (metered, seconds) = november(Budget { monthly_bytes: None, metered: true });
        assert_eq!(seconds[2], 30 * 36_000);
        assert!(metered < control / 100 * 65);
    }

    #[test]
    fn the_calendar_is_that_of_the_month() {
        for (utc, gone) in [
            ("2026-11-01T00:00:00.000Z", 0.0),
            ("2026-11-16T00:00:00.000Z", 0.5),
            ("2026-02-15T00:00:00.000Z", 0.5),
            ("2028-02-29T12:00:00.000Z", 28.5 / 29.0),
            ("2026-12-31T23:59:59.999Z", 1.0),
            ("9999-12-31T00:00:00.000Z", 30.0 / 31.0),
        ] {
            let is = elapsed_share_of_month(UtcTime::parse(utc).unwrap());
            assert!((is - gone).abs() < 1e-6, "{utc}: {is}");
        }
        let spent = Budget { monthly_bytes: Some(1), metered: true };
        let last = UtcTime::parse("2026-12-31T23:59:59.999Z");
        assert_eq!(
            spent.throttle_factor(u64::MAX, last, ThrottleFactor::NONE),
            ThrottleFactor::MAX
        );
        assert_eq!(spent.throttle_factor(0, None, ThrottleFactor::MAX), ThrottleFactor::METERED);
    }
}
