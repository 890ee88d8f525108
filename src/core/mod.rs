//! ② THINK: bytes and time in, records out. Pure: no IO, no clock, no tokio, no random numbers.
//!
//! ```text
//! bytes → framing → sentence → epoch → fix ─ may it be kept? → journey → sampling → record
//!                                                                 └→ delivery → event
//! ```
//!
//! Time is an argument, so live and replay give the same records, and a test can drive a day in a millisecond.

mod accepted;
pub mod calendar;
pub mod delivery;
mod ender;
pub mod epoch;
mod fields;
pub mod fix;
pub mod framing;
pub mod gate;
pub mod journey;
pub mod notice;
pub mod parcel;
pub mod record;
pub mod sampling;
pub mod sentence;
pub mod sky;
pub mod trust;
pub mod ubx;
mod whereabouts;

use crate::units::{Uptime, UtcTime};
use accepted::Accepted;
use calendar::Era;
use delivery::{Delivery, Happenings};
use epoch::{Epoch, EpochAssembler};
use fix::Fix;
use framing::{Framer, FramingCounters};
use gate::{Gate, Rejection, RejectionCounters, Verdict};
use journey::{Journey, JourneyConfig, JourneyState};
use notice::Notices;
use record::{Record, Seq, Subject, TrackPoint};
use sampling::{Sampler, Sampling};
use sentence::{Content, Refusal, Sentence};
use sky::{Sky, SkyView};
use trust::TimeTrust;

/// How the pipeline thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// What is known of the date beforehand.
    pub era: Era,
    /// When driving begins and ends.
    pub journey: JourneyConfig,
    /// Which points are kept.
    pub sampling: Sampling,
}

/// What came out since it was last emptied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Every accepted fix in order, as the receiver gave it.
    pub fixes: Vec<Fix>,
    /// The points that they became, kept or not: for the live lane.
    pub points: Vec<(Seq, TrackPoint)>,
    /// What the outbox must keep.
    pub records: Vec<Record>,
    /// What happened to the parcels, and what must be kept with it.
    pub happenings: Happenings,
}

impl Output {
    fn keep(&mut self, seq: Seq, point: TrackPoint) {
        self.records.push(Record { seq, subject: Subject::Point(point) });
    }
}

/// What the pipeline has seen of the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// Bytes and lines.
    pub framing: FramingCounters,
    /// Lines without envelope.
    pub bad_envelope: u64,
    /// Lines with a wrong checksum.
    pub bad_checksum: u64,
    /// Epochs that are no fix.
    pub rejected: RejectionCounters,
    /// The newest fix; `None` before the first.
    pub newest: Option<Fix>,
    /// Whether the newest epoch that said so was a fix.
    pub has_fix: bool,
    /// Whether the time of the fixes can be relied on.
    pub time: TimeTrust,
    /// What the antenna sees.
    pub sky: SkyView,
    /// What the receiver says of itself.
    pub notices: Notices,
    /// When the newest sentence came; `None` before the first.
    pub sentence_at: Option<Uptime>,
}

/// The only place where the stages meet.
#[derive(Debug)]
pub struct Pipeline {
    framer: Framer,
    lines: Lines,
}

/// Everything behind the framing.
#[derive(Debug)]
struct Lines {
    epochs: EpochAssembler,
    bad_envelope: u64,
    bad_checksum: u64,
    sky: Sky,
    notices: Notices,
    /// When the newest line came.
    newest_at: Uptime,
    fixes: Fixes,
    /// Rises with each change of [`Reception`] but for the bytes.
    revision: u64,
}

/// Everything behind the epochs.
#[derive(Debug)]
struct Fixes {
    gate: Gate,
    accepted: Accepted,
    has_fix: bool,
}

impl Pipeline {
    /// Numbers records from `first_seq` on, and goes on with the journey where `journey` stopped.
    #[must_use]
    pub fn new(config: PipelineConfig, first_seq: Seq, journey: JourneyState) -> Self {
        let accepted = Accepted::new(
            Journey::new(config.journey, journey),
            Sampler::new(config.sampling),
            first_seq,
        );
        let fixes = Fixes { gate: Gate::new(config.era), accepted, has_fix: false };
        let lines = Lines {
            epochs: EpochAssembler::default(),
            bad_envelope: 0,
            bad_checksum: 0,
            sky: Sky::default(),
            notices: Notices::default(),
            newest_at: Uptime::ZERO,
            fixes,
            revision: 0,
        };
        Self { framer: Framer::default(), lines }
    }

