//! `waypost.toml` and `conf.d/*.toml` → [`Config`]: read, checked once into types, and then nobody checks again.
//!
//! Every problem is in one report, with its key, its value and the remedy, and its file if that is a drop-in.

mod broker;
mod certificate;
mod delivery;
mod identity;
mod keys;
mod link;
mod secrets;
mod ublox;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::Level;

use crate::clock::Clock;
use crate::core::delivery::DeliveryConfig;
use crate::core::journey::JourneyConfig;
use crate::core::sampling::{Bounds, Sampling};
use crate::outbox::OutboxConfig;
use crate::relay::RelayConfig;
use crate::scanner::ScannerConfig;
pub use crate::settings::{ConfigError, Origins, Override, Report};
use crate::settings::{Layer, Values};
use crate::source::{Address, Hunting, LineConfig, SourceConfig};
use crate::units::{Distance, Speed};
use crate::wire::VanId;
use crate::wire::signed::CommandKey;
use keys::BOOK;

/// Where the package puts the file.
pub const DEFAULT_PATH: &str = "/etc/waypost/waypost.toml";

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
    /// Whose commands count; `None`: whatever the broker lets through.
    pub command_key: Option<CommandKey>,
    /// Scanners of bar codes and radio tags.
    pub scanners: Vec<ScannerConfig>,
    /// Duty, private places, and what else the delivery must know.
    pub delivery: DeliveryConfig,
    /// Where figures are given to who asks; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The local socket; `None`: there is none.
    pub control: Option<PathBuf>,
    /// What is logged.
    pub log_level: Level,
    /// The drop-ins that were read beside the file, in their order: `conf.d/20-van.toml`.
    pub drop_ins: Vec<String>,
}

impl Config {
    /// Reads and checks a file and the drop-ins beside it, `conf.d/*.toml` in the order of their names. A drop-in goes
    /// before what was read ahead of it, and what the command line says before all.
    ///
    /// # Errors
    /// The file cannot be read, or is not usable: then every problem of it and its drop-ins.
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        BOOK.load(path, overrides, check).map(|(config, _)| config)
    }

    /// Checks the text of a file that came from `origin`, and has no drop-ins.
    ///
    /// # Errors
    /// Every problem, if there is one.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self, ConfigError> {
        let layer = Layer { name: origin.to_owned(), text: Ok(text.to_owned()) };
        BOOK.read(vec![layer], overrides, check).map(|(config, _)| config)
    }

    /// A file and its drop-ins as one file with every key. Secrets are paths there, and stay paths.
    ///
    /// # Errors
    /// As of [`Self::load`].
    pub fn show(path: &Path, origins: Origins) -> Result<String, ConfigError> {
        let (_, values) = BOOK.load(path, &[], check)?;
        Ok(values.effective(origins))
    }

    /// Whether the files that are read only when they are needed can be used now. A running agent waits for them.
    ///
    /// # Errors
    /// Every problem, if there is one.
    pub fn examine_files(&self, origin: &Path) -> Result<(), ConfigError> {
        let mut tls = self.relay.brokers.iter().filter_map(|broker| broker.transport.tls());
        let tls = tls.find_map(|tls| tls.load(&Clock::live()).err());
        tls.map_or(Ok(()), |error| {
            let problems = vec![format!("mqtt.broker: TLS: {error}")];
            Err(ConfigError::NotUsable(Report { origin: origin.display().to_string(), problems }))
        })
    }

    /// `docs/configuration.md`: every key with what it may be.
    #[must_use]
    pub fn reference() -> String {
        BOOK.reference()
    }

    /// Every key for the manual: its name, what it may be, its default as TOML, and what it means.
    ///
    /// Those of lists follow, as `list.key`; where the default is empty the key must be there.
    pub fn documented() -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)>
    {
        BOOK.documented()
    }

    /// `config/waypost.toml`: every key with its default and a sentence.
    #[must_use]
    pub fn default_file() -> String {
        BOOK.default_file()
    }
}

fn check(values: &mut Values) -> Option<Config> {
    let van = identity::van(values);
    let source = source(values);
    let journey = journey(values);
    let sampling = sampling(values);
    let outbox = outbox(values);
    let relay = link::relay(values, van.as_ref(), sampling);
    let command_key = secrets::command_key(values, van.as_ref());
    let names = delivery::names(values, van.as_ref());
    let scanners = delivery::scanners(values);
    let domain = names.as_ref().map(|names| names.domain.as_str());
    let delivery = delivery::delivery(values, van.as_ref(), domain);
    let control = values.parsed("control.path", |path| {
        Ok(Some(path).filter(|path| !path.is_empty()).map(PathBuf::from))
    });
    let metrics = values.parsed("metrics.listen", |listen| match listen {
        "" => Ok(None),
        _ => listen.parse().map(Some).map_err(|_| {
            format!("{listen:?} is no address and port: write one such as 127.0.0.1:9752")
        }),
    });
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
        relay: RelayConfig { names: names?, ..relay? },
        command_key: command_key?,
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
        .parsed("gnss.source", |text| text.parse::<Address>().map_err(|error| error.to_string()));
    let baud = values.integer("gnss.baud");
    let hunt = values.flag("gnss.hunt").map(|on| if on { Hunting::On } else { Hunting::Off });
    let silent_after = values.seconds("gnss.silent_s");
    let setup = ublox::settings(values);
    let line = LineConfig { baud: baud?, hunt: hunt?, setup: setup?, ..LineConfig::default() };
    Some(SourceConfig { address: address?, line, silent_after: silent_after? })
}

fn sampling(values: &mut Values) -> Option<Sampling> {
    let max_error = values.number("track.max_error_m").and_then(Distance::from_metres);
    let max_speed_error = values.number("track.max_speed_error_mps").and_then(Speed::from_mps);
    let bounds = Bounds { max_error: max_error?, max_speed_error: max_speed_error? };
    values.parsed("track.sampling", |name| match name {
        "bounded" => Ok(Sampling::Bounded(bounds)),
        "raw" => Ok(Sampling::Raw),
        _ => Err(format!("{name:?} is no policy: bounded or raw")),
    })
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
