//! Maps packet identifiers to messages and limits the window. No I/O.
//!
//! The client assigns packet identifiers in the order in which messages were published, so the
//! oldest message without one gets the next. The window counts from the *oldest* message without
//! PUBACK. A client that assigns identifiers 1..=window in turn thus never reuses one that is in
//! flight, even if PUBACKs arrive out of order.
//!
//! A contradiction is a [`Fault`]: the connection is closed, and the affected messages do not count
//! as delivered.

use std::collections::VecDeque;

use waypost_model::units::Uptime;

/// A contradiction between client or broker and the published messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolViolation {
    /// The client sent a message that was not published.
    #[error("packet identifier {0} was sent without a message")]
    UnexpectedSend(u16),
    /// The client reused an identifier before its PUBACK.
    #[error("packet identifier {0} was assigned twice")]
    DuplicateId(u16),
    /// The broker acknowledged a message that was never sent or is acknowledged already.
    #[error("PUBACK for packet identifier {0}, which is not in flight")]
    NotInFlight(u16),
    /// The client rejected a message although the window had space.
    #[error("the client rejected a message within its window")]
    QueueFull,
}

#[derive(Debug)]
enum PublishState<T> {
    Queued(T),
    Sent(u16, T),
    Acked,
}

#[derive(Debug)]
struct Entry<T> {
    state: PublishState<T>,
    bytes: usize,
    since: Uptime,
}

/// Messages without PUBACK, oldest first.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    entries: VecDeque<Entry<T>>,
    window: usize,
    max_bytes: usize,
    bytes: usize,
}

impl<T> InFlight<T> {
    /// Allows at most `window` messages and `max_bytes` of payload. A single message may be larger.
    pub(super) fn new(window: u16, max_bytes: usize) -> Self {
        let window = usize::from(window.max(1));
        Self { entries: VecDeque::with_capacity(window), window, max_bytes, bytes: 0 }
    }

    /// Whether another message of `bytes` fits into the window.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + bytes <= self.max_bytes;
        self.entries.len() < self.window && fits
    }

    /// Payload bytes without PUBACK.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no message awaits PUBACK.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Time at which the oldest message was published.
    pub(super) fn oldest(&self) -> Option<Uptime> {
        self.entries.front().map(|entry| entry.since)
    }

    /// Iterates over the messages without PUBACK.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| match &entry.state {
            PublishState::Queued(message) | PublishState::Sent(_, message) => Some(message),
            PublishState::Acked => None,
        })
    }

    /// Adds a message that is passed to the client.
    pub(super) fn push(&mut self, message: T, bytes: usize, now: Uptime) {
        self.bytes += bytes;
        self.entries.push_back(Entry { state: PublishState::Queued(message), bytes, since: now });
    }

    /// Records that the client sends the next message under `packet_id`.
    pub(super) fn mark_sent(&mut self, packet_id: u16) -> Result<(), ProtocolViolation> {
        let taken =
            |entry: &Entry<T>| matches!(entry.state, PublishState::Sent(id, _) if id == packet_id);
        if self.entries.iter().any(taken) {
            return Err(ProtocolViolation::DuplicateId(packet_id));
        }
        let waiting = |entry: &&mut Entry<T>| matches!(entry.state, PublishState::Queued(_));
        let entry = self
            .entries
            .iter_mut()
            .find(waiting)
            .ok_or(ProtocolViolation::UnexpectedSend(packet_id))?;
        if let PublishState::Queued(message) =
            std::mem::replace(&mut entry.state, PublishState::Acked)
        {
            entry.state = PublishState::Sent(packet_id, message);
        }
        Ok(())
    }

    /// Changes the limit of bytes in flight.
    pub(super) const fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Handles PUBACK for `packet_id`. Returns the message, its size, and when it was published.
    pub(super) fn acknowledge(
        &mut self,
        packet_id: u16,
    ) -> Result<(T, usize, Uptime), ProtocolViolation> {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| matches!(entry.state, PublishState::Sent(id, _) if id == packet_id))
            .ok_or(ProtocolViolation::NotInFlight(packet_id))?;
        let PublishState::Sent(_, message) =
            std::mem::replace(&mut entry.state, PublishState::Acked)
        else {
            return Err(ProtocolViolation::NotInFlight(packet_id));
        };
        let (bytes, since) = (entry.bytes, entry.since);
        self.bytes -= bytes;
        while self
            .entries
            .pop_front_if(|entry| matches!(entry.state, PublishState::Acked))
            .is_some()
        {}
        Ok((message, bytes, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_of(window: u16, messages: &[char]) -> InFlight<char> {
        let mut in_flight = InFlight::new(window, 100);
        for (ms, message) in (0..).zip(messages) {
            in_flight.push(*message, 10, Uptime::from_millis(ms));
        }
        in_flight
    }

    #[test]
    fn an_acknowledgement_finds_its_message_in_any_order() {
        let mut in_flight = window_of(3, &['a', 'b', 'c']);
        for id in [1, 2, 3] {
            in_flight.mark_sent(id).unwrap();
        }
        assert_eq!(in_flight.acknowledge(2).map(|(message, ..)| message), Ok('b'));
        assert!(!in_flight.has_room(1), "the window counts from the oldest");
        assert_eq!(in_flight.oldest(), Some(Uptime::ZERO));
        assert_eq!(in_flight.acknowledge(1).map(|(message, ..)| message), Ok('a'));
        assert!(in_flight.has_room(1));
        in_flight.push('d', 10, Uptime::from_millis(9));
        in_flight.mark_sent(1).unwrap();
        assert_eq!(in_flight.acknowledge(1).map(|(message, ..)| message), Ok('d'));
        assert_eq!(in_flight.acknowledge(3).map(|(message, ..)| message), Ok('c'));
        assert!(in_flight.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_a_fault_and_acknowledges_nothing() {
        let mut in_flight = window_of(3, &['a', 'b']);
        assert_eq!(
            in_flight.acknowledge(1),
            Err(ProtocolViolation::NotInFlight(1)),
            "not sent yet"
        );
        in_flight.mark_sent(1).unwrap();
        assert_eq!(in_flight.mark_sent(1), Err(ProtocolViolation::DuplicateId(1)));
        in_flight.mark_sent(2).unwrap();
        assert_eq!(in_flight.mark_sent(3), Err(ProtocolViolation::UnexpectedSend(3)));
        assert_eq!(in_flight.acknowledge(2).map(|(message, ..)| message), Ok('b'));
        assert_eq!(in_flight.acknowledge(2), Err(ProtocolViolation::NotInFlight(2)), "doubled");
        assert_eq!(in_flight.iter().collect::<String>(), "a");
    }

    #[test]
    fn the_window_is_bounded_in_bytes_and_one_message_alone_always_fits() {
        let mut in_flight = InFlight::new(9, 100);
        assert!(in_flight.has_room(1000));
        in_flight.push('a', 60, Uptime::ZERO);
        assert!(in_flight.has_room(40));
        assert!(!in_flight.has_room(41));
    }
}
