//! Ejection: which failures eject a server, and that no client decides about it.

use super::*;

#[tokio::test]
async fn one_server_is_never_ejected_and_of_several_half() {
    let (sockets, addrs): (Vec<_>, Vec<_>) = (0..5).map(|_| closed()).unzip();
    for count in 1..=5 {
        let upstream = Upstream::new(
            UpstreamOptions::new("u", addrs[..count].iter().cloned()),
            &Registry::default(),
        );
        for _ in 0..20 {
            upstream
                .connect(&request(), &FailedServers::default())
                .await
                .unwrap_err();
        }
        let out = upstream
            .known()
            .filter(|known| known.health.is_out())
            .count();
        assert_eq!(out, count / 2, "of {count}");
    }
    drop(sockets);
}

#[tokio::test]
async fn an_ejected_server_is_better_than_none() {
    let ((_a, a), (_b, b)) = (server().await, closed());
    let upstream = upstream([&a, &b], Balance::First);
    let health = &upstream.known().next().unwrap().health;
    for _ in 0..3 {
        health.failed(&Ejection::default(), false, || true);
    }
    assert_eq!(health.state(), HealthState::Ejected);
    assert_eq!(picks(&upstream, 1).await, [a]);
    assert_eq!(health.state(), HealthState::Healthy, "it was reached");
}

#[tokio::test]
async fn a_server_that_is_down_is_the_last_one_that_is_tried() {
    let ((_a, a), (_b, b), (_c, c)) = (server().await, server().await, closed());
    let upstream = upstream([&a, &b, &c], Balance::First);
    let servers: Vec<_> = upstream.known().collect();
    servers[0]
        .health
        .checked(false, &HealthCheck::of(HealthCheckKind::Tcp));
    for _ in 0..3 {
        servers[1]
            .health
            .failed(&Ejection::default(), false, || true);
    }
    assert_eq!(picks(&upstream, 1).await, [b]);
    assert_eq!(servers[0].health.state(), HealthState::Down);
}

#[tokio::test(start_paused = true)]
async fn servers_that_never_answer_take_no_longer_than_three_time_limits() {
    let [(_a, _qa, a), (_b, _qb, b), (_c, _qc, c), (_d, _qd, d)] =
        [silent(), silent(), silent(), silent()];
    let upstream = upstream([&a, &b, &c, &d], Balance::First);
    let begun = Instant::now();
    let error = upstream
        .connect(&within(100), &FailedServers::default())
        .await
        .unwrap_err()
        .to_string();
    let took = begun.elapsed();
    assert!(error.ends_with("(the last of 3 servers tried)"), "{error}");
    // The clock moves by itself when there is nothing left to do but wait, in steps of a
    // millisecond.
    let is_about = |took: Duration, millis: u128| (millis..millis + 5).contains(&took.as_millis());
    assert!(is_about(took, 300), "{took:?}");
    for _ in 0..3 {
        let _ = upstream
            .connect(&within(20), &FailedServers::default())
            .await;
    }
    let health = HealthCheck::of(HealthCheckKind::Tcp);
    for known in upstream.known() {
        known.health.checked(false, &health);
    }
    let begun = Instant::now();
    upstream
        .connect(&within(100), &FailedServers::default())
        .await
        .unwrap_err();
    let took = begun.elapsed();
    assert!(
        is_about(took, 100),
        "one time limit for all that are known to be down: {took:?}"
    );
}

#[tokio::test]
async fn no_client_can_eject_a_server_that_hangs_up_on_it() {
    let (listener, a) = server().await;
    let (_b, b) = server().await;
    let upstream = upstream([&a, &b], Balance::First);
    // More than fits into the buffers, so that the end comes while it is being sent.
    let first = vec![7; 16 << 20];
    let request = ConnectRequest {
        first: &first,
        ..request()
    };
    for _ in 0..4 {
        let hang_up = async {
            let stream = accepted(&listener).await;
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        };
        let failed = FailedServers::default();
        let (connected, ()) = tokio::join!(upstream.connect(&request, &failed), hang_up);
        assert!(
            connected
                .unwrap_err()
                .to_string()
                .starts_with(&a.to_string()),
            "no other server is sent it as well"
        );
    }
    assert_eq!(
        upstream.known().next().unwrap().health.state(),
        HealthState::Healthy
    );
}

/// Upstreams whose first server takes connections and never reads from them, and whose second hands
/// over what it accepts.
struct Stalling {
    upstream: Upstream,
    first: TcpListener,
    second: TcpListener,
}

impl Stalling {
    async fn new() -> Self {
        let ((first, a), (second, b)) = (server().await, server().await);
        Self {
            upstream: upstream([&a, &b], Balance::First),
            first,
            second,
        }
    }

