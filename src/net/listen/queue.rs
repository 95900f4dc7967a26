//! The accept queue of a socket that closes.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::addr::ClientAddr;
use crate::net::Transport;
use crate::net::listen::AcceptFailure;

/// A listening socket that is not the runtime's any more.
pub(super) enum AcceptQueue {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AcceptQueue {
    pub(super) fn next(&self) -> io::Result<(Transport, ClientAddr)> {
        match self {
            Self::Tcp(tcp) => {
                let (stream, addr) = tcp.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Transport::Tcp(TcpStream::from_std(stream)?), addr.into()))
            }
            Self::Unix(unix) => {
                let (stream, _) = unix.accept()?;
                stream.set_nonblocking(true)?;
                Ok((
                    Transport::Unix(UnixStream::from_std(stream)?),
                    ClientAddr::Unix,
                ))
            }
        }
    }
}

/// Hellos that do not come have been given up by then, and their descriptors are free.
const PERSISTENCE: Duration = Duration::from_secs(10);

/// Between two attempts without descriptors.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Gives all that `next` has to `serve`, until it would have to wait.
pub(super) async fn drain<T>(
    mut next: impl FnMut() -> io::Result<T>,
    mut serve: impl FnMut(T),
) -> io::Result<()> {
    let end = Instant::now() + PERSISTENCE;
    loop {
        match next() {
            Ok(connection) => serve(connection),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => match AcceptFailure::from(&error) {
                AcceptFailure::Connection => {}
                AcceptFailure::Resource if Instant::now() >= end => return Err(error),
                AcceptFailure::Resource => sleep(BACK_OFF).await,
            },
        }
        // Those who were served want their turn, too.
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_who_cannot_be_accepted_takes_nobody_with_them() {
        let error = |errno: Errno| Err(io::Error::from(errno));
        let wait = || error(Errno::WOULDBLOCK);
        let accept = async |script: Vec<io::Result<u8>>| {
            let (mut script, mut served) = (script.into_iter(), Vec::new());
            let ended = drain(
                || script.next().unwrap_or_else(|| error(Errno::MFILE)),
                |one| served.push(one),
            )
            .await;
            (served, ended.err().and_then(|error| error.raw_os_error()))
        };
        let gone = [
            Ok(1),
            error(Errno::CONNABORTED),
            Ok(2),
            error(Errno::MFILE),
            error(Errno::NFILE),
            Ok(3),
            wait(),
            Ok(4),
        ];
        assert_eq!(
            accept(gone.into()).await,
            (vec![1, 2, 3], None),
            "until nobody is left"
        );
        let begun = Instant::now();
        assert_eq!(
            accept(vec![Ok(1)]).await,
            (vec![1], Some(Errno::MFILE.raw_os_error()))
        );
        assert!(begun.elapsed() >= PERSISTENCE);
    }
}
