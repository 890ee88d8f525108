//! Connects to the first address of a host that answers (RFC 8305). One address that drops packets,
//! such as an IPv6 address in a network without IPv6, does not keep the van offline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// Delay between two attempts (RFC 8305 §5).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of addresses that are tried. A name server may list any number.
const MAX_ADDRESSES: usize = 8;

/// Looks up a host, and returns its addresses in the order in which they are tried.
///
/// # Errors
/// The name server does not know the host, or does not answer.
pub(crate) async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = lookup_host((host, port)).await?.collect();
    Ok(interleaved(addresses))
}

/// Alternates the address families (RFC 8305 §4), beginning with that of the first address.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (same, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.into_iter().partition(|one| one.is_ipv6() == first.is_ipv6());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut mixed = Vec::new();
    while mixed.len() < MAX_ADDRESSES {
        let before = mixed.len();
        mixed.extend(same.next());
        mixed.extend(other.next());
        if mixed.len() == before {
            break;
        }
    }
    mixed.truncate(MAX_ADDRESSES);
    mixed
}

/// Connects to the address that answers first. The next attempt starts when the previous one has
/// failed, or has not succeeded for `delay`.
///
/// # Errors
/// Returns the error of the last attempt, with its address, if all have failed. There is no timeout.
pub(crate) async fn connect(addresses: &[SocketAddr], delay: Duration) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    loop {
        match waiting.next() {
            Some(address) => {
                attempts.spawn(async move { (address, TcpStream::connect(address).await) });
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let is_last = waiting.len() == 0;
        let next = tokio::select! {
            Some(ended) = attempts.join_next() => Some(ended),
            () = tokio::time::sleep(delay), if !is_last => None,
        };
        match next {
            Some(Ok((_, Ok(stream)))) => return Ok(stream),
            Some(Ok((address, Err(error)))) => {
                last = io::Error::new(error.kind(), format!("{address}: {error}"));
            }
            // A task is only aborted with the set.
            Some(Err(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_and_the_number_is_bounded() {
        let listed = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "192.0.2.2:1"];
        let mixed = interleaved(listed.map(address).to_vec());
        let expected = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"];
        assert_eq!(mixed, expected.map(address));
        assert_eq!(interleaved(vec![address("192.0.2.1:1"); 100]).len(), MAX_ADDRESSES);
        assert_eq!(interleaved(Vec::new()), []);
    }

    /// Binds a socket whose queue is full: the kernel drops further SYN packets, as a network does
    /// that leads nowhere.
    async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address("127.0.0.1:0")).unwrap();
        let listener = socket.listen(0).unwrap();
        let to = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(to)).await
        {
            held.push(stream.unwrap());
        }
        (listener, held)
    }

    #[tokio::test]
    async fn an_address_that_never_answers_delays_the_next_one_by_a_quarter_of_a_second() {
        let (hole, _held) = black_hole().await;
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (hole, good) = (hole.local_addr().unwrap(), good.local_addr().unwrap());
        for addresses in [[hole, good], [good, hole]] {
            let racing = connect(&addresses, ATTEMPT_DELAY);
            let connecting = tokio::time::timeout(Duration::from_secs(5), racing);
            let stream = connecting.await.expect("not after the timeout of TCP").unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
    }

    #[tokio::test]
    async fn a_refusal_starts_the_next_attempt_and_the_last_error_names_its_address() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = connect(&[closed, closed], ATTEMPT_DELAY).await.unwrap_err();
        assert!(error.to_string().starts_with(&closed.to_string()), "{error}");
        assert_eq!(connect(&[], ATTEMPT_DELAY).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
