//! Reports the agent's status line and watchdog notifications to systemd.
//!
//! The watchdog is notified only while every loop responds; systemd restarts an agent that hangs.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::agent::AgentWatches;
use crate::uplink::{LinkState, LinkStatus};
use waypost_model::motion::Motion;
use waypost_model::record::Subject;
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;
use waypost_service::sd_notify::ServiceNotifier;

/// Interval of status updates. People read them, so that more frequent wake-ups are not needed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Liveness probes per watchdog timeout; one of them may be answered late.
const PROBES_PER_WATCHDOG: u32 = 3;

/// Sends the status and the watchdog notifications until the future is dropped.
pub async fn run_watchdog(notify: ServiceNotifier, watches: AgentWatches, clock: Clock) {
    if !notify.is_connected() {
        return;
    }
    let period = notify.watchdog().map_or(STATUS_INTERVAL, |watchdog| {
        STATUS_INTERVAL.min(watchdog / PROBES_PER_WATCHDOG).max(Duration::from_millis(1))
    });
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut was_silent) = (String::new(), false);
    loop {
        ticks.tick().await;
        let line = status_line(&watches, clock.uptime());
        if line != said {
            notify.send(&format!("STATUS={line}"));
            said = line;
        }
        if notify.watchdog().is_some() {
            let silent = watches.liveness.unresponsive().next();
            match silent {
                None => notify.send("WATCHDOG=1"),
                Some(task) if !was_silent => {
                    tracing::error!(task, "task unresponsive, systemd will restart the service");
                }
                Some(_) => {}
            }
            was_silent = silent.is_some();
            watches.liveness.probe();
        }
    }
}

/// Status as a sentence, such as "driving, 11 satellites, 0 waiting, connected for 3 min".
fn status_line(watches: &AgentWatches, now: Uptime) -> String {
    let mut line = reception(watches);
    let pending = watches.outbox.borrow().pending;
    write!(line, ", {pending} waiting, {}", link(&watches.link.borrow(), now))
        .expect("writing to a String cannot fail");
    // The protocol allows one line, and error texts may have any origin.
    line.replace(|c: char| c.is_control(), " ")
}

fn reception(watches: &AgentWatches) -> String {
    let health = watches.health.borrow();
    let gnss = &health.gnss;
    match gnss.receiver.as_str() {
        "open" => {}
        "silent" => return "receiver silent".to_owned(),
        "detecting_baud" => return "detecting baud rate".to_owned(),
        "gone" => return "no receiver".to_owned(),
        _ => return "waiting for the receiver".to_owned(),
    }
    let satellites = |count: u8| format!("{count} satellite{}", if count == 1 { "" } else { "s" });
    if gnss.mode < 2 {
        let seen = gnss.sats_in_view.map(|count| format!(", {} in view", satellites(count)));
        return format!("no fix{}", seen.unwrap_or_default());
    }
    let motion = watches.live.borrow().map_or(Motion::Unknown, |record| match record.subject {
        Subject::Point(point) => point.motion,
    });
    let does = match motion {
        Motion::Moving => "driving",
        Motion::Halted => "standing",
        Motion::Unknown => "fix",
    };
    let used = gnss.sats.map(|count| format!(", {}", satellites(count)));
    format!("{does}{}", used.unwrap_or_default())
}

