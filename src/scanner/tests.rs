//! Tests with real ptys and sockets in real time: scanners that disappear and return.

use std::path::PathBuf;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_serial::{SerialPort as _, SerialStream};

use super::*;

/// Scanners that are read until the end of the test.
struct Listening {
    events: mpsc::Receiver<ScannerEvent>,
    stop: CancellationToken,
    scanners: tokio::task::JoinSet<()>,
}

impl Listening {
    fn to(scanners: &[(&str, ScannerKind)]) -> Self {
        let (sender, events) = mpsc::channel(CHANNEL_EVENTS);
        let (stop, clock) = (CancellationToken::new(), Clock::live());
        let mut tasks = tokio::task::JoinSet::new();
        for (index, (address, kind)) in scanners.iter().enumerate() {
            let address = address.parse().unwrap();
            let config = ScannerConfig { name: index.to_string(), address, kind: kind.clone() };
            tasks.spawn(run(config, index, clock.clone(), sender.clone(), stop.clone()));
        }
        Self { events, stop, scanners: tasks }
    }

    async fn next(&mut self) -> ScannerEvent {
        timeout(Duration::from_secs(20), self.events.recv()).await.unwrap().unwrap()
    }

    /// Waits for the next scan, ignoring other events.
    async fn scan(&mut self) -> ScanLine {
        loop {
            if let ScannerEvent::Scan(scan) = self.next().await {
                return scan;
            }
        }
    }

    async fn becomes(&mut self, is: impl Fn(&ScannerState) -> bool) -> ScannerState {
        loop {
            match self.next().await {
                ScannerEvent::State(_, state) if is(&state) => return state,
                _ => {}
            }
        }
    }

    async fn end_when_stopped(mut self) {
        self.stop.cancel();
        while let Some(ended) =
            timeout(Duration::from_secs(5), self.scanners.join_next()).await.unwrap()
        {
            ended.unwrap();
        }
    }
}

fn is_gone(state: &ScannerState) -> bool {
    matches!(state, ScannerState::Gone(_))
}

fn is_open(state: &ScannerState) -> bool {
    *state == ScannerState::Open
}

fn rfid(pattern: &str) -> ScannerKind {
    ScannerKind::Rfid(TagPattern::new(pattern).unwrap())
}

/// Creates a pty and a symbolic link to its far end, like one in `/dev/serial/by-id`.
fn plug(name: &PathBuf) -> (SerialStream, SerialStream) {
    let (near, mut far) = SerialStream::pair().unwrap();
    far.set_exclusive(false).unwrap();
    std::fs::remove_file(name).ok();
    std::os::unix::fs::symlink(far.name().unwrap(), name).unwrap();
    (near, far)
}

const RAW: &[u8] = b"]d2\x1d0100012345678905\x1c\x1e\x04\x03\x11\x13Z";

#[tokio::test]
async fn a_serial_scanner_gives_every_byte_as_it_is_and_comes_back_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("scanner");
    let (mut near, far) = plug(&name);
    let address = format!("serial:{}@19200", name.display());
    let mut listening = Listening::to(&[(&address, ScannerKind::Barcode)]);
    drop(far);
    listening.becomes(is_open).await;
    near.write_all(&[RAW, b"\r\n"].concat()).await.unwrap();
    let scan = listening.scan().await;
    assert_eq!((scan.by, scan.bytes.as_slice(), scan.reads), (ReaderKind::Barcode, RAW, 1));

    // Unplugged within a code: the truncated code is discarded.
    near.write_all(b"1Z999AA1").await.unwrap();
    sleep(Duration::from_millis(20)).await;
    drop(near);
    std::fs::remove_file(&name).unwrap();
    listening.becomes(is_gone).await;
    let mut said = 0;
    let second = sleep(Duration::from_secs(1));
    tokio::pin!(second);
    loop {
        tokio::select! {
            () = &mut second => break,
            event = listening.events.recv() => {
                assert!(matches!(event, Some(ScannerEvent::State(0, ScannerState::Gone(_)))), "{event:?}");
                said += 1;
            }
        }
    }
    assert!(said <= 3, "{said} events in a second: a busy loop");

    let (mut near, far) = plug(&name);
    drop(far);
    listening.becomes(is_open).await;
    near.write_all(b"AFTER\r").await.unwrap();
    assert_eq!(listening.scan().await.bytes, b"AFTER");
    listening.end_when_stopped().await;
}

