use std::net::SocketAddr;
use std::num::NonZeroU32;

use tokio::net::TcpListener;

use super::*;
use crate::tls::{Connector, ConnectorOptions, MinVersion, Verification};

/// A server, and its address.
async fn server() -> (TcpListener, UpstreamAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = UpstreamAddr::Socket(listener.local_addr().unwrap());
    (listener, addr)
}

/// An address at which nobody listens: the socket is bound, so that nobody else gets the port.
fn closed() -> (socket2::Socket, UpstreamAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, UpstreamAddr::Socket(addr))
}

/// A server that never answers, because its backlog is full; and what keeps it so.
fn silent() -> (socket2::Socket, Vec<std::net::TcpStream>, UpstreamAddr) {
    let (socket, addr) = closed();
    socket.listen(0).unwrap();
    let UpstreamAddr::Socket(at) = addr else { unreachable!("it is a socket") };
    let mut queued = Vec::new();
    // By the clock of the machine, also in a test whose own is paused.
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(100)) {
        queued.push(stream);
    }
    (socket, queued, addr)
}

fn from(client: ClientAddr) -> Request<'static> {
    Request {
        first: b"",
        agreed: None,
        origin: Origin { client, header: b"", transparent: false },
        timeout: Duration::from_secs(5),
    }
}

fn request() -> Request<'static> {
    from("192.0.2.1:1".parse::<SocketAddr>().unwrap().into())
}

fn within(millis: u64) -> Request<'static> {
    Request { timeout: Duration::from_millis(millis), ..request() }
}

fn options<const N: usize>(servers: [&UpstreamAddr; N], balance: Balance) -> Options {
    Options { balance, ..Options::new("u", servers.into_iter().cloned()) }
}

fn upstream<const N: usize>(servers: [&UpstreamAddr; N], balance: Balance) -> Upstream {
    Upstream::new(options(servers, balance), &Registry::default())
}

/// Where so many connections go that end at once.
async fn picks(upstream: &Upstream, times: usize) -> Vec<UpstreamAddr> {
    let mut picks = Vec::new();
    for _ in 0..times {
        picks.push(upstream.connect(&request(), &mut None).await.unwrap().1.addr().clone());
    }
    picks
}

fn taken(upstream: &Upstream) -> Vec<usize> {
    upstream.known().map(|known| known.places.taken()).collect()
}

#[tokio::test]
async fn round_robin_gives_each_server_its_turn() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    assert_eq!(picks(&upstream([&a, &b], Balance::RoundRobin), 3).await, [a.clone(), b, a]);
}

#[tokio::test]
async fn a_server_that_refuses_is_passed_over() {
    let ((_a, a), (_b, b)) = (closed(), server().await);
    let all = [Balance::First, Balance::RoundRobin, Balance::LeastConnections, Balance::Random, Balance::SourceHash];
    for balance in all {
        assert_eq!(picks(&upstream([&a, &b], balance), 2).await, [b.clone(), b.clone()], "{balance:?}");
    }
}

#[tokio::test]
async fn when_all_refuse_the_error_names_the_last_and_counts_them() {
    let ((_a, a), (_b, b)) = (closed(), closed());
    let error = upstream([&a, &b], Balance::First).connect(&request(), &mut None).await.unwrap_err().to_string();
    assert!(error.starts_with(&b.to_string()) && error.ends_with("(the last of 2 servers tried)"), "{error}");
}

#[tokio::test]
async fn a_connection_counts_until_its_lease_is_dropped() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    let upstream = upstream([&a, &b], Balance::LeastConnections);
    let first = upstream.connect(&request(), &mut None).await.unwrap();
    let second = upstream.connect(&request(), &mut None).await.unwrap();
    assert_eq!(taken(&upstream), [1, 1]);
    drop(first);
    assert_eq!(upstream.connect(&request(), &mut None).await.unwrap().1.addr(), &a, "it has fewer");
    drop(second);
    assert_eq!(taken(&upstream), [0, 0]);
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_gives_its_place_and_its_trial_back() {
    let (_socket, _queued, silent) = silent();
    let (_b, b) = server().await;
    let upstream = upstream([&silent, &b], Balance::First);
    let standing = &upstream.known().next().unwrap().standing;
    let at_once = Ejection { failures: 1, time: Duration::from_nanos(1), ..Ejection::default() };
    standing.failed(&at_once, false, || true);
    let request = request();
    assert!(tokio::time::timeout(Duration::from_millis(20), upstream.connect(&request, &mut None)).await.is_err());
    assert_eq!(taken(&upstream), [0, 0]);
    assert!(standing.begin_trial(), "nobody is trying");
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
    assert_eq!(none.known().next().unwrap().standing.judge(), Use::Ejected, "backups count among the servers");
}

