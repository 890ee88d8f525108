//! How fast the backlog may go (pure): as fast as the link takes it without a queue, and not above the configured rate.
//!
//! Everything shares one connection, and a position waits behind every byte that was handed over before it. So the bytes
//! in flight are bounded by what the link delivers in its own round trip and [`Pace::QUEUE`] more: when PUBACKs slow
//! down, the bound falls, and when they do not, it rises. A thin link is full and still quick; a fat one is full too.

use std::time::Duration;

use crate::units::Uptime;

/// What PUBACKs say of the link.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes in flight at most.
    window: f64,
    max_window: f64,
    /// The shortest round trip of this spell and of the one before.
    shortest: [Option<Duration>; 2],
    spell_began: Uptime,
    /// The bound fell last.
    fell_at: Option<Uptime>,
    bytes_per_s: Option<f64>,
    /// When the backlog may go on.
    backlog_due: Uptime,
}

impl Pace {
    /// How long a position may wait behind the backlog, beside the link's own round trip.
    const QUEUE: Duration = Duration::from_millis(150);

    /// A dozen points as JSON; less would be all overhead.
    const MIN_WINDOW: f64 = 2048.0;

    /// What is tried once the first round trip is known: two batches of 60 points as JSON, or two thirds of a second of
    /// 256 kbit/s. A fat link doubles it with each round trip.
    const FIRST_WINDOW: f64 = 20_480.0;

    /// A link that answers so soon is not a thin one.
    const QUICK: Duration = Duration::from_secs(2);

    /// A van changes cells and networks; so long the shortest round trip is remembered, and at most twice that.
    const SPELL: Duration = Duration::from_mins(5);

    /// At most `max_window` bytes in flight, and `bytes_per_s` of backlog.
    pub(super) fn new(max_window: usize, bytes_per_s: Option<u32>, now: Uptime) -> Self {
        let max_window = float(max_window).max(Self::MIN_WINDOW);
        Self {
            // A link of a few hundred bytes a second must get its first answer within the time that an answer has.
            window: Self::MIN_WINDOW,
            max_window,
            shortest: [None; 2],
            spell_began: now,
            fell_at: None,
            bytes_per_s: bytes_per_s.map(f64::from),
            backlog_due: now,
        }
    }

    /// Whether the link has answered: before, nobody knows what it takes, and the trail waits for one round trip.
    pub(super) fn has_heard(&self) -> bool {
        self.shortest != [None; 2]
    }

    /// Bytes in flight at most; one message alone may be larger.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is bounded")]
    pub(super) fn window(&self) -> usize {
        self.window as usize
    }

    /// A message of `bytes` was acknowledged after `round_trip`; `in_flight` bytes were under way with it.
    pub(super) fn acked(
        &mut self,
        (bytes, in_flight): (usize, usize),
        round_trip: Duration,
        now: Uptime,
    ) {
        if !self.has_heard() && round_trip <= Self::QUICK {
            self.window = self.window.max(Self::FIRST_WINDOW.min(self.max_window));
        }
        if now.since(self.spell_began) >= Self::SPELL {
            self.shortest = [None, self.shortest[0]];
            self.spell_began = now;
        }
        self.shortest[0] = self.shortest[0].into_iter().chain([round_trip]).min();
        let shortest = self.shortest.iter().flatten().min().copied().unwrap_or(round_trip);
        let allowed = shortest + Self::QUEUE;
        if round_trip <= shortest + Self::QUEUE / 2 {
            // A window that is not used proves nothing.
            if float(in_flight) * 2.0 >= self.window {
                self.window += float(bytes);
            }
        } else if round_trip > allowed && self.fell_at.is_none_or(|at| now.since(at) >= round_trip)
        {
            // What was in flight took so long; the share of it that would not have is the new bound.
            self.window *= allowed.as_secs_f64() / round_trip.as_secs_f64();
            self.fell_at = Some(now);
        }
        self.window = self.window.clamp(Self::MIN_WINDOW, self.max_window);
    }

    /// `bytes` of backlog were handed over.
    pub(super) fn spent(&mut self, bytes: usize, now: Uptime) {
        if let Some(rate) = self.bytes_per_s {
            let took = Duration::from_secs_f64(float(bytes) / rate);
            self.backlog_due = self.backlog_due.max(now) + took;
        }
    }

    /// When the backlog may go on.
    pub(super) const fn backlog_due(&self) -> Uptime {
        self.backlog_due
    }
}

#[expect(clippy::cast_precision_loss, reason = "a window is no exabyte")]
fn float(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    /// Messages of `bytes` over a link of so many bytes a second and so long a round trip, as many as the window
    /// allows, for a minute; the last window and the longest wait of a byte that came from `since` on.
    fn drain(
        link_bytes_per_s: f64,
        round_trip: Duration,
        bytes: usize,
        since: Uptime,
    ) -> (usize, Duration) {
        let mut pace = Pace::new(MAX, None, Uptime::ZERO);
        // `connection`, which is small.
        pace.acked((200, 200), round_trip, Uptime::ZERO);
        let (mut in_flight, mut free_at, mut longest) = (Vec::new(), Uptime::ZERO, Duration::ZERO);
        let mut now = Uptime::ZERO;
        let end = Uptime::from_millis(60_000);
        while now < end {
            let size = bytes.min(pace.window());
            while in_flight.is_empty() || (in_flight.len() + 1) * size <= pace.window() {
                let began = free_at.max(now);
                free_at = began + Duration::from_secs_f64(float(size) / link_bytes_per_s);
                in_flight.push((now, free_at + round_trip));
                if now >= since {
                    longest = longest.max(free_at.since(now));
                }
            }
            let under_way = in_flight.len() * size;
            let (sent, acked) = in_flight.remove(0);
            now = acked;
            pace.acked((size, under_way), acked.since(sent), now);
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
        let mut pace = Pace::new(MAX, None, Uptime::ZERO);
        for second in 0..20 {
            let round_trip = Duration::from_millis(100);
            pace.acked((60_000, MAX), round_trip, Uptime::from_millis(second * 1000));
        }
        assert_eq!(pace.window(), MAX);
        pace.acked((10_000, 10_000), Duration::from_secs(10), Uptime::from_millis(30_000));
        assert!(pace.window() < 30_000, "{}", pace.window());
    }

    #[test]
    fn a_very_thin_link_begins_small_and_an_unused_window_stays_as_it_is() {
        let mut pace = Pace::new(MAX, None, Uptime::ZERO);
        assert!(pace.window() <= 2048);
        pace.acked((300, 300), Duration::from_secs(4), Uptime::ZERO);
        assert!(pace.window() <= 2048, "a slow answer is no invitation");
        let mut pace = Pace::new(MAX, None, Uptime::ZERO);
        for second in 0..3600 {
            pace.acked((600, 600), Duration::from_millis(80), Uptime::from_millis(second * 1000));
        }
        assert!(pace.window() <= 40_000, "{}", pace.window());
    }

    #[test]
    fn the_backlog_keeps_to_its_rate() {
        let mut pace = Pace::new(MAX, Some(1000), Uptime::ZERO);
        let mut sent = 0;
        for ms in 0..60_000 {
            let now = Uptime::from_millis(ms);
            if pace.backlog_due() <= now {
                pace.spent(5000, now);
                sent += 5000;
            }
        }
        assert_eq!(sent, 60_000);
    }
}
