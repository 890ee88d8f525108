//! Decoding of scans and RFID reads, tested with examples published by the carriers and GS1.

use std::fs;

use proptest::prelude::*;
use serde_json::Value;
use waypost_model::parcel::code::{Candidate, Code};
use waypost_model::parcel::epc::parse_tag;

use crate::support::shared;

/// The operator in the examples.
const DOMAIN: &str = "id.example.com";

/// Returns the examples of `section`; empty if they are not installed.
fn examples(section: &str) -> Vec<Value> {
    let Some(path) = shared("parcels/tracking_numbers.json") else { return Vec::new() };
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    all[section].as_array().unwrap().clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// Returns the kind of an example's number, in this crate's terms.
fn kind(number: &Value) -> &str {
    match text(number, "type") {
        "amazon_logistics" => "amazon_tba",
        "dhl_express_piece_id" => "dhl_piece_id",
        "dpd" => "dpd_28",
        "fedex_ground_96" => "fedex_ground96",
        "s10" => "upu_s10",
        "sscc_ai00" => "sscc",
        "ups" => "ups_1z",
        "usps_impb_n" | "usps_impb_c" => "usps_impb",
        // 22 digits from 91 are the newer number, as an example of a scan shows.
        "usps_legacy" if text(number, "normalized").len() > 20 => "usps_impb",
        other => other,
    }
}

fn find<'a>(code: &'a Code, kind: &str) -> Option<&'a Candidate> {
    code.candidates.iter().find(|candidate| candidate.kind.as_str() == kind)
}

#[test]
fn each_number_of_the_carriers_is_recognised_with_its_key_and_its_check_digit() {
    // Another kind is equally plausible, so only the manifest can decide.
    let ambiguous = ["fedex_ground_sscc_18", "purolator_numeric", "dhl_piece_id"];
    let (mut best, mut among) = (0, 0);
    for number in examples("numbers") {
        let (printed, kind) = (text(&number, "number"), kind(&number));
        let Some(key) = number["lookup_key"].as_str() else { continue };
        let code = Code::parse(printed.as_bytes()).unwrap();
        let one = find(&code, kind).unwrap_or_else(|| panic!("{printed}: no {kind}: {code:?}"));
        assert_eq!(one.key, key, "{printed}");
        assert_eq!(one.check_ok, number["check_ok"].as_bool(), "{printed}");
        assert_eq!(
            code.match_manifest(|candidate| candidate == key).map(|one| one.key.as_str()),
            Some(key)
        );
        if let Some(epc) = number["epc"].as_str() {
            assert_eq!(one.uri(DOMAIN), epc);
        }
        if code.most_likely() == one {
            best += 1;
        } else {
            assert!(ambiguous.contains(&kind), "{printed}: {kind} is not the best of {code:?}");
            among += 1;
        }
    }
    eprintln!("{best} numbers are identified at once, {among} with the manifest");
}

#[test]
fn a_number_that_is_wrong_is_kept_and_never_called_right() {
    let (mut warned, mut others) = (0, 0);
    for number in examples("numbers") {
        if !number["lookup_key"].is_null() {
            continue;
        }
        let (printed, kind) = (text(&number, "number"), kind(&number));
        let code = Code::parse(printed.as_bytes()).unwrap();
        let expected = number["check_ok"].as_bool();
        match find(&code, kind) {
            Some(one) => {
                assert_eq!(one.check_ok, expected, "{printed}: {one:?}");
                warned += 1;
            }
            None => others += 1,
        }
    }
    eprintln!("{warned} wrong numbers are stored with a warning, {others} are of another kind");
}

