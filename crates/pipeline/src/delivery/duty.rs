//! Admission control: whether a fix may be stored, depending on duty status and privacy zones.
//!
//! A withheld fix only updates the clock. A privacy zone is left 50 m outside its radius, so that
//! the first stored fix is never at its edge.

use serde::{Deserialize, Serialize};

use waypost_model::duty::Duty;
use waypost_model::units::{Distance, Position, UtcTime};

/// Circular zone whose fixes are never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivacyZone {
    /// WGS 84.
    pub centre: Position,
    pub radius: Distance,
}

/// Whether a fix may be stored and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The fix may be stored.
    Keep,
    /// The fix only updates the clock and is then discarded.
    Withhold(Withheld),
}

/// Reason for withholding a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The driver is off duty or on a break.
    OffDuty,
    /// The van is inside a privacy zone.
    PrivacyZone,
}

/// Persisted duty state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DutyState {
    pub(super) duty: Duty,
    /// Last automatic end of duty. Each route ends the duty only once.
    pub(super) ended: Option<DutyEndedByRoute>,
}

/// End of a route that ended the duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DutyEndedByRoute {
    pub(super) route: String,
    /// Time of the return, or end of the route's validity.
    pub(super) at: UtcTime,
    /// Whether the driver is off duty because of it: false once a person has set the duty.
    pub(super) in_effect: bool,
}

/// Privacy zones, with hysteresis at their edge.
#[derive(Debug)]
pub(super) struct PrivacyZones {
    zones: Vec<PrivacyZone>,
    inside: bool,
}

impl PrivacyZones {
    /// Distance outside the radius at which the van has left a zone.
    const EXIT_MARGIN_M: f64 = 50.0;

    pub(super) const fn new(zones: Vec<PrivacyZone>) -> Self {
        Self { zones, inside: false }
    }

    /// Updates the state and returns whether `position` is private.
    pub(super) fn observe(&mut self, position: Position) -> bool {
        let margin = if self.inside { Self::EXIT_MARGIN_M } else { 0.0 };
        self.inside = self.zones.iter().any(|zone| {
            zone.centre.distance_to(position).as_metres() <= zone.radius.as_metres() + margin
        });
        self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_model::fix::testing::fix;

    #[test]
    fn the_first_fix_after_a_private_place_is_well_outside_of_it() {
        let centre = fix(0, 0.0).position;
        let mut zones = PrivacyZones::new(vec![PrivacyZone {
            centre,
            radius: Distance::from_metres(100.0).unwrap(),
        }]);
        for (north_m, private) in [
            (300.0, false),
            (110.0, false),
            (99.0, true),
            (110.0, true),
            (149.0, true),
            (151.0, false),
            (110.0, false),
        ] {
            assert_eq!(zones.observe(fix(0, north_m).position), private, "{north_m} m");
        }
    }
}
