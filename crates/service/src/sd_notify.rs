//! Service notifications for systemd (`sd_notify(3)`): readiness, status and watchdog. Without
//! `NOTIFY_SOCKET` nothing is sent.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, process};

/// Connection to systemd's notification socket, if there is one.
#[derive(Clone, Debug, Default)]
pub struct ServiceNotifier {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// Watchdog timeout: systemd ends the program if it receives no notification for this time.
    watchdog: Option<Duration>,
}

impl ServiceNotifier {
    /// Connects as the environment variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`
    /// specify.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |key: &str| env::var(key).ok().and_then(|value| value.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self::connect(&name, watchdog.map(Duration::from_micros)).unwrap_or_else(|error| {
            tracing::warn!(%error, "notification socket unavailable");
            Self::default()
        })
    }

    /// Connects to the socket `name`. A leading `@` selects the abstract namespace.
    pub fn connect(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A busy service manager must not block the program.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(Arc::new((socket, address))), watchdog })
    }

    /// Sends a message of the `sd_notify` protocol.
    pub fn send(&self, words: &str) {
        if let Some((socket, address)) = self.socket.as_deref()
            && let Err(error) = socket.send_to_addr(words.as_bytes(), address)
        {
            tracing::debug!(%error, words, "systemd notification failed");
        }
    }

    /// Reports that the service is ready.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=started");
    }

    /// Reports that the configuration is being reloaded. [`Self::ready`] ends the reload.
    pub fn reloading(&self) {
        self.send("RELOADING=1\nSTATUS=reloading the configuration");
    }

    /// Reports that the service is stopping.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Whether there is a notification socket.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The watchdog timeout, if systemd supervises this process.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

/// The receiving end of a notification socket, for tests.
#[cfg(any(test, feature = "test-support"))]
#[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test that panics has failed")]
pub mod testing {
    use super::{SocketAddr, UnixDatagram};

    /// Binds the receiving end of a notification socket.
    #[must_use]
    pub fn listen(address: &SocketAddr) -> UnixDatagram {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Returns all messages that arrived since the last call.
    #[must_use]
    pub fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec()))
            .map(|words| String::from_utf8(words).unwrap())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{listen, received};
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
            let notify = ServiceNotifier::connect(OsStr::new(&name), None).unwrap();
            notify.ready();
            notify.reloading();
            notify.stopping();
            assert_eq!(
                received(&systemd),
                [
                    "READY=1\nSTATUS=started",
                    "RELOADING=1\nSTATUS=reloading the configuration",
                    "STOPPING=1\nSTATUS=stopping"
                ],
                "{name}"
            );
        }
        ServiceNotifier::default().ready();
    }
}
