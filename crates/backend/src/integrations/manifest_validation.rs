//! Validates a planner's manifest and splits it into the van's payload and the data for the backend
//! only, or reports all faults.
//!
//! The manifest is that of docs/mqtt-contract.md. What is personal has blocks of its own, `driver`
//! and `recipient`, and what only the operator knows is in `ext`. None of them is sent to the van,
//! whose copy is retained at the broker. Any other unknown member is a fault.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::epc;
use crate::http::FieldError;
use crate::store::parcels::normalize_postcode;
use waypost_model::manifest::{
    ErrorCode, Manifest, ManifestError, RawManifest, RawParcel, RawStation, RawStop,
};
use waypost_wire::epcis::Identifiers;
use waypost_wire::{VERSION, manifest};

/// Maximum number of faults per response.
pub(super) const MAX_FAULTS: usize = 100;

/// A valid manifest.
#[derive(Debug)]
pub(super) struct ValidManifest {
    /// Manifest as parsed by the van.
    pub(super) manifest: Manifest,
    /// Payload for the van.
    pub(super) payload: String,
    /// Parcels in the order of stops.
    pub(super) parcels: Vec<ValidParcel>,
}

/// A valid parcel.
#[derive(Debug)]
pub(super) struct ValidParcel {
    /// Canonical URI.
    pub(super) epc: String,
    /// Normalized number.
    pub(super) number: String,
    pub(super) stop_id: String,
    pub(super) stop_seq: u32,
    pub(super) recipient: Recipient,
}

/// Data about a parcel's recipient, for the backend only. Members that are checked and not stored
/// are documented as such.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "members are part of the contract before the backend uses them")]
pub(super) struct Recipient {
    /// Postcode required, with the number, to open the tracking page.
    pub(super) postcode: Option<String>,
    /// Whether the van's position is hidden from the recipient.
    #[serde(default)]
    pub(super) gift: bool,
    /// Language tag (BCP 47).
    pub(super) language: Option<String>,
    /// Country (ISO 3166-1 alpha-2); not stored.
    country: Option<String>,
    /// Address for notifications; not stored.
    email: Option<String>,
    /// Telephone number; not stored.
    phone: Option<String>,
    /// Name of the sender; not stored.
    sender_name: Option<String>,
    /// The sender's reference, such as an order; not stored.
    reference: Option<String>,
}

/// What the driver needs to know about a stop or parcel. It is checked and not stored: no part of
/// this version shows it to a driver.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "members are part of the contract before the backend uses them")]
struct DriverNotes {
    name: Option<String>,
    recipient_name: Option<String>,
    company: Option<String>,
    address: Option<Address>,
    phone: Option<String>,
    access: Option<Access>,
    notes: Option<String>,
}

/// Postal address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "members are part of the contract before the backend uses them")]
struct Address {
    #[serde(default)]
    lines: Vec<String>,
    postal_code: Option<String>,
    locality: Option<String>,
    region: Option<String>,
    country: Option<String>,
}

/// How to reach the door.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "members are part of the contract before the backend uses them")]
struct Access {
    notes: Option<String>,
    floor: Option<String>,
    door_code: Option<String>,
    safety: Option<String>,
}

/// Validates a manifest for the route with this name.
pub(super) fn validate(
    document: &Value,
    route: &str,
    names: &Identifiers,
) -> Result<ValidManifest, Vec<FieldError>> {
    let mut stripped = document.clone();
    let mut faults = Vec::new();
    let recipients = extract_blocks(&mut stripped, &mut faults);
    let draft = parse_draft(&stripped, &mut faults);
    let Some(draft) = draft.filter(|_| faults.is_empty()) else {
        return Err(truncate_faults(faults));
    };
    faults.extend(collect_refusals(&draft));
    if let Some(zone) = draft.time_zone.as_deref()
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        faults.push(fault("time_zone", zone, "write a name such as Europe/Berlin (IANA)"));
    }
    if draft.route != route {
        faults.push(fault("route", &draft.route, "must equal the route name in the path"));
    }
    if !faults.is_empty() {
        return Err(truncate_faults(faults));
    }
    let payload = stripped.to_string();
    let manifest = match manifest::parse(payload.as_bytes()) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => unreachable!("a JSON object is not an empty payload"),
        Err(rejected) => return Err(vec![fault_from_refusal(&rejected.error)]),
    };
    let parcels = valid_parcels(&manifest, &draft, &recipients, names)?;
    Ok(ValidManifest { manifest, payload, parcels })
}

