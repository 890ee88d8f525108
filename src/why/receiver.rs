//! The receiver's chain of causes: device, antenna, bytes, sentences, fix, clock (pure).

use super::{Evidence, Finding, Part};
use crate::config::Config;
use crate::control::span;
use crate::control::status::{FixStatus, ReceiverStatus, Status};
use crate::source::{Address, Hunting};

/// Every receiver says something in each second; a line that is damaged now and then is none the less well.
const SENTENCE_HOLDS_S: f64 = 10.0;

/// In a tunnel there is no fix.
const FIX_HOLDS_S: f64 = 10.0;

/// So long after its start the agent may not have heard anything yet.
const HEARD_WITHIN_S: u64 = 5;

/// Satellites of a good sky have 40 and more; under a roof, hardly one has 25.
const WEAK_DBHZ: u8 = 25;

const NOT_OPEN: &str = "nothing comes of it";

/// In the order of cause.
pub(super) fn chain(evidence: &Evidence) -> Vec<Finding> {
    let config = evidence.config.as_deref().ok();
    let Some(status) = evidence.status() else {
        return vec![by_own_look(evidence.device.as_ref(), config)];
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
    config.map_or_else(|| "it".to_owned(), |config| config.source.address.to_string())
}

fn device_remedy(config: Option<&Config>) -> &'static str {
    match config.map(|config| &config.source.address) {
        Some(Address::Tcp(_) | Address::Gpsd(_)) => {
            "start what serves it, and look at address and port in gnss.source"
        }
        Some(Address::Log(_) | Address::Stdin) => "look at gnss.source",
        Some(Address::Serial(_)) | None => {
            "plug the receiver in; `ls -l /dev/serial/by-id` has its name for gnss.source"
        }
    }
}

fn by_own_look(device: Option<&Result<(), String>>, config: Option<&Config>) -> Finding {
    match device {
        None => Finding::unknown(Part::Device, "not looked at"),
        Some(Ok(())) => Finding::fine(Part::Device, format!("{} can be opened", address(config))),
        Some(Err(error)) => Finding::wrong(Part::Device, error, device_remedy(config)),
    }
}

fn device(receiver: &ReceiverStatus, config: Option<&Config>) -> Finding {
    match receiver.state.as_str() {
        "gone" => {
            let error = receiver.error.as_deref().unwrap_or("gone");
            Finding::wrong(Part::Device, error, device_remedy(config))
        }
        "connecting" => Finding::unknown(Part::Device, "is being opened"),
        _ => Finding::fine(Part::Device, "open"),
    }
}

fn is_open(receiver: &ReceiverStatus) -> bool {
    matches!(receiver.state.as_str(), "open" | "hunting")
}

fn antenna(receiver: &ReceiverStatus) -> Finding {
    let Some(antenna) = receiver.antenna.as_deref().filter(|_| is_open(receiver)) else {
        return Finding::unknown(Part::Antenna, "the receiver says nothing of it");
    };
    let said = format!("the receiver says {antenna}");
    match antenna {
        "open" | "short" if receiver.mode >= 2 => {
            Finding::fine(Part::Antenna, format!("{said}, and has a fix: a passive one"))
        }
        "open" => Finding::wrong(
            Part::Antenna,
            said,
            "no current flows: screw the plug in, look for a cut cable, try another antenna",
        ),
        "short" => Finding::wrong(
            Part::Antenna,
            said,
            "too much current flows: a crushed cable, or water in it; try another antenna",
        ),
        _ => Finding::fine(Part::Antenna, said),
    }
}

fn bytes(receiver: &ReceiverStatus) -> Finding {
    match receiver.state.as_str() {
        "open" | "hunting" => Finding::fine(Part::Bytes, "come"),
        "silent" => Finding::wrong(
            Part::Bytes,
            "the port is open, and the receiver says nothing",
            "look at the receiver's power, at the wire from its TX to our RX, and whether it is the right port",
        ),
        _ => Finding::unknown(Part::Bytes, NOT_OPEN),
    }
}

