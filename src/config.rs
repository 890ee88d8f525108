//! Configuration of the agent: `waypost.toml` and `conf.d/*.toml`, validated once into a typed
//! [`Config`].
//!
//! All problems are reported at once, each with key, value, remedy, and the file if it is a
//! drop-in.

mod broker;
mod certificate;
mod delivery;
mod identity;
mod keys;
mod secrets;
mod ublox;
mod uplink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::Level;

use crate::gnss_source::{Address, AutoBaud, LineConfig, SourceConfig};
use crate::outbox::OutboxConfig;
use crate::scanner::ScannerConfig;
use crate::uplink::UplinkConfig;
use keys::SCHEMA;
pub use waypost_config_schema::{ConfigError, ConfigErrors, Override, ShowOrigins};
use waypost_config_schema::{ConfigLayer, Values};
use waypost_model::units::{Distance, Speed};
use waypost_pipeline::delivery::DeliveryConfig;
use waypost_pipeline::trail_simplifier::{Bounds, Sampling};
use waypost_pipeline::trip_detector::TripConfig;
use waypost_service::clock::Clock;
use waypost_wire::VanId;
use waypost_wire::command_signature::CommandKeys;

/// Path of the packaged configuration.
pub const DEFAULT_PATH: &str = "/etc/waypost/waypost.toml";

/// Complete configuration of the agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of the van.
    pub van: VanId,
    /// The GNSS source.
    pub source: SourceConfig,
    /// Thresholds of departure and halt.
    pub journey: TripConfig,
    /// Sampling of the stored track.
    pub sampling: Sampling,
    /// The outbox.
    pub outbox: OutboxConfig,
    /// The connection to the broker.
    pub uplink: UplinkConfig,
    /// Key that commands must be signed with; `None` accepts every command that the broker
    /// delivers.
    pub command_keys: Option<CommandKeys>,
    /// Barcode scanners and RFID readers.
    pub scanners: Vec<ScannerConfig>,
    /// Duty, privacy zones and other settings of the delivery.
    pub delivery: DeliveryConfig,
    /// Listen address of the metrics endpoint; `None`: disabled.
    pub metrics: Option<SocketAddr>,
    /// Path of the control socket; `None`: disabled.
    pub control: Option<PathBuf>,
    /// Level of the log.
    pub log_level: Level,
    /// Drop-ins that were read, in order, such as `conf.d/20-van.toml`.
    pub drop_ins: Vec<String>,
}

impl Config {
    /// Loads and validates a file and the drop-ins next to it, `conf.d/*.toml` in the order of
    /// their names. Each drop-in overrides the files before it; `overrides` override all files.
    ///
    /// # Errors
    /// The file cannot be read, or is invalid; then the error lists all problems of the file and
    /// its drop-ins.
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        SCHEMA.load(path, overrides, check).map(|(config, _)| config)
    }

    /// Validates the text of a file from `origin`, without drop-ins.
    ///
    /// # Errors
    /// The configuration is invalid; the error lists all problems.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let layer = ConfigLayer { name: origin.to_owned(), text: Ok(text.to_owned()) };
        SCHEMA.read(vec![layer], overrides, check).map(|(config, _)| config)
    }

    /// Renders the effective configuration as one file with every key. Secrets appear as paths
    /// only.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn show(path: &Path, origins: ShowOrigins) -> Result<String, ConfigError> {
        let (_, values) = SCHEMA.load(path, &[], check)?;
        Ok(values.to_toml(origins))
    }

    /// Checks that files which are read on demand can be used now. A running agent waits for
    /// missing ones.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn check_files(&self, origin: &Path) -> Result<(), ConfigError> {
        let mut tls = self.uplink.brokers.iter().filter_map(|broker| broker.transport.tls());
        let tls = tls.find_map(|tls| tls.load(&Clock::live()).err());
        tls.map_or(Ok(()), |error| {
            let problems = vec![format!("mqtt.broker: TLS: {error}")];
            Err(ConfigError::Invalid(ConfigErrors {
                origin: origin.display().to_string(),
                problems,
            }))
        })
    }

    /// Renders `docs/configuration.md`, with the type and description of every key.
    #[must_use]
    pub fn reference() -> String {
        SCHEMA.reference()
    }

    /// Returns every key for the manual page: name, type, default as TOML, description.
    ///
    /// Keys of arrays of tables follow as `list.key`. A key with an empty default is required.
    pub fn entries() -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)> {
        SCHEMA.entries()
    }

    /// Renders `config/waypost.toml`, with the default and description of every key.
    #[must_use]
    pub fn default_file() -> String {
        SCHEMA.default_file()
    }
}

