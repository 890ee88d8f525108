//! [`Event`]s → how each scanner is, and its changes in the log.

use std::time::Duration;

use super::{Event, ScannerConfig, ScannerState};
use crate::core::delivery::event::ReadBy;
use crate::units::Uptime;

/// A loose plug does not fill the log: a change so soon after the last is for those who look for it.
const LOGGED_AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// How a scanner is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// As in the configuration.
    pub name: String,
    /// What it reads.
    pub by: ReadBy,
    /// Whether it can send.
    pub state: ScannerState,
    /// What it has said since the agent started.
    pub scans: u64,
    /// When it said the newest.
    pub newest_at: Option<Uptime>,
    /// Lines that were no code and no tag, since the agent started.
    pub garbage: u64,
}

/// All scanners, in the order of the configuration.
#[derive(Debug)]
pub struct Roster {
    standings: Vec<Standing>,
    logged_at: Vec<Option<Uptime>>,
}

impl Roster {
    /// None of them opened yet.
    #[must_use]
    pub fn new(scanners: &[ScannerConfig]) -> Self {
        let standing = |scanner: &ScannerConfig| Standing {
            name: scanner.name.clone(),
            by: scanner.kind.read_by(),
            state: ScannerState::default(),
            scans: 0,
            newest_at: None,
            garbage: 0,
        };
        let standings: Vec<Standing> = scanners.iter().map(standing).collect();
        Self { logged_at: vec![None; standings.len()], standings }
    }

    /// How they are.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Takes what a scanner said at `now`.
    pub fn note(&mut self, event: &Event, now: Uptime) {
        let (Event::Scan(super::ScanLine { scanner, .. })
        | Event::State(scanner, _)
        | Event::Garbage(scanner, _)) = event;
        let Some(standing) = self.standings.get_mut(*scanner) else { return };
        match event {
            Event::Scan(scan) => {
                standing.scans += 1;
                standing.newest_at = Some(scan.at);
            }
            Event::Garbage(_, lines) => {
                if standing.garbage == 0 {
                    tracing::warn!(
                        scanner = standing.name,
                        "scanner sends what is no code: look at its speed, its kind and its pattern"
                    );
                }
                standing.garbage = *lines;
            }
            Event::State(_, state) => {
                let logged_at = &mut self.logged_at[*scanner];
                let lately = logged_at.is_some_and(|at| now.since(at) < LOGGED_AT_MOST_EVERY);
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
            tracing::warn!(scanner, error, "scanner gone, trying again");
        }
        (ScannerState::Gone(error), true) => {
            tracing::debug!(scanner, error, "scanner gone, trying again");
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
        let mut roster = Roster::new(&[scanner("hand"), scanner("dock")]);
        let at = Uptime::from_millis(7000);
        let (by, bytes) = (ReadBy::Barcode, b"A".to_vec());
        let scan = ScanLine { scanner: 1, by, bytes, at, rssi: None, antenna: None, reads: 1 };
        roster.note(&Event::State(1, ScannerState::Open), at);
        roster.note(&Event::Scan(scan), at);
        roster.note(&Event::Garbage(1, 3), at);
        roster.note(&Event::State(0, ScannerState::Gone("out".to_owned())), at);
        roster.note(&Event::State(9, ScannerState::Open), at);
        let [hand, dock] = roster.standings() else { panic!() };
        assert_eq!((hand.state.name(), hand.scans), ("gone", 0));
        assert_eq!((dock.state.name(), dock.scans, dock.newest_at), ("open", 1, Some(at)));
        assert_eq!(dock.garbage, 3);
    }
}
