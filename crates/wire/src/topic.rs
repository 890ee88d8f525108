//! Topic names: `{root}/v1/{van}/…`.

use std::fmt;

use super::VERSION;

/// Van id: a topic level, also the MQTT client identifier and user name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VanId(String);

/// The text is not a valid van id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a van id: 1 to 64 of A-Z a-z 0-9 _ . : -")]
pub struct InvalidVanId(pub String);

impl VanId {
    /// Validates a van id: `^[A-Za-z0-9_.:-]{1,64}$`.
    ///
    /// # Errors
    /// Returns [`InvalidVanId`] with the invalid text, shortened to 80 characters.
    pub fn new(text: &str) -> Result<Self, InvalidVanId> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"_.:-".contains(&c);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidVanId(text.chars().take(80).collect()))
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Topic names of one van.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Live position: newest only, QoS 0.
    pub position: String,
    /// Complete track in batches, QoS 1.
    pub track: String,
    /// Delivery events, one per message, QoS 1.
    pub event: String,
    /// Connection state of the agent: retained, also the Will, QoS 1.
    pub connection: String,
    /// State of receiver, outbox and route: retained, QoS 1.
    pub state: String,
    /// Route manifest from the backend: retained, QoS 1.
    pub manifest: String,
    /// Commands from the backend: never retained, QoS 1.
    pub command: String,
    /// Results of commands, QoS 1.
    pub command_result: String,
    /// Acknowledgements of stored events and track points, QoS 1.
    pub ack: String,
    /// Live position for OwnTracks: `owntracks/{first level of root}/{van}`.
    pub owntracks: String,
}

impl Topics {
    /// Returns the topics of `van` below `root`.
    #[must_use]
    pub fn new(root: &str, van: &VanId) -> Self {
        let topic = |name: &str| format!("{root}/v{VERSION}/{van}/{name}");
        Self {
            position: topic("position"),
            track: topic("track"),
            event: topic("event"),
            connection: topic("connection"),
            state: topic("state"),
            manifest: topic("manifest"),
            command: topic("command"),
            command_result: topic("command/result"),
            ack: topic("ack"),
            owntracks: format!("owntracks/{}/{van}", root.split('/').next().unwrap_or(root)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_van_id_can_be_a_level_of_a_topic_and_nothing_more() {
        assert_eq!(
            Topics::new("fleet", &VanId::new("VAN-042").unwrap()).track,
            "fleet/v1/VAN-042/track"
        );
        let long = "x".repeat(65);
        for bad in ["", "a/b", "+", "#", "van 1", "vän", "a\0", &long] {
            assert!(VanId::new(bad).is_err(), "{bad:?}");
        }
    }
}
