//! Parses GS1 element strings and Digital Links into candidates and fields (GS1 General
//! Specifications §3).
//!
//! Separators are required only after elements of unknown length; extra ones are ignored. An
//! unknown element ends at the next separator.

use super::ai::lookup;
use super::carrier;
use super::check_digit::Check;
use super::code::{Candidate, CodeKind, Field, GS, sanitize};

/// Maximum number of elements; further ones are ignored. Labels have about a dozen.
const MAX_ELEMENTS: usize = 32;

/// An application identifier and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    ai: String,
    value: String,
}

/// Primary identifiers, which start the path of a Digital Link.
const PRIMARY: [&str; 7] = ["00", "01", "401", "402", "414", "8003", "8004"];

/// Parses `text`. Returns the elements and whether all of it was understood.
pub(super) fn parse_elements(text: &str) -> (Vec<Element>, bool) {
    let (mut elements, mut whole) = (Vec::new(), true);
    for mut part in text.split(GS) {
        while !part.is_empty() {
            let Some((element, after)) =
                parse_element(part).filter(|_| elements.len() < MAX_ELEMENTS)
            else {
                whole = false;
                break;
            };
            elements.push(element);
            part = after;
        }
    }
    (elements, whole)
}

fn parse_element(part: &str) -> Option<(Element, &str)> {
    let (ai, form, _) = lookup(part)?;
    let rest = &part[ai.len()..];
    let value = form.value(rest)?;
    Some((Element { ai: ai.to_owned(), value: value.to_owned() }, &rest[value.len()..]))
}

/// Parses a Digital Link (GS1 Digital Link URI Syntax 1.4 §4). Returns `None` if `text` is not one.
pub(super) fn parse_digital_link(text: &str) -> Option<Vec<Element>> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let address = text[scheme.len()..].split('#').next().unwrap_or_default();
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let pair = |pair: &[&str]| match pair {
        [ai, value] => digital_link_element(ai, value),
        _ => None,
    };
    let begins = |pair: &&[&str]| {
        PRIMARY.contains(&pair[0]) && digital_link_element(pair[0], pair[1]).is_some()
    };
    let first = segments.windows(2).position(|pair| begins(&pair))?;
    let in_path = segments[first..].chunks(2).map_while(pair);
    let in_query = query.split('&').filter_map(|pair| pair.split_once('='));
    let in_query = in_query.filter_map(|(ai, value)| digital_link_element(ai, value));
    Some(in_path.chain(in_query).take(MAX_ELEMENTS).collect())
}

fn digital_link_element(ai: &str, value: &str) -> Option<Element> {
    let (known, form, _) = lookup(ai).filter(|(known, ..)| *known == ai)?;
    let mut value = percent_decode(value);
    if known == "01" && matches!(value.len(), 8 | 12 | 13) {
        value = format!("{value:0>14}");
    }
    let whole = form.value(&value)? == value;
    whole.then(|| Element { ai: known.to_owned(), value })
}

/// Decodes percent-encoding (RFC 3986 §2.1) and removes unprintable characters.
pub(super) fn percent_decode(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    sanitize(&bytes)
}

/// Candidates from the elements: the parcel before the units that it belongs to.
pub(super) fn candidates(elements: &[Element]) -> Vec<Candidate> {
    let value = |ai: &str| elements.iter().find(|one| one.ai == ai).map(|one| one.value.as_str());
    let mut candidates = Vec::new();
    let mut add = |kind, key: &str, check: Check, checked: &str| {
        candidates.push(Candidate::new(kind, key.to_owned(), check.verify(checked)));
    };
    if let Some(sscc) = value("00") {
        add(CodeKind::Sscc, sscc, Check::Gs1, sscc);
    }
    if let Some(item) = value("01") {
        match value("21") {
            Some(serial) => add(CodeKind::Sgtin, &format!("{item}{serial}"), Check::Gs1, item),
            None => add(CodeKind::Gtin14, item, Check::Gs1, item),
        }
    }
    if let Some(consignment) = value("401") {
        add(CodeKind::Ginc, consignment, Check::None, "");
    }
    if let Some(shipment) = value("402") {
        add(CodeKind::Gsin, shipment, Check::Gs1, shipment);
    }
    if let Some(asset) = value("8003") {
        add(CodeKind::Grai, asset, Check::Gs1, &asset[..asset.len().min(14)]);
    }
    if let Some(asset) = value("8004") {
        add(CodeKind::Giai, asset, Check::None, "");
    }
    if let Some(place) = value("414") {
        add(CodeKind::Gln, place, Check::Gs1, place);
    }
    let sscc = candidates.iter().take_while(|one| one.kind == CodeKind::Sscc).count();
    candidates.splice(sscc..sscc, carrier_candidates(elements));
    candidates
}

