//! Memory of a radio tag in hexadecimal → [`Candidate`] (GS1 EPC Tag Data Standard 2.0).
//!
//! Tag and bar code of one parcel give one key. A tag that says nothing that we understand is its own key.

use super::check::{Check, gs1};
use super::code::{Candidate, Field, Kind};

/// The shortest memory of a tag, in bytes.
const SHORTEST: usize = 8;

/// The longest (§15.1: 496 bits), in bytes.
const LONGEST: usize = 62;

/// What a tag says; `None` if `hex` is not the memory of one, which is 8 to 62 bytes in words of 16 bits.
///
/// Case does not matter, and groups may stand apart by spaces, `-`, `:` or `_`.
#[must_use]
pub fn tag(hex: &str) -> Option<Candidate> {
    let digits = hex.bytes().filter(|byte| !b" -:_\t".contains(byte));
    // One more than there may be, so that what is longer is seen to be.
    let digits: Vec<u8> =
        digits.take(2 * LONGEST + 1).map(|byte| byte.to_ascii_uppercase()).collect();
    let bytes = memory(&digits)?;
    let understood = match bytes[0] {
        0x30 => sgtin_96(&bytes),
        0x31 => sscc_96(&bytes),
        0xF9 => sscc_plus(&bytes),
        _ => None,
    };
    Some(understood.unwrap_or_else(|| {
        let key = digits.iter().copied().map(char::from).collect();
        Candidate::new(Kind::Rfid, key, None)
    }))
}

fn memory(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (words, []) = digits.as_chunks::<4>() else { return None };
    let (pairs, _) = words.as_flattened().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect();
    bytes.filter(|bytes| (SHORTEST..=LONGEST).contains(&bytes.len()))
}

/// The number of `length` bits from bit `at` on; the first is the most significant one of the first byte.
fn bits(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bit = |index: usize| Some(u64::from(bytes.get(index / 8)? >> (7 - index % 8) & 1));
    (at..at + length).try_fold(0, |number, index| Some(number << 1 | bit(index)?))
}

/// Bits and digits of the company prefix by partition (tables 14-3 and 14-6); the reference has the rest.
const PREFIX: [(usize, usize); 7] =
    [(40, 12), (37, 11), (34, 10), (30, 9), (27, 8), (24, 7), (20, 6)];

/// Company prefix and reference as digits, where they have `bits` and `digits` together.
fn partitioned(bytes: &[u8], both: (usize, usize)) -> Option<(String, String)> {
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

/// The first digit of the reference stands before the company prefix, and the check digit comes last.
fn key(prefix: &str, reference: &str) -> Option<String> {
    let (first, rest) = reference.split_at_checked(1)?;
    let body = format!("{first}{prefix}{rest}");
    let digits: Option<Vec<u32>> = body.chars().map(|one| one.to_digit(10)).collect();
    Some(format!("{body}{}", gs1(&digits?)))
}

/// §14.6.2.
fn sscc_96(bytes: &[u8]) -> Option<Candidate> {
    let (prefix, reference) = partitioned(bytes, (58, 17))?;
    let mut sscc = Candidate::new(Kind::Sscc, key(&prefix, &reference)?, None);
    sscc.fields = vec![
        Field::new("scheme", "sscc-96"),
        Field::new("urn", &format!("urn:epc:id:sscc:{prefix}.{reference}")),
    ];
    Some(sscc)
}

/// §14.6.1.
fn sgtin_96(bytes: &[u8]) -> Option<Candidate> {
    let (prefix, reference) = partitioned(bytes, (44, 13))?;
    let serial = bits(bytes, 58, 38)?;
    let item = key(&prefix, &reference)?;
    let mut sgtin = Candidate::new(Kind::Sgtin, format!("{item}{serial}"), None);
    sgtin.fields = vec![
        Field::new("scheme", "sgtin-96"),
        Field::new("urn", &format!("urn:epc:id:sgtin:{prefix}.{reference}.{serial}")),
    ];
    Some(sgtin)
}

/// §14.6.2.3: a toggle, three bits of filter, 18 digits of four bits.
fn sscc_plus(bytes: &[u8]) -> Option<Candidate> {
    let digit =
        |index: usize| char::from_digit(u32::try_from(bits(bytes, 12 + 4 * index, 4)?).ok()?, 10);
    let key: Option<String> = (0..18).map(digit).collect();
    let mut sscc = Candidate::new(Kind::Sscc, key?, None);
    sscc.check_ok = Check::Gs1.of(&sscc.key);
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
            // Longer memory, read to its end.
            ("3174257BF4499602D20000000000", sscc),
            ("3074257BF7194E4000001A85", sgtin),
        ] {
            let tag = tag(hex).unwrap();
            let said = (tag.kind.name(), tag.key.as_str(), tag.uri("id.example.com"));
            assert_eq!(said, (expected.0, expected.1, expected.2.to_owned()), "{hex}");
        }
        assert_eq!(tag("317A7202CC164BA20B000000").unwrap().key, "564103519136629878");
    }

    #[test]
    fn a_tag_of_no_known_scheme_or_with_a_broken_one_is_its_own_key() {
        for hex in [
            "E2801160600002086B5A1B3C",
            // Partition 7, a prefix of too many digits, a digit above nine, an EPC cut off.
            "317C257BF4499602D2000000",
            "3175FFFFFFFFFFFFFFFFFFFF",
            "F90A06141412345678908000",
            "3074257BF7194E40",
            "0000000000000000",
        ] {
            let tag = tag(&hex.to_lowercase()).unwrap();
            assert_eq!((tag.kind, tag.key.as_str(), tag.check_ok), (Kind::Rfid, hex, None));
            assert_eq!(tag.uri("x.org"), format!("https://x.org/rfid/obj/{hex}"));
        }
    }

    #[test]
    fn what_is_no_memory_of_a_tag_is_no_tag() {
        // A frame with half a word more; a group; too long; not hexadecimal.
        let frame = "400180013E00330E34243174257BF4499602D2000000EC1500";
        for hex in
            ["", frame, "3174", "3174257BF4499602D200000", "VANCTL:DAMAGED00", "31742é57BF44996"]
        {
            assert_eq!(tag(hex), None, "{hex}");
        }
        assert!(tag(&"AB".repeat(62)).is_some());
        assert_eq!(tag(&"AB".repeat(64)), None);
        assert_eq!(tag(&"AB".repeat(1 << 20)), None);
    }
}
