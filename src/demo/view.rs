//! What is known → what is drawn. Everything about the van is from [`Arrivals`]; the rest are counters.

use std::time::Duration;

use super::Pages;
use super::arrivals::Arrivals;
use super::backend::{Link, POSTCODE, TOKEN};
use super::ink::{Ink, Line, Span, bytes, counted, grouped, pad, width};
use super::network::{Carried, Coverage};
use super::shipments::{Shipments, Told};
use crate::outbox::OutboxStats;
use crate::relay::{LinkState, LinkStatus};
use crate::units::Uptime;
use crate::wire::json::{ConnectionState, Point, StopStatus};

/// What the demo is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The van is on its way.
    Driving,
    /// It has stopped, and the outbox runs empty.
    Draining,
    /// The agent takes its leave.
    Stopping,
}

/// All that a frame shows.
#[derive(Clone, Debug)]
pub(super) struct Snapshot<'a> {
    /// The route's name, and how it is driven.
    pub(super) title: &'a str,
    pub(super) pages: &'a Pages,
    /// Since the demo began.
    pub(super) now: Uptime,
    pub(super) phase: Phase,
    pub(super) arrivals: &'a Arrivals,
    pub(super) link: &'a LinkStatus,
    pub(super) outbox: OutboxStats,
    /// What waited in the outbox, the newest last.
    pub(super) waited: &'a [u64],
    pub(super) coverage: Coverage,
    pub(super) carried: Carried,
}

/// The facts take so many columns.
const FACTS_COLUMNS: usize = 40;
/// Of them, so many are for labels.
const LABEL_COLUMNS: usize = 10;
/// A smaller map would show nothing.
const MIN_MAP_COLUMNS: usize = 20;
/// Wider and higher, the map would be torn from the facts.
const MAX_COLUMNS: usize = 120;
const MAX_ROWS: usize = 32;

/// How many values the curve of the outbox has.
pub(super) const CURVE_COLUMNS: usize = FACTS_COLUMNS - LABEL_COLUMNS - 1;

/// The whole view, at most `columns` wide and `rows` high.
pub(super) fn frame(snapshot: &Snapshot<'_>, columns: usize, rows: usize) -> Vec<Line> {
    let (columns, rows) = (columns.min(MAX_COLUMNS), rows.min(MAX_ROWS));
    let mut lines = vec![header(snapshot, columns), rule(columns)];
    lines.extend(pages(snapshot.pages));
    lines.push(rule(columns));
    // Beside the body: header, three rules, two lines each of pages and shipments, and the footer.
    let body_rows = rows.saturating_sub(9);
    let mut facts = facts(snapshot);
    if facts.len() > body_rows {
        facts.retain(|line| !line.is_empty());
    }
    let map_columns = columns.saturating_sub(FACTS_COLUMNS + 3);
    if map_columns < MIN_MAP_COLUMNS {
        lines.extend(facts.into_iter().take(body_rows));
    } else {
        let newest = snapshot.arrivals.newest.as_ref();
        let van = newest.map(|(point, _)| (point.seq, point.lat, point.lon));
        let map = snapshot.arrivals.trail.draw(van, map_columns, body_rows);
        let mut facts = facts.into_iter();
        for row in map {
            let mut line = vec![Span::new(" ", Ink::Plain)];
            line.extend(row);
            line.push(Span::new(" │", Ink::Faint));
            line.extend(facts.next().unwrap_or_default());
            lines.push(line);
        }
    }
    lines.push(rule(columns));
    lines.extend(shipments(snapshot.arrivals, columns));
    lines.push(footer(snapshot));
    lines.truncate(rows);
    lines
}

fn header(snapshot: &Snapshot<'_>, columns: usize) -> Line {
    let elapsed = minutes(snapshot.now.since_start());
    let mut line = vec![
        Span::new(" waypost demo", Ink::Strong),
        Span::new(format!("  {}", snapshot.title), Ink::Faint),
    ];
    pad(&mut line, columns.saturating_sub(elapsed.len() + 1));
    line.push(Span::new(elapsed, Ink::Plain));
    line
}

/// Where to look with a browser.
fn pages(pages: &Pages) -> [Line; 2] {
    let Pages { desk, parcel: Link { number, url } } = pages;
    let mut first = fact("desk", desk.clone(), Ink::Strong);
    first.push(Span::new(format!("  sign in with the token {TOKEN}"), Ink::Faint));
    let mut second = fact("parcel", url.clone(), Ink::Strong);
    second.push(Span::new(format!("  number {number}, postcode {POSTCODE}"), Ink::Faint));
    [first, second]
}

/// For standard output that is no terminal: the same once, ahead of all.
pub(super) fn lines(Pages { desk, parcel: Link { number, url } }: &Pages) -> String {
    format!("desk    {desk}  token {TOKEN}\nparcel  {url}  number {number}, postcode {POSTCODE}")
}

fn rule(columns: usize) -> Line {
    vec![Span::new("─".repeat(columns), Ink::Faint)]
}

