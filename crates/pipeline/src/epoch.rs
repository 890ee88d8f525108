//! Assembles the sentences of one measurement epoch.
//!
//! NMEA 0183 does not mark the end of an epoch. The learned boundary sentence, silence, or a
//! sentence with a different time of day closes it. A fix is therefore available as soon as its
//! last sentence arrives, and the last fix before a tunnel is not delayed until the exit.
//!
//! - Times that differ by at most [`SAME_INSTANT_MS`] belong to one epoch: some receivers round the
//!   time per sentence.
//! - `GSA` and `VTG` carry no time. They belong to the open epoch or, before its first timed
//!   sentence, to the next. `VtgOrderLearner` finds out whether a `VTG` begins an epoch.
//! - A timed sentence type with an empty time field reports that there is no fix. It closes a timed
//!   epoch and is not part of it.

use std::time::Duration;

use super::epoch_boundary::{BoundarySentence, EpochBoundaryLearner};
pub use super::sentence::SAME_INSTANT_MS;
use super::sentence::{Content, FixData, Gll, Gsa, PosMode, Rmc, Sentence, SentenceId, ShortDate};
use super::vtg_order::VtgOrderLearner;
use waypost_model::units::{
    Course, Date, Distance, Dop, Height, Position, Speed, TimeOfDay, Uptime,
};

/// Silence that closes an epoch while the receiver's period is unknown.
const DEFAULT_SILENCE: Duration = Duration::from_millis(400);

/// Period of a receiver whose period is unknown.
const DEFAULT_PERIOD: Duration = Duration::from_secs(2);

/// Maximum number of sentence types per epoch. One observed receiver sends 14.
const MAX_SENTENCE_KINDS: usize = 16;

/// All data that the receiver reported for one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Time of day; `None` if the receiver does not know it.
    pub time: Option<TimeOfDay>,
    pub date: ReportedDates,
    /// Read time of the first byte of the first sentence with a time.
    pub read_at: Uptime,
    /// Position from a sentence with a valid status.
    pub position: Option<Position>,
    /// Evidence of all sentences for and against a fix.
    pub fix_status: FixStatus,
    /// `RMC` or `GLL` reported a valid position, not only `GGA` or `GNS`.
    pub valid_by_rmc_or_gll: bool,
    /// Best positioning mode of all sentences.
    pub pos_mode: Option<PosMode>,
    /// GSA field 2, best value of all constellations.
    pub gsa_mode: Option<u8>,
    /// Above mean sea level.
    pub altitude_msl: Option<Height>,
    /// Height of the geoid above the ellipsoid.
    pub geoid_separation: Option<Height>,
    /// Speed and course of `RMC`, over ground.
    rmc_speed: Option<Speed>,
    rmc_course: Option<Course>,
    /// Speed and course of `VTG`.
    vtg_speed: Option<Speed>,
    vtg_course: Option<Course>,
    /// Horizontal dilution of precision.
    pub hdop: Option<Dop>,
    /// The receiver reports a geometry that it cannot use.
    pub has_bad_hdop: bool,
    /// Satellites used in the solution.
    pub satellites_used: Option<u8>,
    /// 68 % horizontal radius from the receiver's error statistics (`GST`).
    pub accuracy: Option<Distance>,
    /// The epoch consists of sentences that arrived after the epoch of the same instant was closed.
    pub is_late: bool,
    /// First reported time. Sentences with a different time do not belong to this epoch.
    first_time: Option<TimeOfDay>,
    sentence_counts: SentenceCounts,
    last_read_at: Uptime,
}

/// A date with or without its century.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportedDate {
    Short(ShortDate),
    Full(Date),
}

/// Dates of one epoch. They may disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedDates {
    pub rmc: Option<ReportedDate>,
    pub zda: Option<ReportedDate>,
}

impl ReportedDates {
    /// Returns whether no sentence has a date.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.rmc.is_none() && self.zda.is_none()
    }
}

/// What the sentences of an epoch report about the fix. Their order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixStatus {
    /// A sentence reports a fix with a position.
    has_fix: bool,
    /// A sentence reports that a position is not valid: it knows the position and rejects it.
    rejects_position: bool,
    /// A sentence without position reports that there is no fix. It may be of another receiver on
    /// the line, which cannot know about this one.
    knows_no_position: bool,
}

impl FixStatus {
    fn add(&mut self, valid: bool, has_position: bool) {
        match (valid, has_position) {
            (true, true) => self.has_fix = true,
            (false, true) => self.rejects_position = true,
            (false, false) => self.knows_no_position = true,
            (true, false) => {}
        }
    }

