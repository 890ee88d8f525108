//! Bytes of a scanner → [`Code`]: what they may mean, most likely first.
//!
//! The AIM identifier decides first, then an SSCC goes before the USPS number of the same digits, then the check digit.
//! Whatever the bytes are, what comes out is printable and bounded.

pub use super::aim::Symbology;
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
    /// The number itself as the manifest has it: no spaces, upper case, at most [`MAX_KEY`] bytes.
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
        let has_gs = payload.contains(GS);
        let payload = trimmed(payload);
        if payload.is_empty() {
            return None;
        }
        let candidates = candidates(symbology, payload, has_gs);
        Some(Self { symbology, candidates, text: payload.replace(GS, "<GS>") })
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
fn printable(bytes: &[u8]) -> String {
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

fn candidates(symbology: Option<Symbology>, payload: &str, has_gs: bool) -> Vec<Candidate> {
    let _ = (symbology, has_gs, gs1::elements(payload));
    let number = normalised(payload);
    if number.starts_with(CONTROL) {
        return vec![Candidate::new(Kind::Control, number, None)];
    }
    let mut candidates = carrier::candidates(&number);
    if candidates.is_empty() {
        candidates.push(Candidate::new(Kind::Unknown, number, None));
    }
    candidates
}
