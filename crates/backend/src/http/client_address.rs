//! Client address behind optional proxies. It is used for rate limits only and never stored.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::AppState;

/// Peer address of the connection; `super::server()` adds it to each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Key of per-client limits: an IPv4 address, or the /64 of an IPv6 address, as assigned to a
/// household (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Converts an address to the key of per-client limits.
    #[must_use]
    pub fn from_ip(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &AppState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<PeerAddr>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |PeerAddr(peer)| peer.ip());
        Ok(Self::from_ip(client_of(peer, &parts.headers, &shared.config.http.trusted_proxies)))
    }
}

/// Returns whether an address is one of these networks. An IPv4 address that arrived on an IPv6
/// socket counts as IPv4.
#[must_use]
pub fn is_trusted(address: IpAddr, proxies: &[IpNet]) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|network| network.contains(&address))
}

/// Returns the nearest address on the way from the client that is not a trusted proxy. Each proxy
/// appends the address it was asked from, so entries before the first untrusted one may be forged.
fn client_of(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for");
    let lines = lines.iter().rev().map(|line| line.to_str().unwrap_or_default());
    let mut entries = lines.flat_map(|line| line.rsplit(','));
    while is_trusted(client, proxies) {
        let Some(said) = entries.next().and_then(parse_entry) else { break };
        client = said;
    }
    client
}

/// Parses an entry: an address with or without brackets and port.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_is_one_address() {
        let of = |text: &str| ClientAddress::from_ip(text.parse().unwrap()).0.to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::ffff"), "2001:db8:1:2::");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let proxies: Vec<IpNet> =
            ["10.0.0.0/8", "127.0.0.1/32", "2001:db8:7::/48"].map(|it| it.parse().unwrap()).into();
        for (peer, lines, expected) in [
            ("127.0.0.1", &["192.0.2.7"][..], "192.0.2.7"),
            ("::ffff:127.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("10.1.2.3", &["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
            ("10.1.2.3", &["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
            ("10.1.2.3", &["192.0.2.7, 10.9.9.9"], "192.0.2.7"),
            ("10.1.2.3", &["192.0.2.7, 2001:db8:7::1", "10.9.9.9"], "192.0.2.7"),
            ("2001:db8:7::5", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("2001:db8:7::5", &["[2001:db8::1]"], "2001:db8::1"),
            ("2001:db8:8::5", &["192.0.2.7"], "2001:db8:8::5"),
            ("192.0.2.1", &["192.0.2.7"], "192.0.2.1"),
            ("10.1.2.3", &["192.0.2.7:80"], "192.0.2.7"),
            ("10.1.2.3", &["192.0.2.7, unknown"], "10.1.2.3"),
            ("10.1.2.3", &["10.4.4.4"], "10.4.4.4"),
            ("10.1.2.3", &[""], "10.1.2.3"),
            ("10.1.2.3", &[], "10.1.2.3"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let client = client_of(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "192.0.2.7".parse().unwrap());
        let peer = "127.0.0.1".parse().unwrap();
        assert_eq!(client_of(peer, &headers, &[]), peer, "without a proxy the header is ignored");
    }
}
