//! The other side of the socket: asks the agent that runs on this host.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, MAX_LINE, Question, VERSION};

/// Where the package's agent listens.
pub const DEFAULT_PATH: &str = "/run/waypost/control";

/// The agent answers within 10 s whatever its card does.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "{path}: no agent answers: see `systemctl status waypost`, or name its socket with --control (control.path of its configuration)",
        path = .0.display()
    )]
    NoAgent(PathBuf),
    /// The socket is not for this user.
    #[error(
        "{path}: not allowed: use sudo, or become a member of its group (`sudo usermod -aG waypost USER`) and log in anew",
        path = .0.display()
    )]
    NotAllowed(PathBuf),
    /// The connection broke, or nothing came in time.
    #[error("{path}: {source}", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent and this program are of different versions and do not understand each other.
    #[error(
        "the agent is version {agent}, this is {VERSION}, and they do not understand each other ({text}): `systemctl restart waypost`"
    )]
    OtherVersion {
        /// The agent's, or what is known of it.
        agent: String,
        /// What was not understood.
        text: String,
    },
    /// The agent did not take the question.
    #[error("{0}")]
    NotTaken(String),
}

/// A connection to the agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the agent that listens at `path`.
    ///
    /// # Errors
    /// Nobody is there, or not for this user.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoAgent(path.to_owned())
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.to_owned()),
            _ => ClientError::Broken { path: path.to_owned(), source },
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
        stream.set_write_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The connection broke, or the agent does not understand.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, ClientError> {
        let mut line = serde_json::to_string(question).expect("its keys are names");
        line.push('\n');
        if let Err(source) = self.stream.get_mut().write_all(line.as_bytes()) {
            // Who is one too many is told so before he asks.
            return match self.answer() {
                Err(ClientError::Broken { .. }) => Err(self.broken(source)),
                said => said,
            };
        }
        self.answer()
    }

    /// The next answer, after [`Question::Watch`].
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn answer(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        let most = u64::try_from(MAX_LINE).expect("64 KiB");
        let read = (&mut self.stream).take(most).read_until(b'\n', &mut line);
        match read {
            Ok(0) => Err(self.broken(io::Error::from(io::ErrorKind::UnexpectedEof))),
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(Answer::Error(error)) if error.version == VERSION => {
                    Err(ClientError::NotTaken(error.text))
                }
                Ok(Answer::Error(error)) => {
                    Err(ClientError::OtherVersion { agent: error.version, text: error.text })
                }
                Ok(answer) => Ok(answer),
                Err(error) => Err(ClientError::OtherVersion {
                    agent: "another one".to_owned(),
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
                "the agent does not answer: see `systemctl status waypost`",
            ),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                io::Error::new(source.kind(), "the agent has ended the connection")
            }
            _ => source,
        };
        ClientError::Broken { path: self.path.clone(), source }
    }
}
