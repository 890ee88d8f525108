//! Tests with real sockets and ptys in real time: devices that disappear and return.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};

use super::*;

/// A source that runs until the end of the test.
struct Listening {
    events: mpsc::Receiver<SourceEvent>,
    stop: CancellationToken,
    source: JoinHandle<io::Result<Uptime>>,
}

impl Listening {
    fn to(address: Address, silent_after: Duration) -> Self {
        Self::with(SourceConfig { address, line: LineConfig::default(), silent_after })
    }

    fn with(config: SourceConfig) -> Self {
        let (sender, events) = mpsc::channel(CHANNEL_CHUNKS);
        let stop = CancellationToken::new();
        let source = run(config, Clock::live(), Uptime::ZERO, sender, stop.clone());
        Self { events, stop, source: tokio::spawn(source) }
    }

    async fn next(&mut self) -> SourceEvent {
        timeout(Duration::from_secs(20), self.events.recv()).await.unwrap().unwrap()
    }

    /// Receives at least as many bytes as `expected` and compares them, ignoring other events.
    async fn receives(&mut self, expected: &[u8]) {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            if let SourceEvent::Bytes(chunk) = self.next().await {
                heard.extend(chunk.bytes);
            }
        }
        assert!(heard.starts_with(expected), "{}", heard.escape_ascii());
    }

    async fn becomes(&mut self, is: impl Fn(&ReceiverState) -> bool) -> ReceiverState {
        let until_then = async {
            loop {
                match self.next().await {
                    SourceEvent::Receiver(state) if is(&state) => return state,
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(20), until_then).await.unwrap()
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

/// Output of a receiver in one burst.
const BURST: &[u8] = b"$GPRMC,081836,A,3751.65,S,14507.36,E,000.0,360.0,130998,011.3,E*62\r\n\
        $GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39\r\n";

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
        listening.receives(words.as_bytes()).await;
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
    listening.receives(words).await;
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

/// Sends the same burst repeatedly.
async fn talk(near: &mut SerialStream) {
    loop {
        near.write_all(BURST).await.ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Creates a pty and a symbolic link to its far end, like one in `/dev/serial/by-id`.
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
    // Only the agent holds the far end open, as with a real tty.
    let mut listening = Listening::to(Address::Serial(name.clone()), LONG);
    drop(far);
    tokio::select! {
        () = talk(&mut near) => unreachable!(),
        () = listening.receives(BURST) => {}
    }

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
                let Some(SourceEvent::Receiver(ReceiverState::Gone(why))) = event else { panic!("{event:?}") };
                assert!(why.contains("plugged in"), "{why}");
                said += 1;
            }
        }
    }
    assert!((1..=5).contains(&said), "{said} tries in a second");

    let (mut near, far) = plug(&name);
    listening.becomes(|state| *state == ReceiverState::Open || is_gone(state)).await;
    drop(far);
    tokio::select! {
        () = talk(&mut near) => unreachable!(),
        () = listening.receives(BURST) => {}
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
    let we = format!("(process {}): stop that process", std::process::id());
    assert!(error.contains(&we), "{error}");
    drop(first);
}

#[tokio::test]
async fn silence_is_said_once_and_ends_with_the_next_byte() {
    let (server, host) = listener().await;
    let mut listening = Listening::to(Address::Tcp(host), Duration::from_millis(100));
    let (mut receiver, _) = server.accept().await.unwrap();
    assert_eq!(listening.next().await, SourceEvent::Receiver(ReceiverState::Silent));
    tokio::time::sleep(Duration::from_millis(500)).await;
    receiver.write_all(b"$").await.unwrap();
    assert_eq!(listening.next().await, SourceEvent::Receiver(ReceiverState::Open));
    listening.receives(b"$").await;
    listening.ends_when_stopped().await;
}

#[tokio::test]
async fn what_nobody_takes_stays_with_the_sender_and_memory_does_not_grow() {
    let (server, host) = listener().await;
    let mut listening = Listening::to(Address::Tcp(host), LONG);
    let (mut flood, _) = server.accept().await.unwrap();
    let garbage = vec![b'\xa5'; 1024 * 1024];
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), flood.write(&garbage)).await {
        sent += written.unwrap();
        assert!(sent < 64 * garbage.len(), "the data are buffered without limit");
    }
    // The kernel's buffers are full. All of it can be read, at most one buffer per read.
    let mut read = 0;
    while read < sent {
        if let SourceEvent::Bytes(chunk) = listening.next().await {
            assert!(chunk.bytes.len() <= READ_BYTES);
            read += chunk.bytes.len();
        }
    }
    listening.ends_when_stopped().await;
}

