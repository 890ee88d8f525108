//! Connection to gpsd, for NMEA as the receivers sent it.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::transport::{HostPort, tcp};

/// Request for raw sentences (`?WATCH` of `gpsd_json(5)`). gpsd's JSON lines begin with `{`, and
/// the framing skips them because they are not sentences.
const WATCH: &[u8] = b"?WATCH={\"enable\":true,\"nmea\":true,\"raw\":0};\n";

/// Connects to gpsd and requests NMEA.
pub(super) async fn watch(host: &HostPort) -> io::Result<TcpStream> {
    let mut gpsd = tcp::connect(host).await?;
    gpsd.write_all(WATCH).await?;
    Ok(gpsd)
}
