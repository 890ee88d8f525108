//! How long to wait before the next connection.
//!
//! Never below a second: brokers of the large clouds allow one CONNECT a second per client identifier.

use std::time::Duration;

use super::link::WaitsFor;
use crate::backoff::Backoff;

/// Who was refused for what only a person can change, credentials or client identifier, disturbs rarely.
const FIRST_FOR_A_PERSON: Duration = Duration::from_secs(60);
const MAX_FOR_A_PERSON: Duration = Duration::from_mins(5);

/// Without a route or a name server an attempt costs next to nothing, and the van wants to be live when they are back.
const MAX_WITHOUT_NETWORK: Duration = Duration::from_secs(5);

/// A connection that lived this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// The bounds of the waiting time while the broker cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The least, above 0; the bound doubles from here.
    pub first: Duration,
    /// The most, at least `first`: so late a van may notice that the network is back.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30) }
    }
}

/// The waiting times, growing with each failure.
#[derive(Debug)]
pub(super) struct Reconnect {
    no_network: Backoff,
    unreachable: Backoff,
    refused: Backoff,
}

impl Reconnect {
    pub(super) fn new(config: BackoffConfig, mut dice: fastrand::Rng) -> Self {
        Self {
            no_network: Backoff::new(config.first, MAX_WITHOUT_NETWORK, dice.fork()),
            unreachable: Backoff::new(config.first, config.max, dice.fork()),
            refused: Backoff::new(FIRST_FOR_A_PERSON, MAX_FOR_A_PERSON, dice),
        }
    }

    /// A connection ended that was up for `lived`.
    pub(super) fn ended(&mut self, lived: Duration) {
        if lived >= GOOD_AFTER {
            self.no_network.reset();
            self.unreachable.reset();
            self.refused.reset();
        }
    }

    /// How long to wait after an attempt that took `tried` until it failed. The pause counts from the beginning of the
    /// attempt: one that waited long for an answer has paused enough.
    pub(super) fn next_wait(&mut self, waits_for: WaitsFor, tried: Duration) -> Duration {
        match waits_for {
            WaitsFor::Network => self.no_network.next_wait(),
            WaitsFor::Broker => {
                // The floor is drawn too: a fleet that lost its broker does not come back in step.
                self.no_network.reset();
                let floor = self.no_network.next_wait();
                self.unreachable.next_wait().saturating_sub(tried).max(floor)
            }
            WaitsFor::Person => self.refused.next_wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_connection_resets_it_and_a_short_one_does_not() {
        let mut reconnect = Reconnect::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        let mut longest_of = |waits: u32, lived: u64| {
            reconnect.ended(Duration::from_secs(lived));
            let wait = |_| reconnect.next_wait(WaitsFor::Broker, Duration::ZERO);
            (0..waits).map(wait).max().unwrap()
        };
        assert!(longest_of(50, 0) > Duration::from_secs(25));
        assert!(longest_of(50, 29) > Duration::from_secs(25));
        assert!(longest_of(1, 30) <= Duration::from_secs(2));
    }

    #[test]
    fn who_needs_a_person_waits_a_minute_at_least() {
        let mut reconnect = Reconnect::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        for _ in 0..20 {
            let wait = reconnect.next_wait(WaitsFor::Person, Duration::ZERO);
            assert!((60..=300).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn a_van_without_network_asks_every_few_seconds_and_one_that_waited_long_asks_soon() {
        let mut reconnect = Reconnect::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        for _ in 0..100 {
            let wait = reconnect.next_wait(WaitsFor::Network, Duration::ZERO);
            assert!((1..=5).contains(&wait.as_secs()), "{wait:?}");
        }
        for _ in 0..100 {
            let wait = reconnect.next_wait(WaitsFor::Broker, Duration::from_secs(20));
            assert!((1..=10).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn a_fleet_that_lost_its_broker_does_not_come_back_in_step() {
        let first_wait = |seed| {
            let dice = fastrand::Rng::with_seed(seed);
            let mut reconnect = Reconnect::new(BackoffConfig::default(), dice);
            reconnect.next_wait(WaitsFor::Broker, Duration::from_secs(20))
        };
        let mut waits: Vec<Duration> = (0..100).map(first_wait).collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 90, "{} different waits of 100 vans", waits.len());
    }
}
