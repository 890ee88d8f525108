//! Maps rumqttc's errors and reason codes to the reason why a connection ended, and to what must
//! change before a retry.

#[cfg(any(feature = "websocket", feature = "proxy"))]
use std::error::Error;
use std::io;

use rumqttc as v4;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use rustls::CertificateError;

use super::super::{CloseReason, ConnectStage, ReasonCode, TlsFailure};
use super::CONNECT_TIMEOUT_S;

/// MQTT 5 §3.4.2.1.
pub(super) const fn puback_reason(reason: PubAckReason) -> ReasonCode {
    ReasonCode(match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    })
}

/// MQTT 5 §3.9.3.
pub(super) const fn suback_reason(reason: SubscribeReasonCode) -> ReasonCode {
    ReasonCode(match reason {
        SubscribeReasonCode::Success(qos) => qos as u8,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => 0x80,
        SubscribeReasonCode::ImplementationSpecific => 0x83,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        SubscribeReasonCode::PkidInUse => 0x91,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9E,
        SubscribeReasonCode::SubscriptionIdNotSupported => 0xA1,
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => 0xA2,
    })
}

/// MQTT 5 §3.2.2.2. Codes of 3.1.1 brokers map to the equivalent code.
const fn connack_reason(code: ConnectReturnCode) -> ReasonCode {
    ReasonCode(match code {
        ConnectReturnCode::Success => 0x00,
        ConnectReturnCode::UnspecifiedError => 0x80,
        ConnectReturnCode::MalformedPacket => 0x81,
        ConnectReturnCode::ProtocolError => 0x82,
        ConnectReturnCode::ImplementationSpecificError => 0x83,
        ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::UnsupportedProtocolVersion => 0x84,
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => 0x85,
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::ServerUnavailable => 0x88,
        ConnectReturnCode::ServerBusy => 0x89,
        ConnectReturnCode::Banned => 0x8A,
        ConnectReturnCode::BadAuthenticationMethod => 0x8C,
        ConnectReturnCode::TopicNameInvalid => 0x90,
        ConnectReturnCode::PacketTooLarge => 0x95,
        ConnectReturnCode::QuotaExceeded => 0x97,
        ConnectReturnCode::PayloadFormatInvalid => 0x99,
        ConnectReturnCode::RetainNotSupported => 0x9A,
        ConnectReturnCode::QoSNotSupported => 0x9B,
        ConnectReturnCode::UseAnotherServer => 0x9C,
        ConnectReturnCode::ServerMoved => 0x9D,
        ConnectReturnCode::ConnectionRateExceeded => 0x9F,
    })
}

pub(super) fn close_reason(error: &ConnectionError) -> CloseReason {
    let text = error.to_string();
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => {
            CloseReason::Refused { reason: connack_reason(*code), text }
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            CloseReason::Disconnected { reason: ReasonCode(*reason_code as u8), text }
        }
        ConnectionError::MqttState(
            StateError::IncomingPacketTooLarge { .. }
            | StateError::Deserialization(PacketError::PayloadSizeLimitExceeded { .. }),
        ) => CloseReason::Oversized { text },
        ConnectionError::Io(error) => from_io_error(error, text),
        ConnectionError::Tls(error) => from_tls_error(error, text),
        ConnectionError::Timeout(_) => connect_timeout(),
        #[cfg(feature = "websocket")]
        ConnectionError::Websocket(error) => from_websocket_error(error, text),
        #[cfg(feature = "websocket")]
        ConnectionError::ResponseValidation(error) => {
            CloseReason::Broken { text: format!("{text}{error}") }
        }
        #[cfg(feature = "proxy")]
        ConnectionError::Proxy(error) => from_proxy_error(error),
        _ => from_other_error(text),
    }
}

/// With TLS 1.3, the broker validates the client certificate after the handshake, and rustls
/// reports its alert as an I/O error.
fn from_other_error(text: String) -> CloseReason {
    if text.contains("received fatal alert") {
        CloseReason::Untrusted { failure: TlsFailure::Refused, text }
    } else {
        CloseReason::Broken { text }
    }
}

/// Derives the failed stage from the error.
fn from_io_error(error: &io::Error, text: String) -> CloseReason {
    let stage = if is_dns_error(error) { ConnectStage::Dns } else { ConnectStage::Tcp };
    match error.kind() {
        _ if is_offline(error) => CloseReason::Offline { stage, text },
        _ if stage == ConnectStage::Dns => CloseReason::Unreachable { stage, text },
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => CloseReason::Unreachable { stage, text },
        _ => from_other_error(text),
    }
}

/// Errors of getaddrinfo have no kind and no OS error number. The text is that of the standard
/// library.
fn is_dns_error(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
        && error.to_string().starts_with("failed to lookup address information")
}

