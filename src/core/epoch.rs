//! Sentence → [`Epoch`]: gathers all that was said about one instant.
//!
//! NMEA 0183 does not mark the end of an epoch. Here it ends with the sentence that has ended the epochs before it
//! (learnt), or with silence, or at the latest when a sentence carries another time of day. So a fix is
//! known as soon as its last sentence is, and the last one before a tunnel does not wait for the far end.
//!
//! - Times that differ by no more than [`SAME_INSTANT_MS`] are one instant: some receivers round in each sentence anew.
//! - `GSA` and `VTG` carry no time. They belong to the open epoch; before its first timed sentence, to the next.
//! - A sentence that could carry a time and does not says that there is no fix: it ends a timed epoch and is no part of it.

use std::time::Duration;

use super::ender::{End, Ender};
use super::sentence::{Content, FixData, Gll, Gsa, Indicator, Rmc, Sentence, ShortDate, Tag};
use crate::units::{Course, Date, Distance, Dop, Height, Position, Speed, TimeOfDay, Uptime};

/// gpsd's tolerance for one reporting cycle.
pub const SAME_INSTANT_MS: i64 = 10;

/// Until the receiver's period is known.
const DEFAULT_SILENCE: Duration = Duration::from_millis(400);

/// One receiver has been seen with 14 kinds of sentence an epoch.
const MAX_TAGS: usize = 16;

/// All that was said about one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// The instant; `None` when the receiver does not know it.
    pub time: Option<TimeOfDay>,
    /// The day, if it was said.
    pub date: Option<SaidDate>,
    /// When the first byte was read.
    pub read_at: Uptime,
    /// A sentence came that has a field for the day.
    pub names_day: bool,
    /// Where, by a sentence that vouched for it.
    pub position: Option<Position>,
    /// A sentence said whether there is a fix.
    pub judged: bool,
    /// The last sentence that judged said that there is no fix.
    pub denied: bool,
    /// RMC or GLL vouched for the position, and not only GGA or GNS.
    pub witnessed: bool,
    /// The best that a sentence said of its way to the position.
    pub indicator: Option<Indicator>,
    /// GSA field 2, the best of all constellations.
    pub gsa_mode: Option<u8>,
    /// Above mean sea level.
    pub altitude_msl: Option<Height>,
    /// The geoid above the ellipsoid.
    pub geoid_separation: Option<Height>,
    /// Over ground.
    pub speed: Option<Speed>,
    /// Over ground, true.
    pub course: Option<Course>,
    /// Horizontal dilution of precision.
    pub hdop: Option<Dop>,
    /// Used in the solution.
    pub satellites_used: Option<u8>,
    /// 68 % horizontal radius, by the receiver's own statistics.
    pub accuracy: Option<Distance>,
    /// The instant has had an epoch, and this is what came after it was closed.
    pub is_late: bool,
    /// The first time that was said, by which it is judged what belongs here.
    began: Option<TimeOfDay>,
    tags: Tags,
    last_read_at: Uptime,
}

/// A date with or without its century.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaidDate {
    /// By `RMC`.
    Short(ShortDate),
    /// By `ZDA`.
    Full(Date),
}

/// Which sentences an epoch has, and how often each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tags {
    counts: [Option<(Tag, u8)>; MAX_TAGS],
    last: Option<Tag>,
}

impl Tags {
    fn count(&self, tag: Tag) -> u8 {
        self.counts.iter().flatten().find(|(known, _)| *known == tag).map_or(0, |(_, count)| *count)
    }

    fn add(&mut self, tag: Tag) {
        self.last = Some(tag);
        let slot = self.counts.iter_mut().find(|slot| slot.is_none_or(|(known, _)| known == tag));
        if let Some(slot) = slot {
            let (_, count) = slot.get_or_insert((tag, 0));
            *count = count.saturating_add(1);
        }
    }

    /// The last sentence, and the how-manieth of its kind it is.
    fn end(&self) -> Option<End> {
        self.last.map(|tag| (tag, self.count(tag)))
    }
}

