//! Tracks the state of each scanner from its [`Event`]s and logs state changes.

use std::time::Duration;

use super::{ScannerConfig, ScannerEvent, ScannerState};
use waypost_model::event::ReaderKind;
use waypost_model::units::Uptime;

/// Minimum interval of log lines above debug level per scanner, so that a loose plug does not fill
/// the log.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// State and counters of a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerSummary {
    /// Name of the scanner in the configuration.
    pub name: String,
    pub by: ReaderKind,
    pub state: ScannerState,
    /// Codes and tags read since the agent started.
    pub scans: u64,
    /// Time of the newest of them.
    pub newest_at: Option<Uptime>,
    /// Invalid lines since the agent started.
    pub garbage: u64,
}

/// All scanners, in the order of the configuration.
#[derive(Debug)]
pub struct ScannerRegistry {
    summaries: Vec<ScannerSummary>,
    logged_at: Vec<Option<Uptime>>,
}

impl ScannerRegistry {
    /// Creates the registry, with no scanner opened.
    #[must_use]
    pub fn new(scanners: &[ScannerConfig]) -> Self {
        let standing = |scanner: &ScannerConfig| ScannerSummary {
            name: scanner.name.clone(),
            by: scanner.kind.read_by(),
            state: ScannerState::default(),
            scans: 0,
            newest_at: None,
            garbage: 0,
        };
        let summaries: Vec<ScannerSummary> = scanners.iter().map(standing).collect();
        Self { logged_at: vec![None; summaries.len()], summaries }
    }

    /// Returns the state of all scanners.
    #[must_use]
    pub fn summaries(&self) -> &[ScannerSummary] {
        &self.summaries
    }

    /// Processes an event that arrived at `now`.
    pub fn record(&mut self, event: &ScannerEvent, now: Uptime) {
        let (ScannerEvent::Scan(super::ScanLine { scanner, .. })
        | ScannerEvent::State(scanner, _)
        | ScannerEvent::Garbage(scanner, _)) = event;
        let Some(standing) = self.summaries.get_mut(*scanner) else { return };
        match event {
            ScannerEvent::Scan(scan) => {
                standing.scans += 1;
                standing.newest_at = Some(scan.at);
            }
            ScannerEvent::Garbage(_, lines) => {
                if standing.garbage == 0 {
                    tracing::warn!(
                        scanner = standing.name,
                        "scanner input invalid: check baud, kind and pattern of the scanner"
                    );
                }
                standing.garbage = *lines;
            }
            ScannerEvent::State(_, state) => {
                let logged_at = &mut self.logged_at[*scanner];
                let lately = logged_at.is_some_and(|at| now.since(at) < LOG_INTERVAL);
                if !lately {
                    *logged_at = Some(now);
                }
                log(&standing.name, state, lately);
                standing.state = state.clone();
            }
        }
    }
}

fn log(scanner: &str, state: &ScannerState, lately: bool) {
    match (state, lately) {
        (ScannerState::Connecting, _) => {}
        (ScannerState::Open, false) => tracing::info!(scanner, "scanner open"),
        (ScannerState::Open, true) => tracing::debug!(scanner, "scanner open"),
        (ScannerState::Gone(error), false) => {
            tracing::warn!(scanner, error, "scanner lost, reconnecting");
        }
        (ScannerState::Gone(error), true) => {
            tracing::debug!(scanner, error, "scanner lost, reconnecting");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scanner::{Address, ScanLine, ScannerKind};

    #[test]
    fn each_scanner_is_known_by_what_it_said_last_and_a_stranger_is_nobody() {
        let scanner = |name: &str| ScannerConfig {
            name: name.to_owned(),
            address: "fifo:/x".parse::<Address>().unwrap(),
            kind: ScannerKind::Barcode,
        };
        let mut roster = ScannerRegistry::new(&[scanner("hand"), scanner("dock")]);
        let at = Uptime::from_millis(7000);
        let (by, bytes) = (ReaderKind::Barcode, b"A".to_vec());
        let scan = ScanLine { scanner: 1, by, bytes, at, rssi: None, antenna: None, reads: 1 };
        roster.record(&ScannerEvent::State(1, ScannerState::Open), at);
        roster.record(&ScannerEvent::Scan(scan), at);
        roster.record(&ScannerEvent::Garbage(1, 3), at);
        roster.record(&ScannerEvent::State(0, ScannerState::Gone("out".to_owned())), at);
        roster.record(&ScannerEvent::State(9, ScannerState::Open), at);
        let [hand, dock] = roster.summaries() else { panic!() };
        assert_eq!((hand.state.as_str(), hand.scans), ("gone", 0));
        assert_eq!((dock.state.as_str(), dock.scans, dock.newest_at), ("open", 1, Some(at)));
        assert_eq!(dock.garbage, 3);
    }
}
