//! Invariants for every scanned label and every RFID tag.

use waypost_model::parcel::code::{Candidate, Code, CodeKind, MAX_KEY, MAX_SCAN};
use waypost_model::parcel::epc::parse_tag;

/// Upper limit of candidates and fields of one label.
const MAX_ITEMS: usize = 128;

/// Checks that a scan is printable and bounded, has a candidate, and does not depend on its line
/// terminator.
pub fn code(data: &[u8]) {
    let code = Code::parse(data);
    assert_eq!(code, Code::parse(&data[..data.len().min(MAX_SCAN)]), "the excess was read");
    if data.len() < MAX_SCAN - 1 {
        assert_eq!(code, Code::parse(&[data, b"\r\n"].concat()), "the line terminator matters");
    }
    code.iter().for_each(check_code);
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(parse_tag(&hex), parse_tag(&hex.to_uppercase()));
    parse_tag(&hex).iter().for_each(check_tag);
    parse_tag(&String::from_utf8_lossy(data)).iter().for_each(check_tag);
}

fn check_code(code: &Code) {
    assert!(!code.text.is_empty() && code.text.len() <= 4 * MAX_SCAN);
    assert!(!code.text.chars().any(char::is_control), "{:?}", code.text);
    assert_eq!(code.text, code.text.trim());
    assert!((1..MAX_ITEMS).contains(&code.candidates.len()));
    assert_eq!(code.match_manifest(|_| true), Some(code.most_likely()));
    assert_eq!(code.control().is_some(), code.most_likely().kind == CodeKind::Control);
    code.candidates.iter().for_each(check_candidate);
}

fn check_candidate(candidate: &Candidate) {
    let Candidate { kind, key, fields, .. } = candidate;
    assert_eq!(candidate.carrier, kind.carrier());
    assert!((1..=MAX_KEY).contains(&key.len()), "{key}");
    assert!(!key.chars().any(|letter| letter.is_control() || letter.is_whitespace()), "{key}");
    assert!(
        *kind != CodeKind::Sscc || key.len() == 18 && key.bytes().all(|one| one.is_ascii_digit())
    );
    assert!(fields.len() < MAX_ITEMS);
    for field in fields {
        assert!(field.value.len() <= MAX_KEY, "{field:?}");
        assert!(!field.value.chars().any(char::is_control), "{field:?}");
    }
    let uri = candidate.uri("id.example.com");
    assert!(
        uri.starts_with("https://id.") && uri.bytes().all(|one| one.is_ascii_graphic()),
        "{uri}"
    );
    assert!(!uri.ends_with('/') && uri.len() < 4 * MAX_KEY, "{uri}");
}

fn check_tag(tag: &Candidate) {
    assert!(matches!(tag.kind, CodeKind::Sscc | CodeKind::Sgtin | CodeKind::Rfid));
    assert!(tag.check_ok != Some(false) || tag.field("scheme") == Some("sscc+"));
    check_candidate(tag);
}
