//! [`Route`] → [`Day`]: bursts, scans and facts in one time order.
//!
//! The day is planned before it begins, because the drive is known without a receiver: so a scan can come some seconds
//! before the van leaves a stop, and a test knows the end from the start. Bursts and tag reads are made when they are
//! asked for.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use super::Simulation;
use super::manifest;
use super::moment::{Moment, Summary};
use super::parcel::{Parcel, delivery_stops, parcels};
use super::plan::{Plan, plan, stop_id};
use super::random::{Random, Stream};
use super::route::Route;
use super::tags::TagReads;
use super::timetable::Timetable;
use crate::units::Uptime;

/// A van's whole day. Without `[delivery]` in the route there are no parcels, and nobody scans.
#[derive(Debug)]
pub struct Day {
    route: Arc<Route>,
    parcels: Vec<Parcel>,
    table: Timetable,
    summary: Summary,
    bursts: Peekable<Simulation>,
    planned: Peekable<std::vec::IntoIter<Moment>>,
    tags: Peekable<TagReads>,
    /// Nothing comes after it.
    end: Uptime,
}

impl Day {
    /// The day of `route`, from power-on.
    #[must_use]
    pub fn new(route: Route) -> Self {
        let simulation = Simulation::new(route);
        let route = Arc::clone(&simulation.route);
        let seed = route.settings.seed;
        let (parcels, issuer) = parcels(&route, &mut Random::new(seed, Stream::Parcels));
        let table = Timetable::of(&route);
        let Plan { moments, stays, summary } = plan(&route, &parcels, issuer, &table);
        let every = route.delivery.as_ref().map_or(Duration::MAX, |delivery| delivery.tag_read);
        let end = route.settings.duration.unwrap_or(table.end).min(table.end);
        Self {
            parcels,
            table,
            summary,
            bursts: simulation.peekable(),
            planned: moments.into_iter().peekable(),
            tags: TagReads::new(seed, every, stays).peekable(),
            end: Uptime::new(end),
            route,
        }
    }

    /// The route, as it is driven.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// What is due, in the order of the stops, and what becomes of it.
    #[must_use]
    pub fn parcels(&self) -> &[Parcel] {
        &self.parcels
    }

    /// What the day will have been, if it is not ended sooner.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The name in the manifest of a stop, an index of [`Route::stops`]; `None` of one where no parcels are due.
    #[must_use]
    pub fn stop_id(&self, stop: usize) -> Option<String> {
        let mut stops = delivery_stops(&self.route);
        stops.find(|(index, _)| *index == stop).map(|(_, seq)| stop_id(seq))
    }

    /// From standstill to setting off at a stop, an index of [`Route::stops`]; since power-on.
    #[must_use]
    pub fn visit(&self, stop: usize) -> Option<(Uptime, Uptime)> {
        let visit = self.table.visits.get(stop)?;
        Some((Uptime::new(visit.arrived), Uptime::new(visit.left)))
    }

    /// The manifest as the backend publishes it (docs/contract.md): one JSON object.
    #[must_use]
    pub fn manifest(&self) -> String {
        manifest::json(&self.route, &self.parcels, &self.table)
    }
}

impl Iterator for Day {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        let planned = self.planned.peek().map(Moment::at);
        let tag = self.tags.peek().map(|scan| scan.at);
        let burst = self.bursts.peek().map(|burst| burst.at);
        let first = [planned, tag, burst].into_iter().flatten().min()?;
        if first > self.end {
            return None;
        }
        if planned == Some(first) {
            return self.planned.next();
        }
        if tag == Some(first) {
            return self.tags.next().map(Moment::Scan);
        }
        self.bursts.next().map(Moment::Burst)
    }
}

#[cfg(test)]
mod tests;
