//! EPCIS extensions with the prefix `van:`: scans, evidence, sightings and summaries.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::geo::geo_uri;
use super::urn;
use crate::payloads::decimals;
use waypost_model::event::Event;
use waypost_model::event::{
    Preferences, Proof, ProofMethod, ReaderKind, RouteSummary, ScanSource, Sighting,
};
use waypost_model::units::Distance;

/// JSON object that omits absent members.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn extension(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn extension_opt(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.extension(key, value),
            None => self,
        }
    }
}

/// Returns the source of a scanned code.
pub(super) fn scan(reading: &ScanSource) -> Value {
    let said = Members::default()
        .extension("van:source", reading.reader.as_str())
        .extension_opt("van:symbology", reading.symbology.clone())
        .extension_opt("van:raw", reading.raw.clone())
        .extension_opt("van:checkOk", reading.check_ok);
    Value::Object(said.0)
}

/// Returns an RFID inventory.
pub(super) fn inventory(
    reader: Option<&str>,
    window: Duration,
    missing: Vec<String>,
    unexpected: Vec<String>,
) -> Value {
    let said = Members::default()
        .extension("van:source", ReaderKind::Rfid.as_str())
        .extension_opt("van:reader", reader)
        .extension("van:windowS", decimals(window.as_secs_f64(), 1))
        .extension("van:missing", missing)
        .extension("van:unexpected", unexpected);
    Value::Object(said.0)
}

/// Returns the evidence for the delivery outcome in `event`.
pub(super) fn proof(proof: &Proof, event: &Event) -> Value {
    let metres = |distance: Distance| decimals(distance.as_metres(), 1);
    let inside = match proof.method {
        ProofMethod::ScanInGeofence => Some(true),
        ProofMethod::ScanOutside => Some(false),
        ProofMethod::Manual => {
            proof.distance_to_stop.zip(proof.radius).map(|(distance, radius)| distance <= radius)
        }
    };
    let scanned = (proof.method != ProofMethod::Manual).then(|| event.utc.to_string());
    let accuracy = event.location.and_then(|place| place.accuracy);
    let age_ms = proof.fix_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let said = Members::default()
        .extension("van:method", proof.method.as_str())
        .extension_opt("van:scannedAt", scanned)
        .extension_opt("van:fixAgeMs", age_ms)
        .extension_opt("van:distanceToStopM", proof.distance_to_stop.map(metres))
        .extension_opt("van:geofenceRadiusM", proof.radius.map(metres))
        .extension_opt("van:insideGeofence", inside)
        .extension_opt("van:horizontalAccuracyM", accuracy.map(metres))
        .extension_opt("van:dwellS", proof.dwell.map(|dwell| dwell.as_secs()))
        .extension("van:timeSource", event.time_source.as_str())
        .extension_opt("van:preferences", preferences(&proof.preferences));
    Value::Object(said.0)
}

/// Returns the delivery preferences; `None` if there are none.
fn preferences(asked: &Preferences) -> Option<Value> {
    let said = Members::default()
        .extension_opt("van:authorityToLeave", asked.authority_to_leave)
        .extension_opt("van:safePlace", asked.safe_place.clone())
        .extension_opt("van:neighbour", asked.neighbour.clone())
        .extension_opt("van:signatureRequired", asked.signature_required);
    (!said.0.is_empty()).then_some(Value::Object(said.0))
}

/// Returns the newest sighting of a parcel.
pub(super) fn last_seen(sighting: &Sighting) -> Value {
    let said = Members::default()
        .extension("van:eventID", urn(sighting.id))
        .extension("van:time", sighting.utc.to_string())
        .extension_opt("van:geo", sighting.location.as_ref().map(geo_uri));
    Value::Object(said.0)
}

/// Returns the summary of a route.
pub(super) fn summary(summary: &RouteSummary) -> Value {
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
