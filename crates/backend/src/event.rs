//! An event as the backend stores it.

use serde_json::Value;

use waypost_model::units::UtcTime;

/// Channel through which an event arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A van, over MQTT.
    Van,
    /// A warehouse or partner, through `POST /epcis/v2/capture`.
    Capture,
    /// A carrier's status list, as CSV.
    Import,
    /// The backend itself, on behalf of a user: a route was put, a case was closed.
    Backend,
}

impl Origin {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Van => "van",
            Self::Capture => "capture",
            Self::Import => "import",
            Self::Backend => "backend",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Van, Self::Capture, Self::Import, Self::Backend]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// Kind of a retraction that may retract events of any token, not only those of its own.
pub const RETRACTS_OTHERS: &str = "retraction.of_others";

/// Role of an object in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The subject of the event.
    Epc,
    /// The object is contained, loaded or unloaded.
    Child,
    /// The object contains others: a van, a pallet.
    Parent,
    /// The object is consumed by a transformation.
    Input,
    /// The object is the result of a transformation.
    Output,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Epc => "epc",
            Self::Child => "child",
            Self::Parent => "parent",
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// An event with its indexed properties.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Sequence number in the order of capture; 0 before the event is stored.
    pub n: i64,
    /// Key of the message together with `id`: the URI of the van, or the capturing client.
    pub source: String,
    /// Identifier of the message.
    pub id: String,
    /// EPCIS `eventID`. A retraction carries the ID of the event that it retracts.
    pub event_id: String,
    /// Event kind of a van, such as `parcel.delivered` (docs/mqtt-contract.md); empty for EPCIS
    /// events of others.
    pub kind: String,
    pub origin: Origin,
    /// Id of the reporting van, if any.
    pub van: Option<String>,
    /// Sequence number of the van's record.
    pub seq: Option<u64>,
    /// Route to which the event belongs.
    pub route: Option<String>,
    /// EPCIS `eventTime`.
    pub time: UtcTime,
    /// Time of capture by the backend: EPCIS `recordTime`.
    pub captured_at: UtcTime,
    /// Whether the event declares `event_id` erroneous (`errorDeclaration`).
    pub retracts: bool,
    /// Canonical URIs of the objects of the event ([`super::epc`]).
    pub epcs: Vec<(String, Role)>,
    /// Capture job of the event.
    pub job: Option<String>,
    /// The EPCIS event as received.
    pub data: Value,
}

/// Returns the name of the token that captured or imported a source; `None` for vans and the
/// backend.
#[must_use]
pub fn token_name(source: &str) -> Option<&str> {
    let rest = source.strip_prefix("capture:").or_else(|| source.strip_prefix("import:"))?;
    rest.split(':').next()
}

impl Event {
    /// Returns a text member of the event, such as `bizStep`.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.data.get(name)?.as_str()
    }

    /// Returns the `id` of `readPoint` or `bizLocation`.
    #[must_use]
    pub fn location_id(&self, name: &str) -> Option<&str> {
        self.data.get(name)?.get("id")?.as_str()
    }
}
