//! [`Fix`] → [`Transition`]: whether the van drives or stands, with hysteresis, and how far it has driven.
//!
//! A fix that the gate refused never comes here. The odometer counts only what was driven: the jitter of a standing
//! receiver adds nothing, and the first seconds of a trip, before the departure is believed, are not lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fix::Fix;
use crate::units::{Distance, Position, Speed, Uptime, UtcTime};

/// When driving begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JourneyConfig {
    /// The van departs when it is at least this fast for [`Self::DEPART_AFTER`].
    pub depart_speed: Speed,
    /// The van halts when it is at most this fast for `dwell`.
    pub stop_speed: Speed,
    /// How long a halt takes to be one: longer than most traffic lights.
    pub dwell: Duration,
}

impl JourneyConfig {
    /// One jump of a parked receiver is no departure.
    pub const DEPART_AFTER: Duration = Duration::from_secs(3);
}

impl Default for JourneyConfig {
    fn default() -> Self {
        Self {
            depart_speed: Speed::from_mps(2.0).expect("a speed"),
            stop_speed: Speed::from_mps(0.8).expect("a speed"),
            dwell: Duration::from_secs(30),
        }
    }
}

/// Whether the van drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Motion {
    /// Not seen long enough to say.
    #[default]
    Unknown,
    /// Under way.
    Moving,
    /// Standing for the dwell time at least.
    Halted,
}

/// The van changed between driving and standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It set off.
    Departed,
    /// It came to a halt.
    Halted,
}

/// What is kept across a restart, in the transaction of the records that came with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JourneyState {
    /// Driving or standing.
    pub motion: Motion,
    /// Driven so far.
    pub odometer: Distance,
    /// Up to where the odometer has counted, and when.
    pub counted: Option<(UtcTime, Position)>,
}

/// The state machine.
#[derive(Debug)]
pub struct Journey {
    config: JourneyConfig,
    state: JourneyState,
    /// Since when the fixes speak for the other motion.
    otherwise_since: Option<Uptime>,
}

impl Journey {
    /// Goes on from `state`.
    #[must_use]
    pub const fn new(config: JourneyConfig, state: JourneyState) -> Self {
        Self { config, state, otherwise_since: None }
    }

    /// What must be kept across a restart.
    #[must_use]
    pub const fn state(&self) -> JourneyState {
        self.state
    }

    /// Takes one fix.
    pub fn observe(&mut self, fix: &Fix) -> Option<Transition> {
        let speed = fix.speed.or_else(|| self.implied_speed(fix));
        let transition = speed.and_then(|speed| self.decide(speed, fix.read_at));
        match (self.state.motion, self.state.counted) {
            (Motion::Moving, Some((_, from))) => {
                self.state.odometer =
                    self.state.odometer.saturating_add(from.distance_to(fix.position));
                self.state.counted = Some((fix.utc, fix.position));
            }
            // A receiver without speed is judged by the way it made, so its reference must move on.
            (Motion::Halted | Motion::Unknown, Some(_)) if fix.speed.is_some() => {}
            _ => self.state.counted = Some((fix.utc, fix.position)),
        }
        transition
    }

    fn decide(&mut self, speed: Speed, at: Uptime) -> Option<Transition> {
        let (fast, slow) = (speed >= self.config.depart_speed, speed <= self.config.stop_speed);
        let (otherwise, after, next) = match self.state.motion {
            Motion::Moving => (slow, self.config.dwell, Motion::Halted),
            Motion::Unknown if slow => (true, self.config.dwell, Motion::Halted),
            Motion::Halted | Motion::Unknown => (fast, JourneyConfig::DEPART_AFTER, Motion::Moving),
        };
        if !otherwise {
            self.otherwise_since = None;
            return None;
        }
        let since = *self.otherwise_since.get_or_insert(at);
        if at.since(since) < after {
            return None;
        }
        self.otherwise_since = None;
        self.state.motion = next;
        Some(if next == Motion::Moving { Transition::Departed } else { Transition::Halted })
    }

    /// The speed of a receiver that gives none (GGA only): way by time since the last fix.
    fn implied_speed(&self, fix: &Fix) -> Option<Speed> {
        let (utc, from) = self.state.counted?;
        let ms = u32::try_from(fix.utc.millis_since(utc)).ok().filter(|ms| *ms > 0)?;
        Speed::from_mps(from.distance_to(fix.position).as_metres() * 1000.0 / f64::from(ms))
    }
}
