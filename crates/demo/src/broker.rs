//! An MQTT 5 broker in this process, on a free port of the loopback interface.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use mqtt5::broker::config::{AuthConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use tokio::task::JoinHandle;

/// Maximum packet size announced in CONNACK; clients distrust the broker's default of 256 MiB.
pub(super) const MAX_PACKET_BYTES: u32 = 1 << 20;

/// The running broker.
pub(super) struct Broker {
    address: SocketAddr,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<mqtt5::Result<()>>,
}

impl Broker {
    /// Starts the broker; it accepts connections when this returns.
    pub(super) async fn start() -> anyhow::Result<Self> {
        // By default the broker would leave a directory in the working directory.
        let memory =
            StorageConfig::new().with_backend(StorageBackend::Memory).with_persistence(false);
        let config = BrokerConfig::new()
            .with_bind_address((Ipv4Addr::LOCALHOST, 0))
            .with_max_packet_size(usize::try_from(MAX_PACKET_BYTES)?)
            .with_auth(AuthConfig::new().with_allow_anonymous(true))
            .with_storage(memory)
            .with_sys_topics_enabled(false);
        let mut broker = MqttBroker::with_config(config).await.context("cannot start broker")?;
        let address = broker.local_addr().context("the broker has no address")?;
        let mut ready = broker.ready_receiver();
        let shutdown = broker.shutdown_handle();
        let running = tokio::spawn(async move { broker.run().await });
        ready.wait_for(|ready| *ready).await.context("the broker ended during startup")?;
        Ok(Self { address, shutdown, task: running })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the broker with its connections and tasks.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.shutdown();
        self.task.await.context("the broker's task")?.context("the broker")
    }
}