    /// Returns whether any sentence reports a status.
    #[must_use]
    pub const fn is_reported(self) -> bool {
        self.has_fix || self.rejects_position || self.knows_no_position
    }

    /// Returns whether the epoch has a fix.
    #[must_use]
    pub const fn is_fix(self) -> bool {
        self.has_fix && !self.rejects_position
    }
}

/// Number of sentences per type in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct SentenceCounts {
    counts: [Option<(SentenceId, u8)>; MAX_SENTENCE_KINDS],
    last: Option<SentenceId>,
}

impl SentenceCounts {
    fn count(&self, tag: SentenceId) -> u8 {
        self.counts.iter().flatten().find(|(known, _)| *known == tag).map_or(0, |(_, count)| *count)
    }

    fn add(&mut self, tag: SentenceId) {
        self.last = Some(tag);
        let slot = self.counts.iter_mut().find(|slot| slot.is_none_or(|(known, _)| known == tag));
        if let Some(slot) = slot {
            let (_, count) = slot.get_or_insert((tag, 0));
            *count = count.saturating_add(1);
        }
    }

    /// The last sentence type and its ordinal.
    fn last_sentence(&self) -> Option<BoundarySentence> {
        self.last.map(|tag| (tag, self.count(tag)))
    }
}

impl Epoch {
    fn new(at: Uptime) -> Self {
        Self {
            time: None,
            date: ReportedDates::default(),
            read_at: at,
            position: None,
            fix_status: FixStatus::default(),
            valid_by_rmc_or_gll: false,
            pos_mode: None,
            gsa_mode: None,
            altitude_msl: None,
            geoid_separation: None,
            rmc_speed: None,
            rmc_course: None,
            vtg_speed: None,
            vtg_course: None,
            hdop: None,
            has_bad_hdop: false,
            satellites_used: None,
            accuracy: None,
            is_late: false,
            first_time: None,
            sentence_counts: SentenceCounts::default(),
            last_read_at: at,
        }
    }

    fn add(&mut self, sentence: &Sentence, (at, ended): (Uptime, Uptime)) {
        self.sentence_counts.add(sentence.id);
        self.last_read_at = ended;
        if self.first_time.is_none() {
            self.read_at = at;
        }
        self.time = sentence.content.time().or(self.time);
        self.first_time = self.first_time.or(self.time);
        match &sentence.content {
            Content::Rmc(rmc) => self.add_rmc(rmc),
            Content::Gga(data) | Content::Gns(data) => self.add_fix_data(data),
            Content::Gll(gll) => self.add_gll(gll),
            Content::Gsa(gsa) => self.add_gsa(gsa),
            Content::Vtg(vtg) => {
                self.vtg_speed = vtg.speed.or(self.vtg_speed);
                self.vtg_course = vtg.course.or(self.vtg_course);
            }
            Content::Zda(zda) => {
                let full = zda.date.map(ReportedDate::Full);
                let date = full.or(zda.short_date.map(ReportedDate::Short));
                self.date.zda = date.or(self.date.zda);
            }
            Content::Gst(gst) => self.accuracy = gst.accuracy.or(self.accuracy),
            Content::Gsv(_) | Content::Txt(_) | Content::Other => {}
        }
    }

    fn add_rmc(&mut self, rmc: &Rmc) {
        self.date.rmc = rmc.date.map(ReportedDate::Short).or(self.date.rmc);
        self.apply_status(rmc.valid, rmc.position, rmc.mode);
        self.valid_by_rmc_or_gll |= rmc.valid;
        if rmc.valid {
            self.rmc_speed = rmc.speed.or(self.rmc_speed);
            self.rmc_course = rmc.course.or(self.rmc_course);
        }
    }

    fn add_fix_data(&mut self, data: &FixData) {
        let valid = data.pos_mode != PosMode::NoFix;
        self.apply_status(valid, data.position, Some(data.pos_mode));
        if valid {
            self.altitude_msl = data.altitude_msl.or(self.altitude_msl);
            self.geoid_separation = data.geoid_separation.or(self.geoid_separation);
        }
        if valid || !self.fix_status.has_fix {
            self.hdop = data.hdop.or(self.hdop);
            self.satellites_used = data.satellites_used.or(self.satellites_used);
        }
        self.has_bad_hdop |= valid && data.has_bad_hdop;
    }

    fn add_gll(&mut self, gll: &Gll) {
        self.apply_status(gll.valid, gll.position, gll.mode);
        self.valid_by_rmc_or_gll |= gll.valid;
    }

