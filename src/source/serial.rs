//! The receiver's tty: raw, exclusive, and read-only in spirit: nothing is ever written to the receiver.

use std::io;
use std::path::Path;

use tokio_serial::{DataBits, FlowControl, Parity, SerialStream, StopBits};

/// Opens the tty at `baud` with 8N1 and without flow control, so that no byte has a meaning for the driver.
///
/// Another process that asks for the port as we do (`TIOCEXCL` and `flock`) is refused from then on.
pub(super) fn open(path: &Path, baud: u32) -> io::Result<SerialStream> {
    let port = tokio_serial::new(path.to_string_lossy(), baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .exclusive(true);
    SerialStream::open(&port).map_err(|error| {
        let error = io::Error::from(error);
        let remedy = match error.kind() {
            // A port that somebody else has is "not found" too, by the library.
            _ if !path.exists() => "not there: is the receiver plugged in, and is the name right?",
            io::ErrorKind::PermissionDenied => {
                "not allowed: add the agent's user to the group `dialout`"
            }
            _ => "cannot be opened: does another process have it?",
        };
        io::Error::new(error.kind(), format!("{}: {remedy} ({error})", path.display()))
    })
}