fn sentences(status: &Status, config: Option<&Config>) -> Finding {
    let receiver = &status.receiver;
    if !is_open(receiver) {
        return Finding::unknown(Part::Sentences, NOT_OPEN);
    }
    let ReceiverStatus { sentences, sentences_bad, .. } = receiver;
    let counted = format!("{sentences} good, {sentences_bad} bad");
    let is_recent = receiver.sentence_age_s.is_some_and(|age| age <= SENTENCE_HOLDS_S);
    if receiver.state == "open" && is_recent {
        let load = receiver.line_percent.filter(|percent| *percent >= 90);
        let load = load.map(|percent| format!("; the line is {percent} % full"));
        return Finding::fine(Part::Sentences, counted + &load.unwrap_or_default());
    }
    if status.uptime_s < HEARD_WITHIN_S {
        return Finding::unknown(Part::Sentences, "none yet");
    }
    let hunts = config.map(|config| config.source.line.hunt);
    let remedy = match (receiver.state.as_str(), hunts) {
        ("hunting", _) => {
            "no speed gives sentences: the receiver must send NMEA 0183, and no noise may be on the wire"
        }
        (_, Some(Hunting::Off)) => {
            "a wrong speed: gnss.hunt = true finds the right one, or say the receiver's in gnss.baud"
        }
        _ => {
            "the receiver must send NMEA 0183 (a u-blox may be set to UBX alone), at the speed of gnss.baud"
        }
    };
    Finding::wrong(
        Part::Sentences,
        format!("bytes come, and are not understood: {counted}"),
        remedy,
    )
}

fn fix(receiver: &ReceiverStatus, newest: Option<&FixStatus>) -> Finding {
    if receiver.state != "open" {
        return Finding::unknown(Part::Fix, NOT_OPEN);
    }
    if receiver.waits_for_date {
        return Finding::fine(Part::Fix, "positions come");
    }
    if receiver.mode >= 2
        && let Some(newest) = newest
    {
        let sats = newest.sats.map(|count| format!(", {count} satellites")).unwrap_or_default();
        let words = format!("{}D{sats}, {:.0} s old", newest.mode, newest.age_s);
        return if newest.age_s <= FIX_HOLDS_S {
            Finding::fine(Part::Fix, words)
        } else {
            let remedy =
                "the receiver repeats itself, or its fixes are not believed: docs/receiver.md";
            Finding::wrong(Part::Fix, words, remedy)
        };
    }
    let ReceiverStatus { sats_in_view, cn0_dbhz, warning, .. } = receiver;
    let mut words = match sats_in_view {
        Some(count) => format!("none, {count} satellites in view"),
        None => "none".to_owned(),
    };
    for more in [
        cn0_dbhz.map(|cn0| format!("{cn0} dB-Hz")),
        warning.as_ref().map(|warning| format!("the receiver says \"{warning}\"")),
    ] {
        words.extend(more.map(|more| format!(", {more}")));
    }
    let remedy = match (sats_in_view, cn0_dbhz) {
        (Some(0), _) => "no satellite is heard: under a roof, or the antenna: plug, cable, place",
        (_, Some(cn0)) if *cn0 < WEAK_DBHZ => {
            "too weak: a free view of the sky, another place for the antenna, away from chargers and cameras"
        }
        _ => "a free view of the sky, and a minute of patience; docs/receiver.md",
    };
    Finding::wrong(Part::Fix, words, remedy)
}

fn clock(status: &Status) -> Finding {
    if status.receiver.waits_for_date {
        return Finding::wrong(
            Part::Clock,
            "fixes come without a date, and the host's clock does not agree with their time",
            "a cold receiver needs up to 12.5 minutes for the date; one that never says it wants RMC or ZDA switched on, or network time for the host",
        );
    }
    match status.time.as_str() {
        "trusted" => {
            let now = status.ts.as_deref().unwrap_or("trusted");
            Finding::fine(Part::Clock, format!("by the receiver, {now}"))
        }
        time => {
            let words =
                format!("{time}: four fixes in a row must agree; after {}", span(status.uptime_s));
            Finding::unknown(Part::Clock, words)
        }
    }
}
