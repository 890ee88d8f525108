//! HTTP endpoint for the agent's metrics as `OpenMetrics` 1.0 text. Disabled unless
//! `metrics.listen` is set.
//!
//! The metrics contain no position, parcel number or secret. Each connection gets one response and
//! is closed. An untrusted peer occupies at most 4 sockets for 2 seconds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::agent::AgentWatches;
use crate::uplink::LinkState;
use waypost_model::units::Uptime;
use waypost_service::clock::Clock;
use waypost_service::openmetrics::{MEDIA_TYPE, MetricsWriter};

/// Maximum concurrent connections; further ones are closed.
const MAX_CLIENTS: usize = 4;

/// Time limit for request and response together.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum bytes of a request; the rest is not read.
const MAX_REQUEST: usize = 4096;

/// Delay after a failed `accept`, as when the process has no file descriptor left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Delay before another attempt to bind, as when the address is in use or the network is not up.
const LISTEN_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The listening endpoint.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
}

impl Metrics {
    /// Binds `address` and serves requests until the future is dropped. A failed bind does not
    /// affect the agent: it is retried every 30 s.
    pub async fn run(address: SocketAddr, watches: AgentWatches, clock: Clock) {
        let mut was_refused = false;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return Self { listener }.serve(watches, clock).await,
                Err(error) if !was_refused => {
                    was_refused = true;
                    tracing::warn!(%address, %error, "metrics listener unavailable, retrying");
                }
                Err(_) => {}
            }
            tokio::time::sleep(LISTEN_RETRY_DELAY).await;
        }
    }

    async fn serve(self, watches: AgentWatches, clock: Clock) {
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            };
            let Ok(permit) = clients.clone().try_acquire_owned() else { continue };
            let (watches, now) = (watches.clone(), clock.uptime());
            tokio::spawn(async move {
                // A client that disconnects or exceeds the time limit gets no response.
                let _ = timeout(TIMEOUT, respond(stream, &watches, now)).await;
                drop(permit);
            });
        }
    }
}

