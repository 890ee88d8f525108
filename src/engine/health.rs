//! What the pipeline, the receiver and the scanners are → [`Health`], for `state` and `position`.

use crate::clock::Clock;
use crate::core::Reception;
use crate::core::delivery::View;
use crate::core::delivery::event::ReadBy;
use crate::core::delivery::view;
use crate::relay::{Health, RouteState};
use crate::scanner::{self, Standing};
use crate::source::{LineState, ReceiverState};
use crate::wire::json::{
    Delay, GnssState, NextStop, Scanner, ScannerKind, ScannerState, StopStatus,
};

/// Nobody knows the time of an arrival better than within so much of the way there, or ten minutes.
const ETA_WINDOW_PERCENT: i64 = 20;
const ETA_WINDOW_MIN_S: u32 = 600;

pub(super) fn health(
    reception: &Reception,
    receiver: &ReceiverState,
    line: &LineState,
    route: RouteState,
) -> Health {
    let (receiver, error) = match receiver {
        ReceiverState::Connecting => ("connecting", None),
        ReceiverState::Open => ("open", None),
        ReceiverState::Hunting => ("hunting", None),
        ReceiverState::Silent => ("silent", None),
        ReceiverState::Gone(error) => ("gone", Some(error.clone())),
    };
    let fix = reception.newest.filter(|_| reception.has_fix);
    Health {
        gnss: GnssState {
            receiver: receiver.to_owned(),
            error,
            mode: fix.map_or(1, |fix| fix.mode.dimensions()),
            time: reception.time.name().to_owned(),
            age_s: None,
            sats: fix.and_then(|fix| fix.satellites_used),
            sats_in_view: reception.sky.in_view,
            cn0_dbhz: reception.sky.cn0_dbhz,
            constellations: reception.sky.used.iter().map(|one| one.name().to_owned()).collect(),
            antenna: reception.notices.antenna.map(|antenna| antenna.name().to_owned()),
            warning: reception.notices.warning.map(|(words, _)| words.as_str().to_owned()),
            sentences_bad: reception.sentences_bad(),
            fixes_rejected: reception.rejected.unbelieved(),
            baud: line.baud,
            line_percent: line.load_percent,
            setup: line.setup.as_ref().map(ToString::to_string),
        },
        newest_fix_at: reception.newest.map(|fix| fix.read_at),
        route,
        ..Health::default()
    }
}

/// What the delivery and the scanners are.
pub(super) fn route(view: Option<&View>, scanners: &[Standing], clock: &Clock) -> RouteState {
    let scanners = scanners.iter().map(|one| scanner(one, clock)).collect();
    let Some(view) = view else { return RouteState { scanners, ..RouteState::default() } };
    RouteState {
        duty: view.duty,
        route: view.route.clone(),
        manifest_rev: view.manifest_rev,
        manifest_error: view.manifest_error.clone(),
        next_stop: view.next_stop.as_ref().map(|next| next_stop(next, clock)),
        delay: view.delay.map(|delay| Delay {
            seconds: i64::try_from(delay.by.as_secs()).unwrap_or(i64::MAX),
            reason: Some(delay.reason),
            code: Some(delay.reason.code().to_owned()),
        }),
        scanners,
        stop_status: view.stop_status.map(|status| match status {
            view::StopStatus::InTransitTo => StopStatus::InTransitTo,
            view::StopStatus::IncomingAt => StopStatus::IncomingAt,
            view::StopStatus::StoppedAt => StopStatus::StoppedAt,
        }),
        stop_seq: view.stop_seq,
        stops_remaining: view.stops_remaining,
    }
}

fn next_stop(next: &view::NextStop, clock: &Clock) -> NextStop {
    let ahead_ms = next.eta.zip(clock.utc()).map(|(eta, now)| eta.millis_since(now).max(0));
    // As far before as after.
    let window = ahead_ms.map(|ms| ms / 1000 * ETA_WINDOW_PERCENT / 100 * 2);
    let window = window.map(|s| u32::try_from(s).unwrap_or(u32::MAX).max(2 * ETA_WINDOW_MIN_S));
    NextStop {
        seq: next.seq,
        eta: next.eta.map(|eta| eta.to_string()),
        eta_window_s: window,
        distance_m: next.distance.map(|distance| distance.as_metres().round()),
    }
}

fn scanner(standing: &Standing, clock: &Clock) -> Scanner {
    let newest = standing.newest_at.and_then(|at| clock.utc_at(at));
    Scanner {
        name: standing.name.clone(),
        kind: match standing.by {
            ReadBy::Rfid => ScannerKind::Rfid,
            ReadBy::Barcode | ReadBy::Manual => ScannerKind::Barcode,
        },
        state: match standing.state {
            scanner::ScannerState::Connecting => ScannerState::Closed,
            scanner::ScannerState::Open => ScannerState::Open,
            scanner::ScannerState::Gone(_) => ScannerState::Error,
        },
        last_scan: newest.map(|utc| utc.to_string()),
    }
}
