//! The whole day of a van: epochs, scans and ground-truth events in one time order.
//!
//! The day is planned in advance, because the drive does not depend on a receiver. A scan can
//! therefore come some seconds before the van leaves a stop, and a test knows the end from the
//! start. Epochs and tag reads are generated on demand.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use super::Simulation;
use super::manifest;
use super::parcel::{Parcel, delivery_stops, parcels};
use super::plan::{Plan, plan, stop_id};
use super::random::{Random, Stream};
use super::route::Route;
use super::tags::TagReads;
use super::timeline::{DayEvent, Summary};
use super::timetable::Timetable;
use waypost_model::units::Uptime;

/// A van's whole day. Without `[delivery]` in the route there are no parcels and no scans.
#[derive(Debug)]
pub struct Day {
    route: Arc<Route>,
    parcels: Vec<Parcel>,
    table: Timetable,
    summary: Summary,
    epochs: Peekable<Simulation>,
    planned: Peekable<std::vec::IntoIter<DayEvent>>,
    tags: Peekable<TagReads>,
    /// Time of the last event.
    end: Uptime,
}

impl Day {
    /// Creates the day of `route`, from power-on.
    #[must_use]
    pub fn new(route: Route) -> Self {
        let simulation = Simulation::new(route);
        let route = Arc::clone(&simulation.route);
        let seed = route.settings.seed;
        let (parcels, issuer) = parcels(&route, &mut Random::new(seed, Stream::Parcels));
        let table = Timetable::from_route(&route);
        let Plan { events, tag_presences: stays, summary } = plan(&route, &parcels, issuer, &table);
        let interval = route.delivery.as_ref().map_or(Duration::MAX, |delivery| delivery.tag_read);
        let end = route.settings.duration.unwrap_or(table.end).min(table.end);
        Self {
            parcels,
            table,
            summary,
            epochs: simulation.peekable(),
            planned: events.into_iter().peekable(),
            tags: TagReads::new(seed, interval, stays).peekable(),
            end: Uptime::new(end),
            route,
        }
    }

    /// Returns the route with the settings in use.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Returns the parcels and their outcomes, in the order of the stops.
    #[must_use]
    pub fn parcels(&self) -> &[Parcel] {
        &self.parcels
    }

    /// Returns the summary of the complete day, even if `duration` ends it early.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the manifest's id of a stop, given as an index of [`Route::stops`]. `None` if no
    /// parcels are due there.
    #[must_use]
    pub fn stop_id(&self, stop: usize) -> Option<String> {
        let mut stops = delivery_stops(&self.route);
        stops.find(|(index, _)| *index == stop).map(|(_, seq)| stop_id(seq))
    }

    /// Returns the standstill and the departure at a stop (an index of [`Route::stops`]), since
    /// power-on.
    #[must_use]
    pub fn visit(&self, stop: usize) -> Option<(Uptime, Uptime)> {
        let visit = self.table.visits.get(stop)?;
        Some((Uptime::new(visit.arrived), Uptime::new(visit.left)))
    }

    /// Returns the manifest as the backend publishes it (docs/mqtt-contract.md): one JSON object.
    #[must_use]
    pub fn manifest(&self) -> String {
        manifest::to_json(&self.route, &self.parcels, &self.table)
    }
}

impl Iterator for Day {
    type Item = DayEvent;

    fn next(&mut self) -> Option<DayEvent> {
        let planned = self.planned.peek().map(DayEvent::at);
        let tag = self.tags.peek().map(|scan| scan.at);
        let burst = self.epochs.peek().map(|burst| burst.at);
        let first = [planned, tag, burst].into_iter().flatten().min()?;
        if first > self.end {
            return None;
        }
        if planned == Some(first) {
            return self.planned.next();
        }
        if tag == Some(first) {
            return self.tags.next().map(DayEvent::Scan);
        }
        self.epochs.next().map(DayEvent::Epoch)
    }
}

#[cfg(test)]
mod tests;
