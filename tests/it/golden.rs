//! Golden test: every `tests/fixtures/nmea/*.nmea` gives its `*.expected.jsonl`. `UPDATE=1`
//! rewrites them; the diff is reviewed.

use std::fs;
use std::io::BufReader;

use waypost::replay::{self, Emit};
use waypost_pipeline::trail_simplifier::Sampling;

use crate::support::repository;

#[test]
fn a_recorded_log_gives_the_records_that_were_reviewed() {
    let folder = repository("tests/fixtures/nmea");
    let mut logs: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "nmea"));
    assert!(logs.len() >= 4, "the fixtures are in {}", folder.display());
    for log in logs {
        let era = replay::date_hint(None, std::slice::from_ref(&log)).unwrap();
        let mut given = Vec::new();
        replay::emit(
            BufReader::new(fs::File::open(&log).unwrap()),
            era,
            Sampling::Raw,
            Emit::Records,
            &mut given,
        )
        .unwrap();
        let expected = log.with_extension("expected.jsonl");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &given).unwrap();
        }
        let reviewed = fs::read(&expected).unwrap_or_default();
        assert!(
            given == reviewed,
            "{} gives other records; UPDATE=1 shows the diff",
            log.display()
        );
        assert!(!given.is_empty(), "{} gives no record", log.display());
    }
}

#[test]
fn two_replays_of_one_log_are_the_same_bytes() {
    let log = repository("tests/fixtures/nmea/errand-ublox-m8.nmea");
    let replay = || {
        let mut lines = Vec::new();
        let era = replay::date_hint(None, std::slice::from_ref(&log)).unwrap();
        replay::emit(
            replay::open(std::slice::from_ref(&log)).unwrap(),
            era,
            Sampling::Raw,
            Emit::Records,
            &mut lines,
        )
        .unwrap();
        lines
    };
    assert_eq!(replay(), replay());
}
