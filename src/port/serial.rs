//! A tty: raw and exclusive.

use std::io;
use std::path::Path;

use tokio_serial::{
    ClearBuffer, DataBits, FlowControl, Parity, SerialPort as _, SerialStream, StopBits,
};

use super::holder::holder;

/// Opens the tty at `baud` with 8N1 and without flow control, so that no byte has a meaning for the driver.
///
/// Another process that asks for the port as we do (`TIOCEXCL` and `flock`) is refused from then on.
pub(crate) fn open(path: &Path, baud: u32) -> io::Result<SerialStream> {
    let port = tokio_serial::new(path.to_string_lossy(), baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .exclusive(true);
    let opened = SerialStream::open(&port).and_then(|port| {
        // What waits there was received at the speed that the port had before.
        port.clear(ClearBuffer::Input)?;
        Ok(port)
    });
    opened.map_err(|error| {
        let error = io::Error::from(error);
        let remedy = match error.kind() {
            // A port that somebody else has is "not found" too, by the library.
            _ if !path.exists() => "not there: is it plugged in, and is the name right?".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "not allowed: add the agent's user to the group `dialout`".to_owned()
            }
            _ => match holder(path) {
                Some(holder) => format!("{holder} has it: stop that, or give it another port"),
                None => "cannot be opened: does another process have it?".to_owned(),
            },
        };
        io::Error::new(error.kind(), format!("{}: {remedy} ({error})", path.display()))
    })
}

/// Goes on at another speed. What was received at the old one is thrown away.
pub(crate) fn set_speed(port: &mut SerialStream, baud: u32) -> io::Result<()> {
    port.set_baud_rate(baud)?;
    Ok(port.clear(ClearBuffer::Input)?)
}

/// Whether the line has a speed. USB CDC-ACM, which Linux calls `ttyACM`, has none: whatever is set, every byte arrives.
pub(crate) fn has_speed(path: &Path) -> bool {
    let tty = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    !tty.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ttyACM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usb_receiver_without_a_uart_has_no_speed_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        for (tty, expected) in [("ttyACM0", false), ("ttyUSB0", true), ("ttyAMA0", true)] {
            let (device, name) = (folder.path().join(tty), folder.path().join("usb-receiver"));
            std::fs::write(&device, "").unwrap();
            std::fs::remove_file(&name).ok();
            std::os::unix::fs::symlink(&device, &name).unwrap();
            assert_eq!((has_speed(&device), has_speed(&name)), (expected, expected), "{tty}");
        }
    }
}
