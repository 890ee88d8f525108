//! Generates parcel labels: numbers of several carriers with valid check digits, and the lines that
//! scanners send for them.
//!
//! For demonstration and tests. SSCCs use GS1's example prefix 952, and UPS numbers use the shipper
//! number of its samples. No two labels of a `LabelGenerator` are equal, because each number
//! contains the serial number.

use super::random::Random;

/// The printed label of a parcel, and its RFID tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The number as people type it; the key in the manifest.
    pub(super) key: String,
    pub(super) epc: String,
    /// Carrier of the number; `None` for an SSCC, which names no carrier.
    pub(super) carrier: Option<&'static str>,
    /// Line that a scanner sends for it, with the AIM identifier (ISO/IEC 15424).
    pub(super) line: String,
    /// The EPC of its RFID tag in hexadecimal, if the number can be encoded.
    pub(super) tag: Option<String>,
}

/// Number series of the carriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Series {
    Sscc,
    Ups,
    Upu,
    Usps,
    Fedex,
    DhlExpress,
    DhlPiece,
    Dpd,
    Amazon,
}

/// Relative frequency of each series.
const SERIES_MIX: [Series; 12] = [
    Series::Sscc,
    Series::Sscc,
    Series::Sscc,
    Series::Ups,
    Series::Ups,
    Series::Upu,
    Series::Usps,
    Series::Fedex,
    Series::DhlExpress,
    Series::DhlPiece,
    Series::Dpd,
    Series::Amazon,
];

/// FNC1 as sent by scanners after an element of variable length (GS1 General Specifications
/// §7.8.4).
const GS: char = '\u{1d}';

/// GS1 company prefix of the SSCCs.
const COMPANY_PREFIX: u64 = 9_521_234;

/// Generates labels with serial numbers, from 1 for the first van.
#[derive(Debug, Default)]
pub(super) struct LabelGenerator {
    serial: u64,
}

impl LabelGenerator {
    /// Size of the serial number range of each van.
    const SERIALS_PER_VAN: u64 = 9_000;

    /// Starts the range of one van of a fleet, 1..=999.
    pub(super) const fn for_van(van: u32) -> Self {
        Self { serial: (van as u64).saturating_sub(1) * Self::SERIALS_PER_VAN }
    }

    /// Returns a label of a random carrier.
    pub(super) fn next_any(&mut self, random: &mut Random) -> Label {
        self.next_in_series(SERIES_MIX[random.index(SERIES_MIX.len())])
    }

    /// Returns a label that can have an RFID tag.
    pub(super) fn next_tagged(&mut self) -> Label {
        self.next_in_series(Series::Sscc)
    }

    /// Returns a label whose number cannot be mistaken for another carrier's.
    pub(super) fn next_unlisted(&mut self) -> Label {
        self.next_in_series(Series::Ups)
    }

    fn next_in_series(&mut self, series: Series) -> Label {
        self.serial += 1;
        let serial = self.serial;
        match series {
            Series::Sscc => sscc(serial),
            Series::Ups => {
                let body = format!("999AA103{serial:07}");
                plain("ups", format!("1Z{body}{}", ups_check(&body)))
            }
            Series::Upu => {
                let body = format!("{:08}", 47_000_000 + serial);
                plain("upu", format!("CE{body}{}DE", s10_check(&body)))
            }
            Series::Usps => {
                let body = format!("92001901234567{serial:07}");
                let key = format!("{body}{}", gs1_check(&body));
                Label { line: format!("]C142012345{GS}{key}"), ..plain("usps", key) }
            }
            Series::Fedex => {
                let body = format!("{}", 79_900_000_000 + serial);
                plain("fedex", format!("{body}{}", fedex_check(&body)))
            }
            Series::DhlExpress => {
                let body = 331_000_000 + serial;
                plain("dhl", format!("{body}{}", body % 7))
            }
            Series::DhlPiece => plain("dhl", format!("JJD00{serial:08}")),
            Series::Dpd => {
                let key = format!("0998{serial:010}");
                Label { line: format!("]C0%0081827{key}327276"), ..plain("dpd", key) }
            }
            Series::Amazon => plain("amzl", format!("TBA502{serial:09}")),
        }
    }
}

/// Returns a label with the bare number in Code 128.
fn plain(carrier: &'static str, key: String) -> Label {
    let epc = format!("https://id.example.com/carrier/{carrier}/obj/{key}");
    Label { epc, carrier: Some(carrier), line: format!("]C0{key}"), tag: None, key }
}

