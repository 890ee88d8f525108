//! `waypost check`, `waypost config`: the configuration → what is wrong with it, or what it comes to.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::config::{Config, DEFAULT_PATH, Origins};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Write every key with the value that it has, the file and its drop-ins taken together
    Show {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// Say after each key which file it is from
        #[arg(long)]
        origin: bool,
    },
}

pub(super) fn command(command: &ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Show { config, origin } = command;
    let origins = if *origin { Origins::Shown } else { Origins::Hidden };
    Ok(io::stdout().lock().write_all(Config::show(config, origins)?.as_bytes())?)
}

pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path, &[])?;
    config.examine_files(path)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: in order", path.display())?;
    for drop_in in &config.drop_ins {
        writeln!(out, "  with     {drop_in}")?;
    }
    writeln!(out, "  van      {}", config.van)?;
    writeln!(out, "  source   {}", config.source.address)?;
    writeln!(out, "  outbox   {}", config.outbox.path.display())?;
    for broker in &config.relay.brokers {
        writeln!(out, "  broker   {broker}")?;
    }
    if let Some(proxy) = &config.relay.proxy {
        writeln!(out, "  through  {proxy}")?;
    }
    writeln!(out, "  topics   {}", config.relay.topics.position)?;
    Ok(())
}
