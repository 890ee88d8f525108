//! Builds [`Health`], the payload of `state` and `position`, from pipeline, receiver and scanners.

use std::time::Duration;

use crate::gnss_source::{LineState, ReceiverState, SetupResult};
use crate::scanner::{self, ScannerSummary};
use crate::uplink::{Health, RouteState};
use waypost_model::event::ReaderKind;
use waypost_model::manifest::RejectedManifest;
use waypost_model::units::UtcTime;
use waypost_pipeline::ReceiverStats;
use waypost_pipeline::delivery::DeliverySnapshot;
use waypost_pipeline::delivery::snapshot;
use waypost_service::clock::Clock;
use waypost_wire::payloads::{
    Delay, EtaWindow, GnssState, ManifestErrorEntry, ManifestRef, ManifestRejected, NextStop,
    ReceiverSetup, Scanner, ScannerKind, ScannerState, StopStatus,
};

/// Half-width of the arrival window: 20 % of the remaining time, at least 10 minutes.
const ETA_WINDOW_PERCENT: i64 = 20;
const ETA_WINDOW_MIN_S: u32 = 600;

pub(super) fn health(
    reception: &ReceiverStats,
    receiver: &ReceiverState,
    line: &LineState,
    route: RouteState,
) -> Health {
    let (receiver, error) = match receiver {
        ReceiverState::Connecting => ("connecting", None),
        ReceiverState::Open => ("open", None),
        ReceiverState::DetectingBaud => ("detecting_baud", None),
        ReceiverState::Silent => ("silent", None),
        ReceiverState::Gone(error) => ("gone", Some(error.clone())),
    };
    let fix = reception.newest.filter(|_| reception.has_fix);
    Health {
        gnss: GnssState {
            receiver: receiver.to_owned(),
            error,
            mode: fix.map_or(1, |fix| fix.mode.dimensions()),
            time: reception.time_trust.as_str().to_owned(),
            age_s: None,
            sats: fix.and_then(|fix| fix.satellites_used),
            sats_in_view: reception.satellites.in_view,
            cn0_dbhz: reception.satellites.cn0_dbhz,
            constellations: reception
                .satellites
                .used
                .iter()
                .map(|one| one.as_str().to_owned())
                .collect(),
            antenna: reception.messages.antenna.map(|antenna| antenna.as_str().to_owned()),
            warning: reception.messages.warning.map(|(words, _)| words.as_str().to_owned()),
            sentences_bad: reception.sentences_bad(),
            fixes_rejected: reception.rejected.rejected_positions(),
            baud: line.baud,
            line_percent: line.load_percent,
            setup: line.setup.as_ref().map(receiver_setup),
        },
        newest_fix_at: reception.newest.map(|fix| fix.read_at),
        route,
        ..Health::default()
    }
}

/// Builds the route state from the delivery snapshot and the scanner states.
pub(super) fn route(
    view: Option<&DeliverySnapshot>,
    scanners: &[ScannerSummary],
    clock: &Clock,
) -> RouteState {
    let scanners = scanners.iter().map(|one| scanner(one, clock)).collect();
    let Some(view) = view else { return RouteState { scanners, ..RouteState::default() } };
    RouteState {
        duty: view.duty,
        manifest: view
            .route
            .clone()
            .zip(view.manifest_rev)
            .map(|(route, rev)| ManifestRef { route, rev }),
        manifest_rejected: view.manifest_rejected.as_ref().map(manifest_rejected),
        next_stop: view.next_stop.as_ref().map(|next| next_stop(next, clock)),
        delay: view.delay.map(|delay| Delay {
            by_s: i64::try_from(delay.by.as_secs()).unwrap_or(i64::MAX),
            reason: Some(delay.reason),
            code: Some(delay.reason.code().to_owned()),
        }),
        scanners,
        stop_status: view.stop_status.map(|status| match status {
            snapshot::StopStatus::InTransitTo => StopStatus::InTransitTo,
            snapshot::StopStatus::IncomingAt => StopStatus::IncomingAt,
            snapshot::StopStatus::StoppedAt => StopStatus::StoppedAt,
        }),
        stop_seq: view.stop_seq,
        stops_remaining: view.stops_remaining,
    }
}

fn receiver_setup(result: &SetupResult) -> ReceiverSetup {
    match result {
        SetupResult::Done => ReceiverSetup { status: "done".to_owned(), refused: Vec::new() },
        SetupResult::Rejected(settings) => ReceiverSetup {
            status: "refused".to_owned(),
            refused: settings.iter().map(ToString::to_string).collect(),
        },
        SetupResult::NoResponse => {
            ReceiverSetup { status: "no_answer".to_owned(), refused: Vec::new() }
        }
    }
}

fn manifest_rejected(rejected: &RejectedManifest) -> ManifestRejected {
    ManifestRejected {
        route: rejected.route.clone(),
        rev: rejected.rev,
        errors: vec![ManifestErrorEntry {
            pointer: rejected.error.pointer(),
            code: rejected.error.code.as_str().to_owned(),
            detail: rejected.error.to_string(),
        }],
    }
}

/// The window extends equally before and after the estimate.
fn eta_window(eta: UtcTime, now: UtcTime) -> Option<EtaWindow> {
    let ahead_ms = eta.millis_since(now).max(0);
    let half = ahead_ms * ETA_WINDOW_PERCENT / 100;
    let half_ms = u64::try_from(half).unwrap_or(0).max(u64::from(ETA_WINDOW_MIN_S) * 1000);
    let half = Duration::from_millis(half_ms);
    Some(EtaWindow {
        from: eta.checked_sub(half)?.to_string(),
        until: eta.checked_add(half)?.to_string(),
    })
}

fn next_stop(next: &snapshot::NextStop, clock: &Clock) -> NextStop {
    NextStop {
        seq: next.seq,
        eta: next.eta.zip(clock.utc()).and_then(|(eta, now)| eta_window(eta, now)),
        distance_m: next.distance.map(|distance| distance.as_metres().round()),
    }
}

fn scanner(standing: &ScannerSummary, clock: &Clock) -> Scanner {
    let newest = standing.newest_at.and_then(|at| clock.utc_at(at));
    Scanner {
        name: standing.name.clone(),
        kind: match standing.by {
            ReaderKind::Rfid => ScannerKind::Rfid,
            ReaderKind::Barcode | ReaderKind::Manual => ScannerKind::Barcode,
        },
        state: match standing.state {
            scanner::ScannerState::Connecting => ScannerState::Closed,
            scanner::ScannerState::Open => ScannerState::Open,
            scanner::ScannerState::Gone(_) => ScannerState::Error,
        },
        last_scan: newest.map(|utc| utc.to_string()),
    }
}
