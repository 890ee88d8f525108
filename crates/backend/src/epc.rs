//! Maps numbers and URIs to the canonical URI of a parcel.

mod gs1_uri;

use std::collections::BTreeSet;

use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::event::Role;
use waypost_model::event::Parcel;
use waypost_model::manifest::ManifestParcel;
use waypost_model::parcel::code::{Code, MAX_KEY, normalised};
use waypost_wire::epcis::Identifiers;

/// Returns the canonical form of a URI: a GS1 Digital Link at `id.gs1.org`, or the URI unchanged.
///
/// EPC URNs of GS1 keys (TDS 1.13 §6.3) and Digital Links of other resolvers become the canonical
/// Digital Link.
#[must_use]
pub fn canonical(uri: &str) -> String {
    gs1_uri::canonical(uri).unwrap_or_else(|| uri.to_owned())
}

/// Objects of a query: one URI, or the beginnings of all that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpcMatch {
    /// A canonical URI.
    Exactly(String),
    /// Beginnings of canonical URIs.
    StartsWith(Vec<String>),
}

/// Parses an object of a query: a URI, or a pattern URI (TDS 1.13 §8) such as
/// `urn:epc:idpat:sgtin:0614141.107346.*`. Returns `None` for a pattern of an unknown scheme, or
/// with a fixed part after a wildcard.
#[must_use]
pub fn parse_match(uri: &str) -> Option<EpcMatch> {
    if uri.starts_with("urn:epc:idpat:") {
        return gs1_uri::pattern(uri).map(EpcMatch::StartsWith);
    }
    Some(EpcMatch::Exactly(canonical(uri)))
}

/// Returns the URIs that match a number as typed by a user, most likely first.
#[must_use]
pub fn uris_for_number(number: &str, domain: &str) -> Vec<String> {
    let typed: String = number.nfkc().collect();
    if let Some(urn) =
        typed.trim().get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("urn:epc:"))
    {
        let rest = &typed.trim()[urn.len()..];
        return vec![canonical(&format!("urn:epc:{}", rest.to_ascii_lowercase()))];
    }
    // Human-readable form below a bar code: `(00) 3 9521234 000000001 4`.
    let plain = typed.replace(['(', ')'], "");
    let mut uris = Vec::new();
    for form in [plain.as_str(), &number_key(&plain)] {
        let candidates = Code::parse(form.as_bytes()).map(|code| code.candidates);
        for candidate in candidates.into_iter().flatten() {
            let uri = canonical(&candidate.uri(domain));
            if !uris.contains(&uri) {
                uris.push(uri);
            }
        }
    }
    uris
}

/// Returns the key by which a typed number is compared with a stored one: letters and digits only,
/// upper case. Full-width and other compatibility characters become plain ones (NFKC).
#[must_use]
pub fn number_key(number: &str) -> String {
    let upper = number.nfkc().flat_map(char::to_uppercase);
    upper.nfkc().filter(|letter| letter.is_alphanumeric()).take(MAX_KEY).collect()
}

/// Returns the URI that the van uses for a parcel of its manifest: the listed URI, or one derived
/// from the number.
#[must_use]
pub fn uri_for_manifest_parcel(listed: &ManifestParcel, domain: &str) -> String {
    let made = || Code::parse(listed.key.as_bytes()).map(|code| code.most_likely().uri(domain));
    let epc = listed.epc.clone().or_else(made).unwrap_or_default();
    // Only the domain is part of a parcel's URI.
    let names = Identifiers { van: String::new(), gateway: None, domain: domain.to_owned() };
    canonical(&names.parcel(&Parcel { key: listed.key.clone(), epc }))
}

/// Normalizes a number for comparison: removes spaces and unifies the case.
#[must_use]
pub fn normalize_number(text: &str) -> String {
    normalised(text)
}

