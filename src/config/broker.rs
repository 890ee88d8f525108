//! Parses the broker and proxy addresses, `mqtt.broker` and `mqtt.proxy`.

use std::net::Ipv6Addr;

use super::secrets;
use crate::gnss_source::HostPort;
use crate::uplink::{Broker, Proxy, TlsConfig, Transport};
use waypost_config_schema::Values;

/// IANA port of MQTT without TLS.
const MQTT_PORT: u16 = 1883;

/// IANA port of MQTT over TLS.
const MQTTS_PORT: u16 = 8883;

/// Port of HTTP, and thus of a WebSocket (RFC 6455 §3).
#[cfg(feature = "websocket")]
const WS_PORT: u16 = 80;

/// Port of HTTPS.
#[cfg(feature = "websocket")]
const WSS_PORT: u16 = 443;

/// Common default path of a broker's WebSocket.
#[cfg(feature = "websocket")]
const WS_PATH: &str = "mqtt";

/// Parses one or more broker URLs, separated by commas, in order of preference.
pub(super) fn brokers(values: &mut Values, tls: Option<&TlsConfig>) -> Option<Vec<Broker>> {
    values.parse("mqtt.broker", |urls| urls.split(',').map(|url| broker(url.trim(), tls)).collect())
}

fn broker(url: &str, tls: Option<&TlsConfig>) -> Result<Broker, String> {
    let (named, transport) = match (url.split_once("://"), tls) {
        (Some(("mqtt", host)), _) => (HostPort::parse(host, Some(MQTT_PORT)), Transport::Tcp),
        (Some(("mqtts", host)), Some(tls)) => (
            reject_ipv6_literal(url, HostPort::parse(host, Some(MQTTS_PORT)))?,
            Transport::Tls(tls.clone()),
        ),
        // Problems of the TLS files are recorded already.
        (Some(("mqtts", host)), None) => (HostPort::parse(host, Some(MQTTS_PORT)), Transport::Tcp),
        (Some(("ws" | "wss", _)), _) => return websocket(url, tls),
        _ => (None, Transport::Tcp),
    };
    match named {
        Some(HostPort { host, port }) => Ok(Broker { host, port, transport }),
        None => Err(format!(
            "{url:?} is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]"
        )),
    }
}

fn reject_ipv6_literal(url: &str, named: Option<HostPort>) -> Result<Option<HostPort>, String> {
    match named {
        Some(named) if named.host.parse::<Ipv6Addr>().is_ok() => {
            Err(format!("{url:?}: TLS needs a host name for the certificate, not an IPv6 address"))
        }
        named => Ok(named),
    }
}

#[cfg(not(feature = "websocket"))]
fn websocket(url: &str, _: Option<&TlsConfig>) -> Result<Broker, String> {
    Err(format!(
        "{url:?} is a WebSocket, which this build does not support (feature `websocket`): use mqtts:// or mqtt://"
    ))
}

#[cfg(feature = "websocket")]
fn websocket(url: &str, tls: Option<&TlsConfig>) -> Result<Broker, String> {
    let no_broker = || {
        format!(
            "{url:?} is not a broker URL; use wss://HOST[:PORT][/PATH] or ws://HOST[:PORT][/PATH]"
        )
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(no_broker)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, WS_PATH));
    // RFC 3986 §3.3. A query often contains a secret, and this file must not.
    let is_path = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+;=:@".contains(&byte));
    if !is_path {
        return Err(format!("{url:?}: invalid WebSocket path: use A-Z a-z 0-9 / - . _ ~ %"));
    }
    let (named, tls) = match scheme {
        // No ALPN over HTTP: proxies and gateways would not recognise the MQTT protocol.
        "wss" => {
            let tls = tls.map(|tls| TlsConfig { alpn: Vec::new(), ..tls.clone() });
            (reject_ipv6_literal(url, HostPort::parse(host, Some(WSS_PORT)))?, tls)
        }
        _ => (HostPort::parse(host, Some(WS_PORT)), None),
    };
    let HostPort { host, port } = named.ok_or_else(no_broker)?;
    let transport = Transport::WebSocket { path: format!("/{path}"), tls };
    Ok(Broker { host, port, transport })
}

/// Parses the proxy. `Some(None)`: direct connection.
pub(super) fn proxy(values: &mut Values) -> Option<Option<Proxy>> {
    let credentials =
        secrets::credentials(values, "mqtt.proxy_username", "mqtt.proxy_password_file");
    let named = values.parse("mqtt.proxy", |url| match url {
        "" => Ok(None),
        _ if !cfg!(feature = "proxy") => Err(format!(
            "{url:?}: this build does not support proxies (feature `proxy`): leave it empty"
        )),
        _ => http_proxy(url).map(Some),
    })?;
    let credentials = credentials?;
    match named {
        Some(HostPort { host, port }) => Some(Some(Proxy { host, port, credentials })),
        None => Some(None),
    }
}

fn http_proxy(url: &str) -> Result<HostPort, String> {
    const WRITE: &str = "use http://HOST:PORT of a proxy that supports HTTP CONNECT";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let named = HostPort::parse(rest.strip_suffix('/').unwrap_or(rest), None);
    match (scheme, named) {
        ("http", Some(named)) => Ok(named),
        // Text before an @ may be a password and is not repeated in the error.
        _ if rest.contains('@') => Err(
            "set user name and password in mqtt.proxy_username and in the file that mqtt.proxy_password_file names"
                .to_owned(),
        ),
        (socks, _) if socks.starts_with("socks") => Err(format!("{url:?}: SOCKS is not supported: {WRITE}")),
        ("https", _) => Err(format!("{url:?}: TLS to the proxy itself is not supported: {WRITE}")),
        _ => Err(format!("{url:?} is not a proxy URL: {WRITE}")),
    }
}
