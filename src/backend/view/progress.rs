//! A route and what its van said → how far it is: which stops are finished, and how many are before each.
//!
//! - By events alone: a van without a fix gets on all the same. A position only says sooner that a stop was left.
//! - A stop is finished when something final happened to all that is due there. One that was left with something undone
//!   goes to the end.
//! - The day is gone through again in the order in which things were said, so that a number that is larger than one that
//!   was shown before is known as that.

use std::collections::{HashMap, HashSet};

use super::fact::{Fact, What, valid};
use super::known::KnownRoute;
use super::parcel::Stage;
use crate::units::{Position as Place, UtcTime};
use crate::wire::json::Position;

/// Where a parcel is, as its route's van says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whereabouts {
    /// Listed, and nothing else.
    #[default]
    Due,
    /// In the van, which has not left with it.
    Loaded,
    /// Out for delivery.
    Out,
    /// Something final at its stop, or what ends it.
    Ended(Stage),
}

impl Whereabouts {
    /// Whether nothing more is to be done at its stop.
    #[must_use]
    const fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// What became of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    /// It is still to come.
    Open,
    /// The van stands there.
    Arrived,
    /// Nothing is left to do.
    Done,
    /// The van was there, and something is left to do.
    Skipped,
}

/// A stop.
#[derive(Clone, Debug, PartialEq)]
pub struct StopProgress {
    /// What became of it.
    pub state: StopState,
    /// What is due there, in the manifest's order.
    pub parcels: Vec<Whereabouts>,
    /// Unfinished stops before it; `None` if it is finished.
    pub ahead: Option<u32>,
    /// That number was smaller before.
    pub rose: bool,
}

/// The van stood at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Which, as an index of the manifest's stops.
    pub stop: usize,
    /// Since when, as far as it is known.
    pub arrived: UtcTime,
    /// When something last happened there.
    pub until: UtcTime,
}

/// How far a route is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// When the van first left.
    pub departed: Option<UtcTime>,
    /// When the route was over.
    pub completed: Option<UtcTime>,
    /// As in the manifest.
    pub stops: Vec<StopProgress>,
    /// Unfinished stops in the order in which they are driven to: indices of the manifest's.
    pub order: Vec<usize>,
    /// The van stands at this stop.
    pub at: Option<usize>,
    /// Where it stood, oldest first.
    pub visits: Vec<Visit>,
}

/// What to make of the stop where the van was last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It stands there until it is said to be elsewhere.
    Stands,
    /// A position says that it was left.
    Left,
}

impl Progress {
    /// How far `route` is, now that the van's newest position is `position`.
    #[must_use]
    pub fn now(route: &KnownRoute, position: Option<&Position>) -> Self {
        let progress = Self::of(route, Last::Stands);
        if progress.has_left(route, position) { Self::of(route, Last::Left) } else { progress }
    }

    /// How far `route` is by its events alone, and what is known of the last stop.
    #[must_use]
    pub fn of(route: &KnownRoute, last: Last) -> Self {
        let mut replay = Replay::new(route);
        for (_, fact) in in_order(&route.facts) {
            replay.take(fact);
        }
        if last == Last::Left {
            replay.leave();
        }
        replay.end()
    }

    /// Whether the van is on its way from the stop where its events see it: it is out of its fence, and goes to another. While it says
    /// that it comes to this one it has not stood there yet, whatever the event's time is.
    #[must_use]
    pub fn has_left(&self, route: &KnownRoute, position: Option<&Position>) -> bool {
        let Some(((at, visit), position)) = self.at.zip(self.visits.last()).zip(position) else {
            return false;
        };
        let newer = UtcTime::parse(&position.point.ts).is_some_and(|ts| ts > visit.until);
        let same = position.route.as_deref() == Some(route.manifest.route.as_str());
        let here = &route.manifest.stops[at];
        // At the door the driver may still take back what was scanned.
        let place = Place::from_degrees(position.point.lat, position.point.lon);
        let away = place.is_none_or(|place| {
            here.position.distance_to(place).as_metres() > here.radius.as_metres()
        });
        newer && same && away && position.stop_seq.is_some_and(|seq| seq != here.seq)
    }

