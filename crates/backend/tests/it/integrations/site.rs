//! The real server on its own port, and its clients.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use waypost_backend::config::{Scope, Token};
use waypost_backend::http::{self, server};
use waypost_backend::store::Store;
use waypost_backend::{AppState, integrations, octets};

use crate::support::backend::shared;

pub(super) const NOW: &str = "2026-11-22T06:00:00.000Z";

/// A server and its shared state. It ends with the test.
pub(super) struct Site {
    pub(super) shared: AppState,
    pub(super) url: String,
    stop: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn token(name: &str, scopes: &[Scope]) -> Token {
    Token {
        name: name.to_owned(),
        sha256: octets::sha256(name),
        scopes: scopes.to_vec(),
        owners: Vec::new(),
        sites: Vec::new(),
    }
}

impl Site {
    /// Starts a server with the tokens `planner`, `warehouse`, `partner`, `corrector`, `reader` and
    /// `bound`, which has an owner and a site;
    /// the names are the secrets.
    pub(super) async fn start(store: Store) -> Self {
        let mut shared = shared(store, NOW);
        let mut config = (*shared.config).clone();
        config.notifications.allow_private_webhooks = true;
        config.tokens = vec![
            token("planner", &[Scope::Routes]),
            token("warehouse", &[Scope::Capture, Scope::Events]),
            token("partner", &[Scope::Capture]),
            token("corrector", &[Scope::Capture, Scope::Retract]),
            token("reader", &[Scope::Events]),
            Token {
                owners: vec!["9521234".to_owned()],
                sites: vec!["https://id.gs1.org/414/9521234".to_owned()],
                ..token("bound", &[Scope::Capture])
            },
        ];
        shared.config = config.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = http::router().merge(integrations::router());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(shared.clone(), listener, router, stop.clone()));
        tokio::spawn(integrations::run(shared.clone(), stop.clone()));
        Self { shared, url, stop }
    }

    /// Sends a request with a token; `body` has its content type.
    pub(super) async fn request(
        &self,
        who: &str,
        request: &str,
        body: Option<(&str, String)>,
    ) -> Response {
        self.request_with(who, request, body, &[]).await
    }

    /// Sends a request with additional headers.
    pub(super) async fn request_with(
        &self,
        who: &str,
        request: &str,
        body: Option<(&str, String)>,
        headers: &[(&str, &str)],
    ) -> Response {
        let (method, path) = request.split_once(' ').unwrap();
        let mut builder = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {who}"));
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let body = match body {
            Some((kind, text)) => {
                builder = builder.header("content-type", kind);
                text
            }
            None => String::new(),
        };
        let request = builder.body(body).unwrap();
        tokio::task::spawn_blocking(move || answer(&request)).await.unwrap()
    }

    pub(super) async fn json(&self, who: &str, request: &str, body: &Value) -> Response {
        self.request(who, request, Some(("application/json", body.to_string()))).await
    }

    pub(super) async fn get(&self, who: &str, path: &str) -> Response {
        self.request(who, &format!("GET {path}"), None).await
    }
}

fn answer(request: &ureq::http::Request<String>) -> Response {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(30)))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    // A server that rejects a large body need not read it, and a client that is still writing may
    // miss the response.
    let mut tries = 0;
    let mut response = loop {
        tries += 1;
        match agent.run(request.clone()) {
            Err(ureq::Error::Io(error)) if tries < 10 => eprintln!("retried: {error}"),
            answered => break answered.unwrap(),
        }
    };
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let text = response.body_mut().read_to_string().unwrap();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Response { status: response.status().as_u16(), headers, text, json }
}
