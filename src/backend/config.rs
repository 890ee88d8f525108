//! `waypost-backend.toml` and `conf.d/*.toml` → checked types: read once, and then nobody checks again.

mod check;
mod keys;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::Level;

use self::keys::BOOK;
pub use super::store::StoreConfig;
pub use crate::settings::{ConfigError, Origins, Override};
use crate::settings::{Layer, Values};

/// Where the package puts the file.
pub const DEFAULT_PATH: &str = "/etc/waypost-backend/waypost-backend.toml";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[store]`
    pub store: StoreConfig,
    /// `[mqtt]`
    pub mqtt: MqttConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[[token]]`
    pub tokens: Vec<Token>,
    /// `[parcels] domain`: of URIs of numbers that are not GS1's; the same as the vans' `delivery.domain`.
    pub domain: String,
    /// `[exposure]`
    pub exposure: ExposureRule,
    /// `[retention]`
    pub retention: Retention,
    /// `[alerts]`
    pub alerts: AlertsConfig,
    /// `[pages]`
    pub pages: PagesConfig,
    /// `[log]`
    pub log_level: Level,
}

impl Config {
    /// Reads and checks a file and the drop-ins beside it.
    ///
    /// # Errors
    /// The file cannot be read, or is not usable: then every problem of it and its drop-ins.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        BOOK.load(path, &[], check::config).map(|(config, _)| config)
    }

    /// Where everything is kept, and `[parcels] domain`: for commands that need no more, since other secrets are not there
    /// while the service does not run.
    ///
    /// # Errors
    /// As [`Self::load`], of these alone.
    pub fn load_store(path: &Path) -> Result<(StoreConfig, String), ConfigError> {
        BOOK.load(path, &[], check::store_and_domain).map(|(config, _)| config)
    }

    /// Checks the text of a file that came from `origin`, and has no drop-ins.
    ///
    /// # Errors
    /// Every problem, if there is one.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let layer = Layer { name: origin.to_owned(), text: Ok(text.to_owned()) };
        BOOK.read(vec![layer], overrides, check::config).map(|(config, _)| config)
    }

    /// A file and its drop-ins as one file with every key. Secrets are paths there, and stay paths.
    ///
    /// # Errors
    /// As of [`Self::load`].
    pub fn show(path: &Path, origins: Origins) -> Result<String, ConfigError> {
        let (_, values): (_, Values) = BOOK.load(path, &[], check::config)?;
        Ok(values.effective(origins))
    }

    /// `docs/backend/configuration.md`: every key with what it may be.
    #[must_use]
    pub fn reference() -> String {
        BOOK.reference()
    }

    /// `config/waypost-backend.toml`: every key with its default and a sentence.
    #[must_use]
    pub fn default_file() -> String {
        BOOK.default_file()
    }

    /// Every key for the manual: its name, what it may be, its default as TOML, and what it means.
    pub fn documented() -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)>
    {
        BOOK.documented()
    }
}

/// The broker.
#[derive(Clone)]
pub struct MqttConfig {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, if the URL began with `mqtts:`.
    pub tls: Option<MqttTls>,
    /// Client identifier of this instance, the same after each start, different from all others'.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Read from `password_file`.
    pub password: Option<String>,
    /// As the vans' `mqtt.topic_root`.
    pub topic_root: String,
    /// Instances of one group share the vans' messages (MQTT 5 §4.8.2).
    pub share_group: String,
    /// Whether vans are told on `ack` what is stored; those that use MQTT 3.1.1 need it.
    pub ack: bool,
    /// Whether positions of phones with OwnTracks are taken: `owntracks/{root}/{van}`.
    pub owntracks: bool,
}

/// Without the password.
impl std::fmt::Debug for MqttConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("client_id", &self.client_id)
            .field("topic_root", &self.topic_root)
            .field("share_group", &self.share_group)
            .finish_non_exhaustive()
    }
}

