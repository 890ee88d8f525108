//! Serial ports.

use std::io;
use std::path::Path;

use tokio_serial::{
    ClearBuffer, DataBits, FlowControl, Parity, SerialPort as _, SerialStream, StopBits,
};

use super::port_owner::find_owner;

/// Opens the tty at `baud` with 8N1 and without flow control, so that the driver passes all bytes
/// unchanged.
///
/// Other processes that request exclusive access (`TIOCEXCL` and `flock`) are then rejected.
pub(crate) fn open(path: &Path, baud: u32) -> io::Result<SerialStream> {
    let port = tokio_serial::new(path.to_string_lossy(), baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .exclusive(true);
    let opened = SerialStream::open(&port).and_then(|port| {
        // Bytes in the queue were received at the previous baud rate.
        port.clear(ClearBuffer::Input)?;
        Ok(port)
    });
    opened.map_err(|error| {
        let error = io::Error::from(error);
        let remedy = match error.kind() {
            // The library also reports a port in use as "not found".
            _ if !path.exists() => {
                "not found: is it plugged in, and is the name correct?".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "permission denied: add the agent's user to the group `dialout`".to_owned()
            }
            _ => match find_owner(path) {
                Some(holder) => {
                    format!("in use by {holder}: stop that process or configure another port")
                }
                None => "cannot be opened: is it in use by another process?".to_owned(),
            },
        };
        io::Error::new(error.kind(), format!("{}: {remedy} ({error})", path.display()))
    })
}

/// Changes the baud rate and discards what was received at the old one.
pub(crate) fn set_baud_rate(port: &mut SerialStream, baud: u32) -> io::Result<()> {
    port.set_baud_rate(baud)?;
    Ok(port.clear(ClearBuffer::Input)?)
}

/// Whether the baud rate matters. It does not for USB CDC-ACM (`ttyACM`), which delivers every byte
/// at any setting.
pub(crate) fn has_baud_rate(path: &Path) -> bool {
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
            assert_eq!(
                (has_baud_rate(&device), has_baud_rate(&name)),
                (expected, expected),
                "{tty}"
            );
        }
    }
}