async fn respond(mut stream: TcpStream, watches: &AgentWatches, now: Uptime) -> io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 512]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MAX_REQUEST {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", exposition(watches, now))
    } else {
        ("404 Not Found", "not found: this server has GET /metrics only\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {MEDIA_TYPE}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Renders all metrics as `OpenMetrics` 1.0 text.
fn exposition(watches: &AgentWatches, now: Uptime) -> String {
    let mut all = MetricsWriter::new("waypost");
    all.declare("build", "info", "Version of the agent.");
    all.sample(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
    all.gauge("uptime_seconds", "Time since the agent started.", now.since_start().as_secs());
    receiver(&mut all, watches, now);
    outbox(&mut all, watches);
    link(&mut all, watches);
    downlink(&mut all, watches);
    all.finish()
}

fn receiver(all: &mut MetricsWriter, watches: &AgentWatches, now: Uptime) {
    let (health, reception) = (watches.health.borrow(), watches.reception.borrow());
    let gnss = &health.gnss;
    let open = u8::from(gnss.receiver == "open");
    all.gauge("receiver_open", "1 while the receiver is open and sends data.", open);
    all.gauge("fix_mode", "Fix mode: 1 no fix, 2 two-dimensional, 3 three-dimensional.", gnss.mode);
    all.gauge("satellites_used", "Satellites used in the newest fix.", gnss.sats.unwrap_or(0));
    all.gauge(
        "satellites_in_view",
        "Satellites in view, from GSV sentences.",
        gnss.sats_in_view.unwrap_or(0),
    );
    if let Some(at) = health.newest_fix_at {
        let age = now.since(at).as_secs_f64();
        all.gauge("fix_age_seconds", "Age of the newest fix.", format_args!("{age:.1}"));
    }
    all.counter("receiver_bytes", "Bytes read from the receiver.", reception.framing.bytes);
    all.counter("sentences_bad", "Lines that are not valid sentences.", reception.sentences_bad());
    all.declare("epochs_rejected", "counter", "Epochs rejected as fixes, by reason.");
    for (reason, count) in reception.rejected.by_reason() {
        all.sample(&format!("epochs_rejected_total{{reason=\"{reason}\"}}"), count);
    }
}

fn outbox(all: &mut MetricsWriter, watches: &AgentWatches) {
    let stats = *watches.outbox.borrow();
    all.gauge("outbox_pending", "Records not acknowledged yet.", stats.pending);
    all.gauge("outbox_events_pending", "Events not acknowledged yet.", stats.events_pending);
    all.gauge("outbox_bytes", "Size of the outbox database.", stats.bytes);
    all.counter(
        "outbox_dropped",
        "Records evicted without acknowledgement, over the lifetime of the outbox.",
        stats.dropped,
    );
    all.counter("outbox_thinned", "Points removed to thin the stored track.", stats.thinned);
    let written = stats.written_bytes_today;
    all.gauge(
        "written_bytes_today",
        "Bytes written to disk by the agent since midnight UTC.",
        written,
    );
}

fn link(all: &mut MetricsWriter, watches: &AgentWatches) {
    let link = watches.link.borrow();
    let connected = u8::from(link.state == LinkState::Connected);
    all.gauge("link_connected", "1 while connected to the broker.", connected);
    all.counter("link_reconnects", "Connections after the first.", link.reconnects);
    all.counter("positions", "Messages published on position.", link.positions);
    all.counter(
        "track_messages",
        "Messages published on track, including retransmissions.",
        link.track_messages,
    );
    all.counter("points_acked", "Track points acknowledged by the broker.", link.points_acked);
    all.counter(
        "event_messages",
        "Messages published on event, including retransmissions.",
        link.event_messages,
    );
    all.counter("events_acked", "Events acknowledged by the broker.", link.events_acked);
    let too_large = link.events_too_large;
    all.gauge(
        "events_too_large",
        "Events held back because they exceed the broker's packet limit.",
        too_large,
    );
    all.counter("payload_bytes", "Payload bytes published.", link.payload_bytes);
    let month = link.data_usage.month;
    all.gauge(
        "air_bytes_month",
        "Bytes transferred this calendar month (UTC), including headers.",
        month,
    );
}

fn downlink(all: &mut MetricsWriter, watches: &AgentWatches) {
    let link = watches.link.borrow();
    all.counter("downlink_messages", "Messages received from the backend.", link.downlink_messages);
    let dropped = link.downlink_dropped;
    all.counter("downlink_dropped", "Messages from the backend that were dropped.", dropped);
    let unsigned = *watches.unsigned_commands.borrow();
    all.counter(
        "commands_unsigned",
        "Commands rejected because they have no valid signature.",
        unsigned,
    );
    all.counter("acks_unfit", "Invalid acknowledgements received on ack.", link.acks_invalid);
    let lost = link.responses_lost;
    all.counter("answers_lost", "Command results that were not delivered to the broker.", lost);
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::uplink::LinkStatus;
    use waypost_service::liveness::Liveness;

    fn watches() -> AgentWatches {
        AgentWatches {
            reception: watch::Sender::default().subscribe(),
            health: watch::Sender::default().subscribe(),
            live: watch::Sender::new(None).subscribe(),
            outbox: watch::Sender::default().subscribe(),
            link: watch::Sender::new(LinkStatus::new(Uptime::ZERO)).subscribe(),
            scanners: watch::Sender::default().subscribe(),
            unsigned_commands: watch::Sender::default().subscribe(),
            liveness: Liveness::default(),
        }
    }

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Metrics { listener }.serve(watches(), Clock::live()));
        address
    }

    async fn request(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn the_text_is_open_metrics() {
        let text = exposition(&watches(), Uptime::ZERO);
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut family = (String::new(), String::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                family = (name.to_owned(), kind.to_owned());
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.starts_with(&family.0), "{line}");
            } else {
                let suffix = match family.1.as_str() {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let rest = line.strip_prefix(&format!("{}{suffix}", family.0)).expect(line);
                assert!(rest.starts_with([' ', '{']), "{line}");
                let value = rest.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            }
        }
    }

    #[test]
    fn what_was_not_taken_is_among_it() {
        let mut status = LinkStatus::new(Uptime::ZERO);
        status.downlink_messages = 9;
        status.downlink_dropped = 2;
        status.acks_invalid = 3;
        status.responses_lost = 4;
        status.events_too_large = 5;
        let link = watch::Sender::new(status).subscribe();
        let unsigned_commands = watch::Sender::new(6).subscribe();
        let text = exposition(&AgentWatches { link, unsigned_commands, ..watches() }, Uptime::ZERO);
        for line in [
            "downlink_messages_total 9",
            "downlink_dropped_total 2",
            "acks_unfit_total 3",
            "answers_lost_total 4",
            "events_too_large 5",
            "commands_unsigned_total 6",
        ] {
            assert!(text.contains(&format!("\nwaypost_{line}\n")), "{line}: {text}");
        }
    }

    #[tokio::test]
    async fn who_asks_gets_one_answer_and_who_asks_for_something_else_is_told_so() {
        let address = server().await;
        let answer = request(address, b"GET /metrics HTTP/1.1\r\nHost: van\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\nwaypost_link_connected 0\n"), "{answer}");
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\r\n\r\n", &[0xff; MAX_REQUEST]] {
            let answer = request(address, other).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_does_not_keep_others_from_asking() {
        let address = server().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CLIENTS - 1 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = request(address, b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(answer.contains("# EOF"), "{answer}");
    }
}
