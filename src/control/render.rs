//! Renders [`Status`] as text for people.

use std::fmt::Write as _;

use super::status::{
    CardStatus, FixStatus, LinkStatus, OutboxStatus, ReceiverStatus, RouteStatus, ScannerStatus,
    Status,
};

/// Renders the status, one line for each part.
#[must_use]
pub fn text(status: &Status) -> String {
    let Status { version, van, uptime_s, time, journey, .. } = status;
    let mut lines = vec![format!("waypost {version}, {van}, running for {}", span(*uptime_s))];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<10}{text}"));
    line("receiver", receiver(&status.receiver));
    line("fix", status.fix.as_ref().map_or_else(|| "none yet".to_owned(), fix));
    let now = status.ts.as_ref().map(|ts| format!(", now {ts}")).unwrap_or_default();
    line("time", format!("{time}{now}"));
    let odometer = journey.odo_m.map(|odo| format!(", {:.1} km", odo / 1000.0)).unwrap_or_default();
    line("journey", format!("{}{odometer}", journey.motion));
    line("route", route(&status.route));
    if let Some(message) = &status.message {
        let age = span(message.age_s);
        line("message", format!("\"{}\", {age} ago", message.text));
    }
    line("outbox", outbox(&status.outbox));
    line("card", card(&status.card));
    line("link", link(&status.link));
    if let Some(refused) = rejected(&status.link) {
        line("rejected", refused);
    }
    for one in &status.scanners {
        line("scanner", scanner(one));
    }
    // Error and warning texts may have any origin.
    let plain = |line: String| line.replace(char::is_control, " ");
    lines.into_iter().map(|line| plain(line) + "\n").collect()
}

/// Renders the status as a single line.
#[must_use]
pub fn summary(status: &Status) -> String {
    let when = status.ts.as_deref().unwrap_or("no time yet");
    let fix = match &status.fix {
        Some(fix) => format!("{}D fix {}", fix.mode, ago(fix.age_s)),
        None => "no fix".to_owned(),
    };
    let line = format!(
        "{when} receiver {}, {fix}, {}, {} waiting, {} for {}",
        status.receiver.state,
        status.journey.motion,
        status.outbox.pending,
        status.link.state,
        span(status.link.for_s)
    );
    line.replace(char::is_control, " ")
}

fn receiver(receiver: &ReceiverStatus) -> String {
    let mut text = receiver.state.clone();
    let mut also = |words: Option<String>| {
        if let Some(words) = words {
            write!(text, ", {words}").expect("writing to a String cannot fail");
        }
    };
    also(receiver.error.clone());
    also(receiver.baud.map(|baud| format!("{baud} Bd")));
    also(receiver.line_percent.map(|percent| format!("line {percent} % full")));
    also(receiver.sats_in_view.map(|count| format!("{count} satellites in view")));
    also(receiver.cn0_dbhz.map(|cn0| format!("{cn0} dB-Hz")));
    also(receiver.antenna.as_ref().map(|antenna| format!("antenna {antenna}")));
    also(receiver.warning.as_ref().map(|warning| format!("warning \"{warning}\"")));
    also(receiver.setup.as_ref().map(|setup| format!("setup {setup}")));
    let counted = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
    also(counted(receiver.sentences_bad, "bad sentences"));
    also(counted(receiver.fixes_rejected, "fixes rejected"));
    text
}

fn fix(fix: &FixStatus) -> String {
    let sats = fix.sats.map(|count| format!(", {count} satellites")).unwrap_or_default();
    let accuracy = fix.acc_m.map(|metres| format!(", ±{metres:.1} m")).unwrap_or_default();
    let speed = fix.speed_mps.map(|mps| format!(", {:.0} km/h", mps * 3.6)).unwrap_or_default();
    format!("{}D{sats}{accuracy}{speed}, {}", fix.mode, ago(fix.age_s))
}

