//! Upstreams over real sockets: servers that answer, refuse and keep silent.

mod capacity;
mod ejection;

use std::net::SocketAddr;
use std::num::NonZeroU32;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::{Connector, ConnectorOptions, MinVersion, Verification};

/// A server, and its address.
async fn server() -> (TcpListener, UpstreamAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = UpstreamAddr::Socket(listener.local_addr().unwrap());
    (listener, addr)
}

/// The next connection to `listener`. One that does not come fails the test, also where its clock
/// stands still.
async fn accepted(listener: &TcpListener) -> TcpStream {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok((socket, _)) = SockRef::from(listener).accept() {
            socket.set_nonblocking(true).unwrap();
            return TcpStream::from_std(socket.into()).unwrap();
        }
        assert!(std::time::Instant::now() < limit, "nobody connects");
        tokio::task::yield_now().await;
    }
}

/// An address at which nobody listens: the socket is bound, so that nobody else gets the port.
fn closed() -> (socket2::Socket, UpstreamAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, UpstreamAddr::Socket(addr))
}

/// A server that never answers, because its backlog is full; and what keeps it so.
fn silent() -> (socket2::Socket, Vec<std::net::TcpStream>, UpstreamAddr) {
    let (socket, addr) = closed();
    socket.listen(0).unwrap();
    let UpstreamAddr::Socket(at) = addr else {
        unreachable!("it is a socket")
    };
    let mut queued = Vec::new();
    // By the clock of the machine, also in a test whose own is paused.
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(100)) {
        queued.push(stream);
    }
    (socket, queued, addr)
}

fn from(client: ClientAddr) -> ConnectRequest<'static> {
    ConnectRequest {
        first: b"",
        agreed: None,
        origin: ClientInfo {
            client,
            header: b"",
            transparent: false,
        },
        timeout: Duration::from_secs(5),
    }
}

fn request() -> ConnectRequest<'static> {
    from("192.0.2.1:1".parse::<SocketAddr>().unwrap().into())
}

fn within(millis: u64) -> ConnectRequest<'static> {
    ConnectRequest {
        timeout: Duration::from_millis(millis),
        ..request()
    }
}

fn options<const N: usize>(servers: [&UpstreamAddr; N], balance: Balance) -> UpstreamOptions {
    UpstreamOptions {
        balance,
        ..UpstreamOptions::new("u", servers.into_iter().cloned())
    }
}

fn upstream<const N: usize>(servers: [&UpstreamAddr; N], balance: Balance) -> Upstream {
    Upstream::new(options(servers, balance), &Registry::default())
}

/// Where so many connections go that end at once.
async fn picks(upstream: &Upstream, times: usize) -> Vec<UpstreamAddr> {
    let mut picks = Vec::new();
    for _ in 0..times {
        picks.push(
            upstream
                .connect(&request(), &FailedServers::default())
                .await
                .unwrap()
                .1
                .addr()
                .clone(),
        );
    }
    picks
}

fn taken(upstream: &Upstream) -> Vec<usize> {
    upstream
        .known()
        .map(|known| known.capacity.taken())
        .collect()
}

#[tokio::test]
async fn round_robin_gives_each_server_its_turn() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    assert_eq!(
        picks(&upstream([&a, &b], Balance::RoundRobin), 3).await,
        [a.clone(), b, a]
    );
}

#[tokio::test]
async fn a_server_that_refuses_is_passed_over() {
    let ((_a, a), (_b, b)) = (closed(), server().await);
    let all = [
        Balance::First,
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::Random,
        Balance::SourceHash,
    ];
    for balance in all {
        assert_eq!(
            picks(&upstream([&a, &b], balance), 2).await,
            [b.clone(), b.clone()],
            "{balance:?}"
        );
    }
}

