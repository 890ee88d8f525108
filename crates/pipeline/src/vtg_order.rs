//! Learns whether a receiver sends `VTG` at the head of its epoch. `VTG` carries no time, so between
//! two timed sentences it may belong to either.
//!
//! Live, the pause between two epochs decides. A recording has no pauses: there the speeds decide,
//! compared with the distance between the positions. A stream that begins with `VTG` is assumed to
//! begin with the head of an epoch until the speeds contradict.

use super::sentence::{Content, SAME_INSTANT_MS, Sentence, SentenceId};
use waypost_model::units::{Position, TimeOfDay, Uptime};

/// Instant of a position, with the speed of the `VTG` before it.
#[derive(Clone, Copy, Debug)]
struct Instant {
    time: TimeOfDay,
    position: Position,
    vtg_mps: f64,
}

/// Order of one receiver.
#[derive(Debug, Default)]
pub(super) struct VtgOrderLearner {
    /// `VTG` begins epochs.
    leads: bool,
    has_started: bool,
    /// Sentence that followed the first `VTG`. An epoch without it is not over.
    follower: Option<SentenceId>,
    /// Number of times that `VTG` stood between two sentences of one instant.
    in_the_middle: u8,
    /// Evidence in m/s: positive if `VTG` matches the position that follows it.
    evidence: f64,
    /// Newest `VTG` and the time of its first byte.
    vtg: Option<(f64, Uptime)>,
    /// Read time of the newest sentence before that `VTG`.
    before_vtg: Option<Uptime>,
    newest_read_at: Option<Uptime>,
    newest_time: Option<TimeOfDay>,
    /// The two newest instants, the older one first.
    instants: [Option<Instant>; 2],
}

impl VtgOrderLearner {
    /// Evidence at which the order changes, m/s: a few seconds of acceleration.
    const DECIDED_MPS: f64 = 3.0;
    /// Maximum evidence of one instant, m/s, so that one outlier decides nothing.
    const MAX_STEP_MPS: f64 = 1.0;
    /// Number of epochs with `VTG` in the middle after which it never begins one.
    const MIDDLE: u8 = 2;
    /// Share of the evidence that stays after each instant.
    const DECAY: f64 = 0.99;
    /// Instants that are farther apart do not give a speed, ms.
    const MAX_INTERVAL_MS: i64 = 5_000;

    /// Returns whether this sentence begins an epoch, given the sentences of the open one.
    pub(super) fn leads(&self, sentence: &Sentence, is_open: impl Fn(SentenceId) -> bool) -> bool {
        self.leads
            && matches!(sentence.content, Content::Vtg(_))
            && self.follower.is_none_or(is_open)
    }

    /// Returns whether `VTG` begins epochs.
    pub(super) const fn is_leading(&self) -> bool {
        self.leads
    }

    /// Observes a sentence with fix data, read at `at`. Returns whether the order has changed.
    pub(super) fn observe(&mut self, sentence: &Sentence, at: Uptime) -> bool {
        let led = self.leads;
        if let Content::Vtg(vtg) = &sentence.content {
            if !self.has_started {
                self.leads = true;
            }
            self.vtg = vtg.speed.map(|speed| (speed.as_mps(), at));
            self.before_vtg = self.newest_read_at;
        } else if let Some(time) = sentence.content.time() {
            if self.vtg.is_some() {
                self.follower.get_or_insert(sentence.id);
            }
            self.observe_time(time, position(&sentence.content), at);
        }
        let is_first = !std::mem::replace(&mut self.has_started, true);
        self.newest_read_at = Some(at);
        led != self.leads && !is_first
    }

    fn observe_time(&mut self, time: TimeOfDay, position: Option<Position>, at: Uptime) {
        let step_ms = self.newest_time.map(|newest| time.millis_since(newest));
        let is_new = step_ms.is_none_or(|ms| ms.abs() > SAME_INSTANT_MS);
        self.newest_time = Some(time);
        if let Some((vtg_mps, read_at)) = self.vtg {
            if is_new {
                self.weigh_pauses(read_at, at, step_ms);
            } else if self.before_vtg.is_some() {
                // `VTG` stands between two sentences of one instant, so it does not begin an epoch.
                // A damaged sentence before it may make it look so later.
                self.in_the_middle = self.in_the_middle.saturating_add(1);
                (self.leads, self.evidence) = (false, -2.0 * Self::DECIDED_MPS);
                self.vtg = None;
                return;
            }
            if let Some(position) = position {
                self.vtg = None;
                self.observe_instant(Instant { time, position, vtg_mps });
            }
        }
    }

    /// A pause of 20 ms or more on one side only is that between two epochs. One decides at once.
    /// A recording is read at the times of its sentences: its pauses are no evidence.
    fn weigh_pauses(&mut self, vtg_at: Uptime, timed_at: Uptime, step_ms: Option<i64>) {
        let Some(before) = self.before_vtg else { return };
        let pause_ms = i64::try_from(timed_at.since(vtg_at).as_millis()).ok();
        if vtg_at == before && pause_ms == step_ms {
            return;
        }
        let (before, after) =
            (vtg_at.since(before).as_millis(), timed_at.since(vtg_at).as_millis());
        if before.max(after) >= 20 && before.max(after) > 3 * before.min(after) {
            let step = 2.0 * Self::DECIDED_MPS;
            self.add(if before > after { step } else { -step });
        }
    }

