//! Timetable and parcels → [`Plan`]: all scans of the driver and all facts of the day, in one time order.
//!
//! The driver scans at the end of a stop, when hands are free again: the first scan comes [`SETTLED`] after the van
//! stood still at the earliest, and the last [`LEAVING`] before it moves at the latest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::moment::{Alert, Fact, Happening, Moment, Scan, Scanner, Summary};
use super::number::Issuer;
use super::parcel::{Fate, Parcel, delivery_stops};
use super::random::{Random, Stream};
use super::route::{Purpose, Route};
use super::slips::{Slip, Slips};
use super::tags::Stay;
use super::timetable::{Timetable, Visit};
use crate::units::{Distance, Uptime};

/// What is known of the day before it begins.
#[derive(Debug)]
pub(super) struct Plan {
    /// Scans by hand and facts, in time order.
    pub(super) moments: Vec<Moment>,
    /// When which radio tag is in the van.
    pub(super) stays: Vec<Stay>,
    pub(super) summary: Summary,
}

/// After a standstill, before the first scan.
pub(super) const SETTLED: Duration = Duration::from_secs(12);
/// After the last scan, before the van moves.
pub(super) const LEAVING: Duration = Duration::from_secs(4);

/// From the driver's first scan to the first parcel's.
const HELLO: Duration = Duration::from_secs(10);
/// Between two parcels at the station.
const LOADING_GAP_S: f64 = 3.0;
/// After the last parcel, before the van sets off.
const DOORS_S: f64 = 30.0;

/// One pull of the trigger at a stop.
struct Act {
    /// Seconds after the one before.
    gap_s: f64,
    line: String,
    tells: Option<(Happening, String)>,
    /// The parcel that was taken out of the van for it.
    takes: Option<usize>,
}

struct Planner<'a> {
    route: &'a Route,
    parcels: &'a [Parcel],
    table: &'a Timetable,
    random: Random,
    slips: Slips,
    /// Names of the stops in the manifest, by index.
    names: BTreeMap<usize, String>,
    moments: Vec<Moment>,
    stays: Vec<Stay>,
}

/// The whole day.
pub(super) fn plan(
    route: &Route,
    parcels: &[Parcel],
    mut issuer: Issuer,
    table: &Timetable,
) -> Plan {
    let mut random = Random::new(route.settings.seed, Stream::Scans);
    let slips = Slips::draw(route, parcels, &mut issuer, &mut random);
    let names = delivery_stops(route).map(|(index, seq)| (index, stop_id(seq))).collect();
    let (moments, stays) = (Vec::new(), Vec::new());
    let mut planner = Planner { route, parcels, table, random, slips, names, moments, stays };
    planner.load();
    for (index, visit) in table.visits.iter().enumerate() {
        match route.stops[index].purpose {
            Purpose::Delivery => planner.deliver(index, *visit),
            Purpose::Break => planner.rest(*visit),
        }
    }
    planner.come_back();
    let summary = summary(route, parcels, table);
    planner.tell(table.end, Happening::Completed(summary), None, None);
    let Planner { mut moments, stays, .. } = planner;
    moments.sort_by_key(Moment::at);
    Plan { moments, stays, summary }
}

/// The name in the manifest of the stop with this number.
pub(super) fn stop_id(seq: u32) -> String {
    format!("stop-{seq}")
}

