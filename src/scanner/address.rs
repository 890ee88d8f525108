//! Parses the address of a scanner, as written in the configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::transport::HostPort;

/// A source of scanner lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `serial:PATH[@BAUD]`: a raw tty with 8N1, preferably by its stable name in
    /// `/dev/serial/by-id`.
    Serial {
        /// Path of the tty.
        path: PathBuf,
        /// Baud rate; `None`: `USUAL_BAUD`. USB CDC-ACM ports ignore it.
        baud: Option<u32>,
    },
    /// `tcp:HOST:PORT`: a serial server, or a reader that accepts connections.
    Tcp(HostPort),
    /// `unix:PATH`: a listening stream socket.
    Unix(PathBuf),
    /// `fifo:PATH`: a named pipe, whose writers may change.
    Fifo(PathBuf),
    /// `evdev:PATH`: a scanner that acts as a keyboard, by its name in `/dev/input/by-id`. It is
    /// grabbed, so that no other program receives its keys.
    #[cfg(feature = "hid")]
    Evdev(PathBuf),
}

impl Address {
    /// Factory setting of most scanners.
    pub const DEFAULT_BAUD: u32 = 9600;

    /// Path of the device, which is missing while it is unplugged.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Serial { path, .. } | Self::Unix(path) | Self::Fifo(path) => Some(path),
            #[cfg(feature = "hid")]
            Self::Evdev(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

/// The text is not the address of a scanner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of serial:PATH[@BAUD], tcp:HOST:PORT, unix:PATH, fifo:PATH")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
        let address = match text.split_once(':') {
            Some(("serial", rest)) => {
                // The path may contain an @ itself, but then no number follows it.
                let baud = rest.rsplit_once('@').and_then(|(_, baud)| baud.parse().ok());
                let baud = baud.filter(|baud| *baud > 0);
                let name =
                    if baud.is_some() { rest.rsplit_once('@').map(|(name, _)| name) } else { None };
                path(name.unwrap_or(rest)).map(|path| Self::Serial { path, baud })
            }
            Some(("tcp", rest)) => HostPort::parse(rest, None).map(Self::Tcp),
            Some(("unix", rest)) => path(rest).map(Self::Unix),
            Some(("fifo", rest)) => path(rest).map(Self::Fifo),
            #[cfg(feature = "hid")]
            Some(("evdev", rest)) => path(rest).map(Self::Evdev),
            _ => None,
        };
        address.ok_or_else(|| InvalidAddress(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, baud: None } => write!(f, "serial:{}", path.display()),
            Self::Serial { path, baud: Some(baud) } => {
                write!(f, "serial:{}@{baud}", path.display())
            }
            Self::Tcp(host) => write!(f, "tcp:{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fifo(path) => write!(f, "fifo:{}", path.display()),
            #[cfg(feature = "hid")]
            Self::Evdev(path) => write!(f, "evdev:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "serial:/dev/serial/by-id/usb-Datalogic",
            "serial:/dev/ttyUSB1@115200",
            "serial:/dev/serial/by-id/scanner@dock",
            "tcp:[fe80::1]:4001",
            "unix:/run/reader.sock",
            "fifo:/run/codes",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let Ok(Address::Serial { path, baud }) = "serial:/dev/a@b@19200".parse() else { panic!() };
        assert_eq!((path, baud), (PathBuf::from("/dev/a@b"), Some(19_200)));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_choices() {
        for text in
            ["", "serial:", "serial:@9600", "tcp:host", "unix:", "fifo:", "gpsd:van", "/dev/ttyS0"]
        {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("unix:PATH"), "{error}");
        }
    }
}
