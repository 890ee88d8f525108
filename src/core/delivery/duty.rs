//! Duty and private places → [`Admission`]: whether a fix may be stored at all.
//!
//! What is withheld tells the time and nothing else. A private place is left only well outside of it, so that the
//! first fix that is stored is at least its radius away.

use serde::{Deserialize, Serialize};

use crate::units::{Distance, Position, UtcTime};

/// Whether the driver is on duty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// At work: fixes are stored and sent.
    #[default]
    On,
    /// Not at work: nothing is stored.
    Off,
    /// A break: nothing is stored.
    Break,
}

impl Duty {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Break => "break",
        }
    }

    /// Reads what [`Self::name`] writes, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::On, Self::Off, Self::Break]
            .into_iter()
            .find(|duty| duty.name().eq_ignore_ascii_case(text))
    }
}

/// A private place: fixes inside are never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// WGS 84.
    pub centre: Position,
    /// Around it.
    pub radius: Distance,
}

/// Whether a fix may be stored and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Keep,
    /// It tells the time, and is then forgotten.
    Withhold(Withheld),
}

/// Why a fix is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The driver is off duty, or has a break.
    OffDuty,
    /// The van is at a private place.
    PrivacyZone,
}

/// What is kept of the duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DutyState {
    pub(super) duty: Duty,
    /// What ended the duty by itself: it does so once.
    pub(super) ended: Option<Ended>,
}

/// The end of a route, which ended the duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) route: String,
    /// When the van was back, or the route's time was over.
    pub(super) by: UtcTime,
    /// Whether a person has said something else since.
    pub(super) stands: bool,
}

/// The private places, and whether the van is at one.
#[derive(Debug)]
pub(super) struct Zones {
    zones: Vec<Zone>,
    inside: bool,
}

impl Zones {
    /// Beyond the radius: so far outside the van has left.
    const MARGIN_M: f64 = 50.0;

    pub(super) const fn new(zones: Vec<Zone>) -> Self {
        Self { zones, inside: false }
    }

    /// Whether `position` is private.
    pub(super) fn enter(&mut self, position: Position) -> bool {
        let margin = if self.inside { Self::MARGIN_M } else { 0.0 };
        self.inside = self.zones.iter().any(|zone| {
            zone.centre.distance_to(position).as_metres() <= zone.radius.as_metres() + margin
        });
        self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fix::tests::fix;

    #[test]
    fn the_first_fix_after_a_private_place_is_well_outside_of_it() {
        let centre = fix(0, 0.0).position;
        let mut zones =
            Zones::new(vec![Zone { centre, radius: Distance::from_metres(100.0).unwrap() }]);
        for (north_m, private) in [
            (300.0, false),
            (110.0, false),
            (99.0, true),
            (110.0, true),
            (149.0, true),
            (151.0, false),
            (110.0, false),
        ] {
            assert_eq!(zones.enter(fix(0, north_m).position), private, "{north_m} m");
        }
    }
}
