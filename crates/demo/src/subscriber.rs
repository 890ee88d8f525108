//! A separate MQTT client that collects [`Arrivals`].

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::broker::MAX_PACKET_BYTES;
use super::received::ReceivedMessages;
use waypost_service::clock::Clock;

/// Timeout of the subscription, which takes milliseconds on the loopback interface.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Capacity for the client's own requests, SUBSCRIBE and DISCONNECT.
const REQUEST_CAPACITY: usize = 4;

/// The running subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    received: watch::Sender<ReceivedMessages>,
    client: AsyncClient,
    task: JoinHandle<anyhow::Error>,
}

impl Subscriber {
    /// Connects directly to the broker, and returns once `filter` is subscribed.
    pub(super) async fn start(
        broker: SocketAddr,
        filter: &str,
        arrivals: ReceivedMessages,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let id = "waypost-demo-subscriber";
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options
            .set_clean_start(true)
            .set_keep_alive(Duration::from_secs(30))
            // The client's default rejects packets above 10 KiB, such as full batches.
            .set_max_packet_size(Some(MAX_PACKET_BYTES));
        let (client, mut event_loop) = AsyncClient::new(options, REQUEST_CAPACITY);
        // Messages of this client must not be counted as the van's.
        let filter = Filter { nolocal: true, ..Filter::new(filter, QoS::AtLeastOnce) };
        client.subscribe_many([filter]).await?;
        let wait_for_suback =
            tokio::time::timeout(SUBSCRIBE_TIMEOUT, wait_for_suback(&mut event_loop)).await;
        wait_for_suback.context("the broker sent no SUBACK")??;
        let arrivals = watch::Sender::new(arrivals);
        let listening = tokio::spawn(listen(event_loop, arrivals.clone(), clock));
        Ok(Self { received: arrivals, client, task: listening })
    }

    /// Returns the messages received so far.
    pub(super) const fn received(&self) -> &watch::Sender<ReceivedMessages> {
        &self.received
    }

    /// Completes only if the connection is lost.
    pub(super) async fn wait_for_failure(&mut self) -> anyhow::Error {
        (&mut self.task).await.unwrap_or_else(|error| anyhow!(error))
    }

    /// Disconnects from the broker.
    pub(super) async fn stop(mut self) {
        // If the request fails, the connection has already ended.
        if self.client.disconnect().await.is_ok() {
            let left = tokio::time::timeout(Duration::from_secs(1), &mut self.task).await;
            drop(left);
        }
        self.task.abort();
    }
}

/// Polls until the broker grants the subscription.
async fn wait_for_suback(event_loop: &mut EventLoop) -> anyhow::Result<()> {
    loop {
        let event = event_loop.poll().await.context("the subscriber cannot connect")?;
        if let Event::Incoming(Packet::SubAck(ack)) = event {
            let wait_for_suback = |code: &_| matches!(code, SubscribeReasonCode::Success(_));
            anyhow::ensure!(ack.return_codes.iter().all(wait_for_suback), "{:?}", ack.return_codes);
            return Ok(());
        }
    }
}

/// Receives until the connection ends. The session is a clean one, so a reconnect would lose
/// messages.
async fn listen(
    mut event_loop: EventLoop,
    arrivals: watch::Sender<ReceivedMessages>,
    clock: Clock,
) -> anyhow::Error {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let now = clock.uptime();
                arrivals.send_modify(|arrivals| {
                    arrivals.observe(&message.topic, &message.payload, now);
                });
            }
            Ok(_) => {}
            Err(error) => return anyhow::Error::new(error).context("the subscriber"),
        }
    }
}
