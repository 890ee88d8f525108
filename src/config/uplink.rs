//! Converts `[mqtt]` and the message settings of `[track]` into the configuration of the uplink.

use std::time::Duration;

use super::{broker, secrets};
use crate::uplink::{Budget, MqttVersion, UplinkConfig};
use waypost_config_schema::Values;
use waypost_model::units::Distance;
use waypost_pipeline::trail_simplifier::Sampling;
use waypost_wire::{Encoding, VanId};

/// Maximum length of the topic root in bytes. AWS IoT Core and Azure Event Grid allow topics of 256
/// bytes; the longest van id and the rest need 90 of them.
const MAX_TOPIC_ROOT: usize = 128;

pub(super) fn uplink(
    values: &mut Values,
    van: Option<&VanId>,
    sampling: Option<Sampling>,
) -> Option<UplinkConfig> {
    let tls = secrets::tls(values);
    let brokers = broker::brokers(values, tls.as_ref());
    let proxy = broker::proxy(values);
    let root = values.parse("mqtt.topic_root", topic_root);
    let credentials = secrets::credentials(values, "mqtt.username", "mqtt.password_file");
    let keep_alive = values.integer("mqtt.keep_alive_s").map(Duration::from_secs);
    let live_error = values.number("mqtt.live_error_m").and_then(Distance::from_metres);
    let position_interval_moving = values.seconds("mqtt.position_moving_s");
    let position_interval_halted = values.seconds("mqtt.position_halted_s");
    let state_interval = values.seconds("mqtt.state_s");
    let in_flight = values.integer("mqtt.in_flight");
    let ack_timeout = values.seconds("mqtt.ack_timeout_s");
    let require_subscriber = values.flag("mqtt.require_subscriber");
    let track_encoding = values.parse("track.encoding", |name| match name {
        "json" => Ok(Encoding::Json),
        "compact" => Ok(Encoding::Compact),
        _ => Err(format!("{name:?} is not an encoding; use json or compact")),
    });
    let track_batch = values.integer("track.batch_points");
    let backlog_batch = values.integer("track.backlog_batch_points");
    let backlog_bytes_per_s = values.integer("mqtt.backlog_bytes_per_s");
    let track_interval = values.seconds("track.batch_s");
    let version = values.parse("mqtt.version", |version| match version {
        "5" => Ok(MqttVersion::V5),
        "3.1.1" => Ok(MqttVersion::V3_1_1),
        _ => Err(format!("{version:?} is not a supported MQTT version; use 5 or 3.1.1")),
    });
    let require_ack = values.flag("mqtt.require_ack");
    let owntracks = values.flag("mqtt.owntracks");
    let budget = budget(values);
    let van = van?;
    let brokers = brokers?;
    let mut relay = UplinkConfig::new(brokers.first()?.clone(), &root?, van.clone());
    relay.brokers = brokers;
    relay.proxy = proxy?;
    relay.credentials = credentials?;
    relay.keep_alive = keep_alive?;
    relay.live_error = live_error.filter(|error| *error > Distance::default());
    relay.track_error = match sampling? {
        Sampling::Bounded(bounds) => Some(bounds.max_error),
        Sampling::Raw => None,
    };
    relay.position_interval_moving = position_interval_moving?;
    relay.position_interval_halted = position_interval_halted?;
    relay.state_interval = state_interval?;
    relay.in_flight = in_flight?;
    relay.ack_timeout = ack_timeout?;
    relay.require_subscriber = require_subscriber?;
    relay.track_encoding = track_encoding?;
    relay.track_batch = track_batch?;
    relay.backlog_batch = backlog_batch?;
    relay.backlog_bytes_per_s = backlog_bytes_per_s.filter(|rate| *rate > 0);
    relay.track_interval = track_interval?;
    relay.version = version?;
    relay.require_ack = require_ack?;
    relay.owntracks = owntracks?;
    relay.budget = budget?;
    Some(relay)
}

fn budget(values: &mut Values) -> Option<Budget> {
    let megabytes = values.number("mqtt.monthly_budget_mb")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the key"
    )]
    let bytes = (megabytes * 1e6) as u64;
    let monthly_bytes = Some(bytes).filter(|bytes| *bytes > 0);
    Some(Budget { monthly_bytes, metered: values.flag("mqtt.metered")? })
}

fn topic_root(root: &str) -> Result<String, String> {
    let level = |level: &str| {
        !level.is_empty()
            && level.bytes().all(|byte| byte > b' ' && byte != 0x7f && !b"+#$".contains(&byte))
    };
    if root.len() <= MAX_TOPIC_ROOT && root.split('/').all(level) {
        Ok(root.to_owned())
    } else {
        Err(format!(
            "{root:?} is not a topic prefix; use levels separated by single /, without + # $ and spaces"
        ))
    }
}
