//! A simulated van on ptys: its receiver, the hand scanner and the RFID reader. The agent opens the
//! far ends as it would open the devices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio_serial::{SerialPort as _, SerialStream};

use waypost_model::units::UtcTime;
use waypost_service::clock::Clock;
use waypost_sim::{Day, DayEvent, Parcel, ParcelOutcome, Rate, ReceiverType, Route, Scanner};

/// Part of the binary, so that the demo runs from any directory.
const ROUTE: &str = include_str!("../../../config/routes/deliveries_short.toml");

/// Loading time, in the van's time; short for the viewer, and long enough to scan all parcels.
const LOADING: Duration = Duration::from_secs(120);

/// Minimum number of stops before the parcel whose page is shown. The viewer sees them count down,
/// and soon sees the van.
const MIN_STOPS_AHEAD: usize = 4;

/// Angle between the routes of consecutive vans; never repeats, so that no two vans share a road.
const GOLDEN_ANGLE_DEG: f64 = 137.508;

/// Cold start, in the van's time; short, as after a brief power-off.
const COLD_START: Duration = Duration::from_secs(4);

/// A simulated van and its serial lines.
#[derive(Debug)]
pub(super) struct Van {
    day: Day,
    receiver: PtyPair,
    hand: PtyPair,
    portal: PtyPair,
    /// Count of epochs with a fix sent so far.
    fixes: Arc<AtomicU64>,
}

/// Devices that the agent opens.
#[derive(Clone, Debug)]
pub(super) struct Ttys {
    pub(super) receiver: String,
    /// The hand scanner.
    pub(super) hand: String,
    /// The RFID reader.
    pub(super) portal: String,
}

/// A serial line.
#[derive(Debug)]
struct PtyPair {
    near: SerialStream,
    /// Kept open, so that the line does not hang up before the agent has opened it.
    _far: SerialStream,
    tty: String,
}

impl PtyPair {
    fn new() -> anyhow::Result<Self> {
        let (near, far) = SerialStream::pair().context("no pty is available")?;
        let tty = far.name().context("the pty has no name")?;
        Ok(Self { near, _far: far, tty })
    }
}

impl Van {
    /// Creates the van of this number at its depot at `start`, before loading. Each van of a fleet
    /// leaves in another direction.
    pub(super) fn new(
        number: u32,
        start: UtcTime,
        receiver: Option<ReceiverType>,
        rate: Rate,
    ) -> anyhow::Result<Self> {
        let route = Route::parse(Path::new("config/routes/deliveries_short.toml"), ROUTE)?;
        let mut route = route.rotated(f64::from(number - 1) * GOLDEN_ANGLE_DEG);
        let skipped = route.depot.loading.saturating_sub(LOADING);
        route.depot.loading = route.depot.loading.min(LOADING);
        let settings = &mut route.settings;
        settings.start = start.checked_add(skipped).context("the route's start")?;
        settings.seed = number.into();
        settings.van = number;
        settings.cold_start = settings.cold_start.min(COLD_START);
        settings.receiver = receiver.unwrap_or(settings.receiver);
        settings.rate = rate;
        let (day, fixes) = (Day::new(route), Arc::default());
        let (receiver, hand, portal) = (PtyPair::new()?, PtyPair::new()?, PtyPair::new()?);
        Ok(Self { day, receiver, hand, portal, fixes })
    }

    /// Returns the devices that the agent opens.
    pub(super) fn ttys(&self) -> Ttys {
        let [receiver, hand, portal] =
            [&self.receiver, &self.hand, &self.portal].map(|wire| wire.tty.clone());
        Ttys { receiver, hand, portal }
    }

    /// Returns the counter of epochs with a fix sent so far.
    pub(super) fn fixes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.fixes)
    }

    /// Returns the route with the settings in use.
    pub(super) fn route(&self) -> &Route {
        self.day.route()
    }

    /// Returns the manifest as the backend publishes it.
    pub(super) fn manifest(&self) -> String {
        self.day.manifest()
    }

    /// Returns a parcel that will be delivered, some stops ahead, for the viewer to follow.
    pub(super) fn shown_parcel(&self) -> Option<&str> {
        let delivered = |parcel: &&Parcel| parcel.outcome == ParcelOutcome::Delivered;
        let later = |parcel: &&Parcel| parcel.stop >= MIN_STOPS_AHEAD;
        let parcel = self.day.parcels().iter().filter(delivered).find(later)?;
        Some(&parcel.key)
    }

    /// Drives until the day is over, at the speed of `clock`.
    pub(super) async fn drive(mut self, clock: Clock) -> anyhow::Result<()> {
        for moment in self.day.by_ref() {
            clock.sleep_until(Some(moment.at())).await;
            // An epoch is written at once, because the agent takes a pause for its end.
            match moment {
                DayEvent::Epoch(burst) => {
                    let sent = self.receiver.near.write_all(&burst.bytes).await;
                    sent.context("the receiver's pty")?;
                    self.fixes.fetch_add(u64::from(burst.truth.has_fix), Ordering::Relaxed);
                }
                DayEvent::Scan(scan) => {
                    let wire = match scan.scanner {
                        Scanner::Hand => &mut self.hand,
                        Scanner::Portal => &mut self.portal,
                    };
                    wire.near.write_all(&scan.bytes()).await.context("a scanner's pty")?;
                }
                DayEvent::GroundTruth(_) => {}
            }
        }
        Ok(())
    }
}