fn truncate_faults(mut faults: Vec<FieldError>) -> Vec<FieldError> {
    faults.truncate(MAX_FAULTS);
    faults
}

fn fault(place: impl Into<String>, value: &str, remedy: impl Into<String>) -> FieldError {
    let error = ManifestError::new(place, ErrorCode::InvalidFormat, value, "");
    fault_from_refusal(&error).with_remedy(remedy)
}

fn fault_from_refusal(refusal: &ManifestError) -> FieldError {
    FieldError {
        place: refusal.path.clone(),
        value: refusal.value.clone(),
        remedy: refusal.remedy.to_owned(),
    }
}

trait WithRemedy {
    fn with_remedy(self, remedy: impl Into<String>) -> Self;
}

impl WithRemedy for FieldError {
    fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

/// Removes the blocks that are not for the van: `ext` everywhere, `driver` of stops and parcels, and
/// `recipient` of parcels. Returns the recipients by the index of stop and parcel.
fn extract_blocks(
    document: &mut Value,
    faults: &mut Vec<FieldError>,
) -> BTreeMap<(usize, usize), Recipient> {
    let mut recipients = BTreeMap::new();
    take_ext(document, "", faults);
    let stops = document.get_mut("stops").and_then(Value::as_array_mut);
    for (stop, members) in stops.into_iter().flatten().enumerate() {
        let place = format!("stops[{stop}]");
        take_ext(members, &place, faults);
        take::<DriverNotes>(members, &place, "driver", faults);
        let parcels = members.get_mut("parcels").and_then(Value::as_array_mut);
        for (index, parcel) in parcels.into_iter().flatten().enumerate() {
            let place = format!("stops[{stop}].parcels[{index}]");
            take_ext(parcel, &place, faults);
            take::<DriverNotes>(parcel, &place, "driver", faults);
            let Some(recipient) = take::<Recipient>(parcel, &place, "recipient", faults) else {
                continue;
            };
            let place = format!("{place}.recipient");
            recipients.insert((stop, index), check_recipient(&place, recipient, faults));
        }
    }
    recipients
}

/// Removes a block and deserializes it.
fn take<T: DeserializeOwned>(
    members: &mut Value,
    place: &str,
    name: &str,
    faults: &mut Vec<FieldError>,
) -> Option<T> {
    let block = members.as_object_mut()?.remove(name)?;
    deserialize_at(&format!("{place}.{name}"), block, faults)
}

/// Removes `ext`, which must be an object.
fn take_ext(members: &mut Value, place: &str, faults: &mut Vec<FieldError>) {
    let taken = members.as_object_mut().and_then(|members| members.remove("ext"));
    if taken.is_some_and(|ext| !ext.is_object()) {
        let place = format!("{place}.ext");
        let remedy = "write an object whose names begin with a reversed domain";
        faults.push(fault(place.trim_start_matches('.'), "wrong type", remedy));
    }
}

fn check_recipient(
    place: &str,
    mut recipient: Recipient,
    faults: &mut Vec<FieldError>,
) -> Recipient {
    if let Some(text) = recipient.postcode.take() {
        let known = normalize_postcode(&text);
        if known.is_empty() || !known.chars().all(char::is_alphanumeric) || text.len() > 20 {
            faults.push(fault(
                format!("{place}.postcode"),
                "not a postcode",
                "write 1 to 16 letters and digits",
            ));
        }
        recipient.postcode = Some(known);
    }
    if let Some(language) = &recipient.language {
        let part = |part: &str| {
            (1..=8).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_alphanumeric())
        };
        if language.len() > 35 || !language.split('-').all(part) {
            faults.push(fault(
                format!("{place}.language"),
                language,
                "write a language tag such as de or en-GB",
            ));
        }
    }
    recipient
}

/// Deserializes a part of the document; a failure is reported with its place.
fn deserialize_at<T: DeserializeOwned>(
    place: &str,
    part: Value,
    faults: &mut Vec<FieldError>,
) -> Option<T> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(part, |path| unknown.push(path.to_string()));
    for member in unknown {
        let member = join_place(place, &member);
        let remedy = "not a member of the manifest; put the operator's own data into ext";
        faults.push(fault(member, "unknown", remedy));
    }
    match read {
        Ok(part) => Some(part),
        Err(error) => {
            faults.push(fault(place, "wrong type", error.to_string()));
            None
        }
    }
}

