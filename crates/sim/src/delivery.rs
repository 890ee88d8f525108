//! Section `[delivery]` of a route file: number of parcels, mishaps and scan errors.

use std::time::Duration;

use super::keys::Section;
use super::route::{Depot, Fraction, Purpose, Stop, Van};

/// Parcels of the van and their mishaps. The seed decides which parcels and stops are affected.
///
/// A day with fewer parcels or stops than configured mishaps has fewer mishaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Maximum number of parcels per stop, 1..=10; each stop has at least one.
    pub max_parcels_per_stop: usize,
    /// Share of the parcels with an RFID tag.
    pub rfid_share: Fraction,
    /// Mean interval between two reads of each tag on board; some reads are missed.
    pub tag_read: Duration,
    /// Parcels that are not accepted at their stop; they return to the station.
    pub attempts: usize,
    /// Number of attempts that are first scanned as delivered and then undone.
    pub undone_scans: usize,
    /// Parcels found damaged at their stop; they return to the station.
    pub damaged: usize,
    /// Parcels of the manifest that were never loaded.
    pub forgotten: usize,
    /// Parcels that leave the van undetected, at another parcel's stop.
    pub lost: usize,
    /// Parcels scanned at a stop where they are not due, and put back.
    pub wrong_stop_scans: usize,
    /// Scans of parcels that are not in the manifest.
    pub unknown_scans: usize,
    /// Scanner lines that are corrupted.
    pub garbage: usize,
    /// Parcels whose label is read twice in quick succession.
    pub repeated_reads: usize,
}

pub(super) fn parse_delivery(mut table: Section<'_>) -> Delivery {
    let mut count = |key, default: u64| {
        let number = table.whole_number(key, 0..=500, default);
        usize::try_from(number).expect("500 at most")
    };
    let (attempts, undone_scans) = (count("attempts", 2), count("undone_scans", 0));
    let (damaged, forgotten, lost) = (count("damaged", 1), count("forgotten", 1), count("lost", 1));
    let (wrong_stop_scans, unknown_scans) =
        (count("wrong_stop_scans", 1), count("unknown_scans", 1));
    let (garbage, repeated_reads) = (count("garbage", 1), count("repeated_reads", 2));
    let most = table.whole_number("max_parcels_per_stop", 1..=10, 3);
    let rfid_share = table.number("rfid_share", 0.0..=1.0, 0.3);
    let tag_read = Duration::from_secs(table.whole_number("tag_read_s", 1..=600, 3));
    table.finish();
    Delivery {
        max_parcels_per_stop: usize::try_from(most).expect("10 at most"),
        rfid_share: Fraction::new(rfid_share).expect("the range was checked"),
        tag_read,
        attempts,
        undone_scans,
        damaged,
        forgotten,
        lost,
        wrong_stop_scans,
        unknown_scans,
        garbage,
        repeated_reads,
    }
}

/// Time for loading, in seconds, besides one second per parcel: 30 s before and 30 s after.
const LOADING_MARGIN_S: usize = 60;
/// Time until the driver starts to unload, in seconds.
const UNLOADING_MARGIN_S: usize = 30;
/// Time at a stop besides the handovers, in seconds: detection of the arrival, and the way from the
/// last scan to the departure.
const STOP_MARGIN_S: usize = 20;
/// Time per parcel at a stop, in seconds.
const HANDOVER_S: usize = 5;

/// Reports times at the depot and at stops that are too short for the number of parcels.
pub(super) fn check_times(
    file: &mut Section<'_>,
    delivery: &Delivery,
    depot: &Depot,
    van: &Van,
    stops: &[Stop],
) {
    let most = delivery.max_parcels_per_stop;
    let least = |seconds: usize| Duration::from_secs(u64::try_from(seconds).expect("a few"));
    let loading = least(LOADING_MARGIN_S + most * stops.len());
    if depot.loading < loading {
        let (given, needed) = (depot.loading.as_secs(), loading.as_secs());
        let parcels = most * stops.len();
        let text =
            format!("{given} s is too short to load {parcels} parcels: set {needed} s or more");
        file.add_problem("depot.loading_s", &text);
    }
    let unloading = least(UNLOADING_MARGIN_S + 2 * (delivery.attempts + delivery.damaged));
    if depot.unloading < unloading {
        let (given, needed) = (depot.unloading.as_secs(), unloading.as_secs());
        let text = format!("{given} s is too short to scan returns: set {needed} s or more");
        file.add_problem("depot.unloading_s", &text);
    }
    let shortest = 1.0 - van.dwell_spread.get();
    let dwell = least(STOP_MARGIN_S + HANDOVER_S * most).div_f64(shortest);
    for (index, stop) in stops.iter().enumerate() {
        if stop.purpose == Purpose::Delivery && stop.dwell < dwell {
            let (given, needed) = (stop.dwell.as_secs(), dwell.as_secs_f64().ceil());
            let text = format!(
                "{given} s is too short to hand over {most} parcels: set {needed} s or more"
            );
            file.add_problem(&format!("stops[{index}].dwell_s"), &text);
        }
    }
}
