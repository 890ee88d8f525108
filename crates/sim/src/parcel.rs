//! Draws the parcels of a route, their stops and their outcomes from the seed.

use super::delivery::Delivery;
use super::labels::{Label, LabelGenerator};
use super::random::Random;
use super::route::{Purpose, Route};

/// A parcel of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The number as people type it; the key in the manifest.
    pub key: String,
    pub epc: String,
    /// Carrier of the number; `None` for an SSCC.
    pub carrier: Option<&'static str>,
    /// The EPC of its RFID tag, in hexadecimal.
    pub tag: Option<String>,
    /// Stop where it is due, as an index of [`Route::stops`].
    pub stop: usize,
    pub outcome: ParcelOutcome,
    /// Line that a scanner sends for it.
    pub(super) line: String,
    pub(super) preferences: RecipientPreferences,
}

/// The true and only outcome of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParcelOutcome {
    /// Handed over at its stop.
    Delivered,
    /// Not accepted at its stop; returned to the station.
    Attempted,
    /// Found damaged at its stop; returned to the station.
    Damaged,
    /// Never loaded.
    Forgotten,
    /// Removed undetected at this stop, an index of [`Route::stops`] before its own.
    Lost(usize),
}

/// The recipient's delivery preferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecipientPreferences {
    Unspecified,
    AuthorityToLeave,
    SignatureRequired,
}

/// Returns all parcels in the order of their stops, and the generator for labels outside the
/// manifest.
pub(super) fn parcels(route: &Route, random: &mut Random) -> (Vec<Parcel>, LabelGenerator) {
    let mut issuer = LabelGenerator::for_van(route.settings.van);
    let mut parcels = Vec::new();
    let Some(delivery) = &route.delivery else { return (parcels, issuer) };
    for (stop, _) in delivery_stops(route) {
        for _ in 0..=random.index(delivery.max_parcels_per_stop) {
            let tagged = random.chance(delivery.rfid_share.get());
            let label = if tagged { issuer.next_tagged() } else { issuer.next_any(random) };
            let wishes = match random.index(10) {
                0..2 => RecipientPreferences::AuthorityToLeave,
                2 => RecipientPreferences::SignatureRequired,
                _ => RecipientPreferences::Unspecified,
            };
            parcels.push(parcel(label, tagged, stop, wishes));
        }
    }
    assign_outcomes(&mut parcels, delivery, random);
    (parcels, issuer)
}

/// Returns index and number (from 1) of the stops with parcels.
pub(super) fn delivery_stops(route: &Route) -> impl Iterator<Item = (usize, u32)> + '_ {
    let stops = route.stops.iter().enumerate();
    let due = stops.filter(|(_, stop)| stop.purpose == Purpose::Delivery);
    due.map(|(index, _)| index).zip(1..)
}

fn parcel(label: Label, tagged: bool, stop: usize, wishes: RecipientPreferences) -> Parcel {
    let Label { key, epc, carrier, line, tag } = label;
    let tag = tag.filter(|_| tagged);
    Parcel {
        key,
        epc,
        carrier,
        tag,
        stop,
        outcome: ParcelOutcome::Delivered,
        line,
        preferences: wishes,
    }
}

/// Assigns the mishaps; each parcel has at most one.
fn assign_outcomes(parcels: &mut [Parcel], delivery: &Delivery, random: &mut Random) {
    let first_stop = parcels.first().map_or(0, |parcel| parcel.stop);
    for _ in 0..delivery.lost {
        // An earlier stop must exist, and only a missing tag can be detected.
        let may = |parcel: &Parcel| parcel.stop > first_stop && parcel.tag.is_some();
        if let Some(index) = draw_parcel(parcels, random, may) {
            let before = parcels[..index].iter().map(|other| other.stop);
            let earlier: Vec<usize> = before.filter(|stop| *stop < parcels[index].stop).collect();
            parcels[index].outcome = ParcelOutcome::Lost(earlier[random.index(earlier.len())]);
        }
    }
    let fates = [
        (delivery.attempts, ParcelOutcome::Attempted),
        (delivery.damaged, ParcelOutcome::Damaged),
        (delivery.forgotten, ParcelOutcome::Forgotten),
    ];
    for (count, outcome) in fates {
        for _ in 0..count {
            if let Some(index) = draw_parcel(parcels, random, |_| true) {
                parcels[index].outcome = outcome;
            }
        }
    }
}

/// Draws a parcel without a mishap that satisfies `may`.
pub(super) fn draw_parcel(
    parcels: &[Parcel],
    random: &mut Random,
    may: impl Fn(&Parcel) -> bool,
) -> Option<usize> {
    let free = |parcel: &&Parcel| parcel.outcome == ParcelOutcome::Delivered && may(parcel);
    let free: Vec<usize> =
        parcels.iter().enumerate().filter(|(_, one)| free(one)).map(|(index, _)| index).collect();
    if free.is_empty() { None } else { Some(free[random.index(free.len())]) }
}
