//! gpsd: NMEA as the receivers wrote it.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::port::{HostPort, tcp};

/// Asks gpsd for sentences as the receivers wrote them (`?WATCH` of `gpsd_json(5)`). Its own JSON lines begin with `{` and
/// are no sentences, so the framing passes over them.
const WATCH: &[u8] = b"?WATCH={\"enable\":true,\"nmea\":true,\"raw\":0};\n";

/// Connects to gpsd and asks it for NMEA.
pub(super) async fn watch(host: &HostPort) -> io::Result<TcpStream> {
    let mut gpsd = tcp::connect(host).await?;
    gpsd.write_all(WATCH).await?;
    Ok(gpsd)
}
