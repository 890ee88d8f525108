//! The mobile network between agent and broker: it carries bytes, counts them, and can be cut.
//!
//! In a dead zone a connection is gone, and a new one is closed before it has said anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::Clock;
use crate::units::Uptime;

/// Read at once, in each direction.
const BUFFER_BYTES: usize = 4096;

/// No descriptor is left, or the like: a listener that fails would otherwise fail without end.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Whether it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// It does.
    Covered,
    /// A dead zone.
    Cut {
        /// When it began.
        since: Uptime,
        /// When it ends.
        until: Uptime,
    },
}

/// Bytes that went through: MQTT with its headers, without those of TCP and IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// From the agent to the broker.
    pub(super) up_bytes: u64,
    /// From the broker to the agent.
    pub(super) down_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    broker: SocketAddr,
    coverage: watch::Sender<Coverage>,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    cut_ms: AtomicU64,
}

impl Shared {
    /// Carries again, and remembers how long it did not.
    fn restore(&self, now: Uptime) {
        if let Coverage::Cut { since, .. } = self.coverage.send_replace(Coverage::Covered) {
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
    accepting: JoinHandle<()>,
    cutting: Option<JoinHandle<()>>,
}

impl Network {
    /// Carries from now on.
    pub(super) async fn start(broker: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            broker,
            coverage: watch::Sender::new(Coverage::Covered),
            up_bytes: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            cut_ms: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting, cutting: None })
    }

    /// What the agent takes for the broker.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it carries.
    pub(super) fn coverage(&self) -> Coverage {
        *self.shared.coverage.borrow()
    }

    /// What it has carried.
    pub(super) fn carried(&self) -> Carried {
        Carried {
            up_bytes: self.shared.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.shared.down_bytes.load(Ordering::Relaxed),
        }
    }

    /// How long it was cut altogether; a cut counts when it is over.
    pub(super) fn was_cut(&self) -> Duration {
        Duration::from_millis(self.shared.cut_ms.load(Ordering::Relaxed))
    }

    /// Will cut it once, for `length`, when it is `at` by `clock`.
    pub(super) fn cut(&mut self, at: Uptime, length: Duration, clock: Clock) {
        let shared = Arc::clone(&self.shared);
        self.cutting = Some(tokio::spawn(async move {
            let since = clock.reached(Some(at)).await;
            let until = since + length;
            shared.coverage.send_replace(Coverage::Cut { since, until });
            shared.restore(clock.reached(Some(until)).await);
        }));
    }

    /// Ends a cut early, and makes no further one.
    pub(super) fn restore(&mut self, now: Uptime) {
        if let Some(cutting) = self.cutting.take() {
            cutting.abort();
        }
        self.shared.restore(now);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Some(cutting) = &self.cutting {
            cutting.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => {
                    connections.spawn(carry_until_cut(near, Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Both connections end with it: as one of them does, or when the network is cut.
async fn carry_until_cut(near: TcpStream, shared: Arc<Shared>) {
    let mut coverage = shared.coverage.subscribe();
    tokio::select! {
        biased;
        _ = coverage.wait_for(|coverage| *coverage != Coverage::Covered) => {}
        _ = carry(near, &shared) => {}
    }
}

async fn carry(mut near: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut far = TcpStream::connect(shared.broker).await?;
    // It must not hold small packets back: that would be a network that it is not.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_out, near_in) = near.split();
    let (far_out, far_in) = far.split();
    let up = pump(near_out, far_in, &shared.up_bytes);
    let down = pump(far_out, near_in, &shared.down_bytes);
    tokio::try_join!(up, down).map(|_| ())
}

async fn pump(
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

    /// A network to a listener that answers each byte with two.
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
        let carried = Carried { up_bytes: 1, down_bytes: 2 };
        assert_eq!(network.carried(), carried);

        network.cut(clock.uptime(), Duration::from_secs(3600), clock.clone());
        assert!(before.read_u8().await.is_err(), "gone");
        assert_ne!(network.coverage(), Coverage::Covered);
        let mut during = TcpStream::connect(network.address()).await.unwrap();
        let _ = during.write_u8(8).await;
        assert!(during.read_u8().await.is_err(), "refused");
        assert_eq!(network.carried(), carried, "nothing gets through");

        network.restore(clock.uptime());
        let mut after = TcpStream::connect(network.address()).await.unwrap();
        after.write_u8(9).await.unwrap();
        assert_eq!(after.read_u16().await.unwrap(), 0x0909);
    }

    #[tokio::test]
    async fn a_cut_ends_by_itself() {
        let mut network = network().await;
        let clock = Clock::live();
        let mut coverage = network.shared.coverage.subscribe();
        network.cut(clock.uptime(), Duration::from_millis(50), clock.clone());
        coverage.wait_for(|coverage| *coverage != Coverage::Covered).await.unwrap();
        coverage.wait_for(|coverage| *coverage == Coverage::Covered).await.unwrap();
        assert!(clock.uptime() >= Uptime::from_millis(50));
        assert!(network.was_cut() >= Duration::from_millis(50));
    }
}
