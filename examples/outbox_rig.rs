//! Test rig of the outbox without a van. It stores points derived from their numbers, prints its
//! guarantees, and checks the content that it finds. Used by tests that cut the power, kill the
//! process, or fill the disk (`benches/proof/`).
//!
//! ```text
//! outbox_rig PATH [--tail PATH] [--commit-after S] [--max-mib N] [--max-age-days N]
//!            [--points N] [--rate HZ] [--virtual] [--lockstep]
//!            [--ack none|all-after-S|stall:PERCENT|day] [--events] [--check | --drain]
//! ```
//!
//! - `R <oldest> <newest> <count> <next> <ok|error>`: content found at the start, after a full read
//!   that checks order and content, and the next number. A line `H <from>-<to> …` before it lists
//!   the numbers.
//! - `A <seq>`: accepted up to `seq`. `C <seq>`: on flash up to `seq`. `D <from> <to>`: printed
//!   before these are acknowledged.
//! - `--events` occasionally adds an event, and a document with its number, between the points.
//!   `E <document> <seq> …`: both as found at the start. `V <seq>`: accepted. `K <seq>`: on flash
//!   up to `seq`. `G <seq>`: printed before it is acknowledged.
//! - `T <what> <seconds>`: a duration. `M <KiB>`: resident memory at the end.
//!
//! `--virtual`: the time is that of the points, and passes as fast as the disk allows.
//! `--lockstep`: continues only after a line on standard input has answered each `A`, `C`, `D`,
//! `V`, `K` and `G`, so that the order of output and writes is known.

use std::collections::VecDeque;
use std::io::{BufRead as _, Write as _};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use waypost::outbox::{Outbox, OutboxConfig, OutboxError, StoredDoc};
use waypost_model::event::{Event, EventId, EventRecord};
use waypost_model::event::{EventKind, Parcel, TimeSource};
use waypost_model::fix::{Fix, FixMode, FixQuality};
use waypost_model::motion::{Motion, TripState};
use waypost_model::record::{Record, Seq, Subject, TrackPoint};
use waypost_model::units::{Course, Distance, Dop, Height, Position, Speed, Uptime, UtcTime};

/// Number of records accepted together without a rate.
const BATCH_SIZE: u64 = 500;

/// Number of records per read.
const READ_LIMIT: usize = 5000;

/// Duration of a stall of the simulated link.
const STALL_DURATION: Duration = Duration::from_secs(20);

/// Number of backlog points that are acknowledged between two points of the trail.
const BACKLOG_ACK_BATCH: u64 = 200;

/// Acknowledged records on flash are deleted separately after this time, as the uplink does.
const DELETE_ACKED_AFTER: Duration = Duration::from_secs(5);

/// Every 50th number is an event's, at this offset: never that of a departure or a halt, nor the
/// one before it.
const EVENT_INTERVAL: u64 = 50;
const EVENT_OFFSET: u64 = 7;

/// Number of events per read.
const EVENT_READ_LIMIT: usize = 100;

/// Name of the document that holds the newest event's number.
const NEWEST_DOC: &str = "newest";

/// A drive of 12 minutes, then a halt of 3.
const TRIP_S: u32 = 900;
const DRIVE_S: u32 = 720;

/// Timing of the simulated broker's acknowledgements.
#[derive(Clone, Copy, Debug)]
enum AckMode {
    None,
    After(Duration),
    /// After a second, with stalls of 20 s that take this percentage of the time.
    Stall(u64),
    /// After three seconds, with stalls, dead spots and outages of ten minutes and more in between.
    Day,
}

