//! Sans-I/O pipeline: turns receiver bytes and timestamps into fixes, track points and delivery
//! events.
//!
//! No I/O, clock, async or randomness.
//!
//! ```text
//! bytes → framing → sentence → epoch → fix filter → trip detector → trail simplifier → record
//!                                                        └→ delivery → event
//! ```
//!
//! Time is an argument. Live and replay runs therefore produce the same records, and a test runs a
//! day in a millisecond.

pub mod constellation;
pub mod date_resolver;
pub mod delivery;
pub mod epoch;
mod epoch_boundary;
mod fields;
pub mod fix_filter;
mod fix_recorder;
pub mod framing;
mod frozen_detector;
mod halt_window;
mod jump_filter;
pub mod receiver_messages;
pub mod satellites;
pub mod sentence;
pub mod time_trust;
pub mod trail_simplifier;
pub mod trip_detector;
pub mod ubx;
mod vtg_order;

use date_resolver::DateHint;
use delivery::{DeliveryOutput, DeliveryTracker};
use epoch::{Epoch, EpochAssembler};
use fix_filter::{FilterDecision, FixFilter, Rejection, RejectionCounters};
use fix_recorder::FixRecorder;
use framing::{Framer, FramingCounters};
use receiver_messages::ReceiverMessages;
use satellites::{SatelliteSummary, SatelliteTracker};
use sentence::{Content, Sentence, SentenceError};
use time_trust::TimeTrust;
use trail_simplifier::{Sampling, TrailSimplifier};
use trip_detector::{TripConfig, TripDetector};
use waypost_model::fix::Fix;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Uptime, UtcTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Prior knowledge of the date, for receivers with a wrong week era or century.
    pub date_hint: DateHint,
    /// Speed thresholds and dwell time of the trip detector.
    pub trip: TripConfig,
    /// Sampling policy of the stored trail.
    pub sampling: Sampling,
}

/// Results since the caller last drained this buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineOutput {
    /// Accepted fixes in order, unmodified.
    pub fixes: Vec<Fix>,
    /// Track points of the accepted fixes, including those that the simplifier drops. They feed the
    /// live position.
    pub points: Vec<(Seq, TrackPoint)>,
    /// Records to commit to the outbox.
    pub records: Vec<Record>,
    /// Delivery events, and the state to commit with them.
    pub delivery: DeliveryOutput,
}

impl PipelineOutput {
    fn push_record(&mut self, seq: Seq, point: TrackPoint) {
        self.records.push(Record { seq, subject: Subject::Point(point) });
    }
}

/// Statistics and current state of the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    pub framing: FramingCounters,
    /// Lines without a valid NMEA envelope.
    pub bad_envelope: u64,
    pub bad_checksum: u64,
    /// Epochs rejected by the fix filter, by reason.
    pub rejected: RejectionCounters,
    /// Newest fix; `None` before the first. While the position is withheld, it carries time and
    /// quality only.
    pub newest: Option<Fix>,
    /// Whether the newest epoch with a fix status had a fix.
    pub has_fix: bool,
    /// Reliability of the receiver's time.
    pub time_trust: TimeTrust,
    /// Satellites in view and in use.
    pub satellites: SatelliteSummary,
    /// Antenna state and newest warning from `TXT` sentences.
    pub messages: ReceiverMessages,
    /// Time of the newest sentence; `None` before the first.
    pub sentence_at: Option<Uptime>,
}

/// Runs all stages, from bytes to records.
#[derive(Debug)]
pub struct Pipeline {
    framer: Framer,
    nmea_stage: NmeaStage,
}

/// Stages after framing.
#[derive(Debug)]
struct NmeaStage {
    assembler: EpochAssembler,
    bad_envelope: u64,
    bad_checksum: u64,
    satellites: SatelliteTracker,
    messages: ReceiverMessages,
    /// Arrival time of the newest line.
    last_sentence_at: Uptime,
    fix_stage: FixStage,
    /// Incremented with each change of [`Reception`], except for byte counts.
    revision: u64,
}

/// Stages after epoch assembly.
#[derive(Debug)]
struct FixStage {
    filter: FixFilter,
    recorder: FixRecorder,
    has_fix: bool,
}

