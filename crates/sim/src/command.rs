//! `waypost-sim`: turns the arguments into a route, settings and outputs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::{self, Output, Outputs, PlaybackSpeed};
use super::route::parse_start;
use super::{Day, Fraction, Rate, ReceiverType, Route, Settings};
use waypost_model::units::UtcTime;

/// Simulate the receiver and the scanners of a van that drives a route
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Route file, such as config/routes/city.toml
    pub route: PathBuf,
    /// Write a log file instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "pty")]
    pub out: Option<PathBuf>,
    /// Open a pseudo terminal instead of standard output, and link to it
    #[arg(long, value_name = "LINK")]
    pub pty: Option<Option<PathBuf>>,
    /// Baud rate of the pseudo terminal; a reader at another rate receives noise, as on a real line
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(300..=921_600))]
    pub baud: u32,
    /// Write the scanner lines with their times as JSON lines
    #[arg(long, value_name = "FILE")]
    pub scans: Option<PathBuf>,
    /// Open a pseudo terminal for the hand scanner, and link to it
    #[arg(long, value_name = "LINK")]
    pub scans_pty: Option<PathBuf>,
    /// Open a pseudo terminal for the RFID reader, and link to it
    #[arg(long, value_name = "LINK")]
    pub tags_pty: Option<PathBuf>,
    /// Write the manifest of the day before it begins
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Write the ground truth as JSON lines
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Speed as a multiple of real time, or `max`; the default is 1 with a pseudo terminal, else
    /// `max`
    #[arg(long, value_name = "TIMES")]
    pub speed: Option<PlaybackSpeed>,
    /// Epochs per second: 1, 2, 5 or 10
    #[arg(long, value_name = "HZ", value_parser = rate)]
    pub rate: Option<Rate>,
    /// Receiver type: ublox-m8, ublox-m10, sirf-star, mtk-3339, gga-only or rmc-only
    #[arg(long, value_name = "NAME")]
    pub receiver: Option<ReceiverType>,
    /// Seed of the random numbers; the same seed gives the same bytes
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of the van in a fleet; makes its route name and its parcel numbers unique
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=999))]
    pub van: Option<u32>,
    /// Time at which the receiver is switched on
    #[arg(long, value_name = "UTC", value_parser = parse_start)]
    pub start: Option<UtcTime>,
    /// End after this time since power-on
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// Share of the sentences that are corrupted on the line, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub bad_checksum_rate: Option<Fraction>,
    /// Time without a fix after power-on
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub cold_start: Option<u64>,
}

fn rate(text: &str) -> Result<Rate, String> {
    let hz = text.parse().ok();
    hz.and_then(Rate::from_hz).ok_or_else(|| "must be 1, 2, 5 or 10".to_owned())
}

fn share(text: &str) -> Result<Fraction, String> {
    let share = text.parse().ok();
    share.and_then(Fraction::new).ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

impl SimulateArgs {
    /// Overrides the settings of the route file with the arguments.
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

    /// Returns the first argument that requires parcels.
    fn first_parcel_arg(&self) -> Option<&'static str> {
        let asked = [
            ("--scans", &self.scans),
            ("--scans-pty", &self.scans_pty),
            ("--tags-pty", &self.tags_pty),
            ("--manifest", &self.manifest),
        ];
        asked.into_iter().find(|(_, path)| path.is_some()).map(|(name, _)| name)
    }
}

/// Runs `waypost-sim` until the day or the duration ends, or the user stops it.
///
/// # Errors
///
/// Fails if the route is invalid or an output cannot be written.
pub async fn command(args: SimulateArgs) -> anyhow::Result<()> {
    let mut route = Route::load(&args.route)?;
    if let (None, Some(name)) = (&route.delivery, args.first_parcel_arg()) {
        let file = args.route.display();
        anyhow::bail!("{file}: has no section [delivery], which {name} needs");
    }
    args.apply(&mut route.settings);
    let outputs = args.outputs();
    let usual = if outputs.is_live() { PlaybackSpeed::Times(1.0) } else { PlaybackSpeed::Max };
    let day = Day::new(route);
    if let Some(path) = &args.manifest {
        std::fs::write(path, day.manifest())
            .map_err(|error| anyhow::anyhow!("{}: cannot be written: {error}", path.display()))?;
    }
    let sent = output::run(day, outputs, args.speed.unwrap_or(usual)).await?;
    for (what, sent) in [("epochs", sent.nmea), ("scanner lines", sent.scanners)] {
        if sent.unread + sent.overrun > 0 {
            let (all, unread, slow) = (sent.chunks, sent.unread, sent.overrun);
            eprintln!("waypost: {all} {what}: {unread} not read, {slow} dropped by the slow line");
        }
    }
    Ok(())
}
