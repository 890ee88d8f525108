//! What a month may cost → how far everything that can wait is stretched (pure).
//!
//! The measure is how much of what the calendar has left is used up ahead of it: the van may be ahead by a twentieth, and
//! beyond that intervals grow in steps. As the month goes on the same share is less and less, so that it ends within the
//! budget. Nothing is ever stopped but the backlog: events and changes of state always go, and positions eight times as
//! rarely as configured at worst.

use crate::units::{Date, UtcTime};

/// How much more seldom than configured: 1, 2, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch(u32);

impl Stretch {
    /// As configured.
    pub const NONE: Self = Self(1);

    /// On a link where each byte costs.
    const METERED: Self = Self(2);

    const MOST: Self = Self(8);

    /// Steps, and up to how much of the rest each of them may be ahead.
    const STEPS: [(f64, Self); 3] = [(0.05, Self::NONE), (0.10, Self(2)), (0.15, Self(4))];

    /// The factor.
    #[must_use]
    pub const fn factor(self) -> u32 {
        self.0
    }

    /// Whether the backlog goes too.
    pub(super) fn has_room_for_backlog(self) -> bool {
        self < Self::MOST
    }
}

/// The estimate may be 3 % low, and a day's driving is ahead of the calendar by its night.
const AIM: f64 = 0.96;

/// How far below its bound a step is left again.
const LEAVES_BELOW: f64 = 0.02;

/// What the operator pays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes on the air a calendar month (UTC); `None` for no bound.
    pub monthly_bytes: Option<u64>,
    /// Each byte costs, so that intervals are twice as long from the start.
    pub metered: bool,
}

impl Budget {
    /// How far to stretch at `utc`, when so many bytes of its month are used. Nobody knows the month yet: as in the middle
    /// of it. Where it is `held` already, it falls only well below the bound, so that it does not flicker.
    pub(super) fn stretch(self, used: u64, utc: Option<UtcTime>, held: Stretch) -> Stretch {
        let least = if self.metered { Stretch::METERED } else { Stretch::NONE };
        let Some(budget) = self.monthly_bytes else { return least };
        let gone = utc.map_or(0.5, gone_of_month);
        let ahead = (share(used, budget) / AIM - gone) / (1.0 - gone).max(1e-6);
        let step = |ahead: f64| {
            let step = Stretch::STEPS.into_iter().find(|(most, _)| ahead <= *most);
            step.map_or(Stretch::MOST, |(_, stretch)| stretch)
        };
        step(ahead).max(step(ahead + LEAVES_BELOW).min(held)).max(least)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a month's bytes are below 2^52")]
fn share(used: u64, budget: u64) -> f64 {
    used as f64 / budget.max(1) as f64
}

/// How much of its month is over: 0..1.
fn gone_of_month(utc: UtcTime) -> f64 {
    let today = utc.date();
    let (year, month) =
        if today.month() == 12 { (today.year() + 1, 1) } else { (today.year(), today.month() + 1) };
    // The month after the last that can be written has 31 days like any December.
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
    use crate::relay::air::{AirMeter, Carrier, Cover, Traffic};

    /// A November of ten-hour days with a position each 5 s, a few points each 3 s and a state each minute, each so many
    /// times as rare as the stretch says: bytes used in all, and the seconds spent at each factor.
    fn november(budget: Budget) -> (u64, [u32; 9]) {
        let mut meter = AirMeter::new(Carrier::plain(Cover::Tls), None);
        let (mut used, mut seconds) = (0, [0; 9]);
        let (mut held, mut changes) = (Stretch::NONE, 0);
        for day in 1..=30 {
            let morning = UtcTime::parse(&format!("2026-11-{day:02}T07:00:00.000Z")).unwrap();
            let mut waiting = 0.0;
            meter.count(Traffic::Connection);
            for second in 0..36_000_u32 {
                let utc = morning.checked_add(Duration::from_secs(second.into())).unwrap();
                used = meter.turn(Some(utc)).month;
                let before = held;
                held = budget.stretch(used, Some(utc), held);
                changes += u32::from(held != before);
                let factor = held.factor();
                seconds[factor as usize] += 1;
                waiting += 0.15;
                if second % (5 * factor) == 0 {
                    meter.count(Traffic::Unanswered(23, 290));
                }
                if second % (3 * factor) == 0 && waiting >= 1.0 {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "few"
                    )]
                    let points = waiting as usize;
                    waiting = 0.0;
                    meter.count(Traffic::Answered(20, 40 + 130 * points));
                }
                if second % (60 * factor) == 0 {
                    meter.count(Traffic::Answered(20, 700));
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
            assert!(used >= budget / 100 * 90, "{used} of {budget} bytes: thrift without need");
            assert!(seconds[1] > 0, "it begins as configured");
        }
        let enough = Some(control / 100 * 130);
        let (used, seconds) = november(Budget { monthly_bytes: enough, metered: false });
        assert_eq!((used, seconds[1]), (control, 30 * 36_000), "nothing is stretched");
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
            let is = gone_of_month(UtcTime::parse(utc).unwrap());
            assert!((is - gone).abs() < 1e-6, "{utc}: {is}");
        }
        let spent = Budget { monthly_bytes: Some(1), metered: true };
        let last = UtcTime::parse("2026-12-31T23:59:59.999Z");
        assert_eq!(spent.stretch(u64::MAX, last, Stretch::NONE), Stretch::MOST);
        assert_eq!(spent.stretch(0, None, Stretch::MOST), Stretch::METERED);
    }
}
