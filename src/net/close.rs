//! The end of a connection whose last words must arrive.
//!
//! A socket that is closed while it holds unread input sends a reset (RFC 1122 §4.2.2.13). The
//! peer's next write then fails, and many kernels throw away what their side has not read yet: the
//! alert that says why.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::net::Transport;

/// How long a client that has been told no is given to read it. Local networks and patient people:
/// one round trip.
pub const LINGER: Duration = Duration::from_secs(1);

/// Ends the sending direction, then reads and discards until the peer ends its own, until
/// `deadline`, or until the peer has sent so much more that it is not listening. After that the
/// stream can be dropped.
///
/// Errors are not reported: there is nothing left to do about them. Cancellation leaves an open,
/// half-closed stream.
pub async fn close_in_order(stream: &mut Transport, deadline: Instant) {
    if stream.shutdown().await.is_ok() {
        // The deadline is the normal end for a peer that neither reads nor hangs up.
        let _ = timeout_at(deadline, discard(stream)).await;
    }
}

async fn discard(stream: &Transport) {
    let mut left = MAX_DISCARDED;
    while left > 0 && stream.readable().await.is_ok() {
        let mut scratch = [0; 4096];
        match stream.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(read) => left = left.saturating_sub(read),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// More than what a client has in flight before it can have seen the end, less than what keeps a
/// proxy busy.
const MAX_DISCARDED: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (near.unwrap().0.into(), far.unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test]
    async fn the_last_words_arrive_although_the_peer_has_sent_more_than_was_read() {
        let (mut near, mut far) = pair().await;
        far.write_all(&[7; 20_000]).await.unwrap();
        near.readable().await.unwrap();
        near.write_all(b"no").await.unwrap();
        let close = async {
            close_in_order(&mut near, Instant::now() + Duration::from_secs(30)).await;
            drop(near);
        };
        let read = async {
            let mut last_words = Vec::new();
            far.write_all(&[7; 20_000]).await.unwrap();
            far.read_to_end(&mut last_words).await.unwrap();
            far.shutdown().await.unwrap();
            last_words
        };
        let both = async { tokio::join!(close, read).1 };
        assert_eq!(
            timeout(Duration::from_secs(30), both)
                .await
                .expect("both come to an end"),
            b"no"
        );
    }

    #[tokio::test]
    async fn a_peer_that_keeps_the_connection_open_is_left_at_the_deadline() {
        let (mut near, _far) = pair().await;
        close_in_order(&mut near, soon()).await;
    }

    #[tokio::test]
    async fn a_peer_that_goes_on_sending_is_left_after_a_while() {
        let (mut near, mut far) = pair().await;
        let close = async {
            close_in_order(&mut near, Instant::now() + Duration::from_secs(600)).await;
            drop(near);
        };
        let send = async { while far.write_all(&[7; 10_000]).await.is_ok() {} };
        tokio::join!(close, send);
    }

    #[tokio::test]
    async fn a_peer_that_has_hung_up_is_no_obstacle() {
        let (mut near, far) = pair().await;
        drop(far);
        close_in_order(&mut near, Instant::now() + Duration::from_secs(600)).await;
    }
}
