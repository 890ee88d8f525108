//! Tests of the view with fixed inputs, rendered as text.

use super::*;
use crate::parcel_status::tests::event;
use crate::received::tests::{arrivals, point, position, track};
use crate::style::{Colours, paint};
use waypost_model::record::Seq;

pub(crate) fn link(state: LinkState) -> LinkStatus {
    LinkStatus { state, ..LinkStatus::new(Uptime::ZERO) }
}

pub(crate) fn stats(newest: Seq, pending: u64) -> OutboxStats {
    let reserved = Seq::new(10_000);
    OutboxStats {
        pending,
        newest,
        durable: newest,
        reserved,
        bytes: 4096,
        ..OutboxStats::default()
    }
}

fn seen() -> ReceivedMessages {
    let mut arrivals = arrivals();
    track(&mut arrivals, &[1, 2, 3, 8, 9], false);
    track(&mut arrivals, &[3, 4], true);
    let payload = serde_json::to_vec(&position(12)).unwrap();
    arrivals.observe(b"fleet/v1/VAN-1/position", &payload, Uptime::from_millis(41_800));
    arrivals
}

static PAGES: std::sync::LazyLock<DemoPages> = std::sync::LazyLock::new(|| DemoPages {
    dispatch: "http://127.0.0.1:8642/desk".to_owned(),
    parcel: TrackingLink {
        number: "395212340000000014".to_owned(),
        url: "http://127.0.0.1:8642/t/AAAA".to_owned(),
    },
});

fn snapshot<'a>(arrivals: &'a ReceivedMessages, link: &'a LinkStatus) -> Snapshot<'a> {
    Snapshot {
        title: "city round ×5, ublox-m8 1 Hz",
        pages: &PAGES,
        now: Uptime::from_millis(42_000),
        phase: Phase::Driving,
        received: arrivals,
        link,
        outbox: stats(Seq::new(12), 132),
        backlog_samples: &[0, 5, 80, 132],
        network: NetworkState::Connected,
        byte_counts: ByteCounts { up_bytes: 123_456, down_bytes: 4567 },
    }
}

fn text(lines: &[Line], columns: usize) -> Vec<String> {
    let painted = lines.iter().map(|line| paint(line, columns, Colours::None));
    painted.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_frame_fills_the_terminal_and_never_more() {
    let (arrivals, link) = (seen(), link(LinkState::Connected));
    for (columns, rows) in [(80, 24), (120, 40), (200, 60), (40, 10), (20, 3), (1, 1)] {
        let frame = frame(&snapshot(&arrivals, &link), columns, rows);
        assert!(frame.len() <= rows, "{columns}x{rows}: {} rows", frame.len());
        let widest = text(&frame, columns).iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns), "{columns}x{rows}: {widest:?} columns");
    }
}

#[test]
fn the_facts_are_those_that_arrived() {
    let (arrivals, link) = (seen(), link(LinkState::Connected));
    let lines = text(&facts(&snapshot(&arrivals, &link)), 80);
    assert_eq!(
        lines,
        [
            " position  48.37042° N  10.90261° E",
            "           06:41:07 UTC, 0.2 s ago",
            " speed     38 km/h",
            " course    48° ↗ NE",
            " status    ● driving",
            "",
            " link      ● connected",
            " wire      ↑ 123.4 kB  ↓ 4.5 kB",
            " outbox    132 records waiting",
            "           ▁▁▅█",
            "",
            " agent     –",
            " track     7 points",
            "           in 2 messages",
            " backlog   2 points",
            " repeated  1",
            " gaps      3",
            format!(" payload   {}", format_bytes(arrivals.payload_bytes)).as_str(),
        ]
    );
}

#[test]
fn parcels_and_the_newest_events_are_said_and_none_is_cut() {
    let mut arrivals = seen();
    let mut departed = event(5, "a", "route.departed", &["395212340000000014", "7"]);
    departed["data"]["waypost:stopsTotal"] = 12.into();
    let delivered = event(6, "b", "parcel.delivered", &["395212340000000014"]);
    for event in [departed, delivered, event(7, "c", "stop.arrived", &[])] {
        let payload = event.to_string();
        arrivals.observe(b"fleet/v1/VAN-1/event", payload.as_bytes(), Uptime::ZERO);
    }
    arrivals.stop = Some(5);
    assert_eq!(
        text(&parcel_lines(&arrivals, 80), 80),
        [
            " parcels   1 out · 1 delivered   stop 5 of 12",
            " events    06:41:07 arrived · 06:41:07 delivered …00014 · 06:41:07 departed",
        ]
    );
    assert_eq!(
        text(&parcel_lines(&arrivals, 60), 60)[1],
        " events    06:41:07 arrived · 06:41:07 delivered …00014"
    );
}

#[test]
fn a_cut_is_said_and_an_old_position_is_called_so() {
    let (arrivals, link) = (seen(), link(LinkState::BackingOff { wait: Duration::ZERO }));
    let mut snapshot = snapshot(&arrivals, &link);
    let (since, until) = (Uptime::from_millis(44_100), Uptime::from_millis(54_100));
    snapshot.network = NetworkState::Cut { since, until };
    snapshot.now = Uptime::from_millis(50_000);
    assert_eq!(text(&[footer(&snapshot)], 80), [" network cut, 5 s left"]);
    let lines = facts(&snapshot);
    assert_eq!(lines[1][1], Span::new("06:41:07 UTC, 8.2 s ago", Style::Bad));
    assert_eq!(lines[6][1], Span::new("✗ cut, backing off", Style::Bad));
    snapshot.network = NetworkState::Connected;
    assert_eq!(text(&[footer(&snapshot)], 80), [" network available, the agent will reconnect"]);
    snapshot.phase = Phase::Draining;
    assert!(text(&[footer(&snapshot)], 80)[0].contains("132 records left to send"));
}

#[test]
fn before_the_first_message_nothing_is_made_up() {
    let (arrivals, link) = (arrivals(), link(LinkState::Connecting));
    let mut snapshot = snapshot(&arrivals, &link);
    (snapshot.outbox.pending, snapshot.backlog_samples) = (0, &[]);
    let lines = text(&frame(&snapshot, 80, 24), 80);
    let all = lines.join("\n");
    assert!(all.contains("position  –") && all.contains("track     0 points"), "{all}");
    assert!(all.contains("waiting for the first position"), "{all}");
}

#[test]
fn a_line_for_a_file_says_the_same() {
    let (arrivals, link) = (seen(), link(LinkState::Connected));
    assert_eq!(
        plain_line(&snapshot(&arrivals, &link)),
        "0:42  48.37042° N  10.90261° E 06:41:07 38 km/h  ● connected  outbox 132  track 7 backlog 2 repeated 1 gaps 3  \
         wire 128.0 kB  parcels none"
    );
}

#[test]
fn courses_have_their_wind_also_around_north() {
    for (degrees_from_e7, expected) in
        [(0.0, "0° ↑ N"), (22.6, "23° ↗ NE"), (180.0, "180° ↓ S"), (359.9, "360° ↑ N")]
    {
        let mut point = point(1, false);
        point.course_deg = Some(degrees_from_e7);
        assert_eq!(format_course(&point), expected);
    }
    assert_eq!(format_elapsed(Duration::from_secs(3671)), "1:01:11");
}
