//! Sockets that systemd has opened (sd_listen_fds(3)): it keeps them while snigate is restarted,
//! with everybody who is queued on them.

use std::env;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use crate::net::ListenSocket;
use crate::os::words;

/// The descriptor that the first of them has (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// The variables by which systemd passes sockets. Another process that reads them must not take
/// them for its own.
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Taken once: each descriptor has one owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets that this process was started with, by name. They stay open as long as it is there.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Result<Socket, String>)>,
}

/// Why there is no socket of a name.
#[derive(Debug, Error)]
pub enum InheritedError {
    /// None has it.
    #[error("systemd has passed no socket of this name{}", passed(.0))]
    Missing(Vec<String>),
    /// The socket that systemd has passed cannot be listened on.
    #[error(
        "what systemd has passed by this name is {0}: the socket unit needs ListenStream=, and Accept=no"
    )]
    Unfit(String),
    /// The kernel gave no copy of it.
    #[error("{}", words(.0))]
    System(#[from] io::Error),
}

fn passed(names: &[String]) -> String {
    match names {
        [] => ", nor any other: start snigate by a socket unit, or write an address".to_owned(),
        names => format!(
            ", but {} (FileDescriptorName= in the socket unit)",
            names.join(", ")
        ),
    }
}

impl Inherited {
    /// Takes the sockets that were passed to this process, and removes what the environment says of
    /// them. Call it once, before there are threads: the environment of a process that has some is
    /// left as it is.
    ///
    /// # Errors
    ///
    /// When the environment promises descriptors that are not there.
    pub fn take() -> io::Result<Self> {
        let [pid, count, names] = VARIABLES.map(|name| env::var(name).ok());
        // They are inherited by the children of whom they are meant for.
        let is_ours = pid.is_some_and(|pid| pid.parse() == Ok(std::process::id()));
        if !is_ours || TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Self::default());
        }
        forget_environment();
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let text = count.unwrap_or_default();
        let count: u16 = text
            .parse()
            .map_err(|_| wrong(format!("LISTEN_FDS is {text:?}, and not a number")))?;
        let names = names.unwrap_or_default();
        let mut sockets = Vec::new();
        for (fd, name) in (FIRST..).zip(in_order(&names)).take(count.into()) {
            let passed = own(fd).map_err(|error| {
                wrong(format!(
                    "LISTEN_FDS promises descriptor {fd}: {}",
                    words(&error)
                ))
            })?;
            sockets.push((name.to_owned(), judge(passed.into())));
        }
        Ok(Self { sockets })
    }

    /// Every name, once.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.sockets.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// How many sockets have this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.sockets.iter().filter(|(own, _)| own == name).count()
    }

    /// A copy of a socket of this name, in a runtime. The socket stays open when the copy is
    /// closed, and who is queued then stays queued.
    ///
    /// # Errors
    ///
    /// When there is none, or when it is no listening stream socket.
    pub fn get(&self, name: &str, nth: usize) -> Result<ListenSocket, InheritedError> {
        let mut named = self.sockets.iter().filter(|(own, _)| own == name);
        let Some((_, socket)) = named.nth(nth) else {
            return Err(InheritedError::Missing(self.names()));
        };
        let socket = socket
            .as_ref()
            .map_err(|what| InheritedError::Unfit(what.clone()))?;
        Ok(ListenSocket::inherited(socket.try_clone()?)?)
    }
}

/// The name of each descriptor. One without a name keeps its place: otherwise the next name would
/// be that of another socket.
fn in_order(names: &str) -> impl Iterator<Item = &str> {
    // What has no name is called so by systemd, too.
    names
        .split(':')
        .map(|name| if name.is_empty() { UNNAMED } else { name })
        .chain(std::iter::repeat(UNNAMED))
}

const UNNAMED: &str = "unknown";

#[expect(unsafe_code, reason = "descriptors come by number, from outside")]
fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes any number and no pointer, and says whether a descriptor has it.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, was opened by the process that started this one, and has no other owner
    // here (sd_listen_fds(3)); `take` comes here once for each.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(&owned, fcntl_getfd(&owned)? | FdFlags::CLOEXEC)?;
    Ok(owned)
}

