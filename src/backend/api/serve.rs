//! Connections → requests of the router, within limits, until the instance stops.
//!
//! - Nobody holds a place without using it: a handshake, a request's head, a request and an answer that is not taken have
//!   their time, and one address has its share of the places.
//! - Stopping ends the accepting first, then what is idle and all streams; requests are finished within [`GRACE`].

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::client::{ClientAddress, Peer};
use super::places::Places;
use super::shell;
use super::tls::Certificate;
use crate::backend::Shared;
use crate::pem::PemError;

/// What is being answered when the instance stops has so long.
pub const GRACE: Duration = Duration::from_secs(10);

/// Connections at a time.
const CONNECTIONS: usize = 8192;

/// Of them those of one address; behind a proxy all are the proxy's.
const OF_ONE: usize = 256;

/// A TLS handshake takes at most so long.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The head of a request takes at most so long, and so does the wait for the next one.
const HEAD: Duration = Duration::from_secs(20);

/// Largest head of a request, bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// A client that takes nothing of what it asked for is cut off after so long.
const STALLED: Duration = Duration::from_secs(30);

/// How often the files of the certificate are looked at.
const RENEWED: Duration = Duration::from_secs(10);

/// The instance stops: streams that never end by themselves end then.
#[derive(Clone, Debug)]
pub struct Stopping(pub CancellationToken);

/// It cannot begin to serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] PemError),
    /// The system refuses.
    #[error("the system refuses a signal: {0}")]
    System(#[from] io::Error),
}

/// Serves what the router has until `stop`, then ends all connections.
///
/// # Errors
/// [`ServeError`], before the first connection.
pub async fn serve(
    shared: Shared,
    listener: TcpListener,
    router: Router<Shared>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let mut certificate = shared.config.http.tls.as_ref().map(Certificate::load).transpose()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut look = interval(RENEWED);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let share = if shared.config.http.behind_proxy { CONNECTIONS } else { OF_ONE };
    let places = Places::new(CONNECTIONS, share);
    let app = TowerToHyperService::new(shell::around(shared, router));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let client = ClientAddress::of(peer.ip());
                    let Some(place) = places.take(client) else { continue };
                    let tls = certificate.as_ref().map(Certificate::config);
                    let (app, stop) = (app.clone(), stop.clone());
                    connections.spawn(async move {
                        connection(stream, tls, Seat { peer, app, stop }).await;
                        drop(place);
                    });
                }
                // Out of file descriptors: it gets better when some connections have ended.
                Err(error) => {
                    tracing::debug!(%error, "connection not accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(()) = hang_up.recv() => if let Some(certificate) = &mut certificate {
                certificate.forget_seen();
                certificate.renew();
            },
            _ = look.tick() => if let Some(certificate) = &mut certificate {
                certificate.renew();
            },
            Some(ended) = connections.join_next() => crate::tasks::joined(ended),
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        crate::tasks::joined(ended);
    }
    Ok(())
}

/// What a connection needs.
struct Seat {
    peer: SocketAddr,
    app: TowerToHyperService<Router>,
    stop: CancellationToken,
}

async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, seat: Seat) {
    // The kernel also counts a window that stays shut (tcp(7)), so that who asks and does not read holds nothing.
    let socket = SockRef::from(&stream);
    if let Err(error) =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(STALLED)))
    {
        tracing::debug!(%error, "connection gone before its first request");
        return;
    }
    let Some(tls) = tls else { return requests(stream, seat).await };
    let handshake = timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream));
    let stopped = seat.stop.clone();
    tokio::select! {
        () = stopped.cancelled() => {}
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => requests(stream, seat).await,
            Ok(Err(error)) => tracing::debug!(%error, "no handshake"),
            Err(_) => tracing::debug!("handshake too slow"),
        },
    }
}

async fn requests<I>(stream: I, Seat { peer, app, stop }: Seat)
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let stopping = Stopping(stop.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(stopping.clone());
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
