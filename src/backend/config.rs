//! `waypost-backend.toml` → checked types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use super::store::StoreConfig;

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
}

/// The broker.
#[derive(Clone, Debug)]
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
    /// `events`: ask for events.
    Events,
    /// `desk`: everything that a dispatcher sees.
    Desk,
    /// `metrics`: `/metrics`.
    Metrics,
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
#[derive(Clone, Debug, Default)]
pub struct AlertsConfig {
    /// E-mail.
    pub smtp: Option<SmtpConfig>,
    /// Signs webhooks (HMAC-SHA-256); without it none are sent.
    pub webhook_secret: Option<String>,
    /// Whether webhooks may go to addresses of private networks.
    pub webhook_private: bool,
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
        f.debug_struct("SmtpConfig").field("url", &self.url).field("from", &self.from).finish()
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