fn check(values: &mut Values) -> Option<Config> {
    let van = identity::van(values);
    let source = source(values);
    let journey = journey(values);
    let sampling = sampling(values);
    let outbox = outbox(values);
    let relay = uplink::uplink(values, van.as_ref(), sampling);
    let command_keys = secrets::command_keys(values, van.as_ref());
    let names = delivery::uri_scheme(values, van.as_ref());
    let scanners = delivery::scanners(values);
    let domain = names.as_ref().map(|names| names.domain.as_str());
    let delivery = delivery::delivery(values, van.as_ref(), domain);
    let control = values.parse("control.path", |path| {
        Ok(Some(path).filter(|path| !path.is_empty()).map(PathBuf::from))
    });
    let metrics = values.parse("metrics.listen", |listen| match listen {
        "" => Ok(None),
        _ => listen.parse().map(Some).map_err(|_| {
            format!("{listen:?} is not an address and port; use one such as 127.0.0.1:9752")
        }),
    });
    let log_level = values.parse("log.level", |level| {
        level
            .parse::<Level>()
            .map_err(|_| format!("{level:?} is not one of error, warn, info, debug, trace"))
    });
    Some(Config {
        van: van?,
        source: source?,
        journey: journey?,
        sampling: sampling?,
        outbox: outbox?,
        uplink: UplinkConfig { names: names?, ..relay? },
        command_keys: command_keys?,
        scanners: scanners?,
        delivery: delivery?,
        metrics: metrics?,
        control: control?,
        log_level: log_level?,
        drop_ins: values.drop_ins(),
    })
}

fn source(values: &mut Values) -> Option<SourceConfig> {
    let address = values
        .parse("gnss.source", |text| text.parse::<Address>().map_err(|error| error.to_string()));
    let baud = values.integer("gnss.baud");
    let hunt = values.flag("gnss.hunt").map(|on| if on { AutoBaud::On } else { AutoBaud::Off });
    let silent_after = values.seconds("gnss.silent_s");
    let setup = ublox::settings(values);
    let line = LineConfig { baud: baud?, auto_baud: hunt?, setup: setup?, ..LineConfig::default() };
    Some(SourceConfig { address: address?, line, silent_after: silent_after? })
}

fn sampling(values: &mut Values) -> Option<Sampling> {
    let max_error = values.number("track.max_error_m").and_then(Distance::from_metres);
    let max_speed_error = values.number("track.max_speed_error_mps").and_then(Speed::from_mps);
    let bounds = Bounds { max_error: max_error?, max_speed_error: max_speed_error? };
    values.parse("track.sampling", |name| match name {
        "bounded" => Ok(Sampling::Bounded(bounds)),
        "raw" => Ok(Sampling::Raw),
        _ => Err(format!("{name:?} is not a sampling policy; use bounded or raw")),
    })
}

fn journey(values: &mut Values) -> Option<TripConfig> {
    let depart_speed = values.number("journey.depart_speed_mps").and_then(Speed::from_mps);
    let stop_speed = values.number("journey.stop_speed_mps").and_then(Speed::from_mps);
    let dwell = values.seconds("journey.dwell_s");
    if let (Some(depart), Some(stop)) = (depart_speed, stop_speed)
        && depart <= stop
    {
        let (depart, stop) = (depart.as_mps(), stop.as_mps());
        values.report_problem(
            "journey.depart_speed_mps",
            &format!("{depart} is not above stop_speed_mps ({stop})"),
        );
    }
    Some(TripConfig { depart_speed: depart_speed?, stop_speed: stop_speed?, dwell: dwell? })
}

fn outbox(values: &mut Values) -> Option<OutboxConfig> {
    let path = values.parse("outbox.path", |path| match path {
        "" => Err("is empty; set the path of the file".to_owned()),
        path => Ok(PathBuf::from(path)),
    });
    let journal_path = values.parse("outbox.tail_path", |path| {
        Ok(Some(path).filter(|path| !path.is_empty()).map(PathBuf::from))
    });
    let commit_after = values.seconds("outbox.commit_after_s");
    let max_mib: Option<u64> = values.integer("outbox.max_mib");
    let max_age_days: Option<u64> = values.integer("outbox.max_age_days");
    Some(OutboxConfig {
        path: path?,
        journal_path: journal_path?,
        commit_after: commit_after?,
        max_bytes: max_mib? * 1024 * 1024,
        max_age: Duration::from_hours(24 * max_age_days?),
    })
}
