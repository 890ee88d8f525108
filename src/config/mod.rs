//! `waypost.toml` → [`Config`]: read, checked once into types, and then nobody checks again.
//!
//! Every problem of a file is in one report, with its key, its value and the remedy.

mod keys;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::Level;

use crate::core::journey::JourneyConfig;
use crate::core::sampling::Sampling;
use crate::outbox::OutboxConfig;
use crate::relay::{Broker, Credentials, RelayConfig, Transport};
use crate::source::{Address, HostPort, SourceConfig};
use crate::units::Speed;
use crate::wire::VanId;
pub use values::Override;
use values::Values;

/// Where the package puts the file.
pub const DEFAULT_PATH: &str = "/etc/waypost/waypost.toml";

/// IANA's port of MQTT without TLS.
const MQTT_PORT: u16 = 1883;

/// AWS IoT Core and Azure Event Grid allow 256 bytes of topic; the longest van id and the rest need 90 of them.
const MAX_TOPIC_ROOT: usize = 128;

/// Everything the agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The van's id.
    pub van: VanId,
    /// The receiver.
    pub source: SourceConfig,
    /// When driving begins and ends.
    pub journey: JourneyConfig,
    /// Which points are kept.
    pub sampling: Sampling,
    /// The outbox.
    pub outbox: OutboxConfig,
    /// The link to the broker.
    pub relay: RelayConfig,
    /// What is logged.
    pub log_level: Level,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file, or it must not be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was read, and something is wrong with it.
    #[error("{0}")]
    NotUsable(Report),
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file, or the command line.
    pub origin: String,
    /// One line each: key, value, remedy.
    pub problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not usable", self.origin)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Config {
    /// Reads and checks a file; what the command line says goes before what the file says.
    ///
    /// # Errors
    /// The file cannot be read, or is not usable: then every problem of it.
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), overrides)
    }

    /// Checks the text of a file that came from `origin`.
    ///
    /// # Errors
    /// Every problem, if there is one.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let mut values = Values::read(text, overrides);
        let config = check(&mut values);
        match (config, values.into_problems()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => {
                Err(ConfigError::NotUsable(Report { origin: origin.to_owned(), problems }))
            }
        }
    }

    /// `docs/configuration.md`: every key with what it may be.
    #[must_use]
    pub fn reference() -> String {
        keys::reference()
    }

    /// `config/waypost.toml`: every key with its default and a sentence.
    #[must_use]
    pub fn default_file() -> String {
        keys::default_file()
    }
}

fn check(values: &mut Values) -> Option<Config> {
    let van = values.parsed("van.id", |id| VanId::new(id).map_err(|error| error.to_string()));
    let source = source(values);
    let journey = journey(values);
    let sampling = values.parsed("track.sampling", |name| match name {
        "raw" => Ok(Sampling::Raw),
        _ => Err(format!("{name:?} is no policy: raw")),
    });
    let outbox = outbox(values);
    let relay = relay(values, van.as_ref());
    let log_level = values.parsed("log.level", |level| {
        level
            .parse::<Level>()
            .map_err(|_| format!("{level:?} is none of error, warn, info, debug, trace"))
    });
    Some(Config {
        van: van?,
        source: source?,
        journey: journey?,
        sampling: sampling?,
        outbox: outbox?,
        relay: relay?,
        log_level: log_level?,
    })
}

fn source(values: &mut Values) -> Option<SourceConfig> {
    let address = values
        .parsed("gnss.source", |text| text.parse::<Address>().map_err(|error| error.to_string()));
    let baud = values.integer("gnss.baud");
    let silent_after = values.seconds("gnss.silent_s");
    Some(SourceConfig { address: address?, baud: baud?, silent_after: silent_after? })
}

fn journey(values: &mut Values) -> Option<JourneyConfig> {
    let depart_speed = values.number("journey.depart_speed_mps").and_then(Speed::from_mps);
    let stop_speed = values.number("journey.stop_speed_mps").and_then(Speed::from_mps);
    let dwell = values.seconds("journey.dwell_s");
    if let (Some(depart), Some(stop)) = (depart_speed, stop_speed)
        && depart <= stop
    {
        let (depart, stop) = (depart.as_mps(), stop.as_mps());
        values.problem(
            "journey.depart_speed_mps",
            &format!("{depart} is not above stop_speed_mps ({stop})"),
        );
    }
    Some(JourneyConfig { depart_speed: depart_speed?, stop_speed: stop_speed?, dwell: dwell? })
}

