//! `[delivery]` and seed → [`Slips`]: what the driver and the scanner get wrong, and where.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::Delivery;
use super::number::{Issuer, Label};
use super::parcel::{Fate, Parcel, draw};
use super::random::Random;
use super::route::Route;

/// A scan that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// A parcel of another stop.
    WrongStop(usize),
    /// A parcel that the manifest does not know.
    Unknown(Label),
    /// Nothing that is printed anywhere.
    Garbage(String),
}

/// All slips of a day.
#[derive(Debug, Default)]
pub(super) struct Slips {
    at_stops: BTreeMap<usize, Vec<Slip>>,
    twice_at_the_station: BTreeSet<usize>,
    twice_at_its_stop: BTreeSet<usize>,
    undone: BTreeSet<usize>,
}

/// Nearer stops than this have fences that overlap, and no wrong stop, in metres.
const APART_M: f64 = 200.0;

impl Slips {
    pub(super) fn draw(
        route: &Route,
        parcels: &[Parcel],
        issuer: &mut Issuer,
        random: &mut Random,
    ) -> Self {
        let mut slips = Self::default();
        let (Some(delivery), false) = (&route.delivery, parcels.is_empty()) else { return slips };
        let somewhere = |random: &mut Random| parcels[random.index(parcels.len())].stop;
        for _ in 0..delivery.wrong_stop_scans {
            if let Some((stop, index)) = wrong_stop(route, parcels, random) {
                slips.add(stop, Slip::WrongStop(index));
            }
        }
        for _ in 0..delivery.unknown_scans {
            slips.add(somewhere(random), Slip::Unknown(issuer.stranger()));
        }
        for _ in 0..delivery.garbage {
            slips.add(somewhere(random), Slip::Garbage(garbage(parcels, random)));
        }
        slips.draw_repeats(delivery, parcels, random);
        slips
    }

    fn draw_repeats(&mut self, delivery: &Delivery, parcels: &[Parcel], random: &mut Random) {
        for number in 0..delivery.repeated_reads {
            let Some(index) = draw(parcels, random, |_| true) else { continue };
            let twice = if number % 2 == 0 {
                &mut self.twice_at_the_station
            } else {
                &mut self.twice_at_its_stop
            };
            twice.insert(index);
        }
        let attempted =
            |(index, parcel): (usize, &Parcel)| (parcel.fate == Fate::Attempted).then_some(index);
        let attempted = parcels.iter().enumerate().filter_map(attempted);
        self.undone = attempted.take(delivery.undone_scans).collect();
    }

    fn add(&mut self, stop: usize, slip: Slip) {
        self.at_stops.entry(stop).or_default().push(slip);
    }

    /// Those at a stop, once.
    pub(super) fn take(&mut self, stop: usize) -> Vec<Slip> {
        self.at_stops.remove(&stop).unwrap_or_default()
    }

    pub(super) fn is_read_twice_at_the_station(&self, parcel: usize) -> bool {
        self.twice_at_the_station.contains(&parcel)
    }

    pub(super) fn is_read_twice_at_its_stop(&self, parcel: usize) -> bool {
        self.twice_at_its_stop.contains(&parcel)
    }

    pub(super) fn is_undone(&self, parcel: usize) -> bool {
        self.undone.contains(&parcel)
    }
}

/// A stop, and a parcel that is on board there and due elsewhere later.
fn wrong_stop(route: &Route, parcels: &[Parcel], random: &mut Random) -> Option<(usize, usize)> {
    let place = |stop: usize| route.stops[stop].point();
    let hosts = |due: usize| {
        let earlier = parcels.iter().map(|parcel| parcel.stop).filter(move |stop| *stop < due);
        earlier.filter(move |stop| place(*stop).distance_m(place(due)) > APART_M)
    };
    let index = draw(parcels, random, |parcel| hosts(parcel.stop).next().is_some())?;
    let hosts: Vec<usize> = hosts(parcels[index].stop).collect();
    Some((hosts[random.index(hosts.len())], index))
}

/// Half a label, or noise.
fn garbage(parcels: &[Parcel], random: &mut Random) -> String {
    if random.chance(0.5) {
        let line = &parcels[random.index(parcels.len())].line;
        return line[..line.len() / 2].to_owned();
    }
    let length = 4 + random.index(20);
    let noise = |_| char::from(u8::try_from(1 + random.index(127)).expect("below 128"));
    // An end of line would make two lines of it.
    (0..length).map(noise).filter(|letter| !matches!(letter, '\r' | '\n')).collect()
}