impl Epoch {
    fn new(at: Uptime) -> Self {
        Self {
            time: None,
            date: None,
            names_day: false,
            read_at: at,
            position: None,
            judged: false,
            denied: false,
            witnessed: false,
            indicator: None,
            gsa_mode: None,
            altitude_msl: None,
            geoid_separation: None,
            speed: None,
            course: None,
            hdop: None,
            satellites_used: None,
            accuracy: None,
            is_late: false,
            began: None,
            tags: Tags::default(),
            last_read_at: at,
        }
    }

    fn add(&mut self, sentence: &Sentence, at: Uptime) {
        self.tags.add(sentence.tag);
        self.last_read_at = at;
        self.time = sentence.content.time().or(self.time);
        self.began = self.began.or(self.time);
        self.names_day |= matches!(sentence.content, Content::Rmc(_) | Content::Zda(_));
        match &sentence.content {
            Content::Rmc(rmc) => self.add_rmc(rmc),
            Content::Gga(data) | Content::Gns(data) => self.add_fix_data(data),
            Content::Gll(gll) => self.add_gll(gll),
            Content::Gsa(gsa) => self.add_gsa(gsa),
            Content::Vtg(vtg) => {
                self.speed = vtg.speed.or(self.speed);
                self.course = vtg.course.or(self.course);
            }
            Content::Zda(zda) => self.date = zda.date.map(SaidDate::Full).or(self.date),
            Content::Gst(gst) => self.accuracy = gst.accuracy.or(self.accuracy),
            Content::Gsv(_) | Content::Txt(_) | Content::Other => {}
        }
    }

    fn add_rmc(&mut self, rmc: &Rmc) {
        if !matches!(self.date, Some(SaidDate::Full(_))) {
            self.date = rmc.date.map(SaidDate::Short).or(self.date);
        }
        self.judge(rmc.valid, rmc.position, rmc.mode);
        self.witnessed |= rmc.valid;
        if rmc.valid {
            self.speed = rmc.speed.or(self.speed);
            self.course = rmc.course.or(self.course);
        }
    }

    fn add_fix_data(&mut self, data: &FixData) {
        let valid = data.indicator != Indicator::NoFix;
        self.judge(valid, data.position, Some(data.indicator));
        if valid {
            self.altitude_msl = data.altitude_msl.or(self.altitude_msl);
            self.geoid_separation = data.geoid_separation.or(self.geoid_separation);
        }
        self.hdop = data.hdop.or(self.hdop);
        self.satellites_used = data.satellites_used.or(self.satellites_used);
    }

    fn add_gll(&mut self, gll: &Gll) {
        self.judge(gll.valid, gll.position, gll.mode);
        self.witnessed |= gll.valid;
    }

    fn add_gsa(&mut self, gsa: &Gsa) {
        self.gsa_mode = self.gsa_mode.max(gsa.mode);
        self.hdop = self.hdop.or(gsa.hdop);
    }

    fn judge(&mut self, valid: bool, position: Option<Position>, indicator: Option<Indicator>) {
        (self.judged, self.denied) = (true, !valid);
        if valid && position.is_some() {
            self.position = position;
            self.indicator = self.indicator.max(indicator);
        }
    }

    /// Whether `sentence` speaks of another instant than this epoch.
    fn excludes(&self, sentence: &Sentence) -> bool {
        match (self.began, sentence.content.time()) {
            (Some(ours), Some(theirs)) => theirs.millis_since(ours).abs() > SAME_INSTANT_MS,
            // `GSA` and `VTG` wait for their time; a "no fix" without time does not get the next one's.
            (None, Some(_)) => self.denied,
            (Some(_), None) => sentence.content.is_timed(),
            (None, None) => sentence.content.is_timed() && self.tags.count(sentence.tag) > 0,
        }
    }
}

