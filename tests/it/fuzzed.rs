//! The bodies of the fuzz targets on mutated drives: the properties of `fuzz/` without a fuzzer,
//! deterministic.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets")]
mod properties;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use waypost_sim::ReceiverType;

use crate::support::simulated;

/// Fragments for mutations: separators, pauses of a script, and field values that caused trouble
/// with real receivers.
const FRAGMENTS: [&[u8]; 24] = [
    b"$",
    b"*",
    b",",
    b",,",
    b"\r\n",
    b"\x80",
    b"\x88",
    b"\x8a",
    b"\x8e",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"$GPZDA,235959.00,31,12,2026,00,00*00\r\n",
    b",235960.00,",
    b",000000.00,",
    b",060180,",
    b",V,",
    b",0,",
    b"0000.0000,N,00000.0000,E",
    b"9000.0,N",
    b"99.99",
    b"-1",
    b"\xb5\x62\x01\x07\xff",
    b"GPRMC,,V,,,,,,,,,,N*00",
];

/// Labels and a tag, each of which is a script.
const LABELS: [&[u8]; 8] = [
    b"]C100395212340000000014\x1d42127680331\r\n",
    b"]d20039521234000000001443091381379100011575480043221\x1d43242611220800\r\n",
    b"]Q1https://id.example.com/01/80614141123458/21/a%2Fb?4322=1",
    b"]C142090221\x1d9205590139515815555550",
    b"4201028200009261290113185417468510",
    b"1Z999AA10123456784",
    b"00106141412345678908",
    b"\x31\x74\x25\x7b\xf4\x49\x96\x02\xd2\x00\x00\x00",
];

/// Fragments for mutations of labels.
const ELEMENTS: [&[u8]; 12] = [
    b"\x1d",
    b"]C1",
    b"00",
    b"01",
    b"21",
    b"420",
    b"421",
    b"4301%C3%A4",
    b"8003",
    b"96",
    b"https://x/00/",
    b"VANCTL:",
];

/// Position and kind of a mutation.
type Mutation = (prop::sample::Index, u8, u8);

/// Returns drives of different receivers as scripts: each epoch, then a second.
fn scripts() -> Vec<Vec<u8>> {
    let script = |receiver| {
        let epochs = simulated("config/routes/city.toml", receiver, 60);
        // The last part of the cold start and the first fixes.
        epochs
            .iter()
            .skip(28)
            .take(12)
            .flat_map(|(_, bytes)| [bytes.as_slice(), b"\x8a"].concat())
            .collect()
    };
    ReceiverType::ALL.into_iter().map(script).collect()
}

fn mutated(script: &[u8], fragments: &[&[u8]], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = script.to_vec();
    for (place, kind, value) in mutations {
        let at = place.index(bytes.len().max(1));
        let fragment = fragments[usize::from(*value) % fragments.len()];
        let length = usize::from(*value).min(bytes.len() - at.min(bytes.len()));
        match kind % 5 {
            0 => bytes[at] = *value,
            1 => drop(bytes.drain(at..at + length)),
            2 => drop(bytes.splice(at..at, fragment.iter().copied())),
            3 => {
                let again = bytes[at..at + length].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => {
                let end = (at + fragment.len()).min(bytes.len());
                drop(bytes.splice(at..end, fragment.iter().copied()));
            }
        }
        if bytes.is_empty() {
            bytes.push(*value);
        }
    }
    bytes
}

/// Runs the same cases each time, so that a failure is caused by the change and not by chance.
fn on_mutated(scripts: &[Vec<u8>], fragments: &[&[u8]], property: fn(&[u8])) {
    let config = ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mutations = prop::collection::vec(any::<Mutation>(), 0..30);
    let cases = (0..scripts.len(), mutations);
    let checked = TestRunner::new(config).run(&cases, |(script, mutations)| {
        property(&mutated(&scripts[script], fragments, &mutations));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

fn on_mutated_drives(property: fn(&[u8])) {
    on_mutated(&scripts(), &FRAGMENTS, property);
}

#[test]
fn what_is_read_from_a_label_is_printable_and_bounded() {
    on_mutated(&LABELS.map(<[u8]>::to_vec), &ELEMENTS, properties::code);
}

#[test]
fn lines_are_lines_however_the_bytes_are_cut() {
    on_mutated_drives(properties::framing);
}

#[test]
fn what_a_sentence_says_is_in_range() {
    on_mutated_drives(properties::sentence);
}

#[test]
fn what_the_pipeline_gives_is_in_order_in_range_and_bounded_by_what_it_was_given() {
    on_mutated_drives(properties::pipeline);
}

#[test]
fn any_bytes_at_all_are_a_script() {
    let config = ProptestConfig {
        cases: 300,
        rng_seed: RngSeed::Fixed(5),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let checked =
        TestRunner::new(config).run(&prop::collection::vec(any::<u8>(), 0..600), |bytes| {
            properties::framing(&bytes);
            properties::sentence(&bytes);
            properties::pipeline(&bytes);
            properties::code(&bytes);
            Ok(())
        });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}
