//! Places of servers that are limited, and what outlives an upstream.

use super::*;

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
    let held = upstream
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    let error = upstream
        .connect(&within(50), &FailedServers::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Full { .. }), "{error}");
    let request = request();
    let failed = FailedServers::default();
    let mut waiting = Box::pin(upstream.connect(&request, &failed));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), &mut waiting)
            .await
            .is_err(),
        "the server is full"
    );
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
    let one = upstream
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    let two = upstream
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    assert_eq!((one.1.addr(), two.1.addr()), (&a, &b));
    assert!(matches!(
        upstream
            .connect(&within(50), &FailedServers::default())
            .await,
        Err(ConnectError::Full { .. })
    ));
}

#[tokio::test]
async fn an_ejected_server_is_tried_also_while_clients_wait_for_the_others() {
    let ((_a, a), (_b, b)) = (server().await, server().await);
    let mut options = options([&a, &b], Balance::First);
    options.servers[1].max_connections = NonZeroU32::new(1);
    let upstream = Upstream::new(options, &Registry::default());
    let health = &upstream.known().next().unwrap().health;
    let soon = Ejection {
        failures: 1,
        time: Duration::from_millis(100),
        ..Ejection::default()
    };
    health.failed(&soon, false, || true);
    let held = upstream
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    assert_eq!(held.1.addr(), &b);
    let request = request();
    let failed = FailedServers::default();
    let mut waiting = Box::pin(upstream.connect(&request, &failed));
    assert!(
        tokio::time::timeout(Duration::from_millis(10), &mut waiting)
            .await
            .is_err(),
        "it waits for b"
    );
    let is_due = async {
        while health.state() != HealthState::Probing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_due)
        .await
        .expect("its time is never over");
    assert!(picks(&upstream, 1).await.contains(&a));
    assert_eq!(
        waiting.await.unwrap().1.addr(),
        &a,
        "and who waits learns of it"
    );
}

#[test]
fn who_loses_the_race_for_a_trial_takes_what_is_left_and_waits_for_nobody() {
    let [a, b] = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| addr.parse().unwrap());
    let upstream = upstream([&a, &b], Balance::First);
    // One is due, and the other one will not be.
    for (known, time) in upstream
        .known()
        .zip([Duration::from_nanos(1), Duration::from_secs(3600)])
    {
        let ejection = Ejection {
            failures: 1,
            time,
            max_time: time,
            ..Ejection::default()
        };
        known.health.failed(&ejection, false, || true);
    }
    // Each trial is given up at once, and then somebody else's.
    let choose = || {
        (0..20_000)
            .filter(|_| upstream.choose(&request(), &[]).is_err())
            .count()
    };
    let in_vain: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(choose)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(in_vain, [0; 4]);
}

#[tokio::test]
async fn what_is_known_of_a_server_outlives_its_upstream() {
    let ((_a, a), (_b, b), (_c, c)) = (server().await, server().await, server().await);
    let registry = Registry::default();
    let before = Upstream::new(options([&a, &b], Balance::First), &registry);
    let held = before
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    for _ in 0..3 {
        before
            .known()
            .next()
            .unwrap()
            .health
            .failed(&Ejection::default(), false, || true);
    }
    let mut options = options([&c, &a], Balance::LeastConnections);
    options.servers[1].weight = 3;
    let after = Upstream::new(options.clone(), &registry);
    after.activate();
    assert_eq!(taken(&after), [0, 1]);
    assert_eq!(
        after
            .known()
            .map(|known| known.health.state())
            .collect::<Vec<_>>(),
        [HealthState::Healthy, HealthState::Ejected]
    );
    drop(held);
    assert_eq!(taken(&after), [0, 0]);
    options.ejection = None;
    Upstream::new(options, &registry).activate();
    assert_eq!(
        after.known().nth(1).unwrap().health.state(),
        HealthState::Healthy,
        "nobody is left out any more"
    );
}

#[tokio::test]
async fn a_limit_that_is_raised_helps_who_waits() {
    let (_a, a) = server().await;
    let registry = Registry::default();
    let before = narrow(&a, &registry);
    let _held = before
        .connect(&request(), &FailedServers::default())
        .await
        .unwrap();
    let request = request();
    let failed = FailedServers::default();
    let mut waiting = Box::pin(before.connect(&request, &failed));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), &mut waiting)
            .await
            .is_err()
    );
    let after = Upstream::new(options([&a], Balance::RoundRobin), &registry);
    after.activate();
    let _second = waiting.await.unwrap();
    assert_eq!(taken(&after), [2]);
}
