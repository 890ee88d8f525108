//! Plans all scans of the driver and all ground-truth events of the day, in one time order.
//!
//! The driver scans at the end of a stop. The first scan comes at least `FIRST_SCAN_DELAY` after
//! the standstill, and the last one at least `LAST_SCAN_MARGIN` before the departure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::anomalies::{Anomalies, Anomaly};
use super::labels::LabelGenerator;
use super::parcel::{Parcel, ParcelOutcome, delivery_stops};
use super::random::{Random, Stream};
use super::route::{Purpose, Route};
use super::tags::TagPresence;
use super::timeline::{
    DayEvent, GroundTruthEvent, GroundTruthKind, Scan, ScanAlert, Scanner, Summary,
};
use super::timetable::{Timetable, Visit};
use waypost_model::units::{Distance, Uptime};

/// The part of the day that is planned in advance.
#[derive(Debug)]
pub(super) struct Plan {
    /// Manual scans and ground-truth events, in time order.
    pub(super) events: Vec<DayEvent>,
    /// Times at which each RFID tag is in the van.
    pub(super) tag_presences: Vec<TagPresence>,
    pub(super) summary: Summary,
}

/// Minimum time from the standstill to the first scan.
pub(super) const FIRST_SCAN_DELAY: Duration = Duration::from_secs(12);
/// Minimum time from the last scan to the departure.
pub(super) const LAST_SCAN_MARGIN: Duration = Duration::from_secs(4);

/// Time from the scan that starts the duty to the first parcel's scan.
const ON_DUTY_LEAD: Duration = Duration::from_secs(10);
/// Time between two parcels at the station.
const LOADING_GAP_S: f64 = 3.0;
/// Time from the last parcel's scan to the departure.
const DEPARTURE_MARGIN_S: f64 = 30.0;

/// One scan at a stop.
struct DriverAction {
    /// Seconds since the scan before.
    gap_s: f64,
    line: String,
    ground_truth: Option<(GroundTruthKind, String)>,
    /// Index of the parcel that is taken out of the van for it.
    unloads: Option<usize>,
}

struct Planner<'a> {
    route: &'a Route,
    parcels: &'a [Parcel],
    table: &'a Timetable,
    random: Random,
    anomalies: Anomalies,
    /// Manifest ids of the stops, by index.
    stop_ids: BTreeMap<usize, String>,
    events: Vec<DayEvent>,
    tag_presences: Vec<TagPresence>,
}

/// Plans the whole day.
pub(super) fn plan(
    route: &Route,
    parcels: &[Parcel],
    mut issuer: LabelGenerator,
    table: &Timetable,
) -> Plan {
    let mut random = Random::new(route.settings.seed, Stream::Scans);
    let slips = Anomalies::draw(route, parcels, &mut issuer, &mut random);
    let names = delivery_stops(route).map(|(index, seq)| (index, stop_id(seq))).collect();
    let (events, stays) = (Vec::new(), Vec::new());
    let mut planner = Planner {
        route,
        parcels,
        table,
        random,
        anomalies: slips,
        stop_ids: names,
        events,
        tag_presences: stays,
    };
    planner.plan_loading();
    for (index, visit) in table.visits.iter().enumerate() {
        match route.stops[index].purpose {
            Purpose::Delivery => planner.plan_stop(index, *visit),
            Purpose::Break => planner.plan_break(*visit),
        }
    }
    planner.plan_return();
    let summary = summary(route, parcels, table);
    planner.record(table.end, GroundTruthKind::Completed(summary), None, None);
    let Planner { mut events, tag_presences: stays, .. } = planner;
    events.sort_by_key(DayEvent::at);
    Plan { events, tag_presences: stays, summary }
}

/// Returns the manifest id of the stop with this number.
pub(super) fn stop_id(seq: u32) -> String {
    format!("stop-{seq}")
}

