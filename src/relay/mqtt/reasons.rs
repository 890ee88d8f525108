//! rumqttc's errors and reason codes → ours: why a link ended, and what must change before another attempt makes sense.

#[cfg(any(feature = "websocket", feature = "proxy"))]
use std::error::Error;
use std::io;

use rumqttc as v4;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use rustls::CertificateError;

use super::super::{Closed, Distrust, ReasonCode, Stage};
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

/// MQTT 5 §3.2.2.2; what 3.1.1 brokers answer counts as the code that means the same.
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

pub(super) fn closed(error: &ConnectionError) -> Closed {
    let text = error.to_string();
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => {
            Closed::Refused { reason: connack_reason(*code), text }
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            Closed::Dismissed { reason: ReasonCode(*reason_code as u8), text }
        }
        ConnectionError::MqttState(
            StateError::IncomingPacketTooLarge { .. }
            | StateError::Deserialization(PacketError::PayloadSizeLimitExceeded { .. }),
        ) => Closed::Oversized { text },
        ConnectionError::Io(error) => io_closed(error, text),
        ConnectionError::Tls(error) => tls_closed(error, text),
        ConnectionError::Timeout(_) => no_connection(),
        #[cfg(feature = "websocket")]
        ConnectionError::Websocket(error) => on_the_way(error, text),
        #[cfg(feature = "websocket")]
        ConnectionError::ResponseValidation(error) => {
            Closed::Broken { text: format!("{text}{error}") }
        }
        #[cfg(feature = "proxy")]
        ConnectionError::Proxy(error) => at_the_proxy(error),
        _ => broken(text),
    }
}

/// With TLS 1.3 the broker judges our certificate after the handshake, and rustls' alert comes as an IO error.
fn broken(text: String) -> Closed {
    if text.contains("received fatal alert") {
        Closed::Untrusted { distrust: Distrust::Refused, text }
    } else {
        Closed::Broken { text }
    }
}

/// Looked up, connected, or broken later: only the error tells.
fn io_closed(error: &io::Error, text: String) -> Closed {
    let stage = if is_lookup(error) { Stage::Dns } else { Stage::Tcp };
    match error.kind() {
        _ if is_offline(error) => Closed::Offline { stage, text },
        _ if stage == Stage::Dns => Closed::Unreached { stage, text },
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => Closed::Unreached { stage, text },
        _ => broken(text),
    }
}

/// getaddrinfo's errors have no kind and no number of their own; these words are the standard library's.
fn is_lookup(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
        && error.to_string().starts_with("failed to lookup address information")
}

/// The same for MQTT 3.1.1 (§3.2.2.3): its return codes count as the codes of 5 that mean the same.
pub(super) fn closed_v4(error: &v4::ConnectionError) -> Closed {
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
            Closed::Refused { reason, text }
        }
        Error::MqttState(State::Deserialization(v4::Error::PayloadSizeLimitExceeded(_))) => {
            Closed::Oversized { text }
        }
        Error::Io(error) => io_closed(error, text),
        Error::Tls(error) => tls_closed(error, text),
        Error::NetworkTimeout => no_connection(),
        #[cfg(feature = "websocket")]
        Error::Websocket(error) => on_the_way(error, text),
        #[cfg(feature = "websocket")]
        Error::ResponseValidation(error) => Closed::Broken { text: format!("{text}{error}") },
        #[cfg(feature = "proxy")]
        Error::Proxy(error) => at_the_proxy(error),
        _ => broken(text),
    }
}

fn no_connection() -> Closed {
    Closed::Broken { text: format!("no connection within {CONNECT_TIMEOUT_S} s") }
}

/// A WebSocket is made after TLS and before MQTT, and its errors are of all three.
#[cfg(feature = "websocket")]
fn on_the_way(error: &(dyn Error + 'static), text: String) -> Closed {
    match cause::<io::Error>(error) {
        Some(error) if tls_error(error).is_some() => handshake_closed(error, text),
        Some(error) => io_closed(error, text),
        None => broken(text),
    }
}

/// The proxy was not reached, or does not make the way.
#[cfg(feature = "proxy")]
fn at_the_proxy(error: &(dyn Error + 'static)) -> Closed {
    if let Some(error) = cause::<io::Error>(error) {
        return io_closed(error, format!("the proxy: {error}"));
    }
    // A proxy may say anything; only the number of its answer is repeated.
    let said = error.source().map(ToString::to_string).unwrap_or_default();
    let status =
        said.strip_prefix("The HTTP code is not equal 200: ").and_then(|code| code.parse().ok());
    let text = match status {
        None::<u16> => "the proxy does not answer as one that knows HTTP CONNECT".to_owned(),
        Some(407) => "the proxy wants a user name and password, or others (407)".to_owned(),
        Some(status) => format!("the proxy does not make the way to the broker ({status})"),
    };
    Closed::Unreached { stage: Stage::Tcp, text }
}

/// What is behind an error of the client.
#[cfg(any(feature = "websocket", feature = "proxy"))]
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error.source()?.downcast_ref()
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls_closed(error: &rumqttc::TlsError, text: String) -> Closed {
    match error {
        rumqttc::TlsError::Io(error) => handshake_closed(error, text),
        _ => Closed::Untrusted { distrust: Distrust::Other, text },
    }
}

/// Certificates change when a person changes them; everything else may pass.
fn handshake_closed(error: &io::Error, text: String) -> Closed {
    match tls_error(error) {
        // It is our own clock that is behind; the receiver's time comes within minutes of a cold start.
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Closed::Unreached {
            stage: Stage::Tls(Distrust::NotYetValid),
            text: "TLS: the broker's certificate is not valid yet by our clock".to_owned(),
        },
        Some(tls) => Closed::Untrusted { distrust: distrust(tls), text: format!("TLS: {tls}") },
        None => {
            let stage = Stage::Tls(Distrust::Other);
            if is_offline(error) {
                Closed::Offline { stage, text }
            } else {
                Closed::Unreached { stage, text }
            }
        }
    }
}

fn distrust(error: &rustls::Error) -> Distrust {
    use CertificateError as Of;
    match error {
        rustls::Error::InvalidCertificate(Of::Expired | Of::ExpiredContext { .. }) => {
            Distrust::Expired
        }
        rustls::Error::InvalidCertificate(
            Of::NotValidForName | Of::NotValidForNameContext { .. },
        ) => Distrust::WrongName,
        // Made anew under the same name, an authority has another key: its signature does not fit.
        rustls::Error::InvalidCertificate(Of::UnknownIssuer | Of::BadSignature) => {
            Distrust::UnknownAuthority
        }
        rustls::Error::AlertReceived(_) => Distrust::Refused,
        _ => Distrust::Other,
    }
}

/// No route, or no name server (getaddrinfo's `EAI_AGAIN`, which has no kind of its own): nothing reached the broker.
fn is_offline(error: &io::Error) -> bool {
    // Not HostUnreachable: that is what a router near the broker may answer.
    let no_route = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::NetworkDown];
    no_route.contains(&error.kind())
        || error.to_string().contains("Temporary failure in name resolution")
}
