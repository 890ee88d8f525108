//! Installs the `tracing` subscriber: journal format in a service, coloured text on a terminal.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Reload handle of the level filter; unset if another component installed the subscriber.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Libraries log warnings and errors only.
fn filter_for(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("waypost", level)
}

/// Starts logging to standard error. Further calls have no effect.
pub fn init(level: Level) {
    // Set by systemd if standard error is connected to the journal, which adds timestamps itself.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let (wanted, filter) = reload::Layer::new(filter_for(level));
    let format = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let result = if in_journal {
        tracing_subscriber::registry()
            .with(wanted)
            .with(format.with_ansi(false).without_time())
            .try_init()
    } else {
        let format = format.with_ansi(io::stderr().is_terminal());
        tracing_subscriber::registry().with(wanted).with(format).try_init()
    };
    // Initialisation fails if a test or an embedding program has installed a subscriber.
    if result.is_ok() {
        FILTER.set(filter).ok();
    }
}

/// The log level cannot be changed: this module did not install the subscriber.
#[derive(Debug, thiserror::Error)]
#[error("the log level cannot be changed: another component installed the tracing subscriber")]
pub struct SubscriberAlreadySet;

/// Changes the log level.
///
/// # Errors
/// [`init`] was not called, or another component had installed a subscriber before.
pub fn set_level(level: Level) -> Result<(), SubscriberAlreadySet> {
    FILTER
        .get()
        .ok_or(SubscriberAlreadySet)?
        .reload(filter_for(level))
        .map_err(|_| SubscriberAlreadySet)
}