/// Joins a place and a path of `serde_ignored`, such as `preferences.color`, `rfid.0` or
/// `shipment.?.id`, where `?` stands for an option.
fn join_place(place: &str, path: &str) -> String {
    let parts = path.split('.').filter(|part| *part != "?");
    parts.fold(if place == "manifest" { "" } else { place }.to_owned(), |place, part| {
        match part.parse::<usize>() {
            Ok(index) => format!("{place}[{index}]"),
            Err(_) if place.is_empty() => part.to_owned(),
            Err(_) => format!("{place}.{part}"),
        }
    })
}

/// Deserializes the document part by part, so that each part's faults are reported.
fn parse_draft(document: &Value, faults: &mut Vec<FieldError>) -> Option<RawManifest> {
    let Some(members) = document.as_object() else {
        faults.push(fault("manifest", "wrong type", "a JSON object"));
        return None;
    };
    if members.get("v").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
        let value = members.get("v").map_or_else(|| "absent".to_owned(), Value::to_string);
        faults.push(fault("v", &value, "1"));
    }
    let absent = || Value::Null;
    let station = members.get("station").cloned().unwrap_or_else(absent);
    let station: Option<RawStation> = deserialize_at("station", station, faults);
    let stops = match members.get("stops") {
        Some(Value::Array(stops)) => stops.as_slice(),
        _ => {
            faults.push(fault("stops", "wrong type", "an array of stops"));
            &[]
        }
    };
    let stops: Vec<RawStop> = stops
        .iter()
        .enumerate()
        .filter_map(|(index, stop)| parse_draft_stop(&format!("stops[{index}]"), stop, faults))
        .collect();
    // The remaining members are flat. Parts deserialized above are replaced by valid placeholders.
    let mut rest: Map<String, Value> = members.clone();
    rest.remove("v");
    rest.insert("stops".to_owned(), Value::Array(Vec::new()));
    let some_station = serde_json::json!({"id": "x", "lat": 1.0, "lon": 1.0, "radius_m": 50.0});
    rest.insert("station".to_owned(), some_station);
    let rest: RawManifest = deserialize_at("manifest", Value::Object(rest), faults)?;
    Some(RawManifest { station: station?, stops, ..rest })
}

fn parse_draft_stop(place: &str, stop: &Value, faults: &mut Vec<FieldError>) -> Option<RawStop> {
    let mut members = stop.as_object().cloned().unwrap_or_default();
    let parcels = match members.insert("parcels".to_owned(), Value::Array(Vec::new())) {
        Some(Value::Array(parcels)) => parcels,
        _ => {
            faults.push(fault(format!("{place}.parcels"), "wrong type", "an array"));
            Vec::new()
        }
    };
    let parcels: Vec<RawParcel> = parcels
        .into_iter()
        .enumerate()
        .filter_map(|(index, parcel)| {
            deserialize_at(&format!("{place}.parcels[{index}]"), parcel, faults)
        })
        .collect();
    let stop: RawStop = deserialize_at(place, Value::Object(members), faults)?;
    Some(RawStop { parcels, ..stop })
}

/// Collects all faults that the core finds. It reports only the first, so the part at fault is
/// removed or patched and the check is repeated.
fn collect_refusals(draft: &RawManifest) -> Vec<FieldError> {
    let mut draft = draft.clone();
    let mut places: Vec<(usize, Vec<usize>)> = draft
        .stops
        .iter()
        .enumerate()
        .map(|(index, stop)| (index, (0..stop.parcels.len()).collect()))
        .collect();
    let mut faults = Vec::new();
    while faults.len() < MAX_FAULTS {
        let Err(refusal) = Manifest::new(draft.clone()) else { break };
        let (stop, parcel) = indices_from_place(&refusal.path);
        let mut told = fault_from_refusal(&refusal);
        match (stop, parcel) {
            (Some(stop), Some(parcel)) => {
                let (was_stop, parcels) = &mut places[stop];
                let was_parcel = parcels.remove(parcel);
                draft.stops[stop].parcels.remove(parcel);
                let tail = refusal.path.splitn(3, '.').nth(2).unwrap_or_default();
                told.place = format!("stops[{was_stop}].parcels[{was_parcel}].{tail}");
                faults.push(told);
            }
            (Some(stop), None) => {
                let (was_stop, _) = places.remove(stop);
                draft.stops.remove(stop);
                let tail = refusal.path.split_once('.').map_or("", |(_, tail)| tail);
                told.place = format!("stops[{was_stop}].{tail}");
                faults.push(told);
            }
            (None, _) => {
                faults.push(told);
                if !patch_fault(&mut draft, &refusal.path) {
                    break;
                }
            }
        }
    }
    faults
}

