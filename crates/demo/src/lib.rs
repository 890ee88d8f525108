//! `cargo demo`: runs simulated vans with their agents, a broker, and the backend with its pages
//! in this process.
//!
//! ```text
//! simulated van ─ ptys ─ agent ─ network ─┐            ┌─ subscriber ─ view
//!                         │ (TCP, can be cut)─ broker ─┤
//! more of them ─ ptys ─ agents ───────────┘            └─ backend ─ pages, API
//!                       outboxes (temporary)              store (temporary)
//! ```
//!
//! - Agents, outboxes and links are the production code, and so is the backend: routes are put with
//!   its API and reach the vans as manifests. The demo watches one van. The subscriber is a
//!   separate MQTT client, and everything shown of the van was received over MQTT. The counters of
//!   outbox, link and network are shown as well.
//! - Shutdown is orderly: the van stops, the outbox drains, the agent disconnects, the broker ends,
//!   and the directory is removed. Then every stored `Seq` is compared with the received ones. A
//!   missing one gives exit code 1.
//! - Logging is off, because standard output belongs to the view. Failures are reported there.

mod agent;
mod backend;
mod braille_map;
mod broker;
pub mod cli;
mod fleet;
mod network;
mod parcel_status;
mod received;
mod seq_set;
mod style;
mod subscriber;
mod summary;
mod terminal;
mod van;
mod view;

use std::collections::VecDeque;
use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::backend::{Backend, TrackingLink};
use self::broker::Broker;
use self::fleet::Fleet;
use self::network::Network;
use self::received::ReceivedMessages;
use self::subscriber::Subscriber;
use self::summary::Summary;
use self::terminal::Screen;
use self::van::Van;
use self::view::{CURVE_COLUMNS, Phase, Snapshot};
use waypost::agent::{Agent, AgentError, AgentWatches, OnSourceEnd, signals};
use waypost::outbox::OutboxStats;
use waypost::uplink::LinkState;
use waypost::uplink::mqtt::RumqttcConnector;
use waypost_model::units::RELEASE_DATE;
use waypost_model::units::{TimeOfDay, Uptime, UtcTime};
use waypost_pipeline::date_resolver::DateHint;
use waypost_service::clock::Clock;
use waypost_sim::{Rate, ReceiverType};

/// Id of the watched van.
const VAN: &str = "VAN-001";

/// Domain of all vans and of the backend, which must agree.
const DOMAIN: &str = "id.example.com";

/// Time at which the network is cut, after the viewer had time to understand the display.
const CUT_AT: Uptime = Uptime::from_millis(15_000);

/// Timeout for draining the outbox once the van has stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout for the connection, which takes milliseconds on the loopback interface. After it, the
/// van drives without a manifest.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum delay between the PUBACK to the agent and the delivery to the subscriber; milliseconds
/// on one host.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for stopping the broker; an idle one takes milliseconds.
const BROKER_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval between two values of the outbox sparkline.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Run simulated vans, show one of them live, and serve the backend's pages
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Speed of the vans as a multiple of real time: 1 to 50
    #[arg(long, value_name = "TIMES", default_value = "5", value_parser = speed)]
    speed: f64,
    /// Cut the network once for this time, 15 seconds after the start
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    cut_network: Option<u64>,
    /// End after this time
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Receiver type: ublox-m8, ublox-m10, sirf-star, mtk-3339 or rmc-only; gga-only sends no date,
    /// so all its fixes are rejected
    #[arg(long, value_name = "NAME")]
    receiver: Option<ReceiverType>,
    /// Epochs per second: 1, 2, 5 or 10
    #[arg(long, value_name = "HZ", default_value = "1", value_parser = rate)]
    rate: Rate,
    /// Number of vans, 1 to 200
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=200))]
    vans: u32,
    /// Port of the pages on this host; 0, or a port that is in use, selects a free one
    #[arg(long, value_name = "PORT", default_value = "8642")]
    port: u16,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (1.0..=50.0).contains(speed));
    speed.ok_or_else(|| "must be a number from 1 to 50".to_owned())
}

