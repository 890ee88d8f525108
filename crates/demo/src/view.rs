//! Renders the view. Everything about the van is from [`Arrivals`]; the rest are counters.

use std::time::Duration;

use super::DemoPages;
use super::backend::{POSTCODE, TOKEN, TrackingLink};
use super::network::{ByteCounts, NetworkState};
use super::parcel_status::{Notice, ParcelStatuses};
use super::received::ReceivedMessages;
use super::style::{Line, Span, Style, format_bytes, group_digits, pad, width, with_count};
use waypost::outbox::OutboxStats;
use waypost::uplink::{LinkState, LinkStatus};
use waypost_model::units::Uptime;
use waypost_wire::payloads::{ConnectionState, MotionState, Point};

/// Phase of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The van is on its way.
    Driving,
    /// The van has stopped, and the outbox drains.
    Draining,
    /// The agent disconnects.
    Stopping,
}

/// Input of one frame.
#[derive(Clone, Debug)]
pub(super) struct Snapshot<'a> {
    /// The route's name, speed and receiver.
    pub(super) title: &'a str,
    pub(super) pages: &'a DemoPages,
    /// Time since the start of the demo.
    pub(super) now: Uptime,
    pub(super) phase: Phase,
    pub(super) received: &'a ReceivedMessages,
    pub(super) link: &'a LinkStatus,
    pub(super) outbox: OutboxStats,
    /// Samples of the outbox backlog, oldest first.
    pub(super) backlog_samples: &'a [u64],
    pub(super) network: NetworkState,
    pub(super) byte_counts: ByteCounts,
}

/// Width of the column of facts.
const FACTS_COLUMNS: usize = 40;
/// Width of the labels in it.
const LABEL_COLUMNS: usize = 10;
/// Minimum width of the map.
const MIN_MAP_COLUMNS: usize = 20;
/// Maximum size; on larger terminals the map would be too far from the facts.
const MAX_COLUMNS: usize = 120;
const MAX_ROWS: usize = 32;

/// Number of values in the outbox sparkline.
pub(super) const CURVE_COLUMNS: usize = FACTS_COLUMNS - LABEL_COLUMNS - 1;

/// Renders the whole view, at most `columns` wide and `rows` high.
pub(super) fn frame(snapshot: &Snapshot<'_>, columns: usize, rows: usize) -> Vec<Line> {
    let (columns, rows) = (columns.min(MAX_COLUMNS), rows.min(MAX_ROWS));
    let mut lines = vec![header(snapshot, columns), rule(columns)];
    lines.extend(pages(snapshot.pages));
    lines.push(rule(columns));
    // Other rows: header, three rules, two lines each of pages and parcels, and the footer.
    let body_rows = rows.saturating_sub(9);
    let mut facts = facts(snapshot);
    if facts.len() > body_rows {
        facts.retain(|line| !line.is_empty());
    }
    let map_columns = columns.saturating_sub(FACTS_COLUMNS + 3);
    if map_columns < MIN_MAP_COLUMNS {
        lines.extend(facts.into_iter().take(body_rows));
    } else {
        let newest = snapshot.received.newest.as_ref();
        let van = newest.map(|(point, _)| (point.seq, point.lat, point.lon));
        let map = snapshot.received.trail.draw(van, map_columns, body_rows);
        let mut facts = facts.into_iter();
        for row in map {
            let mut line = vec![Span::new(" ", Style::Plain)];
            line.extend(row);
            line.push(Span::new(" │", Style::Faint));
            line.extend(facts.next().unwrap_or_default());
            lines.push(line);
        }
    }
    lines.push(rule(columns));
    lines.extend(parcel_lines(snapshot.received, columns));
    lines.push(footer(snapshot));
    lines.truncate(rows);
    lines
}

fn header(snapshot: &Snapshot<'_>, columns: usize) -> Line {
    let elapsed = format_elapsed(snapshot.now.since_start());
    let mut line = vec![
        Span::new(" waypost demo", Style::Strong),
        Span::new(format!("  {}", snapshot.title), Style::Faint),
    ];
    pad(&mut line, columns.saturating_sub(elapsed.len() + 1));
    line.push(Span::new(elapsed, Style::Plain));
    line
}

/// Renders the URLs of the pages.
fn pages(pages: &DemoPages) -> [Line; 2] {
    let DemoPages { dispatch: desk, parcel: TrackingLink { number, url } } = pages;
    let mut first = fact("dispatch", desk.clone(), Style::Strong);
    first.push(Span::new(format!("  sign in with the token {TOKEN}"), Style::Faint));
    let mut second = fact("parcel", url.clone(), Style::Strong);
    second.push(Span::new(format!("  number {number}, postcode {POSTCODE}"), Style::Faint));
    [first, second]
}

/// Renders the URLs as text for an output that is not a terminal; written once, at the start.
pub(super) fn lines(
    DemoPages { dispatch: desk, parcel: TrackingLink { number, url } }: &DemoPages,
) -> String {
    format!("dispatch {desk}  token {TOKEN}\nparcel   {url}  number {number}, postcode {POSTCODE}")
}

