//! The backend without its edges: a store of either kind, and what an instance shares.

use std::ops::AsyncFn;
use std::sync::Arc;
use std::time::Duration;

use waypost::backend::config::{
    AlertsConfig, ExposureRule, HttpConfig, MqttConfig, PagesConfig, Retention,
};
use waypost::backend::live::Live;
use waypost::backend::store::{Store, StoreConfig};
use waypost::backend::{Config, Shared};
use waypost::clock::Clock;
use waypost::units::UtcTime;

use super::postgres::{self, Database};

/// Where a test keeps its things: an empty store that can be opened, also several times.
#[derive(Debug)]
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database<'static>),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// `None` where there is no PostgreSQL.
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
pub(crate) async fn on_both_places(test: impl AsyncFn(&Place)) {
    eprintln!("on SQLite");
    test(&Place::sqlite()).await;
    if let Some(place) = Place::postgres() {
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
    on_both_places(async |place| test(place.open().await).await).await;
}

/// What an instance shares, with the defaults of the configuration. Its clock stands at `now` (RFC 3339) until
/// [`set_clock`] moves it.
pub(crate) fn shared(store: Store, now: &str) -> Shared {
    let clock = Clock::by_data();
    let shared = Shared {
        config: Arc::new(config()),
        store,
        live: Live::default(),
        clock,
        downlink: Arc::default(),
        captures: Arc::default(),
    };
    set_clock(&shared, now);
    shared
}

/// Moves the clock of [`shared`] to a time (RFC 3339).
pub(crate) fn set_clock(shared: &Shared, now: &str) {
    shared.clock.learn_utc(utc(now), shared.clock.uptime());
}

/// Moves the clock of [`shared`] on.
pub(crate) fn pass(shared: &Shared, time: Duration) {
    let now = shared.now().checked_add(time).unwrap();
    shared.clock.learn_utc(now, shared.clock.uptime());
}

pub(crate) fn utc(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

/// A configuration with all defaults. Tests change what they are about.
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
            ack: true,
            owntracks: false,
        },
        http: HttpConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            public_url: "https://track.example.com".to_owned(),
            behind_proxy: false,
        },
        tokens: Vec::new(),
        domain: "parcels.example.com".to_owned(),
        exposure: ExposureRule::default(),
        retention: Retention::default(),
        alerts: AlertsConfig::default(),
        pages: PagesConfig::default(),
        log_level: tracing::Level::INFO,
    }
}
