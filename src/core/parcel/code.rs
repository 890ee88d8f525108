//! Bytes of a scanner → [`Code`]: what they may mean, most likely first.
//!
//! The AIM identifier decides first, then an SSCC goes before the USPS number of the same digits, then the check digit.
//! Whatever the bytes are, what comes out is printable and bounded.

pub use super::aim::Symbology;
use super::check::Check;
use super::gs1::Element;
pub use super::kind::{Carrier, Kind};
use super::{carrier, gs1, uri};

/// More of a scan than this is not looked at, in bytes.
pub const MAX_SCAN: usize = 4096;

/// No key is longer, in bytes: what is cut is no carrier's number.
pub const MAX_KEY: usize = 128;

/// What begins a control code.
const CONTROL: &str = "VANCTL:";

/// The separator of GS1 element strings, FNC1 as scanners send it.
pub(super) const GS: char = '\x1d';

/// The separator as people write it.
const SHOWN_GS: &str = "<GS>";

/// Length of an SSCC with its application identifier.
const SSCC_ELEMENT: usize = 20;

/// What a scan may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// What it is printed in; `None` if the scanner does not say.
    pub symbology: Option<Symbology>,
    /// Most likely first, never empty.
    pub candidates: Vec<Candidate>,
    /// What is printed, without the AIM identifier and control characters, trimmed; `<GS>` for the separator.
    pub text: String,
}

/// One thing that a code may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it is.
    pub kind: Kind,
    /// Whose number; `None` if it is no carrier's.
    pub carrier: Option<Carrier>,
    /// The number itself as the manifest has it: no spaces, at most [`MAX_KEY`] bytes, upper case but for what follows
    /// an application identifier, where case matters. Of an SGTIN the 14 digits of the item, then the serial number.
    pub key: String,
    /// Whether the check digit fits; `None` where there is none.
    pub check_ok: Option<bool>,
    /// What else it says.
    pub fields: Vec<Field>,
}

/// A part of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is: a GS1 application identifier, or a word.
    pub name: String,
    /// What it says.
    pub value: String,
}

impl Code {
    /// What `bytes` may mean; `None` if nothing of them is printable.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = printable(&bytes[..bytes.len().min(MAX_SCAN)]);
        let (symbology, payload) = Symbology::split(trimmed(&text));
        let payload = trimmed(payload);
        if payload.is_empty() {
            return None;
        }
        let candidates = candidates(symbology, payload);
        Some(Self { symbology, candidates, text: payload.replace(GS, SHOWN_GS) })
    }

    /// The most likely.
    #[must_use]
    pub fn best(&self) -> &Candidate {
        self.candidates.first().expect("a code means something, if only the unknown")
    }

    /// The candidate whose key the manifest knows: it goes before all others.
    #[must_use]
    pub fn known(&self, is_known: impl Fn(&str) -> bool) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| is_known(&candidate.key))
    }

    /// What a control code says after `VANCTL:`, upper case; `None` if this is none.
    #[must_use]
    pub fn control(&self) -> Option<&str> {
        let best = self.best();
        if best.kind == Kind::Control { best.key.strip_prefix(CONTROL) } else { None }
    }
}

impl Field {
    pub(super) fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }
}

impl Candidate {
    pub(super) fn new(kind: Kind, key: String, check_ok: Option<bool>) -> Self {
        Self { kind, carrier: kind.carrier(), key, check_ok, fields: Vec::new() }
    }

    /// Its URI (docs/contract.md, identifiers). `domain` is the operator's, for what GS1 does not number.
    #[must_use]
    pub fn uri(&self, domain: &str) -> String {
        uri::of(self, domain)
    }

    /// What it says of `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value.as_str())
    }
}

/// A number as keys are written: no spaces, upper case, at most [`MAX_KEY`] bytes.
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

