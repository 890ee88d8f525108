//! Progress of a route from its van's events: finished stops and the number of stops ahead of each.
//!
//! - Events alone are sufficient, so a van without a fix still makes progress. A position only
//!   detects earlier that a stop was left.
//! - A stop is finished when all its parcels have a final state. A stop that was left unfinished
//!   moves to the end of the order.
//! - Events are replayed in the order in which they were reported, so an increase of the number of
//!   stops ahead is detected.

use std::collections::{HashMap, HashSet};

use super::inputs::RouteInput;
use super::parcel::Stage;
use super::tracking_event::{EventEffect, TrackingEvent, valid_events};
use waypost_model::units::{Position as Place, UtcTime};
use waypost_wire::payloads::Position;

/// State of a parcel according to its route's van.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParcelLocation {
    /// Listed on the route only.
    #[default]
    Due,
    /// Loaded into the van, which has not departed.
    Loaded,
    /// Out for delivery.
    OutForDelivery,
    /// Final state of the parcel.
    Ended(Stage),
}

impl ParcelLocation {
    /// Whether nothing remains to be done at its stop.
    #[must_use]
    const fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// State of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    /// Not visited yet.
    Open,
    /// The van is there.
    Arrived,
    /// All parcels are finished.
    Done,
    /// Visited, but not all parcels are finished.
    Skipped,
}

/// Progress at one stop.
#[derive(Clone, Debug, PartialEq)]
pub struct StopProgress {
    pub state: StopState,
    /// States of its parcels, in the manifest's order.
    pub parcels: Vec<ParcelLocation>,
    /// Number of unfinished stops ahead; `None` if the stop is finished.
    pub ahead: Option<u32>,
    /// Whether the order of the stops changed, so that more of them are ahead than before.
    pub ahead_increased: bool,
}

/// A visit of the van to a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Index of the stop in the manifest.
    pub stop: usize,
    /// Time of the arrival, as far as known.
    pub arrived: UtcTime,
    /// Time of the last event at the stop.
    pub until: UtcTime,
}

/// Progress of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// First departure of the van.
    pub departed: Option<UtcTime>,
    /// Completion of the route.
    pub completed: Option<UtcTime>,
    /// In the manifest's order.
    pub stops: Vec<StopProgress>,
    /// Indices of the unfinished stops in driving order.
    pub order: Vec<usize>,
    /// Index of the stop at which the van is.
    pub current_stop: Option<usize>,
    /// Visits, oldest first.
    pub visits: Vec<Visit>,
}

/// How to treat the last visited stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStopState {
    /// The van is there until an event places it elsewhere.
    Present,
    /// A position shows that the van left it.
    Left,
}

impl Progress {
    /// Computes the progress of `route`, given the van's newest position.
    #[must_use]
    pub fn now(route: &RouteInput, position: Option<&Position>) -> Self {
        let progress = Self::from_events(route, LastStopState::Present);
        if progress.has_left(route, position) {
            Self::from_events(route, LastStopState::Left)
        } else {
            progress
        }
    }

    /// Computes the progress of `route` from its events and the state of the last stop.
    #[must_use]
    pub fn from_events(route: &RouteInput, last: LastStopState) -> Self {
        let mut replay = Replay::new(route);
        for (_, fact) in in_report_order(&route.events) {
            replay.apply(fact);
        }
        if last == LastStopState::Left {
            replay.leave();
        }
        replay.finish()
    }

    /// Whether the van has left the stop that its events place it at: it is outside the geofence
    /// and heading to another stop. While it still reports this stop as its destination, it has not
    /// been there yet, whatever the event's time.
    #[must_use]
    pub fn has_left(&self, route: &RouteInput, position: Option<&Position>) -> bool {
        let Some(((at, visit), position)) = self.current_stop.zip(self.visits.last()).zip(position)
        else {
            return false;
        };
        let newer = UtcTime::parse(&position.point.ts).is_some_and(|ts| ts > visit.until);
        let same = position.route.as_deref() == Some(route.manifest.route.as_str());
        let here = &route.manifest.stops[at];
        // At the door the driver may still undo a scan.
        let place = Place::from_degrees(position.point.lat, position.point.lon);
        let away = place.is_none_or(|place| {
            here.position.distance_to(place).as_metres() > here.radius.as_metres()
        });
        newer && same && away && position.stop_seq.is_some_and(|seq| seq != here.seq)
    }

    /// Number of finished stops.
    #[must_use]
    pub fn stops_done(&self) -> usize {
        self.stops.iter().filter(|stop| stop.state == StopState::Done).count()
    }
}

