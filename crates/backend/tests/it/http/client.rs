//! A server of an instance on a free port, and a client that sends exact bytes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use waypost_backend::AppState;
use waypost_backend::http;

/// Longer than any response takes on a machine that is busy with other tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(40);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(shared: &AppState) -> Self {
        Self::with(shared, http::router()).await
    }

    pub(crate) async fn with(shared: &AppState, router: Router<AppState>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (shared, stopped) = (shared.clone(), stop.clone());
        let running = tokio::spawn(async move {
            http::serve(shared, listener, router, stopped).await.unwrap();
        });
        Self { address, stop, task: running }
    }

    /// Sends these bytes, and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that rejects early may close before it has read everything.
        stream.write_all(bytes).await.ok();
        let mut answer = Vec::new();
        timeout(TIMEOUT, stream.read_to_end(&mut answer)).await.unwrap().ok();
        answer
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let request = request(method, path, headers, body);
        Response::read(&self.raw(request.as_bytes()).await)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], "").await
    }

    pub(crate) async fn json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Response {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        self.request(method, path, &all, &body.to_string()).await
    }

    /// Opens a stream of server-sent events.
    pub(crate) async fn events(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> EventStream<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut all = vec![("Accept", "text/event-stream")];
        all.extend(headers);
        stream.write_all(request("GET", path, &all, "").as_bytes()).await.unwrap();
        EventStream { stream, bytes: Vec::new(), status: 0 }.open().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request + "\r\n" + body
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// All headers except the date, the only one that may differ between identical responses.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .filter(|(name, _)| name != "date")
            .collect();
        Self { status: status.unwrap_or(0), headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns `name=value` of the cookie in the response.
    pub(crate) fn cookie(&self) -> String {
        self.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }
}

/// A stream of server-sent events.
pub(crate) struct EventStream<S> {
    stream: S,
    bytes: Vec<u8>,
    pub(crate) status: u16,
}

impl<S: AsyncRead + Unpin> EventStream<S> {
    async fn open(mut self) -> Self {
        let head = self.until(b"\r\n\r\n").await.unwrap();
        self.status = Response::read(head.as_bytes()).status;
        self
    }

    async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|bytes| bytes == end) {
                let rest = self.bytes.split_off(at + end.len());
                let found = std::mem::replace(&mut self.bytes, rest);
                return Some(String::from_utf8(found).unwrap());
            }
            let mut more = [0; 4096];
            match self.stream.read(&mut more).await {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => self.bytes.extend(&more[..bytes]),
            }
        }
    }

    /// Returns name and data of the next event; `None` at the end of the stream. Skips chunk sizes
    /// and comments.
    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let line = timeout(TIMEOUT, self.until(b"\n")).await.unwrap()?;
            let line = line.trim_end();
            if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("data: ") {
                value.clone_into(&mut data);
            } else if line.is_empty() && !name.is_empty() {
                return Some((name, data));
            }
        }
    }

    /// Returns the document of the next event.
    pub(crate) async fn document(&mut self) -> Value {
        serde_json::from_str(&self.next().await.unwrap().1).unwrap()
    }

    /// Returns whether no event arrives within `time`.
    pub(crate) async fn is_quiet(&mut self, time: Duration) -> bool {
        timeout(time, self.next()).await.is_err()
    }
}
