//! The end of a demo: what was stored against what arrived.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::ink::{bytes, counted, grouped};
use super::network::Carried;
use super::seqs::total;
use super::shipments::Shipments;
use super::view::{minutes, stages};
use crate::outbox::OutboxStats;
use crate::relay::LinkStatus;

/// More are not named one by one.
const NAMED: usize = 5;

/// What the demo found out.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) title: String,
    pub(super) elapsed: Duration,
    /// How long the network was cut.
    pub(super) cut: Duration,
    /// Epochs with a fix that the receiver sent.
    pub(super) fixes: u64,
    /// The numbers of all points and events that were committed to the outbox; empty if there is none.
    pub(super) stored: RangeInclusive<u64>,
    pub(super) arrivals: Arrivals,
    pub(super) link: LinkStatus,
    pub(super) outbox: OutboxStats,
    pub(super) carried: Carried,
}

impl Summary {
    /// The stored points and events that did not arrive.
    pub(super) fn missing(&self) -> Vec<RangeInclusive<u64>> {
        self.arrivals.seqs.missing(self.stored.clone())
    }

    /// Why this demo has failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        let missing = total(&self.missing());
        if missing > 0 {
            let waiting = counted(self.outbox.pending, "record");
            return Some(format!(
                "{} stored and not received, while {waiting} waited in the outbox",
                counted(missing, "record")
            ));
        }
        if self.stored.is_empty() {
            return Some("nothing was stored: the agent has accepted no fix".to_owned());
        }
        (self.arrivals.unreadable > 0).then(|| {
            format!("{} not as in the contract", counted(self.arrivals.unreadable, "payload"))
        })
    }

    fn events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shipments { received, repeated, summary, .. } = &self.arrivals.shipments;
        write!(f, "\n  events     {} received, ", grouped(*received))?;
        write!(f, "{} doubled by id; ", grouped(*repeated))?;
        match self.arrivals.shipments.doubled_stages() {
            0 => write!(f, "each stage once")?,
            doubled => write!(f, "{doubled} stages of a parcel said again")?,
        }
        write!(f, "\n  parcels    {}", stages(&self.arrivals.shipments, ", "))?;
        let Some(summary) = summary else { return Ok(()) };
        let number = |name: &str| summary[name].as_f64().unwrap_or_default();
        write!(
            f,
            "\n  route      {} of {} stops, ",
            number("van:stopsServed"),
            number("van:stopsTotal")
        )?;
        write!(f, "{} delivered, ", number("van:delivered"))?;
        write!(f, "{} attempted, ", number("van:attempted"))?;
        let (km, min) = (number("van:distanceM") / 1000.0, number("van:durationS") / 60.0);
        write!(f, "{km:.1} km in {min:.0} min")
    }

    fn missing_text(&self) -> String {
        let missing = self.missing();
        if missing.is_empty() {
            return "none".to_owned();
        }
        let named = missing.iter().take(NAMED).map(|range| match range.clone().into_inner() {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}..={last}"),
        });
        let named: Vec<_> = named.collect();
        let more = if missing.len() > NAMED { ", ..." } else { "" };
        format!("{}: seq {}{more}", counted(total(&missing), "record"), named.join(", "))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, elapsed, cut, fixes, stored, arrivals, link, outbox, carried } = self;
        let Arrivals { points, track_messages, backlog, duplicates, .. } = arrivals;
        write!(f, "waypost demo: {title}, {} of it", minutes(*elapsed))?;
        if !cut.is_zero() {
            write!(f, ", network cut for {:.0} s", cut.as_secs_f64())?;
        }
        write!(f, "\n  sent       {} with a fix by the receiver", counted(*fixes, "epoch"))?;
        write!(f, "\n  stored     {}", counted(total(std::slice::from_ref(stored)), "record"))?;
        if !stored.is_empty() {
            write!(f, ", seq {}..={}", stored.start(), stored.end())?;
        }
        write!(f, "\n  received   {}", counted(arrivals.different_points(), "point"))?;
        write!(f, " in {}", counted(*track_messages, "message"))?;
        write!(f, "; {} of {} as backlog", grouped(*backlog), grouped(*points))?;
        self.events(f)?;
        write!(f, "\n  repeated   {}", grouped(*duplicates))?;
        write!(f, "\n  missing    {}", self.missing_text())?;
        write!(f, "\n  waiting    {} in the outbox", grouped(outbox.pending))?;
        write!(f, "\n  positions  {} received live", grouped(arrivals.positions))?;
        let (up, down) = (bytes(carried.up_bytes), bytes(carried.down_bytes));
        write!(f, "\n  wire       {up} up, {down} down")?;
        write!(f, ", {}", counted(link.reconnects, "reconnect"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::Seq;
    use crate::demo::arrivals::tests::{arrivals, track};
    use crate::demo::shipments::tests::event;
    use crate::demo::view::tests::{link, stats};
    use crate::relay::LinkState;

    fn summary(stored: RangeInclusive<u64>, received: &[u64]) -> Summary {
        let mut arrivals = arrivals();
        if !received.is_empty() {
            track(&mut arrivals, received, true);
        }
        Summary {
            title: "city round".to_owned(),
            elapsed: Duration::from_secs(65),
            cut: Duration::from_millis(5010),
            fixes: 5,
            stored,
            arrivals,
            link: link(LinkState::Stopped),
            outbox: stats(Seq::new(9), 2),
            carried: Carried { up_bytes: 81_234, down_bytes: 3210 },
        }
    }

    #[test]
    fn who_has_everything_has_not_failed_however_often_it_came() {
        let summary = summary(1..=4, &[3, 4, 1, 2, 3]);
        assert_eq!(summary.failure(), None);
        assert_eq!(
            summary.to_string(),
            "waypost demo: city round, 1:05 of it, network cut for 5 s\n  \
             sent       5 epochs with a fix by the receiver\n  \
             stored     4 records, seq 1..=4\n  \
             received   4 points in 1 message; 5 of 5 as backlog\n  \
             events     0 received, 0 doubled by id; each stage once\n  \
             parcels    none\n  \
             repeated   1\n  \
             missing    none\n  \
             waiting    2 in the outbox\n  \
             positions  0 received live\n  \
             wire       81.2 kB up, 3.2 kB down, 0 reconnects"
        );
    }

    #[test]
    fn what_became_of_the_parcels_and_the_route_is_said() {
        let mut summary = summary(1..=4, &[1, 3]);
        let mut completed = event(4, "b", "route.completed", &[]);
        completed["data"]["van:summary"] = serde_json::json!({
            "van:stopsServed": 11, "van:stopsTotal": 12, "van:delivered": 20, "van:attempted": 2,
            "van:distanceM": 6240.5, "van:durationS": 1500,
        });
        for event in [event(2, "a", "parcel.delivered", &["7", "8"]), completed] {
            let payload = event.to_string();
            let at = crate::units::Uptime::ZERO;
            summary.arrivals.observe(b"fleet/v1/VAN-1/event", payload.as_bytes(), at);
        }
        assert_eq!(summary.failure(), None);
        let said = summary.to_string();
        assert!(
            said.contains(
                "events     2 received, 0 doubled by id; each stage once\n  \
             parcels    2 delivered\n  \
             route      11 of 12 stops, 20 delivered, 2 attempted, 6.2 km in 25 min\n"
            ),
            "{said}"
        );
    }

    #[test]
    fn what_is_missing_is_named_and_fails_the_demo() {
        let gone = summary(1..=9, &[2, 3, 7]);
        let said = gone.failure().unwrap();
        assert_eq!(said, "6 records stored and not received, while 2 records waited in the outbox");
        assert!(gone.to_string().contains("missing    6 records: seq 1, 4..=6, 8..=9\n"), "{gone}");
        let holes = summary(1..=40, &(1..=40).step_by(2).collect::<Vec<_>>());
        assert!(holes.to_string().contains("20 records: seq 2, 4, 6, 8, 10, ...\n"), "{holes}");
    }

    #[test]
    fn a_demo_that_stored_nothing_shows_nothing_and_fails() {
        let (first, last) = (1, 0);
        let empty = summary(first..=last, &[]);
        assert!(empty.failure().unwrap().contains("nothing was stored"));
        assert!(empty.to_string().contains("stored     0 records\n"), "{empty}");
    }
}
