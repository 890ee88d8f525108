//! [`Event`] → [`Fact`]: what the views ask of an event, read once. A route's facts are kept in memory, its events are not.
//!
//! What others than the vans of this backend say is told in the words of CBV 2.0 §7.1, and in three members that an event
//! may carry besides: the name of a place ([`PLACE`]), who had it ([`CARRIER`]) and why ([`REASON`]).

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::parcel::{Spot, Stage};
use crate::backend::event::{Event, Origin, RETRACTS_OTHERS, Role, token_of};
use crate::units::UtcTime;

/// The member with a place's name, as people may read it.
pub const PLACE: &str = "waypost:place";
/// The member with a carrier's name, as people may read it.
pub const CARRIER: &str = "waypost:carrier";
/// The member with a reason: a word of the contract.
pub const REASON: &str = "waypost:reason";

/// How a parcel was handed over that was not at its stop.
pub const OUTSIDE: &str = "scan_outside";

/// Why somebody should look at a scan that was not where the parcel is due.
pub const WRONG_STOP: &str = "wrong_stop";

/// What the kind of an event of a list of states begins with: `import.collected`.
pub const IMPORT: &str = "import.";

/// The authority of a retraction that is good for whatever came by tokens, whichever they were.
pub const OTHERS: &str = "*";

/// Words for states in lists of carriers, and what they mean.
pub const WORDS: &[(&str, Stage)] = &[
    ("announced", Stage::Announced),
    ("packed", Stage::Packed),
    ("shipped", Stage::Shipped),
    ("collected", Stage::PickedUp),
    ("in_transit", Stage::Shipped),
    ("departed_hub", Stage::Shipped),
    ("arrived_at_hub", Stage::ArrivedAtHub),
    ("sorted", Stage::Sorted),
    ("handed_over", Stage::PickedUp),
    ("at_station", Stage::AtStation),
];

/// CBV 2.0 §7.1: business steps of others, without the prefix of their URIs.
const STEPS: &[(&str, Stage)] = &[
    ("packing", Stage::Packed),
    ("staging_outbound", Stage::Packed),
    ("shipping", Stage::Shipped),
    ("departing", Stage::Shipped),
    ("transporting", Stage::Shipped),
    ("accepting", Stage::PickedUp),
    ("collecting", Stage::PickedUp),
    ("picking_up", Stage::PickedUp),
    ("receiving", Stage::ArrivedAtHub),
    ("arriving", Stage::ArrivedAtHub),
    ("storing", Stage::ArrivedAtHub),
    ("unloading", Stage::ArrivedAtHub),
    ("sorting", Stage::Sorted),
    ("cross_docking", Stage::Sorted),
    ("damaged", Stage::Damaged),
    ("void_shipping", Stage::LeftBehind),
];

/// What vans say.
const KINDS: &[(&str, Stage)] = &[
    ("route.assigned", Stage::Announced),
    ("parcel.loaded", Stage::Loaded),
    ("route.departed", Stage::OutForDelivery),
    ("stop.arrived", Stage::Arrived),
    ("parcel.delivered", Stage::Delivered),
    ("parcel.attempted", Stage::Attempted),
    ("parcel.returned", Stage::Returned),
    ("parcel.damaged", Stage::Damaged),
    ("parcel.not_found", Stage::NotFound),
    ("parcel.void", Stage::LeftBehind),
];

/// What an event says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Something that changes where a parcel stands.
    Stage(Stage),
    /// The route is over.
    Completed,
    /// It was seen, or said to be missing, and nothing changed.
    Seen,
}

/// An event, as far as views go by it. The order is that of time, and of texts where times are the same: whatever order
/// events came in, they are one list.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// When.
    pub time: UtcTime,
    /// What.
    pub what: What,
    /// EPCIS `eventID`.
    pub event_id: String,
    /// Who may take it back: the van's URI, the token by which it came, or the backend itself. Of a
    /// retraction [`OTHERS`], if it is good for whatever tokens said.
    pub authority: String,
    /// Name of the token by which it came, if it did.
    pub token: Option<String>,
    /// When it was said to be wrong, if it is that.
    pub declared: Option<UtcTime>,
    /// Who said it.
    pub origin: Origin,
    /// The van.
    pub van: Option<String>,
    /// The route.
    pub route: Option<String>,
    /// `parcel.seen` and the like, or the business step of others.
    pub kind: String,
    /// What it is about: never what holds it.
    pub epcs: Vec<String>,
    /// URI of the place where things are afterwards, or where it was.
    pub location: Option<String>,
    /// The position.
    pub spot: Option<Spot>,
    /// Its radius, m.
    pub acc_m: Option<f64>,
    /// Number of the stop in the manifest.
    pub stop_seq: Option<u32>,
    /// The rest; of most facts nothing, which is one for all of them.
    pub said: Arc<Said>,
}

