//! Decodes the memory of an RFID tag in hexadecimal (GS1 EPC Tag Data Standard 2.0).
//!
//! Tag and bar code of one parcel have the same key. The key of a tag with an unknown scheme is its
//! memory.

use super::check_digit::{Check, gs1};
use super::code::{Candidate, CodeKind, Field};

/// Minimum tag memory in bytes.
const MIN_BYTES: usize = 8;

/// Maximum tag memory in bytes (§15.1: 496 bits).
const MAX_BYTES: usize = 62;

/// Decodes tag memory. Returns `None` unless `hex` is 8 to 62 bytes in words of 16 bits.
///
/// Case is ignored. Spaces, `-`, `:` and `_` may separate groups.
#[must_use]
pub fn parse_tag(hex: &str) -> Option<Candidate> {
    let digits = hex.bytes().filter(|byte| !b" -:_\t".contains(byte));
    // One digit more than the maximum, so that longer input is detected.
    let digits: Vec<u8> =
        digits.take(2 * MAX_BYTES + 1).map(|byte| byte.to_ascii_uppercase()).collect();
    let bytes = parse_memory(&digits)?;
    let understood = match bytes[0] {
        0x30 => sgtin_96(&bytes),
        0x31 => sscc_96(&bytes),
        0xF9 => sscc_plus(&bytes),
        _ => None,
    };
    Some(understood.unwrap_or_else(|| {
        let key = digits.iter().copied().map(char::from).collect();
        Candidate::new(CodeKind::Rfid, key, None)
    }))
}

fn parse_memory(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (words, []) = digits.as_chunks::<4>() else { return None };
    let (pairs, _) = words.as_flattened().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect();
    bytes.filter(|bytes| (MIN_BYTES..=MAX_BYTES).contains(&bytes.len()))
}

/// Reads `length` bits from bit `at`, most significant bit first.
fn bits(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bit = |index: usize| Some(u64::from(bytes.get(index / 8)? >> (7 - index % 8) & 1));
    (at..at + length).try_fold(0, |number, index| Some(number << 1 | bit(index)?))
}

/// Bits and digits of the company prefix by partition (tables 14-3 and 14-6). The reference has the
/// remainder.
const PREFIX: [(usize, usize); 7] =
    [(40, 12), (37, 11), (34, 10), (30, 9), (27, 8), (24, 7), (20, 6)];

/// Company prefix and reference as digits, given the bits and digits of both together.
fn split_partition(bytes: &[u8], both: (usize, usize)) -> Option<(String, String)> {
    let partition = usize::try_from(bits(bytes, 11, 3)?).ok()?;
    let (length, digits) = *PREFIX.get(partition)?;
    let number = |at, length, digits| {
        let text = format!("{:0digits$}", bits(bytes, at, length)?);
        (text.len() == digits).then_some(text)
    };
    let prefix = number(14, length, digits)?;
    let reference = number(14 + length, both.0 - length, both.1 - digits)?;
    Some((prefix, reference))
}

/// Builds the key: first digit of the reference, company prefix, rest of the reference, check
/// digit.
fn gs1_key(prefix: &str, reference: &str) -> Option<String> {
    let (first, rest) = reference.split_at_checked(1)?;
    let body = format!("{first}{prefix}{rest}");
    let digits: Option<Vec<u32>> = body.chars().map(|one| one.to_digit(10)).collect();
    Some(format!("{body}{}", gs1(&digits?)))
}

/// SSCC-96 (§14.6.2).
fn sscc_96(bytes: &[u8]) -> Option<Candidate> {
    let (prefix, reference) = split_partition(bytes, (58, 17))?;
    let mut sscc = Candidate::new(CodeKind::Sscc, gs1_key(&prefix, &reference)?, None);
    sscc.fields = vec![
        Field::new("scheme", "sscc-96"),
        Field::new("urn", &format!("urn:epc:id:sscc:{prefix}.{reference}")),
    ];
    Some(sscc)
}

