//! Inputs of the kinds that users of trackers have reported, with the right answers. They cannot be
//! redistributed with this repository, and are skipped if they are not beside it.

use std::fs::File;
use std::io::BufReader;

use serde_json::Value;
use waypost::replay::{self, Emit};
use waypost_pipeline::date_resolver::DateHint;
use waypost_pipeline::trail_simplifier::Sampling;

use crate::support::shared;

/// Replays a report, with a `# Date:` if given.
fn emitted(name: &str, date: Option<&str>, emit: Emit) -> Option<Vec<Value>> {
    let path = shared(&format!("nmea/reports/{name}.nmea"))?;
    let date = date.map(|date| waypost_model::units::Date::parse(date).unwrap());
    let hint = date.map_or(DateHint::AsReported, DateHint::NotAfter);
    let mut lines = Vec::new();
    let log = BufReader::new(File::open(path).unwrap());
    replay::emit(log, hint, Sampling::Raw, emit, &mut lines).unwrap();
    let text = String::from_utf8(lines).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn fixes(name: &str) -> Option<Vec<Value>> {
    emitted(name, None, Emit::Fixes)
}

fn records(name: &str) -> Option<Vec<Value>> {
    emitted(name, None, Emit::Records)
}

fn number(line: &Value, member: &str) -> f64 {
    line[member].as_f64().unwrap_or_else(|| panic!("no {member}: {line}"))
}

fn speeds(lines: &[Value]) -> Vec<f64> {
    lines.iter().map(|line| number(line, "speed_mps")).collect()
}

#[test]
fn each_fix_has_the_speed_of_its_own_epoch() {
    let Some(lines) = fixes("V1_vtg_first") else { return };
    let expected: Vec<f64> = (0..12).map(f64::from).collect();
    assert_eq!(speeds(&lines), expected);
}

#[test]
fn dates_are_right_with_two_digits_at_midnight_and_with_rare_zda() {
    let Some(two_digits) = fixes("T2_zda_two_digits") else { return };
    assert_eq!(two_digits.len(), 5);
    assert!(two_digits.iter().all(|fix| fix["ts"].as_str().unwrap().starts_with("2026-12-01T08")));
    let midnight = fixes("T1_stale_midnight").unwrap();
    let times: Vec<&str> = midnight.iter().map(|fix| fix["ts"].as_str().unwrap()).collect();
    assert_eq!(times.len(), 9);
    assert!(times.is_sorted(), "{times:?}");
    let rare = fixes("V3_gga_zda_each_300s").unwrap();
    assert_eq!(rare.len(), 1500);
    assert!(rare.iter().all(|fix| fix["ts"].as_str().unwrap().starts_with("2026-12-01T08")));
}

#[test]
fn whether_there_is_a_fix_is_weighed_over_all_sentences() {
    for name in ["U1_RMC_status_D_gga_rmc", "U1_RMC_status_D_rmc_only"] {
        let Some(lines) = fixes(name) else { return };
        assert_eq!(lines.len(), 5, "{name}");
    }
    let second = fixes("U4c_second_receiver_without_fix").unwrap();
    assert_eq!(second.len(), 40);
    assert!(second.iter().all(|fix| fix["sats"] == 10), "of the receiver with the fix");
    for name in ["W4_gga0_rmcA_gr", "T3b_dr_limits_exceeded_gll_last"] {
        assert_eq!(fixes(name).unwrap().len(), 0, "{name}: a sentence rejects the position");
    }
}

#[test]
fn bad_geometry_and_dead_reckoning_have_an_accuracy() {
    let Some(bad) = records("T9_hdop9999") else { return };
    assert_eq!(bad.len(), 3);
    assert!(bad.iter().all(|point| number(point, "acc_m") >= 300.0));
    let estimated = records("T3d_gga_only_dr_sats0").unwrap();
    assert_eq!(estimated.len(), 5);
    for point in &estimated[1..] {
        assert_eq!(point["quality"], "estimated");
        assert!(number(point, "acc_m") >= 50.0);
    }
}

#[test]
fn jumps_and_frozen_positions_are_no_fixes_and_the_odometer_is_right() {
    let Some(outlier) = records("W1_outlier_700m_speed_500") else { return };
    assert_eq!(outlier.len(), 59);
    assert!(speeds(&outlier).iter().all(|mps| *mps < 11.0));
    for (name, odometer) in
        [("W2_cold_first_fix_5000_1_parked", 0.0), ("W2_cold_first_fix_5000_1_garage", 1190.0)]
    {
        let lines = records(name).unwrap();
        assert_eq!(lines.len(), 180, "{name}: all but the wrong one");
        let odo = number(lines.last().unwrap(), "odo_m");
        assert!((odo - odometer).abs() < 10.0, "{name}: {odo}");
    }
    let tunnel = records("T5_frozen_pos_A_speed").unwrap();
    assert!(tunnel.len() <= 121, "at most one repeat at the portal: {}", tunnel.len());
    let odo = number(tunnel.last().unwrap(), "odo_m");
    // The van drives 14 m/s for 299 s.
    assert!((odo - 14.0 * 299.0).abs() < 30.0, "{odo}");
}

#[test]
fn standing_is_decided_over_a_window() {
    let Some(peaks) = records("T_parked_peak_09_every_25s") else { return };
    let standing: Vec<&Value> =
        peaks.iter().filter(|point| number(point, "speed_mps") < 1.0).collect();
    let halted = |point: &Value| point["motion"] == "halted";
    let first = standing.iter().position(|point| halted(point)).unwrap();
    assert!(first <= 60, "{first} s");
    let still = standing[first..].iter().filter(|point| !halted(point)).count();
    assert_eq!(still, 0);
    let gained = number(standing[standing.len() - 1], "odo_m") - number(standing[0], "odo_m");
    assert!(gained < 10.0, "{gained} m");
    let gap = records("V5_car_wash_or_loading_dock_4min_no_fix").unwrap();
    assert!(gap.iter().any(halted), "told when the fixes are back");
    let parked = records("U6_parked_80m_excursion_40s").unwrap();
    let places: std::collections::BTreeSet<String> = parked
        .iter()
        .filter(|point| halted(point))
        .map(|point| format!("{} {}", point["lat"], point["lon"]))
        .collect();
    assert_eq!(places.len(), 1, "{places:?}");
}