/// What few events say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Why not.
    pub reason: Option<String>,
    /// Which try it was.
    pub attempt: Option<u64>,
    /// How it was handed over, as on the wire.
    pub outcome: Option<String>,
    /// `scan_in_geofence`, `scan_outside`, `manual`.
    pub method: Option<String>,
    /// Whether that was inside the stop's fence.
    pub inside: Option<bool>,
    /// What had been asked for, as the van knew it.
    pub asked: super::parcel::Wish,
    /// Why somebody should look at it.
    pub alert: Option<String>,
    /// Tags that fell silent: canonical URIs.
    pub missing: Vec<String>,
    /// Name of a place.
    pub place: Option<String>,
    /// Name of a carrier.
    pub carrier: Option<String>,
}

impl Fact {
    /// What `event` says.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let step = event.member("bizStep").map(local);
        let declared = event.data.get("errorDeclaration");
        let declared = declared.and_then(|it| it.get("declarationTime")?.as_str());
        let declared = declared.and_then(UtcTime::parse).unwrap_or(event.captured_at);
        let (spot, acc_m) = event.place("readPoint").and_then(spot).unzip();
        let location = event.place("bizLocation").or_else(|| event.place("readPoint"));
        let about = event.epcs.iter().filter(|(_, role)| *role != Role::Parent);
        Self {
            time: event.time,
            what: what(event, step),
            event_id: event.event_id.clone(),
            authority: authority(event),
            token: token_of(&event.source).map(str::to_owned),
            declared: event.retracts.then_some(declared),
            origin: event.origin,
            van: event.van.clone(),
            route: event.route.clone(),
            kind: if event.kind.is_empty() { step.unwrap_or("") } else { &event.kind }.to_owned(),
            epcs: about.map(|(epc, _)| epc.clone()).collect(),
            location: location.filter(|uri| !uri.starts_with("geo:")).map(str::to_owned),
            spot,
            acc_m: acc_m.flatten(),
            stop_seq: number(&event.data, "van:stopSequence"),
            said: Said::of(&event.data).shared(),
        }
    }

    /// What is asked of an event as one of its route's, of which there are many: the rest can be read again.
    #[must_use]
    pub fn of_route(event: &Event) -> Self {
        let fact = Self::of(event);
        let said = &fact.said;
        let counts = |method: &&String| method.as_str() == OUTSIDE;
        let said = Said {
            method: said.method.as_ref().filter(counts).cloned(),
            inside: said.inside.filter(|inside| !inside),
            missing: said.missing.clone(),
            alert: said.alert.as_ref().filter(|alert| alert.as_str() == WRONG_STOP).cloned(),
            ..Said::default()
        };
        let said = said.shared();
        Self { token: None, van: None, route: None, location: None, acc_m: None, said, ..fact }
    }

    /// Whether it is about `epc`.
    #[must_use]
    pub fn names(&self, epc: &str) -> bool {
        self.epcs.iter().any(|one| one == epc)
    }

    /// The stage that it is, if it is one.
    #[must_use]
    pub const fn stage(&self) -> Option<Stage> {
        match self.what {
            What::Stage(stage) => Some(stage),
            What::Completed | What::Seen => None,
        }
    }

    /// What orders facts.
    pub(super) fn key(&self) -> (UtcTime, What, &str, &str, Option<UtcTime>) {
        (self.time, self.what, &self.event_id, &self.authority, self.declared)
    }
}

/// Facts in their order, each once, and without those that were taken back, before or after they came.
#[must_use]
pub fn valid(facts: &[Fact]) -> Vec<&Fact> {
    use std::collections::HashSet;
    fn name(fact: &Fact) -> (&str, &str) {
        (&fact.authority, &fact.event_id)
    }
    let wrong: HashSet<_> = facts.iter().filter(|fact| fact.declared.is_some()).map(name).collect();
    // What a van said is found again in the lists of others, to whom it was sent.
    let from_vans = facts.iter().filter(|fact| fact.origin == Origin::Van);
    let vans: HashSet<&str> = from_vans.map(|fact| fact.event_id.as_str()).collect();
    let by_token = |fact: &Fact| matches!(fact.origin, Origin::Capture | Origin::Import);
    let taken_back = |fact: &Fact| {
        let by_anybody = by_token(fact) && wrong.contains(&(OTHERS, fact.event_id.as_str()));
        by_anybody || wrong.contains(&name(fact))
    };
    let copied = |fact: &Fact| fact.origin != Origin::Van && vans.contains(fact.event_id.as_str());
    let right = |fact: &&Fact| !taken_back(fact) && !copied(fact);
    let mut valid: Vec<&Fact> = facts.iter().filter(right).collect();
    valid.sort_by(|one, other| one.key().cmp(&other.key()));
    let mut known = HashSet::new();
    // What several tokens say under one name is one event.
    valid.retain(|fact| {
        known.insert(if by_token(fact) { (OTHERS, fact.event_id.as_str()) } else { name(fact) })
    });
    valid
}

