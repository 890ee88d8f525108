//! What the agent counts → `OpenMetrics` 1.0 text, for whoever asks by HTTP; off unless `metrics.listen` says where.
//!
//! No position, no number of a parcel and no secret is among it. Who connects gets one answer and is hung up on; a
//! stranger who connects often, or says nothing, costs a few sockets for two seconds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::daemon::Watches;
use crate::openmetrics::{Families, MEDIA_TYPE};
use crate::relay::LinkState;
use crate::units::Uptime;

/// Who asks at the same time; more are hung up on.
const CLIENTS: usize = 4;

/// Question and answer together.
const PATIENCE: Duration = Duration::from_secs(2);

/// More of a question is not read.
const MAX_REQUEST: usize = 4096;

/// When the system has no socket left, the next try.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// When the address is taken, or the network is not there yet, the next try.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Where it listens.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
}

impl Metrics {
    /// Listens as soon as it can, and answers until the caller has had enough: drop it to end it. An address that is taken,
    /// not there yet or not allowed keeps nobody from recording: it is tried again.
    pub async fn run(address: SocketAddr, watches: Watches, clock: Clock) {
        let mut was_refused = false;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return Self { listener }.serve(watches, clock).await,
                Err(error) if !was_refused => {
                    was_refused = true;
                    tracing::warn!(%address, %error, "metrics.listen not possible, trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
        }
    }

    async fn serve(self, watches: Watches, clock: Clock) {
        let clients = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            };
            let Ok(permit) = clients.clone().try_acquire_owned() else { continue };
            let (watches, now) = (watches.clone(), clock.uptime());
            tokio::spawn(async move {
                // Who hangs up or takes too long gets no answer, and there is nobody to tell.
                let _ = timeout(PATIENCE, answer(stream, &watches, now)).await;
                drop(permit);
            });
        }
    }
}

async fn answer(mut stream: TcpStream, watches: &Watches, now: Uptime) -> io::Result<()> {
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
        ("404 Not Found", "GET /metrics is all that is here\n".to_owned())
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

/// Everything, as `OpenMetrics` 1.0 text.
fn exposition(watches: &Watches, now: Uptime) -> String {
    let mut all = Families::new("waypost");
    all.family("build", "info", "The agent.");
    all.sample(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
    all.gauge("uptime_seconds", "Since the agent started.", now.since_start().as_secs());
    receiver(&mut all, watches, now);
    outbox(&mut all, watches);
    link(&mut all, watches);
    downlink(&mut all, watches);
    all.finish()
}

fn receiver(all: &mut Families, watches: &Watches, now: Uptime) {
    let (health, reception) = (watches.health.borrow(), watches.reception.borrow());
    let gnss = &health.gnss;
    let open = u8::from(gnss.receiver == "open");
    all.gauge("receiver_open", "1 while the receiver is there and talks.", open);
    all.gauge("fix_mode", "1 no fix, 2 two-dimensional, 3 three-dimensional.", gnss.mode);
    all.gauge("satellites_used", "In the newest fix.", gnss.sats.unwrap_or(0));
    all.gauge("satellites_in_view", "By GSV.", gnss.sats_in_view.unwrap_or(0));
    if let Some(at) = health.newest_fix_at {
        let age = now.since(at).as_secs_f64();
        all.gauge("fix_age_seconds", "Of the newest fix.", format_args!("{age:.1}"));
    }
    all.counter("receiver_bytes", "Read.", reception.framing.bytes);
    all.counter("sentences_bad", "Lines that are no sentence.", reception.sentences_bad());
    all.family("epochs_rejected", "counter", "Epochs that are no fix, by reason.");
    for (reason, count) in reception.rejected.by_reason() {
        all.sample(&format!("epochs_rejected_total{{reason=\"{reason}\"}}"), count);
    }
}

fn outbox(all: &mut Families, watches: &Watches) {
    let stats = *watches.outbox.borrow();
    all.gauge("outbox_pending", "Records that wait for their acknowledgement.", stats.pending);
    all.gauge("outbox_events_pending", "Of them, events.", stats.events_pending);
    all.gauge("outbox_bytes", "Size of the database.", stats.bytes);
    all.counter("outbox_dropped", "Records given up, over the outbox's life.", stats.dropped);
    all.counter("outbox_thinned", "Points given up for a coarser trail.", stats.thinned);
    let written = stats.written_bytes_today;
    all.gauge("written_bytes_today", "Written to disk by the agent since midnight UTC.", written);
}

fn link(all: &mut Families, watches: &Watches) {
    let link = watches.link.borrow();
    let connected = u8::from(link.state == LinkState::Connected);
    all.gauge("link_connected", "1 while the broker has accepted the agent.", connected);
    all.counter("link_reconnects", "Connections after the first.", link.reconnects);
    all.counter("positions", "Messages on position.", link.positions);
    all.counter("track_messages", "Messages on track, repetitions included.", link.track_messages);
    all.counter("points_acked", "Points that the broker has acknowledged.", link.points_acked);
    all.counter("event_messages", "Messages on event, repetitions included.", link.event_messages);
    all.counter("events_acked", "Events that the broker has acknowledged.", link.events_acked);
    let too_large = link.events_too_large;
    all.gauge("events_too_large", "Events larger than the broker takes; they wait.", too_large);
    all.counter("payload_bytes", "Of payload handed over.", link.payload_bytes);
    let month = link.air.month;
    all.gauge("air_bytes_month", "On the air this month by UTC, headers reckoned in.", month);
}

fn downlink(all: &mut Families, watches: &Watches) {
    let link = watches.link.borrow();
    all.counter("downlink_messages", "Messages of the backend.", link.downlink_messages);
    let dropped = link.downlink_dropped;
    all.counter("downlink_dropped", "Of them, those that nobody took.", dropped);
    let unsigned = *watches.unsigned_commands.borrow();
    all.counter("commands_unsigned", "Commands that did not count: no right signature.", unsigned);
    all.counter("acks_unfit", "Words on ack that are not readable or not true.", link.acks_unfit);
    let lost = link.answers_lost;
    all.counter("answers_lost", "Answers to commands that the broker did not get.", lost);
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::relay::LinkStatus;
    use crate::rollcall::RollCall;

    fn watches() -> Watches {
        Watches {
            reception: watch::Sender::default().subscribe(),
            health: watch::Sender::default().subscribe(),
            live: watch::Sender::new(None).subscribe(),
            outbox: watch::Sender::default().subscribe(),
            link: watch::Sender::new(LinkStatus::new(Uptime::ZERO)).subscribe(),
            scanners: watch::Sender::default().subscribe(),
            unsigned_commands: watch::Sender::default().subscribe(),
            roll_call: RollCall::default(),
        }
    }

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Metrics { listener }.serve(watches(), Clock::live()));
        address
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
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
        status.acks_unfit = 3;
        status.answers_lost = 4;
        status.events_too_large = 5;
        let link = watch::Sender::new(status).subscribe();
        let unsigned_commands = watch::Sender::new(6).subscribe();
        let text = exposition(&Watches { link, unsigned_commands, ..watches() }, Uptime::ZERO);
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
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: van\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\nwaypost_link_connected 0\n"), "{answer}");
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\r\n\r\n", &[0xff; MAX_REQUEST]] {
            let answer = ask(address, other).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_does_not_keep_others_from_asking() {
        let address = server().await;
        let mut silent = Vec::new();
        for _ in 0..CLIENTS - 1 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(answer.contains("# EOF"), "{answer}");
    }
}