#[test]
fn each_scan_says_what_is_printed() {
    for scan in examples("scans") {
        let (raw, expect) = (text(&scan, "raw"), &scan["expect"]);
        let code = Code::parse(raw.as_bytes()).unwrap();
        let best = code.most_likely();
        assert_eq!(code.symbology.map(|one| one.aim()).as_deref(), expect["aim"].as_str(), "{raw}");
        assert_eq!(best.kind.as_str(), text(expect, "kind"), "{raw}: {code:?}");
        match expect["key"].as_str() {
            Some(key) => assert_eq!(best.key, key, "{raw}"),
            None => assert!(!best.kind.identifies_parcel(), "{raw}"),
        }
        if let Some(epc) = expect["epc"].as_str() {
            assert_eq!(best.uri(DOMAIN), epc);
        }
        if let Some(check_ok) = expect.get("check_ok") {
            assert_eq!(best.check_ok, check_ok.as_bool(), "{raw}");
        }
        for other in expect["ambiguous_with"].as_array().into_iter().flatten() {
            assert!(find(&code, other.as_str().unwrap()).is_some(), "{raw}: {code:?}");
        }
        for (ai, value) in expect["ai"].as_object().into_iter().flatten() {
            assert_eq!(best.field(ai), value.as_str(), "{raw}: ({ai})");
        }
        for (name, ours) in [
            ("ship_to_country", "ship_to_country"),
            ("country", "ship_to_country"),
            ("ship_to_post", "ship_to_post"),
            ("dest_zip", "ship_to_post"),
            ("service", "service"),
            ("authority_to_leave", "authority_to_leave"),
            ("signature_required", "signature_required"),
            ("not_before", "not_before"),
            ("not_after", "not_after"),
        ] {
            if let Some(value) = expect.get(name) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(best.field(ours), Some(value.as_str()), "{raw}: {name}");
            }
        }
        if let Some(place) = expect.get("ship_to_geo") {
            for (name, ours) in [("lat", "ship_to_lat"), ("lon", "ship_to_lon")] {
                assert_eq!(best.field(ours), Some(place[name].to_string().as_str()), "{raw}");
            }
        }
    }
}

#[test]
fn each_tag_has_the_uri_of_its_bar_code_or_its_own() {
    for example in examples("epc_tags") {
        let hex = text(&example, "epc_hex");
        let said = parse_tag(hex).unwrap();
        let own = format!("https://{DOMAIN}/rfid/obj/{hex}");
        assert_eq!(said.uri(DOMAIN), example["digital_link"].as_str().unwrap_or(&own), "{hex}");
        assert_eq!(said.field("scheme"), example["scheme"].as_str(), "{hex}");
        assert_eq!(said.field("urn"), example["pure_identity"].as_str(), "{hex}");
    }
    for line in examples("rfid_lines") {
        let raw = text(&line, "raw").trim();
        match line["expect_epc"].as_str() {
            Some(hex) => assert_eq!(parse_tag(hex).unwrap().key, "106141412345678908"),
            None => assert_eq!(parse_tag(raw), None, "a frame must not be guessed: {raw}"),
        }
    }
}

/// Numbers of every kind, independent of the examples.
const NUMBERS: [&str; 10] = [
    "1Z999AA10123456784",
    "RR473124829GB",
    "TBA502887274000",
    "106141412345678908",
    "00106141412345678908",
    "420787459400111206206406260787",
    "008182709980000020033350276C",
    "JJD0099999999",
    "012345678983",
    "VANCTL:ATTEMPT:AQ",
];

proptest! {
    #[test]
    fn spaces_and_small_letters_change_no_number(
        index in 0..NUMBERS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..20),
    ) {
        let number = NUMBERS[index];
        let mut typed: Vec<char> = number.chars().collect();
        for (place, space) in changes {
            let at = place.index(typed.len());
            if space {
                typed.insert(at, ' ');
            } else {
                typed[at] = typed[at].to_ascii_lowercase();
            }
        }
        let typed: String = typed.into_iter().collect();
        let read = |text: &str| Code::parse(text.as_bytes()).unwrap().candidates;
        prop_assert_eq!(read(&typed), read(number));
    }
}
