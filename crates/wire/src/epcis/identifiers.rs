//! Identifiers: the URIs and event types of a fleet.

use std::collections::BTreeSet;

use super::uri::{is_host, is_uri, segment};
use crate::VanId;
use waypost_model::event::Parcel;

/// IRI of the prefix `waypost:`, the vocabulary for everything that EPCIS and CBV have no term for.
/// It is the same for every operator, so that a consumer of several fleets sees one predicate.
/// Registration at w3id.org is open before version 1.0.
pub const NAMESPACE: &str = "https://w3id.org/waypost/v1/";

/// Prefix of the CloudEvents `type`. It names the organisation that defines the semantics
/// (CloudEvents 1.0, `type`), which is this project; `source` names the operator.
pub const TYPE_PREFIX: &str = "org.w3id.waypost";

/// Identifiers configured by the operator. `check` validates them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifiers {
    /// URI of the van, such as `https://id.gs1.org/8004/9521234VAN042` (GIAI).
    pub van: String,
    /// URI of the van's computer, used as device id in sensor reports; omitted if `None`.
    pub gateway: Option<String>,
    /// Host for URIs of routes, stops and parcels without a GS1 key, such as `id.example.com`.
    pub domain: String,
}

/// Identifier that would make events invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifiers {
    /// Not a host name.
    #[error("{0:?} is not a domain: write a host name that you own, such as `id.example.com`")]
    Domain(String),
    #[error("{0:?} is not a URI: write one like `https://id.example.com/fleet/obj/VAN-042`")]
    Uri(String),
}

impl Identifiers {
    /// Derives the identifiers of a van from the operator's domain.
    ///
    /// # Errors
    /// Returns [`InvalidIdentifiers::Domain`] if `domain` is not a host name.
    pub fn new(domain: &str, van: &VanId) -> Result<Self, InvalidIdentifiers> {
        let host = domain.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(InvalidIdentifiers::Domain(domain.chars().take(80).collect()));
        }
        Ok(Self {
            van: format!("https://{host}/fleet/obj/{}", segment(van.as_str())),
            gateway: None,
            domain: host,
        })
    }

    /// Checks that events with these identifiers are valid.
    ///
    /// # Errors
    /// Returns the first invalid identifier.
    pub fn check(&self) -> Result<(), InvalidIdentifiers> {
        let Self { van, gateway, domain } = self;
        if !is_host(domain) {
            return Err(InvalidIdentifiers::Domain(domain.clone()));
        }
        if let Some(bad) = [van].into_iter().chain(gateway).find(|uri| !is_uri(uri)) {
            return Err(InvalidIdentifiers::Uri(bad.clone()));
        }
        Ok(())
    }

    /// Returns the URI of a route as a business transaction (CBV 2.0 §8.5).
    #[must_use]
    pub fn route(&self, route: &str) -> String {
        format!("https://{}/route/bt/{}", self.domain, segment(route))
    }

    /// Returns the URI of a stop as a location, made of its id and never of its address.
    pub(super) fn stop(&self, route: &str, stop: &str) -> String {
        format!("https://{}/route/{}/loc/{}", self.domain, segment(route), segment(stop))
    }

    /// Returns the URI of a station: the one in the manifest, or one derived from the station's id.
    #[must_use]
    pub fn station(&self, station: &str) -> String {
        if is_uri(station) {
            return station.to_owned();
        }
        format!("https://{}/loc/{}", self.domain, segment(station))
    }

    /// Returns the URI of a parcel: its own, or one derived from its number (CBV 2.0 §8.2.3).
    #[must_use]
    pub fn parcel(&self, parcel: &Parcel) -> String {
        if is_uri(&parcel.epc) {
            return parcel.epc.clone();
        }
        format!("https://{}/parcel/obj/{}", self.domain, segment(&parcel.key))
    }

    /// Returns the URIs of parcels without duplicates, as an `epcList` requires.
    pub(super) fn parcels(&self, parcels: &[Parcel]) -> Vec<String> {
        let mut said = BTreeSet::new();
        let uris = parcels.iter().map(|parcel| self.parcel(parcel));
        uris.filter(|uri| said.insert(uri.clone())).collect()
    }
}

/// Returns an event type, such as `org.w3id.waypost.parcel.delivered.v1`.
#[must_use]
pub fn event_type(kind: &str) -> String {
    format!("{TYPE_PREFIX}.{kind}.v{}", crate::VERSION)
}

/// Returns the IRI of a term in the vocabulary of [`NAMESPACE`], such as `btt/delivery_route`.
#[must_use]
pub fn term(path: &str) -> String {
    format!("{NAMESPACE}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Identifiers {
        Identifiers::new("ID.my-fleet.example", &VanId::new("VAN:042").unwrap()).unwrap()
    }

    #[test]
    fn a_domain_is_enough_for_valid_names() {
        let names = names();
        names.check().unwrap();
        assert_eq!(names.van, "https://id.my-fleet.example/fleet/obj/VAN:042");
        assert_eq!(event_type("stop.arrived"), "org.w3id.waypost.stop.arrived.v1");
    }

    #[test]
    fn a_wrong_name_is_refused_with_the_value_and_what_to_write() {
        type Spoil = fn(&mut Identifiers);
        let wrong: [(Spoil, &str); 4] = [
            (
                |n| n.domain = "https://example.com".into(),
                "\"https://example.com\" is not a domain",
            ),
            (|n| n.domain = String::new(), "\"\" is not a domain"),
            (|n| n.van = "VAN-042".into(), "\"VAN-042\" is not a URI"),
            (|n| n.gateway = Some("gw 1".into()), "\"gw 1\" is not a URI"),
        ];
        for (spoil, expected) in wrong {
            let mut names = names();
            spoil(&mut names);
            let error = names.check().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("write"), "{error}");
        }
        let van = VanId::new("v").unwrap();
        for bad in ["", "a b", "exa_mple.com", "-a.com", "a..b", "id.example.com/"] {
            assert!(Identifiers::new(bad, &van).is_err(), "{bad:?}");
        }
    }
}
