//! Decodes scanner bytes into candidates, most likely first.
//!
//! The AIM identifier takes precedence, then an SSCC over the USPS number with the same digits,
//! then the check digit. The result is printable and bounded for any input.

pub use super::aim::Symbology;
use super::check_digit::Check;
pub use super::code_kind::{Carrier, CodeKind};
use super::gs1::Element;
use super::{carrier, gs1, uri};

/// Maximum length of a scan in bytes; the rest is ignored.
pub const MAX_SCAN: usize = 4096;

/// Maximum length of a key in bytes; longer keys are truncated. No carrier's number is longer.
pub const MAX_KEY: usize = 128;

/// Prefix of control codes.
const CONTROL: &str = "VANCTL:";

/// Separator of GS1 element strings: FNC1, as scanners send it.
pub(super) const GS: char = '\x1d';

/// Printable form of the separator.
const GS_TEXT: &str = "<GS>";

/// Length of an SSCC with its application identifier.
const SSCC_ELEMENT: usize = 20;

/// A decoded scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Symbology; `None` if the scanner does not report it.
    pub symbology: Option<Symbology>,
    /// Candidates, most likely first, never empty.
    pub candidates: Vec<Candidate>,
    /// Trimmed text without AIM identifier and control characters; the separator is shown as
    /// `<GS>`.
    pub text: String,
}

/// One possible meaning of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub kind: CodeKind,
    /// Carrier that issued the number; `None` for other numbers.
    pub carrier: Option<Carrier>,
    /// Number as in the manifest: no spaces, at most [`MAX_KEY`] bytes. Upper case, except for
    /// values of application identifiers, which are case-sensitive. The key of an SGTIN is the GTIN
    /// of 14 digits followed by the serial number.
    pub key: String,
    /// Whether the check digit is correct; `None` without a check digit.
    pub check_ok: Option<bool>,
    /// Additional decoded fields.
    pub fields: Vec<Field>,
}

/// A named part of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// GS1 application identifier, or a field name.
    pub name: String,
    pub value: String,
}

impl Code {
    /// Decodes a scan. Returns `None` if it contains nothing printable.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = sanitize(&bytes[..bytes.len().min(MAX_SCAN)]);
        let (symbology, payload) = Symbology::split(trimmed(&text));
        let payload = trimmed(payload);
        if payload.is_empty() {
            return None;
        }
        let candidates = candidates(symbology, payload);
        Some(Self { symbology, candidates, text: payload.replace(GS, GS_TEXT) })
    }

    /// The most likely candidate.
    #[must_use]
    pub fn most_likely(&self) -> &Candidate {
        self.candidates.first().expect("a code has at least one candidate")
    }

    /// The candidate whose key is in the manifest. It takes precedence over all others.
    #[must_use]
    pub fn match_manifest(&self, is_known: impl Fn(&str) -> bool) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| is_known(&candidate.key))
    }

    /// The command after `VANCTL:` in upper case; `None` if this is not a control code.
    #[must_use]
    pub fn control(&self) -> Option<&str> {
        let best = self.most_likely();
        if best.kind == CodeKind::Control { best.key.strip_prefix(CONTROL) } else { None }
    }
}

impl Field {
    pub(super) fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }
}

impl Candidate {
    pub(super) fn new(kind: CodeKind, key: String, check_ok: Option<bool>) -> Self {
        Self { kind, carrier: kind.carrier(), key, check_ok, fields: Vec::new() }
    }

    /// The URI of this candidate (docs/mqtt-contract.md, identifiers). `domain` is the operator's,
    /// for numbers outside GS1.
    #[must_use]
    pub fn uri(&self, domain: &str) -> String {
        uri::uri_for(self, domain)
    }

    /// The value of the field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value.as_str())
    }
}

/// Normalises a number to key form: no spaces, upper case, at most [`MAX_KEY`] bytes.
#[must_use]
pub fn normalised(text: &str) -> String {
    let mut key: String = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    key.truncate(key.floor_char_boundary(MAX_KEY));
    key
}

/// Removes control characters, and characters that hide or reorder text on a screen.
pub(super) fn sanitize(bytes: &[u8]) -> String {
    let hides = |letter: char| {
        matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(letter, '\u{feff}' | char::REPLACEMENT_CHARACTER)
    };
    let shown = |letter: &char| *letter == GS || !(letter.is_control() || hides(*letter));
    String::from_utf8_lossy(bytes).chars().filter(shown).collect()
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || letter == GS)
}

fn candidates(symbology: Option<Symbology>, payload: &str) -> Vec<Candidate> {
    let number = normalised(&payload.replace(GS, GS_TEXT));
    if number.starts_with(CONTROL) {
        return vec![Candidate::new(CodeKind::Control, number, None)];
    }
    let elements = elements(symbology, payload, &number);
    let mut candidates = gs1::candidates(&elements);
    if candidates.is_empty() {
        candidates = if symbology.is_some_and(Symbology::is_retail) {
            retail(&number).into_iter().collect()
        } else {
            carrier::candidates(&number)
        };
        // 20 digits from 00 are an SSCC, unless the scanner reports a symbology without application
        // identifiers.
        if let Some(at) = candidates.iter().position(|one| one.kind == CodeKind::Sscc) {
            let sscc = candidates.remove(at);
            let plain = symbology.is_some_and(|one| !one.is_gs1()) && sscc.key != number;
            candidates.insert(if plain { candidates.len() } else { 0 }, sscc);
        }
    }
    if candidates.is_empty() {
        candidates.push(Candidate::new(CodeKind::Unknown, number, None));
    }
    let fields = gs1::fields(&elements);
    for candidate in &mut candidates {
        candidate.fields.extend(fields.iter().cloned());
    }
    candidates
}

