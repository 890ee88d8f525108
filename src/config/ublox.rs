//! Converts `[gnss.ublox]` into the settings of a u-blox receiver.

use waypost_config_schema::Values;
use waypost_pipeline::ubx::{Constellation, DynamicModel, NmeaVersion, Settings};

/// `Some(None)`: nothing is written to the receiver. Problems are reported in either case.
pub(super) fn settings(values: &mut Values) -> Option<Option<Settings>> {
    let enable = values.flag("gnss.ublox.enable");
    let rate_hz = values.integer("gnss.ublox.rate_hz");
    let constellations = values.parse("gnss.ublox.constellations", constellations);
    let nmea_version = values.parse("gnss.ublox.nmea_version", |text| match text {
        "" => Ok(None),
        "4.0" => Ok(Some(NmeaVersion::V40)),
        "4.1" => Ok(Some(NmeaVersion::V41)),
        "4.11" => Ok(Some(NmeaVersion::V411)),
        other => Err(format!("{other:?} is not one of \"4.0\", \"4.1\", \"4.11\"; leave it empty to keep the receiver's setting")),
    });
    let dynamic_model = values.parse("gnss.ublox.dynamic_model", |text| match text {
        "" => Ok(None),
        "automotive" => Ok(Some(DynamicModel::Automotive)),
        "portable" => Ok(Some(DynamicModel::Portable)),
        "stationary" => Ok(Some(DynamicModel::Stationary)),
        "pedestrian" => Ok(Some(DynamicModel::Pedestrian)),
        other => Err(format!(
            "{other:?} is not one of automotive, portable, stationary, pedestrian; leave it empty to keep the receiver's setting"
        )),
    });
    let settings = Settings {
        rate_hz: rate_hz?,
        constellations: constellations?,
        nmea_version: nmea_version?,
        dynamic_model: dynamic_model?,
    };
    Some(enable?.then_some(settings))
}

fn constellations(text: &str) -> Result<Vec<Constellation>, String> {
    let named = |name: &str| {
        let known = Constellation::ALL.into_iter();
        known.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name.trim())).ok_or_else(
            || format!("{name:?} is not one of GPS, Galileo, BeiDou, GLONASS, joined by +"),
        )
    };
    if text.is_empty() { Ok(Vec::new()) } else { text.split('+').map(named).collect() }
}
