//! Reserved disk space that is released when the disk is full. SQLite needs free space to delete
//! rows and to checkpoint its WAL.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::seq_file::with_suffix;

/// Room for the WAL of a few deletions.
const SIZE_BYTES: usize = 64 * 1024;

/// Transactions between two attempts to allocate a missing ballast. The disk may stay full for a
/// long time.
const RETRY_TRANSACTIONS: u32 = 64;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    exists: bool,
    transactions: u32,
}

impl Ballast {
    /// Opens the ballast of the outbox at `outbox`. Allocates it if it is missing and the disk has
    /// room.
    pub(super) fn new(outbox: &Path) -> Self {
        let path = with_suffix(outbox, ".ballast");
        let there = fs::metadata(&path).is_ok_and(|file| file.len() == SIZE_BYTES as u64);
        let mut ballast = Self { path, exists: there, transactions: 0 };
        ballast.allocate();
        ballast
    }

    /// Counts a successful transaction and retries a missing ballast after [`TRY_AFTER`] of them.
    pub(super) fn retry_if_missing(&mut self) {
        if !self.exists {
            self.transactions += 1;
            if self.transactions >= RETRY_TRANSACTIONS {
                self.transactions = 0;
                self.allocate();
            }
        }
    }

    /// Deletes the ballast. Returns false if there was none.
    pub(super) fn release(&mut self) -> bool {
        if !std::mem::take(&mut self.exists) {
            return false;
        }
        tracing::warn!(path = %self.path.display(), "disk full: ballast released so that records can be deleted");
        fs::remove_file(&self.path).is_ok()
    }

    fn allocate(&mut self) {
        if self.exists {
            return;
        }
        // Non-zero bytes, flushed to the disk: a sparse file would reserve no blocks.
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(&[0xB5; SIZE_BYTES]).and_then(|()| file.sync_data())
            });
        self.exists = made.is_ok();
        if let Err(error) = made {
            tracing::debug!(%error, "ballast not allocated");
            // A partial ballast would only take space that is needed elsewhere.
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_until_it_is_given_up_and_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::new(&folder.path().join("outbox.db"));
        let path = folder.path().join("outbox.db.ballast");
        assert_eq!(fs::metadata(&path).unwrap().len(), SIZE_BYTES as u64);
        assert!(ballast.release() && !path.exists());
        assert!(!ballast.release());
        (0..RETRY_TRANSACTIONS).for_each(|_| ballast.retry_if_missing());
        assert!(path.exists());
    }
}
