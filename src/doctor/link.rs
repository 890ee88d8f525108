//! Checks of the connection to the broker: name, TCP, TLS, MQTT, publish (pure).

use super::{AgentStatusResult, Check, Evidence, Finding, Probe, ProbeResult};
use crate::config::Config;
use crate::control::span;
use crate::control::status::LinkStatus;

/// Evaluates the checks in causal order.
pub(super) fn chain(evidence: &Evidence) -> Vec<Finding> {
    let config = evidence.config.as_deref().ok();
    match evidence.status().map(|status| &status.link) {
        Some(link) if link.state == "connected" => vec![
            Finding::ok(Check::Mqtt, format!("connected for {}", span(link.for_s))),
            publish(link, config),
        ],
        Some(link) => {
            let dns = reachability(Check::Dns, evidence, Some(link));
            let tcp = reachability(Check::Tcp, evidence, Some(link));
            let tls = is_tls(config).then(|| tls(link, config));
            [Some(dns), Some(tcp), tls, Some(mqtt(link, config))].into_iter().flatten().collect()
        }
        None => {
            let mut chain = vec![
                reachability(Check::Dns, evidence, None),
                reachability(Check::Tcp, evidence, None),
            ];
            chain.extend(tls_files(evidence).filter(|_| is_tls(config)));
            let words = match evidence.agent {
                AgentStatusResult::NoSocket => "see `systemctl status waypost`",
                _ => "unknown while the agent is not running",
            };
            chain.push(Finding::unknown(Check::Mqtt, words));
            chain
        }
    }
}

/// Whether a broker uses TLS. Without a configuration it is assumed to.
fn is_tls(config: Option<&Config>) -> bool {
    let tls = |config: &Config| {
        config.uplink.brokers.iter().any(|broker| broker.transport.tls().is_some())
    };
    config.is_none_or(tls)
}

/// Error of the agent's last attempt, if it failed at `part`.
fn failed_at(link: Option<&LinkStatus>, part: Check) -> Option<&str> {
    let link = link.filter(|link| link.stage.as_deref() == Some(part.as_str()))?;
    Some(link.last_error.as_deref().unwrap_or("failed"))
}

/// Evaluates name resolution or TCP, from this program's attempts and the agent's status.
fn reachability(part: Check, evidence: &Evidence, link: Option<&LinkStatus>) -> Finding {
    let failed = |probe: &Probe| {
        let Probe { broker, result: reached } = probe;
        match (part, reached) {
            (_, ProbeResult::NameNotFound(why)) => Some(format!("{broker}: {why}")),
            (Check::Tcp, ProbeResult::Unreachable(why)) => Some(format!("{broker}: {why}")),
            _ => None,
        }
    };
    let failures: Vec<String> = evidence.probes.iter().filter_map(failed).collect();
    let config = evidence.config.as_deref().ok();
    let is_proxied = config.is_some_and(|config| config.uplink.proxy.is_some());
    let remedy = match part {
        Check::Dns if is_proxied => {
            "check the network (`ip route`), name resolution (`getent hosts NAME`) and the name in mqtt.proxy"
        }
        Check::Dns => {
            "check the network (`ip route`), name resolution (`getent hosts NAME`) and the name in mqtt.broker"
        }
        _ if is_proxied => {
            "check the network, that the proxy runs and admits this van (mqtt.proxy, mqtt.proxy_username), that it allows mqtt.broker, and that the broker runs"
        }
        _ => "check the network, that the broker runs, its port (mqtt.broker) and the firewall",
    };
    if !evidence.probes.is_empty() && failures.len() == evidence.probes.len() {
        return Finding::fail(part, failures.join("; "), remedy);
    }
    if let Some(error) = failed_at(link, part) {
        // Behind a proxy this program has tested the proxy only.
        let also = if evidence.probes.is_empty() || is_proxied {
            ""
        } else {
            "; this check gets further now"
        };
        return Finding::fail(part, format!("{error}{also}"), remedy);
    }
    match (failures.is_empty(), evidence.probes.is_empty()) {
        (_, true) if link.is_some_and(|link| link.stage.is_some()) => {
            Finding::ok(part, "passed by the agent")
        }
        (_, true) => Finding::unknown(part, "not checked"),
        (true, false) if is_proxied => Finding::ok(
            part,
            "reached the proxy; the connection behind it is not checked from here",
        ),
        (true, false) if part == Check::Dns => Finding::ok(part, "name resolved"),
        (true, false) => Finding::ok(part, "port open"),
        (false, false) => {
            Finding::ok(part, format!("at least one succeeded; {}", failures.join("; ")))
        }
    }
}

fn tls(link: &LinkStatus, config: Option<&Config>) -> Finding {
    let Some(error) = failed_at(Some(link), Check::Tls) else {
        return match link.stage.as_deref() {
            Some("mqtt" | "publish") => Finding::ok(Check::Tls, "handshake succeeded"),
            _ => Finding::unknown(Check::Tls, "no error known"),
        };
    };
    let ca_file = config.and_then(|config| {
        let mut tls = config.uplink.brokers.iter().filter_map(|broker| broker.transport.tls());
        tls.next().map(|tls| tls.ca_file.display().to_string())
    });
    let ca_file = ca_file.unwrap_or_else(|| "mqtt.ca_file".to_owned());
    let remedy = match link.cause.as_deref() {
        Some("files") => {
            "provide the file, readable for the user waypost (docs/install.md, Secrets); validate with `waypost check`".to_owned()
        }
        Some("unknown_authority") => format!(
            "unknown CA: {ca_file} must contain the CA certificate that signed the broker's"
        ),
        Some("expired") => "the broker's certificate has expired: renew it at the broker".to_owned(),
        Some("not_yet_valid") => {
            "the van's clock is behind: it is set by the first fix".to_owned()
        }
        Some("wrong_name") => {
            "use a name in mqtt.broker that the broker's certificate contains".to_owned()
        }
        Some("refused") => {
            "the broker rejects the van's certificate: check mqtt.cert_file, mqtt.key_file and its expiry".to_owned()
        }
        _ => "check that the broker uses TLS on this port: usually 8883, or 443 for wss; mqtt:// and ws:// are without TLS".to_owned(),
    };
    Finding::fail(Check::Tls, error, remedy)
}

