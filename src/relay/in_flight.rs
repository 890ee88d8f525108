//! Message ↔ packet identifier, and the window (pure).
//!
//! The client gives packet identifiers in the order in which messages were handed over, so the oldest message without
//! one gets the next. The window counts from the *oldest* message without PUBACK: a client that gives identifiers
//! 1..=window in turn then never meets one that is still taken, also if a broker acknowledges out of order.
//!
//! Whatever does not fit is a [`Fault`]: the connection ends, and nothing is taken for delivered.

use std::collections::VecDeque;

use crate::units::Uptime;

/// What client and broker say does not fit what was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something was sent that was not handed over.
    #[error("packet identifier {0} was sent for no message")]
    NothingToSend(u16),
    /// An identifier was given again before its PUBACK.
    #[error("packet identifier {0} was given twice")]
    GivenTwice(u16),
    /// PUBACK for nothing: never sent, or acknowledged already.
    #[error("PUBACK for packet identifier {0}, which is not in flight")]
    NotInFlight(u16),
    /// The client took fewer messages than its window.
    #[error("the client did not take a message within its window")]
    Overrun,
}

#[derive(Debug)]
enum Stage<T> {
    HandedOver(T),
    Sent(u16, T),
    Acked,
}

#[derive(Debug)]
struct Entry<T> {
    stage: Stage<T>,
    bytes: usize,
    since: Uptime,
}

/// The messages without PUBACK, oldest first.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    entries: VecDeque<Entry<T>>,
    window: usize,
    max_bytes: usize,
    bytes: usize,
}

impl<T> InFlight<T> {
    /// At most `window` messages and `max_bytes` of payload; one message alone may be larger.
    pub(super) fn new(window: u16, max_bytes: usize) -> Self {
        let window = usize::from(window.max(1));
        Self { entries: VecDeque::with_capacity(window), window, max_bytes, bytes: 0 }
    }

    /// Whether another message of `bytes` may be handed over.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + bytes <= self.max_bytes;
        self.entries.len() < self.window && fits
    }

    /// Whether nothing waits for PUBACK.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Since when the oldest waits.
    pub(super) fn oldest(&self) -> Option<Uptime> {
        self.entries.front().map(|entry| entry.since)
    }

    /// What waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| match &entry.stage {
            Stage::HandedOver(message) | Stage::Sent(_, message) => Some(message),
            Stage::Acked => None,
        })
    }

    /// A message is handed over to the client.
    pub(super) fn hand_over(&mut self, message: T, bytes: usize, now: Uptime) {
        self.bytes += bytes;
        self.entries.push_back(Entry { stage: Stage::HandedOver(message), bytes, since: now });
    }

    /// The client sends the next message under `packet_id`.
    pub(super) fn sent(&mut self, packet_id: u16) -> Result<(), Fault> {
        let taken = |entry: &Entry<T>| matches!(entry.stage, Stage::Sent(id, _) if id == packet_id);
        if self.entries.iter().any(taken) {
            return Err(Fault::GivenTwice(packet_id));
        }
        let waiting = |entry: &&mut Entry<T>| matches!(entry.stage, Stage::HandedOver(_));
        let entry = self.entries.iter_mut().find(waiting).ok_or(Fault::NothingToSend(packet_id))?;
        if let Stage::HandedOver(message) = std::mem::replace(&mut entry.stage, Stage::Acked) {
            entry.stage = Stage::Sent(packet_id, message);
        }
        Ok(())
    }

    /// The link takes no more than so many bytes for now.
    pub(super) const fn limit(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// PUBACK came for `packet_id`; returns the message that it answers, its size, and when it was handed over.
    pub(super) fn acked(&mut self, packet_id: u16) -> Result<(T, usize, Uptime), Fault> {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| matches!(entry.stage, Stage::Sent(id, _) if id == packet_id))
            .ok_or(Fault::NotInFlight(packet_id))?;
        let Stage::Sent(_, message) = std::mem::replace(&mut entry.stage, Stage::Acked) else {
            return Err(Fault::NotInFlight(packet_id));
        };
        let (bytes, since) = (entry.bytes, entry.since);
        self.bytes -= bytes;
        while self.entries.pop_front_if(|entry| matches!(entry.stage, Stage::Acked)).is_some() {}
        Ok((message, bytes, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_of(window: u16, messages: &[char]) -> InFlight<char> {
        let mut in_flight = InFlight::new(window, 100);
        for (ms, message) in (0..).zip(messages) {
            in_flight.hand_over(*message, 10, Uptime::from_millis(ms));
        }
        in_flight
    }

    #[test]
    fn an_acknowledgement_finds_its_message_in_any_order() {
        let mut in_flight = window_of(3, &['a', 'b', 'c']);
        for id in [1, 2, 3] {
            in_flight.sent(id).unwrap();
        }
        assert_eq!(in_flight.acked(2).map(|(message, ..)| message), Ok('b'));
        assert!(!in_flight.has_room(1), "the window counts from the oldest");
        assert_eq!(in_flight.oldest(), Some(Uptime::ZERO));
        assert_eq!(in_flight.acked(1).map(|(message, ..)| message), Ok('a'));
        assert!(in_flight.has_room(1));
        in_flight.hand_over('d', 10, Uptime::from_millis(9));
        in_flight.sent(1).unwrap();
        assert_eq!(in_flight.acked(1).map(|(message, ..)| message), Ok('d'));
        assert_eq!(in_flight.acked(3).map(|(message, ..)| message), Ok('c'));
        assert!(in_flight.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_a_fault_and_acknowledges_nothing() {
        let mut in_flight = window_of(3, &['a', 'b']);
        assert_eq!(in_flight.acked(1), Err(Fault::NotInFlight(1)), "not sent yet");
        in_flight.sent(1).unwrap();
        assert_eq!(in_flight.sent(1), Err(Fault::GivenTwice(1)));
        in_flight.sent(2).unwrap();
        assert_eq!(in_flight.sent(3), Err(Fault::NothingToSend(3)));
        assert_eq!(in_flight.acked(2).map(|(message, ..)| message), Ok('b'));
        assert_eq!(in_flight.acked(2), Err(Fault::NotInFlight(2)), "doubled");
        assert_eq!(in_flight.iter().collect::<String>(), "a");
    }

    #[test]
    fn the_window_is_bounded_in_bytes_and_one_message_alone_always_fits() {
        let mut in_flight = InFlight::new(9, 100);
        assert!(in_flight.has_room(1000));
        in_flight.hand_over('a', 60, Uptime::ZERO);
        assert!(in_flight.has_room(40));
        assert!(!in_flight.has_room(41));
    }
}
