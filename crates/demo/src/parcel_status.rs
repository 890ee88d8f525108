//! Parcel states, route summary and newest notices, derived from the messages on `event`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use waypost_wire::epcis::CloudEvent;

/// Number of notices shown.
const MAX_NOTICES: usize = 3;

/// Current state of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ParcelStage {
    /// In the van, at the station.
    Loaded,
    /// Out for delivery.
    Out,
    /// Handed over.
    Delivered,
    /// Attempted without success.
    Attempted,
    /// Found damaged.
    Damaged,
    /// Back at the station.
    Returned,
    /// Missing from its place.
    NotFound,
    /// Never shipped.
    Void,
    /// Scanned without a change of state.
    Seen,
}

impl ParcelStage {
    /// Returns the display name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Out => "out",
            Self::Delivered => "delivered",
            Self::Attempted => "attempted",
            Self::Damaged => "damaged",
            Self::Returned => "returned",
            Self::NotFound => "not found",
            Self::Void => "not shipped",
            Self::Seen => "seen",
        }
    }

    /// Returns the stage that an event type implies for its parcels.
    fn from_event_kind(kind: &str) -> Option<Self> {
        Some(match kind {
            "parcel.loaded" => Self::Loaded,
            "route.departed" => Self::Out,
            "parcel.delivered" => Self::Delivered,
            "parcel.attempted" => Self::Attempted,
            "parcel.damaged" => Self::Damaged,
            "parcel.returned" => Self::Returned,
            "parcel.not_found" => Self::NotFound,
            "parcel.void" => Self::Void,
            "parcel.seen" => Self::Seen,
            _ => return None,
        })
    }
}

/// An event as shown to the viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// UTC, `06:41:07`.
    pub(super) time: String,
    /// Short name, such as `delivered`.
    pub(super) text: String,
    /// The parcel, if the event has exactly one.
    pub(super) parcel: Option<String>,
}

/// A stage of a parcel, with its event.
#[derive(Clone, Debug)]
struct StageEntry {
    seq: u64,
    event: String,
    stage: ParcelStage,
}

/// State collected from all events.
#[derive(Clone, Debug, Default)]
pub(super) struct ParcelStatuses {
    /// Messages, duplicates included.
    pub(super) received: u64,
    /// Messages whose id had been received before.
    pub(super) repeated: u64,
    /// Number of stops, from the departure event.
    pub(super) stops_total: Option<u64>,
    /// The value of `waypost:summary`.
    pub(super) summary: Option<Value>,
    ids: BTreeSet<String>,
    /// Stages by parcel, in the order of sequence numbers; retracted ones are removed.
    stages: BTreeMap<String, Vec<StageEntry>>,
    newest: VecDeque<Notice>,
}

impl ParcelStatuses {
    /// Processes an event.
    pub(super) fn observe(&mut self, seq: u64, event: &CloudEvent) {
        self.received += 1;
        if !self.ids.insert(event.id.clone()) {
            self.repeated += 1;
            return;
        }
        let kind = kind(event);
        let parcels = parcels(event);
        self.push_notice(event, &kind, &parcels);
        if kind == "event.retracted" {
            for said in self.stages.values_mut() {
                said.retain(|one| one.event != event.data.event_id);
            }
        } else if let Some(stage) = ParcelStage::from_event_kind(&kind) {
            for parcel in parcels {
                let said = self.stages.entry(parcel).or_default();
                said.push(StageEntry { seq, event: event.data.event_id.clone(), stage });
                said.sort_by_key(|one| one.seq);
            }
        }
        let number = event.data.extensions.get("waypost:stopsTotal").and_then(Value::as_u64);
        self.stops_total = number.or(self.stops_total);
        let summary = event.data.extensions.get("waypost:summary").cloned();
        self.summary = summary.or(self.summary.take());
    }

    fn push_notice(&mut self, event: &CloudEvent, kind: &str, parcels: &[String]) {
        // Tag counts arrive all day and would displace the events of interest.
        if kind == "van.inventory" {
            return;
        }
        let what = kind.rsplit('.').next().unwrap_or(kind).replace('_', " ");
        let parcel = match parcels {
            [parcel] => Some(shorten(parcel)),
            _ => None,
        };
        let time = event.time.get(11..19).unwrap_or(&event.time).to_owned();
        self.newest.push_front(Notice { time, text: what, parcel });
        self.newest.truncate(MAX_NOTICES);
    }

    /// Returns the number of parcels in each stage.
    pub(super) fn counts(&self) -> BTreeMap<ParcelStage, u64> {
        let mut counts = BTreeMap::new();
        for stage in self.stages.values().filter_map(|said| current_stage(said)) {
            *counts.entry(stage).or_default() += 1;
        }
        counts
    }

    /// Returns the count of stages reported by more than one event for the same parcel.
    pub(super) fn duplicate_stages(&self) -> usize {
        let of = |said: &Vec<StageEntry>| {
            let stages: Vec<ParcelStage> = said
                .iter()
                .map(|one| one.stage)
                .filter(|stage| *stage != ParcelStage::Seen)
                .collect();
            stages.len() - stages.iter().collect::<BTreeSet<_>>().len()
        };
        self.stages.values().map(of).sum()
    }

    /// Returns the notices, newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Notice> {
        self.newest.iter()
    }
}

