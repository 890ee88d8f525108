//! What the operator calls things → the URIs that events use.

use std::collections::BTreeSet;

use super::uri::{is_host, is_uri, segment};
use crate::core::delivery::event::Parcel;
use crate::wire::VanId;

/// The names that the operator gives to things. [`Names::check`] says whether they will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// URI of the van, such as `https://id.gs1.org/8004/9521234VAN042` (GIAI).
    pub van: String,
    /// URI of the computer in it, as the device of sensor reports; left out if it has none.
    pub gateway: Option<String>,
    /// Host of the URIs of routes, stops and parcels that have none of GS1's, such as `id.example.com`.
    pub domain: String,
    /// What `van:` stands for: a URI that ends with `/` or `#`.
    pub namespace: String,
    /// What the types of events begin with: `com.example.van`.
    pub type_prefix: String,
}

/// A name that no valid event could carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNames {
    /// No host name.
    #[error("{0:?} is no domain: write a host name that you own, such as `id.example.com`")]
    Domain(String),
    /// No URI.
    #[error("{0:?} is no URI: write one like `https://id.example.com/fleet/obj/VAN-042`")]
    Uri(String),
    /// No namespace.
    #[error("{0:?} is no namespace: write a URI that ends with `/` or `#`")]
    Namespace(String),
    /// No prefix of types.
    #[error("{0:?} is no prefix of types: write a-z 0-9 in parts with dots, as `com.example.van`")]
    TypePrefix(String),
}

impl Names {
    /// The names of a van whose operator has only a domain.
    ///
    /// # Errors
    /// [`InvalidNames::Domain`].
    pub fn new(domain: &str, van: &VanId) -> Result<Self, InvalidNames> {
        let host = domain.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(InvalidNames::Domain(domain.chars().take(80).collect()));
        }
        let reversed: Vec<&str> = host.rsplit('.').collect();
        Ok(Self {
            van: format!("https://{host}/fleet/obj/{}", segment(van.as_str())),
            gateway: None,
            namespace: format!("https://ns.{host}/van/"),
            // A type has no hyphens, a host may.
            type_prefix: format!("{}.van", reversed.join(".").replace('-', "")),
            domain: host,
        })
    }

    /// Whether events with these names are valid.
    ///
    /// # Errors
    /// [`InvalidNames`], the first that is wrong.
    pub fn check(&self) -> Result<(), InvalidNames> {
        let Self { van, gateway, domain, namespace, type_prefix } = self;
        if !is_host(domain) {
            return Err(InvalidNames::Domain(domain.clone()));
        }
        if let Some(bad) = [van].into_iter().chain(gateway).find(|uri| !is_uri(uri)) {
            return Err(InvalidNames::Uri(bad.clone()));
        }
        if !is_uri(namespace) || !namespace.ends_with(['/', '#']) {
            return Err(InvalidNames::Namespace(namespace.clone()));
        }
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        if !type_prefix.split('.').all(part) {
            return Err(InvalidNames::TypePrefix(type_prefix.clone()));
        }
        Ok(())
    }

    /// A kind of event, such as `com.example.van.parcel.delivered.v1`.
    pub(super) fn kind(&self, happening: &str) -> String {
        format!("{}.{happening}.v{}", self.type_prefix, crate::wire::VERSION)
    }

    /// A route as a business transaction (CBV 2.0 §8.5).
    #[must_use]
    pub fn route(&self, route: &str) -> String {
        format!("https://{}/route/bt/{}", self.domain, segment(route))
    }

    /// A stop as a place: by its id, and never by its address.
    pub(super) fn stop(&self, route: &str, stop: &str) -> String {
        format!("https://{}/route/{}/loc/{}", self.domain, segment(route), segment(stop))
    }

    /// A station: the manifest's URI, or one made of what the manifest calls it.
    #[must_use]
    pub fn station(&self, station: &str) -> String {
        if is_uri(station) {
            return station.to_owned();
        }
        format!("https://{}/loc/{}", self.domain, segment(station))
    }

    /// A parcel: its URI, or one made of its number (CBV 2.0 §8.2.3).
    #[must_use]
    pub fn parcel(&self, parcel: &Parcel) -> String {
        if is_uri(&parcel.epc) {
            return parcel.epc.clone();
        }
        format!("https://{}/parcel/obj/{}", self.domain, segment(&parcel.key))
    }

    /// Parcels, each once: the items of an `epcList` must be unique.
    pub(super) fn parcels(&self, parcels: &[Parcel]) -> Vec<String> {
        let mut said = BTreeSet::new();
        let uris = parcels.iter().map(|parcel| self.parcel(parcel));
        uris.filter(|uri| said.insert(uri.clone())).collect()
    }

    /// A word of the operator's own vocabulary.
    #[must_use]
    pub fn term(&self, path: &str) -> String {
        format!("{}{path}", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("ID.my-fleet.example", &VanId::new("VAN:042").unwrap()).unwrap()
    }

    #[test]
    fn a_domain_is_enough_for_valid_names() {
        let names = names();
        names.check().unwrap();
        assert_eq!(names.van, "https://id.my-fleet.example/fleet/obj/VAN:042");
        assert_eq!(names.namespace, "https://ns.id.my-fleet.example/van/");
        assert_eq!(names.kind("stop.arrived"), "example.myfleet.id.van.stop.arrived.v1");
    }

    #[test]
    fn a_wrong_name_is_refused_with_the_value_and_what_to_write() {
        type Spoil = fn(&mut Names);
        let wrong: [(Spoil, &str); 8] = [
            (|n| n.domain = "https://example.com".into(), "\"https://example.com\" is no domain"),
            (|n| n.domain = String::new(), "\"\" is no domain"),
            (|n| n.van = "VAN-042".into(), "\"VAN-042\" is no URI"),
            (|n| n.gateway = Some("gw 1".into()), "\"gw 1\" is no URI"),
            (|n| n.namespace = "https://ns.example.com/van".into(), "is no namespace"),
            (|n| n.namespace = "van/".into(), "is no namespace"),
            (|n| n.type_prefix = "com.Example.van".into(), "is no prefix of types"),
            (|n| n.type_prefix = "com..van".into(), "is no prefix of types"),
        ];
        for (spoil, expected) in wrong {
            let mut names = names();
            spoil(&mut names);
            let error = names.check().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("write"), "{error}");
        }
        let van = VanId::new("v").unwrap();
        for bad in ["", "a b", "exa_mple.com", "-a.com", "a..b", "id.example.com/"] {
            assert!(Names::new(bad, &van).is_err(), "{bad:?}");
        }
    }
}
