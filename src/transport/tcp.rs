//! TCP connections to serial servers, RFID readers and gpsd.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{HostPort, address_race};

/// Loopback connections take milliseconds, a serial server in the van up to a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Keep-alive settings: a device that lost its power is detected after 60 s + 3 × 10 s. Without
/// keep-alive it would not be detected.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// Connects to the host, at the address that answers first. Its name is resolved each time.
pub(crate) async fn connect(host: &HostPort) -> io::Result<TcpStream> {
    let connecting = async {
        let addresses = address_race::lookup(&host.host, host.port).await?;
        address_race::connect(&addresses, address_race::ATTEMPT_DELAY).await
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)
}

/// Connects to a device that may be silent for hours, with TCP keep-alive.
pub(crate) async fn connect_keepalive(host: &HostPort) -> io::Result<TcpStream> {
    let connection = connect(host).await?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_TRIES);
    socket2::SockRef::from(&connection).set_tcp_keepalive(&keepalive)?;
    Ok(connection)
}