    fn add_gsa(&mut self, gsa: &Gsa) {
        self.gsa_mode = self.gsa_mode.max(gsa.mode);
        self.hdop = self.hdop.or(gsa.hdop);
    }

    fn apply_status(&mut self, valid: bool, position: Option<Position>, pos_mode: Option<PosMode>) {
        self.fix_status.add(valid, position.is_some());
        if valid && position.is_some() {
            self.position = position;
            self.pos_mode = self.pos_mode.max(pos_mode);
        }
    }

    /// Speed over ground: that of `RMC`, which has the time of its epoch, else that of `VTG`.
    #[must_use]
    pub fn speed(&self) -> Option<Speed> {
        self.rmc_speed.or(self.vtg_speed)
    }

    /// Course over ground, true.
    #[must_use]
    pub fn course(&self) -> Option<Course> {
        self.rmc_course.or(self.vtg_course)
    }

    /// Whether `sentence` belongs to another instant than this epoch.
    fn excludes(&self, sentence: &Sentence) -> bool {
        match (self.first_time, sentence.content.time()) {
            (Some(ours), Some(theirs)) => theirs.millis_since(ours).abs() > SAME_INSTANT_MS,
            // `GSA` and `VTG` wait for a time. A "no fix" without a time must not adopt the next
            // epoch's.
            (None, Some(_)) => self.fix_status.is_reported() && !self.fix_status.has_fix,
            (Some(_), None) => sentence.content.is_timed(),
            (None, None) => {
                sentence.content.is_timed() && self.sentence_counts.count(sentence.id) > 0
            }
        }
    }
}

impl Content {
    /// Time of day carried by the sentence.
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

    /// Whether sentences of this type carry a time if the receiver knows it.
    const fn is_timed(&self) -> bool {
        matches!(
            self,
            Self::Rmc(_) | Self::Gga(_) | Self::Gll(_) | Self::Gns(_) | Self::Zda(_) | Self::Gst(_)
        )
    }
}

/// Groups sentences into epochs.
#[derive(Debug)]
pub struct EpochAssembler {
    open: Option<Epoch>,
    /// The last closed epoch with a time, and how it was closed.
    closed: Option<(Epoch, EpochEnd)>,
    boundary: EpochBoundaryLearner,
    /// Interval between epochs, by the receiver's clock.
    period: Option<Duration>,
    /// Longest observed pause within an epoch.
    longest_pause: Duration,
    vtg_order: VtgOrderLearner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EpochEnd {
    /// The learned boundary sentence arrived.
    Boundary,
    /// No sentence arrived within the silence limit.
    Silence,
    /// The next epoch started, or the input ended.
    Other,
}

/// Whether a sentence arrived after its epoch was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    OnTime,
    /// The sentence opens a second epoch for the same instant.
    Late,
    /// The sentence has no time, so its epoch is unknown. It is dropped.
    Unassignable,
}

impl Default for EpochAssembler {
    fn default() -> Self {
        Self {
            open: None,
            closed: None,
            boundary: EpochBoundaryLearner::new(),
            period: None,
            longest_pause: Duration::ZERO,
            vtg_order: VtgOrderLearner::default(),
        }
    }
}

impl EpochAssembler {
    /// Processes one sentence and passes each closed epoch to `closed`: the previous one, its own,
    /// or both. The two times are the read times of the sentence's first and last byte. Silence is
    /// measured from the last.
    pub fn push(
        &mut self,
        sentence: &Sentence,
        (at, ended): (Uptime, Uptime),
        mut closed: impl FnMut(Epoch),
    ) {
        if matches!(sentence.content, Content::Gsv(_) | Content::Txt(_) | Content::Other) {
            // The sentence carries no fix data, but it ends the silence on the line.
            if let Some(open) = &mut self.open {
                open.last_read_at = ended;
            }
            return;
        }
        if self.vtg_order.observe(sentence, at) {
            // The boundary was learned from epochs that were cut at the wrong place.
            self.boundary.reset();
        }
        let leads = self.vtg_order.leads(sentence, |id| {
            let open = self.open.as_ref().filter(|open| open.time.is_some());
            open.is_none_or(|open| open.sentence_counts.count(id) > 0)
        });
        if leads && let Some(epoch) = self.open.take_if(|open| open.time.is_some()) {
            self.close(epoch, EpochEnd::Other, &mut closed);
        }
        let lateness = match &self.open {
            Some(_) => Lateness::OnTime,
            None if leads => Lateness::OnTime,
            None => self.lateness(sentence, at),
        };
        if lateness == Lateness::Unassignable {
            return;
        }
        if let Some(epoch) = self.open.take_if(|open| open.excludes(sentence)) {
            self.close(epoch, EpochEnd::Other, &mut closed);
        }
        let mut open = self.open.take().unwrap_or_else(|| Epoch::new(at));
        open.is_late |= lateness == Lateness::Late;
        open.add(sentence, (at, ended));
        if open.time.is_some() && open.sentence_counts.last_sentence() == self.boundary.boundary() {
            self.close(open, EpochEnd::Boundary, &mut closed);
        } else {
            self.open = Some(open);
        }
    }

