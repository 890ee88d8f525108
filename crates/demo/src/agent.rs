//! Configuration of the demo's agents.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use super::van::Ttys;
use waypost::config::{Config, Override};
use waypost::uplink::BackoffConfig;

/// Settings of the watched van's agent that differ from the defaults; data usage does not matter
/// here.
pub(super) const WATCHED_VAN_CONFIG: &str = "\
mqtt.position_moving_s = 0.5
mqtt.position_halted_s = 1.0
mqtt.state_s = 5.0
track.sampling = \"raw\"
track.batch_s = 2.0
";

/// Settings of the other agents that differ from the defaults: low CPU load, because many share one
/// computer.
pub(super) const OTHER_VANS_CONFIG: &str = "\
mqtt.position_moving_s = 10.0
mqtt.live_error_m = 15.0
mqtt.state_s = 60.0
track.batch_s = 15.0
outbox.commit_after_s = 30.0
";

/// Short delays, so that a demo reconnects within seconds.
const BACKOFF: BackoffConfig =
    BackoffConfig { first: Duration::from_secs(1), max: Duration::from_secs(3) };

/// Bits per second; a burst of 10 epochs per second at 50 times real time stays below it.
const LINE_BAUD: u32 = 4_000_000;

/// Returns the configuration of the van `id`; `cadence` is [`WATCHED`] or [`OTHERS`].
///
/// # Errors
///
/// Fails if the path of the temporary directory is not UTF-8.
pub(super) fn config(
    id: &str,
    cadence: &str,
    broker: SocketAddr,
    Ttys { receiver, hand, portal }: &Ttys,
    scratch: &TempDir,
) -> anyhow::Result<Config> {
    let outbox = scratch.path().join(format!("{id}.db"));
    let outbox = outbox.to_str().context("the path of the temporary directory is not UTF-8")?;
    let overrides = [
        ("van.id", id.to_owned()),
        ("mqtt.broker", format!("mqtt://{broker}")),
        ("gnss.source", format!("serial:{receiver}")),
        ("outbox.path", outbox.to_owned()),
        ("delivery.domain", super::DOMAIN.to_owned()),
    ];
    let overrides = overrides.map(|(key, value)| Override { key, value });
    let scanners = format!(
        "[[scanner]]\nname = \"hand\"\nsource = \"serial:{hand}\"\n\
         [[scanner]]\nname = \"portal\"\nkind = \"rfid\"\nsource = \"serial:{portal}\"\n"
    );
    let mut config = Config::parse(&format!("{cadence}{scanners}"), "demo", &overrides)?;
    config.uplink.backoff = BACKOFF;
    // A pty accepts bursts at once, faster than any usual baud rate.
    config.source.line.baud = LINE_BAUD;
    config.outbox.journal_path = None;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_configurations_are_valid() {
        let scratch = tempfile::tempdir().unwrap();
        let broker = SocketAddr::from(([127, 0, 0, 1], 1883));
        let [receiver, hand, portal] = ["9", "10", "11"].map(|pts| format!("/dev/pts/{pts}"));
        let ttys = Ttys { receiver, hand, portal };
        for (cadence, batch_s) in [(WATCHED_VAN_CONFIG, 2), (OTHER_VANS_CONFIG, 15)] {
            let config = config("VAN-001", cadence, broker, &ttys, &scratch).unwrap();
            let scanners: Vec<_> = config.scanners.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(scanners, ["hand", "portal"]);
            assert_eq!(config.uplink.topics.track, "fleet/v1/VAN-001/track");
            assert_eq!(config.uplink.track_interval, Duration::from_secs(batch_s));
        }
    }
}
