//! `waypost replay`: sends recorded logs through the pipeline, or through the whole agent in
//! accelerated time.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::agent::{Agent, AgentError, AgentWatches, OnSourceEnd, signals};
use crate::config::Config;
use crate::gnss_source::recorded_log::{self, RecordedLog};
use crate::gnss_source::{Address, SourceConfig};
use crate::outbox::{OutboxConfig, OutboxStats};
use crate::uplink::LinkStatus;
use crate::uplink::mqtt::RumqttcConnector;
use waypost_model::fix::{Fix, FixQuality};
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq, Subject};
use waypost_model::units::Date;
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::fix_filter::{Rejection, RejectionCounters};
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_pipeline::trip_detector::TripConfig;
use waypost_pipeline::{Pipeline, PipelineConfig, PipelineOutput, ReceiverStats};
use waypost_service::clock::Clock;
use waypost_wire::payloads::{Point, TrackSource};

/// Lines to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Emit {
    /// Each accepted fix with all decimals, to compare receivers and parsers.
    Fixes,
    /// Each record, as stored in the outbox and published on the topic `track`.
    Records,
}

/// JSON form of a fix.
#[derive(Debug, Serialize)]
struct FixLine {
    ts: String,
    lat: f64,
    lon: f64,
    mode: u8,
    quality: FixQuality,
    #[serde(skip_serializing_if = "Option::is_none")]
    alt_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hae_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_mps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    course_deg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hdop: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sats: Option<u8>,
}

impl From<&Fix> for FixLine {
    fn from(fix: &Fix) -> Self {
        Self {
            ts: fix.utc.to_string(),
            lat: fix.position.lat_deg(),
            lon: fix.position.lon_deg(),
            mode: fix.mode.dimensions(),
            quality: fix.quality,
            alt_m: fix.altitude_msl.map(|height| height.as_metres()),
            hae_m: fix.height_hae.map(|height| height.as_metres()),
            speed_mps: fix.speed.map(|speed| speed.as_mps()),
            course_deg: fix.course.map(|course| course.as_degrees()),
            hdop: fix.hdop.map(|dop| dop.value()),
            sats: fix.satellites_used,
        }
    }
}

/// Opens several logs as one stream, in the given order.
///
/// # Errors
/// One of them cannot be opened; the error names it.
pub fn open(logs: &[PathBuf]) -> io::Result<impl BufRead> {
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for path in logs {
        // Ends a log that was cut off within a line, so that it does not corrupt the next log's
        // first line.
        all = Box::new(all.chain(open_file(path)?).chain(&b"\n"[..]));
    }
    Ok(BufReader::new(all))
}

/// Date hint for `logs`: `date` if given, else the header of the first log.
///
/// # Errors
/// The log cannot be read; the error names it.
pub fn date_hint(date: Option<Date>, logs: &[PathBuf]) -> io::Result<DateHint> {
    let header = || match logs.first() {
        Some(path) => recorded_log::header_date(BufReader::new(open_file(path)?)),
        None => Ok(None),
    };
    let date = match date {
        Some(date) => Some(date),
        None => header()?,
    };
    Ok(date.map_or(DateHint::AsReported, DateHint::NotAfter))
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Sends a log through the pipeline and writes one JSON object per line.
///
/// # Errors
/// Reading the log or writing the lines failed.
pub fn emit(
    log: impl BufRead,
    era: DateHint,
    sampling: Sampling,
    emit: Emit,
    out: impl Write,
) -> io::Result<()> {
    emit_with_rejections(log, era, sampling, emit, out, |_| {}).map(|_| ())
}

/// Positions of one instant of the recording that did not become fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedFixes {
    /// Time since the start of the recording.
    pub at: Duration,
    /// Reason, as in [`RejectionCounters::by_reason`].
    pub reason: &'static str,
    pub count: u64,
}

/// Does the same as [`emit`], reports each rejected fix and returns the totals.
///
/// # Errors
/// Reading the log or writing the lines failed.
pub fn emit_with_rejections(
    log: impl BufRead,
    era: DateHint,
    sampling: Sampling,
    emit: Emit,
    mut out: impl Write,
    mut rejected: impl FnMut(RejectedFixes),
) -> io::Result<RejectionCounters> {
    let config = PipelineConfig { date_hint: era, trip: TripConfig::default(), sampling };
    let mut log = RecordedLog::new(log);
    let mut pipeline = Pipeline::new(config, Seq::new(1), TripState::default());
    let mut output = PipelineOutput::default();
    let mut known = RejectionCounters::default();
    let mut report = |now: RejectionCounters, at: Duration| {
        for ((reason, before), (_, count)) in known.by_reason().zip(now.by_reason()) {
            if count > before && reason != Rejection::NoFix.as_str() {
                rejected(RejectedFixes { at, reason, count: count - before });
            }
        }
        known = now;
    };
    let mut newest = Duration::ZERO;
    while let Some(chunk) = log.next_chunk()? {
        newest = chunk.at.since_start();
        pipeline.push(&chunk.bytes, chunk.at, &mut output);
        report(pipeline.receiver_stats().rejected, newest);
        write_lines(&mut output, emit, &mut out)?;
    }
    pipeline.finish(&mut output);
    report(pipeline.receiver_stats().rejected, newest);
    write_lines(&mut output, emit, &mut out)?;
    Ok(pipeline.receiver_stats().rejected)
}

