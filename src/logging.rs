//! The subscriber of `tracing`: the journal's format in a service, text with colours on a terminal.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs to standard error from now on; libraries only their warnings. A second call does nothing.
pub fn init(level: Level) {
    // systemd sets it for what it connects to the journal, which knows the time.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let wanted = Targets::new().with_default(LevelFilter::WARN).with_target("waypost", level);
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
    // Somebody else has initialised it: a test, or an embedding program.
    drop(result);
}