impl Planner<'_> {
    fn scan(&mut self, at: Duration, line: &str) {
        let (at, line) = (Uptime::new(at), line.to_owned());
        self.moments.push(Moment::Scan(Scan { at, scanner: Scanner::Hand, line }));
    }

    fn tell(
        &mut self,
        at: Duration,
        happening: Happening,
        parcel: Option<&str>,
        stop: Option<usize>,
    ) {
        let utc = self.route.settings.start.checked_add(at).expect("the year was checked");
        let stop = stop.and_then(|index| self.names.get(&index)).cloned();
        let (at, parcel) = (Uptime::new(at), parcel.map(str::to_owned));
        self.moments.push(Moment::Fact(Fact { at, utc, happening, parcel, stop }));
    }

    fn stay(&mut self, parcel: usize, from: Duration, until: Duration) {
        if let Some(tag) = &self.parcels[parcel].tag {
            self.stays.push(Stay { tag: tag.clone(), from, until });
        }
    }

    /// A part of a second to some seconds, to the millisecond.
    fn some(&mut self, from_s: f64, to_s: f64) -> Duration {
        seconds(self.random.between(from_s, to_s))
    }

    /// The last stop's parcels go in first.
    fn load(&mut self) {
        let departed = self.table.departed;
        let parcels = self.parcels;
        let taken: Vec<(usize, &Parcel)> =
            parcels.iter().enumerate().filter(|(_, one)| one.fate != Fate::Forgotten).collect();
        let gap_s = gap_s(departed.as_secs_f64() - 2.0 * DOORS_S, taken.len());
        let mut at = departed.saturating_sub(seconds(DOORS_S + gap_s * whole(taken.len())));
        self.change_duty(at.saturating_sub(HELLO), Happening::OnDuty);
        for (index, parcel) in taken.into_iter().rev() {
            let late = self.some(0.0, 0.5 * gap_s);
            self.scan(at + late, &parcel.line);
            self.tell(at + late, Happening::Loaded, Some(&parcel.key), None);
            if self.slips.is_read_twice_at_the_station(index) {
                let again = self.some(0.2, 0.5 * gap_s);
                self.scan(at + late + again, &parcel.line);
            }
            self.remain(index, at + late, departed);
            at += seconds(gap_s);
        }
        for parcel in parcels.iter().filter(|parcel| parcel.fate == Fate::Forgotten) {
            self.tell(departed, Happening::Forgotten, Some(&parcel.key), None);
        }
        self.tell(departed, Happening::Departed, None, None);
    }

    /// How long a parcel that nobody takes out is in the van: that of the lost until it is lost, else a guess for
    /// [`Self::take_out`] to correct.
    fn remain(&mut self, index: usize, loaded: Duration, departed: Duration) {
        let aboard = loaded + self.some(2.0, 15.0);
        let Fate::Lost(stop) = self.parcels[index].fate else {
            return self.stay(index, aboard.min(departed), self.table.end);
        };
        let visit = self.table.visits[stop];
        let at =
            visit.arrived + seconds(visit.dwell().as_secs_f64() * self.random.between(0.3, 0.7));
        self.stay(index, aboard.min(departed), at);
        let key = &self.parcels[index].key;
        self.tell(at, Happening::Lost, Some(key), Some(stop));
    }

    fn take_out(&mut self, index: usize, at: Duration) {
        let tag = self.parcels[index].tag.as_deref();
        let stay = self.stays.iter_mut().rev().find(|stay| Some(stay.tag.as_str()) == tag);
        if let Some(stay) = stay {
            stay.until = at.max(stay.from);
        }
    }

    fn deliver(&mut self, stop: usize, visit: Visit) {
        self.tell(visit.arrived, Happening::Arrived, None, Some(stop));
        let acts = self.acts(stop);
        let gaps = acts.iter().skip(1).map(|act| act.gap_s).sum::<f64>();
        let last = visit.left.saturating_sub(LEAVING + self.some(0.0, 6.0));
        let room = last.saturating_sub(visit.arrived + SETTLED).as_secs_f64();
        // Whoever has more to scan than time scans faster.
        let haste = if gaps > room { room / gaps } else { 1.0 };
        let mut at = last.saturating_sub(seconds(gaps * haste));
        for (number, act) in acts.into_iter().enumerate() {
            if number > 0 {
                at += seconds(act.gap_s * haste);
            }
            self.scan(at, &act.line);
            if let Some(index) = act.takes {
                let out = at.saturating_sub(self.some(3.0, 15.0)).max(visit.arrived);
                self.take_out(index, out);
                if self.parcels[index].fate != Fate::Delivered {
                    self.stay(index, visit.left, self.table.end);
                }
            }
            if let Some((happening, key)) = act.tells {
                self.tell(at, happening, Some(&key), Some(stop));
            }
        }
        self.tell(visit.left, Happening::Left, None, Some(stop));
    }

    /// What the driver scans at a stop, the slips first.
    fn acts(&mut self, stop: usize) -> Vec<Act> {
        let mut acts = Vec::new();
        for slip in self.slips.take(stop) {
            let (line, tells) = match slip {
                Slip::Unknown(label) => {
                    (label.line, Some((Happening::Seen(Alert::Unknown), label.key)))
                }
                Slip::WrongStop(index) => {
                    let Parcel { line, key, .. } = &self.parcels[index];
                    (line.clone(), Some((Happening::Seen(Alert::WrongStop), key.clone())))
                }
                Slip::Garbage(line) => (line, None),
            };
            acts.push(Act { gap_s: self.random.between(3.0, 5.0), line, tells, takes: None });
        }
        let parcels = self.parcels;
        let here = parcels.iter().enumerate().filter(|(_, parcel)| parcel.stop == stop);
        for (index, parcel) in here {
            self.hand_over(index, parcel, &mut acts);
        }
        acts
    }

    fn hand_over(&mut self, index: usize, parcel: &Parcel, acts: &mut Vec<Act>) {
        let mut push = |gap_s: f64, line: &str, tells: Option<Happening>| {
            let tells = tells.map(|happening| (happening, parcel.key.clone()));
            let takes = tells.is_some().then_some(index);
            acts.push(Act { gap_s, line: line.to_owned(), tells, takes });
        };
        let gap_s = self.random.between(3.5, 6.0);
        match parcel.fate {
            Fate::Delivered => {
                push(gap_s, &parcel.line, Some(Happening::Delivered));
                if self.slips.is_read_twice_at_its_stop(index) {
                    push(self.random.between(0.3, 1.2), &parcel.line, None);
                }
            }
            Fate::Attempted => {
                if self.slips.is_undone(index) {
                    push(gap_s, &parcel.line, None);
                    push(3.0, "]C0VANCTL:UNDO", None);
                }
                push(gap_s, "]C0VANCTL:ATTEMPT:AQ", None);
                push(2.5, &parcel.line, Some(Happening::Attempted));
            }
            Fate::Damaged => {
                push(gap_s, "]C0VANCTL:DAMAGED", None);
                push(2.5, &parcel.line, Some(Happening::Damaged));
            }
            Fate::Forgotten | Fate::Lost(_) => {}
        }
    }

    fn rest(&mut self, visit: Visit) {
        self.change_duty(visit.arrived + SETTLED, Happening::OnBreak);
        self.change_duty(visit.left.saturating_sub(LEAVING), Happening::OnDuty);
    }

    /// By a printed control code.
    fn change_duty(&mut self, at: Duration, happening: Happening) {
        let line = match happening {
            Happening::OnBreak => "]C0VANCTL:DUTY:BREAK",
            Happening::OffDuty => "]C0VANCTL:DUTY:OFF",
            _ => "]C0VANCTL:DUTY:ON",
        };
        if self.route.delivery.is_some() {
            self.scan(at, line);
        }
        self.tell(at, happening, None, None);
    }

    fn come_back(&mut self) {
        let Timetable { returned, end, .. } = *self.table;
        self.tell(returned, Happening::CameBack, None, None);
        let parcels = self.parcels;
        let back = parcels.iter().enumerate();
        let back: Vec<(usize, &Parcel)> = back
            .filter(|(_, parcel)| matches!(parcel.fate, Fate::Attempted | Fate::Damaged))
            .collect();
        let first = returned + 2 * SETTLED;
        let room = end.saturating_sub(first + 2 * LEAVING);
        let gap_s = gap_s(room.as_secs_f64(), back.len());
        let mut at = first;
        for (index, parcel) in back {
            self.scan(at, &parcel.line);
            self.tell(at, Happening::Returned, Some(&parcel.key), None);
            self.take_out(index, at.saturating_sub(Duration::from_secs(2)));
            at += seconds(gap_s);
        }
        self.change_duty(end.saturating_sub(LEAVING).max(returned), Happening::OffDuty);
    }
}

