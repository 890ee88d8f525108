//! Journal of uncommitted records in a tmpfs file. They survive a kill of the process, though not a
//! power cut, without flash writes.
//!
//! ```text
//! frame = length 4 | crc32 4 | body (little-endian, postcard); the first frame names the owner
//! ```
//!
//! The file is append-only. It is rewritten when no record in it is pending, or when most are not.
//! A kill may truncate the last frame; all frames before it are valid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journey_codec;
use super::seq_file::with_suffix;
use crate::outbox::record_codec;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq};

const FORMAT: u32 = 1;

/// Minimum size in bytes for a rotation. Above it, the journal is rotated when it has doubled since
/// the last time.
const COMPACT_FROM_BYTES: u64 = 64 * 1024;

/// Maximum size in bytes; 10,000 records take 1 MB. A larger file is not read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Owner of the journal: the path of the outbox, which survives a loss of the database, and the
/// van.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u32,
    outbox: PathBuf,
    van: String,
}

/// Records that were accepted in one call.
#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    newest: u64,
    state: Vec<u8>,
    records: Vec<(u64, Vec<u8>)>,
}

/// Content of an earlier run's journal.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub van: String,
    pub newest: Seq,
    pub state: Option<TripState>,
    pub records: Vec<Record>,
}

/// Journal of this run.
#[derive(Debug)]
pub(super) struct TmpfsJournal {
    path: PathBuf,
    owner: Owner,
    file: File,
    bytes: u64,
    /// Size in bytes at which the journal is rotated.
    compact_at: u64,
    /// The last write failed. Frames behind a truncated one are not readable.
    torn: bool,
    holds_records: bool,
}

impl TmpfsJournal {
    /// Opens the journal at `path` for the outbox at `outbox` and reads its content. The agent
    /// works without a journal, but a kill then loses as much as a power cut. Errors are therefore
    /// only logged.
    pub(super) fn open(path: &Path, outbox: &Path) -> Option<(Self, Recovered)> {
        match Self::try_open(path, outbox) {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "journal not opened: a kill of the agent now loses as much as a power cut; let the agent's user write into its directory (systemd: RuntimeDirectory=waypost), or set outbox.tail_path");
                None
            }
        }
    }

    fn try_open(path: &Path, outbox: &Path) -> io::Result<(Self, Recovered)> {
        let outbox = std::path::absolute(outbox)?;
        let mut file = open_locked(path)?;
        let mut bytes = Vec::new();
        if file.metadata()?.len() <= MAX_BYTES {
            file.read_to_end(&mut bytes)?;
        }
        let mut left = Recovered::default();
        let mut frames = FrameReader(&bytes);
        if let Some(owner) =
            frames.next().and_then(|frame| postcard::from_bytes::<Owner>(frame).ok())
        {
            if owner.outbox != outbox || owner.format != FORMAT {
                let whose = owner.outbox.display();
                return Err(io::Error::other(format!("it belongs to the outbox at {whose}")));
            }
            left.van = owner.van;
            frames.for_each(|frame| left.add_frame(frame));
        }
        let owner = Owner { format: FORMAT, outbox, van: left.van.clone() };
        let compact_at = COMPACT_FROM_BYTES;
        let bytes = bytes.len() as u64;
        Ok((
            Self {
                path: path.to_owned(),
                owner,
                file,
                bytes,
                compact_at,
                torn: true,
                holds_records: true,
            },
            left,
        ))
    }

    /// Sets the van that owns the records.
    pub(super) fn claim(&mut self, van: &str) {
        van.clone_into(&mut self.owner.van);
    }

    /// Appends accepted records. `waiting` returns all uncommitted records, for a rotation.
    pub(super) fn append(
        &mut self,
        records: &[Record],
        state: &TripState,
        waiting: impl FnOnce() -> Vec<Record>,
    ) {
        self.holds_records = true;
        if self.torn || self.bytes > self.compact_at {
            self.rotate(&waiting(), state);
            return;
        }
        let frame = encode_records(records, state);
        let written = self.file.write_all(&frame);
        self.record_write(frame.len(), written);
    }

    /// Whether records were accepted since the journal was last cleared.
    pub(super) const fn holds_records(&self) -> bool {
        self.holds_records
    }

    /// Clears the journal, because none of its records is pending.
    pub(super) fn empty(&mut self, newest: Seq, state: &TripState) {
        let frames = [self.header(), encode_frame(newest, state, &[])].concat();
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(&frames));
        (self.bytes, self.torn, self.compact_at) = (0, false, COMPACT_FROM_BYTES);
        self.holds_records = false;
        self.record_write(frames.len(), written);
    }

    /// Replaces the file atomically. A kill meanwhile leaves either the old or the new one.
    pub(super) fn rotate(&mut self, waiting: &[Record], state: &TripState) {
        let frames = [self.header(), encode_records(waiting, state)].concat();
        let temporary = with_suffix(&self.path, ".tmp");
        let written = fs::remove_file(&temporary).or(Ok(())).and_then(|()| {
            let mut file = open_locked(&temporary)?;
            file.write_all(&frames)?;
            fs::rename(&temporary, &self.path)?;
            self.file = file;
            Ok(())
        });
        let bytes = frames.len() as u64;
        self.torn &= written.is_err();
        (self.bytes, self.compact_at) = (0, COMPACT_FROM_BYTES.max(bytes * 2));
        self.record_write(frames.len(), written);
    }

    fn header(&self) -> Vec<u8> {
        frame(&postcard::to_stdvec(&self.owner).expect("strings have a known length"))
    }

    fn record_write(&mut self, bytes: usize, written: io::Result<()>) {
        self.bytes += bytes as u64;
        if let Err(error) = written
            && !std::mem::replace(&mut self.torn, true)
        {
            tracing::warn!(path = %self.path.display(), %error, "journal not written: retrying; check the free space of its file system");
        }
    }
}

