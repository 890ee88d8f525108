//! Who takes part ↔ how many may, in all and of one address: connections, streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::client::ClientAddress;

/// A limited number of places. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    all: usize,
    of_one: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<ClientAddress, usize>,
}

/// A place; free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    client: ClientAddress,
}

impl Places {
    /// So many places, and so many of them for one address.
    #[must_use]
    pub fn new(all: usize, of_one: usize) -> Self {
        Self { all, of_one, taken: Arc::default() }
    }

    /// A place for a client; `None` if there is none, or it has its share.
    #[must_use]
    pub fn take(&self, client: ClientAddress) -> Option<Place> {
        let mut taken = self.taken.lock().expect("no holder of the lock can panic");
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if taken.all >= self.all || of_client >= self.of_one {
            return None;
        }
        taken.all += 1;
        taken.by_client.insert(client, of_client + 1);
        Some(Place { places: self.clone(), client })
    }

    /// How many are taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().expect("no holder of the lock can panic").all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().expect("no holder of the lock can panic");
        taken.all -= 1;
        if let Some(of_client) = taken.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places_and_a_place_comes_back() {
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .map(|address| ClientAddress::of(address.parse().unwrap()));
        let places = Places::new(3, 2);
        let first = places.take(a).unwrap();
        let _second = places.take(a).unwrap();
        assert!(places.take(a).is_none(), "its share");
        let _third = places.take(b).unwrap();
        assert!(places.take(c).is_none(), "all are taken");
        drop(first);
        assert!(places.take(c).is_some());
        assert_eq!(places.taken(), 2);
    }
}
