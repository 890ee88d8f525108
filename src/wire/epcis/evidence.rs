//! What a reading, a proof, a sighting or a summary says, as members with the prefix `van:`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::place::geo;
use super::urn;
use crate::core::delivery::Event;
use crate::core::delivery::event::{
    Method, Preferences, Proof, ReadBy, Reading, Sighting, Summary,
};
use crate::units::Distance;
use crate::wire::json::decimals;

/// Members of an object, of which those that are not known are left out.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn say(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn say_if(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.say(key, value),
            None => self,
        }
    }
}

/// What read the code, and how.
pub(super) fn scan(reading: &Reading) -> Value {
    let said = Members::default()
        .say("van:source", reading.by.name())
        .say_if("van:symbology", reading.symbology.clone())
        .say_if("van:raw", reading.raw.clone())
        .say_if("van:checkOk", reading.check_ok);
    Value::Object(said.0)
}

/// What the tags say.
pub(super) fn inventory(
    reader: Option<&str>,
    window: Duration,
    missing: Vec<String>,
    unexpected: Vec<String>,
) -> Value {
    let said = Members::default()
        .say("van:source", ReadBy::Rfid.name())
        .say_if("van:reader", reader)
        .say("van:windowS", decimals(window.as_secs_f64(), 1))
        .say("van:missing", missing)
        .say("van:unexpected", unexpected);
    Value::Object(said.0)
}

/// Why one may believe the outcome that `event` says.
pub(super) fn proof(proof: &Proof, event: &Event) -> Value {
    let metres = |distance: Distance| decimals(distance.as_metres(), 1);
    let inside = match proof.method {
        Method::ScanInGeofence => Some(true),
        Method::ScanOutside => Some(false),
        Method::Manual => {
            proof.distance_to_stop.zip(proof.radius).map(|(distance, radius)| distance <= radius)
        }
    };
    let scanned = (proof.method != Method::Manual).then(|| event.utc.to_string());
    let accuracy = event.place.and_then(|place| place.accuracy);
    let age_ms = proof.fix_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let said = Members::default()
        .say("van:method", proof.method.name())
        .say_if("van:scannedAt", scanned)
        .say_if("van:fixAgeMs", age_ms)
        .say_if("van:distanceToStopM", proof.distance_to_stop.map(metres))
        .say_if("van:geofenceRadiusM", proof.radius.map(metres))
        .say_if("van:insideGeofence", inside)
        .say_if("van:horizontalAccuracyM", accuracy.map(metres))
        .say_if("van:dwellS", proof.dwell.map(|dwell| dwell.as_secs()))
        .say("van:timeSource", event.time_source.name())
        .say_if("van:preferences", preferences(&proof.preferences));
    Value::Object(said.0)
}

/// What was asked for; `None` if nothing.
fn preferences(asked: &Preferences) -> Option<Value> {
    let said = Members::default()
        .say_if("van:authorityToLeave", asked.authority_to_leave)
        .say_if("van:safePlace", asked.safe_place.clone())
        .say_if("van:neighbour", asked.neighbour.clone())
        .say_if("van:signatureRequired", asked.signature_required);
    (!said.0.is_empty()).then_some(Value::Object(said.0))
}

/// The newest event that saw a parcel.
pub(super) fn last_seen(sighting: &Sighting) -> Value {
    let said = Members::default()
        .say("van:eventID", urn(sighting.id))
        .say("van:time", sighting.utc.to_string())
        .say_if("van:geo", sighting.place.as_ref().map(geo));
    Value::Object(said.0)
}

/// What a route was.
pub(super) fn summary(summary: &Summary) -> Value {
    let mut said = json!({
        "van:stopsTotal": summary.stops_total,
        "van:stopsServed": summary.stops_served,
        "van:delivered": summary.delivered,
        "van:attempted": summary.attempted,
        "van:onBoard": summary.on_board,
        "van:dwellS": summary.dwell.as_secs(),
        "van:idleS": summary.idle.as_secs(),
        "van:durationS": summary.duration.as_secs(),
        "van:distanceM": decimals(summary.distance.as_metres(), 1),
    });
    if let Some(departed) = summary.departed {
        said["van:departed"] = json!(departed.to_string());
    }
    let hours = summary.duration.as_secs_f64() / 3600.0;
    if hours > 0.0 {
        said["van:stopsPerHour"] = json!(decimals(f64::from(summary.stops_served) / hours, 1));
    }
    said
}
