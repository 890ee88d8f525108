//! Delivery exceptions and their automatic clearing.

use super::*;
use crate::tracking::dispatcher::DeliveryException;
use crate::tracking::exceptions::find_exceptions;
use crate::tracking::parcel::GeoPoint;

/// A parcel due at the fourth stop, with the events of its van since departure.
struct Scenario {
    route: RouteInput,
    epc: String,
    facts: Vec<TrackingEvent>,
}

impl Scenario {
    fn departed() -> Self {
        let route = simulated_once();
        let all: Vec<&str> = route.epcs.iter().flatten().map(String::as_str).collect();
        let facts = vec![fact(Stage::OutForDelivery, utc(START), &all, None)];
        Self { epc: route.epcs[3][0].clone(), route, facts }
    }

    /// A sighting at a stop, which changes nothing.
    fn seen(&self, seconds: i64, stop: usize, alert: Option<&str>) -> TrackingEvent {
        let at = self.route.manifest.stops[stop].position;
        let mut seen = fact(Stage::Loaded, later(utc(START), seconds), &[&self.epc], None);
        seen.effect = EventEffect::Seen;
        seen.kind = "parcel.seen".to_owned();
        seen.event_id = format!("seen/{seconds}");
        seen.spot = Some(GeoPoint { lat: at.lat_deg(), lon: at.lon_deg() });
        Arc::make_mut(&mut seen.details).alert = alert.map(str::to_owned);
        seen
    }

    fn inventory(&self, seconds: i64, missing: bool) -> TrackingEvent {
        let mut inventory = self.seen(seconds, 1, None);
        inventory.kind = "van.inventory".to_owned();
        inventory.epcs.retain(|_| !missing);
        Arc::make_mut(&mut inventory.details).missing =
            if missing { vec![self.epc.clone()] } else { Vec::new() };
        inventory
    }

    fn exceptions(&self, more: &[TrackingEvent], seconds: i64) -> Vec<DeliveryException> {
        let facts = self.facts.iter().chain(more).cloned().collect();
        let known = RouteInput { events: Arc::new(facts), ..self.route.clone() };
        let progress = Progress::from_events(&known, LastStopState::Present);
        find_exceptions(&known, &progress, later(utc(START), seconds))
    }
}

const START: &str = "2026-11-23T07:00:00Z";

#[test]
fn a_scan_at_anothers_stop_says_which_and_how_far_until_the_parcel_is_seen_again() {
    let told = Scenario::departed();
    let wrong = told.seen(300, 1, Some("wrong_stop"));
    let found = told.exceptions(std::slice::from_ref(&wrong), 301);
    let stops = &told.route.manifest.stops;
    let road_distance_m = stops[1].position.distance_to(stops[3].position).as_metres();
    let [concern] = &found[..] else { panic!("{found:?}") };
    assert_eq!((concern.kind.as_str(), &concern.number), ("wrong_stop", &stops[3].parcels[0].key));
    assert_eq!((concern.stop.as_ref(), &concern.due), (Some(&stops[1].id), &stops[3].id));
    assert!((f64::from(concern.distance_m.unwrap()) - road_distance_m).abs() <= 0.5, "{concern:?}");
    // An arrival at its stop does not prove that the parcel is still on board.
    let arrived = fact(Stage::Arrived, later(utc(START), 400), &[&told.epc], Some(4));
    assert_eq!(told.exceptions(&[wrong.clone(), arrived], 401), found);
    let seq = Some(stops[3].seq);
    for again in [
        told.inventory(350, false),
        told.seen(350, 2, None),
        fact(Stage::Delivered, later(utc(START), 450), &[&told.epc], seq),
    ] {
        assert_eq!(told.exceptions(&[wrong.clone(), again.clone()], 500), [], "{again:?}");
    }
}

#[test]
fn a_tag_that_is_silent_is_a_concern_if_it_stays_so_and_says_where_it_was_read_last() {
    let told = Scenario::departed();
    let (read, silent) = (told.inventory(100, false), told.inventory(160, true));
    let soon = told.exceptions(&[read.clone(), silent.clone()], 340);
    assert_eq!(soon, []);
    let found = told.exceptions(&[read.clone(), silent.clone()], 341);
    let [concern] = &found[..] else { panic!("{found:?}") };
    assert_eq!(concern.kind, "missing");
    assert_eq!(concern.seen_at, later(utc(START), 100).to_string());
    assert_eq!(concern.stop.as_ref(), Some(&told.route.manifest.stops[1].id));
    assert_eq!(told.exceptions(&[read, silent, told.inventory(220, false)], 500), []);
}

#[test]
fn a_hand_over_away_from_its_stop_stays_a_concern_unless_it_is_taken_back() {
    let told = Scenario::departed();
    let mut outside = told.seen(300, 0, None);
    (outside.effect, outside.stop_seq) =
        (EventEffect::Stage(Stage::Delivered), Some(told.route.manifest.stops[3].seq));
    Arc::make_mut(&mut outside.details).method = Some("scan_outside".to_owned());
    let found = told.exceptions(std::slice::from_ref(&outside), 4000);
    let [concern] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (concern.kind.as_str(), concern.at.as_str()),
        ("scan_outside", concern.seen_at.as_str())
    );
    assert!(concern.distance_m.unwrap() > 100, "{concern:?}");
    let back = retraction(&outside, later(utc(START), 330));
    assert_eq!(told.exceptions(&[outside, back], 4000), []);
}

#[test]
fn what_a_van_did_not_bring_back_is_a_problem_to_both_once_it_is_unloaded() {
    let told = Scenario::departed();
    let (epc, start) = (told.route.epcs[0][0].clone(), utc("2026-11-23T05:00:00Z"));
    for (completed, status) in [(-590, Status::OutForDelivery), (-601, Status::Problem)] {
        let out = fact(Stage::OutForDelivery, start, &[&epc], None);
        let completed = later(utc(START), completed);
        let mut end = fact(Stage::Returned, completed, &[], None);
        (end.effect, end.kind) = (EventEffect::Completed, "route.completed".to_owned());
        let of_route = [out.clone(), end];
        assert_eq!(page_with(&of_route, &[out], false).status, status);
        let known = RouteInput { events: Arc::new(of_route.to_vec()), ..told.route.clone() };
        let progress = Progress::from_events(&known, LastStopState::Present);
        let found = find_exceptions(&known, &progress, utc(START));
        let kinds: Vec<&str> = found.iter().map(|concern| concern.kind.as_str()).collect();
        let lost = if status == Status::Problem { vec!["missing"] } else { Vec::new() };
        assert_eq!(kinds, lost);
    }
}

#[test]
fn a_van_that_says_where_it_goes_next_has_not_left_a_stop_before_it_is_out_of_its_fence() {
    let told = Scenario::departed();
    let (route, epc) = (&told.route, told.route.epcs[0][0].as_str());
    let arrived =
        fact(Stage::Arrived, later(utc(START), 300), &[epc], Some(route.manifest.stops[0].seq));
    let facts = told.facts.iter().cloned().chain([arrived]).collect();
    let known = RouteInput { events: Arc::new(facts), ..route.clone() };
    let now = later(utc(START), 320);
    let mut says = position(&known, now, 0, StopStatus::InTransitTo);
    says.stop_seq = Some(route.manifest.stops[1].seq);
    let ahead = |says: &Position| Progress::now(&known, Some(says)).stops[2].ahead;
    assert_eq!(ahead(&says), Some(2));
    let away = position(&known, now, 1, StopStatus::InTransitTo);
    assert_eq!(ahead(&away), Some(1));
}
