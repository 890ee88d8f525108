//! Events of vans → those whose names are made with another domain than ours: their parcels are not the ones we know.
//!
//! - The van's `delivery.domain` and our `parcels.domain` are the same, or a recipient's page waits for events that come under
//!   another name. Nothing is refused for it: who mends the one or the other finds all that was stored.
//! - A row for each such van tells all instances, and the desk; it goes with the first event that agrees. A line of the log for
//!   each van says it once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::counters::Counters;
use crate::backend::Shared;
use crate::backend::event::Event;
use crate::backend::store::StoreError;

/// Vans that are remembered; of more, the events are counted.
const MAX_VANS: usize = 10_000;

/// No host has a longer name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// Which vans use which other domain. Clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Domains(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// As it stands in the store; `None` before that was asked.
    others: Option<BTreeMap<String, String>>,
    said: BTreeSet<String>,
}

impl Domains {
    /// Looks at an event of a van.
    pub(super) async fn look(
        &self,
        van: &str,
        event: &Event,
        shared: &Shared,
        counters: &Counters,
    ) -> Result<(), StoreError> {
        let Some(domain) = domain(event) else { return Ok(()) };
        let ours = &shared.config.domain;
        let other = Some(domain).filter(|domain| domain != ours);
        if other.is_some() {
            Counters::add(&counters.other_domain, 1);
        }
        if self.others_are_unknown() {
            let others = shared.store.other_domains().await?;
            self.0.lock().expect("no holder of the lock can panic").others = Some(others);
        }
        if !self.is_news(van, other) {
            return Ok(());
        }
        shared.store.say_domain(van, other).await?;
        let mut known = self.0.lock().expect("no holder of the lock can panic");
        let others = known.others.get_or_insert_default();
        match other {
            Some(other) => others.insert(van.to_owned(), other.to_owned()),
            None => others.remove(van),
        };
        if let Some(domain) = other
            && known.said.insert(van.to_owned())
        {
            tracing::warn!(
                van,
                domain,
                ours = ours.as_str(),
                "a van names its parcels with another domain: make its delivery.domain and our parcels.domain the same"
            );
        }
        Ok(())
    }

    fn others_are_unknown(&self) -> bool {
        self.0.lock().expect("no holder of the lock can panic").others.is_none()
    }

    /// Whether the store does not say so yet.
    fn is_news(&self, van: &str, other: Option<&str>) -> bool {
        let known = self.0.lock().expect("no holder of the lock can panic");
        let others = known.others.as_ref();
        let before = others.and_then(|others| others.get(van)).map(String::as_str);
        let has_room = others.is_none_or(|others| others.len() < MAX_VANS);
        before != other && (before.is_some() || has_room)
    }
}

/// The domain that the names of an event are made with: that of its route, else of a parcel that GS1 does not number. The
/// van's own URI says nothing: it may be any (`delivery.van_uri`).
fn domain(event: &Event) -> Option<&str> {
    let route = || {
        let transactions = event.data.get("bizTransactionList")?.as_array()?;
        transactions.iter().find_map(|it| before(it.get("bizTransaction")?.as_str()?, "/route/bt/"))
    };
    let parcel = || event.epcs.iter().find_map(|(epc, _)| before(epc, "/parcel/obj/"));
    route().or_else(parcel)
}

/// `https://{host}{path}…`
fn before<'a>(uri: &'a str, path: &str) -> Option<&'a str> {
    let (host, _) = uri.strip_prefix("https://")?.split_once(path)?;
    let good = |c: u8| c.is_ascii_alphanumeric() || b".-".contains(&c);
    ((1..=MAX_HOST).contains(&host.len()) && host.bytes().all(good)).then_some(host)
}
