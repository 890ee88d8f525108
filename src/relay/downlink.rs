//! Manifests and commands → the engine, and its answers → `cmd/res`. The relay never waits for the engine.
//!
//! - A manifest replaces one that waits; a command that finds [`MAX_COMMANDS`] waiting is given up, and counted.
//! - An answer stays until the broker has taken it, also across connections, but not across a start of the agent. Of more
//!   than [`MAX_ANSWERS`] the oldest goes.

use std::collections::VecDeque;

use tokio::sync::{mpsc, watch};

/// Commands that wait for the engine; nobody gives a van more in the second that it takes.
pub const MAX_COMMANDS: usize = 32;

/// Answers that wait for the broker.
pub const MAX_ANSWERS: usize = 64;

/// Answers without PUBACK: whoever floods the van with commands does not hold up events.
const MAX_UNDER_WAY: usize = 4;

/// A manifest is never larger: some thousand parcels.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// A command is never larger.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// What the backend says to the van. Payloads are as they came: nobody has looked at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downlink {
    /// The retained word on `manifest`, up to [`MAX_MANIFEST_BYTES`]; empty when it was withdrawn. It comes again with
    /// each connection.
    Manifest(Vec<u8>),
    /// From `cmd`, up to [`MAX_COMMAND_BYTES`]. QoS 1: it may come twice.
    Command(Vec<u8>),
}

/// What a command came to, for `cmd/res`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// JSON.
    pub payload: Vec<u8>,
}

/// The relay's end and the engine's.
#[must_use]
pub fn downlink() -> (DownlinkSender, DownlinkReceiver) {
    let manifest = watch::Sender::new(None);
    let (commands, waiting) = mpsc::channel(MAX_COMMANDS);
    let seen = manifest.subscribe();
    let sender = DownlinkSender { manifest: manifest.clone(), commands };
    let receiver = DownlinkReceiver { manifest, seen, commands: waiting };
    (sender, receiver)
}

/// Where the relay puts what has come.
#[derive(Clone, Debug)]
pub struct DownlinkSender {
    manifest: watch::Sender<Option<Vec<u8>>>,
    commands: mpsc::Sender<Vec<u8>>,
}

impl DownlinkSender {
    pub(super) fn manifest(&self, payload: Vec<u8>) {
        self.manifest.send_replace(Some(payload));
    }

    /// False if there is no room for it. Without an engine nobody misses it.
    pub(super) fn command(&self, payload: Vec<u8>) -> bool {
        !matches!(self.commands.try_send(payload), Err(mpsc::error::TrySendError::Full(_)))
    }
}

/// Where the engine takes it.
#[derive(Debug)]
pub struct DownlinkReceiver {
    /// A sender too, so that a manifest that was taken is not kept.
    manifest: watch::Sender<Option<Vec<u8>>>,
    seen: watch::Receiver<Option<Vec<u8>>>,
    commands: mpsc::Receiver<Vec<u8>>,
}

impl DownlinkReceiver {
    /// The next message, a manifest before commands; `None` when the relay is gone. Nothing is lost if the future is
    /// dropped.
    pub async fn recv(&mut self) -> Option<Downlink> {
        loop {
            if let Some(manifest) = self.waiting_manifest() {
                return Some(Downlink::Manifest(manifest));
            }
            tokio::select! {
                biased;
                // It cannot fail: this end holds a sender.
                _ = self.seen.changed() => {}
                command = self.commands.recv() => match command {
                    Some(command) => return Some(Downlink::Command(command)),
                    None => return self.waiting_manifest().map(Downlink::Manifest),
                },
            }
        }
    }

    /// What waits already.
    pub fn try_recv(&mut self) -> Option<Downlink> {
        let manifest = self.waiting_manifest().map(Downlink::Manifest);
        manifest.or_else(|| self.commands.try_recv().ok().map(Downlink::Command))
    }

    fn waiting_manifest(&mut self) -> Option<Vec<u8>> {
        let mut taken = None;
        self.manifest.send_if_modified(|manifest| {
            taken = manifest.take();
            false
        });
        taken
    }
}

/// The answers without PUBACK, oldest first.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    payload: Vec<u8>,
    sent: bool,
}

impl Answers {
    /// Keeps an answer; false if an older one had to go for it.
    pub(super) fn keep(&mut self, answer: Answer) -> bool {
        let has_room = self.waiting.len() < MAX_ANSWERS;
        if !has_room {
            // What is under way still counts, and the broker may have it already.
            let oldest = self.waiting.iter().position(|answer| !answer.sent).unwrap_or(0);
            self.waiting.remove(oldest);
        }
        self.waiting.push_back(Waiting { number: self.next, payload: answer.payload, sent: false });
        self.next += 1;
        has_room
    }

    /// A new connection: none is on its way.
    pub(super) fn begin_again(&mut self) {
        self.waiting.iter_mut().for_each(|answer| answer.sent = false);
    }

    /// The oldest that is not on its way.
    pub(super) fn to_send(&self) -> Option<(u64, &[u8])> {
        if self.waiting.iter().filter(|answer| answer.sent).count() >= MAX_UNDER_WAY {
            return None;
        }
        let answer = self.waiting.iter().find(|answer| !answer.sent)?;
        Some((answer.number, &answer.payload))
    }

    /// It is on its way.
    pub(super) fn sent(&mut self, number: u64) {
        let sent = self.waiting.iter_mut().find(|answer| answer.number == number);
        if let Some(answer) = sent {
            answer.sent = true;
        }
    }

    /// The broker has taken it, or never will.
    pub(super) fn done(&mut self, number: u64) {
        self.waiting.retain(|answer| answer.number != number);
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_manifest_replaces_one_that_waits_and_goes_before_commands() {
        let (sender, mut receiver) = downlink();
        assert!(sender.command(b"one".to_vec()));
        sender.manifest(b"old".to_vec());
        sender.manifest(b"new".to_vec());
        assert_eq!(receiver.recv().await, Some(Downlink::Manifest(b"new".to_vec())));
        assert_eq!(receiver.recv().await, Some(Downlink::Command(b"one".to_vec())));
        sender.manifest(Vec::new());
        assert_eq!(receiver.recv().await, Some(Downlink::Manifest(Vec::new())), "withdrawn");
        drop(sender);
        assert_eq!(receiver.recv().await, None);
    }

    #[test]
    fn a_full_line_of_commands_takes_no_more_and_an_absent_engine_misses_none() {
        let (sender, receiver) = downlink();
        assert!((0..MAX_COMMANDS).all(|_| sender.command(vec![0])));
        assert!(!sender.command(vec![0]));
        drop(receiver);
        assert!(sender.command(vec![0]));
    }

    #[test]
    fn answers_are_bounded_and_the_oldest_goes() {
        let mut answers = Answers::default();
        let answer = || Answer { payload: vec![0] };
        assert!((0..MAX_ANSWERS).all(|_| answers.keep(answer())));
        assert!(!answers.keep(answer()));
        assert_eq!(answers.to_send().map(|(number, _)| number), Some(1));
        assert_eq!(answers.waiting.len(), MAX_ANSWERS);
    }
}
