//! `waypost demo`: simulated vans with their agents, a broker, the backend with its pages, all in this process.
//!
//! ```text
//! simulated van ─ ptys ─ agent ─ network ─┐            ┌─ subscriber ─ view
//!                         │ (TCP, can be cut)─ broker ─┤
//! more of them ─ ptys ─ agents ───────────┘            └─ backend ─ pages, API
//!                       outboxes (temporary)              store (temporary)
//! ```
//!
//! - Agents, outboxes and links are those of the vans, and the backend is the one that is installed on servers: routes are put
//!   by its API, and go to the vans as manifests. One van is watched here; the subscriber is an MQTT client of its own, and all that is shown of
//!   the van has come to it over MQTT; beside it stand the counters of outbox, link and network.
//! - The end is in order: the van stands still, the outbox runs empty, the agent takes its leave, the broker ends, the
//!   directory goes. Then every stored `Seq` is held against what arrived, and one that is missing is exit code 1.
//! - Nothing is logged: standard output belongs to the view, and what goes wrong is in it.

mod agent;
mod arrivals;
mod backend;
mod broker;
mod fleet;
mod ink;
mod network;
mod scratch;
mod screen;
mod seqs;
mod shipments;
mod subscriber;
mod summary;
mod trail;
mod van;
mod view;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::arrivals::Arrivals;
use self::backend::{Backend, Link};
use self::broker::Broker;
use self::fleet::Fleet;
use self::network::Network;
use self::scratch::Scratch;
use self::screen::Screen;
use self::subscriber::Subscriber;
use self::summary::Summary;
use self::van::Van;
use self::view::{CURVE_COLUMNS, Phase, Snapshot};
use crate::clock::Clock;
use crate::core::calendar::{Era, RELEASED};
use crate::daemon::{Agent, AgentError, AtEnd, Watches, signals};
use crate::outbox::OutboxStats;
use crate::relay::LinkState;
use crate::relay::mqtt::MqttLinks;
use crate::simulate::{Rate, ReceiverType};
use crate::units::{TimeOfDay, Uptime, UtcTime};

/// The id of the van that is watched.
const VAN: &str = "VAN-001";

/// Of all vans and of the backend: they must agree.
const DOMAIN: &str = "id.example.com";

/// The network is cut when the view has become familiar.
const CUT_AFTER: Uptime = Uptime::from_millis(15_000);

/// How long the outbox may take to run empty when the van stands still.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// On the loopback interface it takes milliseconds. A van that drives on without the manifest is a van too.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// Between the broker's PUBACK to the agent and the subscriber; on one host, milliseconds.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(5);

/// A broker that is idle needs milliseconds.
const BROKER_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Between two values of the outbox's curve.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Drives simulated vans, shows live what arrives of one of them, and serves the backend's pages.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// How many times as fast as the world the van drives: 1 to 50
    #[arg(long, value_name = "TIMES", default_value = "5", value_parser = speed)]
    speed: f64,
    /// Cuts the network once, 15 seconds after the start, for so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    cut_network: Option<u64>,
    /// Ends by itself after so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// ublox-m8, ublox-m10, sirf-star, mtk-3339 or rmc-only; gga-only never says the date, so nothing of it is accepted
    #[arg(long, value_name = "NAME")]
    receiver: Option<ReceiverType>,
    /// Epochs a second: 1, 2, 5 or 10
    #[arg(long, value_name = "HZ", default_value = "1", value_parser = rate)]
    rate: Rate,
    /// How many vans drive, 1 to 200
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=200))]
    vans: u32,
    /// Where the pages are on this host; if it is taken, at another port, and with 0 at any
    #[arg(long, value_name = "PORT", default_value = "8642")]
    port: u16,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (1.0..=50.0).contains(speed));
    speed.ok_or_else(|| "no number in 1..=50".to_owned())
}

fn rate(text: &str) -> Result<Rate, String> {
    let hz = text.parse().ok();
    hz.and_then(Rate::from_hz).ok_or_else(|| "none of 1, 2, 5 and 10".to_owned())
}

/// Runs the demo until the user, `--seconds` or the van's day ends it.
///
/// # Errors
/// A part of it cannot be started or breaks, or something that was stored did not arrive.
pub async fn command(args: DemoArgs) -> anyhow::Result<()> {
    let (demo, van) = Demo::start(&args).await?;
    let summary = demo.run(van, &args).await?;
    println!("{summary}");
    match summary.failure() {
        Some(failure) => anyhow::bail!("demo: {failure}"),
        None => Ok(()),
    }
}