/// Events in the order of reporting; a retraction counts from its declaration.
fn in_report_order(facts: &[TrackingEvent]) -> Vec<(UtcTime, &TrackingEvent)> {
    let said = facts.iter().filter(|fact| fact.retracted_at.is_none());
    let said: HashMap<_, _> = said.map(|fact| (event_key(fact), fact.time)).collect();
    let declared = facts.iter().filter_map(|fact| {
        // A van's time may step back between two fixes, so a retraction never precedes its event.
        let said = said.get(&event_key(fact)).copied().unwrap_or(fact.time);
        Some((fact.retracted_at?.max(said), fact))
    });
    let wrong: HashSet<_> = declared.clone().map(|(_, fact)| event_key(fact)).collect();
    let retract_event =
        facts.iter().filter(|f| f.retracted_at.is_none() && wrong.contains(&event_key(f)));
    let stands = valid_events(facts).into_iter().chain(retract_event).map(|fact| (fact.time, fact));
    let mut order: Vec<_> = declared.chain(stands).collect();
    order.sort_by(|(at, one), (then, other)| {
        at.cmp(then).then_with(|| one.sort_key().cmp(&other.sort_key()))
    });
    order
}

fn event_key(fact: &TrackingEvent) -> (&str, &str) {
    (&fact.authority, &fact.event_id)
}

struct Replay<'a> {
    route: &'a RouteInput,
    /// Stop and parcel index of each due parcel.
    due: HashMap<&'a str, (usize, usize)>,
    by_seq: HashMap<u32, usize>,
    /// Valid events of each parcel at this point of the replay.
    events_by_parcel: HashMap<&'a str, Vec<&'a TrackingEvent>>,
    retracted: HashSet<(&'a str, &'a str)>,
    parcels: Vec<Vec<ParcelLocation>>,
    open_parcels: Vec<usize>,
    served: Vec<bool>,
    skipped: Vec<u32>,
    min_ahead: Vec<Option<u32>>,
    ahead: Vec<Option<u32>>,
    order: Vec<usize>,
    current_stop: Option<usize>,
    visits: Vec<Visit>,
    departed: Option<UtcTime>,
    completed: Option<UtcTime>,
}

impl<'a> Replay<'a> {
    fn new(route: &'a RouteInput) -> Self {
        let stops = &route.manifest.stops;
        let mut due = HashMap::new();
        for (stop, epcs) in route.epcs.iter().enumerate() {
            due.extend(epcs.iter().enumerate().map(|(index, epc)| (epc.as_str(), (stop, index))));
        }
        let parcels: Vec<_> =
            route.epcs.iter().map(|epcs| vec![ParcelLocation::Due; epcs.len()]).collect();
        let mut new = Self {
            route,
            due,
            by_seq: stops.iter().enumerate().map(|(index, stop)| (stop.seq, index)).collect(),
            events_by_parcel: HashMap::new(),
            retracted: HashSet::new(),
            open_parcels: parcels.iter().map(Vec::len).collect(),
            parcels,
            served: vec![false; stops.len()],
            skipped: vec![0; stops.len()],
            min_ahead: vec![None; stops.len()],
            ahead: vec![None; stops.len()],
            order: Vec::new(),
            current_stop: None,
            visits: Vec::new(),
            departed: None,
            completed: None,
        };
        new.recount();
        new
    }

    fn apply(&mut self, fact: &'a TrackingEvent) {
        if fact.retracted_at.is_some() {
            self.retract(fact);
            return;
        }
        if self.retracted.contains(&event_key(fact)) {
            return;
        }
        let before = (self.current_stop, self.open_parcels.clone());
        self.move_van(fact);
        for epc in &fact.epcs {
            if self.due.contains_key(epc.as_str()) {
                self.events_by_parcel.entry(epc).or_default().push(fact);
                self.update_parcel(epc);
            }
        }
        if before != (self.current_stop, self.open_parcels.clone()) {
            self.recount();
        }
    }

    /// Whether more stops are ahead of a stop than before.
    fn is_raised(&self, stop: usize) -> bool {
        self.ahead[stop].zip(self.min_ahead[stop]).is_some_and(|(now, before)| now > before)
    }

    /// Whether a revision has put other stops before this one since the departure.
    fn is_reordered(&self, stop: usize) -> bool {
        let changed = self.route.order_changes.get(&self.route.manifest.stops[stop].id);
        changed.zip(self.departed.as_ref()).is_some_and(|(changed, departed)| changed > departed)
    }

    fn retract(&mut self, retraction: &'a TrackingEvent) {
        let raised: Vec<bool> = (0..self.served.len()).map(|stop| self.is_raised(stop)).collect();
        self.retracted.insert(event_key(retraction));
        for epc in &retraction.epcs {
            if let Some(told) = self.events_by_parcel.get_mut(epc.as_str()) {
                told.retain(|fact| event_key(fact) != event_key(retraction));
                self.update_parcel(epc);
            }
        }
        self.recount();
        // A retraction corrects the count; the order of the stops is the same.
        for (stop, raised) in raised.into_iter().enumerate() {
            if !raised && self.is_raised(stop) {
                self.min_ahead[stop] = self.ahead[stop];
            }
        }
    }