fn rate(text: &str) -> Result<Rate, String> {
    let hz = text.parse().ok();
    hz.and_then(Rate::from_hz).ok_or_else(|| "must be 1, 2, 5 or 10".to_owned())
}

/// Runs the demo until the user, `--seconds` or the van's day ends it.
///
/// # Errors
///
/// Fails if a part cannot be started or breaks, or if a stored record was not received.
pub async fn command(args: DemoArgs) -> anyhow::Result<()> {
    let (demo, van) = Demo::start(&args).await?;
    let summary = demo.run(van, &args).await?;
    println!("{summary}");
    match summary.failure() {
        Some(failure) => anyhow::bail!("demo: {failure}"),
        None => Ok(()),
    }
}

/// All running parts, dropped in the order of declaration.
struct Demo {
    screen: Screen,
    title: String,
    clock: Clock,
    agent: JoinHandle<Result<(), AgentError>>,
    stop: CancellationToken,
    watches: AgentWatches,
    fixes: Arc<AtomicU64>,
    first_seq: u64,
    backlog_samples: VecDeque<u64>,
    sampled_at: Uptime,
    subscriber: Subscriber,
    network: Network,
    fleet: Fleet,
    backend: Backend,
    pages: DemoPages,
    broker: Broker,
    _temp_dir: TempDir,
}

/// URLs of the pages.
#[derive(Clone, Debug)]
struct DemoPages {
    dispatch: String,
    parcel: TrackingLink,
}

/// Creates a directory that only its owner can read; it is removed when it is dropped.
fn private_temp_dir() -> io::Result<TempDir> {
    let mode = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("waypost-demo-").permissions(mode).tempdir()
}

/// Starts the vans after the first, each with its route and agent.
async fn start_fleet(
    args: &DemoArgs,
    start: UtcTime,
    backend: &Backend,
    broker: &Broker,
    temp_dir: &TempDir,
) -> anyhow::Result<Fleet> {
    let mut fleet = Fleet::new();
    for number in 2..=args.vans {
        let van = Van::new(number, start, args.receiver, args.rate)?;
        let id = format!("VAN-{number:03}");
        backend.put_route(&id, &van.manifest()).await?;
        fleet.add(&id, van, broker.address(), temp_dir, args.speed).await?;
    }
    Ok(fleet)
}

impl Demo {
    async fn start(args: &DemoArgs) -> anyhow::Result<(Self, Van)> {
        let start = today_at_eight()?;
        let van = Van::new(1, start, args.receiver, args.rate)?;
        let scratch = private_temp_dir()?;
        let broker = Broker::start().await?;
        let network = Network::start(broker.address()).await?;
        let vans_time = Clock::scaled(args.speed);
        vans_time.set_utc(van.route().settings.start, vans_time.uptime());
        let backend =
            Backend::start(broker.address(), &scratch, vans_time.clone(), args.port).await?;
        let watched = agent::WATCHED_VAN_CONFIG;
        let config = agent::config(VAN, watched, network.address(), &van.ttys(), &scratch)?;
        let clock = Clock::live();
        let topics = config.uplink.topics.clone();
        let filter = format!("fleet/v1/{VAN}/#");
        let arrivals = ReceivedMessages::new(topics);
        let subscriber =
            Subscriber::start(broker.address(), &filter, arrivals, clock.clone()).await?;
        let links = backend.put_route(VAN, &van.manifest()).await?;
        let awaited = van.shown_parcel().context("the route delivers no parcel")?;
        let parcel = links.iter().find(|link| link.number == awaited);
        let pages = DemoPages {
            dispatch: backend.dispatch_url(),
            parcel: parcel.context("no parcels")?.clone(),
        };

        let sources = vec![config.source.clone()];
        let links = RumqttcConnector::new(config.uplink.clone(), clock.clone());
        let pace = Clock::scaled(args.speed);
        let agent = Agent::open(config, DateHint::NotBefore(RELEASE_DATE), pace, links).await?;
        let watches = agent.watches();
        let first_seq = watches.outbox.borrow().newest.next().get();
        subscriber.received().send_modify(|arrivals| arrivals.set_first_seq(first_seq));
        let stop = CancellationToken::new();
        let agent =
            tokio::spawn(agent.run(sources, OnSourceEnd::Stop, stop.clone().cancelled_owned()));
        let title = title(&van, args.speed);
        let fleet = start_fleet(args, start, &backend, &broker, &scratch).await?;
        // The first van departs now; putting the routes took some seconds.
        vans_time.set_utc(van.route().settings.start, vans_time.uptime());
        let demo = Self {
            screen: Screen::enter(&pages)?,
            title,
            clock,
            agent,
            stop,
            watches,
            fixes: van.fixes(),
            first_seq,
            backlog_samples: VecDeque::from([0; CURVE_COLUMNS]),
            sampled_at: Uptime::ZERO,
            subscriber,
            network,
            fleet,
            backend,
            pages,
            broker,
            _temp_dir: scratch,
        };
        Ok((demo, van))
    }

