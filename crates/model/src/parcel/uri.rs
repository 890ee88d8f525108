//! URIs of candidates: a GS1 Digital Link for GS1 numbers, otherwise `…/obj/…` in the operator's
//! domain (CBV 2.0 §8.2.3).

use std::fmt::Write as _;

use super::code::{Candidate, CodeKind};

pub(super) fn uri_for(candidate: &Candidate, domain: &str) -> String {
    let key = candidate.key.as_str();
    let gs1 = |ai: &str| format!("https://id.gs1.org/{ai}/{}", segment(key));
    match candidate.kind {
        CodeKind::Sscc | CodeKind::FedexGroundSscc => gs1("00"),
        CodeKind::Gtin8 | CodeKind::Gtin13 | CodeKind::Gtin14 | CodeKind::Gs1Key => {
            format!("https://id.gs1.org/01/{:0>14}", segment(key))
        }
        CodeKind::Sgtin => match key.split_at_checked(14) {
            Some((item, serial)) => {
                format!("https://id.gs1.org/01/{}/21/{}", segment(item), segment(serial))
            }
            None => gs1("01"),
        },
        CodeKind::Ginc => gs1("401"),
        CodeKind::Gsin => gs1("402"),
        CodeKind::Grai => gs1("8003"),
        CodeKind::Giai => gs1("8004"),
        CodeKind::Gln => gs1("414"),
        CodeKind::Rfid => format!("https://{domain}/rfid/obj/{}", segment(key)),
        _ => match candidate.carrier {
            Some(carrier) => {
                format!("https://{domain}/carrier/{}/obj/{}", carrier.as_str(), segment(key))
            }
            None => format!("https://{domain}/parcel/obj/{}", segment(key)),
        },
    }
}

/// Percent-encodes a path segment (RFC 3986 §3.3, `pchar`).
fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            write!(segment, "%{byte:02X}").expect("writing to a string succeeds");
        }
    }
    segment
}