    /// Moves the van according to an event.
    fn move_van(&mut self, fact: &TrackingEvent) {
        match fact.effect {
            EventEffect::Stage(Stage::OutForDelivery) => {
                self.departed.get_or_insert(fact.time);
                self.completed = None;
                self.leave();
            }
            EventEffect::Stage(Stage::Loaded | Stage::Returned) => self.leave(),
            EventEffect::Completed => {
                self.leave();
                self.completed = Some(fact.time);
            }
            EventEffect::Stage(
                Stage::Arrived
                | Stage::Delivered
                | Stage::Attempted
                | Stage::Damaged
                | Stage::NotFound,
            ) => {
                let stop = fact.stop_seq.and_then(|seq| self.by_seq.get(&seq).copied());
                if let Some(stop) = stop {
                    self.arrive(stop, fact.time);
                }
            }
            EventEffect::Stage(_) | EventEffect::Seen => {}
        }
    }

    fn arrive(&mut self, stop: usize, at: UtcTime) {
        if self.current_stop != Some(stop) {
            self.leave();
            self.current_stop = Some(stop);
            self.served[stop] = true;
            self.visits.push(Visit { stop, arrived: at, until: at });
        } else if let Some(visit) = self.visits.last_mut() {
            visit.until = at;
        }
    }

    fn leave(&mut self) {
        let Some(stop) = self.current_stop.take() else { return };
        if !self.is_done(stop) {
            let last = self.skipped.iter().max().copied().unwrap_or(0);
            self.skipped[stop] = last + 1;
        }
        self.recount();
    }

    /// Updates the state of a parcel from its valid events.
    fn update_parcel(&mut self, epc: &'a str) {
        let (stop, index) = self.due[epc];
        let became = parcel_location(&self.events_by_parcel[epc]);
        self.parcels[stop][index] = became;
        self.open_parcels[stop] =
            self.parcels[stop].iter().filter(|parcel| !parcel.is_ended()).count();
    }

    fn is_done(&self, stop: usize) -> bool {
        if self.parcels[stop].is_empty() { self.served[stop] } else { self.open_parcels[stop] == 0 }
    }

    /// Recounts the stops ahead of each stop and tracks the minimum.
    fn recount(&mut self) {
        let mut order: Vec<usize> =
            (0..self.served.len()).filter(|stop| !self.is_done(*stop)).collect();
        order.sort_by_key(|stop| (self.current_stop != Some(*stop), self.skipped[*stop], *stop));
        self.ahead.fill(None);
        for (ahead, stop) in (0..).zip(&order) {
            self.ahead[*stop] = Some(ahead);
            if self.departed.is_some() {
                let min_ahead = self.min_ahead[*stop].get_or_insert(ahead);
                *min_ahead = ahead.min(*min_ahead);
            }
        }
        self.order = order;
    }

    fn finish(self) -> Progress {
        let state = |stop: usize| match self.ahead[stop] {
            None => StopState::Done,
            Some(_) if self.current_stop == Some(stop) => StopState::Arrived,
            Some(_) if self.skipped[stop] > 0 => StopState::Skipped,
            Some(_) => StopState::Open,
        };
        let stops = (0..self.served.len()).map(|stop| StopProgress {
            state: state(stop),
            parcels: self.parcels[stop].clone(),
            ahead: self.ahead[stop],
            ahead_increased: self.is_raised(stop) || self.is_reordered(stop),
        });
        Progress {
            stops: stops.collect(),
            departed: self.departed,
            completed: self.completed,
            order: self.order,
            current_stop: self.current_stop,
            visits: self.visits,
        }
    }
}

/// Derives the state of a parcel: the newest stage, except that a delivery is always final.
fn parcel_location(told: &[&TrackingEvent]) -> ParcelLocation {
    let mut told: Vec<_> = told.iter().filter_map(|fact| Some((*fact, fact.stage()?))).collect();
    told.sort_by(|(one, _), (other, _)| one.sort_key().cmp(&other.sort_key()));
    let mut became = ParcelLocation::Due;
    for (_, stage) in told {
        became = match stage {
            Stage::Delivered => return ParcelLocation::Ended(stage),
            Stage::Loaded => ParcelLocation::Loaded,
            Stage::OutForDelivery => ParcelLocation::OutForDelivery,
            Stage::Attempted
            | Stage::Returned
            | Stage::Damaged
            | Stage::NotFound
            | Stage::LeftBehind => ParcelLocation::Ended(stage),
            _ => became,
        };
    }
    became
}
