//! Topic filters of an instance; see [`super`] for the distribution over instances.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule, SubAck, SubscribeReasonCode};

use crate::Config;
use waypost_wire::VERSION;

/// Topic filter of `state`, unshared.
pub(super) fn state_filter(config: &Config) -> String {
    format!("{}/v{VERSION}/+/state", config.mqtt.topic_root)
}

/// Topic filters subscribed to after each connection.
pub(super) fn filters(config: &Config) -> Vec<Filter> {
    let mqtt = &config.mqtt;
    let (root, group) = (&mqtt.topic_root, &mqtt.share_group);
    let shared = |name, qos| Filter::new(format!("$share/{group}/{root}/v{VERSION}/+/{name}"), qos);
    let durable = ["event", "track", "state", "command/result"];
    let mut filters: Vec<Filter> =
        durable.into_iter().map(|name| shared(name, QoS::AtLeastOnce)).collect();
    filters.push(shared("position", QoS::AtMostOnce));
    let mut connection = Filter::new(format!("{root}/v{VERSION}/+/connection"), QoS::AtLeastOnce);
    // Retained messages are needed once per session, not once per connection.
    connection.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
    filters.push(connection);
    if mqtt.owntracks {
        let first = root.split('/').next().unwrap_or(root);
        filters.push(Filter::new(format!("$share/{group}/owntracks/{first}/+"), QoS::AtMostOnce));
    }
    filters
}

/// Checks a SUBACK.
///
/// # Errors
/// Returns a message if the broker rejected a topic filter; its messages would be missed for good.
pub(super) fn check_suback(suback: &SubAck) -> Result<(), String> {
    let codes = suback.return_codes.iter();
    match codes.into_iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
        None => Ok(()),
        Some(code) => Err(format!(
            "subscription rejected by the broker ({code:?}): enable shared subscriptions and grant read access in its ACL"
        )),
    }
}
