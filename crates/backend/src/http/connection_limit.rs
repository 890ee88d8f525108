//! Concurrent-connection limiter with a global and a per-client limit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::client_address::ClientAddress;

/// Limits concurrent connections or streams. Clones share their state.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    max: usize,
    max_per_client: usize,
    in_use: Arc<Mutex<InUse>>,
}

#[derive(Debug, Default)]
struct InUse {
    total: usize,
    by_client: HashMap<ClientAddress, usize>,
}

/// A permit; released on drop.
#[derive(Debug)]
pub struct Permit {
    limiter: ConnectionLimiter,
    client: ClientAddress,
}

impl ConnectionLimiter {
    /// Creates a limiter with a global limit and a limit per client address.
    #[must_use]
    pub fn new(max: usize, max_per_client: usize) -> Self {
        Self { max, max_per_client, in_use: Arc::default() }
    }

    /// Acquires a permit; `None` if the global or the client's limit is reached.
    #[must_use]
    pub fn acquire(&self, client: ClientAddress) -> Option<Permit> {
        let mut taken = self.in_use.lock().expect("no holder of the lock can panic");
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if taken.total >= self.max || of_client >= self.max_per_client {
            return None;
        }
        taken.total += 1;
        taken.by_client.insert(client, of_client + 1);
        Some(Permit { limiter: self.clone(), client })
    }

    /// Returns the number of permits in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use.lock().expect("no holder of the lock can panic").total
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.limiter.in_use.lock().expect("no holder of the lock can panic");
        taken.total -= 1;
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
            .map(|address| ClientAddress::from_ip(address.parse().unwrap()));
        let places = ConnectionLimiter::new(3, 2);
        let first = places.acquire(a).unwrap();
        let _second = places.acquire(a).unwrap();
        assert!(places.acquire(a).is_none(), "limit per client");
        let _third = places.acquire(b).unwrap();
        assert!(places.acquire(c).is_none(), "global limit");
        drop(first);
        assert!(places.acquire(c).is_some());
        assert_eq!(places.in_use(), 2);
    }
}