/// SGTIN-96 (§14.6.1).
fn sgtin_96(bytes: &[u8]) -> Option<Candidate> {
    let (prefix, reference) = split_partition(bytes, (44, 13))?;
    let serial = bits(bytes, 58, 38)?;
    let item = gs1_key(&prefix, &reference)?;
    let mut sgtin = Candidate::new(CodeKind::Sgtin, format!("{item}{serial}"), None);
    sgtin.fields = vec![
        Field::new("scheme", "sgtin-96"),
        Field::new("urn", &format!("urn:epc:id:sgtin:{prefix}.{reference}.{serial}")),
    ];
    Some(sgtin)
}

/// SSCC+ (§14.6.2.3): a toggle bit, three filter bits, 18 digits of four bits.
fn sscc_plus(bytes: &[u8]) -> Option<Candidate> {
    let digit =
        |index: usize| char::from_digit(u32::try_from(bits(bytes, 12 + 4 * index, 4)?).ok()?, 10);
    let key: Option<String> = (0..18).map(digit).collect();
    let mut sscc = Candidate::new(CodeKind::Sscc, key?, None);
    sscc.check_ok = Check::Gs1.verify(&sscc.key);
    sscc.fields = vec![Field::new("scheme", "sscc+")];
    Some(sscc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_the_key_of_the_bar_code() {
        let sscc = ("sscc", "106141412345678908", "https://id.gs1.org/00/106141412345678908");
        let sgtin = ("sgtin", "806141411234586789", "https://id.gs1.org/01/80614141123458/21/6789");
        for (hex, expected) in [
            ("3174257BF4499602D2000000", sscc),
            ("3174 257b f449 9602 d200 0000", sscc),
            ("31-74:25_7BF4499602D2000000", sscc),
            ("F90106141412345678908000", sscc),
            // Longer memory, whose trailing bytes are ignored.
            ("3174257BF4499602D20000000000", sscc),
            ("3074257BF7194E4000001A85", sgtin),
        ] {
            let tag = parse_tag(hex).unwrap();
            let said = (tag.kind.as_str(), tag.key.as_str(), tag.uri("id.example.com"));
            assert_eq!(said, (expected.0, expected.1, expected.2.to_owned()), "{hex}");
        }
        assert_eq!(parse_tag("317A7202CC164BA20B000000").unwrap().key, "564103519136629878");
    }

    #[test]
    fn a_tag_of_no_known_scheme_or_with_a_broken_one_is_its_own_key() {
        for hex in [
            "E2801160600002086B5A1B3C",
            // Partition 7, a prefix with too many digits, a digit above nine, a truncated EPC.
            "317C257BF4499602D2000000",
            "3175FFFFFFFFFFFFFFFFFFFF",
            "F90A06141412345678908000",
            "3074257BF7194E40",
            "0000000000000000",
        ] {
            let tag = parse_tag(&hex.to_lowercase()).unwrap();
            assert_eq!((tag.kind, tag.key.as_str(), tag.check_ok), (CodeKind::Rfid, hex, None));
            assert_eq!(tag.uri("x.org"), format!("https://x.org/rfid/obj/{hex}"));
        }
    }

    #[test]
    fn what_is_no_memory_of_a_tag_is_no_tag() {
        // A reader frame with half a word too many, a single group, too long, not hexadecimal.
        let frame = "400180013E00330E34243174257BF4499602D2000000EC1500";
        for hex in
            ["", frame, "3174", "3174257BF4499602D200000", "VANCTL:DAMAGED00", "31742é57BF44996"]
        {
            assert_eq!(parse_tag(hex), None, "{hex}");
        }
        assert!(parse_tag(&"AB".repeat(62)).is_some());
        assert_eq!(parse_tag(&"AB".repeat(64)), None);
        assert_eq!(parse_tag(&"AB".repeat(1 << 20)), None);
    }
}
