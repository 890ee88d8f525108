//! Route → the lines of a van on the far ends of ptys: its receiver, the hand scanner and the reader of radio tags. There
//! the agent reads them as it would read the devices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio_serial::{SerialPort as _, SerialStream};

use crate::clock::Clock;
use crate::simulate::{Day, Fate, Moment, Parcel, Rate, ReceiverType, Route, Scanner};
use crate::units::UtcTime;

/// Part of the binary, so that the demo runs from anywhere.
const ROUTE: &str = include_str!("../../config/routes/deliveries_short.toml");

/// Nobody watches a van stand for longer, and the driver can still scan all parcels. In the van's time.
const LOADING: Duration = Duration::from_secs(120);

/// Of the parcel whose page is shown: enough to see them count down, and few enough to see the van soon.
const STOPS_AHEAD: usize = 4;

/// However many vans there are, none drives where another does.
const GOLDEN_ANGLE_DEG: f64 = 137.508;

/// The receiver was switched off for a moment only. In the van's time.
const COLD_START: Duration = Duration::from_secs(4);

/// A simulated van and its serial lines.
#[derive(Debug)]
pub(super) struct Van {
    day: Day,
    receiver: Wire,
    hand: Wire,
    portal: Wire,
    /// Epochs with a fix, as far as they have been sent.
    fixes: Arc<AtomicU64>,
}

/// What the agent opens.
#[derive(Clone, Debug)]
pub(super) struct Ttys {
    pub(super) receiver: String,
    /// The scanner in the driver's hand.
    pub(super) hand: String,
    /// The reader of radio tags.
    pub(super) portal: String,
}

/// A serial line.
#[derive(Debug)]
struct Wire {
    near: SerialStream,
    /// Kept open, so that the line does not hang up before the agent has opened it.
    _far: SerialStream,
    tty: String,
}

impl Wire {
    fn new() -> anyhow::Result<Self> {
        let (near, far) = SerialStream::pair().context("no pty")?;
        let tty = far.name().context("the pty has no name")?;
        Ok(Self { near, _far: far, tty })
    }
}

impl Van {
    /// The van of this number at its depot at `start`, about to be loaded. No two of a fleet leave in one direction.
    pub(super) fn new(
        number: u32,
        start: UtcTime,
        receiver: Option<ReceiverType>,
        rate: Rate,
    ) -> anyhow::Result<Self> {
        let route = Route::parse(Path::new("config/routes/deliveries_short.toml"), ROUTE)?;
        let mut route = route.turned(f64::from(number - 1) * GOLDEN_ANGLE_DEG);
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
        let (receiver, hand, portal) = (Wire::new()?, Wire::new()?, Wire::new()?);
        Ok(Self { day, receiver, hand, portal, fixes })
    }

    /// What the agent opens.
    pub(super) fn ttys(&self) -> Ttys {
        let [receiver, hand, portal] =
            [&self.receiver, &self.hand, &self.portal].map(|wire| wire.tty.clone());
        Ttys { receiver, hand, portal }
    }

    /// Counts the epochs with a fix that the receiver has sent.
    pub(super) fn fixes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.fixes)
    }

    /// The route, as it is driven.
    pub(super) fn route(&self) -> &Route {
        self.day.route()
    }

    /// What is due, as the backend publishes it.
    pub(super) fn manifest(&self) -> String {
        self.day.manifest()
    }

    /// A parcel that will be handed over, with some stops ahead of it: one to wait for.
    pub(super) fn awaited(&self) -> Option<&str> {
        let delivered = |parcel: &&Parcel| parcel.fate == Fate::Delivered;
        let later = |parcel: &&Parcel| parcel.stop >= STOPS_AHEAD;
        let parcel = self.day.parcels().iter().filter(delivered).find(later)?;
        Some(&parcel.key)
    }

    /// Drives until the day is over; `clock` says how fast.
    pub(super) async fn drive(mut self, clock: Clock) -> anyhow::Result<()> {
        for moment in self.day.by_ref() {
            clock.reached(Some(moment.at())).await;
            // Whatever belongs together is written at once: the agent takes a pause for an end.
            match moment {
                Moment::Burst(burst) => {
                    let sent = self.receiver.near.write_all(&burst.bytes).await;
                    sent.context("the receiver's pty")?;
                    self.fixes.fetch_add(u64::from(burst.truth.has_fix), Ordering::Relaxed);
                }
                Moment::Scan(scan) => {
                    let wire = match scan.scanner {
                        Scanner::Hand => &mut self.hand,
                        Scanner::Portal => &mut self.portal,
                    };
                    wire.near.write_all(&scan.bytes()).await.context("a scanner's pty")?;
                }
                Moment::Fact(_) => {}
            }
        }
        Ok(())
    }
}
