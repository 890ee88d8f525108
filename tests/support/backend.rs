//! The backend without its edges: a store of either kind, and the shared state of an instance.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ops::AsyncFn;
use std::time::Duration;

use waypost_backend::config::{
    HttpConfig, MqttConfig, NotificationsConfig, PagesConfig, Retention, VisibilityPolicy,
};
use waypost_backend::store::{Store, StoreConfig};
use waypost_backend::{AppState, Config};
use waypost_model::units::UtcTime;
use waypost_service::clock::Clock;

use super::postgres::{self, Database};

/// An empty store that can be opened several times.
#[derive(Debug)]
pub(crate) enum StoreLocation {
    Sqlite(tempfile::TempDir),
    Postgres(Database<'static>),
}

impl StoreLocation {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// Returns `None` if there is no PostgreSQL.
    pub(crate) fn postgres() -> Option<Self> {
        postgres::database().map(Self::Postgres)
    }

    pub(crate) fn config(&self) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => StoreConfig::Sqlite(folder.path().join("backend.db")),
            Self::Postgres(database) => database.config(),
        }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config()).await.unwrap()
    }
}

/// Runs a test on an empty SQLite file, then on an empty PostgreSQL database.
pub(crate) async fn on_both_locations(test: impl AsyncFn(&StoreLocation)) {
    eprintln!("on SQLite");
    test(&StoreLocation::sqlite()).await;
    if let Some(place) = StoreLocation::postgres() {
        eprintln!("on PostgreSQL");
        test(&place).await;
    }
}

/// Runs a test on an empty store of each kind.
///
/// ```ignore
/// #[tokio::test]
/// async fn what_is_put_is_found() {
///     on_both(async |store| {
///         store.write(vec![…]).await.unwrap();
///     })
///     .await;
/// }
/// ```
pub(crate) async fn on_both(test: impl AsyncFn(Store)) {
    on_both_locations(async |place| test(place.open().await).await).await;
}

/// Creates the shared state of an instance with the default configuration. Its clock stays at `now`
/// (RFC 3339) until [`set_clock`] moves it.
pub(crate) fn shared(store: Store, now: &str) -> AppState {
    let shared = AppState::new(config(), store, Clock::driven_by_data());
    set_clock(&shared, now);
    shared
}

/// Sets the clock of [`shared`] to a time (RFC 3339).
pub(crate) fn set_clock(shared: &AppState, now: &str) {
    shared.clock.set_utc(utc(now), shared.clock.uptime());
}

/// Advances the clock of [`shared`].
pub(crate) fn pass(shared: &AppState, time: Duration) {
    let now = shared.now().checked_add(time).unwrap();
    shared.clock.set_utc(now, shared.clock.uptime());
}

pub(crate) fn utc(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

/// Returns a configuration with all defaults, for tests to modify.
pub(crate) fn config() -> Config {
    Config {
        store: StoreConfig::Sqlite("/nonexistent/backend.db".into()),
        mqtt: MqttConfig {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            tls: None,
            client_id: "waypost-backend-test".to_owned(),
            username: None,
            password: None,
            topic_root: "fleet".to_owned(),
            share_group: "waypost".to_owned(),
            publish_acks: true,
            owntracks: false,
        },
        http: HttpConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            public_url: "https://track.example.com".to_owned(),
            trusted_proxies: Vec::new(),
        },
        tokens: Vec::new(),
        domain: "parcels.example.com".to_owned(),
        visibility: VisibilityPolicy::default(),
        retention: Retention::default(),
        notifications: NotificationsConfig::default(),
        pages: PagesConfig::default(),
        log_level: tracing::Level::INFO,
    }
}