/// Indices in a place: `stops[3].parcels[4].id` gives 3 and 4.
fn indices_from_place(place: &str) -> (Option<usize>, Option<usize>) {
    let index = |after: &str, text: &str| -> Option<usize> {
        text.strip_prefix(after)?.split_once(']')?.0.parse().ok()
    };
    let mut parts = place.split('.');
    let stop = parts.next().and_then(|part| index("stops[", part));
    (stop, parts.next().and_then(|part| index("parcels[", part)))
}

/// Replaces the value at fault by a valid one, so that the next fault is found. Returns whether
/// that was possible.
fn patch_fault(draft: &mut RawManifest, place: &str) -> bool {
    match place {
        "route" => draft.route = "x".to_owned(),
        "rev" => draft.rev = 1,
        "name" => draft.name = None,
        "service_date" => draft.service_date = None,
        "time_zone" => draft.time_zone = None,
        "utc_offset" => draft.utc_offset = None,
        "end_station" => draft.end_station = None,
        "valid_from" => draft.valid_from = None,
        "valid_until" => draft.valid_until = None,
        "station.name" => draft.station.name = None,
        "station.id" => draft.station.id = "x".to_owned(),
        "station.lat" | "station.lon" => (draft.station.lat, draft.station.lon) = (1.0, 1.0),
        "station.radius_m" => draft.station.radius_m = 50.0,
        _ => return false,
    }
    true
}

