//! Payload of the topic `manifest`. Unknown members are ignored.

use serde::Deserialize;

use super::VERSION;
use waypost_model::manifest::{
    ErrorCode, MAX_NAME, Manifest, ManifestError, RawManifest, RejectedManifest,
};

/// Maximum size of a manifest in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// Parses a payload. An empty payload gives `None`: it withdraws the route.
///
/// # Errors
/// Returns the first error with its path, and the route and revision if the payload has them.
pub fn parse(payload: &[u8]) -> Result<Option<Manifest>, RejectedManifest> {
    if payload.is_empty() {
        return Ok(None);
    }
    parse_manifest(payload).map(Some).map_err(|error| {
        let head = Some(payload).filter(|payload| payload.len() <= MAX_BYTES);
        let head: Head =
            head.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let is_id =
            |route: &String| route.len() <= MAX_NAME && !route.chars().any(char::is_control);
        RejectedManifest { route: head.route.filter(is_id), rev: head.rev, error }
    })
}

fn parse_manifest(payload: &[u8]) -> Result<Manifest, ManifestError> {
    if payload.len() > MAX_BYTES {
        let remedy = "must be at most 256 KiB; split the route";
        let code = ErrorCode::OutOfRange;
        return Err(ManifestError::new("the payload", code, payload.len(), remedy));
    }
    let version: Version = serde_json::from_slice(payload).map_err(|error| invalid_json(&error))?;
    if version.v != u64::from(VERSION) {
        let (code, remedy) = (ErrorCode::Unsupported, "this van supports version 1");
        return Err(ManifestError::new("v", code, version.v, remedy));
    }
    let draft: RawManifest =
        serde_json::from_slice(payload).map_err(|error| invalid_json(&error))?;
    Manifest::new(draft)
}

/// What identifies a manifest.
#[derive(Default, Deserialize)]
struct Head {
    route: Option<String>,
    rev: Option<u64>,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Converts a JSON error. `serde_json` reports line and column, and limits nesting to 128 levels.
fn invalid_json(error: &serde_json::Error) -> ManifestError {
    // The text of `error` quotes the payload, which may contain personal data.
    let what = match error.classify() {
        serde_json::error::Category::Data => "not in the expected format",
        _ => "not JSON",
    };
    let place = format!("line {} column {}", error.line(), error.column());
    ManifestError::new(
        place,
        ErrorCode::Malformed,
        what,
        "see docs/mqtt-contract.md for the format",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"v":1,"route":"R-20261122-042","rev":3,"service_date":"2026-11-22",
        "station":{"id":"https://id.gs1.org/414/9521234000013","lat":48.1173,"lon":11.51667,"radius_m":150},
        "valid_from":"2026-11-22T05:00:00Z","valid_until":"2026-11-22T22:00:00Z","colour":[{"red":1}],
        "stops":[{"seq":17,"id":"stop-17","lat":48.13791,"lon":11.57548,"radius_m":60,
            "windows":[{"from":"2026-11-22T09:00:00Z","until":"2026-11-22T11:00:00Z"}],"service_s":90,
            "parcels":[{"number":"395212340000000014","carrier":"x",
                "preferences":{"authority_to_leave":true,"safe_place":"porch"}}]},
          {"seq":18,"id":"stop-18","lat":48.14102,"lon":11.5801,"parcels":[{"number":"1Z999AA10123456784",
            "epc":"https://id.example.com/carrier/ups/obj/1Z999AA10123456784","require":{"signature":true}}]}]}"#;

    #[test]
    fn a_manifest_is_read_and_strange_members_are_ignored() {
        let manifest = parse(EXAMPLE.as_bytes()).unwrap().unwrap();
        assert_eq!((manifest.route.as_str(), manifest.rev), ("R-20261122-042", 3));
        assert_eq!((manifest.stops.len(), manifest.parcel_count()), (2, 2));
        let first = &manifest.stops[0].parcels[0];
        assert_eq!(first.preferences.authority_to_leave, Some(true));
        assert_eq!(first.preferences.safe_place.as_deref(), Some("porch"));
        assert_eq!(parse(b"").unwrap(), None, "withdrawn");
    }

    #[test]
    fn what_is_no_manifest_is_refused_and_overflows_nothing() {
        let deep = format!("{}{}", r#"{"v":1,"deep":"#, "[".repeat(200_000));
        let long = vec![b' '; MAX_BYTES + 1];
        let newer = EXAMPLE.replacen("\"v\":1", "\"v\":2", 1);
        let no_stops = EXAMPLE.replacen("\"stops\"", "\"halts\"", 1);
        for (payload, place) in [
            (deep.as_bytes(), "line 1 column "),
            (&long, "the payload"),
            (newer.as_bytes(), "v is 2"),
            (no_stops.as_bytes(), "line 9 column "),
            (b"{", "line 1 column 1 is not JSON"),
            (b"\xff", "line 1 column 1 is not JSON"),
            (b"[]", "line 1 column "),
        ] {
            let refusal = parse(payload).expect_err(place).to_string();
            assert!(refusal.starts_with(place), "{refusal}");
        }
    }

    #[test]
    fn a_rejected_manifest_is_identified_if_it_can_be() {
        let bad = EXAMPLE.replacen("48.13791", "91", 1);
        let rejected = parse(bad.as_bytes()).unwrap_err();
        assert_eq!((rejected.route.as_deref(), rejected.rev), (Some("R-20261122-042"), Some(3)));
        assert_eq!(rejected.error.pointer(), "/stops/0/lat");
        assert_eq!(rejected.error.code, ErrorCode::OutOfRange);
        let unknown = parse(b"{\"v\":1").unwrap_err();
        assert_eq!((unknown.route, unknown.rev), (None, None));
    }
}