#[tokio::test]
async fn two_scanners_at_once_are_told_apart_and_one_that_goes_leaves_the_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = folder.path().join("reader.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let addresses =
        [format!("tcp:{}", tcp.local_addr().unwrap()), format!("unix:{}", path.display())];
    let mut listening =
        Listening::to(&[(&addresses[0], ScannerKind::Barcode), (&addresses[1], rfid("key-value"))]);
    let (mut hand, _) = tcp.accept().await.unwrap();
    let (mut reader, _) = unix.accept().await.unwrap();
    for rssi in [-70, -57, -63] {
        let line = format!("EPC:3174257BF4499602D2000000,RSSI:{rssi},ANT:1\r\n");
        reader.write_all(line.as_bytes()).await.unwrap();
    }
    hand.write_all(b"CODE WITHOUT END").await.unwrap();
    let scan = listening.scan().await;
    assert_eq!((scan.scanner, scan.bytes), (0, b"CODE WITHOUT END".to_vec()));
    hand.write_all(b"ONE\rTWO\rONE\r").await.unwrap();
    assert_eq!(listening.scan().await.bytes, b"ONE");
    assert_eq!(listening.scan().await.bytes, b"TWO");

    // Reads of the reader are reported on its disconnect.
    drop(reader);
    let tag = listening.scan().await;
    assert_eq!((tag.scanner, tag.by, tag.reads), (1, ReaderKind::Rfid, 3));
    assert_eq!((tag.rssi, tag.antenna), (Some(-57), Some(1)));
    assert_eq!(tag.bytes, b"3174257BF4499602D2000000");
    hand.write_all(b"THREE\r").await.unwrap();
    assert_eq!(listening.scan().await.bytes, b"THREE");
    let (mut reader, _) = unix.accept().await.unwrap();
    reader.write_all(b"EPC:E280116060000204AC7A1B2C\r\n").await.unwrap();
    drop(reader);
    assert_eq!(listening.scan().await.bytes, b"E280116060000204AC7A1B2C");
    listening.end_when_stopped().await;
}

#[tokio::test]
async fn a_pipe_takes_one_writer_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codes");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let address = format!("fifo:{}", path.display());
    let mut listening = Listening::to(&[(&address, ScannerKind::Barcode)]);
    listening.becomes(is_open).await;
    for code in ["FIRST", "SECOND"] {
        tokio::fs::write(&path, format!("{code}\n")).await.unwrap();
        assert_eq!(listening.scan().await.bytes, code.as_bytes());
    }
    listening.end_when_stopped().await;
}

#[tokio::test]
async fn nobody_there_is_said_once_with_the_place_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reader.sock");
    let address = format!("unix:{}", path.display());
    let mut listening = Listening::to(&[(&address, rfid("bare"))]);
    let ScannerState::Gone(why) = listening.becomes(is_gone).await else { unreachable!() };
    assert!(why.contains("reader.sock: not found"), "{why}");
    sleep(Duration::from_millis(1200)).await;
    assert!(listening.events.try_recv().is_err(), "an unchanged state is not repeated");
    let _reader = UnixListener::bind(&path).unwrap();
    listening.becomes(is_open).await;
    listening.end_when_stopped().await;
}

#[tokio::test]
async fn a_flood_of_garbage_is_counted_and_a_code_after_it_is_read() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp:{}", tcp.local_addr().unwrap());
    let mut listening = Listening::to(&[(&address, ScannerKind::Barcode)]);
    let (mut noise, _) = tcp.accept().await.unwrap();
    let flood = async {
        for _ in 0..2000 {
            noise.write_all(&[b'\xa5'; 1000]).await.unwrap();
            noise.write_all(b"\r\xff\x80\n").await.unwrap();
        }
        noise.write_all(b"CODE\r").await.unwrap();
    };
    let listen = async {
        let (mut told, mut newest) = (0, 0);
        loop {
            match listening.next().await {
                ScannerEvent::Scan(scan) => break (scan.bytes, told, newest),
                ScannerEvent::Garbage(0, lines) => (told, newest) = (told + 1, lines),
                _ => {}
            }
        }
    };
    let ((), (bytes, told, newest)) = tokio::join!(flood, listen);
    assert_eq!(bytes, b"CODE");
    assert!(newest > 0 && told < 20, "{newest} lines were reported {told} times");
    listening.end_when_stopped().await;
}