fn rule(columns: usize) -> Line {
    vec![Span::new("─".repeat(columns), Style::Faint)]
}

fn footer(snapshot: &Snapshot<'_>) -> Line {
    let Snapshot { phase, network: coverage, now, outbox, received: arrivals, link, .. } = snapshot;
    let (text, ink) = match (phase, coverage) {
        (Phase::Draining, _) => {
            let waiting = with_count(outbox.pending, "record");
            (format!("the van has stopped; {waiting} left to send, Ctrl-C skips them"), Style::Warn)
        }
        (Phase::Stopping, _) => ("stopping".to_owned(), Style::Faint),
        (Phase::Driving, NetworkState::Cut { until, .. }) => {
            let left_s = until.since(*now).as_secs_f64().ceil();
            (format!("network cut, {left_s} s left"), Style::Bad)
        }
        (Phase::Driving, NetworkState::Connected) if arrivals.newest.is_none() => {
            ("waiting for the first position; press Ctrl-C to stop".to_owned(), Style::Faint)
        }
        (Phase::Driving, NetworkState::Connected) if link.state != LinkState::Connected => {
            ("network available, the agent will reconnect".to_owned(), Style::Warn)
        }
        (Phase::Driving, NetworkState::Connected) => {
            ("press Ctrl-C to stop".to_owned(), Style::Faint)
        }
    };
    vec![Span::new(format!(" {text}"), ink)]
}

fn facts(snapshot: &Snapshot<'_>) -> Vec<Line> {
    let mut lines = van(snapshot);
    lines.push(Line::new());
    lines.extend(link_facts(snapshot));
    lines.push(Line::new());
    lines.extend(received(snapshot.received));
    lines
}

fn fact(label: &str, text: impl Into<String>, ink: Style) -> Line {
    vec![Span::new(format!(" {label:<LABEL_COLUMNS$}"), Style::Faint), Span::new(text, ink)]
}

/// Renders the newest position received.
fn van(snapshot: &Snapshot<'_>) -> Vec<Line> {
    let Some((point, at)) = &snapshot.received.newest else {
        let labels = ["position", "", "speed", "course", "status"];
        return labels.map(|label| fact(label, "–", Style::Faint)).to_vec();
    };
    let age_s = snapshot.now.since(*at).as_secs_f64();
    let stale = age_s >= STALE_AFTER_S;
    let age = format!("{} UTC, {age_s:.1} s ago", time_of_day(point));
    let (status, ink) = match point.motion {
        Some(MotionState::Moving) => ("● driving", Style::Good),
        Some(MotionState::Halted) => ("○ standing", Style::Warn),
        None => ("–", Style::Faint),
    };
    vec![
        fact("position", format_position(point), Style::Strong),
        fact("", age, if stale { Style::Bad } else { Style::Plain }),
        fact("speed", format_speed(point), Style::Strong),
        fact("course", format_course(point), Style::Plain),
        fact("status", status, ink),
    ]
}

/// Age in seconds above which a position is highlighted as stale.
const STALE_AFTER_S: f64 = 3.0;

/// Renders the link, the bytes and the outbox.
fn link_facts(snapshot: &Snapshot<'_>) -> Vec<Line> {
    let Snapshot { outbox, byte_counts: carried, .. } = snapshot;
    let (state, ink) = link(snapshot);
    let waiting = with_count(outbox.pending, "record");
    let up =
        format!("↑ {}  ↓ {}", format_bytes(carried.up_bytes), format_bytes(carried.down_bytes));
    vec![
        fact("link", state, ink),
        fact("wire", up, Style::Plain),
        fact("outbox", format!("{waiting} waiting"), Style::Plain),
        fact("", sparkline(snapshot.backlog_samples), Style::Warn),
    ]
}

fn link(snapshot: &Snapshot<'_>) -> (&'static str, Style) {
    match (snapshot.network, snapshot.link.state) {
        (NetworkState::Cut { .. }, LinkState::BackingOff { .. }) => {
            ("✗ cut, backing off", Style::Bad)
        }
        (NetworkState::Cut { .. }, _) => ("✗ cut", Style::Bad),
        (_, LinkState::Connected) => ("● connected", Style::Good),
        (_, LinkState::Connecting) => ("◌ connecting", Style::Warn),
        (_, LinkState::BackingOff { .. }) => ("◌ backing off", Style::Warn),
        (_, LinkState::Stopped) => ("○ stopped", Style::Faint),
    }
}

