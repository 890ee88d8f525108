//! A client of its own, beside the backend: MQTT → [`Arrivals`].

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::arrivals::Arrivals;
use super::broker::MAX_PACKET_BYTES;
use crate::clock::Clock;

/// On the loopback interface it takes milliseconds.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);

/// Its own requests are SUBSCRIBE and DISCONNECT.
const REQUESTS: usize = 4;

/// The subscriber, while it listens.
#[derive(Debug)]
pub(super) struct Subscriber {
    arrivals: watch::Sender<Arrivals>,
    client: AsyncClient,
    listening: JoinHandle<anyhow::Error>,
}

impl Subscriber {
    /// Connects directly to the broker, and has subscribed to `filter` when it returns.
    pub(super) async fn start(
        broker: SocketAddr,
        filter: &str,
        arrivals: Arrivals,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let id = "waypost-demo-subscriber";
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options
            .set_clean_start(true)
            .set_keep_alive(Duration::from_secs(30))
            // Without it the client refuses what is larger than 10 KiB, as full batches are.
            .set_max_packet_size(Some(MAX_PACKET_BYTES));
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        // What it says itself has not arrived from the van.
        let filter = Filter { nolocal: true, ..Filter::new(filter, QoS::AtLeastOnce) };
        client.subscribe_many([filter]).await?;
        let granted = tokio::time::timeout(SUBSCRIBED_WITHIN, granted(&mut event_loop)).await;
        granted.context("no SUBACK from the broker")??;
        let arrivals = watch::Sender::new(arrivals);
        let listening = tokio::spawn(listen(event_loop, arrivals.clone(), clock));
        Ok(Self { arrivals, client, listening })
    }

    /// What has arrived.
    pub(super) const fn arrivals(&self) -> &watch::Sender<Arrivals> {
        &self.arrivals
    }

    /// Completes when it cannot listen any more, which it should not.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        (&mut self.listening).await.unwrap_or_else(|error| anyhow!(error))
    }

    /// Takes its leave of the broker.
    pub(super) async fn stop(mut self) {
        // If the broker is gone, so is the subscriber.
        if self.client.disconnect().await.is_ok() {
            let left = tokio::time::timeout(Duration::from_secs(1), &mut self.listening).await;
            drop(left);
        }
        self.listening.abort();
    }
}

/// Polls until the broker has granted the subscription.
async fn granted(event_loop: &mut EventLoop) -> anyhow::Result<()> {
    loop {
        let event = event_loop.poll().await.context("the subscriber cannot connect")?;
        if let Event::Incoming(Packet::SubAck(ack)) = event {
            let granted = |code: &_| matches!(code, SubscribeReasonCode::Success(_));
            anyhow::ensure!(ack.return_codes.iter().all(granted), "{:?}", ack.return_codes);
            return Ok(());
        }
    }
}

/// Listens until the connection ends. The session is a clean one, so connecting again would leave a hole.
async fn listen(
    mut event_loop: EventLoop,
    arrivals: watch::Sender<Arrivals>,
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
