//! JSON structure of a message on `event`: CloudEvents 1.0 around EPCIS 2.0.
//!
//! Unknown members are preserved on their level.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// CloudEvents message in structured mode, with the extensions `sequence`, `previoussequence`,
/// `dataclassification` and `dataregulation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// Id of the message; together with `source` it identifies duplicates.
    pub id: String,
    /// URI of the van.
    pub source: String,
    /// Event type, such as `org.w3id.waypost.parcel.delivered.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Time of the event: `eventTime`, or the time of the retraction.
    pub time: String,
    /// Id of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `application/ld+json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Sequence number of the record, zero-padded to at least 12 digits, so that strings sort like
    /// numbers.
    pub sequence: String,
    /// `sequence` of the van's previous event; absent for the first event. A consumer without that
    /// event has missed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previoussequence: Option<String>,
    /// `confidential`: the event contains the location of a person and the parcels of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataclassification: Option<String>,
    /// `GDPR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataregulation: Option<String>,
    pub data: EpcisEvent,
    /// Unknown members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CloudEvent {
    /// Supported version.
    pub const SPECVERSION: &str = "1.0";
}

/// EPCIS 2.0 event with its context (§7.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EpcisEvent {
    /// JSON-LD context: GS1's, and the namespace of `waypost:`.
    #[serde(rename = "@context")]
    pub context: Value,
    #[serde(rename = "type")]
    pub kind: EpcisType,
    /// Event id: `urn:uuid:…`.
    #[serde(rename = "eventID")]
    pub event_id: String,
    /// RFC 3339 with milliseconds.
    pub event_time: String,
    /// Offset of local time at the place of the event, such as `+01:00`.
    pub event_time_zone_offset: String,
    pub action: Action,
    /// Containing object of an aggregation: the van.
    #[serde(rename = "parentID", default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Contained objects of an aggregation: parcels.
    #[serde(rename = "childEPCs", default, skip_serializing_if = "Option::is_none")]
    pub child_epcs: Option<Vec<String>>,
    /// Subjects of the other event types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epc_list: Option<Vec<String>>,
    /// Business step: a CBV term or a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_step: Option<String>,
    /// State after the event: a CBV term or a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    /// Location of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_point: Option<Location>,
    /// Location of the subjects after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_location: Option<Location>,
    /// Origin of the subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_list: Vec<Source>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub biz_transaction_list: Vec<BizTransaction>,
    /// Fix of the van.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensor_element_list: Vec<Value>,
    /// Marks the event as wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_declaration: Option<ErrorDeclaration>,
    /// Members with the prefix `waypost:`, and unknown members.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

/// EPCIS event types used in this contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EpcisType {
    /// Objects by themselves.
    #[serde(rename = "ObjectEvent")]
    Object,
    /// Objects contained in another one.
    #[serde(rename = "AggregationEvent")]
    Aggregation,
    /// Objects related to a transaction.
    #[serde(rename = "TransactionEvent")]
    Transaction,
    /// Objects in a long-term relation.
    #[serde(rename = "AssociationEvent")]
    Association,
}

/// Relation of the event to the life cycle of its subjects (§7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// The relation begins.
    Add,
    /// The subjects were observed.
    Observe,
    /// The relation ends.
    Delete,
}

/// Location, identified by its URI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Location {
    /// `geo:` URI, or URI of a station or stop.
    pub id: String,
    /// Unknown members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Location {
    /// Creates a location from its URI.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self { id, other: Map::new() }
    }
}

/// Origin of the subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Source {
    /// Source type: `location`.
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
}

/// Business transaction: here, a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BizTransaction {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub biz_transaction: String,
}

/// Error declaration of a retracted event (§7.4.1.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorDeclaration {
    /// Time of the declaration.
    pub declaration_time: String,
    /// CBV error reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Ids of the events that replace it.
    #[serde(rename = "correctiveEventIDs", default, skip_serializing_if = "Vec::is_empty")]
    pub corrective_event_ids: Vec<String>,
    /// Unknown members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