    /// Compares the speed over the two newest intervals with the `VTG` before and after the instant
    /// in the middle.
    fn observe_instant(&mut self, newest: Instant) {
        if let [Some(oldest), Some(middle)] = self.instants {
            let ms = newest.time.millis_since(oldest.time);
            if (1..=Self::MAX_INTERVAL_MS).contains(&ms) {
                let seconds = f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0;
                let way = oldest.position.distance_to(newest.position).as_metres();
                let mps = way / seconds;
                let trailing = (newest.vtg_mps - mps).abs();
                let leading = (middle.vtg_mps - mps).abs();
                self.add((trailing - leading).clamp(-Self::MAX_STEP_MPS, Self::MAX_STEP_MPS));
            }
        }
        self.instants = [self.instants[1], Some(newest)];
    }

    fn add(&mut self, step: f64) {
        let limit = 2.0 * Self::DECIDED_MPS;
        self.evidence = (self.evidence * Self::DECAY + step).clamp(-limit, limit);
        if self.evidence.abs() >= Self::DECIDED_MPS {
            self.leads = self.evidence > 0.0 && self.in_the_middle < Self::MIDDLE;
        }
    }
}

fn position(content: &Content) -> Option<Position> {
    match content {
        Content::Rmc(rmc) => rmc.position.filter(|_| rmc.valid),
        Content::Gga(data) | Content::Gns(data) => data.position,
        Content::Gll(gll) => gll.position.filter(|_| gll.valid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch::{Epoch, EpochAssembler};
    use super::super::sentence::tests::sentence;
    use super::*;

    /// Order of the sentences within an epoch.
    #[derive(Clone, Copy, PartialEq)]
    enum Order {
        First,
        Middle,
        Last,
    }

    /// A van that accelerates by 1 m/s per second for 20 s, and then decelerates. Returns (speed of
    /// the epoch, true speed) of each epoch with a position, in m/s.
    fn speeds(order: Order, skip: usize, step_ms: u64, pause: bool) -> Vec<(f64, f64)> {
        let mut lines = Vec::new();
        let (mut north_m, count) = (0.0_f64, 40_000 / step_ms);
        for n in 0..count {
            let seconds = (n * step_ms) as f64 / 1000.0;
            let mps = if seconds < 20.0 { seconds } else { 40.0 - seconds };
            let minutes = north_m / 1852.0;
            let ms = n * step_ms;
            let time = format!("0800{:02}.{:02}", ms / 1000, ms % 1000 / 10);
            let vtg = format!("GNVTG,0.0,T,,M,{:.3},N,,K,A", mps / 0.514_444);
            let gga =
                format!("GNGGA,{time},48{minutes:08.5},N,01100.00000,E,1,10,0.9,500.0,M,,M,,");
            let zda = format!("GNZDA,{time},01,12,2026,00,00");
            let epoch = match order {
                Order::First => [vtg, gga, zda],
                Order::Middle => [gga, vtg, zda],
                Order::Last => [gga, zda, vtg],
            };
            lines.extend(
                (0_u64..)
                    .zip(epoch)
                    .map(|(place, body)| (if pause { ms + place * 5 } else { 0 }, mps, body)),
            );
            let next = seconds + step_ms as f64 / 1000.0;
            let next_mps = if next < 20.0 { next } else { 40.0 - next };
            north_m += f64::midpoint(mps, next_mps) * step_ms as f64 / 1000.0;
        }
        let mut assembler = EpochAssembler::default();
        let mut epochs: Vec<Epoch> = Vec::new();
        for (ms, _, body) in &lines[skip..] {
            let at = Uptime::from_millis(*ms);
            while let Some(due) = assembler.deadline().filter(|due| pause && *due <= at) {
                assembler.tick(due, |epoch| epochs.push(epoch));
            }
            assembler.push(&sentence(body), (at, at), |epoch| epochs.push(epoch));
        }
        assembler.finish(|epoch| epochs.push(epoch));
        let truth = |epoch: &Epoch| {
            let ms = f64::from(epoch.time.unwrap().as_millis() - 8 * 3_600_000);
            let seconds = ms / 1000.0;
            if seconds < 20.0 { seconds } else { 40.0 - seconds }
        };
        let placed = epochs.iter().filter(|epoch| epoch.position.is_some());
        placed
            .map(|epoch| (epoch.speed().map_or(-1.0, |speed| speed.as_mps()), truth(epoch)))
            .collect()
    }

    fn wrong(speeds: &[(f64, f64)], from: usize) -> usize {
        speeds[from..].iter().filter(|(said, truth)| (said - truth).abs() > 0.05).count()
    }

    #[test]
    fn each_epoch_has_its_own_speed_wherever_vtg_stands() {
        for order in [Order::First, Order::Middle] {
            let speeds = speeds(order, 0, 1000, false);
            assert_eq!((speeds.len(), wrong(&speeds, 0)), (40, 0));
        }
        let last = speeds(Order::Last, 0, 1000, false);
        assert_eq!((last.len(), wrong(&last, 0)), (40, 0));
    }

    #[test]
    fn a_stream_that_begins_within_an_epoch_is_understood_after_some_seconds() {
        for order in [Order::First, Order::Middle, Order::Last] {
            for skip in 1..3 {
                let speeds = speeds(order, skip, 1000, false);
                assert!(wrong(&speeds, 10) == 0, "{skip}: {speeds:?}");
            }
        }
    }

    #[test]
    fn the_pause_between_epochs_decides_from_the_start_when_it_is_long() {
        for order in [Order::First, Order::Middle, Order::Last] {
            for skip in 0..3 {
                let speeds = speeds(order, skip, 1000, true);
                assert!(wrong(&speeds, 3) == 0, "{skip}: {speeds:?}");
            }
            let fast = speeds(order, 1, 100, true);
            assert!(wrong(&fast, 60) == 0, "{:?}", &fast[..80]);
        }
    }
}
