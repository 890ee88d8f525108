//! HTTP server: accepts connections within limits, until the instance stops.
//!
//! - A client cannot hold a connection without using it. TLS handshake, request head, request and
//!   an unread response have timeouts, and each client address has a connection limit.
//! - Shutdown stops accepting first, then closes idle connections and all streams. Requests in
//!   progress finish within [`SHUTDOWN_GRACE`].

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

use super::client_address::{ClientAddress, PeerAddr, is_trusted};
use super::connection_limit::ConnectionLimiter;
use super::middleware;
use super::tls::ReloadableCert;
use crate::AppState;
use waypost_service::pem::PemError;

/// Time for requests in progress to finish at shutdown.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 8192;

/// Maximum number of connections per client address. It does not apply to trusted
/// proxies.
const MAX_CONNECTIONS_PER_CLIENT: usize = 256;

/// Timeout of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a request head, and of an idle connection between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of a request head in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// A connection is closed if the client does not read its response for this time.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval at which the certificate files are checked for changes.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Shutdown signal in the extensions of a request; ends streams.
#[derive(Clone, Debug)]
pub struct ShutdownToken(pub CancellationToken);

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate is unusable.
    #[error(transparent)]
    Tls(#[from] PemError),
    /// A signal handler cannot be installed.
    #[error("cannot install a signal handler: {0}")]
    Signal(#[from] io::Error),
}

/// Serves the router until `stop`, then closes all connections.
///
/// # Errors
/// [`ServeError`], before the first connection is accepted.
pub async fn serve(
    shared: AppState,
    listener: TcpListener,
    router: Router<AppState>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let mut certificate = shared.config.http.tls.as_ref().map(ReloadableCert::load).transpose()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut look = interval(CERTIFICATE_POLL_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let places = ConnectionLimiter::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT);
    // The connections of a proxy are those of many clients, so only the total is limited.
    let proxied = ConnectionLimiter::new(MAX_CONNECTIONS, MAX_CONNECTIONS);
    let proxies = shared.config.http.trusted_proxies.clone();
    let app = TowerToHyperService::new(middleware::with_middleware(shared, router));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let client = ClientAddress::from_ip(peer.ip());
                    let is_proxy = is_trusted(peer.ip(), &proxies);
                    let limiter = if is_proxy { &proxied } else { &places };
                    let Some(place) = limiter.acquire(client) else { continue };
                    let tls = certificate.as_ref().map(ReloadableCert::config);
                    let (app, stop) = (app.clone(), stop.clone());
                    connections.spawn(async move {
                        serve_connection(stream, tls, ConnectionContext { peer, app, stop }).await;
                        drop(place);
                    });
                }
                // Out of file descriptors; retry when connections have closed.
                Err(error) => {
                    tracing::debug!(%error, "connection not accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(()) = hang_up.recv() => if let Some(certificate) = &mut certificate {
                certificate.reset_mtimes();
                certificate.reload_if_changed();
            },
            _ = look.tick() => if let Some(certificate) = &mut certificate {
                certificate.reload_if_changed();
            },
            Some(ended) = connections.join_next() => waypost_service::task::unwrap_join(ended).await,
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        waypost_service::task::unwrap_join(ended).await;
    }
    Ok(())
}

/// Context of a connection.
struct ConnectionContext {
    peer: SocketAddr,
    app: TowerToHyperService<Router>,
    stop: CancellationToken,
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    seat: ConnectionContext,
) {
    // The kernel also counts a zero receive window (tcp(7)), so a client that stops reading is
    // disconnected.
    let socket = SockRef::from(&stream);
    if let Err(error) =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(STALL_TIMEOUT)))
    {
        tracing::debug!(%error, "connection closed before its first request");
        return;
    }
    let Some(tls) = tls else { return requests(stream, seat).await };
    let handshake = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(stream));
    let stopped = seat.stop.clone();
    tokio::select! {
        () = stopped.cancelled() => {}
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => requests(stream, seat).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        },
    }
}

async fn requests<I>(stream: I, ConnectionContext { peer, app, stop }: ConnectionContext)
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let stopping = ShutdownToken(stop.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        request.extensions_mut().insert(stopping.clone());
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(SHUTDOWN_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
