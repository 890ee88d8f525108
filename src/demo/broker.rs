//! An MQTT 5 broker inside the process, on a free port that only this host can reach.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use mqtt5::broker::config::{AuthConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use tokio::task::JoinHandle;

/// Said in CONNACK; clients are wary of the broker's default of 256 MiB.
pub(super) const MAX_PACKET_BYTES: u32 = 1 << 20;

/// The broker, while it runs.
pub(super) struct Broker {
    address: SocketAddr,
    shutdown: BrokerShutdownHandle,
    running: JoinHandle<mqtt5::Result<()>>,
}

impl Broker {
    /// Starts it; it takes connections from now on.
    pub(super) async fn start() -> anyhow::Result<Self> {
        // Nothing of it is to outlive the demo: by default it would make a directory where it was started.
        let memory =
            StorageConfig::new().with_backend(StorageBackend::Memory).with_persistence(false);
        let config = BrokerConfig::new()
            .with_bind_address((Ipv4Addr::LOCALHOST, 0))
            .with_max_packet_size(usize::try_from(MAX_PACKET_BYTES)?)
            .with_auth(AuthConfig::new().with_allow_anonymous(true))
            .with_storage(memory)
            .with_sys_topics_enabled(false);
        let mut broker = MqttBroker::with_config(config).await.context("no broker")?;
        let address = broker.local_addr().context("the broker has no address")?;
        let mut ready = broker.ready_receiver();
        let shutdown = broker.shutdown_handle();
        let running = tokio::spawn(async move { broker.run().await });
        ready.wait_for(|ready| *ready).await.context("the broker ended at once")?;
        Ok(Self { address, shutdown, running })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it end its connections and tasks.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.shutdown();
        self.running.await.context("the broker's task")?.context("the broker")
    }
}
