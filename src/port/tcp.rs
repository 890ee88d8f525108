//! Connections to serial servers, readers and gpsd.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::HostPort;

/// A gateway's loopback answers in milliseconds; a serial server on the van's network in a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A device that lost its power is noticed after 60 s + 3 × 10 s. Without it, never.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// Connects; the name is resolved anew each time.
pub(crate) async fn connect(host: &HostPort) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((host.host.as_str(), host.port));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)
}

/// Connects to something that may rightly say nothing for hours: the kernel asks from time to time whether it is there.
pub(crate) async fn connect_for_long(host: &HostPort) -> io::Result<TcpStream> {
    let connection = connect(host).await?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_TRIES);
    socket2::SockRef::from(&connection).set_tcp_keepalive(&keepalive)?;
    Ok(connection)
}