/// Three seconds for each, or what there is.
fn gap_s(room_s: f64, count: usize) -> f64 {
    (room_s / whole(count.max(1))).clamp(0.0, LOADING_GAP_S)
}

fn whole(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("500 stops with 10 parcels at most"))
}

/// To the millisecond.
fn seconds(seconds: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a day, and never below 0"
    )]
    let ms = (seconds * 1000.0).round() as u64;
    Duration::from_millis(ms)
}

fn summary(route: &Route, parcels: &[Parcel], table: &Timetable) -> Summary {
    let count = |is: fn(Fate) -> bool| parcels.iter().filter(|parcel| is(parcel.fate)).count();
    let standing = |purpose| -> Duration {
        let visits = route.stops.iter().zip(&table.visits);
        visits.filter(|(stop, _)| stop.purpose == purpose).map(|(_, visit)| visit.dwell()).sum()
    };
    let stops = delivery_stops(route).count();
    let (attempted, damaged) =
        (count(|fate| fate == Fate::Attempted), count(|fate| fate == Fate::Damaged));
    Summary {
        stops_total: stops,
        stops_served: stops,
        parcels: parcels.len(),
        delivered: count(|fate| fate == Fate::Delivered),
        attempted,
        damaged,
        returned: attempted + damaged,
        forgotten: count(|fate| fate == Fate::Forgotten),
        lost: count(|fate| matches!(fate, Fate::Lost(_))),
        dwell: standing(Purpose::Delivery),
        breaks: standing(Purpose::Break),
        idle: table.idle,
        duration: table.returned.saturating_sub(table.departed),
        distance: Distance::from_metres(table.distance_m).expect("a day's drive"),
    }
}
