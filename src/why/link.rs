//! The link's chain of causes: name, way, trust, admission, answer (pure).

use super::{Asked, Evidence, Finding, Part, Probe, Reached};
use crate::config::Config;
use crate::control::span;
use crate::control::status::LinkStatus;

/// In the order of cause.
pub(super) fn chain(evidence: &Evidence) -> Vec<Finding> {
    let config = evidence.config.as_deref().ok();
    match evidence.status().map(|status| &status.link) {
        Some(link) if link.state == "connected" => vec![
            Finding::fine(Part::Mqtt, format!("connected for {}", span(link.for_s))),
            publish(link, config),
        ],
        Some(link) => {
            let dns = on_the_way(Part::Dns, evidence, Some(link));
            let tcp = on_the_way(Part::Tcp, evidence, Some(link));
            let tls = is_tls(config).then(|| tls(link, config));
            [Some(dns), Some(tcp), tls, Some(mqtt(link, config))].into_iter().flatten().collect()
        }
        None => {
            let mut chain =
                vec![on_the_way(Part::Dns, evidence, None), on_the_way(Part::Tcp, evidence, None)];
            chain.extend(tls_files(evidence).filter(|_| is_tls(config)));
            let words = match evidence.agent {
                Asked::NoSocket => "`systemctl status waypost` has a line of it",
                _ => "nobody to ask while the agent does not run",
            };
            chain.push(Finding::unknown(Part::Mqtt, words));
            chain
        }
    }
}

/// Where nobody knows, there may be some.
fn is_tls(config: Option<&Config>) -> bool {
    let tls = |config: &Config| {
        config.relay.brokers.iter().any(|broker| broker.transport.tls().is_some())
    };
    config.is_none_or(tls)
}

/// Whether the agent's last attempt ended at `part`, in its own words.
fn ended_at(link: Option<&LinkStatus>, part: Part) -> Option<&str> {
    let link = link.filter(|link| link.stage.as_deref() == Some(part.name()))?;
    Some(link.last_error.as_deref().unwrap_or("failed"))
}

/// The name, or the way: by our own look, and by the agent's word.
fn on_the_way(part: Part, evidence: &Evidence, link: Option<&LinkStatus>) -> Finding {
    let failed = |probe: &Probe| {
        let Probe { broker, reached } = probe;
        match (part, reached) {
            (_, Reached::NotFound(why)) => Some(format!("{broker}: {why}")),
            (Part::Tcp, Reached::NoAnswer(why)) => Some(format!("{broker}: {why}")),
            _ => None,
        }
    };
    let failures: Vec<String> = evidence.probes.iter().filter_map(failed).collect();
    let config = evidence.config.as_deref().ok();
    let is_proxied = config.is_some_and(|config| config.relay.proxy.is_some());
    let remedy = match part {
        Part::Dns if is_proxied => {
            "is there a network (`ip route`), does it resolve names (`getent hosts NAME`), and is the name in mqtt.proxy right?"
        }
        Part::Dns => {
            "is there a network (`ip route`), does it resolve names (`getent hosts NAME`), and is the name in mqtt.broker right?"
        }
        _ if is_proxied => {
            "is there a network, does the proxy run, does it let this van in (mqtt.proxy, mqtt.proxy_username) and through to mqtt.broker, and does the broker run?"
        }
        _ => {
            "is there a network, does the broker run, and are port and firewall right (mqtt.broker)?"
        }
    };
    if !evidence.probes.is_empty() && failures.len() == evidence.probes.len() {
        return Finding::wrong(part, failures.join("; "), remedy);
    }
    if let Some(error) = ended_at(link, part) {
        // Behind a proxy, this program has not looked any further.
        let also = if evidence.probes.is_empty() || is_proxied {
            ""
        } else {
            "; this program comes further now"
        };
        return Finding::wrong(part, format!("{error}{also}"), remedy);
    }
    match (failures.is_empty(), evidence.probes.is_empty()) {
        (_, true) if link.is_some_and(|link| link.stage.is_some()) => {
            Finding::fine(part, "the agent came further")
        }
        (_, true) => Finding::unknown(part, "not looked at"),
        (true, false) if is_proxied => {
            Finding::fine(part, "as far as the proxy; what is behind it is not looked at from here")
        }
        (true, false) if part == Part::Dns => Finding::fine(part, "the name is found"),
        (true, false) => Finding::fine(part, "something listens there"),
        (false, false) => Finding::fine(part, format!("of one at least; {}", failures.join("; "))),
    }
}

fn tls(link: &LinkStatus, config: Option<&Config>) -> Finding {
    let Some(error) = ended_at(Some(link), Part::Tls) else {
        return match link.stage.as_deref() {
            Some("mqtt" | "publish") => Finding::fine(Part::Tls, "the two trust each other"),
            _ => Finding::unknown(Part::Tls, "nothing against it is known"),
        };
    };
    let ca_file = config.and_then(|config| {
        let mut tls = config.relay.brokers.iter().filter_map(|broker| broker.transport.tls());
        tls.next().map(|tls| tls.ca_file.display().to_string())
    });
    let ca_file = ca_file.unwrap_or_else(|| "mqtt.ca_file".to_owned());
    let remedy = match link.cause.as_deref() {
        Some("files") => {
            "put the file there, readable for the user waypost (docs/install.md, Secrets); `waypost check`".to_owned()
        }
        Some("unknown_authority") => format!(
            "a wrong authority: {ca_file} must hold the certificate of who signed the broker's"
        ),
        Some("expired") => "the broker's certificate has expired: renew it at the broker".to_owned(),
        Some("not_yet_valid") => {
            "our clock is behind: it is right with the first fix".to_owned()
        }
        Some("wrong_name") => {
            "write the name in mqtt.broker for which the broker's certificate is".to_owned()
        }
        Some("refused") => {
            "the broker does not take ours: mqtt.cert_file and mqtt.key_file, and whether it has expired".to_owned()
        }
        _ => "does the broker speak TLS on this port? 8883 is usual, and 443 for wss; mqtt:// and ws:// are without".to_owned(),
    };
    Finding::wrong(Part::Tls, error, remedy)
}

