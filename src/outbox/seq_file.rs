//! Copy of the sequence reservation in `<outbox>.seq`. If the database is lost or damaged, no `Seq`
//! or session number is used twice.
//!
//! The file is replaced atomically (temporary file, fsync, rename, fsync of the directory), and
//! only when a block is reserved.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use waypost_model::record::Seq;

/// Name and version of the file format.
const MAGIC: &str = "waypost-seq 1";

/// Highest plausible number: 10 Hz for a billion years.
const MAX_SEQ: u64 = i64::MAX as u64 / 2;

/// Numbers that must survive a loss of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    /// Highest `Seq` that may have been used.
    pub reserved: Seq,
    /// Number of agent starts.
    pub session: u64,
}

impl Reservation {
    /// No number was used yet.
    pub(super) const NONE: Self = Self { reserved: Seq::ZERO, session: 0 };

    /// The higher value of each field.
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
        // Half the range of SQLite's integers. A higher number means damage.
        if reserved > MAX_SEQ || session > MAX_SEQ {
            return None;
        }
        Some(Self { reserved: Seq::new(reserved), session })
    }
}

/// Appends `suffix` to the file name of `path`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads the copy beside the database at `path`. Returns `None` if it is missing or unreadable.
pub(super) fn read(path: &Path) -> Option<Reservation> {
    let file = with_suffix(path, ".seq");
    let text = fs::read_to_string(&file).ok()?;
    let reservation = Reservation::parse(&text);
    if reservation.is_none() {
        tracing::warn!(path = %file.display(), "copy of the sequence reservation damaged: using the database alone");
    }
    reservation
}

/// Replaces the copy beside the database at `path`.
pub(super) fn write(path: &Path, reservation: Reservation) -> io::Result<()> {
    let (file, temporary) = (with_suffix(path, ".seq"), with_suffix(path, ".seq.tmp"));
    let Reservation { reserved, session } = reservation;
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    write!(out, "{MAGIC}\nreserved {reserved}\nsession {session}\n")?;
    out.sync_all()?;
    fs::rename(&temporary, &file)?;
    sync_directory_of(path)
}

/// Makes renames and new files beside `path` durable.
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
            fs::write(with_suffix(&path, ".seq"), bad).unwrap();
            assert_eq!(read(&path), None, "{bad:?}");
        }
    }
}