impl Content {
    /// The time of day that the sentence carries.
    #[must_use]
    pub fn time(&self) -> Option<TimeOfDay> {
        match self {
            Self::Rmc(rmc) => rmc.time,
            Self::Gga(data) | Self::Gns(data) => data.time,
            Self::Gll(gll) => gll.time,
            Self::Zda(zda) => zda.time,
            Self::Gst(gst) => gst.time,
            Self::Gsa(_) | Self::Vtg(_) | Self::Gsv(_) | Self::Txt(_) | Self::Other => None,
        }
    }

    /// Whether sentences of this kind carry a time when the receiver knows it.
    const fn is_timed(&self) -> bool {
        matches!(
            self,
            Self::Rmc(_) | Self::Gga(_) | Self::Gll(_) | Self::Gns(_) | Self::Zda(_) | Self::Gst(_)
        )
    }
}

/// Gathers sentences into epochs.
#[derive(Debug)]
pub struct EpochAssembler {
    open: Option<Epoch>,
    /// The last epoch that was closed with a time, and whether its learnt end closed it.
    closed: Option<(Epoch, Closing)>,
    ender: Ender,
    /// Time from epoch to epoch, by the receiver's own clock.
    period: Option<Duration>,
    /// The longest pause that this receiver has made within an epoch.
    longest_pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The sentence that has ended epochs before.
    Ender,
    /// Nothing came.
    Silence,
    /// The next epoch began, or the input ended.
    Otherwise,
}

/// Whether a sentence came after its epoch was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    InTime,
    /// It makes an epoch of its own, for an instant that has had one.
    Late,
    /// Nobody could tell any more whose it is.
    Lost,
}

impl Default for EpochAssembler {
    fn default() -> Self {
        Self {
            open: None,
            closed: None,
            ender: Ender::new(),
            period: None,
            longest_pause: Duration::ZERO,
        }
    }
}

impl EpochAssembler {
    /// Takes one sentence, of which the first and the last byte were read at these times, and hands on each epoch that it
    /// closes: the one before it, its own, or both. Silence begins with the last byte.
    pub fn push(
        &mut self,
        sentence: &Sentence,
        (at, ended): (Uptime, Uptime),
        mut closed: impl FnMut(Epoch),
    ) {
        if matches!(sentence.content, Content::Gsv(_) | Content::Txt(_) | Content::Other) {
            // It says nothing about a fix, but it says it: the line is not silent.
            if let Some(open) = &mut self.open {
                open.last_read_at = ended;
            }
            return;
        }
        let lateness = match &self.open {
            Some(_) => Lateness::InTime,
            None => self.lateness(sentence, at),
        };
        if lateness == Lateness::Lost {
            return;
        }
        if let Some(epoch) = self.open.take_if(|open| open.excludes(sentence)) {
            self.close(epoch, Closing::Otherwise, &mut closed);
        }
        let mut open = self.open.take().unwrap_or_else(|| Epoch::new(at));
        open.is_late |= lateness == Lateness::Late;
        open.add(sentence, ended);
        if open.time.is_some() && open.tags.end() == self.ender.learnt() {
            self.close(open, Closing::Ender, &mut closed);
        } else {
            self.open = Some(open);
        }
    }