/// GS1 elements of a label: a Digital Link in any symbology, an element string that the scanner or
/// a separator announces, or a leading SSCC in a text that is not a carrier number.
fn elements(symbology: Option<Symbology>, payload: &str, number: &str) -> Vec<Element> {
    let text: String = payload.chars().filter(|letter| !letter.is_whitespace()).collect();
    if let Some(elements) = gs1::parse_digital_link(&text) {
        return elements;
    }
    let announced = symbology.is_some_and(Symbology::is_gs1);
    let silent = || {
        let longer = text.len() > SSCC_ELEMENT && text.starts_with("00");
        symbology.is_none() && longer && carrier::candidates(number).is_empty()
    };
    if !(announced || text.contains(GS) || silent()) {
        return Vec::new();
    }
    let (elements, whole) = gs1::parse_elements(&text);
    if announced || whole { elements } else { Vec::new() }
}

/// Product of a retail code. Such a code is never a carrier number.
fn retail(number: &str) -> Option<Candidate> {
    let kind = match number.len() {
        _ if !number.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        8 => CodeKind::Gtin8,
        13 => CodeKind::Gtin13,
        _ => return None,
    };
    Some(Candidate::new(kind, number.to_owned(), Check::Gs1.verify(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Code {
        Code::parse(text.as_bytes()).unwrap()
    }

    fn kinds(text: &str) -> Vec<&'static str> {
        read(text).candidates.iter().map(|one| one.kind.as_str()).collect()
    }

    #[test]
    fn the_aim_identifier_decides_then_the_sscc_goes_first() {
        for (text, expected) in [
            ("00106141412345678908", &["sscc", "usps_20", "usps_legacy"][..]),
            ("]C100106141412345678908", &["sscc"]),
            ("]C000106141412345678908", &["usps_20", "usps_legacy", "sscc"]),
            // A wrong check digit does not change the order.
            ("00106141412345678909", &["sscc", "usps_20", "usps_legacy"]),
            ("]E09506000134352", &["gtin13"]),
            ("9506000134352", &["gs1_key"]),
            ("]E4ABCDEFGH", &["unknown"]),
            ("]E3950600013435201", &["unknown"]),
            ("]C11Z999AA10123456784", &["ups_1z"]),
            ("0039521234000000001442127680331", &["sscc"]),
            ("00395212340000000014421276é", &["unknown"]),
            // The end could be an element, but the whole is a valid DPD number.
            ("008182709980000020103350276K", &["dpd_28"]),
            ("0081827099800000202103502760", &["dpd_28"]),
        ] {
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_manifest_knows_goes_before_what_is_likely() {
        let code = read("00106141412345678908");
        let known = |key: &'static str| code.match_manifest(move |candidate| candidate == key);
        assert_eq!(code.most_likely().kind, CodeKind::Sscc);
        assert_eq!(known("00106141412345678908").map(|one| one.kind), Some(CodeKind::Usps20));
        assert_eq!(known("106141412345678908").map(|one| one.kind), Some(CodeKind::Sscc));
        assert_eq!(known("1"), None);
    }

    #[test]
    fn control_codes_say_what_stands_behind_the_prefix() {
        assert_eq!(read("VANCTL:ATTEMPT:AQ\r\n").control(), Some("ATTEMPT:AQ"));
        assert_eq!(read("]C0vanctl:duty:off").control(), Some("DUTY:OFF"));
        assert_eq!(read("VANCTL:").control(), Some(""));
        assert_eq!(read("XVANCTL:UNDO").control(), None);
        assert_eq!(read("VANCTL").control(), None);
    }

    #[test]
    fn the_text_is_what_is_printed() {
        for (bytes, text) in [
            (
                &b"\x02]C100395212340000000014\x1d42127680331\x03\r\n"[..],
                "00395212340000000014<GS>42127680331",
            ),
            (b" 1z 999 \r\n", "1z 999"),
            (b"]d2\x1d4301Ann\x1d", "4301Ann"),
            (b"a\x1b[31mb\xffc\xe2\x80\xaed", "a[31mbcd"),
            ("Straße 5".as_bytes(), "Straße 5"),
        ] {
            assert_eq!(Code::parse(bytes).unwrap().text, text);
        }
        for nothing in [&b""[..], b"\r\n", b"]C1", b"]C1\x1d", b" \x1d ", b"\xff\xfe", b"\x00\x07"]
        {
            assert_eq!(Code::parse(nothing), None);
        }
    }

    #[test]
    fn what_nobody_knows_is_kept_by_its_text_and_bounded() {
        let code = read("pkg 0001/ä\x1dx");
        assert_eq!(
            (code.most_likely().kind, code.most_likely().key.as_str()),
            (CodeKind::Unknown, "PKG0001/ä<GS>X")
        );
        let uri = "https://id.example.com/parcel/obj/PKG0001%2F%C3%A4%3CGS%3EX";
        assert_eq!(code.most_likely().uri("id.example.com"), uri);
        let long = Code::parse(&b"\xc3\xa4".repeat(10_000)).unwrap();
        assert_eq!(long.text.len(), MAX_SCAN);
        assert_eq!(long.most_likely().key.len(), MAX_KEY);
    }
}