#[tokio::test]
async fn when_all_refuse_the_error_names_the_last_and_counts_them() {
    let ((_a, a), (_b, b)) = (closed(), closed());
    let error = upstream([&a, &b], Balance::First)
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&b.to_string()) && error.ends_with("(the last of 2 servers tried)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_counts_until_its_lease_is_dropped() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    let upstream = upstream([&a, &b], Balance::LeastConnections);
    let first = upstream
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    let second = upstream
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    assert_eq!(taken(&upstream), [1, 1]);
    drop(first);
    assert_eq!(
        upstream
            .connect(&request(), &FailedServers::default())
            .await
            .unwrap()
            .1
            .addr(),
        &a,
        "it has fewer"
    );
    drop(second);
    assert_eq!(taken(&upstream), [0, 0]);
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_gives_its_place_and_its_trial_back() {
    let (_socket, _queued, silent) = silent();
    let (_b, b) = server().await;
    let upstream = upstream([&silent, &b], Balance::First);
    let health = &upstream.known().next().unwrap().health;
    let at_once = Ejection {
        failures: 1,
        time: Duration::from_nanos(1),
        ..Ejection::default()
    };
    health.failed(&at_once, false, || true);
    let request = request();
    assert!(
        tokio::time::timeout(
            Duration::from_millis(20),
            upstream.connect(&request, &FailedServers::default())
        )
        .await
        .is_err()
    );
    assert_eq!(taken(&upstream), [0, 0]);
    assert!(health.begin_trial(), "nobody is trying");
}

#[tokio::test]
async fn a_backup_is_used_only_while_no_other_is() {
    let ((_a, a), (_b, b), (_c, c)) = (closed(), server().await, server().await);
    let mut options = options([&a, &b, &c], Balance::RoundRobin);
    options.servers[2].backup = true;
    let all = Upstream::new(options.clone(), &Registry::default());
    assert!(picks(&all, 8).await.iter().all(|addr| *addr == b));
    options.servers.remove(1);
    let none = Upstream::new(options, &Registry::default());
    assert!(picks(&none, 8).await.iter().all(|addr| *addr == c));
    assert_eq!(
        none.known().next().unwrap().health.state(),
        HealthState::Ejected,
        "backups count among the servers"
    );
}

#[tokio::test]
async fn what_failed_before_a_server_was_reached_is_told_in_order() {
    let ((_a, a), (_b, b), (_c, c)) = (closed(), closed(), server().await);
    let upstream = upstream([&a, &b, &c], Balance::First);
    let failed = FailedServers::default();
    upstream.connect(&request(), &failed).await.unwrap();
    let told = failed.get().unwrap();
    let (first, second) = told.split_once("; ").unwrap();
    assert!(
        first.starts_with(&format!("{a}: ")) && second.starts_with(&format!("{b}: ")),
        "{told}"
    );
    assert!(!told.contains("of 2 servers"), "{told}");
}

#[tokio::test]
async fn a_client_without_an_address_gets_each_server_in_turn() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    let upstream = upstream([&a, &b], Balance::SourceHash);
    let mut picks = Vec::new();
    for _ in 0..4 {
        picks.push(
            upstream
                .connect(&from(ClientAddr::Unix), &FailedServers::default())
                .await
                .unwrap()
                .1
                .addr()
                .clone(),
        );
    }
    assert_eq!(picks, [a.clone(), b.clone(), a, b]);
}

#[tokio::test]
async fn checks_notice_a_server_that_goes_and_one_that_comes() {
    let (listener, a) = server().await;
    let mut options = options([&a], Balance::First);
    let often = HealthCheck {
        interval: Duration::from_millis(5),
        ..HealthCheck::of(HealthCheckKind::Tcp)
    };
    options.health = Some(Box::new(often));
    let upstream = Upstream::new(options, &Registry::default());
    let check = upstream.checks().next().unwrap();
    let health = Arc::clone(&upstream.known().next().unwrap().health);
    let becomes = async |state: HealthState| {
        while health.state() != state {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let story = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let ended = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
        assert_eq!(ended.unwrap(), 0, "an end in order");
        drop((listener, stream));
        becomes(HealthState::Down).await;
        let UpstreamAddr::Socket(addr) = a else {
            unreachable!("it is a socket")
        };
        let _again = TcpListener::bind(addr).await.unwrap();
        becomes(HealthState::Healthy).await;
    };
    tokio::select! {
        () = check.run() => unreachable!("it never ends"),
        () = story => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{:?}", health),
    }
}

#[tokio::test]
async fn what_failed_is_told_while_the_next_server_is_still_waited_for() {
    let ((_a, a), (_b, _full, b)) = (closed(), silent());
    let upstream = upstream([&a, &b], Balance::First);
    let failed = FailedServers::default();
    let told = async {
        while failed.get().is_none() {
            tokio::task::yield_now().await;
        }
    };
    let request = request();
    tokio::select! {
        _ = upstream.connect(&request, &failed) => panic!("the second server never answers"),
        () = told => {}
    }
    assert!(failed.get().unwrap().starts_with(&format!("{a}: ")));
}