fn outbox(values: &mut Values) -> Option<OutboxConfig> {
    let path = values.parsed("outbox.path", |path| match path {
        "" => Err("is empty: name the file".to_owned()),
        path => Ok(PathBuf::from(path)),
    });
    let tail_path = values.parsed("outbox.tail_path", |path| {
        Ok(Some(path).filter(|path| !path.is_empty()).map(PathBuf::from))
    });
    let commit_after = values.seconds("outbox.commit_after_s");
    let max_mib: Option<u64> = values.integer("outbox.max_mib");
    let max_age_days: Option<u64> = values.integer("outbox.max_age_days");
    Some(OutboxConfig {
        path: path?,
        tail_path: tail_path?,
        commit_after: commit_after?,
        max_bytes: max_mib? * 1024 * 1024,
        max_age: Duration::from_hours(24 * max_age_days?),
    })
}

fn relay(values: &mut Values, van: Option<&VanId>) -> Option<RelayConfig> {
    let broker = values.parsed("mqtt.broker", broker);
    let root = values.parsed("mqtt.topic_root", topic_root);
    let credentials = credentials(values);
    let keep_alive = values.integer("mqtt.keep_alive_s").map(Duration::from_secs);
    let position_interval_moving = values.seconds("mqtt.position_moving_s");
    let position_interval_halted = values.seconds("mqtt.position_halted_s");
    let state_interval = values.seconds("mqtt.state_s");
    let in_flight = values.integer("mqtt.in_flight");
    let ack_timeout = values.seconds("mqtt.ack_timeout_s");
    let require_subscriber = values.flag("mqtt.require_subscriber");
    let track_batch = values.integer("track.batch_points");
    let track_interval = values.seconds("track.batch_s");
    let van = van?;
    let mut relay = RelayConfig::new(broker?, &root?, van.clone());
    relay.credentials = credentials?;
    relay.keep_alive = keep_alive?;
    relay.position_interval_moving = position_interval_moving?;
    relay.position_interval_halted = position_interval_halted?;
    relay.state_interval = state_interval?;
    relay.in_flight = in_flight?;
    relay.ack_timeout = ack_timeout?;
    relay.require_subscriber = require_subscriber?;
    relay.track_batch = track_batch?;
    relay.track_interval = track_interval?;
    Some(relay)
}

fn broker(url: &str) -> Result<Broker, String> {
    let host = match url.split_once("://") {
        Some(("mqtt", host)) => HostPort::parse(host, Some(MQTT_PORT)),
        Some(("mqtts" | "ssl" | "tls", _)) => {
            return Err(format!(
                "{url:?}: this version does not speak TLS: use mqtt:// over a VPN or a local broker"
            ));
        }
        _ => None,
    };
    match host {
        Some(HostPort { host, port }) => Ok(Broker { host, port, transport: Transport::Tcp }),
        None => Err(format!("{url:?} is no broker: write mqtt://HOST or mqtt://HOST:PORT")),
    }
}

fn topic_root(root: &str) -> Result<String, String> {
    let level = |level: &str| {
        !level.is_empty()
            && level.bytes().all(|byte| byte > b' ' && byte != 0x7f && !b"+#$".contains(&byte))
    };
    if root.len() <= MAX_TOPIC_ROOT && root.split('/').all(level) {
        Ok(root.to_owned())
    } else {
        Err(format!(
            "{root:?} cannot begin a topic: levels between single /, without + # $ and spaces"
        ))
    }
}

/// `Some(None)`: no credentials, and that is in order.
fn credentials(values: &mut Values) -> Option<Option<Credentials>> {
    let username = values.text("mqtt.username")?;
    let password_file = values.text("mqtt.password_file")?;
    match (username.as_str(), password_file.as_str()) {
        ("", "") => Some(None),
        ("", _) => {
            values.problem("mqtt.password_file", "there is a password and no mqtt.username");
            None
        }
        (_, "") => Some(Some(Credentials { username, password: String::new() })),
        (_, file) => match std::fs::read_to_string(file) {
            Ok(text) => {
                let password = text.lines().next().unwrap_or_default().to_owned();
                Some(Some(Credentials { username, password }))
            }
            Err(error) => {
                values.problem("mqtt.password_file", &format!("{file}: cannot be read: {error}"));
                None
            }
        },
    }
}