/// Parcels with the URIs that the van will use.
fn valid_parcels(
    manifest: &Manifest,
    draft: &RawManifest,
    recipients: &BTreeMap<(usize, usize), Recipient>,
    names: &Identifiers,
) -> Result<Vec<ValidParcel>, Vec<FieldError>> {
    let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut parcels, mut faults) = (Vec::new(), Vec::new());
    for stop in &manifest.stops {
        // The manifest's stops are ordered by number, those of the document as received.
        let put_at = draft.stops.iter().position(|put| put.seq == stop.seq).unwrap_or_default();
        for (index, listed) in stop.parcels.iter().enumerate() {
            let uri = epc::uri_for_manifest_parcel(listed, &names.domain);
            if let Some((stop, parcel)) = places.insert(uri.clone(), (put_at, index)) {
                let other = format!("use a different EPC than stops[{stop}].parcels[{parcel}]");
                let place = format!("stops[{put_at}].parcels[{index}].epc");
                faults.push(fault(place, &uri, other));
            }
            parcels.push(ValidParcel {
                epc: uri,
                number: listed.key.clone(),
                stop_id: stop.id.clone(),
                stop_seq: stop.seq,
                recipient: recipients.get(&(put_at, index)).cloned().unwrap_or_default(),
            });
        }
    }
    if faults.is_empty() { Ok(parcels) } else { Err(truncate_faults(faults)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use waypost_wire::VanId;

    fn names() -> Identifiers {
        Identifiers::new("id.example.com", &VanId::new("VAN-042").unwrap()).unwrap()
    }

    fn example() -> Value {
        json!({"v": 1, "route": "R-1", "rev": 3, "service_date": "2026-11-22",
            "station": {"id": "https://id.gs1.org/414/9521234000013", "lat": 48.1, "lon": 11.5, "radius_m": 150},
            "stops": [
                {"seq": 18, "id": "stop-18", "lat": 48.2, "lon": 11.6, "parcels": [
                    {"number": "1z 999aa10123456784", "recipient": {"postcode": "sw1a 1aa", "gift": true, "language": "en-GB"}},
                    {"number": "XYZ 1", "epc": "not a uri"}]},
                {"seq": 17, "id": "stop-17", "lat": 48.1, "lon": 11.5, "parcels": [
                    {"number": "395212340000000014", "recipient": {"postcode": "80331"}}]}]})
    }

    #[test]
    fn what_only_the_backend_may_know_is_taken_out() {
        let checked = validate(&example(), "R-1", &names()).unwrap();
        assert!(!checked.payload.contains("recipient") && !checked.payload.contains("80331"));
        let parcels: Vec<_> = checked
            .parcels
            .iter()
            .map(|parcel| {
                (parcel.epc.as_str(), parcel.recipient.postcode.as_deref(), parcel.stop_seq)
            })
            .collect();
        assert_eq!(
            parcels,
            [
                ("https://id.gs1.org/00/395212340000000014", Some("80331"), 17),
                ("https://id.example.com/carrier/ups/obj/1Z999AA10123456784", Some("SW1A1AA"), 18),
                ("https://id.example.com/parcel/obj/XYZ1", None, 18),
            ]
        );
        assert!(checked.parcels[1].recipient.gift);
        assert_eq!(checked.manifest.rev, 3);
    }

    #[test]
    fn personal_data_has_blocks_of_its_own_and_never_reaches_the_van() {
        let mut document = example();
        document["ext"] = json!({"com.example.tms": {"tour": 7}});
        document["stops"][0]["driver"] = json!({"name": "Family Huber", "phone": "+498912345678",
            "address": {"lines": ["Weg 1"], "postal_code": "80337"}, "access": {"door_code": "1234#"}});
        document["stops"][0]["parcels"][0]["driver"] = json!({"recipient_name": "A. Huber"});
        document["stops"][0]["parcels"][0]["ext"] = json!({"com.example.wms": {"bin": "A7"}});
        document["stops"][0]["parcels"][0]["collect_payment"] =
            json!({"amount": "49.90", "currency": "EUR", "methods": ["cash"]});
        let payload = validate(&document, "R-1", &names()).unwrap().payload;
        for personal in ["Huber", "Weg 1", "1234#", "A7", "tour", "driver", "ext"] {
            assert!(!payload.contains(personal), "{personal}: {payload}");
        }
        assert!(payload.contains("49.90"));
        for (pointer, member) in [
            ("", "drivers"),
            ("/station", "address"),
            ("/stops/0", "name"),
            ("/stops/0/parcels/0", "cod"),
            ("/stops/0/parcels/0/collect_payment", "iban"),
        ] {
            let mut document = document.clone();
            document.pointer_mut(pointer).unwrap()[member] = json!("x");
            let faults = validate(&document, "R-1", &names()).unwrap_err();
            let places: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
            assert_eq!(places.len(), 1, "{places:?}");
            assert!(places[0].ends_with(member) && !places[0].contains('?'), "{places:?}");
        }
    }

    fn faults(spoil: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut document = example();
        spoil(&mut document);
        let faults = validate(&document, "R-1", &names()).unwrap_err();
        faults.into_iter().map(|fault| fault.place).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_each_at_its_place() {
        let places = faults(|document| {
            document["rev"] = json!(0);
            document["service_date"] = json!("today");
            document["station"]["lat"] = json!(91);
            document["stops"][0]["parcels"][0]["rfid"] = json!(["xyz"]);
            document["stops"][0]["parcels"][1]["number"] = json!(" ");
            document["stops"][1]["lon"] = json!(181);
        });
        let expected = [
            "rev",
            "service_date",
            "station.lat",
            "stops[0].parcels[0].rfid[0]",
            "stops[0].parcels[1].number",
            "stops[1].lon",
        ];
        assert_eq!(places, expected);
        let places = faults(|document| {
            document["v"] = json!(2);
            document["station"] = json!({"id": 7});
            document["stops"][0]["parcels"][1] = json!({"id": "x"});
            document["stops"][0]["parcels"][0]["recipient"]["post_code"] = json!("x");
            document["stops"][1]["seq"] = json!("seventeen");
        });
        let expected = [
            "stops[0].parcels[0].recipient",
            "v",
            "station",
            "stops[0].parcels[1].id",
            "stops[0].parcels[1]",
            "stops[1]",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn what_is_no_manifest_of_this_route_is_refused() {
        type Spoil = fn(&mut Value);
        let table: [(Spoil, &str); 8] = [
            (|document| *document = json!([]), "manifest"),
            (|document| document["route"] = json!("R-2"), "route"),
            (|document| document["stops"] = json!({}), "stops"),
            (
                |document| document["stops"][0]["place"] = json!("x".repeat(300_000)),
                "stops[0].place",
            ),
            (
                |document| {
                    document["stops"][0]["parcels"][1]["epc"] =
                        json!("urn:epc:id:sscc:9521234.3000000001");
                },
                "stops[0].parcels[1].epc",
            ),
            (
                |document| {
                    document["stops"][1]["parcels"][0]["recipient"]["postcode"] = json!("--");
                },
                "stops[1].parcels[0].recipient.postcode",
            ),
            (
                |document| {
                    document["stops"][1]["parcels"][0]["recipient"]["language"] = json!("<b>");
                },
                "stops[1].parcels[0].recipient.language",
            ),
            (|document| document["stops"] = json!(vec![json!({}); 300]), "stops[0].parcels"),
        ];
        for (spoil, place) in table {
            let places = faults(spoil);
            assert_eq!(places[0], place, "{places:?}");
            assert!(places.len() <= MAX_FAULTS);
        }
    }
}
