//! Identifies carrier numbers, and GS1 numbers without application identifiers, by their format.
//!
//! Formats of digits alone are ambiguous. Each format that matches yields a candidate, in the order
//! of the table.

use std::ops::Range;

use super::check_digit::Check;
use super::code::{Candidate, CodeKind, Field};

/// Format of a number. Ranges are in characters and are clipped to its length.
struct NumberFormat {
    kind: CodeKind,
    /// Space-separated parts: `d` digits, `a` letters, `x` either, each with a count or a range of
    /// counts; `[…]` one of these characters; anything else is literal.
    pattern: &'static str,
    check: Check,
    /// Part that the check digit covers, with the check digit last.
    checked: Range<usize>,
    /// Part that the manifest uses as key.
    key: Range<usize>,
    /// Other named parts.
    fields: &'static [(&'static str, Range<usize>)],
}

/// The whole number.
const ALL: Range<usize> = 0..usize::MAX;

const fn number_format(kind: CodeKind, pattern: &'static str, check: Check) -> NumberFormat {
    NumberFormat { kind, pattern, check, checked: ALL, key: ALL, fields: &[] }
}

/// USPS format. If `fields` is not empty, its first part is a ZIP code that precedes the number.
const fn impb(
    pattern: &'static str,
    fields: &'static [(&'static str, Range<usize>)],
) -> NumberFormat {
    let key = match fields {
        [(_, zip), ..] => zip.end..usize::MAX,
        [] => ALL,
    };
    let checked = key.start..usize::MAX;
    NumberFormat { checked, key, fields, ..number_format(CodeKind::UspsImpb, pattern, Check::Gs1) }
}

/// DPD's 27 characters, starting at `start`. The printed line adds a check character.
const fn dpd(pattern: &'static str, start: usize, check: Check) -> NumberFormat {
    let fields: &[(&str, Range<usize>)] = if start == 0 {
        &[("ship_to_post", 0..7), ("service", 21..24), ("ship_to_country", 24..27)]
    } else {
        &[("ship_to_post", 1..8), ("service", 22..25), ("ship_to_country", 25..28)]
    };
    NumberFormat {
        key: start + 7..start + 21,
        fields,
        ..number_format(CodeKind::Dpd28, pattern, check)
    }
}

