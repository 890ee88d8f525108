//! Messages on `event` → what has become of each parcel, of the route, and what came last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::wire::epcis::CloudEvent;

/// So many events are shown.
const NEWEST: usize = 3;

/// What has become of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// In the van, at the station.
    Loaded,
    /// Out for delivery.
    Out,
    /// Handed over.
    Delivered,
    /// Tried, and not handed over.
    Attempted,
    /// Found damaged.
    Damaged,
    /// Back at the station.
    Returned,
    /// Not where it should be.
    NotFound,
    /// Never shipped.
    Void,
    /// Scanned, and nothing changes by it.
    Seen,
}

impl Stage {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
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

    /// What a kind of event says of its parcels.
    fn of(kind: &str) -> Option<Self> {
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

/// What a message said, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// UTC, `06:41:07`.
    pub(super) time: String,
    /// Such as `delivered`.
    pub(super) what: String,
    /// Of which parcel, if it is of one.
    pub(super) parcel: Option<String>,
}

/// What was said of a parcel, and by which event.
#[derive(Clone, Debug)]
struct Said {
    seq: u64,
    event: String,
    stage: Stage,
}

/// All that the events have said.
#[derive(Clone, Debug, Default)]
pub(super) struct Shipments {
    /// Messages, repetitions included.
    pub(super) received: u64,
    /// Those of them whose id had come before.
    pub(super) repeated: u64,
    /// As the departure said it.
    pub(super) stops_total: Option<u64>,
    /// What the route was, in the words of `van:summary`.
    pub(super) summary: Option<Value>,
    ids: BTreeSet<String>,
    /// By parcel, in the order of the numbers; without what was retracted.
    said: BTreeMap<String, Vec<Said>>,
    newest: VecDeque<Told>,
}

impl Shipments {
    /// An event came.
    pub(super) fn observe(&mut self, seq: u64, event: &CloudEvent) {
        self.received += 1;
        if !self.ids.insert(event.id.clone()) {
            self.repeated += 1;
            return;
        }
        let kind = kind(event);
        let parcels = parcels(event);
        self.tell(event, &kind, &parcels);
        if kind == "event.retracted" {
            for said in self.said.values_mut() {
                said.retain(|one| one.event != event.data.event_id);
            }
        } else if let Some(stage) = Stage::of(&kind) {
            for parcel in parcels {
                let said = self.said.entry(parcel).or_default();
                said.push(Said { seq, event: event.data.event_id.clone(), stage });
                said.sort_by_key(|one| one.seq);
            }
        }
        let number = event.data.extensions.get("van:stopsTotal").and_then(Value::as_u64);
        self.stops_total = number.or(self.stops_total);
        let summary = event.data.extensions.get("van:summary").cloned();
        self.summary = summary.or(self.summary.take());
    }

    fn tell(&mut self, event: &CloudEvent, kind: &str, parcels: &[String]) {
        // Tags on board are counted all day: it would push out what people wait for.
        if kind == "van.inventory" {
            return;
        }
        let what = kind.rsplit('.').next().unwrap_or(kind).replace('_', " ");
        let parcel = match parcels {
            [parcel] => Some(shortened(parcel)),
            _ => None,
        };
        let time = event.time.get(11..19).unwrap_or(&event.time).to_owned();
        self.newest.push_front(Told { time, what, parcel });
        self.newest.truncate(NEWEST);
    }

    /// How many parcels are in which stage now.
    pub(super) fn counts(&self) -> BTreeMap<Stage, u64> {
        let mut counts = BTreeMap::new();
        for stage in self.said.values().filter_map(|said| stage(said)) {
            *counts.entry(stage).or_default() += 1;
        }
        counts
    }

    /// How many stages were said of a parcel by more than one event.
    pub(super) fn doubled_stages(&self) -> usize {
        let of = |said: &Vec<Said>| {
            let stages: Vec<Stage> =
                said.iter().map(|one| one.stage).filter(|stage| *stage != Stage::Seen).collect();
            stages.len() - stages.iter().collect::<BTreeSet<_>>().len()
        };
        self.said.values().map(of).sum()
    }

    /// What was said last, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Told> {
        self.newest.iter()
    }
}

/// What holds now: to be seen changes nothing of what is known.
fn stage(said: &[Said]) -> Option<Stage> {
    let known = said.iter().rev().find(|one| one.stage != Stage::Seen);
    known.or(said.last()).map(|one| one.stage)
}

/// `com.example.van.parcel.delivered.v1` → `parcel.delivered`.
fn kind(event: &CloudEvent) -> String {
    let mut parts = event.kind.rsplit('.').skip(1);
    let (what, whose) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{whose}.{what}")
}

/// The numbers in the URIs of parcels.
fn parcels(event: &CloudEvent) -> Vec<String> {
    let data = &event.data;
    let uris = data.child_epcs.iter().chain(&data.epc_list).flatten();
    uris.map(|uri| uri.rsplit('/').next().unwrap_or(uri).to_owned()).collect()
}

/// Its end, by which people tell parcels apart.
fn shortened(parcel: &str) -> String {
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

    /// A message of the number `seq` about parcels; its name is `id`.
    pub(in crate::demo) fn event(seq: u64, id: &str, kind: &str, parcels: &[&str]) -> Value {
        let uris: Vec<String> =
            parcels.iter().map(|key| format!("https://id.gs1.org/00/{key}")).collect();
        json!({
            "specversion": "1.0",
            "id": id,
            "source": "https://id.example.com/fleet/obj/VAN-1",
            "type": format!("com.example.van.{kind}.v1"),
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

    fn observe(shipments: &mut Shipments, seq: u64, event: Value) {
        shipments.observe(seq, &serde_json::from_value(event).unwrap());
    }

    fn day() -> Shipments {
        let mut shipments = Shipments::default();
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
        let counts = [(Stage::Out, 1), (Stage::Delivered, 1), (Stage::Seen, 1)];
        assert_eq!(shipments.counts(), BTreeMap::from(counts));
        let newest: Vec<_> =
            shipments.newest().map(|told| (told.what.as_str(), told.parcel.as_deref())).collect();
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
        assert_eq!(shipments.counts(), BTreeMap::from([(Stage::Out, 2), (Stage::Seen, 1)]));
        observe(&mut shipments, 21, event(21, "h", "parcel.delivered", &["395212340000000014"]));
        assert_eq!(shipments.doubled_stages(), 0);
    }

    #[test]
    fn a_message_that_comes_again_is_counted_and_a_stage_that_is_said_again_too() {
        let mut shipments = day();
        observe(&mut shipments, 12, event(12, "d", "parcel.delivered", &["395212340000000014"]));
        assert_eq!((shipments.received, shipments.repeated, shipments.doubled_stages()), (7, 1, 0));
        observe(&mut shipments, 15, event(15, "x", "parcel.delivered", &["395212340000000014"]));
        assert_eq!((shipments.repeated, shipments.doubled_stages()), (1, 1));
    }

    #[test]
    fn the_route_is_known_from_its_departure_and_its_end() {
        let mut shipments = day();
        let mut departed = event(30, "i", "route.departed", &[]);
        departed["data"]["van:stopsTotal"] = json!(12);
        observe(&mut shipments, 30, departed);
        let mut completed = event(31, "j", "route.completed", &[]);
        completed["data"]["van:summary"] = json!({"van:stopsServed": 11});
        observe(&mut shipments, 31, completed);
        assert_eq!(shipments.stops_total, Some(12));
        assert_eq!(shipments.summary.unwrap()["van:stopsServed"], 11);
    }
}
