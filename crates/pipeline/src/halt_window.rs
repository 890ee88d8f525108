//! Decides over a window whether a van stands: by the way that it made and by the share of slow
//! samples. A single fast sample of a noisy receiver does not end a halt.

use std::collections::VecDeque;
use std::time::Duration;

use waypost_model::fix::Fix;
use waypost_model::units::{Distance, Position, Uptime};

/// Samples of a part of the window.
#[derive(Clone, Copy, Debug)]
struct Slot {
    since: Uptime,
    first: Position,
    /// Offset of the mean position from `first`, degrees.
    lat_sum: f64,
    lon_sum: f64,
    samples: u32,
    slow: u32,
    fast: u32,
    accuracy_m: f64,
}

impl Slot {
    fn mean(&self) -> Position {
        let count = f64::from(self.samples);
        let (lat, lon) = (self.lat_sum / count, self.lon_sum / count);
        Position::from_degrees(self.first.lat_deg() + lat, self.first.lon_deg() + lon)
            .unwrap_or(self.first)
    }
}

/// Samples of the last `dwell`, in slots.
#[derive(Debug)]
pub(super) struct HaltWindow {
    dwell: Duration,
    slots: VecDeque<Slot>,
    newest_at: Uptime,
}

impl HaltWindow {
    /// Number of slots of a full window.
    const SLOTS: u32 = 15;
    /// Maximum way in metres of a standing van between any two slots, for a receiver with a good
    /// view of the sky.
    const STANDING_M: f64 = 8.0;
    /// The same for a receiver with a poor view: this share of its accuracy, up to the maximum.
    const ACCURACY_SHARE: f64 = 1.5;
    const MAX_STANDING_M: f64 = 40.0;
    /// Maximum share of samples at departure speed.
    const MAX_FAST_SHARE: f64 = 0.15;
    /// Minimum share of samples below the stop speed, with a good and with a poor view.
    const MIN_SLOW_SHARE: f64 = 0.3;
    const MIN_SLOW_SHARE_POOR: f64 = 0.6;

    pub(super) const fn new(dwell: Duration) -> Self {
        Self { dwell, slots: VecDeque::new(), newest_at: Uptime::ZERO }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    pub(super) fn push(&mut self, fix: &Fix, is_slow: bool, is_fast: bool) {
        let at = fix.read_at;
        self.newest_at = at;
        let length = self.dwell / Self::SLOTS;
        if self.slots.back().is_none_or(|slot| at.since(slot.since) >= length) {
            self.slots.push_back(Slot {
                since: at,
                first: fix.position,
                lat_sum: 0.0,
                lon_sum: 0.0,
                samples: 0,
                slow: 0,
                fast: 0,
                accuracy_m: 0.0,
            });
        }
        // The oldest slot is dropped when the others cover the window.
        while self.slots.get(1).is_some_and(|second| at.since(second.since) >= self.dwell) {
            self.slots.pop_front();
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.lat_sum += fix.position.lat_deg() - slot.first.lat_deg();
            slot.lon_sum += fix.position.lon_deg() - slot.first.lon_deg();
            slot.samples += 1;
            slot.slow += u32::from(is_slow);
            slot.fast += u32::from(is_fast);
            slot.accuracy_m = slot.accuracy_m.max(fix.accuracy.map_or(0.0, Distance::as_metres));
        }
    }

    /// Whether the van has stood for the whole window.
    pub(super) fn is_halt(&self) -> bool {
        let covers =
            self.slots.front().is_some_and(|first| self.newest_at.since(first.since) >= self.dwell);
        covers && Self::stands(self.slots.iter())
    }

    /// Whether the van stands by the newest third of the window. The odometer then ignores jitter.
    pub(super) fn may_stand(&self) -> bool {
        let older = self.slots.len().checked_sub((Self::SLOTS / 3) as usize);
        older.is_some_and(|older| Self::stands(self.slots.iter().skip(older)))
    }

    fn stands<'a>(slots: impl Iterator<Item = &'a Slot> + Clone) -> bool {
        let (mut samples, mut slow, mut fast, mut accuracy_m) = (0_u32, 0_u32, 0_u32, 0.0_f64);
        for slot in slots.clone() {
            samples += slot.samples;
            slow += slot.slow;
            fast += slot.fast;
            accuracy_m = accuracy_m.max(slot.accuracy_m);
        }
        let share = |part: u32| f64::from(part) / f64::from(samples.max(1));
        if share(fast) > Self::MAX_FAST_SHARE || share(slow) < Self::MIN_SLOW_SHARE {
            return false;
        }
        let way_m = farthest_m(slots);
        let poor_m = (accuracy_m * Self::ACCURACY_SHARE).min(Self::MAX_STANDING_M);
        way_m <= Self::STANDING_M || (share(slow) >= Self::MIN_SLOW_SHARE_POOR && way_m <= poor_m)
    }
}

/// Distance in metres of the slot that is farthest from the oldest one.
fn farthest_m<'a>(mut slots: impl Iterator<Item = &'a Slot>) -> f64 {
    let Some(first) = slots.next().map(Slot::mean) else { return 0.0 };
    slots.map(|slot| first.distance_to(slot.mean()).as_metres()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    /// Feeds one fix per second, each `(metres to the north, slow, fast)`.
    fn window(script: impl IntoIterator<Item = (f64, bool, bool)>) -> HaltWindow {
        let mut window = HaltWindow::new(Duration::from_secs(30));
        for (second, (north_m, is_slow, is_fast)) in (0_u32..).zip(script) {
            window.push(&fix(second * 1000, north_m), is_slow, is_fast);
        }
        window
    }

    #[test]
    fn single_fast_samples_do_not_end_a_halt_and_a_way_made_does() {
        let noisy = (0..40).map(|second| (0.0, second % 3 != 0, second % 20 == 0));
        assert!(window(noisy).is_halt());
        let short = (0..25).map(|_| (0.0, true, false));
        assert!(!window(short).is_halt(), "not long enough");
        let jam = (0..40).map(|second| (f64::from(second) * 0.7, true, false));
        assert!(!window(jam).is_halt(), "21 m");
        let circling = (0..40).map(|second| (f64::from(second % 5), false, true));
        assert!(!window(circling).is_halt());
    }

    #[test]
    fn an_empty_window_stands_nowhere() {
        let mut window = window([(0.0, true, false)]);
        window.clear();
        assert!(!window.is_halt() && !window.may_stand());
    }
}
