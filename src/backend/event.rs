//! An event as the backend keeps it, whoever said it.

use serde_json::Value;

use crate::units::UtcTime;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A van, over MQTT.
    Van,
    /// A warehouse or partner, by `POST /capture`.
    Capture,
    /// A carrier's list of states, by CSV.
    Import,
    /// The backend itself, for a person: a route that was put, a case that was closed.
    Backend,
}

impl Origin {
    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Van => "van",
            Self::Capture => "capture",
            Self::Import => "import",
            Self::Backend => "backend",
        }
    }

    /// Of a stored name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Van, Self::Capture, Self::Import, Self::Backend]
            .into_iter()
            .find(|origin| origin.name() == name)
    }
}

/// Kind of a retraction that takes back what any token captured or listed, not only what its own did.
pub const RETRACTS_OTHERS: &str = "retraction.of_others";

/// What a thing is to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is what the event is about.
    Epc,
    /// It is held, loaded or taken out.
    Child,
    /// It holds: a van, a pallet.
    Parent,
}

impl Role {
    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epc => "epc",
            Self::Child => "child",
            Self::Parent => "parent",
        }
    }
}

/// An event with what is asked of it most.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// In the order of capture; 0 before it is stored.
    pub n: i64,
    /// With `id` the key of the message: the URI of the van, or who captured.
    pub source: String,
    /// Name of the message.
    pub id: String,
    /// EPCIS `eventID`: name of what happened; a retraction has that of what it takes back.
    pub event_id: String,
    /// `parcel.delivered` and the like of vans (docs/contract.md); empty for EPCIS of others.
    pub kind: String,
    /// Who said it.
    pub origin: Origin,
    /// The van's id, if one said it.
    pub van: Option<String>,
    /// Number of the van's record.
    pub seq: Option<u64>,
    /// The route that it belongs to.
    pub route: Option<String>,
    /// EPCIS `eventTime`.
    pub time: UtcTime,
    /// When the backend took it: EPCIS `recordTime`.
    pub captured_at: UtcTime,
    /// Whether it says that `event_id` is wrong (`errorDeclaration`).
    pub retracts: bool,
    /// Canonical URIs of what it is about ([`super::epc`]).
    pub epcs: Vec<(String, Role)>,
    /// The job that captured it.
    pub job: Option<String>,
    /// The EPCIS event as it came.
    pub data: Value,
}

/// Name of the token by which a source was captured or listed; `None` for vans and the backend itself.
#[must_use]
pub fn token_of(source: &str) -> Option<&str> {
    let rest = source.strip_prefix("capture:").or_else(|| source.strip_prefix("import:"))?;
    rest.split(':').next()
}

impl Event {
    /// A text member of the event, such as `bizStep`.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.data.get(name)?.as_str()
    }

    /// `id` of `readPoint` or `bizLocation`.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<&str> {
        self.data.get(name)?.get("id")?.as_str()
    }
}