/// Candidates from a carrier's own number. Carriers print it as an internal element, first or after
/// the postcode.
fn carrier_candidates(elements: &[Element]) -> Vec<Candidate> {
    let first = match elements {
        [Element { ai, .. }, first, ..] if ai == "420" => first,
        [first, ..] => first,
        [] => return Vec::new(),
    };
    let internal = ("91"..="96").contains(&first.ai.as_str());
    if internal { carrier::candidates(&format!("{}{}", first.ai, first.value)) } else { Vec::new() }
}

/// Each element with its decoded fields.
pub(super) fn fields(elements: &[Element]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for Element { ai, value } in elements {
        let says = lookup(ai).map(|(_, _, says)| says.fields(value)).unwrap_or_default();
        fields.extend([Field::new(ai, value)].into_iter().chain(says));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(elements: &[Element]) -> Vec<(&str, &str)> {
        elements.iter().map(|Element { ai, value }| (ai.as_str(), value.as_str())).collect()
    }

    const SSCC: &str = "00395212340000000014";

    #[test]
    fn elements_are_taken_apart_with_separators_missing_or_one_too_many() {
        let sscc = ("00", "395212340000000014");
        for (text, expected, understood) in [
            (SSCC.to_owned(), vec![sscc], true),
            (format!("{SSCC}\x1d42127680331"), vec![sscc, ("421", "27680331")], true),
            (format!("{SSCC}42127680331"), vec![sscc, ("421", "27680331")], true),
            (format!("\x1d\x1d{SSCC}\x1d\x1d"), vec![sscc], true),
            (format!("10LOT\x1d{SSCC}"), vec![("10", "LOT"), sscc], true),
            (format!("43221{SSCC}"), vec![("4322", "1"), sscc], true),
            (format!("3103001250{SSCC}"), vec![("3103", "001250"), sscc], true),
            ("3712\x1d400PO-7".to_owned(), vec![("37", "12"), ("400", "PO-7")], true),
            // An unknown or broken element ends at the separator.
            (format!("7020ABC\x1d{SSCC}"), vec![sscc], false),
            (format!("37A\x1d{SSCC}"), vec![sscc], false),
            (format!("{SSCC}0039521234"), vec![sscc], false),
            (format!("10{}", "L".repeat(21)), vec![], false),
            ("42090221Zürich".to_owned(), vec![], false),
            ("10\x1d".to_owned(), vec![], false),
            ("421276".to_owned(), vec![("421", "276")], true),
            ("31".to_owned(), vec![], false),
            ("31é".to_owned(), vec![], false),
        ] {
            let (elements, whole) = parse_elements(&text);
            assert_eq!((pairs(&elements), whole), (expected, understood), "{text}");
        }
        assert_eq!(parse_elements(&"43221".repeat(100)).0.len(), MAX_ELEMENTS);
    }

    #[test]
    fn a_link_of_any_domain_says_the_same_elements() {
        let sscc = ("00", "395212340000000014");
        for (text, expected) in [
            ("https://id.example.com/00/395212340000000014?4322=1", vec![sscc, ("4322", "1")]),
            ("HTTP://X/a/b/00/395212340000000014#top", vec![sscc]),
            (
                "https://x/01/80614141123458/21/a%2Fb?utm=1",
                vec![("01", "80614141123458"), ("21", "a/b")],
            ),
            ("https://x/01/9506000134352", vec![("01", "09506000134352")]),
            ("https://x/8004/9521234VAN042/", vec![("8004", "9521234VAN042")]),
            ("https://x/00/395212340000000014/more", vec![sscc]),
        ] {
            let elements = parse_digital_link(text).unwrap();
            assert_eq!(pairs(&elements), expected, "{text}");
        }
        for text in [
            "https://x/00/12",
            "https://x/?00=395212340000000014",
            "ftp://x/00/1",
            "https://",
            SSCC,
        ] {
            assert_eq!(parse_digital_link(text), None, "{text}");
        }
    }

    #[test]
    fn the_number_of_a_carrier_is_joined_again() {
        for (text, key) in [
            ("42090221\x1d9205590139515815555550", Some("9205590139515815555550")),
            ("9611020987654312345672", Some("9611020987654312345672")),
            ("10LOT\x1d9611020987654312345672", None),
            ("96ABC", None),
        ] {
            let candidates = candidates(&parse_elements(text).0);
            assert_eq!(candidates.first().map(|one| one.key.as_str()), key, "{text}");
        }
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        for (text, expected) in [("a%2Fb%2f", "a/b/"), ("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA")]
        {
            assert_eq!(percent_decode(text), expected);
        }
        assert_eq!(percent_decode("%00%1b[31m%ff%E2%80%AEx"), "[31mx");
    }
}