    async fn run(mut self, van: Van, args: &DemoArgs) -> anyhow::Result<Summary> {
        if let Some(seconds) = args.cut_network {
            self.network.schedule_cut(CUT_AT, Duration::from_secs(seconds), self.clock.clone());
        }
        let mut link = self.watches.link.clone();
        let connected = link.wait_for(|link| link.state == LinkState::Connected);
        drop(tokio::time::timeout(CONNECT_TIMEOUT, connected).await);
        self.drive(van, args).await?;
        // The van may have stopped in a dead zone; shutdown does not wait for the end of the cut.
        self.network.restore(self.clock.uptime());
        self.drain().await?;
        self.finish().await
    }

    /// Runs until the day or the time is over, or the user stops it.
    async fn drive(&mut self, van: Van, args: &DemoArgs) -> anyhow::Result<()> {
        let mut driving = tokio::spawn(van.drive(Clock::scaled(args.speed)));
        let clock = self.clock.clone();
        let end = args.seconds.map(|seconds| Uptime::new(Duration::from_secs(seconds)));
        let interrupted = shutdown_signal()?;
        let over = async {
            tokio::select! {
                () = interrupted => Ok(()),
                _ = clock.sleep_until(end) => Ok(()),
                over = &mut driving => over.context("the van")?,
            }
        };
        let ended = self.watch(Phase::Driving, over).await;
        driving.abort();
        ended
    }

    /// Runs until the outbox stays empty, or the user stops it.
    async fn drain(&mut self) -> anyhow::Result<()> {
        // The receiver ends the last epoch by its silence; the commit follows within a second.
        let quiet = Duration::from_millis(1800);
        let mut outbox = self.watches.outbox.clone();
        let empty = async move {
            loop {
                let committed = newest(&*outbox.wait_for(|stats| stats.pending == 0).await?);
                tokio::time::sleep(quiet).await;
                let now = *outbox.borrow();
                if newest(&now) == committed && now.pending == 0 {
                    return anyhow::Ok(());
                }
            }
        };
        let interrupted = shutdown_signal()?;
        let over = async {
            tokio::select! {
                () = interrupted => Ok(()),
                () = tokio::time::sleep(DRAIN_TIMEOUT) => Ok(()),
                empty = empty => empty,
            }
        };
        self.watch(Phase::Draining, over).await
    }