/// Returns the objects of an EPCIS event under canonical URIs, each once: `epcList`, `childEPCs`,
/// `inputEPCList`, `outputEPCList` and `parentID` (ISO/IEC 19987 §7.4). Classes of objects
/// (`quantityList`) are skipped.
#[must_use]
pub fn epcs_in(event: &Value) -> Vec<(String, Role)> {
    const LISTS: [(&str, Role); 4] = [
        ("epcList", Role::Epc),
        ("childEPCs", Role::Child),
        ("outputEPCList", Role::Output),
        ("inputEPCList", Role::Input),
    ];
    let listed = LISTS.iter().flat_map(|(list, role)| {
        let uris = event.get(list).and_then(Value::as_array).into_iter().flatten();
        uris.filter_map(Value::as_str).map(|uri| (uri, *role))
    });
    let parent = event.get("parentID").and_then(Value::as_str).map(|uri| (uri, Role::Parent));
    let mut known = BTreeSet::new();
    listed
        .chain(parent)
        .map(|(uri, role)| (canonical(uri), role))
        .filter(|(uri, _)| known.insert(uri.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_an_sscc_are_one() {
        let expected = "https://id.gs1.org/00/106141412345678908";
        for uri in [
            "urn:epc:id:sscc:0614141.1234567890",
            "https://id.gs1.org/00/106141412345678908",
            "http://example.com/some/00/106141412345678908?linkType=all",
        ] {
            assert_eq!(canonical(uri), expected, "{uri}");
        }
        for uri in ["urn:epc:id:sscc:06141411234567890", "urn:epc:id:sscc:1.2", "https://a/00/7"] {
            assert_eq!(canonical(uri), uri);
        }
        assert_eq!(uris_for_number("1 06141412345678908", "x")[0], expected);
        for typed in [
            "(00)106141412345678908",
            "1-0614141-234567890-8",
            "１０６１４１４１２３４５６７８９０８",
            "urn:epc:id:sscc:0614141.1234567890",
            " URN:EPC:ID:SSCC:0614141.1234567890 ",
        ] {
            assert!(uris_for_number(typed, "x").iter().any(|uri| uri == expected), "{typed}");
        }
    }

    #[test]
    fn a_number_is_compared_however_people_write_it() {
        for (one, other) in [
            ("AB-123 456/7", "ab1234567"),
            ("Ährenweg-7", "äHRENWEG7"),
            ("A\u{308}hre", "Ähre"),
            ("ＡＢ１２", "ab12"),
            ("AB–12", "AB12"),
            ("straße 1", "STRASSE1"),
        ] {
            assert_eq!(number_key(one), number_key(other), "{one} {other}");
        }
        assert_ne!(number_key("AB12"), number_key("AB21"));
        assert!(number_key(&"ﷺ".repeat(9_000)).chars().count() <= MAX_KEY);
    }

    #[test]
    fn a_listed_parcel_has_the_name_by_which_its_van_calls_it() {
        let listed = |key: &str, epc: Option<&str>| ManifestParcel {
            key: key.to_owned(),
            epc: epc.map(str::to_owned),
            tags: Vec::new(),
            requires_signature: false,
            preferences: waypost_model::event::Preferences::default(),
        };
        for (key, epc, expected) in [
            ("106141412345678908", None, "https://id.gs1.org/00/106141412345678908"),
            (
                "X",
                Some("urn:epc:id:sscc:0614141.1234567890"),
                "https://id.gs1.org/00/106141412345678908",
            ),
            ("", None, "https://x/parcel/obj/"),
            ("A/(B)", None, "https://x/parcel/obj/A%2F(B)"),
            ("A", Some("no uri"), "https://x/parcel/obj/A"),
        ] {
            assert_eq!(uri_for_manifest_parcel(&listed(key, epc), "x"), expected, "{key} {epc:?}");
        }
    }

    #[test]
    fn what_an_event_is_about_is_named_once_and_canonically() {
        let event = serde_json::json!({
            "parentID": "https://id.example.com/fleet/obj/VAN-1",
            "childEPCs": ["urn:epc:id:sscc:0614141.1234567890", "https://id.gs1.org/00/106141412345678908", 7],
            "outputEPCList": ["urn:x:out"], "quantityList": [{"epcClass": "urn:x:class"}],
        });
        let expected = [
            ("https://id.gs1.org/00/106141412345678908", Role::Child),
            ("urn:x:out", Role::Output),
            ("https://id.example.com/fleet/obj/VAN-1", Role::Parent),
        ];
        assert_eq!(epcs_in(&event), expected.map(|(uri, role)| (uri.to_owned(), role)));
        assert_eq!(epcs_in(&Value::Null), []);
    }
}