/// A van's events are taken back by that van alone, those of a token by that one, or by one that may take back all of them.
fn authority(event: &Event) -> String {
    match event.origin {
        Origin::Van => event.source.clone(),
        Origin::Capture | Origin::Import if event.kind == RETRACTS_OTHERS => OTHERS.to_owned(),
        // No van's URI, and not what the backend is called, whatever a token's name is.
        Origin::Capture | Origin::Import => {
            format!("token:{}", token_of(&event.source).unwrap_or_default())
        }
        Origin::Backend => "backend".to_owned(),
    }
}

fn what(event: &Event, step: Option<&str>) -> What {
    let of = |table: &[(&str, Stage)], name: &str| {
        let row = table.iter().find(|(word, _)| *word == name);
        row.map_or(What::Seen, |(_, stage)| What::Stage(*stage))
    };
    if let Some(word) = event.kind.strip_prefix(IMPORT) {
        return of(WORDS, word);
    }
    match (event.kind.as_str(), step) {
        ("route.completed", _) => What::Completed,
        ("", Some("inspecting")) if event.member("disposition").map(local) == Some("damaged") => {
            What::Stage(Stage::Damaged)
        }
        ("", step) => step.map_or(What::Seen, |step| of(STEPS, step)),
        (kind, _) => of(KINDS, kind),
    }
}

impl Said {
    fn shared(self) -> Arc<Self> {
        static NOTHING: LazyLock<Arc<Said>> = LazyLock::new(Arc::default);
        if self == **NOTHING { Arc::clone(&NOTHING) } else { Arc::new(self) }
    }

    fn of(data: &Value) -> Self {
        let proof = data.get("van:proof");
        let inside = proof.and_then(|proof| proof.get("van:insideGeofence")?.as_bool());
        let asked = proof.and_then(|proof| proof.get("van:preferences"));
        let flag = |name: &str| asked.and_then(|asked| asked.get(name)?.as_bool());
        let words = |name: &str| asked.and_then(|asked| text(asked, name));
        let missing = data.get("van:scan").and_then(|scan| scan.get("van:missing")?.as_array());
        let missing = missing.into_iter().flatten().filter_map(Value::as_str);
        Self {
            reason: text(data, "van:reason").or_else(|| text(data, REASON)),
            attempt: number(data, "van:attempt").map(u64::from),
            outcome: text(data, "van:outcome"),
            method: proof.and_then(|proof| text(proof, "van:method")),
            inside,
            asked: super::parcel::Wish {
                authority_to_leave: flag("van:authorityToLeave"),
                safe_place: words("van:safePlace"),
                neighbour: words("van:neighbour"),
                signature_required: flag("van:signatureRequired"),
                other_day: None,
            },
            alert: text(data, "van:alert"),
            missing: missing.map(crate::backend::epc::canonical).collect(),
            place: text(data, PLACE),
            carrier: text(data, CARRIER),
        }
    }
}

/// Words of a person or a machine: bounded, for what others send may be long.
fn text(data: &Value, name: &str) -> Option<String> {
    let text = data.get(name)?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

fn number(data: &Value, name: &str) -> Option<u32> {
    u32::try_from(data.get(name)?.as_u64()?).ok()
}

/// The last part of a URI of GS1's vocabulary or an operator's: `https://ref.gs1.org/cbv/BizStep-packing`,
/// `urn:epcglobal:cbv:bizstep:packing`.
fn local(uri: &str) -> &str {
    let last = uri.rsplit(['/', ':', '#']).next().unwrap_or(uri);
    last.strip_prefix("BizStep-").or_else(|| last.strip_prefix("Disp-")).unwrap_or(last)
}

/// RFC 5870 `geo:48.13792,11.57550;u=5`.
fn spot(uri: &str) -> Option<(Spot, Option<f64>)> {
    let rest = uri.strip_prefix("geo:")?;
    let mut parts = rest.split(';');
    let mut numbers = parts.next()?.split(',').map(str::parse::<f64>);
    let (lat, lon) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    crate::units::Position::from_degrees(lat, lon)?;
    let radius = parts.find_map(|part| part.strip_prefix("u=")?.parse::<f64>().ok());
    Some((Spot { lat, lon }, radius.filter(|radius| radius.is_finite() && *radius >= 0.0)))
}
