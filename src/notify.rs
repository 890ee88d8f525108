//! Readiness and signs of life → systemd (`sd_notify(3)`). Without systemd there is no `NOTIFY_SOCKET`, and nothing is said.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, process};

/// Where systemd listens, if it does.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// After so much silence systemd ends the program.
    watchdog: Option<Duration>,
}

impl Notify {
    /// As systemd says it in the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |key: &str| env::var(key).ok().and_then(|value| value.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self::to(&name, watchdog.map(Duration::from_micros)).unwrap_or_else(|error| {
            tracing::warn!(%error, "systemd does not listen where it says");
            Self::default()
        })
    }

    /// To the socket of this name; one that begins with `@` is in the abstract namespace.
    pub(crate) fn to(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A supervisor that is busy must not stop us.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(Arc::new((socket, address))), watchdog })
    }

    /// Says words of the protocol.
    pub fn say(&self, words: &str) {
        if let Some((socket, address)) = self.socket.as_deref()
            && let Err(error) = socket.send_to_addr(words.as_bytes(), address)
        {
            tracing::debug!(%error, words, "systemd not told");
        }
    }

    /// From here on nothing that comes is lost.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=started");
    }

    /// The program begins anew with another configuration; [`Self::ready`] ends that.
    pub fn reloading(&self) {
        self.say("RELOADING=1\nSTATUS=reading the configuration anew");
    }

    /// The program was told to stop.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    /// Whether anybody listens.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// After how much silence systemd ends the program, if it does.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

#[cfg(test)]
pub(crate) mod heard {
    use super::*;

    /// systemd's end of the socket.
    pub(crate) fn listen(address: &SocketAddr) -> UnixDatagram {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Everything that was said since it was last asked.
    pub(crate) fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec()))
            .map(|words| String::from_utf8(words).unwrap())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::heard::{heard, listen};
    use super::*;

    #[test]
    fn systemd_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("waypost-test-{}", process::id());
        for (name, address) in [
            (path.to_str().unwrap().to_owned(), SocketAddr::from_pathname(&path).unwrap()),
            (format!("@{name}"), SocketAddr::from_abstract_name(&name).unwrap()),
        ] {
            let systemd = listen(&address);
            let notify = Notify::to(OsStr::new(&name), None).unwrap();
            notify.ready();
            notify.reloading();
            notify.stopping();
            assert_eq!(
                heard(&systemd),
                [
                    "READY=1\nSTATUS=started",
                    "RELOADING=1\nSTATUS=reading the configuration anew",
                    "STOPPING=1\nSTATUS=stopping"
                ],
                "{name}"
            );
        }
        Notify::default().ready();
    }
}
