//! Connection to the first of several addresses that answers (RFC 8305 §5).

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

/// When no address has answered for so long, or for half of the time that is left, the name is
/// asked for again: the server may have moved.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A connection that is being made.
pub(super) type Dial = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The addresses of one host, as they become known.
pub(super) struct Contest<L, A> {
    /// Those that are known.
    pub(super) addresses: VecDeque<SocketAddr>,
    /// One that is tried already.
    pub(super) begun: Option<(SocketAddr, Dial)>,
    /// Those of the other family, if it takes longer.
    pub(super) late: Option<L>,
    /// Asks once more. It is begun when every address has been tried and none has answered; of what
    /// it finds those are tried that have not been.
    pub(super) again: A,
}

/// Connects to these addresses in turn, and to those of `late` when they are known: to the next one
/// at once if one fails, and otherwise after a while, or sooner where the time would not be enough
/// for all of them. The first connection that is made is the one; nothing has been sent over any.
/// `source` is the address that the server is to see.
///
/// # Errors
///
/// `TimedOut` when the deadline has passed, otherwise the error of the last address.
pub(super) async fn race<L, A>(
    contest: Contest<L, A>,
    source: Option<IpAddr>,
    deadline: Instant,
) -> io::Result<TcpStream>
where
    L: Future<Output = VecDeque<SocketAddr>>,
    A: Future<Output = VecDeque<SocketAddr>>,
{
    let Contest {
        mut addresses,
        begun,
        late,
        again,
    } = contest;
    addresses.truncate(MAX_ADDRESSES);
    let (mut awaits_late, mut may_ask) = (late.is_some(), true);
    let mut late = pin!(async {
        match late {
            Some(late) => late.await,
            None => VecDeque::new(),
        }
    });
    let mut again = pin!(again);
    let (mut tried, mut attempts): (Vec<SocketAddr>, Vec<Dial>) = begun.into_iter().unzip();
    let mut next_at = Instant::now();
    let mut ask_at = next_at;
    let mut last = too_late();
    loop {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        if now >= next_at
            && let Some(addr) = addresses.pop_front()
        {
            let share = left / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
            next_at = now + ATTEMPT_DELAY.min(share);
            ask_at = now + ASK_AGAIN_AFTER.min(left / 2);
            tried.push(addr);
            attempts.push(Box::pin(open(addr, source)));
        }
        let is_exhausted = addresses.is_empty() && !awaits_late;
        if is_exhausted && attempts.is_empty() && !may_ask {
            return Err(last);
        }
        let may_ask_now = may_ask && is_exhausted;
        let asks = may_ask_now && (attempts.is_empty() || now >= ask_at);
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
            more = &mut again, if asks => {
                may_ask = false;
                addresses = more.into_iter().filter(|addr| !tried.contains(addr)).take(MAX_ADDRESSES).collect();
                next_at = Instant::now();
            }
            () = sleep_until(next_at), if !addresses.is_empty() => {}
            () = sleep_until(ask_at), if may_ask_now && !asks => {}
            () = sleep_until(deadline) => return Err(too_late()),
        }
    }
}