    /// Updates the view until `over` completes or a part fails.
    async fn watch(
        &mut self,
        phase: Phase,
        over: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        tokio::pin!(over);
        let mut frames = tokio::time::interval(self.screen.interval());
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                over = &mut over => return over,
                ended = &mut self.agent => {
                    ended.context("the agent's task")?.context("the agent")?;
                    anyhow::bail!("the agent ended unexpectedly");
                }
                error = self.subscriber.wait_for_failure() => return Err(error),
                error = self.backend.wait_for_failure() => return Err(error),
                error = self.fleet.wait_for_failure() => return Err(error),
                _ = frames.tick() => self.draw(phase)?,
            }
        }
    }

    async fn finish(mut self) -> anyhow::Result<Summary> {
        self.draw(Phase::Stopping)?;
        self.stop.cancel();
        (&mut self.agent).await.context("the agent's task")?.context("the agent")?;
        let outbox = *self.watches.outbox.borrow();
        let stored = self.first_seq..=newest(&outbox);
        let mut seen = self.subscriber.received().subscribe();
        let complete = seen.wait_for(|seen| seen.seqs.missing(stored.clone()).is_empty());
        // The summary reports missing records, so a timeout is not an error here.
        drop(tokio::time::timeout(CATCH_UP_TIMEOUT, complete).await);
        let summary = Summary {
            title: self.title,
            elapsed: self.clock.uptime().since_start(),
            cut: self.network.total_cut_time(),
            fixes: self.fixes.load(Ordering::Relaxed),
            stored,
            received: self.subscriber.received().borrow().clone(),
            link: self.watches.link.borrow().clone(),
            outbox,
            carried: self.network.byte_counts(),
        };
        self.fleet.stop().await?;
        self.backend.stop().await?;
        self.subscriber.stop().await;
        let ended = tokio::time::timeout(BROKER_STOP_TIMEOUT, self.broker.stop()).await;
        ended.context("the broker did not stop in time")??;
        Ok(summary)
    }

    fn draw(&mut self, phase: Phase) -> anyhow::Result<()> {
        let now = self.clock.uptime();
        let outbox = *self.watches.outbox.borrow();
        if now.since(self.sampled_at) >= SAMPLE_INTERVAL {
            self.sampled_at = now;
            self.backlog_samples.pop_front();
            self.backlog_samples.push_back(outbox.pending);
        }
        let arrivals = self.subscriber.received().borrow();
        let link = self.watches.link.borrow();
        let snapshot = Snapshot {
            title: &self.title,
            pages: &self.pages,
            now,
            phase,
            received: &arrivals,
            link: &link,
            outbox,
            backlog_samples: self.backlog_samples.make_contiguous(),
            network: self.network.state(),
            byte_counts: self.network.byte_counts(),
        };
        let frame = |columns, rows| view::frame(&snapshot, columns, rows);
        Ok(self.screen.show(frame, || view::plain_line(&snapshot))?)
    }
}

/// Returns the highest sequence number of a point or an event.
fn newest(outbox: &OutboxStats) -> u64 {
    outbox.newest.max(outbox.events_newest).get()
}

/// Completes when the user interrupts the demo or closes the terminal; the directory is removed in
/// both cases.
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let signals = signals()?;
    Ok(async move {
        tokio::select! {
            () = signals => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Returns 08:00 UTC today, so that the pages show times of today and midnight is far away.
fn today_at_eight() -> anyhow::Result<UtcTime> {
    let (now, _) = Clock::live().host_clock().context("the clock of this host is not set")?;
    let eight = TimeOfDay::new(8, 0, 0, 0).and_then(|eight| UtcTime::new(now.date(), eight));
    eight.context("08:00 does not exist today")
}

/// Returns the title, such as `short deliveries ×5, ublox-m8 1 Hz`.
fn title(van: &Van, speed: f64) -> String {
    let route = van.route();
    let (receiver, hz) = (route.settings.receiver, route.settings.rate.as_hz());
    format!("{} ×{speed}, {receiver} {hz} Hz", route.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_and_rates_out_of_range_are_refused() {
        assert_eq!(speed("2.5"), Ok(2.5));
        for text in ["0", "0.9", "51", "nan", "inf", "fast", ""] {
            assert!(speed(text).is_err(), "{text}");
        }
        assert!(rate("10").is_ok() && rate("3").is_err() && rate("x").is_err());
    }
}
