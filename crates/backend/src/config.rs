//! Loads `waypost-backend.toml` and `conf.d/*.toml` into validated types.

mod keys;
mod parse;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tracing::Level;

use self::keys::SCHEMA;
pub use super::store::StoreConfig;
pub use waypost_config_schema::{ConfigError, Override, ShowOrigins};
use waypost_config_schema::{ConfigLayer, Values};

/// Path where the package installs the file.
pub const DEFAULT_PATH: &str = "/etc/waypost-backend/waypost-backend.toml";

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
    /// `[parcels] domain`: domain of the URIs of parcels without a GS1 number; equals
    /// `delivery.domain` of the vans.
    pub domain: String,
    /// `[exposure]`
    pub visibility: VisibilityPolicy,
    /// `[retention]`
    pub retention: Retention,
    /// `[alerts]`
    pub notifications: NotificationsConfig,
    /// `[pages]`
    pub pages: PagesConfig,
    /// `[log]`
    pub log_level: Level,
}

impl Config {
    /// Loads and validates a file and the drop-ins beside it.
    ///
    /// # Errors
    /// The file cannot be read or is invalid. The error lists every problem of the file and its
    /// drop-ins.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        SCHEMA.load(path, &[], parse::config).map(|(config, _)| config)
    }

    /// Loads only the store configuration and `[parcels] domain`, for commands on the store: other
    /// secrets are unavailable while the service is stopped.
    ///
    /// # Errors
    /// Same as [`Self::load`], limited to these keys.
    pub fn load_store(path: &Path) -> Result<(StoreConfig, String), ConfigError> {
        SCHEMA.load(path, &[], parse::store_and_domain).map(|(config, _)| config)
    }

    /// Loads only the retention periods, for commands on the store.
    ///
    /// # Errors
    /// Same as [`Self::load`], limited to these keys.
    pub fn load_retention(path: &Path) -> Result<Retention, ConfigError> {
        SCHEMA.load(path, &[], parse::retention).map(|(retention, _)| retention)
    }

    /// Validates the text of a file named `origin`, without drop-ins.
    ///
    /// # Errors
    /// The text is invalid. The error lists every problem.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let layer = ConfigLayer { name: origin.to_owned(), text: Ok(text.to_owned()) };
        SCHEMA.read(vec![layer], overrides, parse::config).map(|(config, _)| config)
    }

    /// Returns a file and its drop-ins merged into one file with every key. Secrets remain paths.
    ///
    /// # Errors
    /// Same as [`Self::load`].
    pub fn show(path: &Path, origins: ShowOrigins) -> Result<String, ConfigError> {
        let (_, values): (_, Values) = SCHEMA.load(path, &[], parse::config)?;
        Ok(values.to_toml(origins))
    }

    /// `docs/backend/configuration.md`: every key with its valid values.
    #[must_use]
    pub fn reference() -> String {
        SCHEMA.reference()
    }

    /// `config/waypost-backend.toml`: every key with its default and a description.
    #[must_use]
    pub fn default_file() -> String {
        SCHEMA.default_file()
    }

    /// Returns every key for the manual: name, valid values, default as TOML, and description.
    pub fn entries() -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)> {
        SCHEMA.entries()
    }
}

/// Connection to the broker.
#[derive(Clone)]
pub struct MqttConfig {
    /// Host name or IP address.
    pub host: String,
    pub port: u16,
    /// Set if the URL starts with `mqtts:`.
    pub tls: Option<MqttTls>,
    /// Client identifier of this instance: stable across restarts and unique per instance.
    pub client_id: String,
    pub username: Option<String>,
    /// Loaded from `password_file`.
    pub password: Option<String>,
    /// Equals `mqtt.topic_root` of the vans.
    pub topic_root: String,
    /// Instances of one group share the messages of the vans (MQTT 5 §4.8.2).
    pub share_group: String,
    /// Whether to publish stored sequence numbers on `ack`; required by vans that use MQTT 3.1.1.
    pub publish_acks: bool,
    /// Whether to accept positions of OwnTracks phones: `owntracks/{root}/{van}`.
    pub owntracks: bool,
}

/// Omits the password.
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

/// TLS settings of the broker connection.
#[derive(Clone, Debug)]
pub struct MqttTls {
    /// CA certificates, PEM.
    pub ca: PathBuf,
    /// Client certificate and private key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// Certificate and private key, PEM. Without them, a proxy should terminate TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Prefix of links in e-mails: `https://track.example.com`.
    pub public_url: String,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
}

