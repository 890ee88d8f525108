//! An outbox without a van: takes points that are told by their numbers alone, says what it has promised, and checks what
//! it finds. For proofs that cut the power, kill the process, or fill the disk.
//!
//! ```text
//! outbox_rig PATH [--tail PATH] [--commit-after S] [--points N] [--rate HZ]
//!            [--ack none|all-after-S|stall:PERCENT] [--check]
//! ```
//!
//! - `R <oldest> <newest> <count> <ok|error>`: what was there, after a read of all of it that looks at order and content.
//! - `A <seq>`: accepted up to there. `C <seq>`: on flash up to there. `D <seq>`: said before everything up to there is
//!   acknowledged.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use waypost::core::fix::{Fix, FixMode, FixQuality};
use waypost::core::journey::{JourneyState, Motion};
use waypost::core::record::{Record, Seq, Subject, TrackPoint};
use waypost::outbox::{Outbox, OutboxConfig, OutboxError};
use waypost::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

/// Records that are accepted together when there is no rate.
const AT_ONCE: u64 = 500;

/// Records that are read together.
const READ: usize = 5000;

/// How long a stalled link stays silent.
const STALL: Duration = Duration::from_secs(20);

/// When the broker answers.
#[derive(Clone, Copy, Debug)]
enum Acks {
    None,
    After(Duration),
    /// After a second, except that it is silent for 20 s at a time, and so for this percentage of the time.
    Stall(u64),
}

#[derive(Debug)]
struct Arguments {
    outbox: OutboxConfig,
    points: u64,
    rate_hz: f64,
    acks: Acks,
    check: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("PATH is missing")?;
    let mut arguments = Arguments {
        outbox: OutboxConfig::new(PathBuf::from(path)),
        points: u64::MAX,
        rate_hz: 1.0,
        acks: Acks::None,
        check: false,
    };
    while let Some(word) = words.next() {
        if word == "--check" {
            arguments.check = true;
            continue;
        }
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse::<f64>().map_err(|_| format!("{word}: {value} is no number"));
        match word.as_str() {
            "--tail" => arguments.outbox.tail_path = Some(PathBuf::from(&value)),
            "--commit-after" => {
                arguments.outbox.commit_after = Duration::try_from_secs_f64(number()?)
                    .map_err(|error| format!("{word}: {error}"))?;
            }
            "--points" => {
                arguments.points = value.parse().map_err(|_| format!("{word}: {value}"))?;
            }
            "--rate" => arguments.rate_hz = number()?,
            "--ack" => arguments.acks = acks(&value)?,
            _ => return Err(format!("{word} is no option")),
        }
    }
    Ok(arguments)
}

fn acks(text: &str) -> Result<Acks, String> {
    let bad = || format!("--ack: {text} is none of none, all-after-S, stall:PERCENT");
    if text == "none" {
        return Ok(Acks::None);
    }
    if let Some(seconds) = text.strip_prefix("all-after-") {
        let seconds: f64 = seconds.parse().map_err(|_| bad())?;
        return Duration::try_from_secs_f64(seconds).map(Acks::After).map_err(|_| bad());
    }
    let percent = text.strip_prefix("stall:").ok_or_else(bad)?;
    percent.parse().ok().filter(|percent| *percent <= 100).map(Acks::Stall).ok_or_else(bad)
}

/// The point with this number: all of it follows from the number.
fn point(seq: Seq) -> Option<TrackPoint> {
    let number = u32::try_from(seq.get() % 4_000_000_000).ok()?;
    let noise = |by: u32, of: u32| f64::from(number.wrapping_mul(by) >> 8 & 0xFFFF) % f64::from(of);
    let minute = f64::from(number % 3600);
    let fix = Fix {
        utc: UtcTime::from_unix_ms(1_790_000_000_000 + i64::from(number) * 1000)?,
        read_at: Uptime::ZERO,
        position: Position::from_degrees(
            48.0 + minute * 1e-4 + noise(2_654_435_761, 40) * 1e-7,
            11.0 + minute * 7e-5 + noise(40_503, 40) * 1e-7,
        )?,
        mode: FixMode::ThreeD,
        quality: FixQuality::Gps,
        altitude_msl: Height::from_metres(500.0 + f64::from(number / 16 % 50)),
        height_hae: Height::from_metres(547.0 + f64::from(number / 16 % 50)),
        speed: Speed::from_mps(12.0 + noise(7919, 60) / 100.0),
        course: Course::from_degrees(30.0 + noise(104_729, 20) / 10.0),
        hdop: Dop::new(0.9 + f64::from(number / 32 % 4) / 10.0),
        satellites_used: Some(9),
        accuracy: Distance::from_metres(4.5),
    };
    let odometer = Distance::from_metres(f64::from(number) * 12.0)?;
    Some(TrackPoint { fix, motion: Motion::Moving, odometer }.rounded())
}

