//! Scans before anybody knows the time: they are kept, also over a power cut, and told once it is known.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::kept::{self, Kept};
use super::scan::Scan;
use crate::units::Uptime;

/// A scan that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) scan: Scan,
    /// When it was read; `None` = in an earlier run, and nobody knows.
    pub(super) at: Option<Uptime>,
    number: u64,
}

/// The document of a scan that waits.
#[derive(Serialize, Deserialize)]
struct Document {
    scan: Scan,
}

/// The scans that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    scans: VecDeque<Waiter>,
    bytes: usize,
    next: u64,
    /// The documents that changed.
    pub(super) changed: Vec<Kept>,
}

impl Waiting {
    const MAX_SCANS: usize = 1_000;
    const MAX_BYTES: usize = 128 * 1024;
    /// No label says more.
    const MAX_LABEL: usize = 512;

    /// Takes a document; whether it could be read.
    pub(super) fn restore(&mut self, number: &str, bytes: &[u8]) -> bool {
        let (Ok(number), Some(Document { scan })) = (number.parse::<u64>(), kept::decode(bytes))
        else {
            return false;
        };
        self.next = self.next.max(number.saturating_add(1));
        self.bytes += scan.bytes.len();
        let after = self.scans.partition_point(|waiter| waiter.number < number);
        self.scans.insert(after, Waiter { scan, at: None, number });
        true
    }

    /// Keeps a scan; whether there was room.
    pub(super) fn push(&mut self, scan: &Scan) -> bool {
        let mut scan = scan.clone();
        scan.bytes.truncate(Self::MAX_LABEL);
        self.bytes += scan.bytes.len();
        if self.scans.len() >= Self::MAX_SCANS || self.bytes > Self::MAX_BYTES {
            self.bytes -= scan.bytes.len();
            return false;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let document = Document { scan };
        self.changed.push(Kept { key: key(number), value: Some(kept::encode(&document)) });
        let Document { scan } = document;
        self.scans.push_back(Waiter { at: Some(scan.at), scan, number });
        true
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.scans.pop_front()?;
        self.bytes -= waiter.scan.bytes.len();
        self.changed.push(Kept { key: key(waiter.number), value: None });
        Some(waiter)
    }
}

/// So that the order of the names is that of the scans.
fn key(number: u64) -> String {
    format!("waiting/{number:012}")
}
