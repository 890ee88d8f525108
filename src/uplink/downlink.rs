//! Passes manifests and commands to the engine, and command responses to `command/result`. The uplink
//! never waits for the engine.
//!
//! - A manifest replaces an unread one. A command is dropped and counted if [`MAX_COMMANDS`] are
//!   unread.
//! - A response stays until the broker has acknowledged it. It survives a reconnect but not a
//!   restart of the agent. Beyond [`MAX_ANSWERS`], the oldest one is dropped.

use std::collections::VecDeque;

use tokio::sync::{mpsc, watch};

/// Maximum number of unread commands. The engine reads them within a second.
pub const MAX_COMMANDS: usize = 32;

/// Maximum number of unacknowledged responses.
pub const MAX_RESPONSES: usize = 64;

/// Maximum number of responses in flight, so that a flood of commands does not delay events.
const MAX_IN_FLIGHT: usize = 4;

/// Maximum size of a manifest, enough for several thousand parcels.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// Maximum size of a command.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// A message from the backend. The payload is not validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downlink {
    /// Retained message on `manifest`, up to [`MAX_MANIFEST_BYTES`]. Empty if the manifest was
    /// cleared. It is received again on each connection.
    Manifest(Vec<u8>),
    /// Message on `command`, up to [`MAX_COMMAND_BYTES`]. With QoS 1 it may be received twice.
    Command(Vec<u8>),
}

/// Response to a command, for `command/result`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResponse {
    /// JSON payload.
    pub payload: Vec<u8>,
}

/// Creates the channel between uplink and engine.
#[must_use]
pub fn downlink() -> (DownlinkSender, DownlinkReceiver) {
    let manifest = watch::Sender::new(None);
    let (commands, waiting) = mpsc::channel(MAX_COMMANDS);
    let seen = manifest.subscribe();
    let sender = DownlinkSender { manifest: manifest.clone(), commands };
    let receiver = DownlinkReceiver { manifest, changes: seen, commands: waiting };
    (sender, receiver)
}

/// The uplink's end of the channel.
#[derive(Clone, Debug)]
pub struct DownlinkSender {
    manifest: watch::Sender<Option<Vec<u8>>>,
    commands: mpsc::Sender<Vec<u8>>,
}

impl DownlinkSender {
    pub(super) fn manifest(&self, payload: Vec<u8>) {
        self.manifest.send_replace(Some(payload));
    }

    /// Returns false if the queue is full. Without an engine, the command is discarded silently.
    pub(super) fn command(&self, payload: Vec<u8>) -> bool {
        !matches!(self.commands.try_send(payload), Err(mpsc::error::TrySendError::Full(_)))
    }
}

/// The engine's end of the channel.
#[derive(Debug)]
pub struct DownlinkReceiver {
    /// Also a sender, so that a manifest can be removed once it is taken.
    manifest: watch::Sender<Option<Vec<u8>>>,
    changes: watch::Receiver<Option<Vec<u8>>>,
    commands: mpsc::Receiver<Vec<u8>>,
}

impl DownlinkReceiver {
    /// Receives the next message, manifests first. Returns `None` when the uplink is gone. Cancel
    /// safe.
    pub async fn recv(&mut self) -> Option<Downlink> {
        loop {
            if let Some(manifest) = self.take_manifest() {
                return Some(Downlink::Manifest(manifest));
            }
            tokio::select! {
                biased;
                // Never fails, because this end holds a sender.
                _ = self.changes.changed() => {}
                command = self.commands.recv() => match command {
                    Some(command) => return Some(Downlink::Command(command)),
                    None => return self.take_manifest().map(Downlink::Manifest),
                },
            }
        }
    }

    /// Returns the next message without waiting.
    pub fn try_recv(&mut self) -> Option<Downlink> {
        let manifest = self.take_manifest().map(Downlink::Manifest);
        manifest.or_else(|| self.commands.try_recv().ok().map(Downlink::Command))
    }

    fn take_manifest(&mut self) -> Option<Vec<u8>> {
        let mut taken = None;
        self.manifest.send_if_modified(|manifest| {
            taken = manifest.take();
            false
        });
        taken
    }
}

/// Responses without PUBACK, oldest first.
#[derive(Debug, Default)]
pub(super) struct ResponseQueue {
    pending: VecDeque<PendingResponse>,
    next_number: u64,
}

#[derive(Debug)]
struct PendingResponse {
    number: u64,
    payload: Vec<u8>,
    sent: bool,
}

impl ResponseQueue {
    /// Queues a response. Returns false if an older one was dropped for it.
    pub(super) fn push(&mut self, answer: CommandResponse) -> bool {
        let has_room = self.pending.len() < MAX_RESPONSES;
        if !has_room {
            // Prefer to drop a response that is not in flight: the broker may have received the
            // others.
            let oldest = self.pending.iter().position(|answer| !answer.sent).unwrap_or(0);
            self.pending.remove(oldest);
        }
        self.pending.push_back(PendingResponse {
            number: self.next_number,
            payload: answer.payload,
            sent: false,
        });
        self.next_number += 1;
        has_room
    }

    /// Marks all responses as unsent, for a new connection.
    pub(super) fn reset_for_connection(&mut self) {
        self.pending.iter_mut().for_each(|answer| answer.sent = false);
    }

    /// Returns the oldest response that is not in flight.
    pub(super) fn next_to_send(&self) -> Option<(u64, &[u8])> {
        if self.pending.iter().filter(|answer| answer.sent).count() >= MAX_IN_FLIGHT {
            return None;
        }
        let answer = self.pending.iter().find(|answer| !answer.sent)?;
        Some((answer.number, &answer.payload))
    }

    /// Marks a response as in flight.
    pub(super) fn mark_sent(&mut self, number: u64) {
        let sent = self.pending.iter_mut().find(|answer| answer.number == number);
        if let Some(answer) = sent {
            answer.sent = true;
        }
    }

    /// Removes a response that was acknowledged or cannot be sent.
    pub(super) fn remove(&mut self, number: u64) {
        self.pending.retain(|answer| answer.number != number);
    }

    /// Whether no response is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
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
        let mut answers = ResponseQueue::default();
        let answer = || CommandResponse { payload: vec![0] };
        assert!((0..MAX_RESPONSES).all(|_| answers.push(answer())));
        assert!(!answers.push(answer()));
        assert_eq!(answers.next_to_send().map(|(number, _)| number), Some(1));
        assert_eq!(answers.pending.len(), MAX_RESPONSES);
    }
}
