//! The agent's only access to the system clocks.
//!
//! It wraps tokio's `Instant`, so that a paused test clock controls it too.

#![expect(clippy::disallowed_methods, reason = "this is the one place")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use waypost_model::units::{Uptime, UtcTime};

/// Speed at which the agent's time advances.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ClockMode {
    /// Wall-clock time multiplied by a factor: 1 for a live agent, more for an accelerated replay.
    Scaled(f64),
    /// Time taken from the data alone: a replay as fast as the recording can be read.
    DrivenByData,
}

/// The agent's clocks: monotonic [`Uptime`], and UTC as far as it is known. Clones share their
/// state.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    mode: ClockMode,
    /// UTC of the newest fix, and the uptime at which its epoch was read.
    anchor: Arc<Mutex<Option<(UtcTime, Uptime)>>>,
}

impl Clock {
    /// 2026-01-01. A host clock before this date is not set: a gateway without a clock battery
    /// boots in 1970.
    const PLAUSIBLE_FROM_UNIX_MS: i64 = 1_767_225_600_000;

    /// Starts a clock at [`Uptime::ZERO`] that runs in real time.
    #[must_use]
    pub fn live() -> Self {
        Self::scaled(1.0)
    }

    /// Starts a clock that runs `factor` times as fast as real time. Panics if `factor` is not
    /// above 0.
    #[must_use]
    pub fn scaled(factor: f64) -> Self {
        assert!(factor > 0.0, "the clock factor must be above 0");
        Self::new(ClockMode::Scaled(factor))
    }

    /// Creates a clock without time of its own: deadlines expire when data with a later time
    /// arrive.
    #[must_use]
    pub fn driven_by_data() -> Self {
        Self::new(ClockMode::DrivenByData)
    }

    fn new(mode: ClockMode) -> Self {
        Self { start: Instant::now(), mode, anchor: Arc::default() }
    }

    /// Whether deadlines expire only when data with a later time arrive.
    #[must_use]
    pub fn is_driven_by_data(&self) -> bool {
        self.mode == ClockMode::DrivenByData
    }

    /// Time since the agent started.
    #[must_use]
    pub fn uptime(&self) -> Uptime {
        let elapsed = self.start.elapsed();
        Uptime::new(match self.mode {
            ClockMode::Scaled(factor) => elapsed.mul_f64(factor),
            ClockMode::DrivenByData => elapsed,
        })
    }

    /// Sleeps until `deadline` and returns the time. Never returns without a deadline, or if the
    /// clock is driven by data.
    pub async fn sleep_until(&self, deadline: Option<Uptime>) -> Uptime {
        match (deadline, self.mode) {
            (Some(deadline), ClockMode::Scaled(factor)) => {
                let wait = deadline.since(self.uptime()).div_f64(factor);
                tokio::time::sleep(wait).await;
                self.uptime().max(deadline)
            }
            _ => std::future::pending().await,
        }
    }

    /// Sets UTC from a fix, once the receiver's time is trusted.
    pub fn set_utc(&self, utc: UtcTime, read_at: Uptime) {
        *self.anchor.lock().expect("the lock cannot be poisoned: no holder panics") =
            Some((utc, read_at));
    }

    /// UTC from the newest fix and the time elapsed since. Before the first fix it is the host's,
    /// if that clock is plausible.
    ///
    /// Used for the `ts` of `state` and `connection` only. Records carry the receiver's time.
    #[must_use]
    pub fn utc(&self) -> Option<UtcTime> {
        let anchor = *self.anchor.lock().expect("the lock cannot be poisoned: no holder panics");
        match (anchor, self.mode) {
            (Some((utc, read_at)), ClockMode::Scaled(_)) => {
                utc.checked_add(self.uptime().since(read_at))
            }
            (Some((utc, _)), ClockMode::DrivenByData) => Some(utc),
            (None, _) => self.host_clock().map(|(utc, _)| utc),
        }
    }

    /// UTC at a past uptime, if [`Self::utc`] is known.
    #[must_use]
    pub fn utc_at(&self, at: Uptime) -> Option<UtcTime> {
        let age_ms = i64::try_from(self.uptime().since(at).as_millis()).ok()?;
        UtcTime::from_unix_ms(self.utc()?.as_unix_ms() - age_ms)
    }

    /// The host clock's UTC and the current uptime. `None` if that clock is not set, and in a
    /// replay.
    #[must_use]
    pub fn host_clock(&self) -> Option<(UtcTime, Uptime)> {
        // A recording has its own time, possibly years ago.
        let utc = host_utc().filter(|_| self.mode == ClockMode::Scaled(1.0))?;
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
        let reached = fast.sleep_until(Some(Uptime::from_millis(10_000))).await;
        assert!(reached >= Uptime::from_millis(10_000));
        let real_ms = world.uptime().since_start().as_millis();
        assert!((1000..=1010).contains(&real_ms), "{real_ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn utc_goes_on_between_fixes() {
        let clock = Clock::live();
        let utc = UtcTime::parse("2026-11-22T09:41:07.000Z").unwrap();
        clock.set_utc(utc, clock.uptime());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.utc().unwrap().millis_since(utc) / 1000, 60);
    }
}
