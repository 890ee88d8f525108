//! Idle connections are closed, and shutdown is orderly.

use std::time::Duration;

use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use waypost_backend::AppState;
use waypost_backend::http::ShutdownToken;

use super::client::{Server, TIMEOUT, request};

const NOON: &str = "2026-11-22T12:00:00Z";

fn slow() -> Router<AppState> {
    Router::new()
        .route(
            "/slow",
            get(async || {
                sleep(Duration::from_millis(700)).await;
                "done"
            }),
        )
        .route("/echo", post(async |body: String| body))
        .route("/big", get(async || "x".repeat(64 << 20)))
        .route(
            "/until-the-end",
            get(async |Extension(ShutdownToken(stop)): Extension<ShutdownToken>| {
                stop.cancelled().await;
                "ended"
            }),
        )
}

#[tokio::test]
async fn stopping_finishes_requests_ends_streams_and_refuses_new_ones() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let mut server = Server::with(&shared, slow()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.readable().await.unwrap();
    let asking = async { server.get("/slow").await };
    let waiting = async { server.get("/until-the-end").await };
    let stopping = async {
        sleep(Duration::from_millis(200)).await;
        server.stop.cancel();
    };
    let (asked, backlog_samples, ()) = tokio::join!(asking, waiting, stopping);
    assert_eq!((asked.status, asked.body.as_str()), (200, "done"));
    assert_eq!(backlog_samples.body, "ended");
    timeout(Duration::from_secs(8), &mut server.task)
        .await
        .expect("idle connections do not delay shutdown")
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_head_without_end_is_cut_off_and_holds_nobody_up() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::with(&shared, slow()).await;
    let mut lorises = Vec::new();
    for _ in 0..100 {
        let mut loris = TcpStream::connect(server.address).await.unwrap();
        loris.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ").await.unwrap();
        lorises.push(loris);
    }
    assert_eq!(server.get("/slow").await.status, 200, "other connections are served meanwhile");
    let cut = async |mut loris: TcpStream| {
        let mut rest = Vec::new();
        for _ in 0..60 {
            if loris.write_all(b"a").await.is_err() {
                return;
            }
            if timeout(Duration::from_secs(1), loris.read_to_end(&mut rest)).await.is_ok() {
                return;
            }
        }
        panic!("it is still open");
    };
    futures_util::future::join_all(lorises.into_iter().map(cut)).await;
}

#[tokio::test]
async fn heads_and_bodies_have_a_largest_size() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::with(&shared, slow()).await;
    for (name, request, statuses) in [
        ("a long header", request("GET", "/slow", &[("X-A", &"a".repeat(20_000))], ""), &[431][..]),
        ("a long path", request("GET", &format!("/{}", "a".repeat(20_000)), &[], ""), &[414, 431]),
        ("many headers", request("GET", "/slow", &[("A", "b"); 200], ""), &[431]),
        ("a long body", request("POST", "/echo", &[], &"a".repeat(65_537)), &[413]),
        ("no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}".to_owned() + "\r\n\r\n", &[400]),
        ("two lengths", "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(), &[400]),
        ("length and chunks", "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), &[200, 400]),
    ] {
        let answer = super::client::Response::read(&server.raw(request.as_bytes()).await);
        assert!(statuses.contains(&answer.status), "{name}: {answer:?}");
    }
    let chunks = format!("2000\r\n{}\r\n", "a".repeat(0x2000)).repeat(9) + "0\r\n\r\n";
    let head =
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer =
        super::client::Response::read(&server.raw((head.to_owned() + &chunks).as_bytes()).await);
    assert_eq!(answer.status, 413, "without a content length");
    assert_eq!(server.request("POST", "/echo", &[], &"a".repeat(65_536)).await.status, 200);
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let server = Server::with(&shared, slow()).await;
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    sleep(Duration::from_millis(300)).await;
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = Vec::new();
    let closed = timeout(TIMEOUT, refused.read_to_end(&mut nothing)).await.expect("it is closed");
    assert!(closed.is_err() || nothing.is_empty());
    held.clear();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(server.get("/slow").await.status, 200, "permits are released");
}

#[tokio::test]
async fn who_asks_for_much_and_takes_nothing_is_cut_off() {
    let (_folder, shared) = super::on_disk(NOON).await;
    let mut server = Server::with(&shared, slow()).await;
    let mut lazy = TcpStream::connect(server.address).await.unwrap();
    lazy.write_all(request("GET", "/big", &[], "").as_bytes()).await.unwrap();
    lazy.readable().await.unwrap();
    server.stop.cancel();
    timeout(Duration::from_secs(20), &mut server.task).await.expect("cut off").unwrap();
}