/// Maps errors of MQTT 3.1.1 (§3.2.2.3). Return codes map to the equivalent codes of MQTT 5.
pub(super) fn close_reason_v4(error: &v4::ConnectionError) -> CloseReason {
    use v4::{ConnectReturnCode as Code, ConnectionError as Error, StateError as State};
    let text = error.to_string();
    match error {
        Error::ConnectionRefused(code) => {
            let reason = ReasonCode(match code {
                Code::Success => 0x00,
                Code::RefusedProtocolVersion => 0x84,
                Code::BadClientId => 0x85,
                Code::BadUserNamePassword => 0x86,
                Code::NotAuthorized => 0x87,
                Code::ServiceUnavailable => 0x88,
            });
            CloseReason::Refused { reason, text }
        }
        Error::MqttState(State::Deserialization(v4::Error::PayloadSizeLimitExceeded(_))) => {
            CloseReason::Oversized { text }
        }
        Error::Io(error) => from_io_error(error, text),
        Error::Tls(error) => from_tls_error(error, text),
        Error::NetworkTimeout => connect_timeout(),
        #[cfg(feature = "websocket")]
        Error::Websocket(error) => from_websocket_error(error, text),
        #[cfg(feature = "websocket")]
        Error::ResponseValidation(error) => CloseReason::Broken { text: format!("{text}{error}") },
        #[cfg(feature = "proxy")]
        Error::Proxy(error) => from_proxy_error(error),
        _ => from_other_error(text),
    }
}

fn connect_timeout() -> CloseReason {
    CloseReason::Broken { text: format!("no connection within {CONNECT_TIMEOUT_S} s") }
}

/// A WebSocket is established between TLS and MQTT, so its errors are of all three.
#[cfg(feature = "websocket")]
fn from_websocket_error(error: &(dyn Error + 'static), text: String) -> CloseReason {
    match cause::<io::Error>(error) {
        Some(error) if tls_error(error).is_some() => from_handshake_error(error, text),
        Some(error) => from_io_error(error, text),
        None => from_other_error(text),
    }
}

/// The proxy was not reached, or did not establish a tunnel.
#[cfg(feature = "proxy")]
fn from_proxy_error(error: &(dyn Error + 'static)) -> CloseReason {
    if let Some(error) = cause::<io::Error>(error) {
        return from_io_error(error, format!("proxy: {error}"));
    }
    // The response of a proxy is untrusted, so only its status code is reported.
    let said = error.source().map(ToString::to_string).unwrap_or_default();
    let status =
        said.strip_prefix("The HTTP code is not equal 200: ").and_then(|code| code.parse().ok());
    let text = match status {
        None::<u16> => "the proxy did not respond to HTTP CONNECT with a valid response".to_owned(),
        Some(407) => "the proxy requires a user name and password, or other ones (407)".to_owned(),
        Some(status) => format!("the proxy refused the tunnel to the broker ({status})"),
    };
    CloseReason::Unreachable { stage: ConnectStage::Tcp, text }
}

/// Returns the source of a client error.
#[cfg(any(feature = "websocket", feature = "proxy"))]
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error.source()?.downcast_ref()
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn from_tls_error(error: &rumqttc::TlsError, text: String) -> CloseReason {
    match error {
        rumqttc::TlsError::Io(error) => from_handshake_error(error, text),
        _ => CloseReason::Untrusted { failure: TlsFailure::Other, text },
    }
}

/// Maps an error of the TLS handshake. Only an operator can replace certificates; other errors may
/// be temporary.
fn from_handshake_error(error: &io::Error, text: String) -> CloseReason {
    match tls_error(error) {
        // The agent's clock is behind. The receiver provides the time within minutes of a cold
        // start.
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => CloseReason::Unreachable {
            stage: ConnectStage::Tls(TlsFailure::NotYetValid),
            text: "TLS: the broker's certificate is not valid yet according to the agent's clock"
                .to_owned(),
        },
        Some(tls) => {
            CloseReason::Untrusted { failure: tls_failure(tls), text: format!("TLS: {tls}") }
        }
        None => {
            let stage = ConnectStage::Tls(TlsFailure::Other);
            if is_offline(error) {
                CloseReason::Offline { stage, text }
            } else {
                CloseReason::Unreachable { stage, text }
            }
        }
    }
}

fn tls_failure(error: &rustls::Error) -> TlsFailure {
    use CertificateError as Of;
    match error {
        rustls::Error::InvalidCertificate(Of::Expired | Of::ExpiredContext { .. }) => {
            TlsFailure::Expired
        }
        rustls::Error::InvalidCertificate(
            Of::NotValidForName | Of::NotValidForNameContext { .. },
        ) => TlsFailure::WrongName,
        // An authority that was recreated under the same name has another key, so its signature
        // does not match.
        rustls::Error::InvalidCertificate(Of::UnknownIssuer | Of::BadSignature) => {
            TlsFailure::UnknownAuthority
        }
        rustls::Error::AlertReceived(_) => TlsFailure::Refused,
        _ => TlsFailure::Other,
    }
}

/// No route, or no name server: no packet reached the broker. getaddrinfo's `EAI_AGAIN` has no
/// error kind of its own.
fn is_offline(error: &io::Error) -> bool {
    // HostUnreachable is not included, because a router near the broker may send it.
    let no_route = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::NetworkDown];
    no_route.contains(&error.kind())
        || error.to_string().contains("Temporary failure in name resolution")
}