/// All parts, while they run. They go in the order in which they are named.
struct Demo {
    screen: Screen,
    title: String,
    clock: Clock,
    agent: JoinHandle<Result<(), AgentError>>,
    stop: CancellationToken,
    watches: Watches,
    fixes: Arc<AtomicU64>,
    first_seq: u64,
    waited: VecDeque<u64>,
    sampled_at: Uptime,
    subscriber: Subscriber,
    network: Network,
    fleet: Fleet,
    backend: Backend,
    pages: Pages,
    broker: Broker,
    _scratch: Scratch,
}

/// Addresses for the person at the terminal.
#[derive(Clone, Debug)]
struct Pages {
    desk: String,
    parcel: Link,
}

impl Demo {
    async fn start(args: &DemoArgs) -> anyhow::Result<(Self, Van)> {
        let start = day_begins()?;
        let van = Van::new(1, start, args.receiver, args.rate)?;
        let scratch = Scratch::new()?;
        let broker = Broker::start().await?;
        let network = Network::start(broker.address()).await?;
        let vans_time = Clock::scaled(args.speed);
        vans_time.learn_utc(van.route().settings.start, vans_time.uptime());
        let backend =
            Backend::start(broker.address(), &scratch, vans_time.clone(), args.port).await?;
        let config = agent::config(VAN, agent::WATCHED, network.address(), &van.ttys(), &scratch)?;
        let clock = Clock::live();
        let topics = config.relay.topics.clone();
        let filter = format!("fleet/v1/{VAN}/#");
        let arrivals = Arrivals::new(topics);
        let subscriber =
            Subscriber::start(broker.address(), &filter, arrivals, clock.clone()).await?;
        let links = backend.put_route(VAN, &van.manifest()).await?;
        let awaited = van.awaited().context("a day on which nothing is delivered")?;
        let parcel = links.iter().find(|link| link.number == awaited);
        let pages = Pages { desk: backend.desk(), parcel: parcel.context("no parcels")?.clone() };

        let sources = vec![config.source.clone()];
        let links = MqttLinks::new(config.relay.clone(), clock.clone());
        let pace = Clock::scaled(args.speed);
        let agent = Agent::open(config, Era::NotBefore(RELEASED), pace, links).await?;
        let watches = agent.watches();
        let first_seq = watches.outbox.borrow().newest.next().get();
        subscriber.arrivals().send_modify(|arrivals| arrivals.begin_at(first_seq));
        let stop = CancellationToken::new();
        let agent = tokio::spawn(agent.run(sources, AtEnd::Stop, stop.clone().cancelled_owned()));
        let title = title(&van, args.speed);
        let mut fleet = Fleet::new();
        for number in 2..=args.vans {
            let other = Van::new(number, start, args.receiver, args.rate)?;
            let id = format!("VAN-{number:03}");
            backend.put_route(&id, &other.manifest()).await?;
            fleet.add(&id, other, broker.address(), &scratch, args.speed).await?;
        }
        // Now the first van sets off: putting the routes took some seconds.
        vans_time.learn_utc(van.route().settings.start, vans_time.uptime());
        let demo = Self {
            screen: Screen::enter(&pages)?,
            title,
            clock,
            agent,
            stop,
            watches,
            fixes: van.fixes(),
            first_seq,
            waited: VecDeque::from([0; CURVE_COLUMNS]),
            sampled_at: Uptime::ZERO,
            subscriber,
            network,
            fleet,
            backend,
            pages,
            broker,
            _scratch: scratch,
        };
        Ok((demo, van))
    }

    async fn run(mut self, van: Van, args: &DemoArgs) -> anyhow::Result<Summary> {
        if let Some(seconds) = args.cut_network {
            self.network.cut(CUT_AFTER, Duration::from_secs(seconds), self.clock.clone());
        }
        let mut link = self.watches.link.clone();
        let connected = link.wait_for(|link| link.state == LinkState::Connected);
        drop(tokio::time::timeout(CONNECTED_WITHIN, connected).await);
        self.drive(van, args).await?;
        // The van may have stopped in a dead zone; nobody wants to wait there for its end.
        self.network.restore(self.clock.uptime());
        self.drain().await?;
        self.finish().await
    }

