//! Server of the control socket: handles the requests of clients.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::status::Status;
use super::{AgentCommand, AgentRequest, MAX_LINE, Reply, Request, Response};
use waypost_service::logging;

/// Access for owner and group only.
const SOCKET_MODE: u32 = 0o660;

/// Maximum concurrent connections; further ones get an error and are closed.
const MAX_CLIENTS: usize = 16;

/// Idle timeout of a connection, and time limit to receive a line.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit to send a line to a client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for the engine's reply, which a slow card may delay by seconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of the status messages of a watch.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum length of a code, as for scanners.
const MAX_CODE_BYTES: usize = 4096;

/// Delay after a failed `accept`, as when the process has no file descriptor left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Reason why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another agent listens on the socket.
    #[error(
        "{path}: in use by another agent{holder}: stop it, or set another control.path",
        path = path.display()
    )]
    InUse {
        path: PathBuf,
        /// The process that listens, if the kernel reports it.
        holder: String,
    },
    /// The socket cannot be created. The agent can run without it.
    #[error("{path}: {source}", path = path.display())]
    Unavailable { path: PathBuf, source: io::Error },
}

/// Listening socket. Its file is removed when the server is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, to detect that another agent has replaced the file.
    file: (u64, u64),
}

/// Access of the clients to the agent.
pub struct AgentHandle {
    /// Returns the current status.
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// Channel for requests to the engine.
    pub requests: mpsc::Sender<AgentRequest>,
}

impl std::fmt::Debug for AgentHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentHandle").finish_non_exhaustive()
    }
}

impl Server {
    /// Listens at `path`. Replaces a socket left by an agent that no longer runs.
    ///
    /// # Errors
    /// Another agent listens there, or the socket cannot be created.
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let unavailable = |source| ControlError::Unavailable { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => ensure_not_running(path).await?,
            Ok(_) => {
                let kind = io::ErrorKind::AlreadyExists;
                return Err(unavailable(io::Error::new(
                    kind,
                    "exists and is not a socket: move it away",
                )));
            }
            Err(_) => {}
        }
        // The socket is renamed into place once its mode is set, so that no client connects before.
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let listen = || {
            fs::remove_file(&new).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(SOCKET_MODE))?;
            fs::rename(&new, path)?;
            let found = fs::symlink_metadata(path)?;
            Ok((listener, (found.dev(), found.ino())))
        };
        let (listener, file) = listen().map_err(|error| {
            fs::remove_file(&new).ok();
            unavailable(error)
        })?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    /// Serves clients until `stop`.
    pub async fn run(self, desk: AgentHandle, stop: CancellationToken) {
        let desk = Arc::new(desk);
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = clients.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if clients.len() < MAX_CLIENTS => {
                        clients.spawn(Client::new(stream, desk.clone()).serve());
                    }
                    Ok((stream, _)) => {
                        let answer = Response::error("too many connections: try again");
                        stream.try_write(answer.to_line().as_bytes()).ok();
                    }
                    Err(error) => {
                        tracing::debug!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                },
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            fs::remove_file(&self.path).ok();
        }
    }
}

async fn ensure_not_running(path: &Path) -> Result<(), ControlError> {
    match UnixStream::connect(path).await {
        Ok(stream) => {
            let holder = stream.peer_cred().ok().and_then(|process| process.pid());
            let holder = holder.map(|id| format!(" (process {id})")).unwrap_or_default();
            Err(ControlError::InUse { path: path.to_owned(), holder })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(ControlError::Unavailable { path: path.to_owned(), source }),
    }
}

struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    agent: Arc<AgentHandle>,
}

/// The connection is closed.
struct ConnectionClosed;