#[expect(
    unsafe_code,
    reason = "the environment is the process's own as long as there is one thread"
)]
fn forget_environment() {
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone {
        for name in VARIABLES {
            // SAFETY: no other thread is there to read or write the environment.
            unsafe { env::remove_var(name) };
        }
    }
}

/// A socket that can be listened on, or what it is instead.
fn judge(socket: Socket) -> Result<Socket, String> {
    let unfit = |what: &str| Err(what.to_owned());
    match (socket.domain(), socket.r#type()) {
        (Err(_), _) => return unfit("no socket"),
        (Ok(Domain::IPV4 | Domain::IPV6 | Domain::UNIX), Ok(Type::STREAM)) => {}
        (Ok(Domain::IPV4 | Domain::IPV6 | Domain::UNIX), _) => return unfit("no stream socket"),
        _ => return unfit("a socket of another family than IPv4, IPv6 and unix"),
    }
    if !socket.is_listener().unwrap_or(false) {
        return unfit("a socket that does not listen");
    }
    socket
        .set_nonblocking(true)
        .map_err(|error| words(&error).to_string())?;
    if socket.domain().is_ok_and(|domain| domain != Domain::UNIX) {
        // Accepted connections inherit it.
        socket
            .set_tcp_nodelay(true)
            .map_err(|error| words(&error).to_string())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn named(names: &[&str]) -> Inherited {
        let listener = || Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        Inherited {
            sockets: names
                .iter()
                .map(|name| ((*name).to_owned(), judge(listener())))
                .collect(),
        }
    }

    #[tokio::test]
    async fn several_sockets_may_have_one_name_and_a_missing_one_is_told_the_names_there_are() {
        let inherited = named(&["edge", "web", "edge"]);
        assert_eq!(inherited.count("edge"), 2);
        let addrs = [0, 1].map(|nth| inherited.get("edge", nth).unwrap().addr().unwrap());
        assert_ne!(addrs[0], addrs[1]);
        let message = inherited.get("egde", 0).unwrap_err().to_string();
        assert!(message.contains("but edge, web"), "{message}");
    }

    #[test]
    fn a_descriptor_without_a_name_leaves_the_others_theirs() {
        let three = |names| in_order(names).take(3).collect::<Vec<_>>();
        assert_eq!(three("edge:web:inside"), ["edge", "web", "inside"]);
        assert_eq!(three(":edge"), ["unknown", "edge", "unknown"]);
        assert_eq!(three(""), ["unknown"; 3]);
    }

    #[tokio::test]
    async fn the_socket_outlives_those_who_listen_on_it() {
        let inherited = named(&["edge"]);
        let socket = inherited.get("edge", 0).unwrap();
        let Ok(crate::addr::ListenAddr::Tcp(addr)) = socket.addr() else {
            panic!("an address")
        };
        socket.close(|_, _| ()).await.unwrap();
        let _queued = std::net::TcpStream::connect(addr).unwrap();
        inherited.get("edge", 0).unwrap().accept().await.unwrap();
    }

    #[test]
    fn what_was_passed_waits_for_nobody_delays_nothing_and_is_not_passed_on() {
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::IntoRawFd::into_raw_fd(rustix::io::dup(&passed).unwrap());
        let socket = judge(own(fd).unwrap().into()).unwrap();
        assert!(socket.nonblocking().unwrap() && socket.tcp_nodelay().unwrap());
        assert!(fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn a_number_that_no_descriptor_has_is_an_error() {
        let free = rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .unwrap_or(1 << 20);
        assert_eq!(
            own(RawFd::try_from(free).unwrap())
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EBADF)
        );
    }

    #[test]
    fn what_cannot_be_listened_on_is_called_by_its_name() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(judge(udp.into()).unwrap_err(), "no stream socket");
        let idle = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert_eq!(judge(idle).unwrap_err(), "a socket that does not listen");
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        assert_eq!(judge(file.into()).unwrap_err(), "no socket");
    }
}
