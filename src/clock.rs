//! The only file that reads a clock.
//!
//! It wraps tokio's `Instant`, so that the paused clock of a test rules it too.

#![expect(clippy::disallowed_methods, reason = "this is the one place")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::units::{Uptime, UtcTime};

/// How the agent's time runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    /// As the world's, or this many times faster: a recording that is replayed.
    Scaled(f64),
    /// Only the data say what time it is: a recording that is replayed as fast as it can be read.
    ByData,
}

/// The agent's clocks: monotonic [`Uptime`], and what it knows of UTC. Clones are one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    pace: Pace,
    /// The newest fix's UTC, and when its epoch was read.
    anchor: Arc<Mutex<Option<(UtcTime, Uptime)>>>,
}

impl Clock {
    /// A host's clock before this is not set: a gateway without a clock battery boots in 1970. 2026-01-01.
    const PLAUSIBLE_FROM_UNIX_MS: i64 = 1_767_225_600_000;

    /// Starts at [`Uptime::ZERO`] now, and runs as the world does.
    #[must_use]
    pub fn live() -> Self {
        Self::scaled(1.0)
    }

    /// Starts now and runs `factor` times as fast as the world; `factor` must be above 0.
    #[must_use]
    pub fn scaled(factor: f64) -> Self {
        assert!(factor > 0.0, "time does not run backwards");
        Self::new(Pace::Scaled(factor))
    }

    /// Has no time of its own: deadlines pass when data with a later time arrive.
    #[must_use]
    pub fn by_data() -> Self {
        Self::new(Pace::ByData)
    }

    fn new(pace: Pace) -> Self {
        Self { start: Instant::now(), pace, anchor: Arc::default() }
    }

    /// Whether deadlines pass only when data with a later time arrive.
    #[must_use]
    pub fn is_by_data(&self) -> bool {
        self.pace == Pace::ByData
    }

    /// How long the agent has run.
    #[must_use]
    pub fn uptime(&self) -> Uptime {
        let elapsed = self.start.elapsed();
        Uptime::new(match self.pace {
            Pace::Scaled(factor) => elapsed.mul_f64(factor),
            Pace::ByData => elapsed,
        })
    }

    /// Waits until `deadline`, and returns the time then. Without a deadline, or by data, it waits for ever.
    pub async fn reached(&self, deadline: Option<Uptime>) -> Uptime {
        match (deadline, self.pace) {
            (Some(deadline), Pace::Scaled(factor)) => {
                let wait = deadline.since(self.uptime()).div_f64(factor);
                tokio::time::sleep(wait).await;
                self.uptime().max(deadline)
            }
            _ => std::future::pending().await,
        }
    }

    /// Tells the clock what a fix said of UTC, once the receiver's time is trusted.
    pub fn learn_utc(&self, utc: UtcTime, read_at: Uptime) {
        *self.anchor.lock().expect("no holder of the lock can panic") = Some((utc, read_at));
    }

    /// UTC by the newest fix and the time since then; before the first fix by the host, if its clock can be right.
    ///
    /// For the `ts` of `state` and `connection`. No record ever carries it.
    #[must_use]
    pub fn utc(&self) -> Option<UtcTime> {
        let anchor = *self.anchor.lock().expect("no holder of the lock can panic");
        match (anchor, self.pace) {
            (Some((utc, read_at)), Pace::Scaled(_)) => {
                utc.checked_add(self.uptime().since(read_at))
            }
            (Some((utc, _)), Pace::ByData) => Some(utc),
            (None, _) => self.host().map(|(utc, _)| utc),
        }
    }

    /// UTC at an uptime that has passed, as far as [`Self::utc`] knows it.
    #[must_use]
    pub fn utc_at(&self, at: Uptime) -> Option<UtcTime> {
        let age_ms = i64::try_from(self.uptime().since(at).as_millis()).ok()?;
        UtcTime::from_unix_ms(self.utc()?.as_unix_ms() - age_ms)
    }

    /// What the host's clock shows, and when; `None` if it is not set, and in a replay.
    #[must_use]
    pub fn host(&self) -> Option<(UtcTime, Uptime)> {
        // A recording has a time of its own, and it may be years ago.
        let utc = host_utc().filter(|_| self.pace == Pace::Scaled(1.0))?;
        (utc.as_unix_ms() >= Self::PLAUSIBLE_FROM_UNIX_MS).then(|| (utc, self.uptime()))
    }
}

fn host_utc() -> Option<UtcTime> {
    let since_1970: Duration = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    UtcTime::from_unix_ms(i64::try_from(since_1970.as_millis()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_reaches_its_deadlines_sooner() {
        let world = Clock::live();
        let fast = Clock::scaled(10.0);
        let reached = fast.reached(Some(Uptime::from_millis(10_000))).await;
        assert!(reached >= Uptime::from_millis(10_000));
        let real_ms = world.uptime().since_start().as_millis();
        assert!((1000..=1010).contains(&real_ms), "{real_ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn utc_goes_on_between_fixes() {
        let clock = Clock::live();
        let utc = UtcTime::parse("2026-11-22T09:41:07.000Z").unwrap();
        clock.learn_utc(utc, clock.uptime());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.utc().unwrap().millis_since(utc) / 1000, 60);
    }
}
