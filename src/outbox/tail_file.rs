//! The tail ↔ a file on tmpfs: what waits for its first transaction survives the process, though not the power, and
//! costs the card nothing.
//!
//! ```text
//! frame = length 4 | crc32 4 | body (little-endian, postcard); the first one says whose the tail is
//! ```
//!
//! It is only ever appended to, and begun anew when nothing in it waits any more, or when most of it does not. A kill may
//! tear the last frame; everything before it counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::seq_file::beside;
use super::state;
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::wire::stored;

const FORMAT: u32 = 1;

/// Beyond this size a tail is begun anew if it has doubled since the last time.
const COMPACT_FROM_BYTES: u64 = 64 * 1024;

/// A tail is never so large: 10,000 records are 1 MB. What is larger is not one.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Whose tail it is: the outbox by its place, which is the only thing about it that survives its loss, and the van.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u32,
    outbox: PathBuf,
    van: String,
}

/// What was accepted at once.
#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    newest: u64,
    state: Vec<u8>,
    records: Vec<(u64, Vec<u8>)>,
}

/// What an earlier run left behind.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub van: String,
    pub newest: Seq,
    pub state: Option<JourneyState>,
    pub records: Vec<Record>,
}

/// The tail of this run.
#[derive(Debug)]
pub(super) struct TailFile {
    path: PathBuf,
    owner: Owner,
    file: File,
    bytes: u64,
    /// The size at which it is begun anew.
    compact_at: u64,
    /// It could not be written, and what follows a torn frame is lost.
    torn: bool,
    holds_records: bool,
}

impl TailFile {
    /// Opens the tail at `path` of the outbox at `outbox`, and reads what is in it. Without it the agent works as well,
    /// and a kill then costs what a power cut does; so all that can be wrong here is said, and no error.
    pub(super) fn open(path: &Path, outbox: &Path) -> Option<(Self, Left)> {
        match Self::try_open(path, outbox) {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no tail file: a kill of the agent now costs what a power cut does; let the agent's user write into its directory (systemd: RuntimeDirectory=waypost), or set outbox.tail_path");
                None
            }
        }
    }

    fn try_open(path: &Path, outbox: &Path) -> io::Result<(Self, Left)> {
        let outbox = std::path::absolute(outbox)?;
        let mut file = opened(path)?;
        let mut bytes = Vec::new();
        if file.metadata()?.len() <= MAX_BYTES {
            file.read_to_end(&mut bytes)?;
        }
        let mut left = Left::default();
        let mut frames = Frames(&bytes);
        if let Some(owner) =
            frames.next().and_then(|frame| postcard::from_bytes::<Owner>(frame).ok())
        {
            if owner.outbox != outbox || owner.format != FORMAT {
                let whose = owner.outbox.display();
                return Err(io::Error::other(format!("it belongs to the outbox at {whose}")));
            }
            left.van = owner.van;
            frames.for_each(|frame| left.read(frame));
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

    /// Notes whose records these are.
    pub(super) fn claim(&mut self, van: &str) {
        van.clone_into(&mut self.owner.van);
    }

    /// Appends what was accepted. `waiting` gives everything that waits, if the file is to be begun anew.
    pub(super) fn append(
        &mut self,
        records: &[Record],
        state: &JourneyState,
        waiting: impl FnOnce() -> Vec<Record>,
    ) {
        self.holds_records = true;
        if self.torn || self.bytes > self.compact_at {
            self.begin_anew(&waiting(), state);
            return;
        }
        let frame = accepted(records, state);
        let written = self.file.write_all(&frame);
        self.note(frame.len(), written);
    }

    /// Whether something was accepted since it was last emptied.
    pub(super) const fn holds_records(&self) -> bool {
        self.holds_records
    }

    /// Nothing in it waits any more.
    pub(super) fn empty(&mut self, newest: Seq, state: &JourneyState) {
        let frames = [self.header(), body(newest, state, &[])].concat();
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(&frames));
        (self.bytes, self.torn, self.compact_at) = (0, false, COMPACT_FROM_BYTES);
        self.holds_records = false;
        self.note(frames.len(), written);
    }

    /// Another file takes its place: a kill meanwhile leaves one of both.
    pub(super) fn begin_anew(&mut self, waiting: &[Record], state: &JourneyState) {
        let frames = [self.header(), accepted(waiting, state)].concat();
        let temporary = beside(&self.path, ".tmp");
        let written = fs::remove_file(&temporary).or(Ok(())).and_then(|()| {
            let mut file = opened(&temporary)?;
            file.write_all(&frames)?;
            fs::rename(&temporary, &self.path)?;
            self.file = file;
            Ok(())
        });
        let bytes = frames.len() as u64;
        self.torn &= written.is_err();
        (self.bytes, self.compact_at) = (0, COMPACT_FROM_BYTES.max(bytes * 2));
        self.note(frames.len(), written);
    }

    fn header(&self) -> Vec<u8> {
        frame(&postcard::to_stdvec(&self.owner).expect("strings have a length"))
    }

    fn note(&mut self, bytes: usize, written: io::Result<()>) {
        self.bytes += bytes as u64;
        if let Err(error) = written
            && !std::mem::replace(&mut self.torn, true)
        {
            tracing::warn!(path = %self.path.display(), %error, "tail file not written, trying again; look at the space of its file system");
        }
    }
}

