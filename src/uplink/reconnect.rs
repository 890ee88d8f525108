//! Delays between connection attempts.
//!
//! The minimum is 1 s: large cloud brokers allow one CONNECT per second and client identifier.

use std::time::Duration;

use super::connector::RetryTrigger;
use waypost_service::backoff::Backoff;

/// Delays after a refusal that only an operator can resolve, for example wrong credentials.
/// Frequent attempts would cause harm.
const OPERATOR_FIRST_DELAY: Duration = Duration::from_secs(60);
const OPERATOR_MAX_DELAY: Duration = Duration::from_mins(5);

/// Maximum delay without a route or a name server. Such an attempt costs almost nothing, and the
/// van should be live soon after the network is back.
const NO_NETWORK_MAX_DELAY: Duration = Duration::from_secs(5);

/// Duration after which a connection counts as stable and resets the backoff.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Limits of the delay while the broker cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// Initial limit, above 0. It doubles with each failure.
    pub first: Duration,
    /// Maximum limit, at least `first`. Bounds how late a van notices that the network is back.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30) }
    }
}

/// One backoff per kind of failure.
#[derive(Debug)]
pub(super) struct ReconnectBackoff {
    no_network: Backoff,
    unreachable: Backoff,
    operator: Backoff,
}

impl ReconnectBackoff {
    pub(super) fn new(config: BackoffConfig, mut random: fastrand::Rng) -> Self {
        Self {
            no_network: Backoff::new(config.first, NO_NETWORK_MAX_DELAY, random.fork()),
            unreachable: Backoff::new(config.first, config.max, random.fork()),
            operator: Backoff::new(OPERATOR_FIRST_DELAY, OPERATOR_MAX_DELAY, random),
        }
    }

    /// Resets the backoff if the connection was up long enough.
    pub(super) fn on_disconnected(&mut self, lived: Duration) {
        if lived >= STABLE_AFTER {
            self.no_network.reset();
            self.unreachable.reset();
            self.operator.reset();
        }
    }

    /// Returns the delay after an attempt that failed after `tried`. The delay counts from the
    /// start of the attempt, so a slow failure shortens it.
    pub(super) fn next_delay(
        &mut self,
        retry_trigger: RetryTrigger,
        attempts: Duration,
    ) -> Duration {
        match retry_trigger {
            RetryTrigger::Network => self.no_network.next_delay(),
            RetryTrigger::Broker => {
                // The minimum is random too, so that a fleet that lost its broker does not
                // reconnect in step.
                self.no_network.reset();
                let floor = self.no_network.next_delay();
                self.unreachable.next_delay().saturating_sub(attempts).max(floor)
            }
            RetryTrigger::Operator => self.operator.next_delay(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_connection_resets_it_and_a_short_one_does_not() {
        let mut reconnect =
            ReconnectBackoff::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        let mut longest_of = |waits: u32, lived: u64| {
            reconnect.on_disconnected(Duration::from_secs(lived));
            let wait = |_| reconnect.next_delay(RetryTrigger::Broker, Duration::ZERO);
            (0..waits).map(wait).max().unwrap()
        };
        assert!(longest_of(50, 0) > Duration::from_secs(25));
        assert!(longest_of(50, 29) > Duration::from_secs(25));
        assert!(longest_of(1, 30) <= Duration::from_secs(2));
    }

    #[test]
    fn who_needs_a_person_waits_a_minute_at_least() {
        let mut reconnect =
            ReconnectBackoff::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        for _ in 0..20 {
            let wait = reconnect.next_delay(RetryTrigger::Operator, Duration::ZERO);
            assert!((60..=300).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn a_van_without_network_asks_every_few_seconds_and_one_that_waited_long_asks_soon() {
        let mut reconnect =
            ReconnectBackoff::new(BackoffConfig::default(), fastrand::Rng::with_seed(1));
        for _ in 0..100 {
            let wait = reconnect.next_delay(RetryTrigger::Network, Duration::ZERO);
            assert!((1..=5).contains(&wait.as_secs()), "{wait:?}");
        }
        for _ in 0..100 {
            let wait = reconnect.next_delay(RetryTrigger::Broker, Duration::from_secs(20));
            assert!((1..=10).contains(&wait.as_secs()), "{wait:?}");
        }
    }

    #[test]
    fn a_fleet_that_lost_its_broker_does_not_come_back_in_step() {
        let first_wait = |seed| {
            let random = fastrand::Rng::with_seed(seed);
            let mut reconnect = ReconnectBackoff::new(BackoffConfig::default(), random);
            reconnect.next_delay(RetryTrigger::Broker, Duration::from_secs(20))
        };
        let mut waits: Vec<Duration> = (0..100).map(first_wait).collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 90, "{} different delays of 100 vans", waits.len());
    }
}
