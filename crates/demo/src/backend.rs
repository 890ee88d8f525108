//! An instance of the backend in this process, and the links to its pages.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use waypost_backend::app::App;
use waypost_backend::config::{Config, Override};
use waypost_backend::octets;
use waypost_service::clock::Clock;
use waypost_service::sd_notify::ServiceNotifier;

/// Token for dispatch and for the routes API, which are reachable from this host only.
pub(super) const TOKEN: &str = "demo";

/// Postcode of all recipients.
pub(super) const POSTCODE: &str = "80331";

/// Timeout of an API request, which takes milliseconds on the loopback interface.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The running backend.
#[derive(Debug)]
pub(super) struct Backend {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Link to a tracking page, as a recipient gets it from the sender.
#[derive(Clone, Debug)]
pub(super) struct TrackingLink {
    /// The parcel's number.
    pub(super) number: String,
    /// URL of the parcel's page.
    pub(super) url: String,
}

impl Backend {
    /// Starts the backend at `port`, or at a free port if that is in use; `clock` is the vans'
    /// time.
    pub(super) async fn start(
        broker: SocketAddr,
        scratch: &TempDir,
        clock: Clock,
        port: u16,
    ) -> anyhow::Result<Self> {
        let service = match App::open(config(broker, scratch, port)?, clock.clone()).await {
            Ok(service) => service,
            Err(error) if is_port_in_use(&error) => {
                App::open(config(broker, scratch, 0)?, clock).await?
            }
            Err(error) => return Err(error),
        };
        let address = service.local_addr()?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(service.run(stop.clone(), ServiceNotifier::default()));
        Ok(Self { address, stop, task: running })
    }

    /// Returns the URL of the dispatch page.
    pub(super) fn dispatch_url(&self) -> String {
        format!("http://{}/desk", self.address)
    }

    /// Puts a van's route with the API, as a planning system does. Returns the links of its parcels
    /// in the order of the stops.
    pub(super) async fn put_route(
        &self,
        van: &str,
        manifest: &str,
    ) -> anyhow::Result<Vec<TrackingLink>> {
        let mut manifest: Value = serde_json::from_str(manifest)?;
        let route = manifest["route"].as_str().context("the manifest has no route")?.to_owned();
        for stop in manifest["stops"].as_array_mut().into_iter().flatten() {
            for parcel in stop["parcels"].as_array_mut().into_iter().flatten() {
                parcel["recipient"] = json!({ "postcode": POSTCODE });
            }
        }
        let url = format!("http://{}/api/v1/routes/{route}", self.address);
        let body = json!({ "van": van, "manifest": manifest }).to_string();
        let answer = tokio::task::spawn_blocking(move || put(&url, body)).await??;
        let links = answer["parcels"].as_array().context("the response has no links")?;
        let text = |link: &Value, name: &str| link[name].as_str().map(str::to_owned);
        links
            .iter()
            .map(|link| {
                Some(TrackingLink { number: text(link, "number")?, url: text(link, "url")? })
            })
            .collect::<Option<_>>()
            .context("a link has no number or URL")
    }

    /// Completes only if the backend ends unexpectedly.
    pub(super) async fn wait_for_failure(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow!("the backend ended unexpectedly"),
            Ok(Err(error)) => error.context("the backend"),
            Err(error) => anyhow!(error),
        }
    }

    /// Stops the backend after its current work.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the backend's task")?.context("the backend")
    }
}

fn put(url: &str, body: String) -> anyhow::Result<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(RESPONSE_TIMEOUT))
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

fn is_port_in_use(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn config(broker: SocketAddr, scratch: &TempDir, port: u16) -> anyhow::Result<Config> {
    let path = scratch.path().join("backend.db");
    let path = path.to_str().context("the path of the temporary directory is not UTF-8")?;
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
