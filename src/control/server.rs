//! The agent's side of the socket: [`Question`]s in, [`Answer`]s out.

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
use super::{Answer, Asked, MAX_LINE, Question, Reply, Request};
use crate::logging;

/// Its owner and group may ask.
const MODE: u32 = 0o660;

/// More ask at once only by mistake.
const MAX_CLIENTS: usize = 16;

/// A client that asks nothing for so long, or takes so long for a line.
const IDLE: Duration = Duration::from_secs(30);

/// A client that does not read for so long.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// The engine answers at its next turn; a slow card may take seconds.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Between two answers to who watches.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A code longer than a scanner may send is none.
const MAX_CODE: usize = 4096;

/// Nobody accepts while the process has no file left.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another agent answers there.
    #[error(
        "{path}: another agent answers there{holder}: stop it, or give this one a socket of its own (control.path)",
        path = path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Its process, if the kernel says it.
        holder: String,
    },
    /// It cannot be made. An agent can go on without it.
    #[error("{path}: {source}", path = path.display())]
    Unavailable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A socket that is listened on; its file goes with it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: by then, the name may be another agent's.
    file: (u64, u64),
}

/// Who knows the answers.
pub struct Desk {
    /// How the agent is now.
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// Where requests for the engine go.
    pub requests: mpsc::Sender<Request>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Server {
    /// Listens at `path`. What a dead agent left there is replaced.
    ///
    /// # Errors
    /// Somebody answers there, or the socket cannot be made.
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let unavailable = |source| ControlError::Unavailable { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => refuse_if_alive(path).await?,
            Ok(_) => {
                let kind = io::ErrorKind::AlreadyExists;
                return Err(unavailable(io::Error::new(kind, "is there, and no socket: move it")));
            }
            Err(_) => {}
        }
        // Nobody finds it before its mode is right.
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let listen = || {
            fs::remove_file(&new).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(MODE))?;
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

    /// Answers until `stop`.
    pub async fn run(self, desk: Desk, stop: CancellationToken) {
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
                        let answer = Answer::error("too many ask at once: try again");
                        stream.try_write(answer.line().as_bytes()).ok();
                    }
                    Err(error) => {
                        tracing::debug!(%error, "client not accepted");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
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

async fn refuse_if_alive(path: &Path) -> Result<(), ControlError> {
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
    desk: Arc<Desk>,
}

/// The connection is over.
struct Over;

impl Client {
    fn new(stream: UnixStream, desk: Arc<Desk>) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::with_capacity(1024, reader), writer, desk }
    }

    async fn serve(mut self) {
        while let Ok(Ok(line)) = timeout(IDLE, self.line()).await {
            if self.respond(&line).await.is_err() {
                break;
            }
        }
    }

    /// The next line; longer than allowed it is cut, and then no question.
    async fn line(&mut self) -> Result<Vec<u8>, Over> {
        let mut line = Vec::new();
        let most = u64::try_from(MAX_LINE).expect("64 KiB");
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut line).await;
        if read.is_ok_and(|count| count > 0) { Ok(line) } else { Err(Over) }
    }

    async fn respond(&mut self, line: &[u8]) -> Result<(), Over> {
        if line.len() == MAX_LINE && !line.ends_with(b"\n") {
            return self.refuse("the line is longer than 64 KiB").await;
        }
        match serde_json::from_slice(line) {
            Ok(Question::Watch(_)) => self.watch().await,
            Ok(question) => {
                let answer = self.desk.answer(question).await;
                self.say(&answer).await
            }
            Err(error) => self.refuse(&format!("not understood: {error}")).await,
        }
    }

    /// Says why, and ends the connection: who talks garbage goes on talking garbage.
    async fn refuse(&mut self, why: &str) -> Result<(), Over> {
        self.say(&Answer::error(why)).await?;
        Err(Over)
    }

    /// The status each second, until the client goes or says something.
    async fn watch(&mut self) -> Result<(), Over> {
        let mut ticks = interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.reader.fill_buf() => return Err(Over),
                _ = ticks.tick() => {
                    let status = Answer::Status(Box::new((self.desk.status)()));
                    self.say(&status).await?;
                }
            }
        }
    }

    async fn say(&mut self, answer: &Answer) -> Result<(), Over> {
        let line = answer.line();
        let written = timeout(WRITE_WITHIN, self.writer.write_all(line.as_bytes())).await;
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(Over) }
    }
}

impl Desk {
    async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Status(_) | Question::Watch(_) => Answer::Status(Box::new((self.status)())),
            Question::Scan(scan) => match scan.code.len() {
                1..=MAX_CODE => self.ask(Asked::Scan { code: scan.code }).await,
                _ => Answer::Refused(format!("a code has 1 to {MAX_CODE} bytes")),
            },
            Question::Outcome(outcome) => self.ask(Asked::Outcome(outcome)).await,
            Question::Duty(duty) => self.ask(Asked::Duty(duty)).await,
            Question::Delay(delay) => {
                let code = Some(delay.code).filter(|code| !code.is_empty());
                self.ask(Asked::Delay { code }).await
            }
            Question::Log(log) => set_level(&log.level),
        }
    }

    async fn ask(&self, asked: Asked) -> Answer {
        let (reply, replied) = oneshot::channel();
        let asking = async {
            self.requests.send(Request { asked, reply }).await.ok()?;
            replied.await.ok()
        };
        match timeout(REPLY_WITHIN, asking).await {
            Ok(Some(Reply::Done(text))) => Answer::Done(text),
            Ok(Some(Reply::Refused(text))) => Answer::Refused(text),
            Ok(None) => Answer::Refused("the agent is stopping: try again when it runs".to_owned()),
            Err(_) => Answer::Refused(
                "the agent has not answered in 10 s: look at waypost status before you try again"
                    .to_owned(),
            ),
        }
    }
}

fn set_level(text: &str) -> Answer {
    // Numbers are levels too, for the library.
    let known = ["error", "warn", "info", "debug", "trace"].contains(&text);
    match text.parse::<Level>() {
        Ok(level) if known => match logging::set_level(level) {
            Ok(()) => {
                tracing::info!(%level, "log level changed");
                Answer::Done(format!("logging from {text} on, until the agent starts anew"))
            }
            Err(error) => Answer::Refused(error.to_string()),
        },
        _ => Answer::Refused(format!("{text:?} is none of error, warn, info, debug, trace")),
    }
}