impl Client {
    fn new(stream: UnixStream, agent: Arc<AgentHandle>) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::with_capacity(1024, reader), writer, agent }
    }

    async fn serve(mut self) {
        while let Ok(Ok(line)) = timeout(IDLE_TIMEOUT, self.read_line()).await {
            if self.respond(&line).await.is_err() {
                break;
            }
        }
    }

    /// Reads the next line. An overlong line is truncated and then rejected.
    async fn read_line(&mut self) -> Result<Vec<u8>, ConnectionClosed> {
        let mut line = Vec::new();
        let most = u64::try_from(MAX_LINE).expect("64 KiB");
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut line).await;
        if read.is_ok_and(|count| count > 0) { Ok(line) } else { Err(ConnectionClosed) }
    }

    async fn respond(&mut self, line: &[u8]) -> Result<(), ConnectionClosed> {
        if line.len() == MAX_LINE && !line.ends_with(b"\n") {
            return self.reject("line longer than 64 KiB").await;
        }
        match serde_json::from_slice(line) {
            Ok(Request::Watch(_)) => self.watch().await,
            Ok(probe) => {
                let answer = self.agent.respond(probe).await;
                self.send(&answer).await
            }
            Err(error) => self.reject(&format!("invalid request: {error}")).await,
        }
    }

    /// Sends an error and closes the connection, since further input of this client is unlikely to
    /// be valid.
    async fn reject(&mut self, why: &str) -> Result<(), ConnectionClosed> {
        self.send(&Response::error(why)).await?;
        Err(ConnectionClosed)
    }

    /// Sends the status every second until the client disconnects or sends anything.
    async fn watch(&mut self) -> Result<(), ConnectionClosed> {
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.reader.fill_buf() => return Err(ConnectionClosed),
                _ = ticks.tick() => {
                    let status = Response::Status(Box::new((self.agent.status)()));
                    self.send(&status).await?;
                }
            }
        }
    }

    async fn send(&mut self, answer: &Response) -> Result<(), ConnectionClosed> {
        let line = answer.to_line();
        let written = timeout(WRITE_TIMEOUT, self.writer.write_all(line.as_bytes())).await;
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(ConnectionClosed) }
    }
}

impl AgentHandle {
    async fn respond(&self, probe: Request) -> Response {
        match probe {
            Request::Status(_) | Request::Watch(_) => Response::Status(Box::new((self.status)())),
            Request::Scan(scan) => match scan.code.len() {
                1..=MAX_CODE_BYTES => self.request(AgentCommand::Scan { code: scan.code }).await,
                _ => Response::Refused(format!("a code has 1 to {MAX_CODE_BYTES} bytes")),
            },
            Request::Outcome(outcome) => self.request(AgentCommand::Outcome(outcome)).await,
            Request::Duty(duty) => self.request(AgentCommand::Duty(duty)).await,
            Request::Delay(delay) => {
                let code = Some(delay.code).filter(|code| !code.is_empty());
                self.request(AgentCommand::Delay { code }).await
            }
            Request::Log(log) => set_level(&log.level),
        }
    }

    async fn request(&self, asked: AgentCommand) -> Response {
        let (reply, replied) = oneshot::channel();
        let asking = async {
            self.requests.send(AgentRequest { command: asked, reply }).await.ok()?;
            replied.await.ok()
        };
        match timeout(REPLY_TIMEOUT, asking).await {
            Ok(Some(Reply::Done(text))) => Response::Done(text),
            Ok(Some(Reply::Rejected(text))) => Response::Refused(text),
            Ok(None) => {
                Response::Refused("the agent is stopping: try again when it runs".to_owned())
            }
            Err(_) => Response::Refused(
                "the agent has not answered in 10 s: check waypost status before you try again"
                    .to_owned(),
            ),
        }
    }
}

fn set_level(text: &str) -> Response {
    // `Level` also parses numbers, which the protocol does not allow.
    let known = ["error", "warn", "info", "debug", "trace"].contains(&text);
    match text.parse::<Level>() {
        Ok(level) if known => match logging::set_level(level) {
            Ok(()) => {
                tracing::info!(%level, "log level changed");
                Response::Done(format!("log level {text} set until the agent restarts"))
            }
            Err(error) => Response::Refused(error.to_string()),
        },
        _ => Response::Refused(format!("{text:?} is not one of error, warn, info, debug, trace")),
    }
}
