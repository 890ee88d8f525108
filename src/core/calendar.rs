//! Which day it is: the century that `RMC` leaves out, the week rollover that old receivers miss, and the days of
//! epochs that carry a time only.

use super::epoch::SaidDate;
use crate::units::{Date, TimeOfDay, UtcTime};

/// GPS counts weeks modulo 1024: a receiver that missed a rollover is wrong by whole eras (IS-GPS-200 §20.3.3.3.1.1).
const ERA_DAYS: i64 = 1024 * 7;

/// What is known of the date beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// A recording of unknown age: the receiver is believed.
    AsSaid,
    /// It cannot be earlier than this day, on which the agent was built: earlier dates are moved on by whole eras.
    NotBefore(Date),
    /// It cannot be later than this day (a recording's `# Date:`), time zones and a wrong calendar of
    /// [`Self::SLACK_DAYS`] allowed for: the last era before it is taken.
    NotAfter(Date),
}

impl Era {
    /// How much later than its own `# Date:` a recording may be.
    const SLACK_DAYS: i64 = 7;

    /// The day that was meant; `None` if there is no such day.
    #[must_use]
    pub fn resolve(self, said: SaidDate) -> Option<Date> {
        let date = match (said, self) {
            (SaidDate::Full(date), _) => date,
            (SaidDate::Short(short), Self::AsSaid) => {
                // gpsd's pivot: what is below 69 is in this century.
                short.in_century(if short.year_of_century < 69 { 20 } else { 19 })?
            }
            (SaidDate::Short(short), Self::NotBefore(day) | Self::NotAfter(day)) => (19..=21)
                .filter_map(|century| short.in_century(century))
                .min_by_key(|date| date.days_since(day).abs())?,
        };
        match self {
            Self::AsSaid => Some(date),
            Self::NotBefore(floor) => {
                let eras = (floor.days_since(date).max(0) + ERA_DAYS - 1) / ERA_DAYS;
                date.plus_days(eras * ERA_DAYS)
            }
            Self::NotAfter(day) => {
                let eras = (day.days_since(date) + Self::SLACK_DAYS).max(0) / ERA_DAYS;
                date.plus_days(eras * ERA_DAYS)
            }
        }
    }
}

/// Dates the epochs of one receiver.
#[derive(Debug)]
pub struct Calendar {
    era: Era,
    /// The newest epoch whose day is known.
    known: Option<(Date, TimeOfDay)>,
}

impl Calendar {
    /// Knows no day yet.
    #[must_use]
    pub const fn new(era: Era) -> Self {
        Self { era, known: None }
    }

    /// The instant of an epoch; `None` before the first date.
    pub fn date(&mut self, said: Option<SaidDate>, time: TimeOfDay) -> Option<UtcTime> {
        let date = match said.and_then(|said| self.era.resolve(said)) {
            Some(date) => date,
            None => self.continued(time)?,
        };
        self.known = Some((date, time));
        UtcTime::new(date, time)
    }

    /// The day of `time` if it is the one nearest to the newest known instant: midnight may pass before its date comes.
    fn continued(&self, time: TimeOfDay) -> Option<Date> {
        let (date, known) = self.known?;
        let half_day = i64::from(TimeOfDay::DAY_MS) / 2;
        let difference = i64::from(time.as_millis()) - i64::from(known.as_millis());
        match difference {
            later_day if later_day < -half_day => date.plus_days(1),
            earlier_day if earlier_day > half_day => date.plus_days(-1),
            _ => Some(date),
        }
    }
}