/// Simulated serial receivers on ptys that are only readable at the right baud rate.
mod speeds {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use waypost_pipeline::sentence::Sentence;
    use waypost_sim::uart::sample_at_baud;

    const DWELL: Duration = Duration::from_millis(250);
    const PERIOD: Duration = Duration::from_millis(100);

    struct Talking {
        name: PathBuf,
        baud: Arc<AtomicU32>,
        talk: JoinHandle<()>,
        _folder: tempfile::TempDir,
    }

    impl Drop for Talking {
        fn drop(&mut self) {
            self.talk.abort();
        }
    }

    /// A receiver at `baud` that sends `burst` ten times per second; silent at 0.
    fn talking(baud: u32, burst: &'static [u8]) -> Talking {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("receiver");
        let (mut near, far) = plug(&name);
        // Keeps the line open without the exclusive lock of a reader.
        let open = std::fs::File::open(&name).unwrap();
        drop(far);
        let baud = Arc::new(AtomicU32::new(baud));
        let speed = baud.clone();
        let talk = async move {
            let _open = open;
            loop {
                tokio::time::sleep(PERIOD).await;
                // Both ends of a pty share one baud rate, that of the reader.
                let (sent, heard) = (speed.load(Ordering::Relaxed), near.baud_rate().unwrap());
                if sent > 0 {
                    near.write_all(&sample_at_baud(burst, sent, heard)).await.unwrap();
                }
            }
        };
        Talking { name, baud, talk: tokio::spawn(talk), _folder: folder }
    }

    fn listening(receiver: &Talking, line: LineConfig, silent_after: Duration) -> Listening {
        let address = Address::Serial(receiver.name.clone());
        Listening::with(SourceConfig { address, line, silent_after })
    }

    fn quick() -> LineConfig {
        LineConfig { dwell: DWELL, ..LineConfig::default() }
    }

    impl Listening {
        /// Waits for the line's baud rate, then for two bursts without an invalid byte.
        async fn understands(&mut self, baud: u32) {
            loop {
                match self.next().await {
                    SourceEvent::Line(LineState { baud: Some(found), .. }) if found == baud => {
                        break;
                    }
                    SourceEvent::Bytes(chunk) => panic!("noise: {}", chunk.bytes.escape_ascii()),
                    _ => {}
                }
            }
            self.receives(&[BURST, BURST].concat()).await;
        }
    }

