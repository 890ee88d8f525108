//! How much of what a serial line can carry the receiver says (pure).
//!
//! A line that is full cuts sentences in the middle, or delays each epoch a little more than the one before: what
//! looks like a bad line is then a receiver with too much to say.

use std::collections::VecDeque;

use crate::units::Uptime;

/// Over how many whole seconds the load is measured.
const WINDOW_S: usize = 10;

/// From here on a line is full: a receiver's clock may be some percent off, and it breathes between epochs.
const FULL_PERCENT: u8 = 95;

/// Below this it is so no more; the gap keeps a line at the edge from being reported again and again.
const EASED_PERCENT: u8 = 90;

/// Bytes of the last seconds.
#[derive(Debug)]
pub(super) struct Load {
    /// What the line carries in the window: a byte is a start bit, eight bits and a stop bit.
    capacity: u64,
    /// The last is being counted.
    seconds: VecDeque<u64>,
    now_s: Option<u64>,
    full: bool,
}

/// What is known of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    /// 0..=100.
    pub(super) percent: u8,
    /// Whether the line became full with this.
    pub(super) became_full: bool,
}

impl Load {
    /// Of a line at `baud`.
    pub(super) fn new(baud: u32) -> Self {
        let capacity = (u64::from(baud) * WINDOW_S as u64 / 10).max(1);
        Self { capacity, seconds: VecDeque::with_capacity(WINDOW_S + 2), now_s: None, full: false }
    }

    /// Counts bytes. Once a second it is known how full the ten before it were.
    pub(super) fn count(&mut self, bytes: usize, at: Uptime) -> Option<Measured> {
        let second = at.since_start().as_secs();
        let passed = second.saturating_sub(*self.now_s.get_or_insert(second));
        self.now_s = self.now_s.max(Some(second));
        for _ in 0..passed.min(WINDOW_S as u64 + 1) {
            self.seconds.push_back(0);
        }
        self.seconds.drain(..self.seconds.len().saturating_sub(WINDOW_S + 1));
        let measured = (passed > 0 && self.seconds.len() > WINDOW_S).then(|| self.measured());
        // Of the first second, only a part was heard: it does not count.
        if let Some(second) = self.seconds.back_mut() {
            *second += bytes as u64;
        }
        measured
    }

    fn measured(&mut self) -> Measured {
        let bytes: u64 = self.seconds.iter().take(WINDOW_S).sum();
        let percent = u8::try_from((bytes * 100 / self.capacity).min(100)).expect("100 at most");
        let was_full = self.full;
        self.full = percent >= if was_full { EASED_PERCENT } else { FULL_PERCENT };
        Measured { percent, became_full: self.full && !was_full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured of a line on which each second has so many bytes, in ten parts.
    fn measured(load: &mut Load, from_s: u64, bytes_of_seconds: &[usize]) -> Vec<Measured> {
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
        let mut load = Load::new(9600);
        assert_eq!(measured(&mut load, 0, &[480; 11]), []);
        let half = Measured { percent: 50, became_full: false };
        assert_eq!(measured(&mut load, 11, &[480, 480]), [half, half]);
        let less = measured(&mut load, 13, &[0; 30]).last().unwrap().percent;
        assert_eq!(less, 0, "the window slides");
    }

    #[test]
    fn a_full_line_is_news_once() {
        let mut load = Load::new(4800);
        let news = |load: &mut Load, from_s, bytes| {
            let all = measured(load, from_s, &[bytes; 60]);
            (all.iter().filter(|one| one.became_full).count(), all.last().unwrap().percent)
        };
        assert_eq!(news(&mut load, 0, 480), (1, 100));
        assert_eq!(news(&mut load, 60, 440), (0, 91), "a little less is still full");
        assert_eq!(news(&mut load, 120, 470), (0, 97));
        assert_eq!(news(&mut load, 180, 300), (0, 62));
        assert_eq!(news(&mut load, 240, 900), (1, 100), "a driver may deliver late and at once");
    }

    #[test]
    fn a_long_silence_costs_nothing() {
        let mut load = Load::new(9600);
        measured(&mut load, 0, &[960; 20]);
        let later = load.count(10, Uptime::from_millis(u64::MAX / 2)).unwrap();
        assert_eq!(later, Measured { percent: 0, became_full: false });
        assert!(load.seconds.len() <= WINDOW_S + 1);
    }
}
