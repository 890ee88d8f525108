//! Draws the errors of the driver and the scanner, and the stops where they occur.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::Delivery;
use super::labels::{Label, LabelGenerator};
use super::parcel::{Parcel, ParcelOutcome, draw_parcel};
use super::random::Random;
use super::route::Route;

/// A scan that changes no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anomaly {
    /// A parcel of another stop.
    WrongStop(usize),
    /// A parcel that is not in the manifest.
    UnknownParcel(Label),
    /// Text that is not on any label.
    Garbage(String),
}

/// All anomalies of a day.
#[derive(Debug, Default)]
pub(super) struct Anomalies {
    at_stops: BTreeMap<usize, Vec<Anomaly>>,
    repeated_at_station: BTreeSet<usize>,
    repeated_at_stop: BTreeSet<usize>,
    undone: BTreeSet<usize>,
}

/// Minimum distance between the two stops of a wrong-stop scan, in metres; closer geofences
/// overlap.
const MIN_STOP_DISTANCE_M: f64 = 200.0;

impl Anomalies {
    pub(super) fn draw(
        route: &Route,
        parcels: &[Parcel],
        issuer: &mut LabelGenerator,
        random: &mut Random,
    ) -> Self {
        let mut slips = Self::default();
        let (Some(delivery), false) = (&route.delivery, parcels.is_empty()) else { return slips };
        let somewhere = |random: &mut Random| parcels[random.index(parcels.len())].stop;
        for _ in 0..delivery.wrong_stop_scans {
            if let Some((stop, index)) = wrong_stop(route, parcels, random) {
                slips.add(stop, Anomaly::WrongStop(index));
            }
        }
        for _ in 0..delivery.unknown_scans {
            slips.add(somewhere(random), Anomaly::UnknownParcel(issuer.next_unlisted()));
        }
        for _ in 0..delivery.garbage {
            slips.add(somewhere(random), Anomaly::Garbage(garbage(parcels, random)));
        }
        slips.draw_repeats(delivery, parcels, random);
        slips
    }

    fn draw_repeats(&mut self, delivery: &Delivery, parcels: &[Parcel], random: &mut Random) {
        for number in 0..delivery.repeated_reads {
            let Some(index) = draw_parcel(parcels, random, |_| true) else { continue };
            let twice = if number % 2 == 0 {
                &mut self.repeated_at_station
            } else {
                &mut self.repeated_at_stop
            };
            twice.insert(index);
        }
        let attempted = |(index, parcel): (usize, &Parcel)| {
            (parcel.outcome == ParcelOutcome::Attempted).then_some(index)
        };
        let attempted = parcels.iter().enumerate().filter_map(attempted);
        self.undone = attempted.take(delivery.undone_scans).collect();
    }

    fn add(&mut self, stop: usize, slip: Anomaly) {
        self.at_stops.entry(stop).or_default().push(slip);
    }

    /// Removes and returns the anomalies at a stop.
    pub(super) fn drain_stop(&mut self, stop: usize) -> Vec<Anomaly> {
        self.at_stops.remove(&stop).unwrap_or_default()
    }

    pub(super) fn is_repeated_at_station(&self, parcel: usize) -> bool {
        self.repeated_at_station.contains(&parcel)
    }

    pub(super) fn is_repeated_at_stop(&self, parcel: usize) -> bool {
        self.repeated_at_stop.contains(&parcel)
    }

    pub(super) fn is_undone(&self, parcel: usize) -> bool {
        self.undone.contains(&parcel)
    }
}

/// Draws a stop, and a parcel on board that is due at a later stop.
fn wrong_stop(route: &Route, parcels: &[Parcel], random: &mut Random) -> Option<(usize, usize)> {
    let place = |stop: usize| route.stops[stop].point();
    let hosts = |due: usize| {
        let earlier = parcels.iter().map(|parcel| parcel.stop).filter(move |stop| *stop < due);
        earlier.filter(move |stop| place(*stop).distance_m(place(due)) > MIN_STOP_DISTANCE_M)
    };
    let index = draw_parcel(parcels, random, |parcel| hosts(parcel.stop).next().is_some())?;
    let hosts: Vec<usize> = hosts(parcels[index].stop).collect();
    Some((hosts[random.index(hosts.len())], index))
}

/// Returns half a label, or noise.
fn garbage(parcels: &[Parcel], random: &mut Random) -> String {
    if random.chance(0.5) {
        let line = &parcels[random.index(parcels.len())].line;
        return line[..line.len() / 2].to_owned();
    }
    let length = 4 + random.index(20);
    let noise = |_| char::from(u8::try_from(1 + random.index(127)).expect("below 128"));
    // A line terminator would split the line.
    (0..length).map(noise).filter(|letter| !matches!(letter, '\r' | '\n')).collect()
}