fn route(route: &RouteStatus) -> String {
    let RouteStatus { duty, name, manifest_rev, stops_remaining, next_stop, .. } = route;
    let mut text = if duty == "break" { "on a break".to_owned() } else { format!("{duty} duty") };
    let mut also = |words: Option<String>| {
        if let Some(words) = words {
            write!(text, ", {words}").expect("writing to a String cannot fail");
        }
    };
    also(name.as_ref().zip(*manifest_rev).map(|(name, rev)| format!("{name} revision {rev}")));
    also(stops_remaining.map(|count| format!("{count} stops left")));
    also(next_stop.map(|seq| format!("next is {seq}")));
    also(route.delay_s.map(|backdate| format!("{} min late", backdate / 60)));
    also(route.manifest_error.as_ref().map(|error| format!("manifest rejected: {error}")));
    text
}

fn outbox(outbox: &OutboxStatus) -> String {
    let oldest = match (outbox.pending, outbox.oldest_age_s) {
        (1.., Some(age)) => format!(" (the oldest {} old)", span(age)),
        _ => String::new(),
    };
    let OutboxStatus { pending, dropped, thinned, bytes, .. } = outbox;
    format!("{pending} waiting{oldest}, {dropped} dropped, {thinned} thinned, {}", size(*bytes))
}

fn card(card: &CardStatus) -> String {
    let device = card.device_bytes_today;
    let device =
        device.map(|bytes| format!(", {} by all programs", size(bytes))).unwrap_or_default();
    let life = match card.life_years {
        Some(years) if years >= 100.0 => "; estimated life over 100 years".to_owned(),
        Some(years) => format!("; estimated life {years:.1} years"),
        None => String::new(),
    };
    format!("{} written today{device}{life}", size(card.written_bytes_today))
}

fn link(link: &LinkStatus) -> String {
    let mut text = format!("{} for {}", link.state, span(link.for_s));
    if let Some(error) = &link.last_error {
        write!(text, ": {error}").expect("writing to a String cannot fail");
    }
    if let Some(reason) = &link.last_reason {
        write!(text, " (reason {reason})").expect("writing to a String cannot fail");
    }
    if let Some(wait) = link.backoff_s {
        write!(text, ", retrying after {wait:.0} s").expect("writing to a String cannot fail");
    }
    let LinkStatus { points_acked, payload_bytes, reconnects, .. } = link;
    write!(
        text,
        "; {points_acked} points acknowledged, {} sent, {reconnects} reconnects; {} transferred today, {} this month",
        size(*payload_bytes),
        size(link.air_bytes_today),
        size(link.air_bytes_month)
    )
    .expect("writing to a String cannot fail");
    text
}

/// Counts of rejected messages and commands, in either direction; `None` if there are none.
fn rejected(link: &LinkStatus) -> Option<String> {
    let LinkStatus { downlink_messages, downlink_dropped, .. } = link;
    let counts = [
        (*downlink_dropped, format!("of {downlink_messages} messages from the backend")),
        (link.commands_unsigned, "commands without a valid signature".to_owned()),
        (link.acks_unfit, "invalid acks".to_owned()),
        (link.answers_lost, "command results lost".to_owned()),
        (link.events_too_large, "events held back, too large for the broker".to_owned()),
    ];
    let counts: Vec<_> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!counts.is_empty()).then(|| counts.join(", "))
}

fn scanner(scanner: &ScannerStatus) -> String {
    let ScannerStatus { name, kind, state, scans, garbage, .. } = scanner;
    let error = scanner.error.as_ref().map(|error| format!(", {error}")).unwrap_or_default();
    let last = scanner.last_scan_age_s;
    let last = last.map(|age| format!(" (the last {} ago)", span(age))).unwrap_or_default();
    let garbage = if *garbage > 0 { format!(", {garbage} invalid lines") } else { String::new() };
    format!("{name} ({kind}) {state}{error}, {scans} scans{last}{garbage}")
}

fn ago(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s ago")
    } else {
        format!("{} ago", span(std::time::Duration::from_secs_f64(seconds).as_secs()))
    }
}