    /// Time at which [`Self::tick`] is due if no sentence arrives earlier.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        self.open.as_ref().map(|open| {
            let is_head = open.time.is_none() && !open.fix_status.is_reported();
            // A recording has the time of an epoch from its first timed sentence on. The head of an
            // epoch before it therefore seems to be followed by the pause.
            let silence = match is_head && self.vtg_order.is_leading() {
                true => self.period.unwrap_or(DEFAULT_PERIOD) * 3 / 2,
                false => self.max_silence(),
            };
            open.last_read_at + silence
        })
    }

    /// Closes the open epoch if its deadline has passed. Other calls have no effect.
    pub fn tick(&mut self, now: Uptime, mut closed: impl FnMut(Epoch)) {
        if self.deadline().is_some_and(|due| now >= due)
            && let Some(epoch) = self.open.take()
        {
            self.close(epoch, EpochEnd::Silence, &mut closed);
        }
    }

    /// Closes the open epoch at the end of the input or when the device disconnects.
    pub fn finish(&mut self, mut closed: impl FnMut(Epoch)) {
        if let Some(epoch) = self.open.take() {
            // The epoch may be incomplete, so it is not used for learning.
            closed(epoch);
        }
    }

    /// Classifies a sentence that arrives while no epoch is open: it may belong to the epoch just
    /// closed. The fix filter rejects a late epoch if it already accepted the one it belongs to.
    fn lateness(&mut self, sentence: &Sentence, at: Uptime) -> Lateness {
        let Some((epoch, closing)) = &self.closed else { return Lateness::OnTime };
        let pause = at.since(epoch.last_read_at);
        let same_instant = match (epoch.time, sentence.content.time()) {
            (Some(ours), Some(theirs)) => theirs.millis_since(ours).abs() <= SAME_INSTANT_MS,
            (_, None) => !sentence.content.is_timed() && pause < self.max_silence(),
            (None, Some(_)) => false,
        };
        // A repeated sentence indicates a receiver that repeats itself and is not used for
        // learning.
        if !same_instant
            || epoch.sentence_counts.count(sentence.id) > 0 && sentence.content.is_timed()
        {
            return Lateness::OnTime;
        }
        match closing {
            EpochEnd::Boundary => self.boundary.reset(),
            EpochEnd::Silence => self.longest_pause = self.longest_pause.max(pause),
            EpochEnd::Other => {}
        }
        match (closing, sentence.content.is_timed()) {
            (_, true) => Lateness::Late,
            // Without a time, the sentence would be assigned to the next epoch.
            (EpochEnd::Boundary, false) => Lateness::Unassignable,
            (EpochEnd::Silence | EpochEnd::Other, false) => Lateness::OnTime,
        }
    }

    fn close(&mut self, epoch: Epoch, closing: EpochEnd, closed: &mut impl FnMut(Epoch)) {
        if let (Some((before, _)), Some(time)) = (&self.closed, epoch.time)
            && let Some(before) = before.time
        {
            let period_ms = u64::try_from(time.millis_since(before))
                .ok()
                .filter(|ms| (20..=60_000).contains(ms));
            self.period = period_ms.map(Duration::from_millis).or(self.period);
        }
        if epoch.time.is_some() {
            self.boundary.observe(epoch.sentence_counts.last_sentence(), epoch.read_at);
            self.closed = Some((epoch, closing));
        }
        closed(epoch);
    }

    /// Silence that closes an epoch: 30 % of the period, or more for a receiver that pauses within
    /// epochs.
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

    /// Feeds `(ms, sentence)` pairs with ticks in between. Returns (closing ms, time of day in s,
    /// has speed).
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
        closed
            .iter()
            .map(|(at, epoch)| (ms(*at), seconds(epoch), epoch.speed().is_some()))
            .collect()
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
        // Silence closes the first three, 400 ms and then 300 ms after their last sentence.
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
