//! Client of the control socket: sends requests to the agent on this host.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{MAX_LINE, Request, Response, VERSION};

/// Socket path of the packaged agent.
pub const DEFAULT_PATH: &str = "/run/waypost/control";

/// Time limit for a response. The agent answers within 10 s, even with a slow card.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Reason why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error(
        "{path}: no agent answers: see `systemctl status waypost`, or name its socket with --control (control.path of its configuration)",
        path = .0.display()
    )]
    NoAgent(PathBuf),
    /// The user has no permission for the socket.
    #[error(
        "{path}: not allowed: use sudo, or become a member of its group (`sudo usermod -aG waypost USER`) and log in again",
        path = .0.display()
    )]
    NotAllowed(PathBuf),
    /// The connection failed or timed out.
    #[error("{path}: {source}", path = path.display())]
    Broken { path: PathBuf, source: io::Error },
    /// The agent has another version with an incompatible protocol.
    #[error(
        "the agent is version {agent}, this is {VERSION}, and their protocols differ ({text}): `systemctl restart waypost`"
    )]
    VersionMismatch {
        /// The agent's version, if known.
        agent: String,
        /// The message that could not be parsed.
        text: String,
    },
    /// The agent rejected the request as invalid.
    #[error("{0}")]
    Rejected(String),
}

/// Connection to the agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the agent that listens at `path`.
    ///
    /// # Errors
    /// No agent listens there, or the user has no permission.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoAgent(path.to_owned())
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.to_owned()),
            _ => ClientError::Broken { path: path.to_owned(), source },
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// The connection failed, or the agent does not understand the request.
    pub fn request(&mut self, probe: &Request) -> Result<Response, ClientError> {
        let mut line = serde_json::to_string(probe).expect("a request serializes to JSON");
        line.push('\n');
        if let Err(source) = self.stream.get_mut().write_all(line.as_bytes()) {
            // If all connections are in use, the agent sends its error before it reads the request.
            return match self.next_response() {
                Err(ClientError::Broken { .. }) => Err(self.broken(source)),
                said => said,
            };
        }
        self.next_response()
    }

    /// Waits for the next response to `Watch`.
    ///
    /// # Errors
    /// The connection failed, or the response cannot be parsed.
    pub fn next_response(&mut self) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        let most = u64::try_from(MAX_LINE).expect("64 KiB");
        let read = (&mut self.stream).take(most).read_until(b'\n', &mut line);
        match read {
            Ok(0) => Err(self.broken(io::Error::from(io::ErrorKind::UnexpectedEof))),
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(Response::Error(error)) if error.version == VERSION => {
                    Err(ClientError::Rejected(error.text))
                }
                Ok(Response::Error(error)) => {
                    Err(ClientError::VersionMismatch { agent: error.version, text: error.text })
                }
                Ok(answer) => Ok(answer),
                Err(error) => Err(ClientError::VersionMismatch {
                    agent: "unknown".to_owned(),
                    text: error.to_string(),
                }),
            },
            Err(source) => Err(self.broken(source)),
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        let source = match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
                io::ErrorKind::TimedOut,
                "no response from the agent: see `systemctl status waypost`",
            ),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                io::Error::new(source.kind(), "the agent closed the connection")
            }
            _ => source,
        };
        ClientError::Broken { path: self.path.clone(), source }
    }
}
