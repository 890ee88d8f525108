//! The shape of a message on `event`: CloudEvents 1.0 outside, EPCIS 2.0 inside.
//!
//! Members that are not named here are kept, and written again where they were.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A message of CloudEvents in structured mode, with the extensions `sequence`, `previoussequence`, `dataclassification` and `dataregulation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// Name of the message: with `source` the key by which a repeat is known.
    pub id: String,
    /// URI of the van.
    pub source: String,
    /// What happened, such as `com.example.van.parcel.delivered.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was said: `eventTime`, but in a retraction the time of that.
    pub time: String,
    /// Id of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `application/ld+json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Number of the record, with at least 12 digits, so that the order of strings is that of numbers.
    pub sequence: String,
    /// `sequence` of the van's event before; absent of the first one. Who has not got that one misses something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previoussequence: Option<String>,
    /// `confidential`: it tells where a person was, and what a person gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataclassification: Option<String>,
    /// `GDPR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataregulation: Option<String>,
    /// The event.
    pub data: EpcisEvent,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CloudEvent {
    /// The version that is written and read.
    pub const SPECVERSION: &str = "1.0";
}

/// An EPCIS 2.0 event with its context (§7.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpcisEvent {
    /// JSON-LD context: GS1's, and what `van:` stands for.
    #[serde(rename = "@context")]
    pub context: Value,
    /// Its shape.
    #[serde(rename = "type")]
    pub kind: EpcisType,
    /// Name of what happened: `urn:uuid:…`.
    #[serde(rename = "eventID")]
    pub event_id: String,
    /// When; RFC 3339 with milliseconds.
    pub event_time: String,
    /// `+00:00`.
    pub event_time_zone_offset: String,
    /// Whether it makes, sees or ends something.
    pub action: Action,
    /// What holds: the van, in an aggregation.
    #[serde(rename = "parentID", default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// What is held: parcels, in an aggregation.
    #[serde(rename = "childEPCs", default, skip_serializing_if = "Option::is_none")]
    pub child_epcs: Option<Vec<String>>,
    /// What it is about, in the other shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epc_list: Option<Vec<String>>,
    /// The step of business: a word of CBV, or a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_step: Option<String>,
    /// The state afterwards: a word of CBV, or a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_point: Option<Location>,
    /// Where things are afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_location: Option<Location>,
    /// Where things come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_list: Vec<Source>,
    /// The route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub biz_transaction_list: Vec<BizTransaction>,
    /// The fix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensor_element_list: Vec<Value>,
    /// That the event is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_declaration: Option<ErrorDeclaration>,
    /// Everything else: members with the prefix `van:`, and what others add.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

/// The shapes of EPCIS that this contract has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpcisType {
    /// Things, by themselves.
    #[serde(rename = "ObjectEvent")]
    Object,
    /// Things in another.
    #[serde(rename = "AggregationEvent")]
    Aggregation,
    /// Things and a transaction.
    #[serde(rename = "TransactionEvent")]
    Transaction,
    /// Things that belong together for long.
    #[serde(rename = "AssociationEvent")]
    Association,
}

/// What an event does to what it is about (§7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// It begins.
    Add,
    /// It is seen.
    Observe,
    /// It ends.
    Delete,
}

/// A place by its URI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// `geo:` or the URI of a station or stop.
    pub id: String,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Location {
    /// A place of which only the URI is known.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self { id, other: Map::new() }
    }
}

/// Where things come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What kind of source: `location`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its URI.
    pub source: String,
}

/// A transaction: here, a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BizTransaction {
    /// What kind of transaction.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its URI.
    pub biz_transaction: String,
}

/// That an event is wrong (§7.4.1.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDeclaration {
    /// When that was said.
    pub declaration_time: String,
    /// Why: a word of CBV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened instead.
    #[serde(rename = "correctiveEventIDs", default, skip_serializing_if = "Vec::is_empty")]
    pub corrective_event_ids: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