/// Renders a duration for people.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[expect(clippy::cast_precision_loss, reason = "display only")]
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.0} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{JourneyStatus, MessageStatus};

    fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            van: "VAN-042".to_owned(),
            ts: Some("2026-11-22T09:41:07.000Z".to_owned()),
            uptime_s: 11_520,
            receiver: ReceiverStatus {
                state: "open".to_owned(),
                mode: 3,
                warning: Some("jam\x1b[2Jmed".to_owned()),
                ..ReceiverStatus::default()
            },
            fix: Some(FixStatus {
                age_s: 0.4,
                mode: 3,
                sats: Some(11),
                acc_m: Some(2.1),
                speed_mps: Some(10.0),
                ..FixStatus::default()
            }),
            time: "trusted".to_owned(),
            journey: JourneyStatus { motion: "moving".to_owned(), odo_m: Some(1_234_567.0) },
            route: RouteStatus {
                duty: "on".to_owned(),
                name: Some("R-7".to_owned()),
                manifest_rev: Some(3),
                stops_remaining: Some(4),
                next_stop: Some(18),
                delay_s: Some(900),
                ..RouteStatus::default()
            },
            message: Some(MessageStatus { text: "ring\u{7} twice".to_owned(), age_s: 70 }),
            outbox: OutboxStatus {
                pending: 12,
                oldest_age_s: Some(200),
                bytes: 40_960,
                ..OutboxStatus::default()
            },
            card: CardStatus {
                written_bytes_today: 1_200_000,
                life_years: Some(61.2),
                ..CardStatus::default()
            },
            link: LinkStatus {
                state: "no link".to_owned(),
                for_s: 30,
                backoff_s: Some(8.0),
                last_error: Some("refused".to_owned()),
                last_reason: Some("0x87".to_owned()),
                ..LinkStatus::default()
            },
            scanners: vec![ScannerStatus {
                name: "hand".to_owned(),
                kind: "barcode".to_owned(),
                state: "open".to_owned(),
                scans: 3,
                last_scan_age_s: Some(7),
                ..ScannerStatus::default()
            }],
        }
    }

    #[test]
    fn a_person_reads_each_part_in_a_line_and_no_foreign_word_reaches_the_terminal_as_a_command() {
        assert_eq!(
            text(&status()),
            "waypost 0.1.0, VAN-042, running for 3 h\n  \
             receiver  open, warning \"jam [2Jmed\"\n  \
             fix       3D, 11 satellites, ±2.1 m, 36 km/h, 0.4 s ago\n  \
             time      trusted, now 2026-11-22T09:41:07.000Z\n  \
             journey   moving, 1234.6 km\n  \
             route     on duty, R-7 revision 3, 4 stops left, next is 18, 15 min late\n  \
             message   \"ring  twice\", 70 s ago\n  \
             outbox    12 waiting (the oldest 3 min old), 0 dropped, 0 thinned, 41 kB\n  \
             card      1200 kB written today; estimated life 61.2 years\n  \
             link      no link for 30 s: refused (reason 0x87), retrying after 8 s; \
             0 points acknowledged, 0 B sent, 0 reconnects; 0 B transferred today, 0 B this month\n  \
             scanner   hand (barcode) open, 3 scans (the last 7 s ago)\n"
        );
        let nothing_yet = text(&Status::default());
        assert!(!nothing_yet.contains("rejected"), "{nothing_yet}");
        assert!(nothing_yet.contains("fix       none yet"), "{nothing_yet}");
    }

    #[test]
    fn what_was_not_taken_has_a_line_of_its_own_and_only_then() {
        let link = LinkStatus {
            downlink_messages: 9,
            downlink_dropped: 2,
            commands_unsigned: 3,
            answers_lost: 1,
            ..LinkStatus::default()
        };
        let said = text(&Status { link, ..Status::default() });
        let line = "\n  rejected  2 of 9 messages from the backend, 3 commands without a valid signature, \
                    1 command results lost\n";
        assert!(said.contains(line), "{said}");
        let link = LinkStatus {
            downlink_messages: 9,
            acks_unfit: 4,
            events_too_large: 5,
            ..LinkStatus::default()
        };
        let said = text(&Status { link, ..Status::default() });
        let line = "\n  rejected  4 invalid acks, 5 events held back, too large for the broker\n";
        assert!(said.contains(line), "{said}");
        let link = LinkStatus { downlink_messages: 9, events_acked: 7, ..LinkStatus::default() };
        let said = text(&Status { link, ..Status::default() });
        assert!(!said.contains("rejected"), "{said}");
    }

    #[test]
    fn a_log_gets_one_line() {
        let line = summary(&status());
        assert!(line.ends_with("3D fix 0.4 s ago, moving, 12 waiting, no link for 30 s"), "{line}");
    }
}