/// The first attempt to end, which is none any more then.
async fn first(attempts: &mut Vec<Dial>) -> io::Result<TcpStream> {
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
    use std::future::{Pending, Ready, pending, ready};
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
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, addr)
    }

    /// An address from which no answer comes, because the backlog is full.
    fn silent() -> (Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let (socket, addr) = refusing();
        socket.listen(0).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(100))
        {
            queued.push(stream);
            assert!(queued.len() < 10, "the backlog is never full");
        }
        (socket, queued, addr)
    }

    const NO_MORE: Option<Pending<VecDeque<SocketAddr>>> = None;

    /// A host with these addresses, and those that it has when it is asked for again.
    fn host<L, A>(addresses: &[SocketAddr], late: Option<L>, again: A) -> Contest<L, A> {
        Contest {
            addresses: addresses.iter().copied().collect(),
            begun: None,
            late,
            again,
        }
    }

    fn none() -> Ready<VecDeque<SocketAddr>> {
        ready(VecDeque::new())
    }

    async fn in_time(
        addresses: &[SocketAddr],
        limit: Duration,
    ) -> (io::Result<SocketAddr>, Duration) {
        let start = Instant::now();
        let won = race(host(addresses, NO_MORE, none()), None, start + limit).await;
        (won.and_then(|stream| stream.peer_addr()), start.elapsed())
    }

    #[tokio::test]
    async fn one_that_refuses_costs_no_time_and_one_that_is_silent_a_quarter_of_a_second() {
        let ((_a, refusing), (_b, _queued, silent), (_c, answering)) =
            (refusing(), silent(), listening());
        let (won, took) = in_time(&[refusing, refusing, answering], Duration::from_secs(5)).await;
        assert_eq!(won.unwrap(), answering);
        assert!(took < ATTEMPT_DELAY, "{took:?}");
        let (won, took) = in_time(&[silent, refusing, answering], Duration::from_secs(5)).await;
        assert_eq!(won.unwrap(), answering);
        assert!(
            (ATTEMPT_DELAY..4 * ATTEMPT_DELAY).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test]
    async fn every_address_gets_its_turn_before_the_deadline() {
        let ((_a, _queued, silent), (_b, answering)) = (silent(), listening());
        let (won, _) = in_time(
            &[silent, silent, silent, answering],
            Duration::from_millis(400),
        )
        .await;
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
        let ((_a, _queued, silent), (_b, refusing), (_c, answering)) =
            (silent(), refusing(), listening());
        let in_time = || Instant::now() + Duration::from_secs(5);
        for early in [silent, refusing] {
            let late = Some(ready(VecDeque::from([answering])));
            let won = race(host(&[early], late, none()), None, in_time())
                .await
                .unwrap();
            assert_eq!(won.peer_addr().unwrap(), answering);
        }
        let late = Some(pending());
        let won = race(host(&[answering], late, none()), None, in_time())
            .await
            .unwrap();
        assert_eq!(won.peer_addr().unwrap(), answering);
    }

    #[tokio::test]
    async fn a_host_is_asked_for_again_when_no_address_answers_and_tried_where_it_was_not() {
        let ((_a, _queued, silent), (_b, refusing), (_c, answering)) =
            (silent(), refusing(), listening());
        for (old, limit) in [
            (vec![refusing], 5000),
            (vec![silent], 600),
            (vec![refusing, silent], 600),
        ] {
            let again = ready(
                old.iter()
                    .copied()
                    .chain([answering])
                    .collect::<VecDeque<_>>(),
            );
            let deadline = Instant::now() + Duration::from_millis(limit);
            let won = race(host(&old, NO_MORE, again), None, deadline)
                .await
                .unwrap();
            assert_eq!(won.peer_addr().unwrap(), answering, "{old:?}");
        }
    }

    #[tokio::test]
    async fn a_host_that_has_an_address_which_answers_is_not_asked_for_again() {
        let ((_a, refusing), (_b, answering)) = (refusing(), listening());
        let again = async { panic!("there is no reason to ask") };
        let deadline = Instant::now() + Duration::from_secs(5);
        let won = race(host(&[refusing, answering], NO_MORE, again), None, deadline)
            .await
            .unwrap();
        assert_eq!(won.peer_addr().unwrap(), answering);
    }

    #[tokio::test]
    async fn an_answer_that_is_the_same_is_not_tried_twice_and_the_error_is_that_of_the_address() {
        let (_a, refusing) = refusing();
        let again = ready(VecDeque::from([refusing]));
        let deadline = Instant::now() + Duration::from_secs(5);
        let lost = race(host(&[refusing], NO_MORE, again), None, deadline)
            .await
            .unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::ConnectionRefused);
        assert!(lost.to_string().contains(&refusing.to_string()), "{lost}");
    }
}