/// Result of a replay through the whole agent.
#[derive(Clone, Debug)]
pub struct Summary {
    logs: usize,
    reception: ReceiverStats,
    outbox: OutboxStats,
    link: LinkStatus,
}

impl Summary {
    /// Records without acknowledgement, left because the replay was interrupted.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.outbox.pending
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { logs, reception, outbox, link } = self;
        let rejected = reception.rejected;
        writeln!(
            f,
            "logs      {logs}, {} bytes, {} lines",
            reception.framing.bytes, reception.framing.lines
        )?;
        writeln!(f, "sentences {} rejected", reception.sentences_bad())?;
        writeln!(
            f,
            "epochs    {} without fix, {} rejected",
            rejected.no_fix,
            rejected.rejected_positions()
        )?;
        writeln!(
            f,
            "points    {} acknowledged in {} track messages",
            link.points_acked, link.track_messages
        )?;
        writeln!(f, "positions {} sent live", link.positions)?;
        writeln!(
            f,
            "link      {} bytes of payload, {} reconnects",
            link.payload_bytes, link.reconnects
        )?;
        let evicted = outbox.dropped + outbox.thinned;
        write!(f, "outbox    {} waiting, {evicted} evicted", outbox.pending)
    }
}

/// Sends logs through the whole agent. Returns when the broker has acknowledged every record, or on
/// a signal. `progress` draws a progress bar on standard error.
///
/// # Errors
/// The outbox cannot be used, or a log cannot be read.
pub async fn run_through_agent(
    config: Config,
    era: DateHint,
    clock: Clock,
    logs: &[PathBuf],
    progress: bool,
) -> Result<Summary, AgentError> {
    let mut total_bytes = 0;
    for path in logs {
        total_bytes +=
            open_file(path).and_then(|file| file.metadata()).map_err(AgentError::Source)?.len();
    }
    let source = |path: &PathBuf| SourceConfig {
        address: Address::Log(path.clone()),
        ..config.source.clone()
    };
    let sources = logs.iter().map(source).collect();
    let links = RumqttcConnector::new(config.uplink.clone(), Clock::live());
    let shutdown = signals().map_err(AgentError::Source)?;
    // An interrupted replay is started over; the journal on tmpfs is for the live agent.
    let outbox = OutboxConfig { journal_path: None, ..config.outbox };
    // Live scans do not belong to a recorded day.
    let config = Config { outbox, scanners: Vec::new(), ..config };
    let agent = Agent::open(config, era, clock, links).await?;
    let watches = agent.watches();
    let running = agent.run(sources, OnSourceEnd::Drain, shutdown);
    tokio::select! {
        result = running => result?,
        () = draw_progress(&watches, total_bytes), if progress => {}
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    Ok(Summary {
        logs: logs.len(),
        reception: *watches.reception.borrow(),
        outbox: *watches.outbox.borrow(),
        link: watches.link.borrow().clone(),
    })
}

/// Draws the progress line until it is dropped.
async fn draw_progress(watches: &AgentWatches, total_bytes: u64) {
    const WIDTH: u64 = 30;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let read = watches.reception.borrow().framing.bytes;
        let waiting = watches.outbox.borrow().pending;
        let (acked, link) = {
            let link = watches.link.borrow();
            (link.points_acked, link.state.to_string())
        };
        let done = (read * WIDTH).checked_div(total_bytes).unwrap_or(WIDTH).min(WIDTH);
        let bar: String = (0..WIDTH).map(|cell| if cell < done { '█' } else { '░' }).collect();
        eprint!("\r\x1b[K{bar} {acked} points acknowledged, {waiting} waiting, {link}");
    }
}

fn write_lines(output: &mut PipelineOutput, emit: Emit, out: &mut impl Write) -> io::Result<()> {
    let fixes = std::mem::take(&mut output.fixes);
    let records = std::mem::take(&mut output.records);
    output.points.clear();
    match emit {
        Emit::Fixes => fixes.iter().try_for_each(|fix| write_line(&FixLine::from(fix), out)),
        Emit::Records => {
            records.iter().try_for_each(|Record { seq, subject: Subject::Point(point) }| {
                write_line(&Point::new(*seq, point, TrackSource::Live), out)
            })
        }
    }
}

fn write_line(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