impl Planner<'_> {
    fn scan(&mut self, at: Duration, line: &str) {
        let (at, line) = (Uptime::new(at), line.to_owned());
        self.events.push(DayEvent::Scan(Scan { at, scanner: Scanner::Hand, line }));
    }

    fn record(
        &mut self,
        at: Duration,
        happening: GroundTruthKind,
        parcel: Option<&str>,
        stop: Option<usize>,
    ) {
        let utc = self.route.settings.start.checked_add(at).expect("the year was checked");
        let stop = stop.and_then(|index| self.stop_ids.get(&index)).cloned();
        let (at, parcel) = (Uptime::new(at), parcel.map(str::to_owned));
        self.events.push(DayEvent::GroundTruth(GroundTruthEvent {
            at,
            utc,
            kind: happening,
            parcel,
            stop,
        }));
    }

    fn add_tag_presence(&mut self, parcel: usize, from: Duration, until: Duration) {
        if let Some(tag) = &self.parcels[parcel].tag {
            self.tag_presences.push(TagPresence { tag: tag.clone(), from, until });
        }
    }

    /// Draws a duration, rounded to the millisecond.
    fn random_duration(&mut self, from_s: f64, to_s: f64) -> Duration {
        duration_from_s(self.random.between(from_s, to_s))
    }

    /// Plans the loading, in reverse order of the stops.
    fn plan_loading(&mut self) {
        let departed = self.table.departed;
        let parcels = self.parcels;
        let taken: Vec<(usize, &Parcel)> = parcels
            .iter()
            .enumerate()
            .filter(|(_, one)| one.outcome != ParcelOutcome::Forgotten)
            .collect();
        let gap_s = gap_s(departed.as_secs_f64() - 2.0 * DEPARTURE_MARGIN_S, taken.len());
        let mut at = departed
            .saturating_sub(duration_from_s(DEPARTURE_MARGIN_S + gap_s * count_f64(taken.len())));
        self.change_duty(at.saturating_sub(ON_DUTY_LEAD), GroundTruthKind::OnDuty);
        for (index, parcel) in taken.into_iter().rev() {
            let late = self.random_duration(0.0, 0.5 * gap_s);
            self.scan(at + late, &parcel.line);
            self.record(at + late, GroundTruthKind::Loaded, Some(&parcel.key), None);
            if self.anomalies.is_repeated_at_station(index) {
                let again = self.random_duration(0.2, 0.5 * gap_s);
                self.scan(at + late + again, &parcel.line);
            }
            self.add_time_aboard(index, at + late, departed);
            at += duration_from_s(gap_s);
        }
        for parcel in parcels.iter().filter(|parcel| parcel.outcome == ParcelOutcome::Forgotten) {
            self.record(departed, GroundTruthKind::Forgotten, Some(&parcel.key), None);
        }
        self.record(departed, GroundTruthKind::Departed, None, None);
    }

    /// Records the tag's presence of a parcel that is not handed over. A lost parcel leaves at a
    /// random time; for others `end_tag_presence` corrects the end.
    fn add_time_aboard(&mut self, index: usize, loaded: Duration, departed: Duration) {
        let aboard = loaded + self.random_duration(2.0, 15.0);
        let ParcelOutcome::Lost(stop) = self.parcels[index].outcome else {
            return self.add_tag_presence(index, aboard.min(departed), self.table.end);
        };
        let visit = self.table.visits[stop];
        let at = visit.arrived
            + duration_from_s(visit.dwell().as_secs_f64() * self.random.between(0.3, 0.7));
        self.add_tag_presence(index, aboard.min(departed), at);
        let key = &self.parcels[index].key;
        self.record(at, GroundTruthKind::Lost, Some(key), Some(stop));
    }

    fn end_tag_presence(&mut self, index: usize, at: Duration) {
        let tag = self.parcels[index].tag.as_deref();
        let add_tag_presence = self
            .tag_presences
            .iter_mut()
            .rev()
            .find(|add_tag_presence| Some(add_tag_presence.tag.as_str()) == tag);
        if let Some(add_tag_presence) = add_tag_presence {
            add_tag_presence.until = at.max(add_tag_presence.from);
        }
    }

    fn plan_stop(&mut self, stop: usize, visit: Visit) {
        self.record(visit.arrived, GroundTruthKind::Arrived, None, Some(stop));
        let acts = self.actions_at(stop);
        let gaps = acts.iter().skip(1).map(|act| act.gap_s).sum::<f64>();
        let last = visit.left.saturating_sub(LAST_SCAN_MARGIN + self.random_duration(0.0, 6.0));
        let room = last.saturating_sub(visit.arrived + FIRST_SCAN_DELAY).as_secs_f64();
        // With more scans than time, the driver scans faster.
        let haste = if gaps > room { room / gaps } else { 1.0 };
        let mut at = last.saturating_sub(duration_from_s(gaps * haste));
        for (number, act) in acts.into_iter().enumerate() {
            if number > 0 {
                at += duration_from_s(act.gap_s * haste);
            }
            self.scan(at, &act.line);
            if let Some(index) = act.unloads {
                let out = at.saturating_sub(self.random_duration(3.0, 15.0)).max(visit.arrived);
                self.end_tag_presence(index, out);
                if self.parcels[index].outcome != ParcelOutcome::Delivered {
                    self.add_tag_presence(index, visit.left, self.table.end);
                }
            }
            if let Some((happening, key)) = act.ground_truth {
                self.record(at, happening, Some(&key), Some(stop));
            }
        }
        self.record(visit.left, GroundTruthKind::Left, None, Some(stop));
    }

    /// Returns the driver's scans at a stop, the anomalies first.
    fn actions_at(&mut self, stop: usize) -> Vec<DriverAction> {
        let mut acts = Vec::new();
        for slip in self.anomalies.drain_stop(stop) {
            let (line, tells) = match slip {
                Anomaly::UnknownParcel(label) => {
                    (label.line, Some((GroundTruthKind::Seen(ScanAlert::Unknown), label.key)))
                }
                Anomaly::WrongStop(index) => {
                    let Parcel { line, key, .. } = &self.parcels[index];
                    (line.clone(), Some((GroundTruthKind::Seen(ScanAlert::WrongStop), key.clone())))
                }
                Anomaly::Garbage(line) => (line, None),
            };
            acts.push(DriverAction {
                gap_s: self.random.between(3.0, 5.0),
                line,
                ground_truth: tells,
                unloads: None,
            });
        }
        let parcels = self.parcels;
        let here = parcels.iter().enumerate().filter(|(_, parcel)| parcel.stop == stop);
        for (index, parcel) in here {
            self.push_parcel_actions(index, parcel, &mut acts);
        }
        acts
    }

    fn push_parcel_actions(&mut self, index: usize, parcel: &Parcel, acts: &mut Vec<DriverAction>) {
        let mut push = |gap_s: f64, line: &str, tells: Option<GroundTruthKind>| {
            let tells = tells.map(|happening| (happening, parcel.key.clone()));
            let takes = tells.is_some().then_some(index);
            acts.push(DriverAction {
                gap_s,
                line: line.to_owned(),
                ground_truth: tells,
                unloads: takes,
            });
        };
        let gap_s = self.random.between(3.5, 6.0);
        match parcel.outcome {
            ParcelOutcome::Delivered => {
                push(gap_s, &parcel.line, Some(GroundTruthKind::Delivered));
                if self.anomalies.is_repeated_at_stop(index) {
                    push(self.random.between(0.3, 1.2), &parcel.line, None);
                }
            }
            ParcelOutcome::Attempted => {
                if self.anomalies.is_undone(index) {
                    push(gap_s, &parcel.line, None);
                    push(3.0, "]C0VANCTL:UNDO", None);
                }
                push(gap_s, "]C0VANCTL:ATTEMPT:AQ", None);
                push(2.5, &parcel.line, Some(GroundTruthKind::Attempted));
            }
            ParcelOutcome::Damaged => {
                push(gap_s, "]C0VANCTL:DAMAGED", None);
                push(2.5, &parcel.line, Some(GroundTruthKind::Damaged));
            }
            ParcelOutcome::Forgotten | ParcelOutcome::Lost(_) => {}
        }
    }

    fn plan_break(&mut self, visit: Visit) {
        self.change_duty(visit.arrived + FIRST_SCAN_DELAY, GroundTruthKind::OnBreak);
        self.change_duty(visit.left.saturating_sub(LAST_SCAN_MARGIN), GroundTruthKind::OnDuty);
    }

    /// Plans a scan of the printed control code.
    fn change_duty(&mut self, at: Duration, happening: GroundTruthKind) {
        let line = match happening {
            GroundTruthKind::OnBreak => "]C0VANCTL:DUTY:BREAK",
            GroundTruthKind::OffDuty => "]C0VANCTL:DUTY:OFF",
            _ => "]C0VANCTL:DUTY:ON",
        };
        if self.route.delivery.is_some() {
            self.scan(at, line);
        }
        self.record(at, happening, None, None);
    }

    fn plan_return(&mut self) {
        let Timetable { returned, end, .. } = *self.table;
        self.record(returned, GroundTruthKind::RouteReturned, None, None);
        let parcels = self.parcels;
        let back = parcels.iter().enumerate();
        let back: Vec<(usize, &Parcel)> = back
            .filter(|(_, parcel)| {
                matches!(parcel.outcome, ParcelOutcome::Attempted | ParcelOutcome::Damaged)
            })
            .collect();
        let first = returned + 2 * FIRST_SCAN_DELAY;
        let room = end.saturating_sub(first + 2 * LAST_SCAN_MARGIN);
        let gap_s = gap_s(room.as_secs_f64(), back.len());
        let mut at = first;
        for (index, parcel) in back {
            self.scan(at, &parcel.line);
            self.record(at, GroundTruthKind::Returned, Some(&parcel.key), None);
            self.end_tag_presence(index, at.saturating_sub(Duration::from_secs(2)));
            at += duration_from_s(gap_s);
        }
        self.change_duty(
            end.saturating_sub(LAST_SCAN_MARGIN).max(returned),
            GroundTruthKind::OffDuty,
        );
    }
}

