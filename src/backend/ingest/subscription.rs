//! What an instance subscribes to: see [`super`], which instance gets what.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule, SubAck, SubscribeReasonCode};

use crate::backend::Config;
use crate::wire::VERSION;

/// The topics of `state`, unshared.
pub(super) fn states(config: &Config) -> String {
    format!("{}/v{VERSION}/+/state", config.mqtt.topic_root)
}

/// Everything that is subscribed to after each connection.
pub(super) fn filters(config: &Config) -> Vec<Filter> {
    let mqtt = &config.mqtt;
    let (root, group) = (&mqtt.topic_root, &mqtt.share_group);
    let shared = |name, qos| Filter::new(format!("$share/{group}/{root}/v{VERSION}/+/{name}"), qos);
    let durable = ["event", "track", "state", "cmd/res"];
    let mut filters: Vec<Filter> =
        durable.into_iter().map(|name| shared(name, QoS::AtLeastOnce)).collect();
    filters.push(shared("position", QoS::AtMostOnce));
    let mut connection = Filter::new(format!("{root}/v{VERSION}/+/connection"), QoS::AtLeastOnce);
    // Not with each of our connections again, but with each of our sessions.
    connection.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
    filters.push(connection);
    if mqtt.owntracks {
        let first = root.split('/').next().unwrap_or(root);
        filters.push(Filter::new(format!("$share/{group}/owntracks/{first}/+"), QoS::AtMostOnce));
    }
    filters
}

/// # Errors
/// The broker does not let us have something, and so we would miss it for good.
pub(super) fn refused(suback: &SubAck) -> Result<(), String> {
    let codes = suback.return_codes.iter();
    match codes.into_iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
        None => Ok(()),
        Some(code) => Err(format!(
            "the broker refuses a subscription ({code:?}): it needs shared subscriptions, and an ACL that lets us read"
        )),
    }
}
