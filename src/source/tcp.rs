//! NMEA over TCP: raw, or from gpsd.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::HostPort;

/// A gateway's loopback answers in milliseconds; a serial server on the van's network in a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks gpsd for sentences as the receivers wrote them (`?WATCH` of `gpsd_json(5)`). Its own JSON lines begin with `{` and
/// are no sentences, so the framing passes over them.
const WATCH: &[u8] = b"?WATCH={\"enable\":true,\"nmea\":true,\"raw\":0};\n";

/// Connects; the name is resolved anew each time.
pub(super) async fn connect(host: &HostPort) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((host.host.as_str(), host.port));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)
}

/// Connects to gpsd and asks it for NMEA.
pub(super) async fn watch_gpsd(host: &HostPort) -> io::Result<TcpStream> {
    let mut gpsd = connect(host).await?;
    gpsd.write_all(WATCH).await?;
    Ok(gpsd)
}
