//! ② THINK: bytes and time in, records out. Pure: no IO, no clock, no tokio, no random numbers.
//!
//! ```text
//! bytes → framing → sentence → epoch → fix → journey → sampling → record
//! ```
//!
//! Time is an argument, so live and replay give the same records, and a test can drive a day in a millisecond.

pub mod calendar;
mod ender;
pub mod epoch;
mod fields;
pub mod fix;
pub mod framing;
pub mod journey;
pub mod record;
pub mod sampling;
pub mod sentence;

use crate::units::Uptime;
use calendar::Era;
use epoch::{Epoch, EpochAssembler};
use fix::{Fix, Gate, Rejection, RejectionCounters, Verdict};
use framing::{Framer, FramingCounters};
use journey::{Journey, JourneyConfig, JourneyState};
use record::{Record, Seq, Subject, TrackPoint};
use sampling::Sampling;
use sentence::{Refusal, Sentence};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Every accepted fix in order, kept or not: for the live lane.
    pub points: Vec<(Seq, TrackPoint)>,
    /// What the outbox must keep.
    pub records: Vec<Record>,
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
    fixes: Fixes,
}

/// Everything behind the epochs.
#[derive(Debug)]
struct Fixes {
    gate: Gate,
    journey: Journey,
    sampling: Sampling,
    next_seq: Seq,
    newest: Option<Fix>,
    has_fix: bool,
}

impl Pipeline {
    /// Numbers records from `first_seq` on, and goes on with the journey where `journey` stopped.
    #[must_use]
    pub fn new(config: PipelineConfig, first_seq: Seq, journey: JourneyState) -> Self {
        let fixes = Fixes {
            gate: Gate::new(config.era),
            journey: Journey::new(config.journey, journey),
            sampling: config.sampling,
            next_seq: first_seq,
            newest: None,
            has_fix: false,
        };
        let lines =
            Lines { epochs: EpochAssembler::default(), bad_envelope: 0, bad_checksum: 0, fixes };
        Self { framer: Framer::default(), lines }
    }

    /// Takes bytes that were read at `at`. A deadline before `at` passes first, also when nobody called [`Self::tick`].
    pub fn push(&mut self, bytes: &[u8], at: Uptime, out: &mut Output) {
        self.tick(at, out);
        let Self { framer, lines } = self;
        framer.push(bytes, at, |line, began| lines.push(line, began, out));
    }

    /// When [`Self::tick`] is due if no bytes arrive before.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        self.lines.epochs.deadline()
    }

    /// Lets time pass. Spurious calls do nothing.
    pub fn tick(&mut self, now: Uptime, out: &mut Output) {
        let Lines { epochs, fixes, .. } = &mut self.lines;
        epochs.tick(now, |epoch| fixes.push(&epoch, out));
    }

    /// The receiver is gone: what it began to say is all that it will say.
    pub fn interrupt(&mut self, at: Uptime, out: &mut Output) {
        self.tick(at, out);
        let Self { framer, lines } = self;
        framer.finish(|line, began| lines.push(line, began, out));
        lines.epochs.finish(|epoch| lines.fixes.push(&epoch, out));
        lines.fixes.has_fix = false;
    }

    /// The input has ended for good.
    pub fn finish(&mut self, out: &mut Output) {
        let Self { framer, lines } = self;
        framer.finish(|line, began| lines.push(line, began, out));
        lines.epochs.finish(|epoch| lines.fixes.push(&epoch, out));
        lines.fixes.gate.finish();
    }

    /// What must be committed together with the records.
    #[must_use]
    pub fn state(&self) -> JourneyState {
        self.lines.fixes.journey.state()
    }

    /// What has been seen of the receiver.
    #[must_use]
    pub fn reception(&self) -> Reception {
        let Lines { fixes, bad_envelope, bad_checksum, .. } = &self.lines;
        Reception {
            framing: self.framer.counters(),
            bad_envelope: *bad_envelope,
            bad_checksum: *bad_checksum,
            rejected: fixes.gate.counters(),
            newest: fixes.newest,
            has_fix: fixes.has_fix,
        }
    }
}

impl Reception {
    /// Lines that are no sentence.
    #[must_use]
    pub const fn sentences_bad(&self) -> u64 {
        self.framing.broken + self.bad_envelope + self.bad_checksum
    }
}

impl Lines {
    fn push(&mut self, line: &[u8], at: Uptime, out: &mut Output) {
        match Sentence::parse(line) {
            Ok(sentence) => self.epochs.push(&sentence, at, |epoch| self.fixes.push(&epoch, out)),
            Err(Refusal::Envelope) => self.bad_envelope += 1,
            Err(Refusal::Checksum) => self.bad_checksum += 1,
        }
    }
}

impl Fixes {
    fn push(&mut self, epoch: &Epoch, out: &mut Output) {
        let Self { gate, journey, sampling, next_seq, newest, has_fix } = self;
        let verdict = gate.push(epoch, |fix| {
            journey.observe(&fix);
            *newest = Some(fix);
            let JourneyState { motion, odometer, .. } = journey.state();
            let point = TrackPoint { fix, motion, odometer }.rounded();
            let seq = *next_seq;
            *next_seq = seq.next();
            out.points.push((seq, point));
            if sampling.keeps(&point) {
                out.records.push(Record { seq, subject: Subject::Point(point) });
            }
        });
        match verdict {
            Verdict::Accepted => *has_fix = true,
            // A late sentence of the last fix, or a receiver that repeats itself: its age tells.
            Verdict::Silent | Verdict::Rejected(Rejection::Repeated) => {}
            Verdict::Rejected(_) => *has_fix = false,
        }
    }
}