/// TLS of the link to the broker.
#[derive(Clone, Debug)]
pub struct MqttTls {
    /// Authorities, PEM.
    pub ca: PathBuf,
    /// Certificate and key of ours, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The web server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificate and key, PEM; without them a proxy should be ahead.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What links in letters begin with: `https://track.example.com`.
    pub public_url: String,
    /// Whether `X-Forwarded-For` of a proxy on this host says who asks.
    pub behind_proxy: bool,
}

impl HttpConfig {
    /// What links begin with where nobody has said it.
    fn own_url(listen: SocketAddr, tls: bool) -> String {
        format!("{}://{listen}", if tls { "https" } else { "http" })
    }

    /// Where it really listens, when the system was to choose a port; links that nobody has set lead there too.
    pub(super) fn listens_at(&mut self, address: SocketAddr) {
        let tls = self.tls.is_some();
        if self.public_url == Self::own_url(self.listen, tls) {
            self.public_url = Self::own_url(address, tls);
        }
        self.listen = address;
    }
}

/// Who may use the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who, for the audit log.
    pub name: String,
    /// SHA-256 of the token, hexadecimal: the token itself is nowhere.
    pub sha256: String,
    /// What for.
    pub scopes: Vec<Scope>,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `routes`: put and withdraw routes, send commands.
    Routes,
    /// `capture`: capture events, import lists.
    Capture,
    /// `retract`: take back what came by other tokens.
    Retract,
    /// `events`: ask for events.
    Events,
    /// `desk`: everything that a dispatcher sees.
    Desk,
    /// `metrics`: `/metrics`.
    Metrics,
}

impl Scope {
    const ALL: [Self; 6] =
        [Self::Routes, Self::Capture, Self::Retract, Self::Events, Self::Desk, Self::Metrics];

    /// Of its name in the configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// All names, for people.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Capture => "capture",
            Self::Retract => "retract",
            Self::Events => "events",
            Self::Desk => "desk",
            Self::Metrics => "metrics",
        }
    }
}

/// When a customer sees the van.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExposureRule {
    /// At most so many stops away.
    pub max_stops_away: u32,
    /// The fix is at most so old.
    pub max_fix_age: Duration,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Trails.
    pub track: Duration,
    /// Events, with their proof.
    pub events: Duration,
    /// A customer's page, after the end of the parcel.
    pub page: Duration,
    /// Who looked at what.
    pub audit: Duration,
    /// What nobody could read.
    pub poison: Duration,
}

/// How people are told.
#[derive(Clone, Default)]
pub struct AlertsConfig {
    /// E-mail.
    pub smtp: Option<SmtpConfig>,
    /// Signs webhooks (HMAC-SHA-256); without it none are sent.
    pub webhook_secret: Option<String>,
    /// Whether webhooks may go to addresses of private networks.
    pub webhook_private: bool,
}

/// Without the secret.
impl std::fmt::Debug for AlertsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertsConfig")
            .field("smtp", &self.smtp)
            .field("webhooks", &self.webhook_secret.is_some())
            .field("webhook_private", &self.webhook_private)
            .finish()
    }
}

/// The server that takes letters.
#[derive(Clone)]
pub struct SmtpConfig {
    /// `smtp://host:25`, `smtps://…` or `smtp+starttls://…`.
    pub url: String,
    /// User name.
    pub username: Option<String>,
    /// Read from `password_file`.
    pub password: Option<String>,
    /// `Parcels <parcels@example.com>`
    pub from: String,
}

/// Without the password.
impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpConfig")
            .field("url", &self.url)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// The pages.
#[derive(Clone, Debug, Default)]
pub struct PagesConfig {
    /// `https://tile.example.com/{z}/{x}/{y}.png`; without it nothing is loaded from elsewhere.
    pub tiles: Option<String>,
    /// Whose tiles they are.
    pub tiles_by: Option<String>,
    /// The operator's name on the pages.
    pub operator: Option<String>,
}

impl Default for ExposureRule {
    fn default() -> Self {
        Self { max_stops_away: 10, max_fix_age: Duration::from_secs(90) }
    }
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            track: DAY * 60,
            events: DAY * 365,
            page: DAY * 30,
            audit: DAY * 365,
            poison: DAY * 30,
        }
    }
}
