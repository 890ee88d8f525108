//! What must hold for every scan of a label and every radio tag.

use waypost::core::parcel::code::{Candidate, Code, Kind, MAX_KEY, MAX_SCAN};
use waypost::core::parcel::epc::tag;

/// More candidates or fields than this no label gives.
const MANY: usize = 128;

/// Whatever is scanned: what is read is printable and bounded, names something, and is the same with the line's end.
pub fn code(data: &[u8]) {
    let code = Code::read(data);
    assert_eq!(code, Code::read(&data[..data.len().min(MAX_SCAN)]), "more was looked at");
    if data.len() < MAX_SCAN - 1 {
        assert_eq!(code, Code::read(&[data, b"\r\n"].concat()), "the end of a line says something");
    }
    code.iter().for_each(check_code);
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(tag(&hex), tag(&hex.to_uppercase()));
    tag(&hex).iter().for_each(check_tag);
    tag(&String::from_utf8_lossy(data)).iter().for_each(check_tag);
}

fn check_code(code: &Code) {
    assert!(!code.text.is_empty() && code.text.len() <= 4 * MAX_SCAN);
    assert!(!code.text.chars().any(char::is_control), "{:?}", code.text);
    assert_eq!(code.text, code.text.trim());
    assert!((1..MANY).contains(&code.candidates.len()));
    assert_eq!(code.known(|_| true), Some(code.best()));
    assert_eq!(code.control().is_some(), code.best().kind == Kind::Control);
    code.candidates.iter().for_each(check_candidate);
}

fn check_candidate(candidate: &Candidate) {
    let Candidate { kind, key, fields, .. } = candidate;
    assert_eq!(candidate.carrier, kind.carrier());
    assert!((1..=MAX_KEY).contains(&key.len()), "{key}");
    assert!(!key.chars().any(|letter| letter.is_control() || letter.is_whitespace()), "{key}");
    assert!(*kind != Kind::Sscc || key.len() == 18 && key.bytes().all(|one| one.is_ascii_digit()));
    assert!(fields.len() < MANY);
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
    assert!(matches!(tag.kind, Kind::Sscc | Kind::Sgtin | Kind::Rfid));
    assert!(tag.check_ok != Some(false) || tag.field("scheme") == Some("sscc+"));
    check_candidate(tag);
}