impl AckMode {
    /// Returns the delay of an acknowledgement; `None` while the link is down. `day_s` is the van's
    /// time of life at the start of the run.
    fn ack_delay(self, elapsed: Duration, day_s: u64) -> Option<Duration> {
        let second = elapsed.as_secs();
        match self {
            Self::None => None,
            Self::After(after) => Some(after),
            Self::Stall(percent) => {
                let cycle_s =
                    (STALL_DURATION.as_secs() * 100).checked_div(percent).unwrap_or(u64::MAX);
                let away = percent > 0 && second % cycle_s < STALL_DURATION.as_secs();
                (!away).then_some(Duration::from_secs(1))
            }
            Self::Day => {
                let second = day_s + second;
                let (block, second) = (second / 600, second % 600);
                let away = match block.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 {
                    0..4 => false,
                    4..9 => second % 300 < STALL_DURATION.as_secs(),
                    9..13 => second < 180,
                    _ => true,
                };
                (!away).then_some(Duration::from_secs(3))
            }
        }
    }
}

#[derive(Debug)]
struct Arguments {
    outbox: OutboxConfig,
    points: u64,
    rate_hz: f64,
    acks: AckMode,
    is_virtual: bool,
    lockstep: bool,
    events: bool,
    check: bool,
    drain: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("PATH is missing")?;
    let mut arguments = Arguments {
        outbox: OutboxConfig::new(PathBuf::from(path)),
        points: u64::MAX,
        rate_hz: 1.0,
        acks: AckMode::None,
        is_virtual: false,
        lockstep: false,
        events: false,
        check: false,
        drain: false,
    };
    while let Some(word) = words.next() {
        let flag = match word.as_str() {
            "--check" => Some(&mut arguments.check),
            "--drain" => Some(&mut arguments.drain),
            "--virtual" => Some(&mut arguments.is_virtual),
            "--lockstep" => Some(&mut arguments.lockstep),
            "--events" => Some(&mut arguments.events),
            _ => None,
        };
        if let Some(flag) = flag {
            *flag = true;
            continue;
        }
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse::<f64>().map_err(|_| format!("{word}: {value} is no number"));
        match word.as_str() {
            "--tail" => arguments.outbox.journal_path = Some(PathBuf::from(&value)),
            "--commit-after" => {
                arguments.outbox.commit_after = Duration::try_from_secs_f64(number()?)
                    .map_err(|error| format!("{word}: {error}"))?;
            }
            "--max-mib" => {
                let mib: u64 = value.parse().map_err(|_| format!("{word}: {value}"))?;
                arguments.outbox.max_bytes = mib * 1024 * 1024;
            }
            "--max-age-days" => {
                let days: u64 = value.parse().map_err(|_| format!("{word}: {value}"))?;
                arguments.outbox.max_age = Duration::from_secs(days * 86_400);
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

fn acks(text: &str) -> Result<AckMode, String> {
    let bad = || format!("--ack: {text} is none of none, all-after-S, stall:PERCENT, day");
    match text {
        "none" => return Ok(AckMode::None),
        "day" => return Ok(AckMode::Day),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix("all-after-") {
        let seconds: f64 = seconds.parse().map_err(|_| bad())?;
        return Duration::try_from_secs_f64(seconds).map(AckMode::After).map_err(|_| bad());
    }
    let percent = text.strip_prefix("stall:").ok_or_else(bad)?;
    percent.parse().ok().filter(|percent| *percent <= 100).map(AckMode::Stall).ok_or_else(bad)
}

/// Returns a pseudo-random value between -1 and 1; each `salt` gives another sequence.
fn noise(number: u32, salt: u32) -> f64 {
    let mut mixed = number ^ salt.wrapping_mul(0x9E37_79B9);
    for _ in 0..2 {
        mixed = (mixed ^ mixed >> 16).wrapping_mul(0x7FEB_352D);
        mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846C_A68B);
    }
    f64::from(mixed >> 16) / 32_768.0 - 1.0
}

fn motion(number: u32) -> Motion {
    if number % TRIP_S < DRIVE_S { Motion::Moving } else { Motion::Halted }
}

/// Returns the distance driven in metres. The van stops every 90 s, as in a town, and drives 60
/// km/h in between.
fn driven_m(number: u32) -> f64 {
    let (trips, second) = (number / TRIP_S, number % TRIP_S);
    let drive = |second: u32| {
        let turns = f64::from(second) / 90.0;
        8.3 * 90.0 * (turns - (turns * std::f64::consts::TAU).sin() / std::f64::consts::TAU)
    };
    f64::from(trips % 100_000) * drive(DRIVE_S) + drive(second.min(DRIVE_S))
}

/// Returns the position in degrees, on a winding road, with a receiver error that varies by some
/// metres.
fn place(number: u32) -> (f64, f64) {
    let way = driven_m(number);
    let wander = |salt: f64| (f64::from(number % 86_400) / (40.0 + salt) + salt).sin() * 2.0;
    let north = 9_000.0 * (way / 9_000.0).sin() + 700.0 * (way / 450.0).sin() + wander(3.0);
    let east = 9_000.0 * (way / 11_000.0).cos() + 700.0 * (way / 380.0).cos() + wander(7.0);
    (
        48.3 + (north + 0.1 * noise(number, 1)) / 111_195.0,
        10.9 + (east + 0.1 * noise(number, 2)) / 73_970.0,
    )
}

/// Returns the point with this number, which determines all of its content.
fn point(seq: Seq) -> Option<TrackPoint> {
    let number = u32::try_from(seq.get() % 4_000_000_000).ok()?;
    let (here, ahead) = (place(number), place(number + 1));
    let (north, east) = ((ahead.0 - here.0) * 111_195.0, (ahead.1 - here.1) * 73_970.0);
    let speed_mps = (north.hypot(east) + 0.05 * noise(number, 3)).max(0.0);
    let course = (east.atan2(north).to_degrees() + noise(number, 4)).rem_euclid(360.0);
    let hdop = 0.8 + f64::from(number / 47 % 5) / 10.0;
    let altitude = 480.0 + 30.0 * (driven_m(number) / 2_500.0).sin() + 0.3 * noise(number, 5);
    let fix = Fix {
        utc: UtcTime::from_unix_ms(1_790_000_000_000 + i64::from(number) * 1000)?,
        read_at: Uptime::ZERO,
        position: Position::from_degrees(here.0, here.1)?,
        mode: FixMode::ThreeD,
        quality: FixQuality::Gps,
        altitude_msl: Height::from_metres(altitude),
        height_hae: Height::from_metres(altitude + 47.0),
        speed: Speed::from_mps(speed_mps),
        course: Course::from_degrees(course).filter(|_| speed_mps >= 0.5),
        hdop: Dop::new(hdop),
        satellites_used: Some(8 + u8::try_from(number / 61 % 5).ok()?),
        accuracy: Distance::from_metres(hdop * 5.0),
    };
    let odometer = Distance::from_metres(driven_m(number))?;
    Some(TrackPoint { fix, motion: motion(number), odometer }.rounded())
}

/// Returns the event with this number.
fn event(seq: Seq) -> Option<EventRecord> {
    let number = i64::try_from(seq.get() % 4_000_000_000).ok()?;
    let parcels = (0..seq.get() % 40)
        .map(|more| Parcel {
            key: format!("RIG{seq}X{more}"),
            epc: format!("urn:rig:{seq}:{more}"),
        })
        .collect();
    let station = "urn:rig:station".to_owned();
    let event = Event {
        id: EventId(u128::from(seq.get()).to_le_bytes()),
        utc: UtcTime::from_unix_ms(1_790_000_000_000 + number * 1000)?,
        time_source: TimeSource::Gnss,
        location: None,
        route: None,
        utc_offset_min: None,
        kind: EventKind::Departed { station, parcels, stops_total: 40 },
    };
    Some(EventRecord { seq, previous: None, event })
}

fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    // Ignored: a closed output means that the reader has finished.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Ranges of numbers in ascending order, with their total count.
#[derive(Debug, Default)]
struct PendingRanges {
    ranges: VecDeque<RangeInclusive<u64>>,
    count: u64,
}

impl PendingRanges {
    fn push(&mut self, seq: u64) {
        self.count += 1;
        match self.ranges.back_mut() {
            Some(last) if *last.end() + 1 == seq => *last = *last.start()..=seq,
            _ => self.ranges.push_back(seq..=seq),
        }
    }

    /// Removes up to `limit` numbers from the front, as one range.
    fn pop_front(&mut self, limit: u64) -> Option<RangeInclusive<Seq>> {
        let first = self.ranges.front_mut()?;
        let (from, to) = (*first.start(), (*first.end()).min(*first.start() + limit - 1));
        if to == *first.end() {
            self.ranges.pop_front();
        } else {
            *first = to + 1..=*first.end();
        }
        Some(Seq::new(from)..=Seq::new(to))
    }
}

/// Reads everything and prints the `H` and `R` lines. Returns the content, and whether all of it is
/// valid.
async fn check(outbox: &Outbox) -> Result<(PendingRanges, bool), OutboxError> {
    let (mut held, mut newest, mut wrong) = (PendingRanges::default(), Seq::ZERO, None);
    loop {
        let records = outbox.records_after(newest, None, READ_LIMIT).await?;
        for Record { seq, subject } in &records {
            let expected = point(*seq);
            let same =
                matches!((subject, &expected), (Subject::Point(is), Some(should)) if is == should);
            if *seq <= newest {
                wrong.get_or_insert(format!("{seq} after {newest}"));
            } else if !same {
                wrong.get_or_insert(format!("{seq} has another content"));
            }
            held.push(seq.get());
            newest = *seq;
        }
        if records.is_empty() {
            break;
        }
    }
    if !check_events(outbox).await? {
        wrong.get_or_insert("events are wrong".to_owned());
    }
    let stats = *outbox.stats().borrow();
    let pending = stats.pending - stats.events_pending;
    if pending != held.count {
        wrong.get_or_insert(format!("{pending} are said to wait"));
    }
    let ranges = held.ranges.iter().map(|range| format!("{}-{}", range.start(), range.end()));
    print_line(&format!("H {}", ranges.collect::<Vec<_>>().join(" ")));
    let oldest = held.ranges.front().map_or(0, |first| *first.start());
    let (count, next, word) = (held.count, outbox.first_seq(), wrong.as_deref().unwrap_or("ok"));
    print_line(&format!("R {oldest} {newest} {count} {next} {word}"));
    Ok((held, wrong.is_none()))
}

/// Reads all events and prints the `E` line. Returns whether they are in order and none is above
/// the number in the document.
async fn check_events(outbox: &Outbox) -> Result<bool, OutboxError> {
    let documents = outbox.documents();
    let newest = documents.iter().find(|(key, _)| key == NEWEST_DOC);
    let newest = newest.and_then(|(_, value)| String::from_utf8(value.clone()).ok()?.parse().ok());
    let newest = newest.unwrap_or(0);
    let (mut seqs, mut read, mut ok) = (Vec::new(), Seq::ZERO, true);
    loop {
        let events = outbox.events_after(read, EVENT_READ_LIMIT).await?;
        let Some(last) = events.last() else { break };
        ok &= events.iter().all(|is| is.seq > read && event(is.seq).as_ref() == Some(is));
        ok &= last.seq.get() <= newest;
        read = last.seq;
        seqs.extend(events.iter().map(|event| event.seq.to_string()));
    }
    ok &= outbox.stats().borrow().events_pending == seqs.len() as u64;
    print_line(&format!("E {newest} {}", seqs.join(" ")));
    Ok(ok)
}

/// The simulated broker.
#[derive(Debug)]
struct Broker {
    acks: AckMode,
    day_s: u64,
    sent: VecDeque<(Duration, Seq)>,
    /// Numbers not acknowledged while the link was down, or pending at the start.
    backlog: PendingRanges,
}

impl Broker {
    /// Returns the ranges acknowledged now: the newest first, then the backlog.
    fn due_acks(&mut self, elapsed: Duration) -> Vec<RangeInclusive<Seq>> {
        let Some(after) = self.acks.ack_delay(elapsed, self.day_s) else {
            if !matches!(self.acks, AckMode::None) {
                let failures = self.sent.drain(..).map(|(_, seq)| seq.get());
                failures.for_each(|seq| self.backlog.push(seq));
            }
            self.sent.clear();
            return Vec::new();
        };
        let (mut first, mut last) = (None, Seq::ZERO);
        while let Some((_, seq)) = self.sent.pop_front_if(|(at, _)| elapsed >= *at + after) {
            first.get_or_insert(seq);
            last = seq;
        }
        let fresh = first.map(|first| first..=last);
        fresh.into_iter().chain(self.backlog.pop_front(BACKLOG_ACK_BATCH)).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "a rig runs as the world does")]
fn now() -> Instant {
    Instant::now()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Prints a guarantee, and waits for the answer in lockstep.
fn print_promise(line: &str, lockstep: bool) {
    print_line(line);
    // At the end of the input, the read returns at once.
    if lockstep {
        drop(std::io::stdin().lock().read_line(&mut String::new()));
    }
}

/// Reads and acknowledges everything, as the uplink does with an ideal link.
async fn drain(outbox: &Outbox) -> Result<(), OutboxError> {
    let began = now();
    let mut newest = Seq::ZERO;
    loop {
        let records = outbox.records_after(newest, None, READ_LIMIT).await?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else { break };
        newest = last.seq;
        outbox.acknowledge(&(first.seq..=last.seq));
        outbox.delete_acked().await?;
    }
    print_line(&format!("T drained {:.3}", began.elapsed().as_secs_f64()));
    print_line(&format!("M {}", resident_kib()));
    Ok(())
}

/// State of a run.
struct Run {
    outbox: Outbox,
    arguments: Arguments,
    started: Instant,
    broker: Broker,
    next: Seq,
    accepted: u64,
    durable: Seq,
    events_durable: Seq,
    flushed_at: Option<Duration>,
    acked_since: Option<Duration>,
}

impl Run {
    /// Waits until the next point is due, or returns the elapsed time if there is no rate.
    async fn elapsed(&self) -> Duration {
        let Arguments { rate_hz, is_virtual, .. } = self.arguments;
        if rate_hz == 0.0 {
            return self.started.elapsed();
        }
        #[expect(clippy::cast_precision_loss, reason = "2^53 points")]
        let due = Duration::from_secs_f64(self.accepted as f64 / rate_hz);
        if is_virtual {
            return due;
        }
        sleep_until(self.started + due).await;
        self.started.elapsed()
    }

    fn accept(&mut self, elapsed: Duration) {
        let has_rate = self.arguments.rate_hz > 0.0;
        let left = self.arguments.points - self.accepted;
        let count = if has_rate { 1 } else { BATCH_SIZE.min(left) };
        let from = self.next.get();
        let records: Vec<Record> = (from..from + count)
            .filter_map(|seq| {
                let seq = Seq::new(seq);
                point(seq).map(|point| Record { seq, subject: Subject::Point(point) })
            })
            .collect();
        let Some(Record { seq, subject: Subject::Point(newest) }) = records.last() else { return };
        let fix = &newest.fix;
        let counted = Some((fix.utc, fix.position));
        let state = TripState { motion: newest.motion, odometer: newest.odometer, counted };
        self.outbox.accept(&records, &state, Uptime::new(elapsed));
        print_promise(&format!("A {seq}"), self.arguments.lockstep);
        self.broker.sent.extend(records.iter().map(|record| (elapsed, record.seq)));
        (self.next, self.accepted) = (seq.next(), self.accepted + count);
        if self.arguments.events && self.next.get() % EVENT_INTERVAL == EVENT_OFFSET {
            self.accept_event(elapsed);
        }
    }

    fn accept_event(&mut self, elapsed: Duration) {
        let seq = self.next;
        let value = Some(seq.to_string().into_bytes());
        let document = StoredDoc { key: NEWEST_DOC.to_owned(), value };
        let events = event(seq).into_iter().collect();
        self.outbox.accept_events(events, vec![document], Uptime::new(elapsed));
        print_promise(&format!("V {seq}"), self.arguments.lockstep);
        self.next = seq.next();
    }

    async fn acknowledge_events(&mut self, elapsed: Duration) {
        if self.broker.acks.ack_delay(elapsed, self.broker.day_s).is_none() {
            return;
        }
        let events =
            self.outbox.events_after(Seq::ZERO, EVENT_READ_LIMIT).await.unwrap_or_default();
        for EventRecord { seq, .. } in events {
            print_promise(&format!("G {seq}"), self.arguments.lockstep);
            self.outbox.acknowledge_events(&[seq]);
        }
    }

    async fn acknowledge(&mut self, elapsed: Duration) {
        for range in self.broker.due_acks(elapsed) {
            let line = format!("D {} {}", range.start(), range.end());
            print_promise(&line, self.arguments.lockstep);
            self.outbox.acknowledge(&range);
        }
        if self.arguments.events {
            self.acknowledge_events(elapsed).await;
        }
        if !self.outbox.has_acked_rows() {
            self.acked_since = None;
        } else if elapsed.saturating_sub(*self.acked_since.get_or_insert(elapsed))
            >= DELETE_ACKED_AFTER
        {
            report_error(self.outbox.delete_acked().await);
        }
    }

    async fn flush(&mut self, elapsed: Duration) {
        // The agent's second, minus the tolerance for a late timer.
        let second = Duration::from_millis(980);
        let pause = self.arguments.rate_hz > 0.0
            && !self.outbox.is_urgent()
            && self.flushed_at.is_some_and(|at| elapsed.saturating_sub(at) < second);
        let is_due = self.outbox.flush_due().is_some_and(|due| due <= Uptime::new(elapsed));
        if is_due && !pause {
            self.flushed_at = Some(elapsed);
            report_error(self.outbox.flush_by(Uptime::new(elapsed)).await);
        }
        self.print_durable();
    }

    fn print_durable(&mut self) {
        let durable = self.outbox.stats().borrow().durable;
        if durable > self.durable {
            self.durable = durable;
            print_promise(&format!("C {durable}"), self.arguments.lockstep);
        }
        let events_durable = self.outbox.stats().borrow().events_newest;
        if self.arguments.events && events_durable > self.events_durable {
            self.events_durable = events_durable;
            print_promise(&format!("K {events_durable}"), self.arguments.lockstep);
        }
    }
}

fn report_error(result: Result<(), OutboxError>) {
    if let Err(error) = result {
        eprintln!("{error}");
    }
}

async fn run(arguments: Arguments) -> Result<bool, OutboxError> {
    let outbox = Outbox::open(arguments.outbox.clone()).await?;
    if arguments.drain {
        drain(&outbox).await?;
        outbox.close().await?;
        return Ok(true);
    }
    let (held, ok) = check(&outbox).await?;
    if arguments.check {
        print_line(&format!("M {}", resident_kib()));
        outbox.close().await?;
        return Ok(ok);
    }
    let (began, next) = (now(), outbox.first_seq());
    let (acks, day_s) = (arguments.acks, next.get());
    let broker = Broker { acks, day_s, sent: VecDeque::new(), backlog: held };
    let (durable, events_durable) = {
        let stats = outbox.stats();
        let stats = stats.borrow();
        (stats.durable, stats.events_newest)
    };
    let (flushed_at, acked_since) = (None, None);
    let points = arguments.points;
    let mut run = Run {
        outbox,
        arguments,
        started: began,
        broker,
        next,
        accepted: 0,
        durable,
        events_durable,
        flushed_at,
        acked_since,
    };
    while run.accepted < points {
        let elapsed = run.elapsed().await;
        run.accept(elapsed);
        run.acknowledge(elapsed).await;
        run.flush(elapsed).await;
    }
    report_error(run.outbox.flush().await);
    print_line(&format!("T inserted {:.3}", began.elapsed().as_secs_f64()));
    print_line(&format!("M {}", resident_kib()));
    run.outbox.close().await?;
    run.print_durable();
    Ok(ok)
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
            print_line(&format!("R 0 0 0 0 {error}"));
            ExitCode::FAILURE
        }
    }
}
