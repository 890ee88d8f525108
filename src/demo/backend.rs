//! The other end of the wire: an instance of the backend in this process, and the links to its pages.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::scratch::Scratch;
use crate::backend::config::{Config, Override};
use crate::backend::octets;
use crate::backend::service::Service;
use crate::clock::Clock;
use crate::notify::Notify;

/// What opens the desk, and puts the routes: nobody but this host can reach it.
pub(super) const TOKEN: &str = "demo";

/// Where all the recipients live.
pub(super) const POSTCODE: &str = "80331";

/// An answer on the loopback interface takes milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// The backend, while it runs.
#[derive(Debug)]
pub(super) struct Backend {
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// What a recipient gets from whoever sent the parcel.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The parcel's number.
    pub(super) number: String,
    /// Its page.
    pub(super) url: String,
}

impl Backend {
    /// Starts it at `port`, or at a free one if that is taken; `clock` is the vans' time.
    pub(super) async fn start(
        broker: SocketAddr,
        scratch: &Scratch,
        clock: Clock,
        port: u16,
    ) -> anyhow::Result<Self> {
        let service = match Service::open(config(broker, scratch, port)?, clock.clone()).await {
            Ok(service) => service,
            Err(error) if is_taken(&error) => {
                Service::open(config(broker, scratch, 0)?, clock).await?
            }
            Err(error) => return Err(error),
        };
        let address = service.address()?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(service.run(stop.clone(), Notify::default()));
        Ok(Self { address, stop, running })
    }

    /// The dispatcher's page.
    pub(super) fn desk(&self) -> String {
        format!("http://{}/desk", self.address)
    }

    /// Puts a van's route by the API, as a planning system would; the links of its parcels in the order of the stops.
    pub(super) async fn put_route(&self, van: &str, manifest: &str) -> anyhow::Result<Vec<Link>> {
        let mut manifest: Value = serde_json::from_str(manifest)?;
        let route = manifest["route"].as_str().context("a manifest without a route")?.to_owned();
        for stop in manifest["stops"].as_array_mut().into_iter().flatten() {
            for parcel in stop["parcels"].as_array_mut().into_iter().flatten() {
                parcel["recipient"] = json!({ "postcode": POSTCODE });
            }
        }
        let url = format!("http://{}/api/v1/routes/{route}", self.address);
        let body = json!({ "van": van, "manifest": manifest }).to_string();
        let answer = tokio::task::spawn_blocking(move || put(&url, body)).await??;
        let links = answer["parcels"].as_array().context("no links in the answer")?;
        let text = |link: &Value, name: &str| link[name].as_str().map(str::to_owned);
        links
            .iter()
            .map(|link| Some(Link { number: text(link, "number")?, url: text(link, "url")? }))
            .collect::<Option<_>>()
            .context("a link without number and address")
    }

    /// Completes when it has ended by itself, which it should not.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        match (&mut self.running).await {
            Ok(Ok(())) => anyhow!("the backend has ended by itself"),
            Ok(Err(error)) => error.context("the backend"),
            Err(error) => anyhow!(error),
        }
    }

    /// Lets it finish what it has begun.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.await.context("the backend's task")?.context("the backend")
    }
}

fn put(url: &str, body: String) -> anyhow::Result<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWERED_WITHIN))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .put(url)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .send(body)?;
    let text = answer.body_mut().read_to_string()?;
    anyhow::ensure!(answer.status().is_success(), "{url}: {}: {text}", answer.status());
    Ok(serde_json::from_str(&text)?)
}

fn is_taken(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn config(broker: SocketAddr, scratch: &Scratch, port: u16) -> anyhow::Result<Config> {
    let path = scratch.path().join("backend.db");
    let path = path.to_str().context("the directory for temporary files is not UTF-8")?;
    let overrides = [
        ("store.path", path.to_owned()),
        ("mqtt.broker", format!("mqtt://{broker}")),
        ("http.listen", format!("127.0.0.1:{port}")),
        ("parcels.domain", super::DOMAIN.to_owned()),
        ("pages.operator", "waypost demo".to_owned()),
    ];
    let overrides = overrides.map(|(key, value)| Override { key, value });
    let hash = octets::sha256(TOKEN);
    let token = format!(
        "[[token]]\nname = \"demo\"\nsha256 = \"{hash}\"\nscopes = \"routes, capture, events, desk, metrics\"\n"
    );
    Ok(Config::parse(&token, "demo", &overrides)?)
}
