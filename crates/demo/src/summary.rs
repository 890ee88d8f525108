//! Summary at the end of a demo: compares stored with received records.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::network::ByteCounts;
use super::parcel_status::ParcelStatuses;
use super::received::ReceivedMessages;
use super::seq_set::total;
use super::style::{format_bytes, group_digits, with_count};
use super::view::{format_elapsed, stage_counts};
use waypost::outbox::OutboxStats;
use waypost::uplink::LinkStatus;

/// Maximum number of ranges listed one by one.
const MAX_LISTED: usize = 5;

/// Results of a demo.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) title: String,
    pub(super) elapsed: Duration,
    /// Duration of the network cut.
    pub(super) cut: Duration,
    /// Epochs with a fix that the receiver sent.
    pub(super) fixes: u64,
    /// Sequence numbers of all points and events committed to the outbox; empty if there are none.
    pub(super) stored: RangeInclusive<u64>,
    pub(super) received: ReceivedMessages,
    pub(super) link: LinkStatus,
    pub(super) outbox: OutboxStats,
    pub(super) carried: ByteCounts,
}

impl Summary {
    /// Returns the stored points and events that were not received.
    pub(super) fn missing(&self) -> Vec<RangeInclusive<u64>> {
        self.received.seqs.missing(self.stored.clone())
    }

    /// Returns the reason for a failure of this demo, if any.
    pub(super) fn failure(&self) -> Option<String> {
        let missing = total(&self.missing());
        if missing > 0 {
            let waiting = with_count(self.outbox.pending, "record");
            return Some(format!(
                "{} stored and not received, while {waiting} waited in the outbox",
                with_count(missing, "record")
            ));
        }
        if self.stored.is_empty() {
            return Some("nothing was stored: the agent has accepted no fix".to_owned());
        }
        (self.received.unreadable > 0).then(|| {
            format!("{} with a contract violation", with_count(self.received.unreadable, "payload"))
        })
    }

    fn events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParcelStatuses { received, repeated, summary, .. } = &self.received.parcel_statuses;
        write!(f, "\n  events     {} received, ", group_digits(*received))?;
        write!(f, "{} duplicate ids; ", group_digits(*repeated))?;
        match self.received.parcel_statuses.duplicate_stages() {
            0 => write!(f, "each stage once")?,
            duplicates => write!(f, "{duplicates} duplicate stages")?,
        }
        write!(f, "\n  parcels    {}", stage_counts(&self.received.parcel_statuses, ", "))?;
        let Some(summary) = summary else { return Ok(()) };
        let number = |name: &str| summary[name].as_f64().unwrap_or_default();
        write!(
            f,
            "\n  route      {} of {} stops, ",
            number("waypost:stopsServed"),
            number("waypost:stopsTotal")
        )?;
        write!(f, "{} delivered, ", number("waypost:delivered"))?;
        write!(f, "{} attempted, ", number("waypost:attempted"))?;
        let (km, min) = (number("waypost:distanceM") / 1000.0, number("waypost:durationS") / 60.0);
        write!(f, "{km:.1} km in {min:.0} min")
    }

    fn missing_text(&self) -> String {
        let missing = self.missing();
        if missing.is_empty() {
            return "none".to_owned();
        }
        let named = missing.iter().take(MAX_LISTED).map(|range| match range.clone().into_inner() {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}..={last}"),
        });
        let named: Vec<_> = named.collect();
        let more = if missing.len() > MAX_LISTED { ", ..." } else { "" };
        format!("{}: seq {}{more}", with_count(total(&missing), "record"), named.join(", "))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, elapsed, cut, fixes, stored, received: arrivals, link, outbox, carried } =
            self;
        let ReceivedMessages { points, track_messages, backlog, duplicates, .. } = arrivals;
        write!(f, "waypost demo: {title}, ran {}", format_elapsed(*elapsed))?;
        if !cut.is_zero() {
            write!(f, ", network cut for {:.0} s", cut.as_secs_f64())?;
        }
        write!(f, "\n  sent       {} with a fix by the receiver", with_count(*fixes, "epoch"))?;
        write!(f, "\n  stored     {}", with_count(total(std::slice::from_ref(stored)), "record"))?;
        if !stored.is_empty() {
            write!(f, ", seq {}..={}", stored.start(), stored.end())?;
        }
        write!(f, "\n  received   {}", with_count(arrivals.distinct_points(), "point"))?;
        write!(f, " in {}", with_count(*track_messages, "message"))?;
        write!(f, "; {} of {} as backlog", group_digits(*backlog), group_digits(*points))?;
        self.events(f)?;
        write!(f, "\n  repeated   {}", group_digits(*duplicates))?;
        write!(f, "\n  missing    {}", self.missing_text())?;
        write!(f, "\n  waiting    {} in the outbox", group_digits(outbox.pending))?;
        write!(f, "\n  positions  {} received live", group_digits(arrivals.positions))?;
        let (up, down) = (format_bytes(carried.up_bytes), format_bytes(carried.down_bytes));
        write!(f, "\n  wire       {up} up, {down} down")?;
        write!(f, ", {}", with_count(link.reconnects, "reconnect"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parcel_status::tests::event;
    use crate::received::tests::{arrivals, track};
    use crate::view::tests::{link, stats};
    use waypost::uplink::LinkState;
    use waypost_model::record::Seq;

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
            received: arrivals,
            link: link(LinkState::Stopped),
            outbox: stats(Seq::new(9), 2),
            carried: ByteCounts { up_bytes: 81_234, down_bytes: 3210 },
        }
    }

    #[test]
    fn who_has_everything_has_not_failed_however_often_it_came() {
        let summary = summary(1..=4, &[3, 4, 1, 2, 3]);
        assert_eq!(summary.failure(), None);
        assert_eq!(
            summary.to_string(),
            "waypost demo: city round, ran 1:05, network cut for 5 s\n  \
             sent       5 epochs with a fix by the receiver\n  \
             stored     4 records, seq 1..=4\n  \
             received   4 points in 1 message; 5 of 5 as backlog\n  \
             events     0 received, 0 duplicate ids; each stage once\n  \
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
        completed["data"]["waypost:summary"] = serde_json::json!({
            "waypost:stopsServed": 11, "waypost:stopsTotal": 12, "waypost:delivered": 20, "waypost:attempted": 2,
            "waypost:distanceM": 6240.5, "waypost:durationS": 1500,
        });
        for event in [event(2, "a", "parcel.delivered", &["7", "8"]), completed] {
            let payload = event.to_string();
            let at = waypost_model::units::Uptime::ZERO;
            summary.received.observe(b"fleet/v1/VAN-1/event", payload.as_bytes(), at);
        }
        assert_eq!(summary.failure(), None);
        let said = summary.to_string();
        assert!(
            said.contains(
                "events     2 received, 0 duplicate ids; each stage once\n  \
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
