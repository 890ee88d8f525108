//! `[delivery]` of a route file → [`Delivery`]: how many parcels there are, and what goes wrong with them.

use std::time::Duration;

use super::keys::Section;
use super::route::{Depot, Purpose, Share, Stop, Van};

/// What the van carries, and what becomes of it. Which parcels and which stops is drawn from the seed.
///
/// Where the day has fewer parcels or stops than that, it has fewer mishaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Each stop is due 1 to so many, 1..=10.
    pub max_parcels_per_stop: usize,
    /// The part of the parcels with a radio tag.
    pub rfid_share: Share,
    /// How often each tag on board is read, about; some reads are missed.
    pub tag_read: Duration,
    /// Parcels that nobody takes: they come back to the station.
    pub attempts: usize,
    /// Of those attempts, so many are first scanned as if delivered, and taken back.
    pub undone_scans: usize,
    /// Parcels found damaged at their stop: they come back too.
    pub damaged: usize,
    /// Parcels of the manifest that were never loaded.
    pub forgotten: usize,
    /// Parcels that leave the van unseen, at a stop of others.
    pub lost: usize,
    /// Parcels scanned at a stop where they are not due, and laid back.
    pub wrong_stop_scans: usize,
    /// Scans of parcels that the manifest does not know.
    pub unknown_scans: usize,
    /// Lines that the scanner spoils.
    pub garbage: usize,
    /// Parcels whose label is read twice in a moment.
    pub repeated_reads: usize,
}

pub(super) fn read(mut table: Section<'_>) -> Delivery {
    let mut count = |key, default: u64| {
        let number = table.whole(key, 0..=500, default);
        usize::try_from(number).expect("500 at most")
    };
    let (attempts, undone_scans) = (count("attempts", 2), count("undone_scans", 0));
    let (damaged, forgotten, lost) = (count("damaged", 1), count("forgotten", 1), count("lost", 1));
    let (wrong_stop_scans, unknown_scans) =
        (count("wrong_stop_scans", 1), count("unknown_scans", 1));
    let (garbage, repeated_reads) = (count("garbage", 1), count("repeated_reads", 2));
    let most = table.whole("max_parcels_per_stop", 1..=10, 3);
    let rfid_share = table.number("rfid_share", 0.0..=1.0, 0.3);
    let tag_read = Duration::from_secs(table.whole("tag_read_s", 1..=600, 3));
    table.finish();
    Delivery {
        max_parcels_per_stop: usize::try_from(most).expect("10 at most"),
        rfid_share: Share::new(rfid_share).expect("it was checked"),
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

/// A parcel a second, and half a minute before and after.
const LOADING_MARGIN_S: usize = 60;
/// The driver gets out.
const UNLOADING_MARGIN_S: usize = 30;
/// Until a van that stands counts as arrived, and from the last scan to the door.
const STOP_MARGIN_S: usize = 20;
/// For each parcel of a stop.
const HANDING_OVER_S: usize = 5;

/// Nobody loads a hundred parcels in a minute.
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
            format!("{given} is too short to load up to {parcels} parcels: {needed} or more");
        file.problem("depot.loading_s", &text);
    }
    let unloading = least(UNLOADING_MARGIN_S + 2 * (delivery.attempts + delivery.damaged));
    if depot.unloading < unloading {
        let (given, needed) = (depot.unloading.as_secs(), unloading.as_secs());
        let text = format!("{given} is too short to scan what comes back: {needed} or more");
        file.problem("depot.unloading_s", &text);
    }
    let shortest = 1.0 - van.dwell_spread.get();
    let dwell = least(STOP_MARGIN_S + HANDING_OVER_S * most).div_f64(shortest);
    for (index, stop) in stops.iter().enumerate() {
        if stop.purpose == Purpose::Delivery && stop.dwell < dwell {
            let (given, needed) = (stop.dwell.as_secs(), dwell.as_secs_f64().ceil());
            let text =
                format!("{given} is too short to hand over {most} parcels: {needed} or more");
            file.problem(&format!("stops[{index}].dwell_s"), &text);
        }
    }
}
