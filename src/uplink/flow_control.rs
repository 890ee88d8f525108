//! Flow control of the backlog: as fast as the connection allows without queueing, up to the
//! configured rate. No I/O.
//!
//! All messages share one connection, and a position waits behind every byte published before it.
//! The bytes in flight are therefore limited to what the connection delivers in its own round trip
//! plus [`Pace::QUEUE`]. The limit falls when PUBACKs slow down and rises otherwise. A slow
//! connection is thus used fully with short delays, and so is a fast one.

use std::time::Duration;

use waypost_model::units::Uptime;

/// Congestion window estimated from PUBACK round-trip times.
#[derive(Debug)]
pub(super) struct FlowControl {
    /// Maximum bytes in flight.
    window: f64,
    max_window: f64,
    /// Minimum round trip in the current and in the previous period.
    min_rtt: [Option<Duration>; 2],
    rtt_window_start: Uptime,
    /// Time of the last decrease.
    last_decrease_at: Option<Uptime>,
    bytes_per_s: Option<f64>,
    /// Earliest time of the next backlog message.
    backlog_due: Uptime,
}

impl FlowControl {
    /// Maximum delay of a position behind the backlog, in addition to the round trip.
    const MAX_QUEUE_DELAY: Duration = Duration::from_millis(150);

    /// Minimum window: a dozen points as JSON. A smaller window would be mostly overhead.
    const MIN_WINDOW: f64 = 2048.0;

    /// Window in bytes after the first round trip: two batches of 60 points as JSON, or two thirds
    /// of a second at 256 kbit/s. A fast connection doubles it with each round trip.
    const FIRST_WINDOW: f64 = 20_480.0;

    /// Maximum first round trip of a connection that is not slow.
    const FAST_RTT: Duration = Duration::from_secs(2);

    /// Period for the minimum round trip, because a van changes cells and networks. A minimum is
    /// used for one to two periods.
    const RTT_WINDOW: Duration = Duration::from_mins(5);

    /// Limits the bytes in flight to `max_window`, and the backlog to `bytes_per_s`.
    pub(super) fn new(max_window: usize, bytes_per_s: Option<u32>, now: Uptime) -> Self {
        let max_window = to_f64(max_window).max(Self::MIN_WINDOW);
        Self {
            // A connection of a few hundred bytes per second must deliver the first PUBACK within
            // its timeout.
            window: Self::MIN_WINDOW,
            max_window,
            min_rtt: [None; 2],
            rtt_window_start: now,
            last_decrease_at: None,
            bytes_per_s: bytes_per_s.map(f64::from),
            backlog_due: now,
        }
    }

    /// Whether a round trip was measured. Until then the throughput is unknown, and the track
    /// waits.
    pub(super) fn has_rtt_sample(&self) -> bool {
        self.min_rtt != [None; 2]
    }

    /// Maximum bytes in flight. A single message may be larger.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the window is bounded"
    )]
    pub(super) fn window(&self) -> usize {
        self.window as usize
    }

    /// Handles a PUBACK for `bytes` after `round_trip`, with `in_flight` bytes in flight at that
    /// time.
    pub(super) fn on_ack(
        &mut self,
        (bytes, in_flight): (usize, usize),
        round_trip: Duration,
        now: Uptime,
    ) {
        if !self.has_rtt_sample() && round_trip <= Self::FAST_RTT {
            self.window = self.window.max(Self::FIRST_WINDOW.min(self.max_window));
        }
        if now.since(self.rtt_window_start) >= Self::RTT_WINDOW {
            self.min_rtt = [None, self.min_rtt[0]];
            self.rtt_window_start = now;
        }
        self.min_rtt[0] = self.min_rtt[0].into_iter().chain([round_trip]).min();
        let min_rtt = self.min_rtt.iter().flatten().min().copied().unwrap_or(round_trip);
        let allowed = min_rtt + Self::MAX_QUEUE_DELAY;
        if round_trip <= min_rtt + Self::MAX_QUEUE_DELAY / 2 {
            // Increase the window only if it is used.
            if to_f64(in_flight) * 2.0 >= self.window {
                self.window += to_f64(bytes);
            }
        } else if round_trip > allowed
            && self.last_decrease_at.is_none_or(|at| now.since(at) >= round_trip)
        {
            // Scale the window to the share that would have been delivered within the allowed
            // delay.
            self.window *= allowed.as_secs_f64() / round_trip.as_secs_f64();
            self.last_decrease_at = Some(now);
        }
        self.window = self.window.clamp(Self::MIN_WINDOW, self.max_window);
    }

    /// Accounts for `bytes` of backlog that were published.
    pub(super) fn on_backlog_sent(&mut self, bytes: usize, now: Uptime) {
        if let Some(rate) = self.bytes_per_s {
            let took = Duration::from_secs_f64(to_f64(bytes) / rate);
            self.backlog_due = self.backlog_due.max(now) + took;
        }
    }

    /// Earliest time of the next backlog message.
    pub(super) const fn backlog_due(&self) -> Uptime {
        self.backlog_due
    }
}

