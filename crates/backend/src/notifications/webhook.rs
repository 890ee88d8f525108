//! Sends an alert as a `CloudEvent` by HTTP POST, signed according to Standard Webhooks 1.0.
//!
//! The target URL is untrusted. It is resolved once, checked, and connected to at the checked
//! address. Redirects and proxies are disabled, and only the status of the response is used.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use serde_json::json;
use ureq::Agent;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::Failure;
use super::dispatcher::OutgoingAlert;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Base64 (RFC 4648 §4). Secrets are accepted without padding too, and in the alphabet of §5.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Networks that webhooks may target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EgressPolicy {
    /// Public Internet addresses only, over TLS.
    PublicOnly,
    /// Any address; enabled by the operator.
    AllowPrivate,
}

/// HTTP client for webhooks. Clones share the connection pool.
#[derive(Clone, Debug)]
pub(super) struct WebhookClient {
    agent: Agent,
    key: hmac::Key,
}

/// Decodes `whsec_` and base64; any other text is the key itself.
fn key_bytes(secret: &str) -> Vec<u8> {
    let base64 = secret.strip_prefix("whsec_").map(|text| text.replace('-', "+").replace('_', "/"));
    let decoded = base64.and_then(|text| BASE64.decode(text).ok());
    decoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

impl WebhookClient {
    /// Creates a client that signs with `secret`: `whsec_` and base64, or arbitrary text.
    pub(super) fn new(secret: &str, reach: EgressPolicy) -> Self {
        let bytes = key_bytes(secret);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(reach == EgressPolicy::PublicOnly)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .user_agent("waypost-backend")
            .build();
        let agent = Agent::with_parts(
            config,
            DefaultConnector::new(),
            PublicOnlyResolver { policy: reach },
        );
        Self { agent, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    /// Sends an alert; blocks for up to ten seconds.
    pub(super) fn send(&self, sending: &OutgoingAlert) -> Result<(), Failure> {
        let body = cloud_event(sending).to_string();
        let seconds = sending.now.as_unix_ms() / 1000;
        let signed = format!("{}.{seconds}.{body}", sending.id);
        let signature = hmac::sign(&self.key, signed.as_bytes());
        let answer = self
            .agent
            .post(&sending.address)
            .header("content-type", "application/cloudevents+json; charset=utf-8")
            .header("webhook-id", &sending.id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", format!("v1,{}", BASE64.encode(signature.as_ref())))
            .send(body.as_bytes());
        match answer.map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => Ok(()),
            // Timeouts, rate limits and server errors are transient.
            Ok(status @ (408 | 425 | 429 | 500..=599)) => {
                Err(Failure::Transient(format!("status {status}")))
            }
            Ok(status) => Err(Failure::Permanent(format!("status {status}"))),
            Err(ureq::Error::Other(error)) if error.is::<PrivateAddress>() => {
                Err(Failure::Permanent(error.to_string()))
            }
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_))) => {
                Err(Failure::Permanent(error.to_string()))
            }
            Err(error) => Err(Failure::Transient(error.to_string())),
        }
    }
}

/// Builds the CloudEvents 1.0 payload.
fn cloud_event(sending: &OutgoingAlert) -> serde_json::Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": sending.id,
        "source": sending.page_url.split("/t/").next().unwrap_or_default(),
        "type": format!("waypost.parcel.{}.v1", sending.kind.as_str()),
        "time": sending.happened_at.clone().unwrap_or_else(|| sending.now.to_string()),
        "datacontenttype": "application/json",
        "data": {"number": sending.number, "kind": sending.kind.as_str(), "page": sending.page_url},
    });
    if let Some(at) = &sending.happened_at {
        event["data"]["happened_at"] = at.as_str().into();
    }
    event
}

/// The address belongs to a network that webhooks must not target.
#[derive(Debug, thiserror::Error)]
#[error("the address is in a private network; use a public address or set alerts.webhook_private")]
struct PrivateAddress;

/// Resolver that rejects private addresses. The client connects to the resolved addresses, which
/// prevents DNS rebinding.
#[derive(Debug)]
struct PublicOnlyResolver {
    policy: EgressPolicy,
}

impl Resolver for PublicOnlyResolver {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        let private = addresses.iter().any(|address| !is_public(address.ip()));
        if self.policy == EgressPolicy::PublicOnly && private {
            return Err(ureq::Error::Other(Box::new(PrivateAddress)));
        }
        Ok(addresses)
    }
}

/// Whether an address is public: in none of the special-purpose registries (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            match v6.to_ipv4_mapped() {
                Some(v4) => is_public(IpAddr::V4(v4)),
                // Only 2000::/3 is allocated; 6to4, Teredo and NAT64 embed IPv4 addresses.
                None => {
                    first & 0xe000 == 0x2000
                        && first != 0x2002
                        && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_decoded_in_both_alphabets_and_with_or_without_padding() {
        for secret in ["whsec_+/8=", "whsec_+/8", "whsec_-_8=", "whsec_-_8"] {
            assert_eq!(key_bytes(secret), [0xfb, 0xff], "{secret}");
        }
        assert_eq!(key_bytes("plain text"), b"plain text");
    }

    #[test]
    fn only_addresses_of_the_internet_are_reached() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("2606:2800:220:1::1", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("2002:a00:1::1", false),
            ("2001:db8::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
