//! Parses the address of a GNSS source, as written in the configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::transport::HostPort;

/// Registered port of gpsd.
const GPSD_PORT: u16 = 2947;

/// A source of NMEA 0183.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `serial:/dev/ttyUSB0`: a tty, preferably by its stable name in `/dev/serial/by-id`.
    Serial(PathBuf),
    /// `tcp:host:port`: raw NMEA, as sent by serial servers and phones.
    Tcp(HostPort),
    /// `gpsd:host[:port]`: raw NMEA of all devices of a gpsd.
    Gpsd(HostPort),
    /// `log:FILE`: a recording, timed by its own UTC.
    Log(PathBuf),
    /// `stdin:`: raw NMEA on standard input.
    Stdin,
}

impl Address {
    /// Whether the source waits while it is not read, as files and pipes do.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        matches!(self, Self::Log(_) | Self::Stdin)
    }

    /// Whether the source is a network connection, which can be half open.
    pub(super) const fn is_network(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Gpsd(_))
    }
}

/// The text is not the address of a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of serial:PATH, tcp:HOST:PORT, gpsd:HOST[:PORT], log:FILE, stdin:")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
        let address = match text.split_once(':') {
            Some(("serial", rest)) => path(rest).map(Self::Serial),
            Some(("tcp", rest)) => HostPort::parse(rest, None).map(Self::Tcp),
            Some(("gpsd", rest)) => HostPort::parse(rest, Some(GPSD_PORT)).map(Self::Gpsd),
            Some(("log", rest)) => path(rest).map(Self::Log),
            Some(("stdin", "")) => Some(Self::Stdin),
            _ => None,
        };
        address.ok_or_else(|| InvalidAddress(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "serial:{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp:{host}"),
            Self::Gpsd(host) => write!(f, "gpsd:{host}"),
            Self::Log(path) => write!(f, "log:{}", path.display()),
            Self::Stdin => f.write_str("stdin:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "serial:/dev/serial/by-id/usb-u-blox",
            "tcp:localhost:10110",
            "tcp:[fe80::1]:4001",
            "gpsd:127.0.0.1:2947",
            "log:drive.nmea",
            "stdin:",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("gpsd:van".parse::<Address>().unwrap().to_string(), "gpsd:van:2947");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_choices() {
        for text in [
            "",
            "serial:",
            "tcp:host",
            "tcp:host:0",
            "tcp:host:70000",
            "tcp::1",
            "usb:0",
            "stdin:x",
            "/dev/ttyS0",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("gpsd:HOST[:PORT]"), "{error}");
        }
    }
}
