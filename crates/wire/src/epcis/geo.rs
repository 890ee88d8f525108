//! Event locations as `geo:` URIs and sensor reports.

use serde_json::{Value, json};

use crate::payloads::{COURSE_FROM_MPS, decimals};
use waypost_model::event::EventLocation;

/// CRS84 has longitude before latitude. The order does not matter here, because each component is
/// named.
const CRS84: &str = "http://www.opengis.net/def/crs/OGC/1.3/CRS84";

/// Returns a `geo:` URI (RFC 5870) with 5 decimals. The uncertainty is in whole metres, rounded up.
pub(super) fn geo_uri(place: &EventLocation) -> String {
    let lat = decimals(place.position.lat_deg(), 5);
    let lon = decimals(place.position.lon_deg(), 5);
    match place.accuracy {
        Some(accuracy) => format!("geo:{lat:.5},{lon:.5};u={:.0}", accuracy.as_metres().ceil()),
        None => format!("geo:{lat:.5},{lon:.5}"),
    }
}

/// Returns the fix as EPCIS sensor element (§7.3.7), with the precision of `position`.
pub(super) fn sensor_element(place: &EventLocation, device: Option<&str>) -> Value {
    let mut metadata = json!({ "time": place.utc.to_string() });
    if let Some(device) = device {
        metadata["deviceID"] = json!(device);
    }
    let degrees = |component: &str, value: f64| {
        json!({
            "type": "Angle", "component": component, "value": decimals(value, 5), "uom": "DD",
            "coordinateReferenceSystem": CRS84,
        })
    };
    let mut reports = vec![
        degrees("latitude", place.position.lat_deg()),
        degrees("longitude", place.position.lon_deg()),
    ];
    if let Some(accuracy) = place.accuracy {
        let value = decimals(accuracy.as_metres(), 1);
        reports.push(json!({
            "type": "Length", "value": value, "uom": "MTR", "waypost:feature": "waypost:horizontalAccuracy",
        }));
    }
    if let Some(speed) = place.speed {
        let value = decimals(speed.as_mps(), 2);
        reports.push(json!({ "type": "Speed", "value": value, "uom": "MTS" }));
    }
    let drives = place.speed.is_none_or(|speed| speed.as_mps() >= COURSE_FROM_MPS);
    if let Some(course) = place.course.filter(|_| drives) {
        let value = decimals(course.as_degrees(), 1) % 360.0;
        reports.push(json!({
            "type": "Angle", "value": value, "uom": "DD", "waypost:feature": "waypost:course",
        }));
    }
    if let Some(hdop) = place.hdop {
        let value = decimals(hdop.value(), 2);
        reports.push(
            json!({ "type": "Dimensionless", "value": value, "waypost:feature": "waypost:hdop" }),
        );
    }
    json!({ "sensorMetadata": metadata, "sensorReport": reports })
}
