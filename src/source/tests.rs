//! Real sockets and ptys, on the world's clock: what a device does when it goes and comes back.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};

use super::*;

/// A source that runs until the test is over.
struct Listening {
    events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    source: JoinHandle<io::Result<Uptime>>,
}

impl Listening {
    fn to(address: Address, silent_after: Duration) -> Self {
        let (sender, events) = mpsc::channel(CHANNEL_CHUNKS);
        let stop = CancellationToken::new();
        let config = SourceConfig { address, baud: 9600, silent_after };
        let source = run(config, Clock::live(), Uptime::ZERO, sender, stop.clone());
        Self { events, stop, source: tokio::spawn(source) }
    }

    async fn next(&mut self) -> Event {
        timeout(Duration::from_secs(20), self.events.recv()).await.unwrap().unwrap()
    }

    /// Bytes until there are as many as in `expected`, whatever is said between.
    async fn hears(&mut self, expected: &[u8]) {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            if let Event::Bytes(chunk) = self.next().await {
                heard.extend(chunk.bytes);
            }
        }
        assert!(heard.starts_with(expected), "{}", heard.escape_ascii());
    }

    async fn becomes(&mut self, is: impl Fn(&ReceiverState) -> bool) -> ReceiverState {
        loop {
            match self.next().await {
                Event::Receiver(state) if is(&state) => return state,
                _ => {}
            }
        }
    }

    async fn ends_when_stopped(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(5), self.source).await.unwrap().unwrap().unwrap();
    }
}

async fn listener() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, HostPort { host: "127.0.0.1".to_owned(), port })
}

const LONG: Duration = Duration::from_secs(60);

fn is_gone(state: &ReceiverState) -> bool {
    matches!(state, ReceiverState::Gone(_))
}

#[tokio::test]
async fn a_connection_that_ends_is_made_again() {
    let (server, host) = listener().await;
    let mut listening = Listening::to(Address::Tcp(host), LONG);
    for words in ["$GPGGA,1*00\r\n", "$GPGGA,2*00\r\n"] {
        let (mut receiver, _) = server.accept().await.unwrap();
        receiver.write_all(words.as_bytes()).await.unwrap();
        listening.hears(words.as_bytes()).await;
        drop(receiver);
        assert_eq!(listening.becomes(is_gone).await, ReceiverState::Gone("hung up".to_owned()));
    }
    listening.ends_when_stopped().await;
}

#[tokio::test]
async fn gpsd_is_asked_for_sentences_as_they_were_received() {
    let (server, host) = listener().await;
    let mut listening = Listening::to(Address::Gpsd(host), LONG);
    let (gpsd, _) = server.accept().await.unwrap();
    let mut gpsd = BufReader::new(gpsd);
    let mut asked = String::new();
    gpsd.read_line(&mut asked).await.unwrap();
    let watch = asked.strip_prefix("?WATCH=").unwrap().trim_end().trim_end_matches(';');
    let watch: serde_json::Value = serde_json::from_str(watch).unwrap();
    assert_eq!((&watch["enable"], &watch["nmea"]), (&true.into(), &true.into()));
    let words = b"{\"class\":\"VERSION\"}\r\n$GPGGA,1*00\r\n";
    gpsd.get_mut().write_all(words).await.unwrap();
    listening.hears(words).await;
    listening.ends_when_stopped().await;
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address_and_tried_again() {
    let (server, host) = listener().await;
    drop(server);
    let mut listening = Listening::to(Address::Tcp(host.clone()), LONG);
    for _ in 0..2 {
        let ReceiverState::Gone(why) = listening.becomes(is_gone).await else { unreachable!() };
        assert!(why.starts_with(&host.to_string()), "{why}");
    }
    listening.ends_when_stopped().await;
}

/// A pty and a name for its far end, as `/dev/serial/by-id` gives one.
fn plug(name: &PathBuf) -> (SerialStream, SerialStream) {
    let (near, mut far) = SerialStream::pair().unwrap();
    far.set_exclusive(false).unwrap();
    std::fs::remove_file(name).ok();
    std::os::unix::fs::symlink(far.name().unwrap(), name).unwrap();
    (near, far)
}

#[tokio::test]
async fn an_unplugged_receiver_is_gone_and_not_a_busy_loop_and_comes_back_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("receiver");
    let (mut near, far) = plug(&name);
    // The agent's end alone keeps the line open, as with a real tty.
    let mut listening = Listening::to(Address::Serial(name.clone()), LONG);
    drop(far);
    near.write_all(b"$GPGGA,1*00\r\n").await.unwrap();
    listening.hears(b"$GPGGA,1*00\r\n").await;

    drop(near);
    std::fs::remove_file(&name).unwrap();
    listening.becomes(is_gone).await;
    let mut said = 0;
    let second = tokio::time::sleep(Duration::from_secs(1));
    tokio::pin!(second);
    loop {
        tokio::select! {
            () = &mut second => break,
            event = listening.events.recv() => {
                let Some(Event::Receiver(ReceiverState::Gone(why))) = event else { panic!("{event:?}") };
                assert!(why.contains("plugged in"), "{why}");
                said += 1;
            }
        }
    }
    assert!((1..=5).contains(&said), "{said} tries in a second");

    let (mut near, far) = plug(&name);
    listening.becomes(|state| *state == ReceiverState::Open || is_gone(state)).await;
    drop(far);
    let talk = async {
        loop {
            near.write_all(b"$GPGGA,2*00\r\n").await.ok();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = talk => unreachable!(),
        () = listening.hears(b"$GPGGA,2*00\r\n") => {}
    }
    listening.ends_when_stopped().await;
}

#[tokio::test]
async fn a_port_that_another_process_has_is_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("receiver");
    let (_near, far) = plug(&name);
    drop(far);
    let first = serial::open(&name, 9600).unwrap();
    let error = serial::open(&name, 9600).unwrap_err().to_string();
    assert!(error.contains("does another process have it?"), "{error}");
    drop(first);
}

#[tokio::test]
async fn silence_is_said_once_and_ends_with_the_next_byte() {
    let (server, host) = listener().await;
    let mut listening = Listening::to(Address::Tcp(host), Duration::from_millis(100));
    let (mut receiver, _) = server.accept().await.unwrap();
    assert_eq!(listening.next().await, Event::Receiver(ReceiverState::Silent));
    tokio::time::sleep(Duration::from_millis(500)).await;
    receiver.write_all(b"$").await.unwrap();
    assert_eq!(listening.next().await, Event::Receiver(ReceiverState::Open));
    listening.hears(b"$").await;
    listening.ends_when_stopped().await;
}