/// Returns the current stage; `Seen` never replaces another stage.
fn current_stage(said: &[StageEntry]) -> Option<ParcelStage> {
    let known = said.iter().rev().find(|one| one.stage != ParcelStage::Seen);
    known.or(said.last()).map(|one| one.stage)
}

/// Reduces `org.w3id.waypost.parcel.delivered.v1` to `parcel.delivered`.
fn kind(event: &CloudEvent) -> String {
    let mut parts = event.kind.rsplit('.').skip(1);
    let (what, whose) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{whose}.{what}")
}

/// Returns the numbers in the URIs of parcels.
fn parcels(event: &CloudEvent) -> Vec<String> {
    let data = &event.data;
    let uris = data.child_epcs.iter().chain(&data.epc_list).flatten();
    uris.map(|uri| uri.rsplit('/').next().unwrap_or(uri).to_owned()).collect()
}

/// Returns the last digits, which suffice to distinguish parcels.
fn shorten(parcel: &str) -> String {
    const SHOWN: usize = 5;
    let length = parcel.chars().count();
    if length <= SHOWN {
        return parcel.to_owned();
    }
    let end: String = parcel.chars().skip(length - SHOWN).collect();
    format!("…{end}")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Builds a message with the sequence number `seq` and the name `id` about parcels.
    pub(crate) fn event(seq: u64, id: &str, kind: &str, parcels: &[&str]) -> Value {
        let uris: Vec<String> =
            parcels.iter().map(|key| format!("https://id.gs1.org/00/{key}")).collect();
        json!({
            "specversion": "1.0",
            "id": id,
            "source": "https://id.example.com/fleet/obj/VAN-1",
            "type": format!("org.w3id.waypost.{kind}.v1"),
            "time": "2026-11-23T06:41:07.000Z",
            "sequence": format!("{seq:012}"),
            "data": {
                "@context": [],
                "type": "ObjectEvent",
                "eventID": id,
                "eventTime": "2026-11-23T06:41:07.000Z",
                "eventTimeZoneOffset": "+00:00",
                "action": "OBSERVE",
                "epcList": uris,
            },
        })
    }

    fn observe(shipments: &mut ParcelStatuses, seq: u64, event: Value) {
        shipments.observe(seq, &serde_json::from_value(event).unwrap());
    }

    fn day() -> ParcelStatuses {
        let mut shipments = ParcelStatuses::default();
        for (seq, id, kind, parcels) in [
            (1, "a", "parcel.loaded", &["395212340000000014"][..]),
            (2, "b", "parcel.loaded", &["395212340000000021"]),
            (9, "c", "route.departed", &["395212340000000014", "395212340000000021"]),
            (12, "d", "parcel.delivered", &["395212340000000014"]),
            (13, "e", "parcel.seen", &["395212340000000014"]),
            (14, "f", "parcel.seen", &["7"]),
        ] {
            observe(&mut shipments, seq, event(seq, id, kind, parcels));
        }
        shipments
    }

    #[test]
    fn each_parcel_is_in_its_newest_stage_and_to_be_seen_is_none_of_a_known_one() {
        let shipments = day();
        let counts = [(ParcelStage::Out, 1), (ParcelStage::Delivered, 1), (ParcelStage::Seen, 1)];
        assert_eq!(shipments.counts(), BTreeMap::from(counts));
        let newest: Vec<_> =
            shipments.newest().map(|told| (told.text.as_str(), told.parcel.as_deref())).collect();
        let expected =
            [("seen", Some("7")), ("seen", Some("…00014")), ("delivered", Some("…00014"))];
        assert_eq!(newest, expected);
    }

    #[test]
    fn what_is_retracted_was_never_said() {
        let mut shipments = day();
        let mut retraction = event(20, "g", "event.retracted", &["395212340000000014"]);
        retraction["data"]["eventID"] = json!("d");
        observe(&mut shipments, 20, retraction);
        assert_eq!(
            shipments.counts(),
            BTreeMap::from([(ParcelStage::Out, 2), (ParcelStage::Seen, 1)])
        );
        observe(&mut shipments, 21, event(21, "h", "parcel.delivered", &["395212340000000014"]));
        assert_eq!(shipments.duplicate_stages(), 0);
    }

    #[test]
    fn a_message_that_comes_again_is_counted_and_a_stage_that_is_said_again_too() {
        let mut shipments = day();
        observe(&mut shipments, 12, event(12, "d", "parcel.delivered", &["395212340000000014"]));
        assert_eq!(
            (shipments.received, shipments.repeated, shipments.duplicate_stages()),
            (7, 1, 0)
        );
        observe(&mut shipments, 15, event(15, "x", "parcel.delivered", &["395212340000000014"]));
        assert_eq!((shipments.repeated, shipments.duplicate_stages()), (1, 1));
    }

    #[test]
    fn the_route_is_known_from_its_departure_and_its_end() {
        let mut shipments = day();
        let mut departed = event(30, "i", "route.departed", &[]);
        departed["data"]["waypost:stopsTotal"] = json!(12);
        observe(&mut shipments, 30, departed);
        let mut completed = event(31, "j", "route.completed", &[]);
        completed["data"]["waypost:summary"] = json!({"waypost:stopsServed": 11});
        observe(&mut shipments, 31, completed);
        assert_eq!(shipments.stops_total, Some(12));
        assert_eq!(shipments.summary.unwrap()["waypost:stopsServed"], 11);
    }
}