/// AI 00 in GS1-128: extension digit 3, company prefix, serial reference, check digit.
fn sscc(serial: u64) -> Label {
    let reference = 3_000_000_000 + serial;
    let body = format!("3{COMPANY_PREFIX}{serial:09}");
    let key = format!("{body}{}", gs1_check(&body));
    Label {
        epc: format!("https://id.gs1.org/00/{key}"),
        carrier: None,
        line: format!("]C100{key}"),
        tag: Some(sscc_96(COMPANY_PREFIX, reference)),
        key,
    }
}

/// SSCC-96 (TDS 2.0 §14.6.2): header 0x31, filter 0, partition 5 (a company prefix of 7 digits, a
/// reference of 10).
fn sscc_96(company: u64, reference: u64) -> String {
    let bits = 0x31_u128 << 88 | 5 << 82 | u128::from(company) << 58 | u128::from(reference) << 24;
    format!("{bits:024X}")
}

fn digits(body: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    body.bytes().map(|byte| u32::from(byte - b'0'))
}

/// GS1 General Specifications §7.9: weights 3, 1, 3, … from the right.
fn gs1_check(body: &str) -> u32 {
    let weighted = digits(body).rev().zip([3, 1].into_iter().cycle());
    (10 - weighted.map(|(digit, weight)| digit * weight).sum::<u32>() % 10) % 10
}

/// UPU S10 §5: weighted sum modulo 11.
fn s10_check(body: &str) -> u32 {
    let sum: u32 =
        digits(body).zip([8, 6, 4, 2, 3, 5, 9, 7]).map(|(digit, weight)| digit * weight).sum();
    match 11 - sum % 11 {
        10 => 0,
        11 => 5,
        check => check,
    }
}

/// UPS: weights 1, 2, 1, … from the left, with A = 2, B = 3 and so on; only the last digit of a
/// value counts.
fn ups_check(body: &str) -> u32 {
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        letter => u32::from(letter - 3) % 10,
    };
    let weighted = body.bytes().zip([1, 2].into_iter().cycle());
    (10 - weighted.map(|(byte, weight)| value(byte) * weight).sum::<u32>() % 10) % 10
}

/// `FedEx`: weights 3, 1, 7, … from the left, modulo 11; only the last digit counts.
fn fedex_check(body: &str) -> u32 {
    let weighted = digits(body).zip([3, 1, 7].into_iter().cycle());
    weighted.map(|(digit, weight)| digit * weight).sum::<u32>() % 11 % 10
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Stream;

    #[test]
    fn check_digits_are_those_of_published_numbers() {
        type Row = (fn(&str) -> u32, &'static str, u32);
        let table: [Row; 11] = [
            (gs1_check, "10614141234567890", 8),
            (gs1_check, "39521234000000001", 4),
            (gs1_check, "926129011318541746851", 0),
            (s10_check, "47312482", 9),
            (s10_check, "12345678", 5),
            (s10_check, "00000000", 5),
            (s10_check, "00001010", 0),
            (ups_check, "999AA1012345678", 4),
            (ups_check, "5R8939035756712", 7),
            (fedex_check, "01234567898", 3),
            (fedex_check, "98657878885", 5),
        ];
        for (check, body, expected) in table {
            assert_eq!(check(body), expected, "{body}");
        }
    }

    #[test]
    fn a_tag_is_coded_as_in_gs1s_example() {
        // TDS gives 3174257BF4499602D2000000, with filter 3.
        assert_eq!(sscc_96(614_141, 1_234_567_890), "3114257BF4499602D2000000");
    }

    #[test]
    fn labels_differ_and_are_written_as_carriers_write_them() {
        let mut random = Random::new(1, Stream::Parcels);
        let mut issuer = LabelGenerator::default();
        let labels: Vec<Label> = (0..500).map(|_| issuer.next_any(&mut random)).collect();
        let keys: BTreeSet<&str> = labels.iter().map(|label| label.key.as_str()).collect();
        assert_eq!(keys.len(), labels.len());
        let lengths = [
            (None, 18),
            (Some("ups"), 18),
            (Some("upu"), 13),
            (Some("usps"), 22),
            (Some("fedex"), 12),
            (Some("dpd"), 14),
            (Some("amzl"), 15),
        ];
        for (carrier, length) in lengths {
            let mut of_carrier = labels.iter().filter(|label| label.carrier == carrier).peekable();
            assert!(of_carrier.peek().is_some(), "{carrier:?}");
            assert!(of_carrier.all(|label| label.key.len() == length), "{carrier:?}");
        }
        assert!(labels.iter().all(|label| label.line.contains(&label.key)));
        assert!(labels.iter().all(|label| label.tag.is_some() == label.carrier.is_none()));
    }
}
