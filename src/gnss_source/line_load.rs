//! Measures the utilisation of a serial line (sans-I/O).
//!
//! A saturated line truncates sentences, or delays each epoch more than the one before. The
//! symptoms resemble a faulty line, but the cause is a receiver that sends too much.

use std::collections::VecDeque;

use waypost_model::units::Uptime;

/// Measurement window in whole seconds.
const WINDOW_S: usize = 10;

/// Utilisation from which the line counts as saturated. It is below 100 % because receiver clocks
/// deviate by some percent and pause between epochs.
const FULL_PERCENT: u8 = 95;

/// Utilisation below which a saturated line counts as normal again; the hysteresis avoids repeated
/// reports.
const EASED_PERCENT: u8 = 90;

/// Bytes received in the last seconds.
#[derive(Debug)]
pub(super) struct LineLoad {
    /// Bytes that the line can carry in the window. A byte takes ten bits: start bit, eight data
    /// bits, stop bit.
    capacity: u64,
    /// Bytes per second, the last entry still being counted.
    seconds: VecDeque<u64>,
    now_s: Option<u64>,
    full: bool,
}

/// A measurement of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadSample {
    /// Utilisation, 0 to 100 %.
    pub(super) percent: u8,
    /// Whether the line became saturated with this measurement.
    pub(super) became_full: bool,
}

impl LineLoad {
    /// Creates a meter for a line at `baud`.
    pub(super) fn new(baud: u32) -> Self {
        let capacity = (u64::from(baud) * WINDOW_S as u64 / 10).max(1);
        Self { capacity, seconds: VecDeque::with_capacity(WINDOW_S + 2), now_s: None, full: false }
    }

    /// Counts bytes. Returns a measurement of the last 10 seconds once per second.
    pub(super) fn count(&mut self, bytes: usize, at: Uptime) -> Option<LoadSample> {
        let second = at.since_start().as_secs();
        let passed = second.saturating_sub(*self.now_s.get_or_insert(second));
        self.now_s = self.now_s.max(Some(second));
        for _ in 0..passed.min(WINDOW_S as u64 + 1) {
            self.seconds.push_back(0);
        }
        self.seconds.drain(..self.seconds.len().saturating_sub(WINDOW_S + 1));
        let measured = (passed > 0 && self.seconds.len() > WINDOW_S).then(|| self.sample());
        // The first second was received only in part and is not counted.
        if let Some(second) = self.seconds.back_mut() {
            *second += bytes as u64;
        }
        measured
    }

    fn sample(&mut self) -> LoadSample {
        let bytes: u64 = self.seconds.iter().take(WINDOW_S).sum();
        let percent = u8::try_from((bytes * 100 / self.capacity).min(100)).expect("100 at most");
        let was_full = self.full;
        self.full = percent >= if was_full { EASED_PERCENT } else { FULL_PERCENT };
        LoadSample { percent, became_full: self.full && !was_full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the measurements of a line that receives these bytes per second, in ten parts each.
    fn samples(load: &mut LineLoad, from_s: u64, bytes_of_seconds: &[usize]) -> Vec<LoadSample> {
        let mut all = Vec::new();
        for (second, bytes) in bytes_of_seconds.iter().enumerate() {
            for part in 0..10 {
                let ms = (from_s + second as u64) * 1000 + part * 100;
                all.extend(load.count(bytes / 10, Uptime::from_millis(ms)));
            }
        }
        all
    }

    #[test]
    fn the_load_is_known_after_ten_whole_seconds() {
        let mut load = LineLoad::new(9600);
        assert_eq!(samples(&mut load, 0, &[480; 11]), []);
        let half = LoadSample { percent: 50, became_full: false };
        assert_eq!(samples(&mut load, 11, &[480, 480]), [half, half]);
        let less = samples(&mut load, 13, &[0; 30]).last().unwrap().percent;
        assert_eq!(less, 0, "the window slides");
    }

    #[test]
    fn a_full_line_is_news_once() {
        let mut load = LineLoad::new(4800);
        let news = |load: &mut LineLoad, from_s, bytes| {
            let all = samples(load, from_s, &[bytes; 60]);
            (all.iter().filter(|one| one.became_full).count(), all.last().unwrap().percent)
        };
        assert_eq!(news(&mut load, 0, 480), (1, 100));
        assert_eq!(news(&mut load, 60, 440), (0, 91), "a little less is still full");
        assert_eq!(news(&mut load, 120, 470), (0, 97));
        assert_eq!(news(&mut load, 180, 300), (0, 62));
        assert_eq!(
            news(&mut load, 240, 900),
            (1, 100),
            "a driver may deliver bytes late, in one burst"
        );
    }

    #[test]
    fn a_long_silence_costs_nothing() {
        let mut load = LineLoad::new(9600);
        samples(&mut load, 0, &[960; 20]);
        let later = load.count(10, Uptime::from_millis(u64::MAX / 2)).unwrap();
        assert_eq!(later, LoadSample { percent: 0, became_full: false });
        assert!(load.seconds.len() <= WINDOW_S + 1);
    }
}
