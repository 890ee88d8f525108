//! `mqtt.broker` and `mqtt.proxy` → where the relay goes, and through what.

use std::net::Ipv6Addr;

use super::secrets;
use crate::relay::{Broker, Proxy, TlsConfig, Transport};
use crate::settings::Values;
use crate::source::HostPort;

/// IANA's port of MQTT without TLS.
const MQTT_PORT: u16 = 1883;

/// IANA's port of MQTT over TLS.
const MQTTS_PORT: u16 = 8883;

/// Of HTTP, and so of a WebSocket (RFC 6455 §3).
#[cfg(feature = "websocket")]
const WS_PORT: u16 = 80;

/// Of HTTP over TLS.
#[cfg(feature = "websocket")]
const WSS_PORT: u16 = 443;

/// Where brokers have their WebSocket unless they are told otherwise.
#[cfg(feature = "websocket")]
const WS_PATH: &str = "mqtt";

/// One or more, separated by commas, in order of preference.
pub(super) fn brokers(values: &mut Values, tls: Option<&TlsConfig>) -> Option<Vec<Broker>> {
    values
        .parsed("mqtt.broker", |urls| urls.split(',').map(|url| broker(url.trim(), tls)).collect())
}

fn broker(url: &str, tls: Option<&TlsConfig>) -> Result<Broker, String> {
    let (named, transport) = match (url.split_once("://"), tls) {
        (Some(("mqtt", host)), _) => (HostPort::parse(host, Some(MQTT_PORT)), Transport::Tcp),
        (Some(("mqtts", host)), Some(tls)) => {
            (certified(url, HostPort::parse(host, Some(MQTTS_PORT)))?, Transport::Tls(tls.clone()))
        }
        // What is wrong with its files is said already.
        (Some(("mqtts", host)), None) => (HostPort::parse(host, Some(MQTTS_PORT)), Transport::Tcp),
        (Some(("ws" | "wss", _)), _) => return websocket(url, tls),
        _ => (None, Transport::Tcp),
    };
    match named {
        Some(HostPort { host, port }) => Ok(Broker { host, port, transport }),
        None => {
            Err(format!("{url:?} is no broker: write mqtts://HOST[:PORT] or mqtt://HOST[:PORT]"))
        }
    }
}

fn certified(url: &str, named: Option<HostPort>) -> Result<Option<HostPort>, String> {
    match named {
        Some(named) if named.host.parse::<Ipv6Addr>().is_ok() => {
            Err(format!("{url:?}: a certificate is for a name: write the host's"))
        }
        named => Ok(named),
    }
}

#[cfg(not(feature = "websocket"))]
fn websocket(url: &str, _: Option<&TlsConfig>) -> Result<Broker, String> {
    Err(format!(
        "{url:?} is a WebSocket, and this build has none (feature `websocket`): write mqtts:// or mqtt://"
    ))
}

#[cfg(feature = "websocket")]
fn websocket(url: &str, tls: Option<&TlsConfig>) -> Result<Broker, String> {
    let no_broker = || {
        format!("{url:?} is no broker: write wss://HOST[:PORT][/PATH] or ws://HOST[:PORT][/PATH]")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(no_broker)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, WS_PATH));
    // RFC 3986 §3.3. A query would mostly be a secret, and secrets never stand in this file.
    let is_path = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+;=:@".contains(&byte));
    if !is_path {
        return Err(format!("{url:?}: the path of a WebSocket is made of A-Z a-z 0-9 / - . _ ~ %"));
    }
    let (named, tls) = match scheme {
        // A proxy or a gateway that speaks HTTP is asked for no other protocol.
        "wss" => {
            let tls = tls.map(|tls| TlsConfig { alpn: Vec::new(), ..tls.clone() });
            (certified(url, HostPort::parse(host, Some(WSS_PORT)))?, tls)
        }
        _ => (HostPort::parse(host, Some(WS_PORT)), None),
    };
    let HostPort { host, port } = named.ok_or_else(no_broker)?;
    let transport = Transport::WebSocket { path: format!("/{path}"), tls };
    Ok(Broker { host, port, transport })
}

/// `Some(None)`: straight to the broker.
pub(super) fn proxy(values: &mut Values) -> Option<Option<Proxy>> {
    let credentials =
        secrets::credentials(values, "mqtt.proxy_username", "mqtt.proxy_password_file");
    let named = values.parsed("mqtt.proxy", |url| match url {
        "" => Ok(None),
        _ if !cfg!(feature = "proxy") => {
            Err(format!("{url:?}: this build knows no proxy (feature `proxy`): leave it empty"))
        }
        _ => http_proxy(url).map(Some),
    })?;
    let credentials = credentials?;
    match named {
        Some(HostPort { host, port }) => Some(Some(Proxy { host, port, credentials })),
        None => Some(None),
    }
}

fn http_proxy(url: &str) -> Result<HostPort, String> {
    const WRITE: &str = "write http://HOST:PORT, for a proxy that knows HTTP CONNECT";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let named = HostPort::parse(rest.strip_suffix('/').unwrap_or(rest), None);
    match (scheme, named) {
        ("http", Some(named)) => Ok(named),
        // What stands before an @ may be a password, and is not repeated.
        _ if rest.contains('@') => Err(
            "user name and password stand in mqtt.proxy_username and in the file that mqtt.proxy_password_file names"
                .to_owned(),
        ),
        (socks, _) if socks.starts_with("socks") => Err(format!("{url:?}: SOCKS is not spoken here: {WRITE}")),
        ("https", _) => Err(format!("{url:?}: TLS to the proxy itself is not spoken here: {WRITE}")),
        _ => Err(format!("{url:?} is no proxy: {WRITE}")),
    }
}
