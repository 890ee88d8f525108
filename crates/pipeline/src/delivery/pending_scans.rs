//! Scans made before the time is known. They are persisted across power cuts and processed once it
//! is known.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::scan::Scan;
use super::state_docs::{self, StateDocChange};
use waypost_model::units::Uptime;

/// Pending scan.
#[derive(Debug)]
pub(super) struct PendingScan {
    pub(super) scan: Scan,
    /// Time of the scan; `None` if it is from an earlier run, whose monotonic clock is lost.
    pub(super) at: Option<Uptime>,
    number: u64,
}

/// State document of a pending scan.
#[derive(Serialize, Deserialize)]
struct ScanDoc {
    scan: Scan,
}

/// Pending scans, oldest first.
#[derive(Debug, Default)]
pub(super) struct PendingScans {
    scans: VecDeque<PendingScan>,
    bytes: usize,
    next_number: u64,
    /// Changed state documents, not committed yet.
    pub(super) changed_docs: Vec<StateDocChange>,
}

impl PendingScans {
    const MAX_SCANS: usize = 1_000;
    const MAX_BYTES: usize = 128 * 1024;
    /// Maximum length of a stored scan in bytes; the rest is cut off.
    const MAX_LABEL: usize = 512;

    /// Restores a scan from its state document. Returns whether the document could be decoded.
    pub(super) fn restore(&mut self, number: &str, bytes: &[u8]) -> bool {
        let (Ok(number), Some(ScanDoc { scan })) =
            (number.parse::<u64>(), state_docs::decode(bytes))
        else {
            return false;
        };
        self.next_number = self.next_number.max(number.saturating_add(1));
        self.bytes += scan.bytes.len();
        let after = self.scans.partition_point(|waiter| waiter.number < number);
        self.scans.insert(after, PendingScan { scan, at: None, number });
        true
    }

    /// Stores a scan. Returns whether there was room.
    pub(super) fn push(&mut self, scan: &Scan) -> bool {
        let mut scan = scan.clone();
        scan.bytes.truncate(Self::MAX_LABEL);
        self.bytes += scan.bytes.len();
        if self.scans.len() >= Self::MAX_SCANS || self.bytes > Self::MAX_BYTES {
            self.bytes -= scan.bytes.len();
            return false;
        }
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        let document = ScanDoc { scan };
        self.changed_docs
            .push(StateDocChange { key: key(number), value: Some(state_docs::encode(&document)) });
        let ScanDoc { scan } = document;
        self.scans.push_back(PendingScan { at: Some(scan.at), scan, number });
        true
    }

    pub(super) fn pop(&mut self) -> Option<PendingScan> {
        let waiter = self.scans.pop_front()?;
        self.bytes -= waiter.scan.bytes.len();
        self.changed_docs.push(StateDocChange { key: key(waiter.number), value: None });
        Some(waiter)
    }
}

/// Returns the document key, zero-padded so that keys sort in scan order.
fn key(number: u64) -> String {
    format!("waiting/{number:012}")
}