#[tokio::test]
async fn what_failed_before_a_server_was_reached_is_told_in_order() {
    let ((_a, a), (_b, b), (_c, c)) = (closed(), closed(), server().await);
    let upstream = upstream([&a, &b, &c], Balance::First);
    let mut failed = None;
    upstream.connect(&request(), &mut failed).await.unwrap();
    let told = failed.unwrap();
    let (first, second) = told.split_once("; ").unwrap();
    assert!(first.starts_with(&format!("{a}: ")) && second.starts_with(&format!("{b}: ")), "{told}");
    assert!(!told.contains("of 2 servers"), "{told}");
}

#[tokio::test]
async fn one_server_is_never_ejected_and_of_several_half() {
    let (sockets, addrs): (Vec<_>, Vec<_>) = (0..5).map(|_| closed()).unzip();
    for count in 1..=5 {
        let upstream = Upstream::new(Options::new("u", addrs[..count].iter().cloned()), &Registry::default());
        for _ in 0..20 {
            upstream.connect(&request(), &mut None).await.unwrap_err();
        }
        let out = upstream.known().filter(|known| known.standing.is_out()).count();
        assert_eq!(out, count / 2, "of {count}");
    }
    drop(sockets);
}

#[tokio::test]
async fn an_ejected_server_is_better_than_none() {
    let ((_a, a), (_b, b)) = (server().await, closed());
    let upstream = upstream([&a, &b], Balance::First);
    let standing = &upstream.known().next().unwrap().standing;
    for _ in 0..3 {
        standing.failed(&Ejection::default(), false, || true);
    }
    assert_eq!(standing.judge(), Use::Ejected);
    assert_eq!(picks(&upstream, 1).await, [a]);
    assert_eq!(standing.judge(), Use::Well, "it was reached");
}

#[tokio::test]
async fn a_server_that_is_down_is_the_last_one_that_is_tried() {
    let ((_a, a), (_b, b), (_c, c)) = (server().await, server().await, closed());
    let upstream = upstream([&a, &b, &c], Balance::First);
    let servers: Vec<_> = upstream.known().collect();
    servers[0].standing.checked(false, &Health::of(HealthKind::Tcp));
    for _ in 0..3 {
        servers[1].standing.failed(&Ejection::default(), false, || true);
    }
    assert_eq!(picks(&upstream, 1).await, [b]);
    assert_eq!(servers[0].standing.judge(), Use::Down);
}

#[tokio::test(start_paused = true)]
async fn servers_that_never_answer_take_no_longer_than_three_time_limits() {
    let [(_a, _qa, a), (_b, _qb, b), (_c, _qc, c), (_d, _qd, d)] = [silent(), silent(), silent(), silent()];
    let upstream = upstream([&a, &b, &c, &d], Balance::First);
    let begun = Instant::now();
    let error = upstream.connect(&within(100), &mut None).await.unwrap_err().to_string();
    let took = begun.elapsed();
    assert!(error.ends_with("(the last of 3 servers tried)"), "{error}");
    // The clock moves by itself when there is nothing left to do but wait, in steps of a millisecond.
    let is_about = |took: Duration, millis: u128| (millis..millis + 5).contains(&took.as_millis());
    assert!(is_about(took, 300), "{took:?}");
    for _ in 0..3 {
        let _ = upstream.connect(&within(20), &mut None).await;
    }
    let health = Health::of(HealthKind::Tcp);
    for known in upstream.known() {
        known.standing.checked(false, &health);
    }
    let begun = Instant::now();
    upstream.connect(&within(100), &mut None).await.unwrap_err();
    let took = begun.elapsed();
    assert!(is_about(took, 100), "one time limit for all that are known to be down: {took:?}");
}

#[tokio::test]
async fn no_client_can_eject_a_server_that_hangs_up_on_it() {
    let (listener, a) = server().await;
    let (_b, b) = server().await;
    let upstream = upstream([&a, &b], Balance::First);
    // More than fits into the buffers, so that the end comes while it is being sent.
    let first = vec![7; 16 << 20];
    let request = Request { first: &first, ..request() };
    for _ in 0..4 {
        let hang_up = async {
            let stream = listener.accept().await.unwrap().0;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        };
        let mut failed = None;
        let (connected, ()) = tokio::join!(upstream.connect(&request, &mut failed), hang_up);
        assert!(connected.unwrap_err().to_string().starts_with(&a.to_string()), "no other server is sent it as well");
    }
    assert_eq!(upstream.known().next().unwrap().standing.judge(), Use::Well);
}

