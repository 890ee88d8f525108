//! EPCIS extensions with the prefix `waypost:`: scans, evidence, sightings and summaries.

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
        .extension("waypost:source", reading.reader.as_str())
        .extension_opt("waypost:symbology", reading.symbology.clone())
        .extension_opt("waypost:raw", reading.raw.clone())
        .extension_opt("waypost:checkOk", reading.check_ok);
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
        .extension("waypost:source", ReaderKind::Rfid.as_str())
        .extension_opt("waypost:reader", reader)
        .extension("waypost:windowS", decimals(window.as_secs_f64(), 1))
        .extension("waypost:missing", missing)
        .extension("waypost:unexpected", unexpected);
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
        .extension("waypost:method", proof.method.as_str())
        .extension_opt("waypost:scannedAt", scanned)
        .extension_opt("waypost:fixAgeMs", age_ms)
        .extension_opt("waypost:distanceToStopM", proof.distance_to_stop.map(metres))
        .extension_opt("waypost:geofenceRadiusM", proof.radius.map(metres))
        .extension_opt("waypost:insideGeofence", inside)
        .extension_opt("waypost:horizontalAccuracyM", accuracy.map(metres))
        .extension_opt("waypost:dwellS", proof.dwell.map(|dwell| dwell.as_secs()))
        .extension("waypost:timeSource", event.time_source.as_str())
        .extension_opt("waypost:preferences", preferences(&proof.preferences));
    Value::Object(said.0)
}

/// Returns the delivery preferences; `None` if there are none.
fn preferences(asked: &Preferences) -> Option<Value> {
    let said = Members::default()
        .extension_opt("waypost:authorityToLeave", asked.authority_to_leave)
        .extension_opt("waypost:safePlace", asked.safe_place.clone())
        .extension_opt("waypost:neighbour", asked.neighbour.clone())
        .extension_opt("waypost:signatureRequired", asked.signature_required);
    (!said.0.is_empty()).then_some(Value::Object(said.0))
}

/// Returns the newest sighting of a parcel.
pub(super) fn last_seen(sighting: &Sighting) -> Value {
    let said = Members::default()
        .extension("waypost:eventID", urn(sighting.id))
        .extension("waypost:time", sighting.utc.to_string())
        .extension_opt("waypost:geo", sighting.location.as_ref().map(geo_uri));
    Value::Object(said.0)
}

/// Returns the summary of a route.
pub(super) fn summary(summary: &RouteSummary) -> Value {
    let mut said = json!({
        "waypost:stopsTotal": summary.stops_total,
        "waypost:stopsServed": summary.stops_served,
        "waypost:delivered": summary.delivered,
        "waypost:attempted": summary.attempted,
        "waypost:onBoard": summary.on_board,
        "waypost:dwellS": summary.dwell.as_secs(),
        "waypost:idleS": summary.idle.as_secs(),
        "waypost:durationS": summary.duration.as_secs(),
        "waypost:distanceM": decimals(summary.distance.as_metres(), 1),
    });
    if let Some(departed) = summary.departed {
        said["waypost:departed"] = json!(departed.to_string());
    }
    let hours = summary.duration.as_secs_f64() / 3600.0;
    if hours > 0.0 {
        said["waypost:stopsPerHour"] = json!(decimals(f64::from(summary.stops_served) / hours, 1));
    }
    said
}