    /// Until the day, the time or the user's patience is over.
    async fn drive(&mut self, van: Van, args: &DemoArgs) -> anyhow::Result<()> {
        let mut driving = tokio::spawn(van.drive(Clock::scaled(args.speed)));
        let clock = self.clock.clone();
        let end = args.seconds.map(|seconds| Uptime::new(Duration::from_secs(seconds)));
        let interrupted = interrupted()?;
        let over = async {
            tokio::select! {
                () = interrupted => Ok(()),
                _ = clock.reached(end) => Ok(()),
                over = &mut driving => over.context("the van")?,
            }
        };
        let ended = self.watch(Phase::Driving, over).await;
        driving.abort();
        ended
    }

    /// Until the outbox is empty and stays so, or the user does not wait for it.
    async fn drain(&mut self) -> anyhow::Result<()> {
        // The last epoch ends when its receiver is silent, and is committed within a second.
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
        let interrupted = interrupted()?;
        let over = async {
            tokio::select! {
                () = interrupted => Ok(()),
                () = tokio::time::sleep(DRAINED_WITHIN) => Ok(()),
                empty = empty => empty,
            }
        };
        self.watch(Phase::Draining, over).await
    }

    /// Shows what happens until `over`, or until a part breaks.
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
                    anyhow::bail!("the agent has stopped by itself");
                }
                error = self.subscriber.lost() => return Err(error),
                error = self.backend.lost() => return Err(error),
                error = self.fleet.lost() => return Err(error),
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
        let mut seen = self.subscriber.arrivals().subscribe();
        let complete = seen.wait_for(|seen| seen.seqs.missing(stored.clone()).is_empty());
        // Whether they came or not, the summary says it.
        drop(tokio::time::timeout(CAUGHT_UP_WITHIN, complete).await);
        let summary = Summary {
            title: self.title,
            elapsed: self.clock.uptime().since_start(),
            cut: self.network.was_cut(),
            fixes: self.fixes.load(Ordering::Relaxed),
            stored,
            arrivals: self.subscriber.arrivals().borrow().clone(),
            link: self.watches.link.borrow().clone(),
            outbox,
            carried: self.network.carried(),
        };
        self.fleet.stop().await?;
        self.backend.stop().await?;
        self.subscriber.stop().await;
        let ended = tokio::time::timeout(BROKER_ENDS_WITHIN, self.broker.stop()).await;
        ended.context("the broker does not end")??;
        Ok(summary)
    }

    fn draw(&mut self, phase: Phase) -> anyhow::Result<()> {
        let now = self.clock.uptime();
        let outbox = *self.watches.outbox.borrow();
        if now.since(self.sampled_at) >= SAMPLE_EVERY {
            self.sampled_at = now;
            self.waited.pop_front();
            self.waited.push_back(outbox.pending);
        }
        let arrivals = self.subscriber.arrivals().borrow();
        let link = self.watches.link.borrow();
        let snapshot = Snapshot {
            title: &self.title,
            pages: &self.pages,
            now,
            phase,
            arrivals: &arrivals,
            link: &link,
            outbox,
            waited: self.waited.make_contiguous(),
            coverage: self.network.coverage(),
            carried: self.network.carried(),
        };
        let frame = |columns, rows| view::frame(&snapshot, columns, rows);
        Ok(self.screen.show(frame, || view::plain(&snapshot))?)
    }
}

/// The highest number of a point or an event.
fn newest(outbox: &OutboxStats) -> u64 {
    outbox.newest.max(outbox.events_newest).get()
}

/// Completes when the user wants the end, or has closed the terminal: then, too, the directory is to go.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let signals = signals()?;
    Ok(async move {
        tokio::select! {
            () = signals => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Eight o'clock today, UTC: then the pages say times of today, and midnight is far.
fn day_begins() -> anyhow::Result<UtcTime> {
    let (now, _) = Clock::live().host().context("the clock of this host is not set")?;
    let eight = TimeOfDay::new(8, 0, 0, 0).and_then(|eight| UtcTime::new(now.date(), eight));
    eight.context("a day without eight o'clock")
}

/// What is driven: `short deliveries ×5, ublox-m8 1 Hz`.
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
