//! Detects vans whose URIs use a domain other than ours, so that their parcels do not match those
//! announced.
//!
//! - The van's `delivery.domain` must equal our `parcels.domain`; otherwise events never reach the
//!   recipient's page. Such events are stored all the same, and match once the setting is
//!   corrected.
//! - A setting row per van informs all instances and the dispatchers; the first matching event
//!   deletes it. Each van is logged once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::counters::Counters;
use crate::AppState;
use crate::event::Event;
use crate::store::StoreError;

/// Maximum number of vans with a recorded mismatch; events of further vans are only counted.
const MAX_VANS: usize = 10_000;

/// Maximum length of a host name (RFC 1035 §2.3.4).
const MAX_HOST_LEN: usize = 253;

/// Domain mismatches by van. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(super) struct DomainMismatches(Arc<Mutex<MismatchCache>>);

#[derive(Debug, Default)]
struct MismatchCache {
    /// Mismatches in the store; `None` until loaded.
    by_van: Option<BTreeMap<String, String>>,
    logged: BTreeSet<String>,
}

impl DomainMismatches {
    /// Checks the domain of a van's event.
    pub(super) async fn check(
        &self,
        van: &str,
        event: &Event,
        shared: &AppState,
        counters: &Counters,
    ) -> Result<(), StoreError> {
        let Some(domain) = domain_of_event(event) else { return Ok(()) };
        let ours = &shared.config.domain;
        let other = Some(domain).filter(|domain| domain != ours);
        if other.is_some() {
            Counters::add(&counters.domain_mismatches, 1);
        }
        if self.is_not_loaded() {
            let others = shared.store.domain_mismatches().await?;
            self.0.lock().expect("no lock holder panics").by_van = Some(others);
        }
        if !self.is_new(van, other) {
            return Ok(());
        }
        shared.store.set_van_domain(van, other).await?;
        let mut known = self.0.lock().expect("no lock holder panics");
        let others = known.by_van.get_or_insert_default();
        match other {
            Some(other) => others.insert(van.to_owned(), other.to_owned()),
            None => others.remove(van),
        };
        if let Some(domain) = other
            && known.logged.insert(van.to_owned())
        {
            tracing::warn!(
                van,
                domain,
                ours = ours.as_str(),
                "domain mismatch: set the van's delivery.domain and our parcels.domain to the same value"
            );
        }
        Ok(())
    }

    fn is_not_loaded(&self) -> bool {
        self.0.lock().expect("no lock holder panics").by_van.is_none()
    }

    /// Whether the mismatch differs from the stored one.
    fn is_new(&self, van: &str, other: Option<&str>) -> bool {
        let known = self.0.lock().expect("no lock holder panics");
        let others = known.by_van.as_ref();
        let before = others.and_then(|others| others.get(van)).map(String::as_str);
        let has_room = others.is_none_or(|others| others.len() < MAX_VANS);
        before != other && (before.is_some() || has_room)
    }
}

/// Domain of an event's URIs: that of its route, or else of a parcel without a GS1 number. The
/// van's own URI is not used, since it is configurable (`delivery.van_uri`).
fn domain_of_event(event: &Event) -> Option<&str> {
    let route = || {
        let transactions = event.data.get("bizTransactionList")?.as_array()?;
        transactions
            .iter()
            .find_map(|it| host_before(it.get("bizTransaction")?.as_str()?, "/route/bt/"))
    };
    let parcel = || event.epcs.iter().find_map(|(epc, _)| host_before(epc, "/parcel/obj/"));
    route().or_else(parcel)
}

/// Host of `https://{host}{path}…`.
fn host_before<'a>(uri: &'a str, path: &str) -> Option<&'a str> {
    let (host, _) = uri.strip_prefix("https://")?.split_once(path)?;
    let good = |c: u8| c.is_ascii_alphanumeric() || b".-".contains(&c);
    ((1..=MAX_HOST_LEN).contains(&host.len()) && host.bytes().all(good)).then_some(host)
}
