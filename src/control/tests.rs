//! Tests with real sockets: valid requests are answered, and invalid input harms no other client.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::server::{AgentHandle, ControlError, Server};
use super::status::Status;
use super::*;

struct Agent {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    server: JoinHandle<()>,
    requests: mpsc::Receiver<AgentRequest>,
}

impl Agent {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::bind(&folder.path().join("control")).await.unwrap();
        let (sender, requests) = mpsc::channel(CHANNEL_REQUESTS);
        let status = || Status { van: "VAN-042".to_owned(), ..Status::default() };
        let desk = AgentHandle { status: Box::new(status), requests: sender };
        let stop = CancellationToken::new();
        let server = tokio::spawn(server.run(desk, stop.clone()));
        Self { folder, stop, server, requests }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("control")
    }

    async fn client(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(self.path()).await.unwrap())
    }
}

async fn send(client: &mut BufReader<UnixStream>, line: &str) {
    client.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
}

async fn receive(client: &mut BufReader<UnixStream>) -> Response {
    let mut line = String::new();
    timeout(Duration::from_secs(10), client.read_line(&mut line)).await.unwrap().unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn is_van(answer: &Response) -> bool {
    matches!(answer, Response::Status(status) if status.van == "VAN-042")
}

#[tokio::test]
async fn questions_are_answered_one_after_the_other_and_watching_goes_on() {
    let agent = Agent::start().await;
    let mode = std::fs::metadata(agent.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = agent.client().await;
    for _ in 0..3 {
        send(&mut client, r#"{"status":{}}"#).await;
        assert!(is_van(&receive(&mut client).await));
    }
    send(&mut client, r#"{"watch":{}}"#).await;
    for _ in 0..2 {
        assert!(is_van(&receive(&mut client).await));
    }
    agent.stop.cancel();
    agent.server.await.unwrap();
    assert!(!agent.folder.path().join("control").exists(), "the file is removed with the agent");
}

#[tokio::test]
async fn what_concerns_parcels_goes_to_the_engine_and_its_reply_comes_back() {
    let mut agent = Agent::start().await;
    let mut client = agent.client().await;
    send(&mut client, r#"{"scan":{"code":"1Z999AA10123456784"}}"#).await;
    let AgentRequest { command, reply } = agent.requests.recv().await.unwrap();
    assert_eq!(command, AgentCommand::Scan { code: "1Z999AA10123456784".to_owned() });
    reply.send(Reply::Done("loaded".to_owned())).unwrap();
    assert_eq!(receive(&mut client).await, Response::Done("loaded".to_owned()));
    send(&mut client, r#"{"delay":{"code":""}}"#).await;
    let AgentRequest { command, reply } = agent.requests.recv().await.unwrap();
    assert_eq!(command, AgentCommand::Delay { code: None });
    drop(reply);
    let Response::Refused(why) = receive(&mut client).await else { panic!() };
    assert!(why.contains("stopping"), "{why}");
    send(&mut client, r#"{"scan":{"code":""}}"#).await;
    assert!(
        matches!(receive(&mut client).await, Response::Refused(_)),
        "without a code the engine is not asked"
    );
    send(&mut client, r#"{"log":{"level":"loud"}}"#).await;
    assert!(matches!(receive(&mut client).await, Response::Refused(_)));
}

#[tokio::test]
async fn garbage_costs_its_sender_the_connection_and_nobody_else_anything() {
    let agent = Agent::start().await;
    let mut healthy = agent.client().await;
    for garbage in [&b"\xff\x00\n"[..], b"{\"stop\":{}}\n", b"\n", &vec![b'x'; 3 * MAX_LINE]] {
        let mut client = agent.client().await;
        client.get_mut().write_all(garbage).await.ok();
        let mut said = Vec::new();
        let ended = timeout(Duration::from_secs(10), client.read_to_end(&mut said)).await.unwrap();
        let answer = String::from_utf8(said).unwrap();
        let refused = answer.contains("\"error\"") && answer.contains(VERSION);
        // Unread input resets the connection, which may discard the response.
        assert!(refused || ended.is_err(), "{answer}");
    }
    send(&mut healthy, r#"{"status":{}}"#).await;
    assert!(is_van(&receive(&mut healthy).await));
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_gets_in_when_another_has_gone() {
    let agent = Agent::start().await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = agent.client().await;
        send(&mut client, r#"{"status":{}}"#).await;
        assert!(is_van(&receive(&mut client).await));
        clients.push(client);
    }
    let Response::Error(error) = receive(&mut agent.client().await).await else { panic!() };
    assert!(error.text.contains("too many"), "{error:?}");
    clients.pop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut client = agent.client().await;
    send(&mut client, r#"{"status":{}}"#).await;
    assert!(is_van(&receive(&mut client).await));
}

#[tokio::test]
async fn a_second_agent_is_refused_and_what_a_dead_one_left_is_replaced() {
    let agent = Agent::start().await;
    let error = Server::bind(&agent.path()).await.unwrap_err();
    assert!(matches!(error, ControlError::InUse { .. }));
    let (text, we) = (error.to_string(), format!("(process {})", std::process::id()));
    assert!(text.contains(&we) && text.contains("control.path"), "{text}");

    let left = agent.folder.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(left.exists());
    drop(Server::bind(&left).await.unwrap());

    let file = agent.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    for (path, says) in
        [(&file, "not a socket"), (&Path::new("/nowhere/control").to_owned(), "No such")]
    {
        let error = Server::bind(path).await.unwrap_err();
        assert!(matches!(error, ControlError::Unavailable { .. }));
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_for_half_a_minute_is_let_go_and_so_is_who_dribbles() {
    let agent = Agent::start().await;
    let mut silent = agent.client().await;
    let mut dribbling = agent.client().await;
    for _ in 0..40 {
        dribbling.get_mut().write_all(b" ").await.ok();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for client in [&mut silent, &mut dribbling] {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.ok();
        assert_eq!(rest, b"");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_said_so() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    send(&mut client, r#"{"duty":"off"}"#).await;
    let mut line = String::new();
    client.read_line(&mut line).await.unwrap();
    assert!(line.contains("has not answered in 10 s"), "{line}");
}

#[tokio::test]
async fn the_client_says_what_to_do_when_there_is_no_answer() {
    use super::client::{Client, ClientError};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control");
    let error = Client::connect(&path).unwrap_err();
    assert!(matches!(error, ClientError::NoAgent(_)) && error.to_string().contains("--control"));

    // An agent of another version.
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let other = std::thread::spawn(move || {
        use std::io::Write as _;
        for answer in [
            "{\"error\":{\"text\":\"unknown variant\",\"version\":\"9.9.9\"}}\n".to_owned(),
            "{\"poem\":[]}\n".to_owned(),
            Response::error("no").to_line(),
        ] {
            // Respond before the request is read, as an agent without a free connection does.
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let ask = || Client::connect(&path).unwrap().request(&Request::Status(Empty {})).unwrap_err();
    let said = ask().to_string();
    assert!(said.contains("version 9.9.9") && said.contains("systemctl restart"), "{said}");
    assert!(matches!(ask(), ClientError::VersionMismatch { .. }));
    assert_eq!(ask().to_string(), "no");
    other.join().unwrap();
}
