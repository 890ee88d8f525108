//! The subscriber of `tracing`: the journal's format in a service, text with colours on a terminal.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The filter of the one subscriber, if it is ours.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Libraries say only their warnings.
fn wanted(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("waypost", level)
}

/// Logs to standard error from now on. A second call does nothing.
pub fn init(level: Level) {
    // systemd sets it for what it connects to the journal, which knows the time.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let (wanted, filter) = reload::Layer::new(wanted(level));
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
    // Else somebody else has initialised it: a test, or an embedding program.
    if result.is_ok() {
        FILTER.set(filter).ok();
    }
}

/// The log is not ours to change.
#[derive(Debug, thiserror::Error)]
#[error("the log of this process is not waypost's own")]
pub struct NotOurs;

/// Logs from `level` on, until the next call.
///
/// # Errors
/// [`init`] was not called, or did nothing.
pub fn set_level(level: Level) -> Result<(), NotOurs> {
    FILTER.get().ok_or(NotOurs)?.reload(wanted(level)).map_err(|_| NotOurs)
}
