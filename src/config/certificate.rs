//! Extracts the common name of the subject from an X.509 certificate in DER (RFC 5280 §4.1).
//!
//! The certificate is the van's own and is not validated here; rustls and the broker do that. Each
//! step consumes at least one byte, so that parsing ends on any input.

/// Reason why there is no usable common name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCommonName {
    #[error("is not an X.509 certificate")]
    Malformed,
    #[error("has no common name in its subject")]
    None,
    #[error("has several common names in its subject")]
    Several,
    #[error("has a common name that is not UTF-8")]
    NotUtf8,
}

// Tags at the beginning of a certificate, ITU-T X.690 §8.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
/// `[0] EXPLICIT`: the version, absent in version 1.
const VERSION: u8 = 0xa0;
/// `UTF8String`, `PrintableString`, `TeletexString`, `IA5String`.
const STRING_TAGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Returns the only common name of the subject.
pub(super) fn common_name(der: &[u8]) -> Result<String, NoCommonName> {
    let subject = subject(der).ok_or(NoCommonName::Malformed)?;
    let mut names = common_names(subject).ok_or(NoCommonName::Malformed)?;
    let name = names.pop().ok_or(NoCommonName::None)?;
    if !names.is_empty() {
        return Err(NoCommonName::Several);
    }
    String::from_utf8(name.to_vec()).map_err(|_| NoCommonName::NotUtf8)
}

fn subject(der: &[u8]) -> Option<&[u8]> {
    let mut to_be_signed =
        DerIter(DerIter(DerIter(der).next_tagged(SEQUENCE)?).next_tagged(SEQUENCE)?);
    if to_be_signed.0.first() == Some(&VERSION) {
        to_be_signed.next()?;
    }
    to_be_signed.next_tagged(INTEGER)?;
    let [_algorithm, _issuer, _validity, subject] =
        [(); 4].map(|()| to_be_signed.next_tagged(SEQUENCE));
    subject
}

/// Collects the common names of a `Name`, a sequence of sets of (type, value).
fn common_names(name: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut sets, mut found) = (DerIter(name), Vec::new());
    while !sets.0.is_empty() {
        let mut set = DerIter(sets.next_tagged(SET)?);
        while !set.0.is_empty() {
            let mut attribute = DerIter(set.next_tagged(SEQUENCE)?);
            let (kind, (tag, value)) = (attribute.next_tagged(OID)?, attribute.next()?);
            if kind == COMMON_NAME {
                found.push(Some(value).filter(|_| STRING_TAGS.contains(&tag))?);
            }
        }
    }
    Some(found)
}

/// Iterator over the rest of a sequence of DER elements.
struct DerIter<'a>(&'a [u8]);

impl<'a> DerIter<'a> {
    /// Returns tag and content of the next element, if it is complete.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(length);
        if length >= 0x80 {
            // Long form: the number of length bytes that follow. Certificates need at most three.
            let bytes =
                rest.split_at_checked(length - 0x80).filter(|(bytes, _)| bytes.len() <= 3)?;
            length = bytes.0.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = bytes.1;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Returns the content of the next element if it has this tag.
    fn next_tagged(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn text(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn the_common_name_is_found_among_the_other_parts_of_the_subject() {
        let long = "V".repeat(200);
        let printable = DnValue::PrintableString("VAN-043".try_into().unwrap());
        for (names, expected) in [
            (vec![(DnType::CommonName, text("VAN-042"))], Ok("VAN-042")),
            (vec![(DnType::CommonName, printable)], Ok("VAN-043")),
            (vec![(DnType::CommonName, text(&long))], Ok(long.as_str())),
            (
                vec![
                    (DnType::CountryName, text("DE")),
                    (DnType::OrganizationName, text("Fleet")),
                    (DnType::CommonName, text("VAN-044")),
                    (DnType::OrganizationalUnitName, text("South")),
                ],
                Ok("VAN-044"),
            ),
            (vec![(DnType::OrganizationName, text("Fleet"))], Err(NoCommonName::None)),
            (vec![], Err(NoCommonName::None)),
        ] {
            let found = common_name(&certificate(&names));
            assert_eq!(found, expected.map(str::to_owned), "{names:?}");
        }
    }

    #[test]
    fn the_issuers_name_is_not_taken_for_the_vans() {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "fleet");
        let issuer = rcgen::Issuer::new(authority, KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "VAN-042");
        let signed = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        assert_eq!(common_name(signed.der()), Ok("VAN-042".to_owned()));
    }

    #[test]
    fn a_name_that_is_there_twice_or_is_no_text_is_no_name() {
        let attribute = |value: &[u8]| {
            let length = u8::try_from(value.len()).unwrap();
            [&[SEQUENCE, length + 7, OID, 3][..], COMMON_NAME, &[0x0c, length], value].concat()
        };
        let set = |content: &[u8]| [&[SET, u8::try_from(content.len()).unwrap()], content].concat();
        let certificate = |name: &[u8]| {
            let sequence = |content: &[u8]| {
                [&[SEQUENCE, u8::try_from(content.len()).unwrap()], content].concat()
            };
            let before = [&[INTEGER, 1, 1][..], &[SEQUENCE, 0].repeat(3)].concat();
            sequence(&sequence(&[before, sequence(name)].concat()))
        };
        let one = set(&attribute(b"V"));
        assert_eq!(common_name(&certificate(&one)), Ok("V".to_owned()));
        let both = [attribute(b"V"), attribute(b"W")].concat();
        for twice in [one.repeat(2), set(&both)] {
            assert_eq!(common_name(&certificate(&twice)), Err(NoCommonName::Several));
        }
        let latin = certificate(&set(&attribute(b"\xfc")));
        assert_eq!(common_name(&latin), Err(NoCommonName::NotUtf8));
    }

    #[test]
    fn what_is_cut_or_changed_anywhere_does_no_harm() {
        let whole = certificate(&[(DnType::CommonName, text("VAN-042"))]);
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), Err(NoCommonName::Malformed));
        }
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let _ = common_name(&changed);
            }
        }
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 255, 255, 255, 255], &[0x30, 0x80], &[0; 64]]
        {
            assert_eq!(common_name(bytes), Err(NoCommonName::Malformed));
        }
    }
}
