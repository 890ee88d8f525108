//! A simulated day through the van's production code: the reported events match the ground truth.

use waypost_model::event::{Event, EventKind};
use waypost_sim::{GroundTruthEvent, Route};

use crate::support::repository;
use crate::support::simulated_day::{EventKey, play, reported_events, truth};

fn compare(events: &[Event], facts: &[GroundTruthEvent]) {
    let said = events.iter().find_map(|event| match &event.kind {
        EventKind::Completed { summary, .. } => Some(*summary),
        _ => None,
    });
    let truth = facts.iter().find_map(|fact| match fact.kind {
        waypost_sim::GroundTruthKind::Completed(summary) => Some(summary),
        _ => None,
    });
    let (said, truth) = (said.unwrap(), truth.unwrap());
    let counts = [said.stops_total, said.stops_served, said.delivered, said.attempted];
    let counts = counts.map(|count| usize::try_from(count).unwrap());
    let expected = [truth.stops_total, truth.stops_served, truth.delivered, truth.attempted];
    assert_eq!(counts, expected);
    let late_s = said.duration.as_secs_f64() - truth.duration.as_secs_f64();
    assert!(late_s.abs() < 60.0, "the route took {late_s} s longer");
    let (said_m, true_m) = (said.distance.as_metres(), truth.distance.as_metres());
    assert!((said_m / true_m - 1.0).abs() < 0.02, "{said_m} m, {true_m} m");
}

#[test]
fn what_the_van_says_of_its_day_is_what_truly_happened() {
    for seed in [1, 2] {
        let mut route = Route::load(&repository("config/routes/deliveries_short.toml")).unwrap();
        route.settings.seed = seed;
        let (events, facts) = play(route);
        let (said, truth) = (reported_events(&events), truth(&facts));
        let what = |told: &[EventKey]| -> Vec<(&str, String)> {
            told.iter().map(|(name, subject, _)| (*name, subject.clone())).collect()
        };
        assert_eq!(what(&said), what(&truth), "seed {seed}");
        for ((name, subject, said_ms), (_, _, true_ms)) in said.iter().zip(&truth) {
            // A scan is reported at once; a standstill or departure must last before it is
            // reported.
            let within_ms = match *name {
                "route.departed" => 180_000,
                "stop.arrived" => 15_000,
                _ => 1_500,
            };
            let late_ms = said_ms - true_ms;
            assert!(late_ms.abs() <= within_ms, "{name} {subject}: {late_ms} ms late");
        }
        let missing = events.iter().any(|event| match &event.kind {
            EventKind::Inventory { missing, .. } => {
                let lost = facts.iter().find(|fact| fact.kind.as_str() == "parcel.lost");
                let lost = lost.unwrap().parcel.as_deref();
                missing.iter().any(|parcel| Some(parcel.key.as_str()) == lost)
            }
            _ => false,
        });
        assert!(missing, "the RFID tags reveal the lost parcel");
        compare(&events, &facts);
    }
}
