//! [`Candidate`] → URI: a GS1 Digital Link where GS1 numbers, else `…/obj/…` in the operator's domain (CBV 2.0 §8.2.3).

use std::fmt::Write as _;

use super::code::{Candidate, Kind};

pub(super) fn of(candidate: &Candidate, domain: &str) -> String {
    let key = candidate.key.as_str();
    let gs1 = |ai: &str| format!("https://id.gs1.org/{ai}/{}", segment(key));
    match candidate.kind {
        Kind::Sscc | Kind::FedexGroundSscc => gs1("00"),
        Kind::Gtin8 | Kind::Gtin13 | Kind::Gtin14 | Kind::Gs1Key => {
            format!("https://id.gs1.org/01/{:0>14}", segment(key))
        }
        Kind::Sgtin => match key.split_at_checked(14) {
            Some((item, serial)) => {
                format!("https://id.gs1.org/01/{}/21/{}", segment(item), segment(serial))
            }
            None => gs1("01"),
        },
        Kind::Ginc => gs1("401"),
        Kind::Gsin => gs1("402"),
        Kind::Grai => gs1("8003"),
        Kind::Giai => gs1("8004"),
        Kind::Gln => gs1("414"),
        Kind::Rfid => format!("https://{domain}/rfid/obj/{}", segment(key)),
        _ => match candidate.carrier {
            Some(carrier) => {
                format!("https://{domain}/carrier/{}/obj/{}", carrier.name(), segment(key))
            }
            None => format!("https://{domain}/parcel/obj/{}", segment(key)),
        },
    }
}

/// As a segment of a path (RFC 3986 §3.3, `pchar`).
fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            write!(segment, "%{byte:02X}").expect("a string takes everything");
        }
    }
    segment
}