/// Upstreams whose first server takes connections and never reads from them, and whose second hands over what it accepts.
struct Stalling {
    upstream: Upstream,
    first: TcpListener,
    second: TcpListener,
}

impl Stalling {
    async fn new() -> Self {
        let ((first, a), (second, b)) = (server().await, server().await);
        Self { upstream: upstream([&a, &b], Balance::First), first, second }
    }

    /// Whether the second server has been connected to.
    async fn is_second_asked(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.second.accept()).await.is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn no_client_can_eject_a_server_that_does_not_take_what_it_is_sent_nor_have_it_sent_to_another_one() {
    // More than fits into the buffers.
    let large = vec![7; 16 << 20];
    for (first, header) in [(&large[..], &b""[..]), (&large, b"PROXY UNKNOWN\r\n"), (b"hello", &large)] {
        let stalling = Stalling::new().await;
        let mut request = Request { first, ..request() };
        request.origin.header = header;
        for _ in 0..4 {
            let mut failed = None;
            let error = stalling.upstream.connect(&request, &mut failed).await.unwrap_err();
            assert!(matches!(error, ConnectError::Unsent { error: Unsent::Late, .. }), "{error}");
            assert_eq!(failed, None);
            // As a server does that has heard enough.
            drop(stalling.first.accept().await.unwrap());
        }
        assert!(!stalling.is_second_asked().await);
        assert_eq!(stalling.upstream.known().next().unwrap().standing.judge(), Use::Well);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_ejected_is_well_again_as_soon_as_it_takes_a_connection_whatever_the_client_does_then() {
    let stalling = Stalling::new().await;
    let standing = &stalling.upstream.known().next().unwrap().standing;
    let at_once = Ejection { failures: 1, time: Duration::from_nanos(1), ..Ejection::default() };
    standing.failed(&at_once, false, || true);
    tokio::time::advance(Duration::from_millis(1)).await;
    let large = vec![7; 16 << 20];
    let request = Request { first: &large, ..request() };
    stalling.upstream.connect(&request, &mut None).await.unwrap_err();
    assert_eq!(standing.judge(), Use::Well);
    assert_eq!(taken(&stalling.upstream), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_ends_a_handshake_is_ejected_unless_it_was_told_of_the_client() {
    for (header, is_ejected) in [(&b"PROXY UNKNOWN\r\n"[..], false), (b"", true)] {
        let ((_listener, a), (_b, b)) = (server().await, closed());
        let options = Options { tls: Some(connector(&[])), ..options([&a, &b], Balance::First) };
        let upstream = Upstream::new(options, &Registry::default());
        let mut request = request();
        request.origin.header = header;
        for _ in 0..4 {
            upstream.connect(&request, &mut None).await.unwrap_err();
        }
        assert_eq!(upstream.known().next().unwrap().standing.is_out(), is_ejected, "{header:?}");
    }
}

/// A connector that believes everybody, and offers these protocols.
fn connector(alpn: &[Alpn]) -> Arc<Connector> {
    let options = ConnectorOptions {
        upstream: "u".into(),
        server_name: Some("u.example".parse().unwrap()),
        verification: Verification::Insecure,
        pins: Vec::new(),
        certificate: None,
        min_version: MinVersion::Tls12,
        groups: Vec::new(),
        alpn: alpn.to_vec(),
    };
    Arc::new(Connector::new(options).unwrap())
}

/// What becomes of the first of two servers, which says this to four hellos and hangs up on them.
async fn refused_by(answer: &[u8], request: Request<'_>, connector: Arc<Connector>) -> Use {
    let ((listener, a), (_b, b)) = (server().await, closed());
    let upstream =
        Upstream::new(Options { tls: Some(connector), ..options([&a, &b], Balance::First) }, &Registry::default());
    for _ in 0..4 {
        let refuse = async {
            let mut stream = listener.accept().await.unwrap().0;
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        };
        let mut failed = None;
        let (connected, ()) = tokio::join!(upstream.connect(&request, &mut failed), refuse);
        connected.unwrap_err();
    }
    upstream.known().next().unwrap().standing.judge()
}

#[tokio::test]
async fn no_client_can_eject_a_server_by_the_protocol_that_it_chooses() {
    let no_application_protocol = [21, 3, 3, 0, 2, 2, 120];
    let h2: Alpn = "h2".parse().unwrap();
    let agreed = Request { agreed: Some(&h2), ..request() };
    let [handshake_failure, internal_error] = [40, 80].map(|alert| [21, 3, 3, 0, 2, 2, alert]);
    // Not every server has the alert for it.
    for answer in [&no_application_protocol[..], &handshake_failure, &internal_error, b""] {
        assert_eq!(refused_by(answer, agreed, connector(&[])).await, Use::Well, "{answer:?}");
    }
    // Where it is not the client who chooses, it is a server that nobody can use.
    let offered = refused_by(&no_application_protocol, request(), connector(std::slice::from_ref(&h2))).await;
    assert_eq!(offered, Use::Ejected);
}

#[tokio::test]
async fn no_client_can_eject_a_server_that_refuses_it_for_what_it_is_told_of_it() {
    let access_denied = [21, 3, 3, 0, 2, 2, 49];
    for answer in [&access_denied[..], b""] {
        let mut told = request();
        told.origin.header = b"PROXY UNKNOWN\r\n";
        assert_eq!(refused_by(answer, told, connector(&[])).await, Use::Well, "{answer:?}");
        assert_eq!(refused_by(answer, request(), connector(&[])).await, Use::Ejected, "{answer:?}");
    }
}

#[tokio::test]
async fn no_client_can_eject_a_server_that_has_no_way_to_answer_it() {
    let ((_a, a), (_b, b)) = (closed(), closed());
    for transparent in [true, false] {
        let upstream = upstream([&a, &b], Balance::First);
        let mut seen = request();
        // A client over a unix socket cannot even be connected for, so this one is from here.
        (seen.origin.transparent, seen.origin.client) =
            (transparent, "127.0.0.1:1".parse::<SocketAddr>().unwrap().into());
        for _ in 0..4 {
            upstream.connect(&seen, &mut None).await.unwrap_err();
        }
        let expected = if transparent { Use::Well } else { Use::Ejected };
        assert_eq!(upstream.known().next().unwrap().standing.judge(), expected, "transparent {transparent}");
    }
}

#[tokio::test]
async fn checks_begin_anew_where_others_vouch_for_the_server() {
    let (_a, a) = server().await;
    let registry = Registry::default();
    let check = |alpn: &str| {
        let mut options = options([&a], Balance::First);
        options.tls = Some(connector(&[alpn.parse().unwrap()]));
        options.health = Some(Box::new(Health::of(HealthKind::Tcp)));
        Upstream::new(options, &registry).checks().next().unwrap()
    };
    assert_eq!(check("h2").key(), check("h2").key());
    assert_ne!(check("h2").key(), check("http/1.1").key(), "what the check finds would be kept for nobody");
}

/// An upstream whose only server takes one connection.
fn narrow(addr: &UpstreamAddr, registry: &Registry) -> Upstream {
    let mut options = options([addr], Balance::RoundRobin);
    options.servers[0].max_connections = NonZeroU32::new(1);
    Upstream::new(options, registry)
}

#[tokio::test]
async fn a_connection_waits_for_a_place_or_is_refused_in_time() {
    let (_a, a) = server().await;
    let upstream = narrow(&a, &Registry::default());
    let held = upstream.connect(&request(), &mut None).await.unwrap();
    let error = upstream.connect(&within(50), &mut None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Full { .. }), "{error}");
    let request = request();
    let mut failed = None;
    let mut waiting = Box::pin(upstream.connect(&request, &mut failed));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err(), "the server is full");
    drop(held);
    drop(waiting.await.unwrap());
    assert_eq!(taken(&upstream), [0]);
}

#[tokio::test]
async fn a_full_server_is_passed_over_and_a_backup_is_not_for_that() {
    let ((_a, a), (_b, b), (_c, c)) = (server().await, server().await, server().await);
    let mut options = options([&a, &b, &c], Balance::First);
    options.servers[0].max_connections = NonZeroU32::new(1);
    options.servers[1].max_connections = NonZeroU32::new(1);
    options.servers[2].backup = true;
    let upstream = Upstream::new(options, &Registry::default());
    let one = upstream.connect(&request(), &mut None).await.unwrap();
    let two = upstream.connect(&request(), &mut None).await.unwrap();
    assert_eq!((one.1.addr(), two.1.addr()), (&a, &b));
    assert!(matches!(upstream.connect(&within(50), &mut None).await, Err(ConnectError::Full { .. })));
}

#[tokio::test]
async fn an_ejected_server_is_tried_also_while_clients_wait_for_the_others() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    let mut options = options([&a, &b], Balance::First);
    options.servers[1].max_connections = NonZeroU32::new(1);
    let upstream = Upstream::new(options, &Registry::default());
    let standing = &upstream.known().next().unwrap().standing;
    let soon = Ejection { failures: 1, time: Duration::from_millis(100), ..Ejection::default() };
    standing.failed(&soon, false, || true);
    let held = upstream.connect(&request(), &mut None).await.unwrap();
    assert_eq!(held.1.addr(), &b);
    let request = request();
    let mut failed = None;
    let mut waiting = Box::pin(upstream.connect(&request, &mut failed));
    assert!(tokio::time::timeout(Duration::from_millis(10), &mut waiting).await.is_err(), "it waits for b");
    while standing.judge() != Use::Due {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(picks(&upstream, 1).await.contains(&a));
    assert_eq!(waiting.await.unwrap().1.addr(), &a, "and who waits learns of it");
}

#[test]
fn who_loses_the_race_for_a_trial_takes_what_is_left_and_waits_for_nobody() {
    let [a, b] = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| addr.parse().unwrap());
    let upstream = upstream([&a, &b], Balance::First);
    // One is due, and the other one will not be.
    for (known, time) in upstream.known().zip([Duration::from_nanos(1), Duration::from_secs(3600)]) {
        let ejection = Ejection { failures: 1, time, max_time: time, ..Ejection::default() };
        known.standing.failed(&ejection, false, || true);
    }
    // Each trial is given up at once, and then somebody else's.
    let choose = || (0..20_000).filter(|_| upstream.choose(&request(), &[]).is_err()).count();
    let in_vain: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(choose)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(in_vain, [0; 4]);
}

#[tokio::test]
async fn what_is_known_of_a_server_outlives_its_upstream() {
    let ((_a, a), (_b, b), (_c, c)) = (server().await, server().await, server().await);
    let registry = Registry::default();
    let before = Upstream::new(options([&a, &b], Balance::First), &registry);
    let held = before.connect(&request(), &mut None).await.unwrap();
    for _ in 0..3 {
        before.known().next().unwrap().standing.failed(&Ejection::default(), false, || true);
    }
    let mut options = options([&c, &a], Balance::LeastConnections);
    options.servers[1].weight = 3;
    let after = Upstream::new(options.clone(), &registry);
    after.activate();
    assert_eq!(taken(&after), [0, 1]);
    assert_eq!(after.known().map(|known| known.standing.judge()).collect::<Vec<_>>(), [Use::Well, Use::Ejected]);
    drop(held);
    assert_eq!(taken(&after), [0, 0]);
    options.ejection = None;
    Upstream::new(options, &registry).activate();
    assert_eq!(after.known().nth(1).unwrap().standing.judge(), Use::Well, "nobody is left out any more");
}

#[tokio::test]
async fn a_limit_that_is_raised_helps_who_waits() {
    let (_a, a) = server().await;
    let registry = Registry::default();
    let before = narrow(&a, &registry);
    let _held = before.connect(&request(), &mut None).await.unwrap();
    let request = request();
    let mut failed = None;
    let mut waiting = Box::pin(before.connect(&request, &mut failed));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
    let after = Upstream::new(options([&a], Balance::RoundRobin), &registry);
    after.activate();
    let _second = waiting.await.unwrap();
    assert_eq!(taken(&after), [2]);
}

#[tokio::test]
async fn a_client_without_an_address_gets_each_server_in_turn() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    let upstream = upstream([&a, &b], Balance::SourceHash);
    let mut picks = Vec::new();
    for _ in 0..4 {
        picks.push(upstream.connect(&from(ClientAddr::Unix), &mut None).await.unwrap().1.addr().clone());
    }
    assert_eq!(picks, [a.clone(), b.clone(), a, b]);
}

#[tokio::test]
async fn checks_notice_a_server_that_goes_and_one_that_comes() {
    let (listener, a) = server().await;
    let mut options = options([&a], Balance::First);
    let often = Health { interval: Duration::from_millis(5), ..Health::of(HealthKind::Tcp) };
    options.health = Some(Box::new(often));
    let upstream = Upstream::new(options, &Registry::default());
    let check = upstream.checks().next().unwrap();
    let standing = Arc::clone(&upstream.known().next().unwrap().standing);
    let becomes = async |state: Use| {
        while standing.judge() != state {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let story = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let ended = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
        assert_eq!(ended.unwrap(), 0, "an end in order");
        drop((listener, stream));
        becomes(Use::Down).await;
        let UpstreamAddr::Socket(addr) = a else { unreachable!("it is a socket") };
        let _again = TcpListener::bind(addr).await.unwrap();
        becomes(Use::Well).await;
    };
    tokio::select! {
        () = check.run() => unreachable!("it never ends"),
        () = story => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{:?}", standing),
    }
}