fn said(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who does not listen any more has heard enough.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Reads everything, and says the `R` line; whether all of it is in order.
async fn check(outbox: &Outbox) -> Result<bool, OutboxError> {
    let (mut oldest, mut newest, mut count, mut wrong) = (Seq::ZERO, Seq::ZERO, 0_u64, None);
    loop {
        let records = outbox.after(newest, None, READ).await?;
        for Record { seq, subject } in &records {
            let expected = point(*seq);
            let same =
                matches!((subject, &expected), (Subject::Point(is), Some(should)) if is == should);
            if *seq <= newest {
                wrong.get_or_insert(format!("{seq} after {newest}"));
            } else if !same {
                wrong.get_or_insert(format!("{seq} has another content"));
            }
            (oldest, newest) = (if count == 0 { *seq } else { oldest }, *seq);
            count += 1;
        }
        if records.is_empty() {
            let pending = outbox.stats().borrow().pending;
            if pending != count {
                wrong.get_or_insert(format!("{pending} are said to wait"));
            }
            said(&format!("R {oldest} {newest} {count} {}", wrong.as_deref().unwrap_or("ok")));
            return Ok(wrong.is_none());
        }
    }
}

/// What the broker would do by now.
#[derive(Debug)]
struct Broker {
    acks: Acks,
    began: Instant,
    sent: VecDeque<(Instant, Seq)>,
}

impl Broker {
    /// Up to which number it acknowledges now.
    fn answers(&mut self, now: Instant) -> Option<Seq> {
        let after = match self.acks {
            Acks::None => return None,
            Acks::After(after) => after,
            Acks::Stall(percent) => {
                let cycle_s = (STALL.as_secs() * 100).checked_div(percent).unwrap_or(u64::MAX);
                if percent > 0
                    && now.duration_since(self.began).as_secs() % cycle_s < STALL.as_secs()
                {
                    return None;
                }
                Duration::from_secs(1)
            }
        };
        let mut arrived = None;
        while let Some((_, seq)) = self.sent.pop_front_if(|(at, _)| now >= *at + after) {
            arrived = Some(seq);
        }
        arrived
    }
}

#[expect(clippy::disallowed_methods, reason = "a rig runs as the world does")]
fn now() -> Instant {
    Instant::now()
}

async fn run(arguments: Arguments) -> Result<bool, OutboxError> {
    let Arguments { outbox, points, rate_hz, acks, check: only_check } = arguments;
    let outbox = Outbox::open(outbox).await?;
    let ok = check(&outbox).await?;
    if only_check {
        outbox.close().await?;
        return Ok(ok);
    }
    let began = now();
    let mut broker = Broker { acks, began, sent: VecDeque::new() };
    let mut flash = Flash { durable: outbox.stats().borrow().durable, flushed_at: began };
    let (mut next, mut taken) = (outbox.first_seq(), 0);
    while taken < points {
        let count = if rate_hz > 0.0 { 1 } else { AT_ONCE.min(points - taken) };
        if rate_hz > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "2^53 points")]
            sleep_until(began + Duration::from_secs_f64(taken as f64 / rate_hz)).await;
        }
        let at = now();
        let uptime = Uptime::new(at.duration_since(began));
        outbox.accept(&records(next, count), &JourneyState::default(), uptime);
        (next, taken) = (Seq::new(next.get() + count), taken + count);
        let newest = Seq::new(next.get() - 1);
        said(&format!("A {newest}"));
        broker.sent.push_back((at, newest));
        if let Some(seq) = broker.answers(at) {
            said(&format!("D {seq}"));
            outbox.acknowledge(&(Seq::ZERO..=seq));
        }
        let paused = rate_hz > 0.0 && at.duration_since(flash.flushed_at) < Duration::from_secs(1);
        if outbox.flush_due().is_some_and(|due| due <= uptime) && !paused {
            flash.flushed_at = at;
            if let Err(error) = outbox.flush().await {
                eprintln!("{error}");
            }
        }
        flash.say(&outbox);
    }
    outbox.close().await?;
    flash.say(&outbox);
    Ok(ok)
}

/// What was said of the flash.
#[derive(Debug)]
struct Flash {
    durable: Seq,
    flushed_at: Instant,
}

impl Flash {
    fn say(&mut self, outbox: &Outbox) {
        let durable = outbox.stats().borrow().durable;
        if durable > self.durable {
            self.durable = durable;
            said(&format!("C {durable}"));
        }
    }
}

fn records(from: Seq, count: u64) -> Vec<Record> {
    let numbers = (0..count).map(|more| Seq::new(from.get() + more));
    let told = |seq| point(seq).map(|point| Record { seq, subject: Subject::Point(point) });
    numbers.filter_map(told).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let result = match arguments() {
        Ok(arguments) => run(arguments).await.map_err(|error| error.to_string()),
        Err(usage) => Err(usage),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            said(&format!("R 0 0 0 {error}"));
            ExitCode::FAILURE
        }
    }
}
