//! A recorded log → the pipeline → JSON lines.

use std::io::{self, BufRead, Write};

use serde::Serialize;

use crate::core::fix::{Fix, FixQuality};
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq, Subject};
use crate::core::{Output, Pipeline, PipelineConfig};
use crate::source::log::RecordedLog;
use crate::wire::json::{Lane, Point};

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Sends a whole log through the pipeline and writes a JSON object a line.
///
/// # Errors
/// Reading the log, or writing the lines.
pub fn emit(log: impl BufRead, config: PipelineConfig, emit: Emit, mut out: impl Write) -> io::Result<()> {
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

fn write_lines(output: &mut Output, emit: Emit, out: &mut impl Write) -> io::Result<()> {
    let points = std::mem::take(&mut output.points);
    let records = std::mem::take(&mut output.records);
    match emit {
        Emit::Fixes => points.iter().try_for_each(|(_, point)| write_line(&FixLine::from(&point.fix), out)),
        Emit::Records => records.iter().try_for_each(|Record { seq, subject: Subject::Point(point) }| {
            write_line(&Point::new(*seq, point, Lane::Live), out)
        }),
    }
}

fn write_line(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