impl HttpConfig {
    /// Returns the default prefix of links, for an unset `public_url`.
    fn default_public_url(listen: SocketAddr, tls: bool) -> String {
        format!("{}://{listen}", if tls { "https" } else { "http" })
    }

    /// Records the bound address, for a port chosen by the system. A default `public_url` follows
    /// it.
    pub(super) fn set_listen_addr(&mut self, address: SocketAddr) {
        let tls = self.tls.is_some();
        if self.public_url == Self::default_public_url(self.listen, tls) {
            self.public_url = Self::default_public_url(address, tls);
        }
        self.listen = address;
    }
}

/// A client of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Name of the client in the audit log.
    pub name: String,
    /// SHA-256 of the token, hexadecimal. The token itself is not stored.
    pub sha256: String,
    pub scopes: Vec<Scope>,
    /// Owners whose parcels it may capture: GS1 company prefixes, or beginnings of URIs. Empty: all.
    pub owners: Vec<String>,
    /// Sites at which it may capture: beginnings of the URIs of `readPoint` or `bizLocation`. Empty:
    /// all.
    pub sites: Vec<String>,
}

/// Permission of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `routes`: put and withdraw routes, send commands.
    Routes,
    /// `capture`: capture events, import carrier lists.
    Capture,
    /// `retract`: retract events of other tokens.
    Retract,
    /// `events`: query events.
    Events,
    /// `desk`: dispatcher console.
    Desk,
    /// `metrics`: `/metrics`.
    Metrics,
}

impl Scope {
    const ALL: [Self; 6] =
        [Self::Routes, Self::Capture, Self::Retract, Self::Events, Self::Desk, Self::Metrics];

    /// Parses a name from the configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// Lists all names for an error message.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// Returns the name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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

/// Visibility policy: conditions under which a recipient sees the van.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisibilityPolicy {
    /// Maximum number of stops before the recipient's own.
    pub max_stops_away: u32,
    /// Maximum age of the fix.
    pub max_fix_age: Duration,
}

/// Retention periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Track points.
    pub track: Duration,
    /// Events, including proofs of delivery.
    pub events: Duration,
    /// Tracking page, after delivery or return of the parcel.
    pub page: Duration,
    /// Audit log.
    pub audit: Duration,
    /// Dead letters.
    pub dead_letters: Duration,
}

/// Notification channels.
#[derive(Clone)]
pub struct NotificationsConfig {
    pub smtp: Option<SmtpConfig>,
    /// Whether webhooks are sent. Each is signed with a secret of its own.
    pub webhook_enabled: bool,
    /// Time zone of times in messages, for a stop whose route names none.
    pub time_zone: jiff::tz::TimeZone,
    /// Whether webhooks may target private networks.
    pub allow_private_webhooks: bool,
}

impl Default for NotificationsConfig {
    fn default() -> Self {
        Self {
            smtp: None,
            webhook_enabled: false,
            time_zone: jiff::tz::TimeZone::UTC,
            allow_private_webhooks: false,
        }
    }
}

impl std::fmt::Debug for NotificationsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertsConfig")
            .field("smtp", &self.smtp)
            .field("webhook_enabled", &self.webhook_enabled)
            .field("time_zone", &self.time_zone)
            .field("webhook_private", &self.allow_private_webhooks)
            .finish()
    }
}

/// SMTP server.
#[derive(Clone)]
pub struct SmtpConfig {
    /// `smtp://host:25`, `smtps://…` or `smtp+starttls://…`.
    pub url: String,
    pub username: Option<String>,
    /// Loaded from `password_file`.
    pub password: Option<String>,
    /// `Parcels <parcels@example.com>`
    pub from: String,
}

/// Omits the password.
impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpConfig")
            .field("url", &self.url)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Branding and map of the pages.
#[derive(Clone, Debug, Default)]
pub struct PagesConfig {
    /// `https://tile.example.com/{z}/{x}/{y}.png`; without it the pages load nothing from other
    /// hosts.
    pub tile_url: Option<String>,
    /// Attribution of the tiles.
    pub attribution: Option<String>,
    /// Name of the operator on the pages.
    pub operator: Option<String>,
}

impl Default for VisibilityPolicy {
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
            dead_letters: DAY * 30,
        }
    }
}