    /// Stops that are finished.
    #[must_use]
    pub fn done(&self) -> usize {
        self.stops.iter().filter(|stop| stop.state == StopState::Done).count()
    }
}

/// What was said, by when it was said: a retraction comes when it was declared.
fn in_order(facts: &[Fact]) -> Vec<(UtcTime, &Fact)> {
    let said = facts.iter().filter(|fact| fact.declared.is_none());
    let said: HashMap<_, _> = said.map(|fact| (name(fact), fact.time)).collect();
    let declared = facts.iter().filter_map(|fact| {
        // Between two fixes a van's time may step back: nothing is taken back before it was said.
        let said = said.get(&name(fact)).copied().unwrap_or(fact.time);
        Some((fact.declared?.max(said), fact))
    });
    let wrong: HashSet<_> = declared.clone().map(|(_, fact)| name(fact)).collect();
    let taken_back = facts.iter().filter(|f| f.declared.is_none() && wrong.contains(&name(f)));
    let stands = valid(facts).into_iter().chain(taken_back).map(|fact| (fact.time, fact));
    let mut order: Vec<_> = declared.chain(stands).collect();
    order
        .sort_by(|(at, one), (then, other)| at.cmp(then).then_with(|| one.key().cmp(&other.key())));
    order
}

fn name(fact: &Fact) -> (&str, &str) {
    (&fact.authority, &fact.event_id)
}

struct Replay<'a> {
    route: &'a KnownRoute,
    /// Where each parcel is due: stop and place in it.
    due: HashMap<&'a str, (usize, usize)>,
    by_seq: HashMap<u32, usize>,
    /// What counts of each parcel so far.
    told: HashMap<&'a str, Vec<&'a Fact>>,
    wrong: HashSet<(&'a str, &'a str)>,
    parcels: Vec<Vec<Whereabouts>>,
    left: Vec<usize>,
    served: Vec<bool>,
    skipped: Vec<u32>,
    least: Vec<Option<u32>>,
    ahead: Vec<Option<u32>>,
    order: Vec<usize>,
    at: Option<usize>,
    visits: Vec<Visit>,
    departed: Option<UtcTime>,
    completed: Option<UtcTime>,
}

impl<'a> Replay<'a> {
    fn new(route: &'a KnownRoute) -> Self {
        let stops = &route.manifest.stops;
        let mut due = HashMap::new();
        for (stop, epcs) in route.epcs.iter().enumerate() {
            due.extend(epcs.iter().enumerate().map(|(index, epc)| (epc.as_str(), (stop, index))));
        }
        let parcels: Vec<_> =
            route.epcs.iter().map(|epcs| vec![Whereabouts::Due; epcs.len()]).collect();
        let mut new = Self {
            route,
            due,
            by_seq: stops.iter().enumerate().map(|(index, stop)| (stop.seq, index)).collect(),
            told: HashMap::new(),
            wrong: HashSet::new(),
            left: parcels.iter().map(Vec::len).collect(),
            parcels,
            served: vec![false; stops.len()],
            skipped: vec![0; stops.len()],
            least: vec![None; stops.len()],
            ahead: vec![None; stops.len()],
            order: Vec::new(),
            at: None,
            visits: Vec::new(),
            departed: None,
            completed: None,
        };
        new.count();
        new
    }

    fn take(&mut self, fact: &'a Fact) {
        if fact.declared.is_some() {
            self.take_back(fact);
            return;
        }
        if self.wrong.contains(&name(fact)) {
            return;
        }
        let before = (self.at, self.left.clone());
        self.drive(fact);
        for epc in &fact.epcs {
            if self.due.contains_key(epc.as_str()) {
                self.told.entry(epc).or_default().push(fact);
                self.settle(epc);
            }
        }
        if before != (self.at, self.left.clone()) {
            self.count();
        }
    }

    fn take_back(&mut self, retraction: &'a Fact) {
        self.wrong.insert(name(retraction));
        for epc in &retraction.epcs {
            if let Some(told) = self.told.get_mut(epc.as_str()) {
                told.retain(|fact| name(fact) != name(retraction));
                self.settle(epc);
            }
        }
        self.count();
    }

