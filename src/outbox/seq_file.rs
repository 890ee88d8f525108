//! Sequence reservation ↔ `<outbox>.seq`: a second copy, so that a lost or damaged database never leads to a `Seq` or
//! session number that was used before.
//!
//! It is replaced whole — temporary file, fsync, rename, fsync of the directory — and only when a block is reserved.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::core::record::Seq;

/// The first word of the file and its format.
const MAGIC: &str = "waypost-seq 1";

/// No van comes this far: 10 Hz for a billion years.
const MAX: u64 = i64::MAX as u64 / 2;

/// What must survive the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    /// The highest `Seq` that may have been used.
    pub reserved: Seq,
    /// Agent starts so far.
    pub session: u64,
}

impl Reservation {
    /// Nothing was used yet.
    pub(super) const NONE: Self = Self { reserved: Seq::ZERO, session: 0 };

    /// The higher of both, each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            reserved: self.reserved.max(other.reserved),
            session: self.session.max(other.session),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let mut number = |key: &str| lines.next()?.strip_prefix(key)?.trim().parse().ok();
        let (reserved, session) = (number("reserved ")?, number("session ")?);
        // SQLite's integers end there, and half of it is damage.
        if reserved > MAX || session > MAX {
            return None;
        }
        Some(Self { reserved: Seq::new(reserved), session })
    }
}

/// `path` with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The copy beside the database at `path`; `None` if there is none, or none that can be read.
pub(super) fn read(path: &Path) -> Option<Reservation> {
    let file = beside(path, ".seq");
    let text = fs::read_to_string(&file).ok()?;
    let reservation = Reservation::parse(&text);
    if reservation.is_none() {
        tracing::warn!(path = %file.display(), "copy of the sequence reservation is damaged, going by the database alone");
    }
    reservation
}

/// Replaces the copy beside the database at `path`.
pub(super) fn write(path: &Path, reservation: Reservation) -> io::Result<()> {
    let (file, temporary) = (beside(path, ".seq"), beside(path, ".seq.tmp"));
    let Reservation { reserved, session } = reservation;
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    write!(out, "{MAGIC}\nreserved {reserved}\nsession {session}\n")?;
    out.sync_all()?;
    fs::rename(&temporary, &file)?;
    sync_directory_of(path)
}

/// Makes renames and new names beside `path` durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_garbage_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outbox.db");
        assert_eq!(read(&path), None);
        let reservation = Reservation { reserved: Seq::new(10_000), session: 3 };
        write(&path, reservation).unwrap();
        assert_eq!(read(&path), Some(reservation));
        for bad in [
            "",
            "waypost-seq 1\nreserved 18446744073709551615\nsession 1\n",
            "waypost-seq 2\nreserved 1\nsession 1\n",
            "waypost-seq 1\nreserved x\n",
        ] {
            fs::write(beside(&path, ".seq"), bad).unwrap();
            assert_eq!(read(&path), None, "{bad:?}");
        }
    }
}
