//! Timetable of the day, computed in advance by one drive without a receiver.
//!
//! The drive does not depend on the receiver, so the timetable matches
//! [`Simulation`](super::Simulation) to the step.

use std::sync::Arc;
use std::time::Duration;

use super::drive::Drive;
use super::route::Route;

/// Times of the van's stops, since power-on.
#[derive(Debug)]
pub(super) struct Timetable {
    /// One for each of [`Route::stops`], in their order.
    pub(super) visits: Vec<Visit>,
    /// Departure from the depot.
    pub(super) departed: Duration,
    /// Return to the depot.
    pub(super) returned: Duration,
    /// Time at which the receiver is switched off.
    pub(super) end: Duration,
    /// Standstill between departure and return, except at stops.
    pub(super) idle: Duration,
    /// Distance from departure to return.
    pub(super) distance_m: f64,
}

/// Standstill at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) arrived: Duration,
    pub(super) left: Duration,
}

impl Visit {
    pub(super) fn dwell(&self) -> Duration {
        self.left.saturating_sub(self.arrived)
    }
}

const STEP: Duration = Duration::from_millis(100);

impl Timetable {
    pub(super) fn from_route(route: &Arc<Route>) -> Self {
        let mut drive = Drive::new(Arc::clone(route));
        let mut table = Self {
            visits: Vec::with_capacity(route.stops.len()),
            departed: Duration::ZERO,
            returned: Duration::ZERO,
            end: Duration::ZERO,
            idle: Duration::ZERO,
            distance_m: 0.0,
        };
        let mut before = drive.state();
        loop {
            let was_away = drive.is_away();
            let going = drive.step();
            table.end += STEP;
            if !going {
                return table;
            }
            let state = drive.state();
            let now = table.end;
            if !was_away && drive.is_away() {
                table.departed = now;
            }
            if was_away && !drive.is_away() {
                table.returned = now;
            }
            match table.visits.last_mut() {
                Some(visit) if state.stop.is_some() && state.stop == before.stop => {
                    visit.left = now + STEP;
                }
                _ if state.stop.is_some() => {
                    table.visits.push(Visit { arrived: now, left: now + STEP });
                }
                _ if drive.is_away() && state.speed_mps <= 0.0 => table.idle += STEP,
                _ => {}
            }
            table.distance_m += before.point.distance_m(state.point);
            before = state;
        }
    }
}