    /// When [`Self::tick`] is due if no sentence arrives before.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        self.open.as_ref().map(|open| open.last_read_at + self.max_silence())
    }

    /// Closes the open epoch if its deadline has passed. Spurious calls do nothing.
    pub fn tick(&mut self, now: Uptime, mut closed: impl FnMut(Epoch)) {
        if self.deadline().is_some_and(|due| now >= due)
            && let Some(epoch) = self.open.take()
        {
            self.close(epoch, Closing::Silence, &mut closed);
        }
    }

    /// Closes the open epoch: the input has ended, or its device is gone.
    pub fn finish(&mut self, mut closed: impl FnMut(Epoch)) {
        if let Some(epoch) = self.open.take() {
            // It may lack sentences, so it teaches nothing about the end.
            closed(epoch);
        }
    }

    /// Judges what arrives while no epoch is open: whether it belongs to the one that was just closed. The gate refuses
    /// a late epoch if it has already accepted the one that it belongs to.
    fn lateness(&mut self, sentence: &Sentence, at: Uptime) -> Lateness {
        let Some((epoch, closing)) = &self.closed else { return Lateness::InTime };
        let pause = at.since(epoch.last_read_at);
        let same_instant = match (epoch.time, sentence.content.time()) {
            (Some(ours), Some(theirs)) => theirs.millis_since(ours).abs() <= SAME_INSTANT_MS,
            (_, None) => !sentence.content.is_timed() && pause < self.max_silence(),
            (None, Some(_)) => false,
        };
        // The same sentence once more is a receiver that repeats itself, and no reason to learn.
        if !same_instant || epoch.tags.count(sentence.tag) > 0 && sentence.content.is_timed() {
            return Lateness::InTime;
        }
        match closing {
            Closing::Ender => self.ender.was_wrong(),
            Closing::Silence => self.longest_pause = self.longest_pause.max(pause),
            Closing::Otherwise => {}
        }
        match (closing, sentence.content.is_timed()) {
            (_, true) => Lateness::Late,
            // Without a time it would pass for the next epoch's.
            (Closing::Ender, false) => Lateness::Lost,
            (Closing::Silence | Closing::Otherwise, false) => Lateness::InTime,
        }
    }

    fn close(&mut self, epoch: Epoch, closing: Closing, closed: &mut impl FnMut(Epoch)) {
        if let (Some((before, _)), Some(time)) = (&self.closed, epoch.time)
            && let Some(before) = before.time
        {
            let period_ms = u64::try_from(time.millis_since(before))
                .ok()
                .filter(|ms| (20..=60_000).contains(ms));
            self.period = period_ms.map(Duration::from_millis).or(self.period);
        }
        if epoch.time.is_some() {
            self.ender.observe(epoch.tags.end(), epoch.read_at);
            self.closed = Some((epoch, closing));
        }
        closed(epoch);
    }

    /// Three tenths of the period; longer for a receiver that pauses within an epoch.
    fn max_silence(&self) -> Duration {
        let Some(period) = self.period else { return DEFAULT_SILENCE };
        let usual = (period * 3 / 10).clamp(Duration::from_millis(30), DEFAULT_SILENCE);
        usual.max(self.longest_pause * 5 / 4).min(period * 8 / 10).max(Duration::from_millis(30))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentence::tests::sentence;
    use super::*;

    /// Feeds (ms, sentence) and ticks in between; returns (ms of closing, time of day in s, has a speed).
    fn closings(script: &[(u64, String)]) -> Vec<(u64, Option<u32>, bool)> {
        let mut assembler = EpochAssembler::default();
        let mut closed = Vec::new();
        for (at, body) in script {
            let at = Uptime::from_millis(*at);
            while let Some(due) = assembler.deadline().filter(|due| *due <= at) {
                assembler.tick(due, |epoch| closed.push((due, epoch)));
            }
            assembler.push(&sentence(body), (at, at), |epoch| closed.push((at, epoch)));
        }
        let seconds = |epoch: &Epoch| epoch.time.map(|time| time.as_millis() / 1000);
        let ms = |at: Uptime| u64::try_from(at.since_start().as_millis()).unwrap();
        closed.iter().map(|(at, epoch)| (ms(*at), seconds(epoch), epoch.speed.is_some())).collect()
    }

    fn rmc(second: u32) -> String {
        format!("GNRMC,0000{second:02}.00,A,4800.0,N,01100.0,E,10.0,90.0,221126,,,A")
    }

    fn gga(second: u32) -> String {
        format!("GNGGA,0000{second:02}.00,4800.0,N,01100.0,E,1,08,1.0,500.0,M,47.0,M,,")
    }

    const GSA: &str = "GNGSA,A,3,,,,,,,,,,,,,1.8,1.0,1.5";

    #[test]
    fn the_learnt_last_sentence_ends_an_epoch_at_once() {
        let script: Vec<_> = (0..6_u32)
            .flat_map(|s| {
                let at = u64::from(s) * 1000;
                [
                    (at, rmc(s)),
                    (at + 50, gga(s)),
                    (at + 90, GSA.to_owned()),
                    (at + 120, GSA.to_owned()),
                ]
            })
            .collect();
        let closings = closings(&script);
        // Silence ends the first three, 400 ms and then 300 ms after their last sentence.
        assert_eq!(
            closings[..3],
            [(520, Some(0), true), (1520, Some(1), true), (2420, Some(2), true)]
        );
        assert_eq!(
            closings[3..],
            [(3120, Some(3), true), (4120, Some(4), true), (5120, Some(5), true)]
        );
    }

    #[test]
    fn an_epoch_without_its_last_sentence_ends_by_silence() {
        let mut script: Vec<_> = (0..5)
            .flat_map(|s| [(u64::from(s) * 1000, gga(s)), (u64::from(s) * 1000 + 40, rmc(s))])
            .collect();
        script.push((5000, gga(5)));
        script.push((6000, gga(6)));
        let closings = closings(&script);
        assert_eq!(closings[4], (4040, Some(4), true));
        assert_eq!(closings[5], (5300, Some(5), false));
    }

    #[test]
    fn a_receiver_that_pauses_within_its_epochs_is_waited_for() {
        let script: Vec<_> = (0..8)
            .flat_map(|s| [(u64::from(s) * 1000, gga(s)), (u64::from(s) * 1000 + 500, rmc(s))])
            .collect();
        let closings = closings(&script);
        let (_, second, whole) = closings.last().unwrap();
        assert_eq!((*second, *whole), (Some(7), true), "{closings:?}");
        assert_eq!(
            closings.iter().filter(|(_, second, _)| *second == Some(6)).count(),
            1,
            "{closings:?}"
        );
    }

    #[test]
    fn sentences_that_come_once_a_second_are_not_cut_off_at_ten_hertz() {
        let tenth = |t: u64| {
            format!(
                "GNGGA,0000{:02}.{}0,4800.0,N,01100.0,E,1,08,1.0,500.0,M,47.0,M,,",
                t / 10,
                t % 10
            )
        };
        let script: Vec<_> = (0..200)
            .flat_map(|t| {
                let once =
                    (t % 10 == 0).then(|| (t * 100 + 10, rmc(u32::try_from(t / 10).unwrap())));
                [Some((t * 100, tenth(t))), once].into_iter().flatten()
            })
            .collect();
        let with_speed = closings(&script).iter().filter(|(_, _, speed)| *speed).count();
        assert_eq!(with_speed, 20);
    }

    #[test]
    fn a_no_fix_without_time_ends_the_epoch_and_is_no_part_of_the_next() {
        let script =
            [(0, rmc(0)), (20, "GNRMC,,V,,,,,,,,,,N".to_owned()), (900, rmc(9)), (1900, rmc(10))];
        let closings = closings(&script);
        assert_eq!(closings[0], (20, Some(0), true));
        assert_eq!(closings[1], (420, None, false));
        assert_eq!(closings[2].1, Some(9));
    }

    #[test]
    fn times_within_ten_milliseconds_are_one_instant() {
        let gll = "GNGLL,4800.0,N,01100.0,E,000000.303,A,A".to_owned();
        let gga = "GNGGA,000000.30,4800.0,N,01100.0,E,1,08,1.0,500.0,M,47.0,M,,".to_owned();
        assert_eq!(closings(&[(0, gll), (10, gga), (1000, rmc(1))]).len(), 1);
    }

    #[test]
    fn course_and_speed_before_the_first_time_belong_to_the_epoch_that_follows() {
        let vtg = "GPVTG,90.0,T,,M,10.0,N,18.5,K,A".to_owned();
        let closings = closings(&[(0, vtg), (30, gga(0)), (1000, gga(1)), (2000, gga(2))]);
        assert_eq!(closings[..2], [(430, Some(0), true), (1400, Some(1), false)]);
    }
}