impl Pipeline {
    /// Creates a pipeline that numbers records from `first_seq` and continues from a saved trip
    /// state.
    #[must_use]
    pub fn new(config: PipelineConfig, first_seq: Seq, journey: TripState) -> Self {
        let accepted = FixRecorder::new(
            TripDetector::new(config.trip, journey),
            TrailSimplifier::new(config.sampling),
            first_seq,
        );
        let fixes = FixStage {
            filter: FixFilter::new(config.date_hint, journey.counted.map(|(_, place)| place)),
            recorder: accepted,
            has_fix: false,
        };
        let nmea_stage = NmeaStage {
            assembler: EpochAssembler::default(),
            bad_envelope: 0,
            bad_checksum: 0,
            satellites: SatelliteTracker::default(),
            messages: ReceiverMessages::default(),
            last_sentence_at: Uptime::ZERO,
            fix_stage: fixes,
            revision: 0,
        };
        Self { framer: Framer::default(), nmea_stage }
    }

    /// Attaches a delivery tracker.
    #[must_use]
    pub fn with_delivery(mut self, delivery: DeliveryTracker) -> Self {
        self.nmea_stage.fix_stage.recorder.delivery = Some(delivery);
        self
    }

    /// Runs a closure on the delivery tracker and numbers the events that it emits. Returns `None`
    /// without a tracker.
    pub fn update_delivery<T>(
        &mut self,
        out: &mut PipelineOutput,
        tell: impl FnOnce(&mut DeliveryTracker, &mut DeliveryOutput) -> T,
    ) -> Option<T> {
        self.nmea_stage.revision += 1;
        self.nmea_stage.fix_stage.recorder.update_delivery(out, tell)
    }

    /// The delivery tracker, if one is attached.
    #[must_use]
    pub const fn delivery(&self) -> Option<&DeliveryTracker> {
        self.nmea_stage.fix_stage.recorder.delivery.as_ref()
    }

    /// Whether the position must not be recorded or published: off duty or in a privacy zone.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.nmea_stage.fix_stage.recorder.is_withheld()
    }

    /// Records the host clock's reading at `at`. It may be wrong and is used only if the receiver's
    /// time of day agrees.
    pub const fn observe_host_clock(&mut self, utc: UtcTime, at: Uptime) {
        self.nmea_stage.fix_stage.filter.observe_host_clock(utc, at);
    }

    /// Processes bytes read at `at`. Deadlines before `at` are handled first, even without a call
    /// of [`Self::tick`].
    pub fn push(&mut self, bytes: &[u8], at: Uptime, out: &mut PipelineOutput) {
        self.tick(at, out);
        let Self { framer, nmea_stage: lines } = self;
        framer.push(bytes, at, |line, began| lines.push(line, (began, at), out));
    }

    /// Time at which [`Self::tick`] is due if no bytes arrive earlier.
    #[must_use]
    pub fn deadline(&self) -> Option<Uptime> {
        let NmeaStage { assembler: epochs, fix_stage: fixes, .. } = &self.nmea_stage;
        epochs.deadline().into_iter().chain(fixes.recorder.deadline()).min()
    }

    /// Handles deadlines that have passed. Other calls have no effect.
    pub fn tick(&mut self, now: Uptime, out: &mut PipelineOutput) {
        let NmeaStage { assembler: epochs, fix_stage: fixes, revision, .. } = &mut self.nmea_stage;
        epochs.tick(now, |epoch| {
            *revision += 1;
            fixes.push(&epoch, out);
        });
        *revision += u64::from(fixes.recorder.tick(now, out));
    }

    /// Handles a disconnected source: processes buffered bytes, closes the epoch, and resets
    /// satellites and messages.
    pub fn source_lost(&mut self, at: Uptime, out: &mut PipelineOutput) {
        self.tick(at, out);
        let Self { framer, nmea_stage: lines } = self;
        framer.finish(|line, began| lines.push(line, (began, began), out));
        lines.assembler.finish(|epoch| lines.fix_stage.push(&epoch, out));
        lines.fix_stage.recorder.finish(out);
        lines.fix_stage.has_fix = false;
        (lines.satellites, lines.messages) =
            (SatelliteTracker::default(), ReceiverMessages::default());
        lines.revision += 1;
    }

    /// Handles the end of the input.
    pub fn finish(&mut self, out: &mut PipelineOutput) {
        let Self { framer, nmea_stage: lines } = self;
        framer.finish(|line, began| lines.push(line, (began, began), out));
        lines.assembler.finish(|epoch| lines.fix_stage.push(&epoch, out));
        lines.fix_stage.finish(out);
        lines.revision += 1;
    }

    /// Trip state to commit together with the records.
    #[must_use]
    pub fn state(&self) -> TripState {
        self.nmea_stage.fix_stage.recorder.trip_state()
    }

    /// Change counter of `receiver_stats`, excluding byte counts.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.nmea_stage.revision + self.framer.counters().broken
    }

    #[must_use]
    pub fn receiver_stats(&self) -> ReceiverStats {
        let NmeaStage {
            fix_stage: fixes,
            bad_envelope,
            bad_checksum,
            satellites: sky,
            messages: notices,
            last_sentence_at: newest_at,
            ..
        } = &self.nmea_stage;
        ReceiverStats {
            framing: self.framer.counters(),
            bad_envelope: *bad_envelope,
            bad_checksum: *bad_checksum,
            rejected: fixes.filter.counters(),
            newest: fixes.recorder.public_fix(),
            has_fix: fixes.has_fix,
            time_trust: fixes.recorder.time_trust,
            satellites: sky.summary(*newest_at),
            messages: notices.at(*newest_at),
            sentence_at: (*newest_at > Uptime::ZERO).then_some(*newest_at),
        }
    }
}