fn footer(snapshot: &Snapshot<'_>) -> Line {
    let Snapshot { phase, coverage, now, outbox, arrivals, link, .. } = snapshot;
    let (text, ink) = match (phase, coverage) {
        (Phase::Draining, _) => {
            let waiting = counted(outbox.pending, "record");
            (format!("the van stands still; {waiting} left to send, Ctrl-C leaves them"), Ink::Warn)
        }
        (Phase::Stopping, _) => ("stopping".to_owned(), Ink::Faint),
        (Phase::Driving, Coverage::Cut { until, .. }) => {
            let left_s = until.since(*now).as_secs_f64().ceil();
            (format!("the network is gone, for {left_s} s more"), Ink::Bad)
        }
        (Phase::Driving, Coverage::Covered) if arrivals.newest.is_none() => {
            ("waiting for the first position; Ctrl-C ends it".to_owned(), Ink::Faint)
        }
        (Phase::Driving, Coverage::Covered) if link.state != LinkState::Connected => {
            ("the network is there, and the agent will try it again".to_owned(), Ink::Warn)
        }
        (Phase::Driving, Coverage::Covered) => ("Ctrl-C ends it".to_owned(), Ink::Faint),
    };
    vec![Span::new(format!(" {text}"), ink)]
}

fn facts(snapshot: &Snapshot<'_>) -> Vec<Line> {
    let mut lines = van(snapshot);
    lines.push(Line::new());
    lines.extend(way(snapshot));
    lines.push(Line::new());
    lines.extend(received(snapshot.arrivals));
    lines
}

fn fact(label: &str, text: impl Into<String>, ink: Ink) -> Line {
    vec![Span::new(format!(" {label:<LABEL_COLUMNS$}"), Ink::Faint), Span::new(text, ink)]
}

/// The newest position that was received.
fn van(snapshot: &Snapshot<'_>) -> Vec<Line> {
    let Some((point, at)) = &snapshot.arrivals.newest else {
        let labels = ["position", "", "speed", "course", "status"];
        return labels.map(|label| fact(label, "–", Ink::Faint)).to_vec();
    };
    let age_s = snapshot.now.since(*at).as_secs_f64();
    let stale = age_s >= STALE_S;
    let age = format!("{} UTC, {age_s:.1} s ago", time_of_day(point));
    let (status, ink) = match point.stop_status {
        Some(StopStatus::InTransitTo) => ("● driving", Ink::Good),
        Some(StopStatus::IncomingAt) => ("◐ arriving", Ink::Good),
        Some(StopStatus::StoppedAt) => ("○ standing", Ink::Warn),
        None => ("–", Ink::Faint),
    };
    vec![
        fact("position", place(point), Ink::Strong),
        fact("", age, if stale { Ink::Bad } else { Ink::Plain }),
        fact("speed", speed(point), Ink::Strong),
        fact("course", course(point), Ink::Plain),
        fact("status", status, ink),
    ]
}

/// A position that is older is no news of the van.
const STALE_S: f64 = 3.0;

/// From the agent to the broker.
fn way(snapshot: &Snapshot<'_>) -> Vec<Line> {
    let Snapshot { outbox, carried, .. } = snapshot;
    let (state, ink) = link(snapshot);
    let waiting = counted(outbox.pending, "record");
    let up = format!("↑ {}  ↓ {}", bytes(carried.up_bytes), bytes(carried.down_bytes));
    vec![
        fact("link", state, ink),
        fact("wire", up, Ink::Plain),
        fact("outbox", format!("{waiting} waiting"), Ink::Plain),
        fact("", curve(snapshot.waited), Ink::Warn),
    ]
}

fn link(snapshot: &Snapshot<'_>) -> (&'static str, Ink) {
    match (snapshot.coverage, snapshot.link.state) {
        (Coverage::Cut { .. }, LinkState::BackingOff { .. }) => ("✗ cut, backing off", Ink::Bad),
        (Coverage::Cut { .. }, _) => ("✗ cut", Ink::Bad),
        (_, LinkState::Connected) => ("● connected", Ink::Good),
        (_, LinkState::Connecting) => ("◌ connecting", Ink::Warn),
        (_, LinkState::BackingOff { .. }) => ("◌ backing off", Ink::Warn),
        (_, LinkState::Stopped) => ("○ stopped", Ink::Faint),
    }
}

/// What came on `connection` and `track`.
fn received(arrivals: &Arrivals) -> Vec<Line> {
    let Arrivals { points, track_messages, backlog, duplicates, payload_bytes, .. } = arrivals;
    let gaps = arrivals.gaps();
    let seen = |number: u64, ink| if number == 0 { Ink::Plain } else { ink };
    let messages = counted(*track_messages, "message");
    let (agent, ink) = match arrivals.connection {
        Some(ConnectionState::Online) => ("online", Ink::Plain),
        Some(ConnectionState::Offline) => ("offline", Ink::Plain),
        Some(ConnectionState::ConnectionBroken) => ("connection broken", Ink::Bad),
        None => ("–", Ink::Faint),
    };
    let mut lines = vec![
        fact("agent", agent, ink),
        fact("track", counted(*points, "point"), Ink::Strong),
        fact("", format!("in {messages}"), Ink::Plain),
        fact("backlog", counted(*backlog, "point"), seen(*backlog, Ink::Warn)),
        fact("repeated", grouped(*duplicates), Ink::Plain),
        fact("gaps", grouped(gaps), seen(gaps, Ink::Warn)),
        fact("payload", bytes(*payload_bytes), Ink::Plain),
    ];
    if arrivals.unreadable > 0 {
        lines.push(fact("unreadable", counted(arrivals.unreadable, "message"), Ink::Bad));
    }
    lines
}

