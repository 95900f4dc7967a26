//! Which of several addresses is connected to: the first that answers (RFC 8305 §5).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::net::connect::{open, too_late};

/// A connection that was not made within this time gets a rival (RFC 8305 §8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// More addresses of one host than this are not tried.
const MAX_ADDRESSES: usize = 64;

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connects to these addresses in turn, and to those of `late` when they are known: to the next one at once if one fails,
/// and otherwise after a while, or sooner where the time would not be enough for all of them. The first connection that is
/// made is the one; nothing has been sent over any. `source` is the address that the server is to see.
///
/// # Errors
///
/// `TimedOut` when the deadline has passed, otherwise the error of the last address.
pub(super) async fn race(
    mut addresses: VecDeque<SocketAddr>,
    late: Option<impl Future<Output = VecDeque<SocketAddr>>>,
    source: Option<IpAddr>,
    deadline: Instant,
) -> io::Result<TcpStream> {
    addresses.truncate(MAX_ADDRESSES);
    let mut awaits_late = late.is_some();
    let mut late = pin!(async {
        match late {
            Some(late) => late.await,
            None => VecDeque::new(),
        }
    });
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut next_at = Instant::now();
    let mut last = too_late();
    loop {
        let now = Instant::now();
        if now >= next_at
            && let Some(addr) = addresses.pop_front()
        {
            let left = deadline.saturating_duration_since(now);
            let share = left / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
            next_at = now + ATTEMPT_DELAY.min(share);
            attempts.push(Box::pin(open(addr, source)));
        }
        if attempts.is_empty() && addresses.is_empty() && !awaits_late {
            return Err(last);
        }
        tokio::select! {
            biased;
            connected = first(&mut attempts), if !attempts.is_empty() => match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = error;
                    next_at = Instant::now();
                }
            },
            more = &mut late, if awaits_late => {
                awaits_late = false;
                addresses = mixed(addresses, more);
                addresses.truncate(MAX_ADDRESSES);
            }
            () = sleep_until(next_at), if !addresses.is_empty() => {}
            () = sleep_until(deadline) => return Err(too_late()),
        }
    }
}

/// The first attempt to end, which is none any more then.
async fn first(attempts: &mut Vec<Attempt>) -> io::Result<TcpStream> {
    poll_fn(|cx| {
        for at in 0..attempts.len() {
            if let Poll::Ready(ended) = attempts[at].as_mut().poll(cx) {
                drop(attempts.remove(at));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// Both lists, one of each in turn, beginning with what has come later: it is of the other family.
fn mixed(addresses: VecDeque<SocketAddr>, more: VecDeque<SocketAddr>) -> VecDeque<SocketAddr> {
    let (mut addresses, mut more) = (addresses.into_iter(), more.into_iter());
    let pairs = std::iter::from_fn(|| match (more.next(), addresses.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    pairs.flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending, ready};
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, addr)
    }

    /// An address from which no answer comes, because the backlog is full.
    fn silent() -> (Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let (socket, addr) = refusing();
        socket.listen(0).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
            queued.push(stream);
            assert!(queued.len() < 10, "the backlog is never full");
        }
        (socket, queued, addr)
    }

    const NO_MORE: Option<Pending<VecDeque<SocketAddr>>> = None;

    async fn in_time(addresses: &[SocketAddr], limit: Duration) -> (io::Result<SocketAddr>, Duration) {
        let start = Instant::now();
        let won = race(addresses.iter().copied().collect(), NO_MORE, None, start + limit).await;
        (won.and_then(|stream| stream.peer_addr()), start.elapsed())
    }

    #[tokio::test]
    async fn one_that_refuses_costs_no_time_and_one_that_is_silent_a_quarter_of_a_second() {
        let ((_a, refusing), (_b, _queued, silent), (_c, answering)) = (refusing(), silent(), listening());
        let (won, took) = in_time(&[refusing, refusing, answering], Duration::from_secs(5)).await;
        assert_eq!(won.unwrap(), answering);
        assert!(took < ATTEMPT_DELAY, "{took:?}");
        let (won, took) = in_time(&[silent, refusing, answering], Duration::from_secs(5)).await;
        assert_eq!(won.unwrap(), answering);
        assert!((ATTEMPT_DELAY..4 * ATTEMPT_DELAY).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn every_address_gets_its_turn_before_the_deadline() {
        let ((_a, _queued, silent), (_b, answering)) = (silent(), listening());
        let (won, _) = in_time(&[silent, silent, silent, answering], Duration::from_millis(400)).await;
        assert_eq!(won.unwrap(), answering);
    }

    #[tokio::test]
    async fn the_error_is_that_of_the_last_or_that_there_was_no_time() {
        let ((_a, _queued, silent), (_b, refusing)) = (silent(), refusing());
        let (lost, _) = in_time(&[refusing, refusing], Duration::from_secs(5)).await;
        assert_eq!(lost.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let (lost, took) = in_time(&[silent, refusing], Duration::from_millis(300)).await;
        assert_eq!(lost.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(took >= Duration::from_millis(300), "{took:?}");
    }

    #[tokio::test]
    async fn addresses_that_come_late_are_tried_too() {
        let ((_a, _queued, silent), (_b, refusing), (_c, answering)) = (silent(), refusing(), listening());
        for early in [silent, refusing] {
            let late = Some(ready(VecDeque::from([answering])));
            let won = race(VecDeque::from([early]), late, None, Instant::now() + Duration::from_secs(5)).await.unwrap();
            assert_eq!(won.peer_addr().unwrap(), answering);
        }
        let late = Some(pending());
        let won = race(VecDeque::from([answering]), late, None, Instant::now() + Duration::from_secs(5)).await.unwrap();
        assert_eq!(won.peer_addr().unwrap(), answering);
    }
}