impl ReceiverStats {
    /// Number of damaged or malformed lines.
    #[must_use]
    pub const fn sentences_bad(&self) -> u64 {
        self.framing.broken + self.bad_envelope + self.bad_checksum
    }

    /// Number of valid sentences.
    #[must_use]
    pub const fn sentences(&self) -> u64 {
        self.framing.lines.saturating_sub(self.bad_envelope + self.bad_checksum)
    }

    /// Whether fixes arrive but wait for the receiver's first date.
    #[must_use]
    pub const fn is_waiting_for_date(&self) -> bool {
        self.has_fix && self.newest.is_none()
    }
}

impl NmeaStage {
    /// `at` and `ended` are the read times of the first and the last byte of `line`.
    fn push(&mut self, line: &[u8], (at, ended): (Uptime, Uptime), out: &mut PipelineOutput) {
        let sentence = match Sentence::parse(line) {
            Ok(sentence) => sentence,
            Err(refusal) => {
                match refusal {
                    SentenceError::Envelope => self.bad_envelope += 1,
                    SentenceError::Checksum => self.bad_checksum += 1,
                }
                self.revision += 1;
                return;
            }
        };
        self.last_sentence_at = ended;
        match &sentence.content {
            Content::Gsv(gsv) => self.satellites.observe_gsv(gsv, at),
            Content::Gsa(gsa) => self.satellites.observe_gsa(gsa, at),
            Content::Txt(txt) => self.revision += u64::from(self.messages.observe(txt, at)),
            _ => {}
        }
        self.assembler.push(&sentence, (at, ended), |epoch| {
            self.revision += 1;
            self.fix_stage.push(&epoch, out);
        });
    }
}

impl FixStage {
    fn push(&mut self, epoch: &Epoch, out: &mut PipelineOutput) {
        let verdict = self.run_filter(out, |gate, accept| gate.push(epoch, accept));
        match verdict {
            FilterDecision::Accepted => self.has_fix = true,
            // A late sentence of the last fix, or a receiver that repeats itself. A loss shows in
            // the age of the fix.
            FilterDecision::NoStatus
            | FilterDecision::Rejected(Rejection::Repeated | Rejection::Frozen) => {}
            FilterDecision::Rejected(_) => self.has_fix = false,
        }
    }

    fn finish(&mut self, out: &mut PipelineOutput) {
        self.run_filter(out, |gate, accept| gate.finish(accept));
        self.recorder.finish(out);
    }

    /// Runs the filter and passes each accepted fix to the recorder.
    fn run_filter<T>(
        &mut self,
        out: &mut PipelineOutput,
        judge: impl FnOnce(&mut FixFilter, &mut dyn FnMut(Fix)) -> T,
    ) -> T {
        let Self { filter: gate, recorder: accepted, .. } = self;
        judge(gate, &mut |fix| accepted.observe(fix, out))
    }
}