/// Known formats, more likely ones first.
const NUMBER_FORMATS: &[NumberFormat] = &[
    NumberFormat {
        checked: 2..18,
        fields: &[("shipper", 2..8), ("service", 8..10)],
        ..number_format(CodeKind::Ups1z, "1Z x15 d1", Check::Ups)
    },
    NumberFormat {
        checked: 2..11,
        fields: &[("service", 0..2), ("origin_country", 11..13)],
        ..number_format(CodeKind::UpuS10, "a2 d9 a2", Check::S10)
    },
    number_format(CodeKind::AmazonTba, "TB [ACM] d12", Check::None),
    number_format(CodeKind::AmazonInternational, "C d10", Check::None),
    number_format(CodeKind::Ontrac, "C d14", Check::None),
    number_format(CodeKind::Yodel, "JJD d16", Check::None),
    number_format(CodeKind::Yodel, "JD d16", Check::None),
    number_format(CodeKind::DhlPieceId, "JJD d10-20", Check::None),
    number_format(CodeKind::DhlPieceId, "JD d18", Check::None),
    number_format(CodeKind::DhlParcel, "JVGL d10-20", Check::None),
    number_format(CodeKind::DhlPieceId, "JVGL d10-20", Check::None),
    number_format(CodeKind::DhlParcel, "3S x11-17", Check::None),
    number_format(CodeKind::DhlEcommerce, "GM x16-20", Check::None),
    number_format(CodeKind::Gofo, "GFUS d14", Check::None),
    number_format(CodeKind::Lasership, "L a1 d8", Check::None),
    number_format(CodeKind::Canpar, "[DLS] d21", Check::None),
    dpd("x7 d20 x1", 0, Check::Mod37),
    dpd("x7 d20", 0, Check::None),
    dpd("% x7 d20", 1, Check::None),
    impb("9 [12345] d20", &[]),
    impb("9 [12345] d24", &[]),
    impb("420 d5 9 [12345] d20", &[("ship_to_post", 3..8)]),
    impb("420 d9 9 [12345] d20", &[("ship_to_post", 3..12)]),
    impb("420 d5 9 [12345] d24", &[("ship_to_post", 3..8)]),
    impb("420 d9 9 [12345] d24", &[("ship_to_post", 3..12)]),
    NumberFormat { checked: 7..22, ..number_format(CodeKind::FedexGround96, "96 d20", Check::Gs1) },
    NumberFormat {
        checked: 7..22,
        key: 7..22,
        ..number_format(CodeKind::FedexGround, "96 d20", Check::Gs1)
    },
    NumberFormat {
        checked: 20..34,
        key: 22..34,
        ..number_format(CodeKind::Fedex34, "1 d33", Check::Fedex34)
    },
    number_format(CodeKind::Gs1Key, "d8", Check::Gs1),
    number_format(CodeKind::DhlExpress, "d10-11", Check::Mod7),
    number_format(CodeKind::Fedex12, "d12", Check::Fedex12),
    number_format(CodeKind::Gs1Key, "d12-14", Check::Gs1),
    number_format(CodeKind::Purolator, "d12", Check::None),
    number_format(CodeKind::Dpd14, "d14", Check::None),
    number_format(CodeKind::FedexGround, "d15", Check::Gs1),
    NumberFormat { key: 0..14, ..number_format(CodeKind::Dpd14, "d14 x1", Check::Mod37) },
    number_format(CodeKind::CanadaPost, "d16", Check::Gs1),
    number_format(CodeKind::Sscc, "d18", Check::Gs1),
    number_format(CodeKind::FedexGroundSscc, "00 d16", Check::Gs1),
    NumberFormat {
        key: 2..20,
        fields: &[("00", 2..20)],
        ..number_format(CodeKind::Sscc, "00 d18", Check::Gs1)
    },
    number_format(CodeKind::Usps20, "d20", Check::Gs1),
    number_format(CodeKind::UspsLegacy, "d20", Check::Gs1After91),
];

/// Candidates for a normalised `number`: correct check digits first, then formats without a check
/// digit.
pub(super) fn candidates(number: &str) -> Vec<Candidate> {
    let fitting = NUMBER_FORMATS.iter().filter(|shape| matches_pattern(shape.pattern, number));
    let mut candidates: Vec<Candidate> = fitting.map(|shape| shape.candidate(number)).collect();
    candidates.sort_by_key(|candidate| match candidate.check_ok {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    });
    candidates
}

impl NumberFormat {
    fn candidate(&self, number: &str) -> Candidate {
        let part = |range: &Range<usize>| &number[range.start..range.end.min(number.len())];
        let field = |(name, range): &(&str, Range<usize>)| Field::new(name, part(range));
        let check_ok = self.check.verify(part(&self.checked));
        let candidate = Candidate::new(self.kind, part(&self.key).to_owned(), check_ok);
        Candidate { fields: self.fields.iter().map(field).collect(), ..candidate }
    }
}

