//! Checks of the receiver: device, antenna, bytes, sentences, fix, clock (pure).

use super::{Check, Evidence, Finding};
use crate::config::Config;
use crate::control::span;
use crate::control::status::{FixStatus, ReceiverStatus, Status};
use crate::gnss_source::{Address, AutoBaud};

/// Maximum age of the newest sentence, in seconds. Receivers send every second, and a few damaged
/// lines are tolerated.
const MAX_SENTENCE_AGE_S: f64 = 10.0;

/// Maximum age of a fix, in seconds. There is none in a tunnel.
const MAX_FIX_AGE_S: f64 = 10.0;

/// Grace period after the start of the agent, in seconds, in which it may not have received a
/// sentence.
const STARTUP_GRACE_S: u64 = 5;

/// C/N0 below which signals are weak. With a free view of the sky it is 40 or more, under a roof
/// hardly 25.
const WEAK_DBHZ: u8 = 25;

const NOT_OPEN: &str = "no data";

/// Evaluates the checks in causal order.
pub(super) fn chain(evidence: &Evidence) -> Vec<Finding> {
    let config = evidence.config.as_deref().ok();
    let Some(status) = evidence.status() else {
        return vec![from_probe(evidence.device.as_ref(), config)];
    };
    let receiver = &status.receiver;
    vec![
        device(receiver, config),
        antenna(receiver),
        bytes(receiver),
        sentences(status, config),
        fix(receiver, status.fix.as_ref()),
        clock(status),
    ]
}

fn address(config: Option<&Config>) -> String {
    config.map_or_else(|| "receiver".to_owned(), |config| config.source.address.to_string())
}

fn device_remedy(config: Option<&Config>) -> &'static str {
    match config.map(|config| &config.source.address) {
        Some(Address::Tcp(_) | Address::Gpsd(_)) => {
            "start the server, and check address and port in gnss.source"
        }
        Some(Address::Log(_) | Address::Stdin) => "check gnss.source",
        Some(Address::Serial(_)) | None => {
            "connect the receiver; `ls -l /dev/serial/by-id` shows its name for gnss.source"
        }
    }
}

fn from_probe(device: Option<&Result<(), String>>, config: Option<&Config>) -> Finding {
    match device {
        None => Finding::unknown(Check::Device, "not checked"),
        Some(Ok(())) => Finding::ok(Check::Device, format!("{} can be opened", address(config))),
        Some(Err(error)) => Finding::fail(Check::Device, error, device_remedy(config)),
    }
}

fn device(receiver: &ReceiverStatus, config: Option<&Config>) -> Finding {
    match receiver.state.as_str() {
        "gone" => {
            let error = receiver.error.as_deref().unwrap_or("gone");
            Finding::fail(Check::Device, error, device_remedy(config))
        }
        "connecting" => Finding::unknown(Check::Device, "opening"),
        _ => Finding::ok(Check::Device, "open"),
    }
}

fn is_open(receiver: &ReceiverStatus) -> bool {
    matches!(receiver.state.as_str(), "open" | "detecting_baud")
}

fn antenna(receiver: &ReceiverStatus) -> Finding {
    let Some(antenna) = receiver.antenna.as_deref().filter(|_| is_open(receiver)) else {
        return Finding::unknown(Check::Antenna, "not reported by the receiver");
    };
    let said = format!("the receiver reports {antenna}");
    match antenna {
        "open" | "short" if receiver.mode >= 2 => {
            Finding::ok(Check::Antenna, format!("{said} and has a fix: passive antenna"))
        }
        "open" => Finding::fail(
            Check::Antenna,
            said,
            "no current: tighten the plug, check the cable, try another antenna",
        ),
        "short" => Finding::fail(
            Check::Antenna,
            said,
            "overcurrent: check for a crushed or wet cable, try another antenna",
        ),
        _ => Finding::ok(Check::Antenna, said),
    }
}

fn bytes(receiver: &ReceiverStatus) -> Finding {
    match receiver.state.as_str() {
        "open" | "detecting_baud" => Finding::ok(Check::Bytes, "received"),
        "silent" => Finding::fail(
            Check::Bytes,
            "the port is open, but the receiver sends nothing",
            "check the receiver's power, the wire from its TX to the host's RX, and the choice of port",
        ),
        _ => Finding::unknown(Check::Bytes, NOT_OPEN),
    }
}