#[expect(clippy::cast_precision_loss, reason = "a window is far below 2^52 bytes")]
fn to_f64(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    /// Simulates messages of `bytes` for a minute, as many as the window allows. Returns the last
    /// window, and the maximum delay of a byte from `since` on.
    fn drain(
        link_bytes_per_s: f64,
        round_trip: Duration,
        bytes: usize,
        since: Uptime,
    ) -> (usize, Duration) {
        let mut pace = FlowControl::new(MAX, None, Uptime::ZERO);
        // The `connection` message, which is small.
        pace.on_ack((200, 200), round_trip, Uptime::ZERO);
        let (mut in_flight, mut free_at, mut longest) = (Vec::new(), Uptime::ZERO, Duration::ZERO);
        let mut now = Uptime::ZERO;
        let end = Uptime::from_millis(60_000);
        while now < end {
            let size = bytes.min(pace.window());
            while in_flight.is_empty() || (in_flight.len() + 1) * size <= pace.window() {
                let began = free_at.max(now);
                free_at = began + Duration::from_secs_f64(to_f64(size) / link_bytes_per_s);
                in_flight.push((now, free_at + round_trip));
                if now >= since {
                    longest = longest.max(free_at.since(now));
                }
            }
            let under_way = in_flight.len() * size;
            let (sent, acked) = in_flight.remove(0);
            now = acked;
            pace.on_ack((size, under_way), acked.since(sent), now);
        }
        (pace.window(), longest)
    }

    #[test]
    fn a_thin_link_is_full_and_a_position_waits_a_quarter_of_a_second() {
        let half_a_minute = Uptime::from_millis(30_000);
        let (window, wait) = drain(32_000.0, Duration::from_millis(100), 4096, half_a_minute);
        assert!(window >= 3200, "{window} bytes fill it");
        assert!(wait <= Duration::from_millis(400), "{wait:?}");
    }

    #[test]
    fn a_position_waits_less_than_a_second_also_before_the_link_is_known() {
        // Compact batches: many fit into the first window.
        let (_, wait) = drain(32_000.0, Duration::from_millis(100), 1800, Uptime::ZERO);
        assert!(wait <= Duration::from_millis(750), "{wait:?}");
    }

    #[test]
    fn a_fat_link_is_filled() {
        let (window, _) = drain(10e6, Duration::from_millis(100), 16_384, Uptime::ZERO);
        assert!(window >= 1_000_000, "{window}");
    }

    #[test]
    fn a_link_that_grows_thin_is_noticed_within_a_round_trip_or_two() {
        let mut pace = FlowControl::new(MAX, None, Uptime::ZERO);
        for second in 0..20 {
            let round_trip = Duration::from_millis(100);
            pace.on_ack((60_000, MAX), round_trip, Uptime::from_millis(second * 1000));
        }
        assert_eq!(pace.window(), MAX);
        pace.on_ack((10_000, 10_000), Duration::from_secs(10), Uptime::from_millis(30_000));
        assert!(pace.window() < 30_000, "{}", pace.window());
    }

    #[test]
    fn a_very_thin_link_begins_small_and_an_unused_window_stays_as_it_is() {
        let mut pace = FlowControl::new(MAX, None, Uptime::ZERO);
        assert!(pace.window() <= 2048);
        pace.on_ack((300, 300), Duration::from_secs(4), Uptime::ZERO);
        assert!(pace.window() <= 2048, "a slow PUBACK does not increase the window");
        let mut pace = FlowControl::new(MAX, None, Uptime::ZERO);
        for second in 0..3600 {
            pace.on_ack((600, 600), Duration::from_millis(80), Uptime::from_millis(second * 1000));
        }
        assert!(pace.window() <= 40_000, "{}", pace.window());
    }

    #[test]
    fn the_backlog_keeps_to_its_rate() {
        let mut pace = FlowControl::new(MAX, Some(1000), Uptime::ZERO);
        let mut sent = 0;
        for ms in 0..60_000 {
            let now = Uptime::from_millis(ms);
            if pace.backlog_due() <= now {
                pace.on_backlog_sent(5000, now);
                sent += 5000;
            }
        }
        assert_eq!(sent, 60_000);
    }
}
