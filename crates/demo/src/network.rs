//! Simulated mobile network between agent and broker: forwards and counts bytes, and can be cut.
//!
//! During a cut, existing connections are closed, and new ones are closed before any data is
//! forwarded.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use waypost_model::units::Uptime;
use waypost_service::clock::Clock;

/// Buffer size per direction.
const BUFFER_BYTES: usize = 4096;

/// Delay after a failed accept, for example when file descriptors have run out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// State of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetworkState {
    Connected,
    /// A dead zone.
    Cut {
        /// Start of the cut.
        since: Uptime,
        /// End of the cut.
        until: Uptime,
    },
}

/// Forwarded bytes: MQTT with its headers, without TCP and IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteCounts {
    /// From the agent to the broker.
    pub(super) up_bytes: u64,
    /// From the broker to the agent.
    pub(super) down_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    broker: SocketAddr,
    state: watch::Sender<NetworkState>,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    cut_ms: AtomicU64,
}

impl Shared {
    /// Ends a cut and adds its duration to the total.
    fn restore(&self, now: Uptime) {
        if let NetworkState::Cut { since, .. } = self.state.send_replace(NetworkState::Connected) {
            let cut_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            self.cut_ms.fetch_add(cut_ms, Ordering::Relaxed);
        }
    }
}

/// A TCP proxy in front of the broker.
#[derive(Debug)]
pub(super) struct Network {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept_task: JoinHandle<()>,
    cut_task: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts forwarding to `broker`.
    pub(super) async fn start(broker: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            broker,
            state: watch::Sender::new(NetworkState::Connected),
            up_bytes: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            cut_ms: AtomicU64::new(0),
        });
        let accept_task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accept_task, cut_task: None })
    }

    /// Returns the address to which the agent connects.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn state(&self) -> NetworkState {
        *self.shared.state.borrow()
    }

    /// Returns the forwarded bytes.
    pub(super) fn byte_counts(&self) -> ByteCounts {
        ByteCounts {
            up_bytes: self.shared.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.shared.down_bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the total duration of completed cuts.
    pub(super) fn total_cut_time(&self) -> Duration {
        Duration::from_millis(self.shared.cut_ms.load(Ordering::Relaxed))
    }

    /// Schedules one cut of `length` for the time `at` of `clock`.
    pub(super) fn schedule_cut(&mut self, at: Uptime, length: Duration, clock: Clock) {
        let shared = Arc::clone(&self.shared);
        self.cut_task = Some(tokio::spawn(async move {
            let since = clock.sleep_until(Some(at)).await;
            let until = since + length;
            shared.state.send_replace(NetworkState::Cut { since, until });
            shared.restore(clock.sleep_until(Some(until)).await);
        }));
    }

    /// Ends a cut early and cancels a scheduled one.
    pub(super) fn restore(&mut self, now: Uptime) {
        if let Some(cut_task) = self.cut_task.take() {
            cut_task.abort();
        }
        self.shared.restore(now);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accept_task.abort();
        if let Some(cut_task) = &self.cut_task {
            cut_task.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => {
                    connections.spawn(forward_until_cut(near, Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Forwards until one side closes or the network is cut; then both connections are closed.
async fn forward_until_cut(near: TcpStream, shared: Arc<Shared>) {
    let mut coverage = shared.state.subscribe();
    tokio::select! {
        biased;
        _ = coverage.wait_for(|coverage| *coverage != NetworkState::Connected) => {}
        _ = forward(near, &shared) => {}
    }
}

async fn forward(mut near: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut far = TcpStream::connect(shared.broker).await?;
    // Delaying small packets would add latency that a real network does not have.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_out, near_in) = near.split();
    let (far_out, far_in) = far.split();
    let up = copy_counted(near_out, far_in, &shared.up_bytes);
    let down = copy_counted(far_out, near_in, &shared.down_bytes);
    tokio::try_join!(up, down).map(|_| ())
}

async fn copy_counted(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a network to a listener that answers each byte with two.
    async fn network() -> Network {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let broker = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_all(&[byte, byte]).await.unwrap();
                    }
                });
            }
        });
        Network::start(broker).await.unwrap()
    }

    #[tokio::test]
    async fn a_cut_ends_connections_refuses_new_ones_and_is_over_when_it_is_restored() {
        let mut network = network().await;
        let clock = Clock::live();
        let mut before = TcpStream::connect(network.address()).await.unwrap();
        before.write_u8(7).await.unwrap();
        assert_eq!(before.read_u16().await.unwrap(), 0x0707);
        let carried = ByteCounts { up_bytes: 1, down_bytes: 2 };
        assert_eq!(network.byte_counts(), carried);

        network.schedule_cut(clock.uptime(), Duration::from_secs(3600), clock.clone());
        assert!(before.read_u8().await.is_err(), "gone");
        assert_ne!(network.state(), NetworkState::Connected);
        let mut during = TcpStream::connect(network.address()).await.unwrap();
        let _ = during.write_u8(8).await;
        assert!(during.read_u8().await.is_err(), "refused");
        assert_eq!(network.byte_counts(), carried, "no bytes are forwarded");

        network.restore(clock.uptime());
        let mut after = TcpStream::connect(network.address()).await.unwrap();
        after.write_u8(9).await.unwrap();
        assert_eq!(after.read_u16().await.unwrap(), 0x0909);
    }

    #[tokio::test]
    async fn a_cut_ends_by_itself() {
        let mut network = network().await;
        let clock = Clock::live();
        let mut coverage = network.shared.state.subscribe();
        network.schedule_cut(clock.uptime(), Duration::from_millis(50), clock.clone());
        coverage.wait_for(|coverage| *coverage != NetworkState::Connected).await.unwrap();
        coverage.wait_for(|coverage| *coverage == NetworkState::Connected).await.unwrap();
        assert!(clock.uptime() >= Uptime::from_millis(50));
        assert!(network.total_cut_time() >= Duration::from_millis(50));
    }
}
