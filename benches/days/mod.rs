//! Recorded days for the benchmarks, as timed bursts.

use std::path::Path;
use std::time::Duration;

use waypost_model::units::Uptime;

/// Loads a recording at 1 Hz in its own time. An RMC or GGA sentence with a new time of day starts
/// an epoch.
pub(crate) fn recorded(path: &Path) -> Option<Vec<(Uptime, Vec<u8>)>> {
    let log = std::fs::read(path).ok()?;
    let (mut chunks, mut last) = (Vec::<(Uptime, Vec<u8>)>::new(), None);
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let time = line.split(|byte| *byte == b',').nth(1).and_then(seconds_of_day);
        let timed =
            line.get(3..6).is_some_and(|kind| [b"RMC", b"GGA"].iter().any(|it| kind == *it));
        match (time.filter(|_| timed), chunks.last_mut()) {
            (Some(time), _) if last != Some(time) => {
                last = Some(time);
                chunks.push((Uptime::new(Duration::from_secs(time)), line.to_vec()));
            }
            (_, Some((_, chunk))) => chunk.extend(line),
            (_, None) => chunks.push((Uptime::ZERO, line.to_vec())),
        }
    }
    Some(chunks)
}

fn seconds_of_day(text: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(text.get(..6)?).ok()?.parse().ok()?;
    Some(number / 10_000 * 3600 + number / 100 % 100 * 60 + number % 100)
}