    /// With parcels on board.
    #[must_use]
    pub fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.lines.fixes.accepted.delivery = Some(delivery);
        self
    }

    /// Tells the delivery something, and numbers what happens by it. `None` for a pipeline that has none.
    pub fn deliver<T>(
        &mut self,
        out: &mut Output,
        tell: impl FnOnce(&mut Delivery, &mut Happenings) -> T,
    ) -> Option<T> {
        self.lines.revision += 1;
        self.lines.fixes.accepted.deliver(out, tell)
    }

    /// How the delivery is.
    #[must_use]
    pub const fn delivery(&self) -> Option<&Delivery> {
        self.lines.fixes.accepted.delivery.as_ref()
    }

    /// Whether nobody may know where the van is: off duty, or at a private place.
    #[must_use]
    pub fn withholds(&self) -> bool {
        self.lines.fixes.accepted.withholds()
    }

    /// Notes what the host's clock shows at `at`. It may be wrong, and is believed only where the receiver bears it out.
    pub const fn observe_host_clock(&mut self, utc: UtcTime, at: Uptime) {
        self.lines.fixes.gate.observe_host(utc, at);
    }

    /// Takes bytes that were read at `at`. A deadline before `at` passes first, also when nobody called [`Self::tick`].
    pub fn push(&mut self, bytes: &[u8], at: Uptime, out: &mut Output) {
        self.tick(at, out);
        let Self { framer, lines } = self;
        framer.push(bytes, at, |line, began| lines.push(line, (began, at), out));
    }

    /// When [`Self::tick`] is due if no bytes arrive before.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        let Lines { epochs, fixes, .. } = &self.lines;
        epochs.deadline().into_iter().chain(fixes.accepted.deadline()).min()
    }

    /// Lets time pass. Spurious calls do nothing.
    pub fn tick(&mut self, now: Uptime, out: &mut Output) {
        let Lines { epochs, fixes, revision, .. } = &mut self.lines;
        epochs.tick(now, |epoch| {
            *revision += 1;
            fixes.push(&epoch, out);
        });
        *revision += u64::from(fixes.accepted.tick(now, out));
    }

    /// The receiver is gone: what it began to say is all that it will say.
    pub fn interrupt(&mut self, at: Uptime, out: &mut Output) {
        self.tick(at, out);
        let Self { framer, lines } = self;
        framer.finish(|line, began| lines.push(line, (began, began), out));
        lines.epochs.finish(|epoch| lines.fixes.push(&epoch, out));
        lines.fixes.accepted.finish(out);
        lines.fixes.has_fix = false;
        (lines.sky, lines.notices) = (Sky::default(), Notices::default());
        lines.revision += 1;
    }

    /// The input has ended for good.
    pub fn finish(&mut self, out: &mut Output) {
        let Self { framer, lines } = self;
        framer.finish(|line, began| lines.push(line, (began, began), out));
        lines.epochs.finish(|epoch| lines.fixes.push(&epoch, out));
        lines.fixes.finish(out);
        lines.revision += 1;
    }

    /// What must be committed together with the records.
    #[must_use]
    pub fn state(&self) -> JourneyState {
        self.lines.fixes.accepted.journey_state()
    }

    /// Rises when something has changed that [`Self::reception`] tells, the number of bytes aside.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.lines.revision + self.framer.counters().broken
    }

    /// What has been seen of the receiver.
    #[must_use]
    pub fn reception(&self) -> Reception {
        let Lines { fixes, bad_envelope, bad_checksum, sky, notices, newest_at, .. } = &self.lines;
        Reception {
            framing: self.framer.counters(),
            bad_envelope: *bad_envelope,
            bad_checksum: *bad_checksum,
            rejected: fixes.gate.counters(),
            newest: fixes.accepted.newest_to_show(),
            has_fix: fixes.has_fix,
            time: fixes.accepted.time,
            sky: sky.view(*newest_at),
            notices: notices.at(*newest_at),
            sentence_at: (*newest_at > Uptime::ZERO).then_some(*newest_at),
        }
    }
}

impl Reception {
    /// Lines that are no sentence.
    #[must_use]
    pub const fn sentences_bad(&self) -> u64 {
        self.framing.broken + self.bad_envelope + self.bad_checksum
    }

    /// Lines that are one.
    #[must_use]
    pub const fn sentences(&self) -> u64 {
        self.framing.lines.saturating_sub(self.bad_envelope + self.bad_checksum)
    }

    /// Whether fixes come and wait for the receiver to say the day.
    #[must_use]
    pub const fn waits_for_date(&self) -> bool {
        self.has_fix && self.newest.is_none()
    }
}

impl Lines {
    /// The first and the last byte of `line` were read at these times.
    fn push(&mut self, line: &[u8], (at, ended): (Uptime, Uptime), out: &mut Output) {
        let sentence = match Sentence::parse(line) {
            Ok(sentence) => sentence,
            Err(refusal) => {
                match refusal {
                    Refusal::Envelope => self.bad_envelope += 1,
                    Refusal::Checksum => self.bad_checksum += 1,
                }
                self.revision += 1;
                return;
            }
        };
        self.newest_at = ended;
        match &sentence.content {
            Content::Gsv(gsv) => self.sky.observe_view(gsv, at),
            Content::Gsa(gsa) => self.sky.observe_use(gsa, at),
            Content::Txt(txt) => self.revision += u64::from(self.notices.observe(txt, at)),
            _ => {}
        }
        self.epochs.push(&sentence, (at, ended), |epoch| {
            self.revision += 1;
            self.fixes.push(&epoch, out);
        });
    }
}

impl Fixes {
    fn push(&mut self, epoch: &Epoch, out: &mut Output) {
        let verdict = self.judge(out, |gate, accept| gate.push(epoch, accept));
        match verdict {
            Verdict::Accepted => self.has_fix = true,
            // A late sentence of the last fix, or a receiver that repeats itself: its age tells.
            Verdict::Silent | Verdict::Rejected(Rejection::Repeated) => {}
            Verdict::Rejected(_) => self.has_fix = false,
        }
    }

    fn finish(&mut self, out: &mut Output) {
        self.judge(out, |gate, accept| gate.finish(accept));
        self.accepted.finish(out);
    }

    /// Lets the gate judge, and hands on each fix that it accepts.
    fn judge<T>(
        &mut self,
        out: &mut Output,
        judge: impl FnOnce(&mut Gate, &mut dyn FnMut(Fix)) -> T,
    ) -> T {
        let Self { gate, accepted, .. } = self;
        judge(gate, &mut |fix| accepted.observe(fix, out))
    }
}