/// Control characters go, and with them what turns or hides text on a screen.
pub(super) fn printable(bytes: &[u8]) -> String {
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
    let number = normalised(&payload.replace(GS, SHOWN_GS));
    if number.starts_with(CONTROL) {
        return vec![Candidate::new(Kind::Control, number, None)];
    }
    let elements = elements(symbology, payload, &number);
    let mut candidates = gs1::candidates(&elements);
    if candidates.is_empty() {
        candidates = if symbology.is_some_and(Symbology::is_retail) {
            retail(&number).into_iter().collect()
        } else {
            carrier::candidates(&number)
        };
        // 20 digits from 00: an SSCC, unless the scanner says that there are no application identifiers.
        if let Some(at) = candidates.iter().position(|one| one.kind == Kind::Sscc) {
            let sscc = candidates.remove(at);
            let plain = symbology.is_some_and(|one| !one.is_gs1()) && sscc.key != number;
            candidates.insert(if plain { candidates.len() } else { 0 }, sscc);
        }
    }
    if candidates.is_empty() {
        candidates.push(Candidate::new(Kind::Unknown, number, None));
    }
    let fields = gs1::fields(&elements);
    for candidate in &mut candidates {
        candidate.fields.extend(fields.iter().cloned());
    }
    candidates
}

/// The elements of a label that has them: a Digital Link in any code, else where the scanner or a
/// separator says so, or an SSCC at the start of what is no number.
fn elements(symbology: Option<Symbology>, payload: &str, number: &str) -> Vec<Element> {
    let text: String = payload.chars().filter(|letter| !letter.is_whitespace()).collect();
    if let Some(elements) = gs1::link(&text) {
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
    let (elements, whole) = gs1::elements(&text);
    if announced || whole { elements } else { Vec::new() }
}

/// The product of a retail code: never a number of a carrier.
fn retail(number: &str) -> Option<Candidate> {
    let kind = match number.len() {
        _ if !number.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        8 => Kind::Gtin8,
        13 => Kind::Gtin13,
        _ => return None,
    };
    Some(Candidate::new(kind, number.to_owned(), Check::Gs1.of(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Code {
        Code::read(text.as_bytes()).unwrap()
    }

    fn kinds(text: &str) -> Vec<&'static str> {
        read(text).candidates.iter().map(|one| one.kind.name()).collect()
    }

    #[test]
    fn the_aim_identifier_decides_then_the_sscc_goes_first() {
        for (text, expected) in [
            ("00106141412345678908", &["sscc", "usps_20", "usps_legacy"][..]),
            ("]C100106141412345678908", &["sscc"]),
            ("]C000106141412345678908", &["usps_20", "usps_legacy", "sscc"]),
            // A wrong check digit changes nothing of that.
            ("00106141412345678909", &["sscc", "usps_20", "usps_legacy"]),
            ("]E09506000134352", &["gtin13"]),
            ("9506000134352", &["gs1_key"]),
            ("]E4ABCDEFGH", &["unknown"]),
            ("]E3950600013435201", &["unknown"]),
            ("]C11Z999AA10123456784", &["ups_1z"]),
            ("0039521234000000001442127680331", &["sscc"]),
            ("00395212340000000014421276é", &["unknown"]),
            // Its end could be an element, but it is a whole number of DPD's.
            ("008182709980000020103350276K", &["dpd_28"]),
            ("0081827099800000202103502760", &["dpd_28"]),
        ] {
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_manifest_knows_goes_before_what_is_likely() {
        let code = read("00106141412345678908");
        let known = |key: &'static str| code.known(move |candidate| candidate == key);
        assert_eq!(code.best().kind, Kind::Sscc);
        assert_eq!(known("00106141412345678908").map(|one| one.kind), Some(Kind::Usps20));
        assert_eq!(known("106141412345678908").map(|one| one.kind), Some(Kind::Sscc));
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
            assert_eq!(Code::read(bytes).unwrap().text, text);
        }
        for nothing in [&b""[..], b"\r\n", b"]C1", b"]C1\x1d", b" \x1d ", b"\xff\xfe", b"\x00\x07"]
        {
            assert_eq!(Code::read(nothing), None);
        }
    }

    #[test]
    fn what_nobody_knows_is_kept_by_its_text_and_bounded() {
        let code = read("pkg 0001/ä\x1dx");
        assert_eq!((code.best().kind, code.best().key.as_str()), (Kind::Unknown, "PKG0001/ä<GS>X"));
        let uri = "https://id.example.com/parcel/obj/PKG0001%2F%C3%A4%3CGS%3EX";
        assert_eq!(code.best().uri("id.example.com"), uri);
        let long = Code::read(&b"\xc3\xa4".repeat(10_000)).unwrap();
        assert_eq!(long.text.len(), MAX_SCAN);
        assert_eq!(long.best().key.len(), MAX_KEY);
    }
}