fn link(status: &LinkStatus, now: Uptime) -> String {
    match (status.state, &status.last_error) {
        (LinkState::Connected, _) => match now.since(status.since).as_secs() / 60 {
            0 => "connected".to_owned(),
            minutes @ 1..60 => format!("connected for {minutes} min"),
            minutes @ 60..2880 => format!("connected for {} h", minutes / 60),
            minutes => format!("connected for {} days", minutes / 1440),
        },
        // Shows the lasting state instead of each attempt: there is no connection, and the reason.
        (LinkState::Connecting | LinkState::BackingOff { .. }, Some(error)) => {
            format!("no link: {error}")
        }
        (state, _) => state.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    use std::process;

    use super::*;
    use crate::outbox::OutboxStats;
    use crate::uplink::Health;
    use tokio::sync::watch;
    use waypost_model::record::Seq;
    use waypost_pipeline::ReceiverStats;
    use waypost_service::liveness::{Heartbeat, Liveness};
    use waypost_service::sd_notify::testing::{listen, received};

    /// Senders of all values that the agent reports.
    struct Agent {
        health: watch::Sender<Health>,
        outbox: watch::Sender<OutboxStats>,
        link: watch::Sender<LinkStatus>,
        live: watch::Sender<Option<waypost_model::record::Record>>,
        heartbeat: Heartbeat,
        watches: AgentWatches,
    }

    fn agent() -> Agent {
        let status = LinkStatus::new(Uptime::ZERO);
        let (health, outbox, link, live) = (
            watch::Sender::<Health>::default(),
            watch::Sender::<OutboxStats>::default(),
            watch::Sender::new(status),
            watch::Sender::new(None),
        );
        let mut liveness = Liveness::default();
        let pulse = liveness.register("relay");
        let watches = AgentWatches {
            reception: watch::Sender::<ReceiverStats>::default().subscribe(),
            scanners: watch::Sender::default().subscribe(),
            unsigned_commands: watch::Sender::default().subscribe(),
            health: health.subscribe(),
            live: live.subscribe(),
            outbox: outbox.subscribe(),
            link: link.subscribe(),
            liveness,
        };
        Agent { health, outbox, link, live, heartbeat: pulse, watches }
    }

    #[test]
    fn the_status_line_reads_like_a_sentence() {
        let agent = agent();
        let line = |minutes: u64| {
            status_line(&agent.watches, Uptime::new(Duration::from_secs(minutes * 60)))
        };
        let receiver = |state: &str| {
            agent.health.send_modify(|health| health.gnss.receiver = state.to_owned());
        };
        assert_eq!(line(0), "waiting for the receiver, 0 waiting, connecting");
        receiver("gone");
        agent.link.send_modify(|link| {
            link.state = LinkState::BackingOff { wait: Duration::from_secs(9) };
            link.last_error = Some("connection refused\nSTATUS=well".to_owned());
        });
        agent.outbox.send_modify(|stats| stats.pending = 12);
        assert_eq!(line(1), "no receiver, 12 waiting, no link: connection refused STATUS=well");
        receiver("open");
        agent.link.send_modify(|link| link.state = LinkState::Connected);
        assert_eq!(line(0), "no fix, 12 waiting, connected");
        agent.health.send_modify(|health| health.gnss.sats_in_view = Some(1));
        assert_eq!(line(3), "no fix, 1 satellite in view, 12 waiting, connected for 3 min");
        agent.health.send_modify(|health| {
            health.gnss.mode = 3;
            health.gnss.sats = Some(11);
        });
        let moving = crate::outbox::tests::record(Seq::new(1), Motion::Moving);
        agent.live.send_replace(Some(moving));
        agent.outbox.send_modify(|stats| stats.pending = 0);
        assert_eq!(line(3), "driving, 11 satellites, 0 waiting, connected for 3 min");
        assert_eq!(line(200), "driving, 11 satellites, 0 waiting, connected for 3 h");
        assert_eq!(line(10_000), "driving, 11 satellites, 0 waiting, connected for 6 days");
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_while_every_loop_turns_and_not_after_one_hangs() {
        let name = format!("waypost-watchdog-{}", process::id());
        let systemd = listen(&SocketAddr::from_abstract_name(&name).unwrap());
        let watchdog = Some(Duration::from_secs(30));
        let notify = ServiceNotifier::connect(OsStr::new(&format!("@{name}")), watchdog).unwrap();
        let Agent { mut heartbeat, watches, .. } = agent();
        tokio::spawn(run_watchdog(notify, watches, Clock::live()));
        let (hang, mut told_to_hang) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = heartbeat.beat() => {}
                    _ = &mut told_to_hang => break,
                }
            }
            std::future::pending::<()>().await;
            drop(heartbeat);
        });
        tokio::time::sleep(Duration::from_secs(61)).await;
        let words = received(&systemd);
        let fed = words.iter().filter(|words| *words == "WATCHDOG=1").count();
        assert!(fed >= 6, "{words:?}");
        let lines = words.iter().filter(|words| words.starts_with("STATUS=")).count();
        assert_eq!(lines, 1, "an unchanged status line is sent once: {words:?}");

        // Stop the loop without ending its task.
        hang.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        let _ = received(&systemd);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!received(&systemd).contains(&"WATCHDOG=1".to_owned()));
    }
}
