//! Properties that hold for every input: any split of the bytes, any garbage.

use proptest::prelude::*;
use waypost_model::record::Subject;
use waypost_model::units::Uptime;
use waypost_pipeline::PipelineOutput;
use waypost_pipeline::date_resolver::DateHint;
use waypost_sim::ReceiverType;

use crate::support::{fastrand_like, pipeline, records, simulated};

/// Splits the bytes of each burst into pieces of the given sizes, cyclically.
fn cut(epochs: &[(Uptime, Vec<u8>)], sizes: &[usize]) -> Vec<(Uptime, Vec<u8>)> {
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    for (at, bytes) in epochs {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            pieces.push((*at, piece.to_vec()));
            rest = after;
        }
    }
    pieces
}

fn drives() -> Vec<Vec<(Uptime, Vec<u8>)>> {
    let receivers = [
        ReceiverType::UbloxM8,
        ReceiverType::SirfStar,
        ReceiverType::RmcOnly,
        ReceiverType::GgaOnly,
    ];
    receivers
        .into_iter()
        .map(|receiver| simulated("config/routes/city.toml", receiver, 90))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_chunking_of_the_bytes_gives_the_same_records(sizes in prop::collection::vec(1_usize..64, 1..40)) {
        for drive in drives() {
            let (whole, reception) = records(DateHint::AsReported, drive.iter().cloned());
            let (cut, cut_reception) = records(DateHint::AsReported, cut(&drive, &sizes));
            prop_assert_eq!(whole, cut);
            prop_assert_eq!(reception, cut_reception);
        }
    }

    #[test]
    fn garbage_between_the_epochs_costs_no_fix(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let drive = simulated("config/routes/city.toml", ReceiverType::UbloxM8, 90);
        let (clean, _) = records(DateHint::AsReported, drive.iter().cloned());
        let noisy = drive.iter().map(|(at, bytes)| (*at, [garbage.as_slice(), b"\n", bytes].concat()));
        let (noisy, _) = records(DateHint::AsReported, noisy);
        prop_assert_eq!(clean, noisy);
    }

    #[test]
    fn no_bytes_and_no_clock_can_break_the_pipeline(
        script in prop::collection::vec((any::<Vec<u8>>(), 0_u64..100_000, any::<bool>()), 0..60),
    ) {
        let mut pipeline = pipeline(DateHint::AsReported);
        let mut output = PipelineOutput::default();
        for (bytes, at_ms, interrupted) in script {
            let at = Uptime::from_millis(at_ms);
            pipeline.push(&bytes, at, &mut output);
            pipeline.tick(at, &mut output);
            if interrupted {
                pipeline.source_lost(at, &mut output);
            }
        }
        pipeline.finish(&mut output);
    }

    #[test]
    fn sentences_with_any_fields_and_a_right_checksum_do_no_harm(
        bodies in prop::collection::vec("G[PNL](RMC|GGA|GLL|GNS|GSA|VTG|ZDA|GST|GSV|TXT),[0-9A-Z.,*+-]{0,90}", 1..40),
    ) {
        let mut pipeline = pipeline(DateHint::AsReported);
        let mut output = PipelineOutput::default();
        for (second, body) in (0..).zip(&bodies) {
            let checksum = body.bytes().fold(0, |sum, byte| sum ^ byte);
            let line = format!("${body}*{checksum:02X}\r\n");
            pipeline.push(line.as_bytes(), Uptime::from_millis(second * 200), &mut output);
        }
        pipeline.finish(&mut output);
        for record in &output.records {
            let Subject::Point(point) = &record.subject;
            prop_assert!(point.fix.position.lat_deg().abs() <= 90.0);
            prop_assert!(point.fix.speed.is_none_or(|speed| speed.as_mps().is_finite()));
        }
    }
}

#[test]
fn sequence_numbers_rise_by_one_and_times_never_fall() {
    for drive in drives() {
        let (records, _) = records(DateHint::AsReported, drive);
        assert!(records.windows(2).all(|pair| pair[1].seq == pair[0].seq.next()));
        let utc = records.iter().map(|record| match record.subject {
            Subject::Point(point) => point.fix.utc,
        });
        assert!(utc.is_sorted());
    }
}

#[test]
fn one_byte_in_a_thousand_corrupted_gives_no_wrong_position() {
    let drive = simulated("config/routes/city.toml", ReceiverType::UbloxM8, 900);
    let (clean, _) = records(DateHint::AsReported, drive.iter().cloned());
    let mut random = fastrand_like(7);
    let noisy = drive.iter().map(|(at, bytes)| {
        let corrupt = |byte: &u8| {
            if random().is_multiple_of(1000) {
                u8::try_from(random() % 256).unwrap()
            } else {
                *byte
            }
        };
        (*at, bytes.iter().map(corrupt).collect::<Vec<u8>>())
    });
    let noisy: Vec<_> = noisy.collect();
    let (noisy, reception) = records(DateHint::AsReported, noisy);
    assert!(reception.bad_checksum > 100, "{reception:?}");
    assert!(noisy.len() > clean.len() * 9 / 10);
    for record in &noisy {
        let Subject::Point(noisy) = record.subject;
        let same = clean.iter().any(|record| match record.subject {
            Subject::Point(clean) => {
                clean.fix.utc == noisy.fix.utc && clean.fix.position == noisy.fix.position
            }
        });
        assert!(same, "{noisy:?}");
    }
}
