//! What the backend's API promises, over real connections.

mod asking;
pub(crate) mod client;
mod connections;
mod desk;
mod seen;

use std::sync::Arc;

use waypost::backend::config::{Scope, Token};
use waypost::backend::store::{Statement, Value};
use waypost::backend::{Config, Shared, octets};

/// The token `secret` for a name.
fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
    Token { name: name.to_owned(), sha256: octets::sha256(secret), scopes: scopes.to_vec() }
}

/// With another configuration.
fn with(shared: &Shared, change: impl FnOnce(&mut Config)) -> Shared {
    let mut config = Config::clone(&shared.config);
    change(&mut config);
    Shared { config: Arc::new(config), ..shared.clone() }
}

/// A parcel that nobody has put on a route yet.
async fn parcel(shared: &Shared, number: &str, postcode: Option<&str>, token: &str) {
    let epc = waypost::backend::epc::of_number(number, &shared.config.domain).remove(0);
    let put = Statement::new(
        "INSERT INTO parcel (epc, number, token, postcode, gift, put_at) VALUES ($1, $2, $3, $4, 0, 1)",
        [epc.into(), number.into(), token.into(), Value::from(postcode)],
    );
    shared.store.write(vec![put]).await.unwrap();
}

/// An instance on SQLite, where the store does not matter.
async fn on_disk(now: &str) -> (crate::support::backend::Place, Shared) {
    let place = crate::support::backend::Place::sqlite();
    let shared = crate::support::backend::shared(place.open().await, now);
    (place, shared)
}
