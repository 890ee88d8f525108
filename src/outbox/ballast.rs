//! Some blocks of the disk that are given up when it is full: SQLite needs room to delete, and to write its log back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::seq_file::beside;

/// Enough for the log of some deletions.
const BYTES: usize = 64 * 1024;

/// When there is none, it is tried to make it again after so many transactions: the disk may be full for long.
const TRY_AFTER: u32 = 64;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    there: bool,
    transactions: u32,
}

impl Ballast {
    /// The ballast of the outbox at `outbox`, made if it is not there and there is room.
    pub(super) fn new(outbox: &Path) -> Self {
        let path = beside(outbox, ".ballast");
        let there = fs::metadata(&path).is_ok_and(|file| file.len() == BYTES as u64);
        let mut ballast = Self { path, there, transactions: 0 };
        ballast.make();
        ballast
    }

    /// A transaction went well: there may be room again.
    pub(super) fn keep(&mut self) {
        if !self.there {
            self.transactions += 1;
            if self.transactions >= TRY_AFTER {
                self.transactions = 0;
                self.make();
            }
        }
    }

    /// Whether there was one to give up.
    pub(super) fn give_up(&mut self) -> bool {
        if !std::mem::take(&mut self.there) {
            return false;
        }
        tracing::warn!(path = %self.path.display(), "disk is full, giving up the ballast so that records can be removed");
        fs::remove_file(&self.path).is_ok()
    }

    fn make(&mut self) {
        if self.there {
            return;
        }
        // Not zeros, and written: a hole would be no ballast.
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| file.write_all(&[0xB5; BYTES]).and_then(|()| file.sync_data()));
        self.there = made.is_ok();
        if let Err(error) = made {
            tracing::debug!(%error, "no room for the ballast");
            // Half of one would only take the room that is needed.
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
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES as u64);
        assert!(ballast.give_up() && !path.exists());
        assert!(!ballast.give_up());
        (0..TRY_AFTER).for_each(|_| ballast.keep());
        assert!(path.exists());
    }
}
