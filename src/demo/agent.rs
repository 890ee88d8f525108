//! What the agent of a van of the demo is told: its van's lines, its outbox, and how often it speaks.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use super::scratch::Scratch;
use super::van::Ttys;
use crate::config::{Config, Override};
use crate::relay::BackoffConfig;

/// Where the agent that is watched differs from its defaults: bytes cost nothing.
pub(super) const WATCHED: &str = "\
mqtt.position_moving_s = 0.5
mqtt.position_halted_s = 1.0
mqtt.state_s = 5.0
track.sampling = \"raw\"
track.batch_s = 2.0
";

/// Where the others differ. Nobody counts their bytes, and many share one computer.
pub(super) const OTHERS: &str = "\
mqtt.position_moving_s = 10.0
mqtt.live_error_m = 15.0
mqtt.state_s = 60.0
track.batch_s = 15.0
outbox.commit_after_s = 30.0
";

/// Nobody waits minutes for a demo to connect again.
const BACKOFF: BackoffConfig =
    BackoffConfig { first: Duration::from_secs(1), max: Duration::from_secs(3) };

/// What a burst of 10 epochs a second, 50 times as fast as the world, cannot fill.
const LINE_BAUD: u32 = 4_000_000;

/// Of the van `id`; `cadence` is [`WATCHED`] or [`OTHERS`].
///
/// # Errors
/// The directory for temporary files is not UTF-8.
pub(super) fn config(
    id: &str,
    cadence: &str,
    broker: SocketAddr,
    Ttys { receiver, hand, portal }: &Ttys,
    scratch: &Scratch,
) -> anyhow::Result<Config> {
    let outbox = scratch.path().join(format!("{id}.db"));
    let outbox = outbox.to_str().context("the directory for temporary files is not UTF-8")?;
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
    config.relay.backoff = BACKOFF;
    // A pty takes bursts at once, at any rate and pace: no usual speed is as fast.
    config.source.line.baud = LINE_BAUD;
    config.outbox.tail_path = None;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_are_told_is_usable() {
        let scratch = Scratch::new().unwrap();
        let broker = SocketAddr::from(([127, 0, 0, 1], 1883));
        let [receiver, hand, portal] = ["9", "10", "11"].map(|pts| format!("/dev/pts/{pts}"));
        let ttys = Ttys { receiver, hand, portal };
        for (cadence, batch_s) in [(WATCHED, 2), (OTHERS, 15)] {
            let config = config("VAN-001", cadence, broker, &ttys, &scratch).unwrap();
            let scanners: Vec<_> = config.scanners.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(scanners, ["hand", "portal"]);
            assert_eq!(config.relay.topics.track, "fleet/v1/VAN-001/track");
            assert_eq!(config.relay.track_interval, Duration::from_secs(batch_s));
        }
    }
}