fn matches_pattern(pattern: &str, number: &str) -> bool {
    let mut rest = number.as_bytes();
    for part in pattern.split(' ') {
        let after = match part.as_bytes() {
            [b'[', set @ .., b']'] => match rest {
                [first, after @ ..] if set.contains(first) => Some(after),
                _ => None,
            },
            [b'd', ..] => match_run(&part[1..], rest, u8::is_ascii_digit),
            [b'a', ..] => match_run(&part[1..], rest, u8::is_ascii_uppercase),
            [b'x', ..] => {
                match_run(&part[1..], rest, |one| one.is_ascii_digit() || one.is_ascii_uppercase())
            }
            itself => rest.strip_prefix(itself),
        };
        let Some(after) = after else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// Skips as many characters of `class` as possible. Returns the rest if `counts` allows their
/// number.
fn match_run<'a>(counts: &str, text: &'a [u8], class: impl Fn(&u8) -> bool) -> Option<&'a [u8]> {
    let (least, most) = counts.split_once('-').unwrap_or((counts, counts));
    let (least, most): (usize, usize) = (least.parse().ok()?, most.parse().ok()?);
    let count = text.iter().take(most).take_while(|one| class(one)).count();
    (count >= least).then(|| &text[count..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(number: &str) -> Vec<(&'static str, String, Option<bool>)> {
        let said = |one: &Candidate| (one.kind.as_str(), one.key.clone(), one.check_ok);
        candidates(number).iter().map(said).collect()
    }

    /// The shortest number that matches a pattern.
    fn example(pattern: &str) -> String {
        let part = |part: &str| match part.as_bytes() {
            [b'[', first, ..] => char::from(*first).to_string(),
            [class @ (b'd' | b'a' | b'x'), ..] => {
                let least = part[1..].split('-').next().unwrap().parse().unwrap();
                (if *class == b'd' { "0" } else { "K" }).repeat(least)
            }
            _ => part.to_owned(),
        };
        pattern.split(' ').map(part).collect()
    }

    #[test]
    fn every_shape_of_the_table_has_numbers_and_its_parts_are_in_them() {
        for shape in NUMBER_FORMATS {
            let number = example(shape.pattern);
            let named = candidates(&number);
            let this = named.iter().find(|one| **one == shape.candidate(&number));
            assert!(this.is_some_and(|one| !one.key.is_empty()), "{}", shape.pattern);
            assert!(!matches_pattern(shape.pattern, &format!("{number}-")), "{}", shape.pattern);
            assert!(!matches_pattern(shape.pattern, &number[1..]), "{}", shape.pattern);
        }
    }

    #[test]
    fn the_check_digit_decides_between_numbers_of_one_shape() {
        for (number, expected) in [
            ("416000336108", &["gs1_key", "purolator_numeric", "fedex_12"][..]),
            ("012345678983", &["fedex_12", "purolator_numeric", "gs1_key"]),
            ("320595463938", &["purolator_numeric", "fedex_12", "gs1_key"]),
            ("041441760228964", &["fedex_ground", "dpd_14"]),
            ("71969010756003077385", &["usps_legacy", "usps_20"]),
            ("03071790000523483741", &["usps_20", "usps_legacy"]),
            ("JJD0002257639032011", &["yodel", "dhl_piece_id"]),
        ] {
            let names: Vec<&str> = kinds(number).iter().map(|(name, ..)| *name).collect();
            assert_eq!(names, expected, "{number}");
        }
    }

    #[test]
    fn what_only_looks_like_a_number_is_none() {
        for number in [
            "",
            "TBB000000000000",
            "TBA50288727400A",
            "D1234567890",
            "M576002440000002510003",
            "XJD0099999998",
            "GS295117494011169041",
            "GFUS0101188421446",
            "JC0002254405060992",
            "2Z5R89390357567127",
            "2334611306206407667222",
            "1Z999AA1012345678A",
            "RR473124829G€",
            "1z999aa10123456784",
        ] {
            assert_eq!(kinds(number), [], "{number}");
        }
    }

    #[test]
    fn a_zip_code_before_the_number_is_split_off_where_the_number_fits() {
        let one = |key: &str| vec![("usps_impb", key.to_owned(), Some(true))];
        let nine = "4201002334249200190132607600833457";
        assert_eq!(kinds(nine), one("9200190132607600833457"));
        assert_eq!(candidates(nine)[0].fields, [Field::new("ship_to_post", "100233424")]);
        let five = "420787459400111206206406260787";
        assert_eq!(kinds(five), one("9400111206206406260787"));
        assert_eq!(candidates(five)[0].fields, [Field::new("ship_to_post", "78745")]);
    }

    #[test]
    fn the_bar_code_of_dpd_and_its_printed_line_name_one_parcel() {
        let printed = kinds("008182709980000020033350276C");
        assert_eq!(printed, [("dpd_28", "09980000020033".to_owned(), Some(true))]);
        let scanned = kinds("%008182709980000020033350276");
        assert_eq!(scanned, [("dpd_28", "09980000020033".to_owned(), None)]);
        let fields = |number| candidates(number).swap_remove(0).fields;
        assert_eq!(fields("%008182709980000020033350276"), fields("008182709980000020033350276C"));
    }
}