impl Recovered {
    /// Skips a frame that this agent cannot decode. A newer agent wrote it and should have been
    /// stopped in order.
    fn add_frame(&mut self, frame: &[u8]) {
        let Ok(accepted) = postcard::from_bytes::<Accepted>(frame) else { return };
        self.newest = self.newest.max(Seq::new(accepted.newest));
        self.state = Some(journey_codec::decode(&accepted.state));
        for (seq, subject) in accepted.records {
            let seq = Seq::new(seq);
            let ascends = self.records.last().is_none_or(|last| last.seq < seq);
            if let Some(subject) = record_codec::decode(&subject).ok().filter(|_| ascends) {
                self.records.push(Record { seq, subject });
            }
        }
    }
}

/// Opens and locks the file for this process.
fn open_locked(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    file.try_lock().map_err(|_| io::Error::other("locked by another process"))?;
    Ok(file)
}

fn encode_records(records: &[Record], state: &TripState) -> Vec<u8> {
    encode_frame(records.last().map_or(Seq::ZERO, |record| record.seq), state, records)
}

fn encode_frame(newest: Seq, state: &TripState, records: &[Record]) -> Vec<u8> {
    let encoded = |record: &Record| (record.seq.get(), record_codec::encode(&record.subject));
    let accepted = Accepted {
        newest: newest.get(),
        state: journey_codec::encode(state),
        records: records.iter().map(encoded).collect(),
    };
    frame(&postcard::to_stdvec(&accepted).expect("lists have a known length"))
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("10,000 records are 1 MB");
    [&length.to_le_bytes(), &crc32fast::hash(body).to_le_bytes(), body].concat()
}

/// Iterates over the bodies of complete frames, up to the first damaged one.
struct FrameReader<'a>(&'a [u8]);

impl<'a> Iterator for FrameReader<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (body, rest) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        self.0 = rest;
        (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then_some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::{record, state};
    use waypost_model::motion::Motion;

    #[test]
    fn whatever_is_cut_off_the_frames_before_it_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, outbox) = (folder.path().join("tail"), folder.path().join("outbox.db"));
        fs::write(&outbox, "").unwrap();
        let (mut tail, left) = TmpfsJournal::open(&path, &outbox).unwrap();
        assert!(left.records.is_empty());
        tail.claim("VAN-1");
        let records: Vec<_> = (1..=5).map(|seq| record(Seq::new(seq), Motion::Moving)).collect();
        for record in &records {
            tail.append(&[*record], &state(1.0), || vec![*record]);
        }
        drop(tail);
        let whole = fs::read(&path).unwrap();
        let mut before = 0;
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (_, left) = TmpfsJournal::open(&path, &outbox).unwrap();
            assert_eq!(left.records, records[..left.records.len()]);
            assert!(left.records.len() >= before);
            before = left.records.len();
        }
        assert_eq!(before, 5);
    }

    #[test]
    fn a_tail_of_another_outbox_or_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tail");
        let [ours, other] = ["ours", "other"].map(|name| folder.path().join(name));
        fs::write(&ours, "").unwrap();
        fs::write(&other, "").unwrap();
        let (mut tail, _) = TmpfsJournal::open(&path, &ours).unwrap();
        tail.append(&[], &state(1.0), Vec::new);
        assert!(TmpfsJournal::open(&path, &ours).is_none(), "locked");
        drop(tail);
        let before = fs::read(&path).unwrap();
        assert!(TmpfsJournal::open(&path, &other).is_none());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(TmpfsJournal::open(Path::new("/nowhere/tail"), &ours).is_none());
    }

    #[test]
    fn it_does_not_grow_without_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (path, outbox) = (folder.path().join("tail"), folder.path().join("outbox.db"));
        fs::write(&outbox, "").unwrap();
        let (mut tail, _) = TmpfsJournal::open(&path, &outbox).unwrap();
        for seq in 1..20_000 {
            let newest = record(Seq::new(seq), Motion::Moving);
            tail.append(&[newest], &state(1.0), || vec![newest]);
            assert!(tail.bytes < COMPACT_FROM_BYTES + 1000);
        }
        drop(tail);
        let (_, left) = TmpfsJournal::open(&path, &outbox).unwrap();
        assert_eq!(left.newest, Seq::new(19_999));
    }
}