    /// Where the van is by what it says.
    fn drive(&mut self, fact: &Fact) {
        match fact.what {
            What::Stage(Stage::OutForDelivery) => {
                self.departed.get_or_insert(fact.time);
                self.completed = None;
                self.leave();
            }
            What::Stage(Stage::Loaded | Stage::Returned) => self.leave(),
            What::Completed => {
                self.leave();
                self.completed = Some(fact.time);
            }
            What::Stage(
                Stage::Arrived
                | Stage::Delivered
                | Stage::Attempted
                | Stage::Damaged
                | Stage::NotFound,
            ) => {
                let stop = fact.stop_seq.and_then(|seq| self.by_seq.get(&seq).copied());
                if let Some(stop) = stop {
                    self.stand(stop, fact.time);
                }
            }
            What::Stage(_) | What::Seen => {}
        }
    }

    fn stand(&mut self, stop: usize, at: UtcTime) {
        if self.at != Some(stop) {
            self.leave();
            self.at = Some(stop);
            self.served[stop] = true;
            self.visits.push(Visit { stop, arrived: at, until: at });
        } else if let Some(visit) = self.visits.last_mut() {
            visit.until = at;
        }
    }

    fn leave(&mut self) {
        let Some(stop) = self.at.take() else { return };
        if !self.is_done(stop) {
            let last = self.skipped.iter().max().copied().unwrap_or(0);
            self.skipped[stop] = last + 1;
        }
        self.count();
    }

    /// What became of a parcel, by what counts of it.
    fn settle(&mut self, epc: &'a str) {
        let (stop, index) = self.due[epc];
        let became = became(&self.told[epc]);
        self.parcels[stop][index] = became;
        self.left[stop] = self.parcels[stop].iter().filter(|parcel| !parcel.is_ended()).count();
    }

    fn is_done(&self, stop: usize) -> bool {
        if self.parcels[stop].is_empty() { self.served[stop] } else { self.left[stop] == 0 }
    }

    /// Counts what is before each stop, and whether that became more.
    fn count(&mut self) {
        let mut order: Vec<usize> =
            (0..self.served.len()).filter(|stop| !self.is_done(*stop)).collect();
        order.sort_by_key(|stop| (self.at != Some(*stop), self.skipped[*stop], *stop));
        self.ahead.fill(None);
        for (ahead, stop) in (0..).zip(&order) {
            self.ahead[*stop] = Some(ahead);
            if self.departed.is_some() {
                let least = self.least[*stop].get_or_insert(ahead);
                *least = ahead.min(*least);
            }
        }
        self.order = order;
    }

    fn end(self) -> Progress {
        let state = |stop: usize| match self.ahead[stop] {
            None => StopState::Done,
            Some(_) if self.at == Some(stop) => StopState::Arrived,
            Some(_) if self.skipped[stop] > 0 => StopState::Skipped,
            Some(_) => StopState::Open,
        };
        let rose = |stop: usize| self.ahead[stop].zip(self.least[stop]);
        let stops = (0..self.served.len()).map(|stop| StopProgress {
            state: state(stop),
            parcels: self.parcels[stop].clone(),
            ahead: self.ahead[stop],
            rose: rose(stop).is_some_and(|(now, least)| now > least)
                || self.departed.is_some_and(|departed| self.route.put_at > departed),
        });
        Progress {
            stops: stops.collect(),
            departed: self.departed,
            completed: self.completed,
            order: self.order,
            at: self.at,
            visits: self.visits,
        }
    }
}

/// The newest word counts, but for the hand-over, which ends it all.
fn became(told: &[&Fact]) -> Whereabouts {
    let mut told: Vec<_> = told.iter().filter_map(|fact| Some((*fact, fact.stage()?))).collect();
    told.sort_by(|(one, _), (other, _)| one.key().cmp(&other.key()));
    let mut became = Whereabouts::Due;
    for (_, stage) in told {
        became = match stage {
            Stage::Delivered => return Whereabouts::Ended(stage),
            Stage::Loaded => Whereabouts::Loaded,
            Stage::OutForDelivery => Whereabouts::Out,
            Stage::Attempted
            | Stage::Returned
            | Stage::Damaged
            | Stage::NotFound
            | Stage::LeftBehind => Whereabouts::Ended(stage),
            _ => became,
        };
    }
    became
}