/// Returns the gap between scans: three seconds, or less if there is not enough time.
fn gap_s(room_s: f64, count: usize) -> f64 {
    (room_s / count_f64(count.max(1))).clamp(0.0, LOADING_GAP_S)
}

fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("500 stops with 10 parcels at most"))
}

/// Rounds to the millisecond.
fn duration_from_s(seconds: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a day, and never below 0"
    )]
    let ms = (seconds * 1000.0).round() as u64;
    Duration::from_millis(ms)
}

fn summary(route: &Route, parcels: &[Parcel], table: &Timetable) -> Summary {
    let count =
        |is: fn(ParcelOutcome) -> bool| parcels.iter().filter(|parcel| is(parcel.outcome)).count();
    let standing = |purpose| -> Duration {
        let visits = route.stops.iter().zip(&table.visits);
        visits.filter(|(stop, _)| stop.purpose == purpose).map(|(_, visit)| visit.dwell()).sum()
    };
    let stops = delivery_stops(route).count();
    let (attempted, damaged) = (
        count(|outcome| outcome == ParcelOutcome::Attempted),
        count(|outcome| outcome == ParcelOutcome::Damaged),
    );
    Summary {
        stops_total: stops,
        stops_served: stops,
        parcels: parcels.len(),
        delivered: count(|outcome| outcome == ParcelOutcome::Delivered),
        attempted,
        damaged,
        returned: attempted + damaged,
        forgotten: count(|outcome| outcome == ParcelOutcome::Forgotten),
        lost: count(|outcome| matches!(outcome, ParcelOutcome::Lost(_))),
        dwell: standing(Purpose::Delivery),
        breaks: standing(Purpose::Break),
        idle: table.idle,
        duration: table.returned.saturating_sub(table.departed),
        distance: Distance::from_metres(table.distance_m).expect("a day's drive"),
    }
}
