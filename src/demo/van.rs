//! Route → NMEA on the far end of a pty, where the agent reads it as it would read a receiver.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio_serial::{SerialPort as _, SerialStream};

use crate::clock::Clock;
use crate::simulate::{Rate, ReceiverType, Route, Simulation};

/// Part of the binary, so that the demo runs from anywhere.
const ROUTE: &str = include_str!("../../config/routes/city.toml");

/// Whoever watches has seen the van stand by then. In the van's time.
const LOADING: Duration = Duration::from_secs(20);

/// The receiver was switched off for a moment only. In the van's time.
const COLD_START: Duration = Duration::from_secs(4);

/// A simulated van and the serial line of its receiver.
#[derive(Debug)]
pub(super) struct Van {
    simulation: Simulation,
    near: SerialStream,
    /// Kept open, so that the line does not hang up before the agent has opened it.
    _far: SerialStream,
    tty: String,
    /// Epochs with a fix, as far as they have been sent.
    fixes: Arc<AtomicU64>,
}

impl Van {
    /// The van at its depot, about to leave.
    pub(super) fn new(receiver: Option<ReceiverType>, rate: Rate) -> anyhow::Result<Self> {
        let mut route = Route::parse(Path::new("config/routes/city.toml"), ROUTE)?;
        let skipped = route.depot.loading.saturating_sub(LOADING);
        route.depot.loading = route.depot.loading.min(LOADING);
        let settings = &mut route.settings;
        settings.start = settings.start.checked_add(skipped).context("the route's start")?;
        settings.cold_start = settings.cold_start.min(COLD_START);
        settings.receiver = receiver.unwrap_or(settings.receiver);
        settings.rate = rate;
        let (near, far) = SerialStream::pair().context("no pty for the receiver")?;
        let tty = far.name().context("the pty has no name")?;
        let (simulation, fixes) = (Simulation::new(route), Arc::default());
        Ok(Self { simulation, near, _far: far, tty, fixes })
    }

    /// What the agent opens.
    pub(super) fn tty(&self) -> &str {
        &self.tty
    }

    /// Counts the epochs with a fix that the receiver has sent.
    pub(super) fn fixes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.fixes)
    }

    /// The route, as it is driven.
    pub(super) fn route(&self) -> &Route {
        self.simulation.route()
    }

    /// Drives until the day is over; `clock` says how fast.
    pub(super) async fn drive(mut self, clock: Clock) -> anyhow::Result<()> {
        for burst in self.simulation.by_ref() {
            clock.reached(Some(burst.at)).await;
            self.near.write_all(&burst.bytes).await.context("the receiver's pty")?;
            self.fixes.fetch_add(u64::from(burst.truth.has_fix), Ordering::Relaxed);
        }
        Ok(())
    }
}
