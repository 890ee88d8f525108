//! A recorded log → the pipeline → JSON lines, or → the whole agent in faster time.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::core::calendar::Era;
use crate::core::fix::{Fix, FixQuality};
use crate::core::journey::{JourneyConfig, JourneyState};
use crate::core::record::{Record, Seq, Subject};
use crate::core::sampling::Sampling;
use crate::core::{Output, Pipeline, PipelineConfig, Reception};
use crate::daemon::{Agent, AgentError, AtEnd, Watches, signals};
use crate::outbox::{OutboxConfig, OutboxStats};
use crate::relay::LinkStatus;
use crate::relay::mqtt::MqttLinks;
use crate::source::log::{self, RecordedLog};
use crate::source::{Address, SourceConfig};
use crate::units::Date;
use crate::wire::json::{Lane, Point};

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Emit {
    /// Each accepted fix, with all decimals: to compare receivers and parsers.
    Fixes,
    /// Each record as the outbox would keep it and the topic `track` would carry it.
    Records,
}

/// One fix.
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

/// Opens logs as one, in the order given.
///
/// # Errors
/// One of them cannot be opened; the error names it.
pub fn open(logs: &[PathBuf]) -> io::Result<impl BufRead> {
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for path in logs {
        // A log that was cut off in a line does not spoil the first line of the next one.
        all = Box::new(all.chain(open_file(path)?).chain(&b"\n"[..]));
    }
    Ok(BufReader::new(all))
}

/// What is known of the date of `logs`: what the caller says, else what the first one's header says.
///
/// # Errors
/// It cannot be read; the error names it.
pub fn era(date: Option<Date>, logs: &[PathBuf]) -> io::Result<Era> {
    let header = || match logs.first() {
        Some(path) => log::header_date(BufReader::new(open_file(path)?)),
        None => Ok(None),
    };
    let date = match date {
        Some(date) => Some(date),
        None => header()?,
    };
    Ok(date.map_or(Era::AsSaid, Era::NotAfter))
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Sends a whole log through the pipeline and writes a JSON object a line.
///
/// # Errors
/// Reading the log, or writing the lines.
pub fn emit(
    log: impl BufRead,
    era: Era,
    sampling: Sampling,
    emit: Emit,
    mut out: impl Write,
) -> io::Result<()> {
    let config = PipelineConfig { era, journey: JourneyConfig::default(), sampling };
    let mut log = RecordedLog::new(log);
    let mut pipeline = Pipeline::new(config, Seq::new(1), JourneyState::default());
    let mut output = Output::default();
    while let Some(chunk) = log.next_chunk()? {
        pipeline.push(&chunk.bytes, chunk.at, &mut output);
        write_lines(&mut output, emit, &mut out)?;
    }
    pipeline.finish(&mut output);
    write_lines(&mut output, emit, &mut out)
}

/// What a replay through the whole agent did.
#[derive(Clone, Debug)]
pub struct Summary {
    logs: usize,
    reception: Reception,
    outbox: OutboxStats,
    link: LinkStatus,
}

impl Summary {
    /// Records that no broker has acknowledged, because somebody stopped the replay.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
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
        writeln!(f, "sentences {} refused", reception.sentences_bad())?;
        writeln!(
            f,
            "epochs    {} without fix, {} not believed",
            rejected.no_fix,
            rejected.unbelieved()
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

/// Sends logs through the whole agent, and waits until the broker has acknowledged everything or somebody stops it.
/// `progress` draws a bar on standard error.
///
/// # Errors
/// The outbox cannot be used, or a log cannot be read.
pub async fn through_agent(
    config: Config,
    era: Era,
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
    let links = MqttLinks::new(config.relay.clone(), Clock::live());
    let shutdown = signals().map_err(AgentError::Source)?;
    // A replay that is killed is begun again; the tail is the van's.
    let outbox = OutboxConfig { tail_path: None, ..config.outbox };
    // What is scanned today belongs to no day of a recording.
    let config = Config { outbox, scanners: Vec::new(), ..config };
    let agent = Agent::open(config, era, clock, links).await?;
    let watches = agent.watches();
    let running = agent.run(sources, AtEnd::Drain, shutdown);
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

/// Draws a line until it is dropped.
async fn draw_progress(watches: &Watches, total_bytes: u64) {
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

fn write_lines(output: &mut Output, emit: Emit, out: &mut impl Write) -> io::Result<()> {
    let fixes = std::mem::take(&mut output.fixes);
    let records = std::mem::take(&mut output.records);
    output.points.clear();
    match emit {
        Emit::Fixes => fixes.iter().try_for_each(|fix| write_line(&FixLine::from(fix), out)),
        Emit::Records => {
            records.iter().try_for_each(|Record { seq, subject: Subject::Point(point) }| {
                write_line(&Point::new(*seq, point, Lane::Live), out)
            })
        }
    }
}

fn write_line(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