    #[tokio::test]
    async fn a_receiver_of_any_usual_speed_is_understood_whatever_was_configured() {
        let speeds = [4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];
        let hunts = speeds.map(|baud| {
            tokio::spawn(async move {
                let receiver = talking(baud, BURST);
                let mut agent = listening(&receiver, quick(), LONG);
                let understood = timeout(Duration::from_secs(15), agent.understands(baud)).await;
                assert!(understood.is_ok(), "{baud} Bd");
                agent.ends_when_stopped().await;
            })
        });
        for hunt in hunts {
            hunt.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_receiver_that_falls_back_to_another_speed_is_understood_again() {
        let receiver = talking(115_200, BURST);
        let line = LineConfig { last_good_baud: Some(115_200), ..quick() };
        let mut agent = listening(&receiver, line, LONG);
        agent.understands(115_200).await;
        receiver.baud.store(9600, Ordering::Relaxed);
        agent.becomes(|state| *state == ReceiverState::DetectingBaud).await;
        agent.understands(9600).await;
        agent.ends_when_stopped().await;
    }

    #[tokio::test]
    async fn silence_leaves_a_good_speed_and_stops_no_hunt() {
        let receiver = talking(0, BURST);
        let mut agent = listening(&receiver, quick(), DWELL / 2);
        assert_eq!(agent.next().await, SourceEvent::Receiver(ReceiverState::Silent));
        tokio::time::sleep(DWELL * 3).await;
        receiver.baud.store(38_400, Ordering::Relaxed);
        agent.understands(38_400).await;
        receiver.baud.store(0, Ordering::Relaxed);
        agent.becomes(|state| *state == ReceiverState::Silent).await;
        tokio::time::sleep(DWELL * 6).await;
        receiver.baud.store(38_400, Ordering::Relaxed);
        assert_eq!(agent.next().await, SourceEvent::Receiver(ReceiverState::Open));
        agent.receives(BURST).await;
        agent.ends_when_stopped().await;
    }

    #[tokio::test]
    async fn noise_at_every_speed_is_hunted_for_ever_and_said_once() {
        let receiver = talking(9600, b"\xff\x00 this is no NMEA \x80\r\n");
        let line = LineConfig { dwell: DWELL / 10, ..LineConfig::default() };
        let mut agent = listening(&receiver, line, LONG);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(agent.next().await, SourceEvent::Receiver(ReceiverState::DetectingBaud));
        assert!(agent.events.try_recv().is_err());
        agent.ends_when_stopped().await;
    }

    #[tokio::test]
    async fn a_speed_that_is_not_to_be_hunted_for_stays_and_hands_on_what_comes() {
        let receiver = talking(38_400, BURST);
        let line = LineConfig { auto_baud: AutoBaud::Off, ..quick() };
        let mut agent = listening(&receiver, line, LONG);
        assert!(matches!(
            agent.next().await,
            SourceEvent::Line(LineState { baud: Some(9600), .. })
        ));
        let mut heard = Vec::new();
        while heard.len() < 500 {
            if let SourceEvent::Bytes(chunk) = agent.next().await {
                heard.extend(chunk.bytes);
            }
        }
        let sentences =
            heard.split(|byte| *byte == b'\n').filter(|line| Sentence::parse(line).is_ok());
        assert_eq!(sentences.count(), 0);
        agent.ends_when_stopped().await;
    }
}

/// A fake u-blox receiver on a pty.
mod ublox {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use waypost_pipeline::ubx::{DynamicModel, Settings};

    const VERSION: (u8, u8) = (0x0a, 0x04);
    const VALSET: (u8, u8) = (0x06, 0x8a);

    fn frame(class: u8, id: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = [&[0xb5, 0x62, class, id, length, 0], payload].concat();
        let (mut a, mut b) = (0_u8, 0_u8);
        for byte in &frame[2..] {
            a = a.wrapping_add(*byte);
            b = b.wrapping_add(a);
        }
        frame.extend([a, b]);
        frame
    }

    /// Sends NMEA and passes each message to `answer`, whose result is sent back. Each message is
    /// also reported to `asked`.
    async fn fake(
        near: SerialStream,
        asked: mpsc::UnboundedSender<(u8, u8)>,
        mut answer: impl FnMut((u8, u8)) -> Vec<u8>,
    ) {
        let (mut reader, mut writer) = tokio::io::split(near);
        let mut received = Vec::new();
        let mut buffer = [0; 256];
        loop {
            tokio::select! {
                count = reader.read(&mut buffer) => {
                    received.extend(&buffer[..count.unwrap_or(0)]);
                    while received.len() >= 8 && received.len() >= 8 + usize::from(received[4]) {
                        assert_eq!(received[..2], [0xb5, 0x62], "whole frames");
                        let message = (received[2], received[3]);
                        received.drain(..8 + usize::from(received[4]));
                        asked.send(message).ok();
                        writer.write_all(&answer(message)).await.unwrap();
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    writer.write_all(BURST).await.unwrap();
                }
            }
        }
    }

    struct Bench {
        agent: Listening,
        asked: mpsc::UnboundedReceiver<(u8, u8)>,
        fake: JoinHandle<()>,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        fn new(answer: impl FnMut((u8, u8)) -> Vec<u8> + Send + 'static) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let name = folder.path().join("receiver");
            let (near, far) = plug(&name);
            let open = std::fs::File::open(&name).unwrap();
            drop(far);
            let (sender, asked) = mpsc::unbounded_channel();
            let fake = fake(near, sender, answer);
            let fake = tokio::spawn(async move {
                let _open = open;
                fake.await;
            });
            let settings = Settings {
                rate_hz: 1,
                constellations: Vec::new(),
                nmea_version: None,
                dynamic_model: Some(DynamicModel::Automotive),
            };
            let line = LineConfig { setup: Some(settings), ..LineConfig::default() };
            let address = Address::Serial(name);
            let agent = Listening::with(SourceConfig { address, line, silent_after: LONG });
            Self { agent, asked, fake, _folder: folder }
        }

        /// Waits for the setup result and checks that the receiver stays open meanwhile.
        async fn result(&mut self) -> String {
            loop {
                match self.agent.next().await {
                    SourceEvent::Line(LineState { setup: Some(result), .. }) => {
                        return result.to_string();
                    }
                    SourceEvent::Receiver(state) => assert_eq!(state, ReceiverState::Open),
                    _ => {}
                }
            }
        }

        fn asked(&mut self) -> Vec<(u8, u8)> {
            std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
        }

        async fn end(self) {
            self.fake.abort();
            self.agent.ends_when_stopped().await;
        }
    }

    fn ack((class, id): (u8, u8)) -> Vec<u8> {
        frame(0x05, 0x01, &[class, id])
    }

    fn nak((class, id): (u8, u8)) -> Vec<u8> {
        frame(0x05, 0x00, &[class, id])
    }

    fn version(protocol: &str) -> Vec<u8> {
        let mut payload = vec![0; 40];
        payload.extend(format!("PROTVER={protocol}").bytes());
        payload.resize(70, 0);
        frame(0x0a, 0x04, &payload)
    }

    #[tokio::test]
    async fn a_receiver_is_set_up_in_the_words_of_its_generation() {
        for (protocol, expected) in
            [("34.10", [VERSION, VALSET, VALSET]), ("18.00", [VERSION, (0x06, 0x08), (0x06, 0x24)])]
        {
            let mut bench =
                Bench::new(
                    move |message| {
                        if message == VERSION { version(protocol) } else { ack(message) }
                    },
                );
            assert_eq!(bench.result().await, "done");
            assert_eq!(bench.asked(), expected);
            bench.end().await;
        }
    }

    #[tokio::test]
    async fn what_gets_lost_is_sent_once_more_and_what_is_refused_is_named() {
        let mut valsets = 0;
        let mut bench = Bench::new(move |message| match message {
            VERSION => Vec::new(),
            message => {
                valsets += 1;
                match valsets {
                    1 => Vec::new(),
                    2 => ack(message),
                    _ => nak(message),
                }
            }
        });
        assert_eq!(bench.result().await, "refused: dynamic_model");
        assert_eq!(bench.asked(), [VERSION, VALSET, VALSET, VALSET]);
        bench.end().await;
    }

    #[tokio::test]
    async fn another_makers_receiver_goes_on_without() {
        let mut bench = Bench::new(|_| Vec::new());
        assert_eq!(bench.result().await, "refused: no answer");
        assert_eq!(bench.asked().len(), 5, "version query, and two encodings sent twice");
        bench.agent.receives(BURST).await;
        bench.end().await;
    }
}