/// Without an agent.
fn tls_files(evidence: &Evidence) -> Option<Finding> {
    Some(match evidence.tls_files.as_ref()? {
        Ok(()) => Finding::unknown(Part::Tls, "our files are in order; the broker's are not known"),
        Err(error) => {
            let remedy = "put the file there, readable for the user waypost; `waypost check`";
            Finding::wrong(Part::Tls, error, remedy)
        }
    })
}

/// There is no link.
fn mqtt(link: &LinkStatus, config: Option<&Config>) -> Finding {
    let LinkStatus { state, for_s, backoff_s, last_error, last_reason, .. } = link;
    let Some(error) = last_error else {
        return Finding::unknown(Part::Mqtt, format!("{state} for {}", span(*for_s)));
    };
    let again = backoff_s.map(|wait| format!("; it tries again after {wait:.0} s"));
    let reason = last_reason.as_ref().map(|reason| format!(" (reason {reason})"));
    let words = format!("{error}{}{}", reason.unwrap_or_default(), again.unwrap_or_default());
    Finding::wrong(Part::Mqtt, words, admission_remedy(last_reason.as_deref(), config))
}

fn has_websocket(config: &Config) -> bool {
    config.relay.brokers.iter().any(|broker| broker.transport.is_websocket())
}

/// CONNACK and DISCONNECT (MQTT 5 §3.2.2.2, §3.14.2.1).
fn admission_remedy(reason: Option<&str>, config: Option<&Config>) -> String {
    let without = config.is_some_and(|config| config.relay.credentials.is_none());
    match reason {
        Some("0x86" | "0x87" | "0x8C") if without => {
            "the broker wants a user name: mqtt.username and mqtt.password_file".to_owned()
        }
        Some("0x86" | "0x87" | "0x8C") => {
            "user name or password are wrong, or not known to the broker: mqtt.username, mqtt.password_file".to_owned()
        }
        Some("0x84") => "the broker speaks another MQTT: mqtt.version = \"3.1.1\"".to_owned(),
        Some("0x85") => "the broker does not allow the van's id as client identifier: van.id".to_owned(),
        Some("0x8A") => "the broker has banned this van: ask who runs it".to_owned(),
        Some("0x8E") => "another client has this van's id: give each its own van.id".to_owned(),
        Some("0x95") => "the broker takes smaller messages only: track.batch_points".to_owned(),
        Some("0x88" | "0x89" | "0x97" | "0x9F" | "0x8B") => {
            "the broker is full, busy or going down; the agent waits and tries again: ask who runs it".to_owned()
        }
        Some(_) => "the broker's log says why".to_owned(),
        None if config.is_some_and(has_websocket) => {
            "the connection broke: a thin network, a broker that ends it (its log says why), or a port and path that are not its WebSocket's (mqtt.broker)".to_owned()
        }
        None => {
            "the connection broke: a thin network, a broker that ends it (its log says why), or a port that is not MQTT's".to_owned()
        }
    }
}

/// The broker refuses nothing that we say; but what it would have to cut the link for is not said at all.
fn accepted(link: &LinkStatus) -> Finding {
    let LinkStatus { points_acked, events_too_large, .. } = link;
    if *events_too_large == 0 {
        return Finding::fine(Part::Publish, format!("{points_acked} points acknowledged"));
    }
    Finding::wrong(
        Part::Publish,
        format!("{events_too_large} events are larger than the broker takes; they wait"),
        "let the broker take larger packets (mosquitto: max_packet_size)",
    )
}

/// There is a link, and perhaps an answer (MQTT 5 §3.4.2.1).
fn publish(link: &LinkStatus, config: Option<&Config>) -> Finding {
    let refused = link.last_reason.as_deref().filter(|_| link.stage.as_deref() == Some("publish"));
    let Some(reason) = refused else {
        return match &link.downlink_error {
            Some(error) => Finding::wrong(
                Part::Publish,
                format!("manifests and commands do not come: {error}"),
                "let this van subscribe to its topics manifest, command and ack (the broker's ACL)",
            ),
            None => accepted(link),
        };
    };
    let topic = config.map_or("FLEET/VAN/track", |config| &config.relay.topics.track);
    let remedy = match reason {
        "0x87" => format!("let this van publish to {topic} and its neighbours (the broker's ACL)"),
        "0x97" => {
            "the broker is full, or this van has used up its quota: ask who runs it".to_owned()
        }
        "0x10" => format!(
            "nobody subscribes to {topic}: start the backend, or mqtt.require_subscriber = false"
        ),
        "0x95" => "the broker takes smaller messages only: track.batch_points".to_owned(),
        "0x99" => "the broker checks payloads, and wants another form of them".to_owned(),
        _ => "the broker's log says why".to_owned(),
    };
    let words = format!("the broker refuses records (reason {reason}); nothing is lost, they wait");
    Finding::wrong(Part::Publish, words, remedy)
}
