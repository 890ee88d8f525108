//! Client address behind an optional proxy. It is used for rate limits only and never stored.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

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
        // Trusts only a proxy on this host, and only the last entry, which that proxy appended.
        let trusted = shared.config.http.trust_forwarded_for && peer.to_canonical().is_loopback();
        let said = if trusted { forwarded_for(&parts.headers) } else { None };
        Ok(Self::from_ip(said.unwrap_or(peer)))
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let last = last.rsplit(',').next()?.trim();
    let bare = last.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| last.parse().ok().map(|address: SocketAddr| address.ip()))
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
    fn of_a_proxys_list_only_its_own_entry_counts() {
        for (lines, expected) in [
            (&["10.0.0.1, 192.0.2.7"][..], Some("192.0.2.7")),
            (&["10.0.0.1", "192.0.2.7"], Some("192.0.2.7")),
            (&["[2001:db8::1]:443"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["192.0.2.7:80"], Some("192.0.2.7")),
            (&["unknown"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            assert_eq!(
                forwarded_for(&headers),
                expected.map(|text| text.parse().unwrap()),
                "{lines:?}"
            );
        }
    }
}
