//! A number → what its shape says: carriers' numbers, and GS1's without application identifiers.
//!
//! Shapes of digits alone are ambiguous: every shape that fits gives a candidate, in the order of the table.

use std::ops::Range;

use super::check::Check;
use super::code::{Candidate, Field, Kind};

/// A shape of numbers. Ranges are in characters, and end where the number ends.
struct Shape {
    kind: Kind,
    /// Parts between spaces: `d` digits, `a` letters, `x` either, with their number or a range of it; `[…]` one of
    /// these; anything else is itself.
    pattern: &'static str,
    check: Check,
    /// What the check digit is the last of.
    checked: Range<usize>,
    /// What the manifest calls the parcel.
    key: Range<usize>,
    /// Other parts that have a name.
    fields: &'static [(&'static str, Range<usize>)],
}

/// The whole number.
const ALL: Range<usize> = 0..usize::MAX;

const fn shape(kind: Kind, pattern: &'static str, check: Check) -> Shape {
    Shape { kind, pattern, check, checked: ALL, key: ALL, fields: &[] }
}

/// USPS: the number begins where the first of `fields` ends, a ZIP code that stands before it.
const fn impb(pattern: &'static str, fields: &'static [(&'static str, Range<usize>)]) -> Shape {
    let key = match fields {
        [(_, zip), ..] => zip.end..usize::MAX,
        [] => ALL,
    };
    let checked = key.start..usize::MAX;
    Shape { checked, key, fields, ..shape(Kind::UspsImpb, pattern, Check::Gs1) }
}

/// DPD's 27 characters, which begin at `start`; a check character follows where people read them.
const fn dpd(pattern: &'static str, start: usize, check: Check) -> Shape {
    let fields: &[(&str, Range<usize>)] = if start == 0 {
        &[("ship_to_post", 0..7), ("service", 21..24), ("ship_to_country", 24..27)]
    } else {
        &[("ship_to_post", 1..8), ("service", 22..25), ("ship_to_country", 25..28)]
    };
    Shape { key: start + 7..start + 21, fields, ..shape(Kind::Dpd28, pattern, check) }
}

/// More likely first.
const SHAPES: &[Shape] = &[
    Shape {
        checked: 2..18,
        fields: &[("shipper", 2..8), ("service", 8..10)],
        ..shape(Kind::Ups1z, "1Z x15 d1", Check::Ups)
    },
    Shape {
        checked: 2..11,
        fields: &[("service", 0..2), ("origin_country", 11..13)],
        ..shape(Kind::UpuS10, "a2 d9 a2", Check::S10)
    },
    shape(Kind::AmazonTba, "TB [ACM] d12", Check::None),
    shape(Kind::AmazonInternational, "C d10", Check::None),
    shape(Kind::Ontrac, "C d14", Check::None),
    shape(Kind::Yodel, "JJD d16", Check::None),
    shape(Kind::Yodel, "JD d16", Check::None),
    shape(Kind::DhlPieceId, "JJD d10-20", Check::None),
    shape(Kind::DhlPieceId, "JD d18", Check::None),
    shape(Kind::DhlParcel, "JVGL d10-20", Check::None),
    shape(Kind::DhlPieceId, "JVGL d10-20", Check::None),
    shape(Kind::DhlParcel, "3S x11-17", Check::None),
    shape(Kind::DhlEcommerce, "GM x16-20", Check::None),
    shape(Kind::Gofo, "GFUS d14", Check::None),
    shape(Kind::Lasership, "L a1 d8", Check::None),
    shape(Kind::Canpar, "[DLS] d21", Check::None),
    dpd("x7 d20 x1", 0, Check::Mod37),
    dpd("x7 d20", 0, Check::None),
    dpd("% x7 d20", 1, Check::None),
    impb("9 [12345] d20", &[]),
    impb("9 [12345] d24", &[]),
    impb("420 d5 9 [12345] d20", &[("ship_to_post", 3..8)]),
    impb("420 d9 9 [12345] d20", &[("ship_to_post", 3..12)]),
    impb("420 d5 9 [12345] d24", &[("ship_to_post", 3..8)]),
    impb("420 d9 9 [12345] d24", &[("ship_to_post", 3..12)]),
    Shape { checked: 7..22, ..shape(Kind::FedexGround96, "96 d20", Check::Gs1) },
    Shape { checked: 7..22, key: 7..22, ..shape(Kind::FedexGround, "96 d20", Check::Gs1) },
    Shape { checked: 20..34, key: 22..34, ..shape(Kind::Fedex34, "1 d33", Check::Fedex34) },
    shape(Kind::Gs1Key, "d8", Check::Gs1),
    shape(Kind::DhlExpress, "d10-11", Check::Mod7),
    shape(Kind::Fedex12, "d12", Check::Fedex12),
    shape(Kind::Gs1Key, "d12-14", Check::Gs1),
    shape(Kind::Purolator, "d12", Check::None),
    shape(Kind::Dpd14, "d14", Check::None),
    shape(Kind::FedexGround, "d15", Check::Gs1),
    Shape { key: 0..14, ..shape(Kind::Dpd14, "d14 x1", Check::Mod37) },
    shape(Kind::CanadaPost, "d16", Check::Gs1),
    shape(Kind::Sscc, "d18", Check::Gs1),
    shape(Kind::FedexGroundSscc, "00 d16", Check::Gs1),
    Shape { key: 2..20, fields: &[("00", 2..20)], ..shape(Kind::Sscc, "00 d18", Check::Gs1) },
    shape(Kind::Usps20, "d20", Check::Gs1),
    shape(Kind::UspsLegacy, "d20", Check::Gs1After91),
];

/// What `number` may be: those whose check digit fits first, those that have none next. `number` is normalised.
pub(super) fn candidates(number: &str) -> Vec<Candidate> {
    let fitting = SHAPES.iter().filter(|shape| fits(shape.pattern, number));
    let mut candidates: Vec<Candidate> = fitting.map(|shape| shape.candidate(number)).collect();
    candidates.sort_by_key(|candidate| match candidate.check_ok {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    });
    candidates
}

impl Shape {
    fn candidate(&self, number: &str) -> Candidate {
        let part = |range: &Range<usize>| &number[range.start..range.end.min(number.len())];
        let field = |(name, range): &(&str, Range<usize>)| Field::new(name, part(range));
        let check_ok = self.check.of(part(&self.checked));
        let candidate = Candidate::new(self.kind, part(&self.key).to_owned(), check_ok);
        Candidate { fields: self.fields.iter().map(field).collect(), ..candidate }
    }
}

fn fits(pattern: &str, number: &str) -> bool {
    let mut rest = number.as_bytes();
    for part in pattern.split(' ') {
        let after = match part.as_bytes() {
            [b'[', set @ .., b']'] => match rest {
                [first, after @ ..] if set.contains(first) => Some(after),
                _ => None,
            },
            [b'd', ..] => run(&part[1..], rest, u8::is_ascii_digit),
            [b'a', ..] => run(&part[1..], rest, u8::is_ascii_uppercase),
            [b'x', ..] => {
                run(&part[1..], rest, |one| one.is_ascii_digit() || one.is_ascii_uppercase())
            }
            itself => rest.strip_prefix(itself),
        };
        let Some(after) = after else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// What follows as many of `class` as there are, if `counts` allows their number.
fn run<'a>(counts: &str, text: &'a [u8], class: impl Fn(&u8) -> bool) -> Option<&'a [u8]> {
    let (least, most) = counts.split_once('-').unwrap_or((counts, counts));
    let (least, most): (usize, usize) = (least.parse().ok()?, most.parse().ok()?);
    let count = text.iter().take(most).take_while(|one| class(one)).count();
    (count >= least).then(|| &text[count..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(number: &str) -> Vec<(&'static str, String, Option<bool>)> {
        let said = |one: &Candidate| (one.kind.name(), one.key.clone(), one.check_ok);
        candidates(number).iter().map(said).collect()
    }

    /// The shortest number of a pattern.
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
        for shape in SHAPES {
            let number = example(shape.pattern);
            let named = candidates(&number);
            let this = named.iter().find(|one| **one == shape.candidate(&number));
            assert!(this.is_some_and(|one| !one.key.is_empty()), "{}", shape.pattern);
            assert!(!fits(shape.pattern, &format!("{number}-")), "{}", shape.pattern);
            assert!(!fits(shape.pattern, &number[1..]), "{}", shape.pattern);
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
