//! `waypost simulate`: arguments → route, settings and output.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::{self, Output, Pace};
use super::route::parse_start;
use super::{Rate, ReceiverType, Route, Settings, Share, Simulation};
use crate::units::UtcTime;

/// Sends the NMEA of a van on a route.
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
        let Settings { start, seed, receiver, rate, cold_start, bad_checksum_rate, duration } =
            settings;
        *start = self.start.unwrap_or(*start);
        *seed = self.seed.unwrap_or(*seed);
        *receiver = self.receiver.unwrap_or(*receiver);
        *rate = self.rate.unwrap_or(*rate);
        *cold_start = self.cold_start.map_or(*cold_start, Duration::from_secs);
        *bad_checksum_rate = self.bad_checksum_rate.unwrap_or(*bad_checksum_rate);
        *duration = self.duration.map(Duration::from_secs);
    }

    fn output(&self) -> Output {
        match (&self.pty, &self.out) {
            (Some(link), _) => Output::Pty { link: link.clone(), baud: self.baud },
            (None, Some(path)) => Output::File(path.clone()),
            (None, None) => Output::Stdout,
        }
    }
}

/// Runs `waypost simulate` until the day, the duration or the user's patience ends.
///
/// # Errors
///
/// If the route is not usable, or the output cannot be written.
pub async fn command(args: SimulateArgs) -> anyhow::Result<()> {
    let mut route = Route::load(&args.route)?;
    args.apply(&mut route.settings);
    let output = args.output();
    let pace = args.speed.unwrap_or(match output {
        Output::Pty { .. } => Pace::Times(1.0),
        Output::Stdout | Output::File(_) => Pace::Max,
    });
    let sent = output::run(Simulation::new(route), output, pace).await?;
    if sent.unread + sent.crowded_out > 0 {
        let (all, unread, slow) = (sent.epochs, sent.unread, sent.crowded_out);
        eprintln!(
            "waypost: of {all} epochs, nobody read {unread}, and {slow} were too many for the line"
        );
    }
    Ok(())
}