/// Renders the counters of `connection` and `track`.
fn received(arrivals: &ReceivedMessages) -> Vec<Line> {
    let ReceivedMessages { points, track_messages, backlog, duplicates, payload_bytes, .. } =
        arrivals;
    let gaps = arrivals.gaps();
    let seen = |number: u64, ink| if number == 0 { Style::Plain } else { ink };
    let messages = with_count(*track_messages, "message");
    let (agent, ink) = match arrivals.connection {
        Some(ConnectionState::Online) => ("online", Style::Plain),
        Some(ConnectionState::Offline) => ("offline", Style::Plain),
        Some(ConnectionState::ConnectionBroken) => ("connection broken", Style::Bad),
        None => ("–", Style::Faint),
    };
    let mut lines = vec![
        fact("agent", agent, ink),
        fact("track", with_count(*points, "point"), Style::Strong),
        fact("", format!("in {messages}"), Style::Plain),
        fact("backlog", with_count(*backlog, "point"), seen(*backlog, Style::Warn)),
        fact("repeated", group_digits(*duplicates), Style::Plain),
        fact("gaps", group_digits(gaps), seen(gaps, Style::Warn)),
        fact("payload", format_bytes(*payload_bytes), Style::Plain),
    ];
    if arrivals.unreadable > 0 {
        lines.push(fact("unreadable", with_count(arrivals.unreadable, "message"), Style::Bad));
    }
    lines
}

/// Renders the parcel counts, the position on the route, and the newest notices.
fn parcel_lines(arrivals: &ReceivedMessages, columns: usize) -> [Line; 2] {
    let ReceivedMessages { parcel_statuses: shipments, .. } = arrivals;
    let mut parcels = fact("parcels", stage_counts(shipments, " · "), Style::Strong);
    parcels.push(Span::new(format!("   {}", stop(arrivals)), Style::Plain));
    let mut events = fact("events", "", Style::Plain);
    for (number, told) in shipments.newest().enumerate() {
        let Notice { time, text: what, parcel } = told;
        let parcel = parcel.as_ref().map_or_else(String::new, |parcel| format!(" {parcel}"));
        let (between, ink) = if number == 0 { ("", Style::Good) } else { (" · ", Style::Plain) };
        let text = format!("{between}{time} {what}{parcel}");
        // A truncated event would be misleading.
        if width(&events) + text.chars().count() > columns {
            break;
        }
        events.push(Span::new(text, ink));
    }
    [parcels, events]
}

/// Renders counts by stage: `17 out · 5 delivered`.
pub(super) fn stage_counts(shipments: &ParcelStatuses, between: &str) -> String {
    let counts = shipments.counts();
    let counts = counts
        .iter()
        .map(|(stage, number)| format!("{} {}", group_digits(*number), stage.as_str()));
    let text = counts.collect::<Vec<_>>().join(between);
    if text.is_empty() { "none".to_owned() } else { text }
}

fn stop(arrivals: &ReceivedMessages) -> String {
    match (arrivals.stop, arrivals.parcel_statuses.stops_total) {
        (Some(stop), Some(total)) => format!("stop {stop} of {total}"),
        (Some(stop), None) => format!("stop {stop}"),
        (None, _) => String::new(),
    }
}

/// Renders the view in one line, for an output that is not a terminal.
pub(super) fn plain_line(snapshot: &Snapshot<'_>) -> String {
    let Snapshot { received: arrivals, outbox, byte_counts: carried, .. } = snapshot;
    let van = arrivals.newest.as_ref().map_or_else(
        || "no position yet".to_owned(),
        |(point, _)| {
            let (place, time, speed) =
                (format_position(point), time_of_day(point), format_speed(point));
            format!("{place} {time} {speed}")
        },
    );
    let (stages, stop) = (stage_counts(&arrivals.parcel_statuses, ", "), stop(arrivals));
    let line = format!(
        "{}  {van}  {}  outbox {}  track {} backlog {} repeated {} gaps {}  wire {}  parcels {stages}  {stop}",
        format_elapsed(snapshot.now.since_start()),
        link(snapshot).0,
        outbox.pending,
        arrivals.points,
        arrivals.backlog,
        arrivals.duplicates,
        arrivals.gaps(),
        format_bytes(carried.up_bytes + carried.down_bytes),
    );
    line.trim_end().to_owned()
}

fn format_position(point: &Point) -> String {
    let north = if point.lat < 0.0 { 'S' } else { 'N' };
    let east = if point.lon < 0.0 { 'W' } else { 'E' };
    format!("{:.5}° {north}  {:.5}° {east}", point.lat.abs(), point.lon.abs())
}

/// Returns the time of day: `06:41:07` for `2026-11-23T06:41:07.000Z`.
fn time_of_day(point: &Point) -> &str {
    point.ts.get(11..19).unwrap_or(&point.ts)
}

fn format_speed(point: &Point) -> String {
    point.speed_mps.map_or_else(|| "–".to_owned(), |mps| format!("{:.0} km/h", mps * 3.6))
}

fn format_course(point: &Point) -> String {
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

/// Formats `1:23:45`, or `23:45`.
pub(super) fn format_elapsed(elapsed: Duration) -> String {
    let s = elapsed.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// Renders a column for each value; the highest one is full.
fn sparkline(values: &[u64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    /// Minimum full scale, so that a batch that is still filling does not look like a backlog.
    const LEAST_TOP: u64 = 100;
    let top = values.iter().copied().max().unwrap_or(0).max(LEAST_TOP);
    let level = |value: u64| usize::try_from(value * 7 / top).unwrap_or(7);
    values.iter().map(|value| LEVELS[level(*value).min(7)]).collect()
}

#[cfg(test)]
pub(super) mod tests;