/// TLS check without a running agent.
fn tls_files(evidence: &Evidence) -> Option<Finding> {
    Some(match evidence.tls_files.as_ref()? {
        Ok(()) => Finding::unknown(
            Check::Tls,
            "local files are valid; the broker's certificate is not checked",
        ),
        Err(error) => {
            let remedy =
                "provide the file, readable for the user waypost; validate with `waypost check`";
            Finding::fail(Check::Tls, error, remedy)
        }
    })
}

/// MQTT check without a connection.
fn mqtt(link: &LinkStatus, config: Option<&Config>) -> Finding {
    let LinkStatus { state, for_s, backoff_s, last_error, last_reason, .. } = link;
    let Some(error) = last_error else {
        return Finding::unknown(Check::Mqtt, format!("{state} for {}", span(*for_s)));
    };
    let again = backoff_s.map(|wait| format!("; retrying after {wait:.0} s"));
    let reason = last_reason.as_ref().map(|reason| format!(" (reason {reason})"));
    let words = format!("{error}{}{}", reason.unwrap_or_default(), again.unwrap_or_default());
    Finding::fail(Check::Mqtt, words, connect_remedy(last_reason.as_deref(), config))
}

fn has_websocket(config: &Config) -> bool {
    config.uplink.brokers.iter().any(|broker| broker.transport.is_websocket())
}

/// Remedies for the reason codes of CONNACK and DISCONNECT (MQTT 5 §3.2.2.2, §3.14.2.1).
fn connect_remedy(reason: Option<&str>, config: Option<&Config>) -> String {
    let without = config.is_some_and(|config| config.uplink.credentials.is_none());
    match reason {
        Some("0x86" | "0x87" | "0x8C") if without => {
            "the broker requires a user name: set mqtt.username and mqtt.password_file".to_owned()
        }
        Some("0x86" | "0x87" | "0x8C") => {
            "user name or password is wrong or unknown to the broker: check mqtt.username and mqtt.password_file".to_owned()
        }
        Some("0x84") => "the broker uses another protocol version: set mqtt.version = \"3.1.1\"".to_owned(),
        Some("0x85") => "the broker rejects the van's id as client identifier: change van.id".to_owned(),
        Some("0x8A") => "the broker has banned this van: contact its operator".to_owned(),
        Some("0x8E") => "another client uses this van's id: give each van its own van.id".to_owned(),
        Some("0x95") => "messages exceed the broker's packet limit: reduce track.batch_points".to_owned(),
        Some("0x88" | "0x89" | "0x97" | "0x9F" | "0x8B") => {
            "the broker is full, busy or shutting down, and the agent retries: contact its operator".to_owned()
        }
        Some(_) => "see the broker's log".to_owned(),
        None if config.is_some_and(has_websocket) => {
            "connection lost: check the network, the broker's log, and the WebSocket's port and path in mqtt.broker".to_owned()
        }
        None => {
            "connection lost: check the network, the broker's log, and that the port in mqtt.broker is an MQTT port".to_owned()
        }
    }
}

/// Publish check without rejections. Events above the broker's packet limit are held back, because
/// sending them would end the connection.
fn publish_accepted(link: &LinkStatus) -> Finding {
    let LinkStatus { points_acked, events_too_large, .. } = link;
    if *events_too_large == 0 {
        return Finding::ok(Check::Publish, format!("{points_acked} points acknowledged"));
    }
    Finding::fail(
        Check::Publish,
        format!("{events_too_large} events exceed the broker's packet limit and are held back"),
        "raise the broker's packet limit (mosquitto: max_packet_size)",
    )
}

/// Publish check with a connection (MQTT 5 §3.4.2.1).
fn publish(link: &LinkStatus, config: Option<&Config>) -> Finding {
    let refused = link.last_reason.as_deref().filter(|_| link.stage.as_deref() == Some("publish"));
    let Some(reason) = refused else {
        return match &link.downlink_error {
            Some(error) => Finding::fail(
                Check::Publish,
                format!("manifests and commands cannot be received: {error}"),
                "allow this van to subscribe to its topics manifest, command and ack (the broker's ACL)",
            ),
            None => publish_accepted(link),
        };
    };
    let topic = config.map_or("FLEET/VAN/track", |config| &config.uplink.topics.track);
    let remedy = match reason {
        "0x87" => {
            format!("allow this van to publish to {topic} and its other topics (the broker's ACL)")
        }
        "0x97" => "the broker is full, or this van has exceeded its quota: contact its operator"
            .to_owned(),
        "0x10" => format!(
            "no subscriber for {topic}: start the backend, or set mqtt.require_subscriber = false"
        ),
        "0x95" => "messages exceed the broker's packet limit: reduce track.batch_points".to_owned(),
        "0x99" => "the broker validates payloads and rejects this format: check its configuration"
            .to_owned(),
        _ => "see the broker's log".to_owned(),
    };
    let words = format!("the broker rejects records (reason {reason}); they are kept and retried");
    Finding::fail(Check::Publish, words, remedy)
}