impl Left {
    /// What this agent cannot read is not taken over: a newer one wrote it, and should have stopped in order.
    fn read(&mut self, frame: &[u8]) {
        let Ok(accepted) = postcard::from_bytes::<Accepted>(frame) else { return };
        self.newest = self.newest.max(Seq::new(accepted.newest));
        self.state = Some(state::decode(&accepted.state));
        for (seq, subject) in accepted.records {
            let seq = Seq::new(seq);
            let ascends = self.records.last().is_none_or(|last| last.seq < seq);
            if let Some(subject) = stored::decode(&subject).ok().filter(|_| ascends) {
                self.records.push(Record { seq, subject });
            }
        }
    }
}

/// The file, for this process alone.
fn opened(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    file.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
    Ok(file)
}

fn accepted(records: &[Record], state: &JourneyState) -> Vec<u8> {
    body(records.last().map_or(Seq::ZERO, |record| record.seq), state, records)
}

fn body(newest: Seq, state: &JourneyState, records: &[Record]) -> Vec<u8> {
    let encoded = |record: &Record| (record.seq.get(), stored::encode(&record.subject));
    let accepted = Accepted {
        newest: newest.get(),
        state: state::encode(state),
        records: records.iter().map(encoded).collect(),
    };
    frame(&postcard::to_stdvec(&accepted).expect("lists have a length"))
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("10,000 records are 1 MB");
    [&length.to_le_bytes(), &crc32fast::hash(body).to_le_bytes(), body].concat()
}

/// The bodies of whole frames, up to the first that is not.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
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
    use crate::core::journey::Motion;
    use crate::outbox::tests::{record, state};

    #[test]
    fn whatever_is_cut_off_the_frames_before_it_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, outbox) = (folder.path().join("tail"), folder.path().join("outbox.db"));
        fs::write(&outbox, "").unwrap();
        let (mut tail, left) = TailFile::open(&path, &outbox).unwrap();
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
            let (_, left) = TailFile::open(&path, &outbox).unwrap();
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
        let (mut tail, _) = TailFile::open(&path, &ours).unwrap();
        tail.append(&[], &state(1.0), Vec::new);
        assert!(TailFile::open(&path, &ours).is_none(), "in use");
        drop(tail);
        let before = fs::read(&path).unwrap();
        assert!(TailFile::open(&path, &other).is_none());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(TailFile::open(Path::new("/nowhere/tail"), &ours).is_none());
    }

    #[test]
    fn it_does_not_grow_without_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (path, outbox) = (folder.path().join("tail"), folder.path().join("outbox.db"));
        fs::write(&outbox, "").unwrap();
        let (mut tail, _) = TailFile::open(&path, &outbox).unwrap();
        for seq in 1..20_000 {
            let newest = record(Seq::new(seq), Motion::Moving);
            tail.append(&[newest], &state(1.0), || vec![newest]);
            assert!(tail.bytes < COMPACT_FROM_BYTES + 1000);
        }
        drop(tail);
        let (_, left) = TailFile::open(&path, &outbox).unwrap();
        assert_eq!(left.newest, Seq::new(19_999));
    }
}
