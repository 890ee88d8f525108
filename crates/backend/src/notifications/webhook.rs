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
use super::dispatcher::{Content, OutgoingAlert};
use crate::octets;
use waypost_wire::epcis::event_type;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Base64 (RFC 4648 §4).
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
}

/// Length of a secret in bytes; Standard Webhooks allows 24 to 64.
const SECRET_BYTES: usize = 32;

/// Creates a signing secret: `whsec_` and base64.
pub(super) fn new_secret() -> String {
    format!("whsec_{}", BASE64.encode(octets::random::<SECRET_BYTES>()))
}

/// Value of the header `webhook-signature`: one signature per secret, so that a receiver with the
/// secret before or after a rotation finds its own.
fn signatures(secrets: &[String], signed: &str) -> String {
    let sign = |secret: &String| {
        let key = BASE64.decode(secret.strip_prefix("whsec_")?).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Some(format!("v1,{}", BASE64.encode(hmac::sign(&key, signed.as_bytes()).as_ref())))
    };
    secrets.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

/// Creates an HTTP client for untrusted URLs: no redirects, no proxy, and only the permitted
/// networks.
pub(super) fn guarded_agent(reach: EgressPolicy) -> Agent {
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
    Agent::with_parts(config, DefaultConnector::new(), PublicOnlyResolver { policy: reach })
}

impl WebhookClient {
    /// Creates a client that connects to the allowed networks only.
    pub(super) fn new(reach: EgressPolicy) -> Self {
        Self { agent: guarded_agent(reach) }
    }

    /// Sends an alert; blocks for up to ten seconds.
    pub(super) fn send(&self, sending: &OutgoingAlert) -> Result<(), Failure> {
        let Some(body) = cloud_event(sending) else {
            return Err(Failure::Permanent("a webhook needs no confirmation".to_owned()));
        };
        let body = body.to_string();
        let seconds = sending.now.as_unix_ms() / 1000;
        let signed = format!("{}.{seconds}.{body}", sending.id);
        let answer = self
            .agent
            .post(&sending.address)
            .header("content-type", "application/cloudevents+json; charset=utf-8")
            .header("webhook-id", &sending.id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signatures(&sending.secrets, &signed))
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
fn cloud_event(sending: &OutgoingAlert) -> Option<serde_json::Value> {
    let Content::Alert { kind, happened_at, event } = &sending.content else { return None };
    let mut data = json!({
        "number": sending.number,
        "epc": sending.epc,
        "kind": kind.as_str(),
        "page": sending.page_url,
    });
    if let Some(at) = happened_at {
        data["happened_at"] = at.to_string().into();
    }
    if let Some(event) = event {
        data["eventID"] = event.event_id.as_str().into();
        if !event.event_kind.is_empty() {
            data["event_type"] = event_type(&event.event_kind).into();
        }
    }
    Some(json!({
        "specversion": "1.0",
        "id": sending.id,
        "source": sending.page_url.split("/t/").next().unwrap_or_default(),
        "type": format!("waypost.parcel.{}.v1", kind.as_str()),
        "time": happened_at.unwrap_or(sending.now).to_string(),
        "datacontenttype": "application/json",
        "data": data,
    }))
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
    fn every_secret_is_another_one_and_signs_as_the_standard_says() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        let length = BASE64.decode(one.strip_prefix("whsec_").unwrap()).unwrap().len();
        assert!((24..=64).contains(&length));
        // The example of the specification, Standard Webhooks 1.0.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let signed = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&secret), signed), expected);
        let both = signatures(&[one, secret], signed);
        assert_eq!((both.split(' ').count(), both.ends_with(expected)), (2, true));
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
