//! Route and seed → [`Parcel`]s: what is due where, and what becomes of it.

use super::delivery::Delivery;
use super::number::{Issuer, Label};
use super::random::Random;
use super::route::{Purpose, Route};

/// A parcel of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The number that people type: the key in the manifest.
    pub key: String,
    /// Its URI.
    pub epc: String,
    /// Whose number it is; `None` of an SSCC.
    pub carrier: Option<&'static str>,
    /// The EPC of its radio tag, in hexadecimal.
    pub tag: Option<String>,
    /// Where it is due, as an index of [`Route::stops`].
    pub stop: usize,
    /// What becomes of it.
    pub fate: Fate,
    /// What a scanner sends for it.
    pub(super) line: String,
    pub(super) wishes: Wishes,
}

/// What becomes of a parcel in truth: its one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handed over at its stop.
    Delivered,
    /// Nobody took it at its stop: back at the station.
    Attempted,
    /// Found damaged at its stop: back at the station.
    Damaged,
    /// It never left the station.
    Forgotten,
    /// It left the van unseen at this stop, an index of [`Route::stops`] before its own.
    Lost(usize),
}

/// What the recipient asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wishes {
    Nothing,
    LeaveIt,
    Signature,
}

/// All parcels in the order of their stops, and the issuer for those that nobody expects.
pub(super) fn parcels(route: &Route, random: &mut Random) -> (Vec<Parcel>, Issuer) {
    let mut issuer = Issuer::of_van(route.settings.van);
    let mut parcels = Vec::new();
    let Some(delivery) = &route.delivery else { return (parcels, issuer) };
    for (stop, _) in delivery_stops(route) {
        for _ in 0..=random.index(delivery.max_parcels_per_stop) {
            let tagged = random.chance(delivery.rfid_share.get());
            let label = if tagged { issuer.tagged() } else { issuer.any(random) };
            let wishes = match random.index(10) {
                0..2 => Wishes::LeaveIt,
                2 => Wishes::Signature,
                _ => Wishes::Nothing,
            };
            parcels.push(parcel(label, tagged, stop, wishes));
        }
    }
    decide(&mut parcels, delivery, random);
    (parcels, issuer)
}

/// Index and number, from 1, of the stops at which parcels are due.
pub(super) fn delivery_stops(route: &Route) -> impl Iterator<Item = (usize, u32)> + '_ {
    let stops = route.stops.iter().enumerate();
    let due = stops.filter(|(_, stop)| stop.purpose == Purpose::Delivery);
    due.map(|(index, _)| index).zip(1..)
}

fn parcel(label: Label, tagged: bool, stop: usize, wishes: Wishes) -> Parcel {
    let Label { key, epc, carrier, line, tag } = label;
    let tag = tag.filter(|_| tagged);
    Parcel { key, epc, carrier, tag, stop, fate: Fate::Delivered, line, wishes }
}

/// Draws who has which mishap; nobody has two.
fn decide(parcels: &mut [Parcel], delivery: &Delivery, random: &mut Random) {
    let first_stop = parcels.first().map_or(0, |parcel| parcel.stop);
    for _ in 0..delivery.lost {
        // Somebody else's stop must come before, and only a tag is missed.
        let may = |parcel: &Parcel| parcel.stop > first_stop && parcel.tag.is_some();
        if let Some(index) = draw(parcels, random, may) {
            let before = parcels[..index].iter().map(|other| other.stop);
            let earlier: Vec<usize> = before.filter(|stop| *stop < parcels[index].stop).collect();
            parcels[index].fate = Fate::Lost(earlier[random.index(earlier.len())]);
        }
    }
    let fates = [
        (delivery.attempts, Fate::Attempted),
        (delivery.damaged, Fate::Damaged),
        (delivery.forgotten, Fate::Forgotten),
    ];
    for (count, fate) in fates {
        for _ in 0..count {
            if let Some(index) = draw(parcels, random, |_| true) {
                parcels[index].fate = fate;
            }
        }
    }
}

/// One of those without a mishap that may have this one.
pub(super) fn draw(
    parcels: &[Parcel],
    random: &mut Random,
    may: impl Fn(&Parcel) -> bool,
) -> Option<usize> {
    let free = |parcel: &&Parcel| parcel.fate == Fate::Delivered && may(parcel);
    let free: Vec<usize> =
        parcels.iter().enumerate().filter(|(_, one)| free(one)).map(|(index, _)| index).collect();
    if free.is_empty() { None } else { Some(free[random.index(free.len())]) }
}