/// What became of the parcels, where the van is on its route, and what was said last.
fn shipments(arrivals: &Arrivals, columns: usize) -> [Line; 2] {
    let Arrivals { shipments, .. } = arrivals;
    let mut parcels = fact("parcels", stages(shipments, " · "), Ink::Strong);
    parcels.push(Span::new(format!("   {}", stop(arrivals)), Ink::Plain));
    let mut events = fact("events", "", Ink::Plain);
    for (number, told) in shipments.newest().enumerate() {
        let Told { time, what, parcel } = told;
        let parcel = parcel.as_ref().map_or_else(String::new, |parcel| format!(" {parcel}"));
        let (between, ink) = if number == 0 { ("", Ink::Good) } else { (" · ", Ink::Plain) };
        let text = format!("{between}{time} {what}{parcel}");
        // Half an event says nothing.
        if width(&events) + text.chars().count() > columns {
            break;
        }
        events.push(Span::new(text, ink));
    }
    [parcels, events]
}

/// `17 out · 5 delivered`.
pub(super) fn stages(shipments: &Shipments, between: &str) -> String {
    let counts = shipments.counts();
    let counts =
        counts.iter().map(|(stage, number)| format!("{} {}", grouped(*number), stage.name()));
    let text = counts.collect::<Vec<_>>().join(between);
    if text.is_empty() { "none".to_owned() } else { text }
}

fn stop(arrivals: &Arrivals) -> String {
    match (arrivals.stop, arrivals.shipments.stops_total) {
        (Some(stop), Some(total)) => format!("stop {stop} of {total}"),
        (Some(stop), None) => format!("stop {stop}"),
        (None, _) => String::new(),
    }
}

/// For standard output that is no terminal: the same in one line.
pub(super) fn plain(snapshot: &Snapshot<'_>) -> String {
    let Snapshot { arrivals, outbox, carried, .. } = snapshot;
    let van = arrivals.newest.as_ref().map_or_else(
        || "no position yet".to_owned(),
        |(point, _)| {
            let (place, time, speed) = (place(point), time_of_day(point), speed(point));
            format!("{place} {time} {speed}")
        },
    );
    let (stages, stop) = (stages(&arrivals.shipments, ", "), stop(arrivals));
    let line = format!(
        "{}  {van}  {}  outbox {}  track {} backlog {} repeated {} gaps {}  wire {}  parcels {stages}  {stop}",
        minutes(snapshot.now.since_start()),
        link(snapshot).0,
        outbox.pending,
        arrivals.points,
        arrivals.backlog,
        arrivals.duplicates,
        arrivals.gaps(),
        bytes(carried.up_bytes + carried.down_bytes),
    );
    line.trim_end().to_owned()
}

fn place(point: &Point) -> String {
    let north = if point.lat < 0.0 { 'S' } else { 'N' };
    let east = if point.lon < 0.0 { 'W' } else { 'E' };
    format!("{:.5}° {north}  {:.5}° {east}", point.lat.abs(), point.lon.abs())
}

/// `2026-11-23T06:41:07.000Z` → `06:41:07`.
fn time_of_day(point: &Point) -> &str {
    point.ts.get(11..19).unwrap_or(&point.ts)
}

fn speed(point: &Point) -> String {
    point.speed_mps.map_or_else(|| "–".to_owned(), |mps| format!("{:.0} km/h", mps * 3.6))
}

fn course(point: &Point) -> String {
    const WINDS: [(&str, char); 8] = [
        ("N", '↑'),
        ("NE", '↗'),
        ("E", '→'),
        ("SE", '↘'),
        ("S", '↓'),
        ("SW", '↙'),
        ("W", '←'),
        ("NW", '↖'),
    ];
    let Some(degrees) = point.course_deg else { return "–".to_owned() };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and the remainder is below 8"
    )]
    let (wind, arrow) = WINDS[(degrees / 45.0).round() as usize % 8];
    format!("{degrees:.0}° {arrow} {wind}")
}

/// `1:23:45`, or `23:45`.
pub(super) fn minutes(elapsed: Duration) -> String {
    let s = elapsed.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// A column for each value; the highest fills it.
fn curve(values: &[u64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    /// A batch that waits to be full is no backlog, and is not drawn as one.
    const LEAST_TOP: u64 = 100;
    let top = values.iter().copied().max().unwrap_or(0).max(LEAST_TOP);
    let level = |value: u64| usize::try_from(value * 7 / top).unwrap_or(7);
    values.iter().map(|value| LEVELS[level(*value).min(7)]).collect()
}

#[cfg(test)]
pub(super) mod tests;
