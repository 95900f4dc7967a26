//! What the service manager is told.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Instant;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::hello::hello;
use crate::support::proxy::{Proxy, directory, passthrough};

/// The socket that a service manager has for its services.
struct Manager(UnixDatagram);

impl Manager {
    fn new(addr: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that begins so.
    fn wait_for(&self, start: &str) -> String {
        let limit = Instant::now() + PATIENCE;
        loop {
            let message = self.next();
            if message.starts_with(start) {
                return message;
            }
            assert!(Instant::now() < limit, "never: {start:?}, but {message:?}");
        }
    }
}

fn start(config: &str, name: &OsStr, usec: Option<u32>) -> Proxy {
    Proxy::start_as(directory(), config, |command| {
        command
            .env("NOTIFY_SOCKET", name)
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC");
        if let Some(usec) = usec {
            command.env("WATCHDOG_USEC", usec.to_string());
        }
    })
}

fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn it_is_told_of_the_start_of_each_reload_and_of_the_stop() {
    let dir = directory();
    let path = dir.path().join("notify");
    let manager = Manager::new(&SocketAddr::from_pathname(&path).unwrap());
    let backend = Backend::echo();
    let route = passthrough("a.example", backend.addr);
    let proxy = start(
        &format!("{route}[timeouts]\ndrain = \"1h\"\n"),
        path.as_os_str(),
        None,
    );
    assert_eq!(
        manager.next(),
        "READY=1\nSTATUS=1 routes, 1 listening sockets, 0 open connections"
    );

    let asked = monotonic();
    proxy.signal(Signal::HUP);
    let message = manager.next();
    let when: i64 = message
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .expect(&message)
        .parse()
        .unwrap();
    assert!((asked..=monotonic()).contains(&when), "{asked} {when}");
    assert!(manager.next().starts_with("READY=1\n"));

    // By itself, because a file has changed.
    proxy.reload(&format!(
        "{route}{}[timeouts]\ndrain = \"1h\"\n",
        passthrough("b.example", backend.addr).replace("a]", "b]")
    ));
    assert!(manager.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(
        manager.next(),
        "READY=1\nSTATUS=2 routes, 1 listening sockets, 0 open connections"
    );

    // Refused, and over nevertheless.
    proxy.reload_refused("[routes.a]\n");
    proxy.signal(Signal::HUP);
    assert!(manager.next().starts_with("RELOADING=1\n"));
    let message = manager.next();
    assert!(
        message.starts_with("READY=1\n") && message.contains("refused"),
        "{message}"
    );

    let mut open = proxy.connect();
    super::echo(&mut open, &hello("a.example"));
    proxy.signal(Signal::TERM);
    let message = manager.wait_for("STOPPING=1\n");
    assert!(
        message.contains("STATUS=draining, 1 open connections, 3600s at most"),
        "{message}"
    );
    assert!(
        message.contains("\nEXTEND_TIMEOUT_USEC=30000000"),
        "{message}"
    );
    assert!(
        manager
            .wait_for("EXTEND_TIMEOUT_USEC=")
            .ends_with("=30000000")
    );
    drop(open);
    let (status, log) = proxy.wait_for_exit();
    assert!(status.success(), "{log}");
}

#[test]
fn the_watchdog_of_another_process_hears_nothing() {
    let dir = directory();
    let path = dir.path().join("notify");
    let manager = Manager::new(&SocketAddr::from_pathname(&path).unwrap());
    let backend = Backend::echo();
    let _proxy = Proxy::start_as(
        directory(),
        &passthrough("a.example", backend.addr),
        |command| {
            command
                .env("NOTIFY_SOCKET", &path)
                .env("WATCHDOG_PID", "1")
                .env("WATCHDOG_USEC", "20000");
        },
    );
    assert!(manager.next().starts_with("READY=1\n"));
    manager
        .0
        .set_read_timeout(Some(std::time::Duration::from_millis(300)))
        .unwrap();
    assert!(
        manager.0.recv(&mut [0; 64]).is_err(),
        "thirty times what it would be told in"
    );
}

#[test]
fn the_watchdog_hears_from_it_as_long_as_it_runs_and_not_while_it_stands_still() {
    let name = format!("snigate-test-{}", std::process::id());
    let manager = Manager::new(&SocketAddr::from_abstract_name(&name).unwrap());
    let backend = Backend::echo();
    let config = passthrough("a.example", backend.addr) + "[timeouts]\ndrain = \"1h\"\n";
    let proxy = start(&config, OsStr::new(&format!("@{name}")), Some(100_000));
    assert!(manager.next().starts_with("READY=1\n"));
    (0..3).for_each(|_| assert_eq!(manager.next(), "WATCHDOG=1"));

    proxy.signal(Signal::STOP);
    proxy.poll_until("it is stopped", |proxy| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid().as_raw_nonzero()))
            .unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    manager.0.set_nonblocking(true).unwrap();
    while manager.0.recv(&mut [0; 64]).is_ok() {}
    manager.0.set_nonblocking(false).unwrap();
    manager
        .0
        .set_read_timeout(Some(std::time::Duration::from_millis(300)))
        .unwrap();
    assert!(
        manager.0.recv(&mut [0; 64]).is_err(),
        "six times its interval"
    );
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    proxy.signal(Signal::CONT);
    manager.wait_for("WATCHDOG=1");

    // While connections are waited for it must be alive, too.
    let mut open = proxy.connect();
    super::echo(&mut open, &hello("a.example"));
    proxy.signal(Signal::TERM);
    manager.wait_for("STOPPING=1\n");
    (0..3).for_each(|_| _ = manager.wait_for("WATCHDOG=1"));
}
