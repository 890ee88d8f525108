//! `waypost simulate`: arguments → route, settings and output.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::{self, Output, Outputs, Pace};
use super::route::parse_start;
use super::{Day, Rate, ReceiverType, Route, Settings, Share};
use crate::units::UtcTime;

/// Sends the NMEA of a van on a route, and what its scanners read.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// The route, such as config/routes/city.toml
    pub route: PathBuf,
    /// Writes a log file instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "pty")]
    pub out: Option<PathBuf>,
    /// Opens a pseudo terminal instead, and links to it
    #[arg(long, value_name = "LINK")]
    pub pty: Option<Option<PathBuf>>,
    /// Speed of the pseudo terminal's line; a reader that has set another one reads noise, as from a real line
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(300..=921_600))]
    pub baud: u32,
    /// Writes the lines of the scanners as JSON lines, each with its time
    #[arg(long, value_name = "FILE")]
    pub scans: Option<PathBuf>,
    /// Opens a pseudo terminal for the hand scanner, and links to it
    #[arg(long, value_name = "LINK")]
    pub scans_pty: Option<PathBuf>,
    /// Opens a pseudo terminal for the reader of radio tags, and links to it
    #[arg(long, value_name = "LINK")]
    pub tags_pty: Option<PathBuf>,
    /// Writes the manifest of the day, before it begins
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Writes what truly happens as JSON lines
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Times as fast as the world, or `max`; a pseudo terminal's default is 1
    #[arg(long, value_name = "TIMES")]
    pub speed: Option<Pace>,
    /// Epochs a second: 1, 2, 5 or 10
    #[arg(long, value_name = "HZ", value_parser = rate)]
    pub rate: Option<Rate>,
    /// ublox-m8, ublox-m10, sirf-star, mtk-3339, gga-only or rmc-only
    #[arg(long, value_name = "NAME")]
    pub receiver: Option<ReceiverType>,
    /// Same seed, same bytes
    #[arg(long)]
    pub seed: Option<u64>,
    /// Which van of a fleet: its route's name and its parcels' numbers are nobody else's
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=999))]
    pub van: Option<u32>,
    /// When the receiver is switched on
    #[arg(long, value_name = "UTC", value_parser = parse_start)]
    pub start: Option<UtcTime>,
    /// Ends after so much of the day
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// The part of the sentences that the line spoils, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub bad_checksum_rate: Option<Share>,
    /// How long there is no fix after power-on
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub cold_start: Option<u64>,
}

fn rate(text: &str) -> Result<Rate, String> {
    let hz = text.parse().ok();
    hz.and_then(Rate::from_hz).ok_or_else(|| "none of 1, 2, 5 and 10".to_owned())
}

fn share(text: &str) -> Result<Share, String> {
    let share = text.parse().ok();
    share.and_then(Share::new).ok_or_else(|| "no number in 0..=1".to_owned())
}

impl SimulateArgs {
    /// The arguments rule over the file.
    fn apply(&self, settings: &mut Settings) {
        let Settings { start, seed, van, receiver, rate, cold_start, bad_checksum_rate, duration } =
            settings;
        *van = self.van.unwrap_or(*van);
        *start = self.start.unwrap_or(*start);
        *seed = self.seed.unwrap_or(*seed);
        *receiver = self.receiver.unwrap_or(*receiver);
        *rate = self.rate.unwrap_or(*rate);
        *cold_start = self.cold_start.map_or(*cold_start, Duration::from_secs);
        *bad_checksum_rate = self.bad_checksum_rate.unwrap_or(*bad_checksum_rate);
        *duration = self.duration.map(Duration::from_secs);
    }

    fn outputs(&self) -> Outputs {
        let nmea = match (&self.pty, &self.out) {
            (Some(link), _) => Output::Pty { link: link.clone(), baud: self.baud },
            (None, Some(path)) => Output::File(path.clone()),
            (None, None) => Output::Stdout,
        };
        Outputs {
            nmea,
            scans: self.scans.clone(),
            hand: self.scans_pty.clone(),
            portal: self.tags_pty.clone(),
            truth: self.truth.clone(),
        }
    }

    /// The first argument that is of no use without parcels.
    fn asks_for_parcels(&self) -> Option<&'static str> {
        let asked = [
            ("--scans", &self.scans),
            ("--scans-pty", &self.scans_pty),
            ("--tags-pty", &self.tags_pty),
            ("--manifest", &self.manifest),
        ];
        asked.into_iter().find(|(_, path)| path.is_some()).map(|(name, _)| name)
    }
}

/// Runs `waypost simulate` until the day, the duration or the user's patience ends.
///
/// # Errors
///
/// If the route is not usable, or an output cannot be written.
pub async fn command(args: SimulateArgs) -> anyhow::Result<()> {
    let mut route = Route::load(&args.route)?;
    if let (None, Some(name)) = (&route.delivery, args.asks_for_parcels()) {
        let file = args.route.display();
        anyhow::bail!("{file}: has no section [delivery], which {name} needs");
    }
    args.apply(&mut route.settings);
    let outputs = args.outputs();
    let usual = if outputs.is_live() { Pace::Times(1.0) } else { Pace::Max };
    let day = Day::new(route);
    if let Some(path) = &args.manifest {
        std::fs::write(path, day.manifest())
            .map_err(|error| anyhow::anyhow!("{}: cannot be written: {error}", path.display()))?;
    }
    let sent = output::run(day, outputs, args.speed.unwrap_or(usual)).await?;
    for (what, sent) in [("epochs", sent.nmea), ("lines of scanners", sent.scanners)] {
        if sent.unread + sent.crowded_out > 0 {
            let (all, unread, slow) = (sent.pieces, sent.unread, sent.crowded_out);
            eprintln!(
                "waypost: of {all} {what}, nobody read {unread}, and {slow} were too many for the line"
            );
        }
    }
    Ok(())
}
