//! Builds MQTT connection options from [`MqttConfig`]. Certificates are reloaded for each
//! connection.

use std::sync::Arc;

use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use std::time::Duration;

use super::config::{MqttConfig, MqttTls};
use waypost_service::pem::{self, PemError};

/// Maximum packet size that the broker may send (MQTT 5 §3.1.2.11.4). Packets of vans are at most a
/// quarter of this; larger ones up to this limit are still received and stored as dead letters.
const MAX_PACKET_BYTES: u32 = 1_200_000;

/// Timeout for CONNACK, in seconds.
const CONNECT_TIMEOUT_S: u64 = 10;

/// Session handling while a connection is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// The broker queues messages for a day.
    Persistent {
        /// Receive Maximum (MQTT 5 §3.1.2.11.3): the limit of unacknowledged messages in flight.
        receive_max: u16,
    },
    /// Clean start; the broker queues nothing.
    Clean,
}

/// Returns the options of a connection under `client_id`.
pub(super) fn options(
    config: &MqttConfig,
    client_id: &str,
    session: Session,
) -> Result<MqttOptions, PemError> {
    const DAY_S: u32 = 24 * 3600;
    let mut options = MqttOptions::new(client_id, &config.host, config.port);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET_BYTES);
    if let Session::Persistent { receive_max } = session {
        properties.session_expiry_interval = Some(DAY_S);
        properties.receive_maximum = Some(receive_max);
    }
    options
        .set_connect_properties(properties)
        .set_clean_start(session == Session::Clean)
        .set_keep_alive(Duration::from_secs(30))
        .set_connection_timeout(CONNECT_TIMEOUT_S);
    if let Some(username) = &config.username {
        options.set_credentials(username, config.password.clone().unwrap_or_default());
    }
    if let Some(tls) = &config.tls {
        let tls = TlsConfiguration::Rustls(tls_config(tls)?);
        options.set_transport(Transport::Tls(tls));
    }
    Ok(options)
}

fn tls_config(tls: &MqttTls) -> Result<Arc<ClientConfig>, PemError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| PemError::new(&tls.ca, &error))?
        .with_root_certificates(pem::load_root_store(&tls.ca)?);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(pem::load_cert_chain(certificate)?, pem::load_private_key(key)?)
            .map_err(|error| PemError::new(certificate, &error))?,
    };
    Ok(Arc::new(config))
}

/// Describes why a connection ended, without any secret.
pub(super) fn describe_error(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            format!("broker rejected the connection: {code:?}")
        }
        other => other.to_string(),
    }
}

/// Flushes outgoing packets and sends DISCONNECT.
pub(super) async fn disconnect(client: &AsyncClient, event_loop: &mut EventLoop) {
    client.try_disconnect().ok();
    let goodbye = async {
        while let Ok(event) = event_loop.poll().await {
            if event == Event::Outgoing(rumqttc::Outgoing::Disconnect) {
                return Ok(());
            }
        }
        Err::<(), ConnectionError>(ConnectionError::RequestsDone)
    };
    // Without a DISCONNECT the broker keeps unacknowledged messages.
    tokio::time::timeout(Duration::from_secs(1), goodbye).await.ok();
}

/// Ends the session of a client identifier: a connection with a clean start and no session expiry
/// replaces it, and the broker discards what it held (MQTT 5 §3.1.2.4).
///
/// # Errors
/// Returns why the broker could not be reached.
pub(super) async fn end_session(config: &MqttConfig, client_id: &str) -> Result<(), String> {
    let options = options(config, client_id, Session::Clean).map_err(|error| error.to_string())?;
    let (client, mut event_loop) = AsyncClient::new(options, 10);
    let connected = async {
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(rumqttc::v5::mqttbytes::v5::Packet::ConnAck(_))) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => return Err(describe_error(&error)),
            }
        }
    };
    let timeout = Duration::from_secs(CONNECT_TIMEOUT_S);
    tokio::time::timeout(timeout, connected)
        .await
        .map_err(|_| "the broker does not answer".to_owned())??;
    disconnect(&client, &mut event_loop).await;
    Ok(())
}
