//! Tests of the backend's API over real connections.

pub(crate) mod client;
mod connections;
mod dispatch;
mod lookup;
mod tracking;

use std::sync::Arc;

use waypost_backend::config::{Scope, Token};
use waypost_backend::store::{Statement, Value};
use waypost_backend::{AppState, Config, octets};

/// Creates the token `secret` for a name.
fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
    Token {
        name: name.to_owned(),
        sha256: octets::sha256(secret),
        scopes: scopes.to_vec(),
        owners: Vec::new(),
        sites: Vec::new(),
    }
}

/// Changes the configuration.
fn with(shared: &AppState, state_mut: impl FnOnce(&mut Config)) -> AppState {
    let mut config = Config::clone(&shared.config);
    state_mut(&mut config);
    AppState { config: Arc::new(config), ..shared.clone() }
}

/// Stores a parcel that is not on a route.
async fn parcel(shared: &AppState, number: &str, postcode: Option<&str>, token: &str) {
    let epc = waypost_backend::epc::uris_for_number(number, &shared.config.domain).remove(0);
    let put = Statement::new(
        "INSERT INTO parcel (epc, number, number_key, token, postcode, gift, put_at) VALUES ($1, $2, $5, $3, $4, 0, 1)",
        [
            epc.into(),
            number.into(),
            token.into(),
            Value::from(postcode),
            waypost_backend::epc::number_key(number).into(),
        ],
    );
    shared.store.write(vec![put]).await.unwrap();
}

/// Starts an instance on SQLite, for tests that do not depend on the store.
async fn on_disk(now: &str) -> (crate::support::backend::StoreLocation, AppState) {
    let place = crate::support::backend::StoreLocation::sqlite();
    let shared = crate::support::backend::shared(place.open().await, now);
    (place, shared)
}
