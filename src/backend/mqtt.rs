//! [`MqttConfig`] → options of a connection to the broker. Certificates are read anew for each.

use std::sync::Arc;

use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use std::time::Duration;

use super::config::{MqttConfig, MqttTls};
use crate::pem::{self, PemError};

/// Larger packets the broker keeps to itself (MQTT 5 §3.1.2.11.4). A van's are a quarter of that; what is larger than those is
/// still seen, and set aside with its reason.
const MAX_PACKET_BYTES: u32 = 1_200_000;

/// How long a broker may take to answer CONNECT.
const CONNECT_TIMEOUT_S: u64 = 10;

/// What becomes of messages while a connection is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// They wait at the broker for a day; so many may be on their way unacknowledged.
    Kept {
        /// Receive Maximum (MQTT 5 §3.1.2.11.3).
        receive_max: u16,
    },
    /// Nobody sends any.
    Fresh,
}

/// Options of a connection under `client_id`.
///
/// # Errors
/// [`PemError`].
pub(super) fn options(
    config: &MqttConfig,
    client_id: &str,
    session: Session,
) -> Result<MqttOptions, PemError> {
    const DAY_S: u32 = 24 * 3600;
    let mut options = MqttOptions::new(client_id, &config.host, config.port);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET_BYTES);
    if let Session::Kept { receive_max } = session {
        properties.session_expiry_interval = Some(DAY_S);
        properties.receive_maximum = Some(receive_max);
    }
    options
        .set_connect_properties(properties)
        .set_clean_start(session == Session::Fresh)
        .set_keep_alive(Duration::from_secs(30))
        .set_connection_timeout(CONNECT_TIMEOUT_S);
    if let Some(username) = &config.username {
        options.set_credentials(username, config.password.clone().unwrap_or_default());
    }
    if let Some(tls) = &config.tls {
        let tls = TlsConfiguration::Rustls(client_config(tls)?);
        options.set_transport(Transport::Tls(tls));
    }
    Ok(options)
}

fn client_config(tls: &MqttTls) -> Result<Arc<ClientConfig>, PemError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| PemError::new(&tls.ca, &error))?
        .with_root_certificates(pem::authorities(&tls.ca)?);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(pem::certificates(certificate)?, pem::private_key(key)?)
            .map_err(|error| PemError::new(certificate, &error))?,
    };
    Ok(Arc::new(config))
}

/// Why a connection ended, in words without anything secret.
pub(super) fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses: {code:?}"),
        other => other.to_string(),
    }
}

/// Sends what was handed over, and says goodbye.
pub(super) async fn leave(client: &AsyncClient, event_loop: &mut EventLoop) {
    client.try_disconnect().ok();
    let goodbye = async {
        while let Ok(event) = event_loop.poll().await {
            if event == Event::Outgoing(rumqttc::Outgoing::Disconnect) {
                return Ok(());
            }
        }
        Err::<(), ConnectionError>(ConnectionError::RequestsDone)
    };
    // A broker that does not take it keeps what is not acknowledged.
    tokio::time::timeout(Duration::from_secs(1), goodbye).await.ok();
}