    /// Whether the second server has been connected to.
    fn is_second_asked(&self) -> bool {
        SockRef::from(&self.second).accept().is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn no_client_can_eject_a_server_that_does_not_take_what_it_is_sent_nor_have_it_sent_to_another_one()
 {
    // More than fits into the buffers.
    let large = vec![7; 16 << 20];
    for (first, header) in [
        (&large[..], &b""[..]),
        (&large, b"PROXY UNKNOWN\r\n"),
        (b"hello", &large),
    ] {
        let stalling = Stalling::new().await;
        let mut request = ConnectRequest { first, ..request() };
        request.origin.header = header;
        for _ in 0..4 {
            let failed = FailedServers::default();
            let error = stalling
                .upstream
                .connect(&request, &failed)
                .await
                .unwrap_err();
            assert!(
                matches!(
                    error,
                    ConnectError::Unsent {
                        error: Unsent::Late,
                        ..
                    }
                ),
                "{error}"
            );
            assert_eq!(failed.get(), None);
            // As a server does that has heard enough.
            drop(accepted(&stalling.first).await);
        }
        assert!(!stalling.is_second_asked());
        assert_eq!(
            stalling.upstream.known().next().unwrap().health.state(),
            HealthState::Healthy
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_ejected_is_well_again_as_soon_as_it_takes_a_connection_whatever_the_client_does_then()
 {
    let stalling = Stalling::new().await;
    let health = &stalling.upstream.known().next().unwrap().health;
    let at_once = Ejection {
        failures: 1,
        time: Duration::from_nanos(1),
        ..Ejection::default()
    };
    health.failed(&at_once, false, || true);
    tokio::time::advance(Duration::from_millis(1)).await;
    let large = vec![7; 16 << 20];
    let request = ConnectRequest {
        first: &large,
        ..request()
    };
    stalling
        .upstream
        .connect(&request, &FailedServers::default())
        .await
        .unwrap_err();
    assert_eq!(health.state(), HealthState::Healthy);
    assert_eq!(taken(&stalling.upstream), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_ends_a_handshake_is_ejected_unless_it_was_told_of_the_client() {
    for (header, is_ejected) in [(&b"PROXY UNKNOWN\r\n"[..], false), (b"", true)] {
        let ((_listener, a), (_b, b)) = (server().await, closed());
        let options = UpstreamOptions {
            tls: Some(connector(&[])),
            ..options([&a, &b], Balance::First)
        };
        let upstream = Upstream::new(options, &Registry::default());
        let mut request = request();
        request.origin.header = header;
        for _ in 0..4 {
            upstream
                .connect(&request, &FailedServers::default())
                .await
                .unwrap_err();
        }
        assert_eq!(
            upstream.known().next().unwrap().health.is_out(),
            is_ejected,
            "{header:?}"
        );
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

/// The fate of the first of two servers, which says this to four hellos and hangs up on them.
async fn refused_by(
    answer: &[u8],
    request: ConnectRequest<'_>,
    connector: Arc<Connector>,
) -> HealthState {
    let ((listener, a), (_b, b)) = (server().await, closed());
    let upstream = Upstream::new(
        UpstreamOptions {
            tls: Some(connector),
            ..options([&a, &b], Balance::First)
        },
        &Registry::default(),
    );
    for _ in 0..4 {
        let refuse = async {
            let mut stream = accepted(&listener).await;
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096])
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
        };
        let failed = FailedServers::default();
        let (connected, ()) = tokio::join!(upstream.connect(&request, &failed), refuse);
        connected.unwrap_err();
    }
    upstream.known().next().unwrap().health.state()
}

#[tokio::test]
async fn no_client_can_eject_a_server_by_the_protocol_that_it_chooses() {
    let no_application_protocol = [21, 3, 3, 0, 2, 2, 120];
    let h2: Alpn = "h2".parse().unwrap();
    let agreed = ConnectRequest {
        agreed: Some(&h2),
        ..request()
    };
    let [handshake_failure, internal_error] = [40, 80].map(|alert| [21, 3, 3, 0, 2, 2, alert]);
    // Not every server has the alert for it.
    for answer in [
        &no_application_protocol[..],
        &handshake_failure,
        &internal_error,
        b"",
    ] {
        assert_eq!(
            refused_by(answer, agreed, connector(&[])).await,
            HealthState::Healthy,
            "{answer:?}"
        );
    }
    // Where it is not the client who chooses, it is a server that nobody can use.
    let offered = refused_by(
        &no_application_protocol,
        request(),
        connector(std::slice::from_ref(&h2)),
    )
    .await;
    assert_eq!(offered, HealthState::Ejected);
}

#[tokio::test]
async fn no_client_can_eject_a_server_that_refuses_it_for_what_it_is_told_of_it() {
    let access_denied = [21, 3, 3, 0, 2, 2, 49];
    for answer in [&access_denied[..], b""] {
        let mut told = request();
        told.origin.header = b"PROXY UNKNOWN\r\n";
        assert_eq!(
            refused_by(answer, told, connector(&[])).await,
            HealthState::Healthy,
            "{answer:?}"
        );
        assert_eq!(
            refused_by(answer, request(), connector(&[])).await,
            HealthState::Ejected,
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn no_client_can_eject_a_server_that_has_no_way_to_answer_it() {
    let ((_a, a), (_b, b)) = (closed(), closed());
    for transparent in [true, false] {
        let upstream = upstream([&a, &b], Balance::First);
        let mut seen = request();
        // A client over a unix socket cannot even be connected for, so this one is from here.
        (seen.origin.transparent, seen.origin.client) = (
            transparent,
            "127.0.0.1:1".parse::<SocketAddr>().unwrap().into(),
        );
        for _ in 0..4 {
            upstream
                .connect(&seen, &FailedServers::default())
                .await
                .unwrap_err();
        }
        let expected = if transparent {
            HealthState::Healthy
        } else {
            HealthState::Ejected
        };
        assert_eq!(
            upstream.known().next().unwrap().health.state(),
            expected,
            "transparent {transparent}"
        );
    }
}

#[tokio::test]
async fn checks_begin_anew_where_others_vouch_for_the_server() {
    let (_a, a) = server().await;
    let registry = Registry::default();
    let check = |alpn: &str| {
        let mut options = options([&a], Balance::First);
        options.tls = Some(connector(&[alpn.parse().unwrap()]));
        options.health = Some(Box::new(HealthCheck::of(HealthCheckKind::Tcp)));
        Upstream::new(options, &registry).checks().next().unwrap()
    };
    assert_eq!(check("h2").key(), check("h2").key());
    assert_ne!(
        check("h2").key(),
        check("http/1.1").key(),
        "what the check finds would be kept for nobody"
    );
}