fn sentences(status: &Status, config: Option<&Config>) -> Finding {
    let receiver = &status.receiver;
    if !is_open(receiver) {
        return Finding::unknown(Check::Sentences, NOT_OPEN);
    }
    let ReceiverStatus { sentences, sentences_bad, .. } = receiver;
    let counted = format!("{sentences} good, {sentences_bad} bad");
    let is_recent = receiver.sentence_age_s.is_some_and(|age| age <= MAX_SENTENCE_AGE_S);
    if receiver.state == "open" && is_recent {
        let load = receiver.line_percent.filter(|percent| *percent >= 90);
        let load = load.map(|percent| format!("; the line is {percent} % full"));
        return Finding::ok(Check::Sentences, counted + &load.unwrap_or_default());
    }
    if status.uptime_s < STARTUP_GRACE_S {
        return Finding::unknown(Check::Sentences, "none yet");
    }
    let hunts = config.map(|config| config.source.line.auto_baud);
    let remedy = match (receiver.state.as_str(), hunts) {
        ("detecting_baud", _) => {
            "no baud rate yields sentences: check that the receiver sends NMEA 0183 and that the line has no noise"
        }
        (_, Some(AutoBaud::Off)) => {
            "wrong baud rate: detect it with gnss.hunt = true, or set gnss.baud to the receiver's rate"
        }
        _ => {
            "the receiver must send NMEA 0183 (a u-blox may be set to UBX only) at the rate of gnss.baud"
        }
    };
    Finding::fail(Check::Sentences, format!("bytes cannot be decoded: {counted}"), remedy)
}

fn fix(receiver: &ReceiverStatus, newest: Option<&FixStatus>) -> Finding {
    if receiver.state != "open" {
        return Finding::unknown(Check::Fix, NOT_OPEN);
    }
    if receiver.waits_for_date {
        return Finding::ok(Check::Fix, "positions received");
    }
    if receiver.mode >= 2
        && let Some(newest) = newest
    {
        let sats = newest.sats.map(|count| format!(", {count} satellites")).unwrap_or_default();
        let words = format!("{}D{sats}, {:.0} s old", newest.mode, newest.age_s);
        return if newest.age_s <= MAX_FIX_AGE_S {
            Finding::ok(Check::Fix, words)
        } else {
            let remedy =
                "the receiver repeats old data, or its fixes are rejected: docs/receiver.md";
            Finding::fail(Check::Fix, words, remedy)
        };
    }
    let ReceiverStatus { sats_in_view, cn0_dbhz, warning, .. } = receiver;
    let mut words = match sats_in_view {
        Some(count) => format!("none, {count} satellites in view"),
        None => "none".to_owned(),
    };
    for more in [
        cn0_dbhz.map(|cn0| format!("{cn0} dB-Hz")),
        warning.as_ref().map(|warning| format!("receiver warning \"{warning}\"")),
    ] {
        words.extend(more.map(|more| format!(", {more}")));
    }
    let remedy = match (sats_in_view, cn0_dbhz) {
        (Some(0), _) => {
            "no satellite received: check the view of the sky, and plug, cable and place of the antenna"
        }
        (_, Some(cn0)) if *cn0 < WEAK_DBHZ => {
            "weak signals: move the antenna to a free view of the sky, away from chargers and cameras"
        }
        _ => "provide a free view of the sky and wait a minute; docs/receiver.md",
    };
    Finding::fail(Check::Fix, words, remedy)
}

fn clock(status: &Status) -> Finding {
    if status.receiver.waits_for_date {
        return Finding::fail(
            Check::Clock,
            "fixes arrive without a date, and the host's clock contradicts their time",
            "a cold receiver needs up to 12.5 minutes for the date; if it never arrives, enable RMC or ZDA, or network time on the host",
        );
    }
    match status.time.as_str() {
        "trusted" => {
            let now = status.ts.as_deref().unwrap_or("trusted");
            Finding::ok(Check::Clock, format!("from the receiver, {now}"))
        }
        time => {
            let words = format!(
                "{time}: four consecutive fixes must agree; after {}",
                span(status.uptime_s)
            );
            Finding::unknown(Check::Clock, words)
        }
    }
}
