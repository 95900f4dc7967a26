//! Files that are written again and again, and lists and certificates that come before their time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tests::{CONFIG, DAY, list, lists, running, site, write};
use super::*;
use crate::daemon::reload::calm::{QUIET, UNREST};
use crate::pki::{Authority, RevocationList, Validity};

/// A process without its sockets: what it serves, and how long its files have been quiet.
struct Watcher {
    order: Order,
    eyes: Eyes,
}

impl Watcher {
    fn new(dir: &Path) -> Self {
        let (order, eyes) = running(dir);
        Self { order, eyes }
    }

    /// Looks at the files when so much time has passed, and serves what may be served: what was,
    /// and what pends.
    fn look_after(&mut self, time: Duration) -> (Option<Box<Proposed>>, Pending) {
        self.order.now += time;
        self.order.must_load = true;
        let look = self.order.look(&mut self.eyes);
        let (mut waits, mut served, mut pends) = (WaitingItems::new(), None, Pending::default());
        for verdict in [look.files, look.materials].into_iter().flatten() {
            let pending = match verdict {
                ReloadVerdict::Serve(candidate, pending) => {
                    self.order.served = candidate.served.clone();
                    self.eyes.materials = candidate.materials.clone();
                    served = Some(candidate);
                    pending
                }
                ReloadVerdict::Stays(pending) => pending,
                ReloadVerdict::NotKept(error) => panic!("{error}"),
            };
            waits.extend(pending.waits.clone());
            pends = pending;
        }
        self.order.calm.wait(waits, self.order.now, |_| false);
        (served, pends)
    }

    /// The serial numbers that the lists revoke, each as its last byte.
    fn revoked(&self) -> Vec<Vec<u8>> {
        let lists = self
            .order
            .served
            .materials
            .lists
            .values()
            .flat_map(|file| &file.lists);
        lists
            .map(|list| {
                (0..=255)
                    .filter(|serial| list.revokes(&[*serial]))
                    .collect()
            })
            .collect()
    }

    fn authorities(&self) -> Vec<String> {
        let authorities = self.order.served.materials.authorities.values().flatten();
        authorities.map(|ca| ca.subject().to_owned()).collect()
    }
}

const RESTLESS: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn what_a_list_revokes_acts_at_once_however_often_it_is_written_and_what_it_frees_waits() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let publish = |year: i32, serials: &[u8]| {
        fs::write(dir.join("clients.crl"), list(&clients, year, serials, None)).unwrap();
    };
    publish(2000, &[1, 2]);
    let mut watcher = Watcher::new(dir);
    let mut all = vec![1, 2];
    for round in 1..20 {
        let serial = 10 + u8::try_from(round).unwrap();
        publish(2000 + round, &[2, serial]);
        let (served, pending) = watcher.look_after(RESTLESS);
        assert!(served.is_some(), "{round}");
        all.push(serial);
        assert_eq!(watcher.revoked(), [all.clone()], "{round}");
        assert_eq!(pending.waits.len(), 1, "{round}: what it frees waits");
    }
    watcher.look_after(QUIET);
    assert_eq!(watcher.revoked(), [[2, 29]], "nobody writes any more");
}

#[tokio::test]
async fn a_list_in_a_new_file_of_a_directory_revokes_at_once_and_frees_when_it_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    fs::create_dir(dir.join("lists")).unwrap();
    fs::write(dir.join("lists/a.crl"), list(&clients, 2020, &[1, 2], None)).unwrap();
    fs::write(
        dir.join("snigate.toml"),
        CONFIG.replace("clients.crl", "lists"),
    )
    .unwrap();
    let mut watcher = Watcher::new(dir);
    fs::write(dir.join("lists/b.crl"), list(&clients, 2021, &[2, 3], None)).unwrap();
    assert!(watcher.look_after(Duration::ZERO).0.is_some());
    assert_eq!(watcher.revoked(), [vec![1, 2], vec![1, 2, 3]]);
    watcher.look_after(QUIET);
    assert_eq!(watcher.revoked(), [[1, 2], [2, 3]]);
    // What has been freed is not taken back by what is left of it.
    fs::write(dir.join("lists/b.crl"), list(&clients, 2022, &[3, 4], None)).unwrap();
    watcher.look_after(RESTLESS);
    assert_eq!(watcher.revoked(), [vec![1, 2], vec![2, 3, 4]]);
    watcher.look_after(QUIET);
    fs::remove_file(dir.join("lists/a.crl")).unwrap();
    let (served, pending) = watcher.look_after(RESTLESS);
    assert!(
        served.is_some() && pending.waits.is_empty(),
        "it has not counted any more"
    );
    assert_eq!(watcher.revoked(), [[3, 4]]);
}

/// A directory of CAs.
fn with_directory(dir: &Path) -> (Authority, PathBuf) {
    let (_, _, clients) = site(dir);
    fs::create_dir(dir.join("cas")).unwrap();
    fs::rename(dir.join("clients.pem"), dir.join("cas/clients.pem")).unwrap();
    let config = CONFIG.replace("clients.pem", "cas").replace(
        "client_auth.crl_files",
        "client_auth.crl.unknown = \"allow\"\n\
        client_auth.crl_files",
    );
    fs::write(dir.join("snigate.toml"), config).unwrap();
    fs::write(dir.join("clients.crl"), list(&clients, 2000, &[], None)).unwrap();
    (clients, dir.join("cas/new.pem"))
}

#[tokio::test]
async fn a_ca_that_is_new_in_a_directory_waits_by_itself_and_a_revocation_acts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (clients, new) = with_directory(dir);
    let mut watcher = Watcher::new(dir);
    let others = ["one", "other"].map(|name| Authority::new(name, Validity::days(20)).unwrap());
    for round in 1..10_u8 {
        fs::write(&new, others[usize::from(round % 2)].certificate()).unwrap();
        fs::write(
            dir.join("clients.crl"),
            list(&clients, 2000 + i32::from(round), &[1, round], None),
        )
        .unwrap();
        assert!(watcher.look_after(RESTLESS).0.is_some(), "{round}");
        assert!(watcher.revoked()[0].contains(&round), "{round}");
        assert_eq!(watcher.authorities(), ["CN=clients"], "{round}");
    }
    watcher.look_after(QUIET);
    assert_eq!(watcher.authorities(), ["CN=clients", "CN=other"]);
}

#[tokio::test]
async fn what_a_file_takes_away_acts_though_it_is_never_quiet_and_what_it_adds_never_does() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let [gone, one, other] =
        ["gone", "one", "other"].map(|name| Authority::new(name, Validity::days(20)).unwrap());
    let path = dir.join("clients.pem");
    let bundle = |parts: &[&Authority]| {
        fs::write(
            &path,
            parts.iter().map(|ca| ca.certificate()).collect::<String>(),
        )
    };
    bundle(&[&clients, &gone]).unwrap();
    let config = CONFIG.replace("client_auth.crl_files = [\"clients.crl\"]\n", "");
    fs::write(dir.join("snigate.toml"), config).unwrap();
    let mut watcher = Watcher::new(dir);
    let mut time = Duration::ZERO;
    for round in 0..20 {
        bundle(&[&clients, if round % 2 == 0 { &one } else { &other }]).unwrap();
        let (_, pending) = watcher.look_after(RESTLESS);
        let is_restless = time >= UNREST;
        assert_eq!(
            pending.restless.is_some(),
            is_restless,
            "{round}: it is said"
        );
        let expected: &[&str] = if is_restless {
            &["CN=clients"]
        } else {
            &["CN=clients", "CN=gone"]
        };
        assert_eq!(watcher.authorities(), expected, "{round}");
        time += RESTLESS;
    }
    watcher.look_after(QUIET);
    assert_eq!(watcher.authorities(), ["CN=clients", "CN=other"]);
}

#[tokio::test]
async fn a_denial_in_a_text_that_is_never_quiet_acts_and_a_text_that_only_allows_waits() {
    for denies in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        site(dir);
        let mut watcher = Watcher::new(dir);
        let mut served_at = None;
        for round in 0..20_u32 {
            let deny = if denies {
                "client_auth.deny.cn = [\"member\"]\n"
            } else {
                ""
            };
            let route = format!(
                "{deny}[routes.r{round}]\nsni = \"r{round}.example\"\naction = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n"
            );
            let text = CONFIG.replacen("[routes.app]", &format!("{route}[routes.app]"), 1);
            fs::write(dir.join("snigate.toml"), text).unwrap();
            let (served, pending) = watcher.look_after(RESTLESS);
            assert_eq!(served.is_some(), pending.restless.is_some(), "{round}");
            served_at = served_at.or(served.map(|_| RESTLESS * round));
        }
        assert_eq!(served_at.is_some(), denies);
        assert!(
            served_at.is_none_or(|at| at >= UNREST && at < UNREST + RESTLESS),
            "{served_at:?}"
        );
    }
}

#[tokio::test]
async fn a_list_from_the_future_counts_beside_the_one_that_runs_until_it_begins() {
    for requested in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (_, _, clients) = site(dir);
        let publish = |from: SystemTime, revoked: u8| {
            let mut list = RevocationList::default();
            list.revoke(&[revoked], None);
            let validity = Validity {
                not_before: from,
                not_after: SystemTime::now() + 20 * DAY,
            };
            fs::write(
                dir.join("clients.crl"),
                list.sign(&clients, validity).unwrap(),
            )
            .unwrap();
        };
        publish(SystemTime::now() - DAY, 1);
        let mut watcher = Watcher::new(dir);
        watcher.order.requested = requested;
        publish(SystemTime::now() + DAY, 2);
        let (served, pending) = watcher.look_after(Duration::ZERO);
        let served = served.expect("what it revokes acts at once");
        assert_eq!(watcher.revoked(), [[1], [2]]);
        assert!(pending.held.is_none() && pending.waits.is_empty() && pending.refusal.is_none());
        let said: Vec<_> = served
            .diagnostics
            .iter()
            .filter(|found| found.message.contains("future"))
            .collect();
        assert!(
            matches!(&said[..], [one] if one.severity == Severity::Warning),
            "{said:?}"
        );
        // No later look makes it otherwise, nor another one from the future.
        watcher.look_after(QUIET);
        publish(SystemTime::now() + 2 * DAY, 3);
        watcher.look_after(QUIET);
        assert_eq!(watcher.revoked()[..1], [[1]], "{requested}");
        // One of today takes the place of both.
        publish(SystemTime::now(), 1);
        watcher.look_after(QUIET);
        watcher.look_after(QUIET);
        assert!(
            watcher.revoked().contains(&vec![1]),
            "{:?}",
            watcher.revoked()
        );
    }
}

#[tokio::test]
async fn a_renewed_certificate_before_its_time_leaves_the_one_that_runs_and_acts_when_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let servers = Authority::new("servers", Validity::days(20)).unwrap();
    let mut watcher = Watcher::new(dir);
    let shown = |watcher: &Watcher| {
        watcher.order.served.materials.certificates["site"]
            .certificate
            .not_before()
    };
    let before = shown(&watcher);
    let begin = SystemTime::now() + DAY;
    write(
        dir,
        "site",
        &servers
            .server(
                &["app.example"],
                Validity {
                    not_before: begin,
                    ..Validity::days(20)
                },
            )
            .unwrap(),
    );
    let mut revoked = RevocationList::default();
    revoked.revoke(&[7], None);
    fs::write(
        dir.join("clients.crl"),
        revoked.sign(&clients, Validity::days(20)).unwrap(),
    )
    .unwrap();
    let (served, pending) = watcher.look_after(Duration::ZERO);
    assert!(
        served.is_some_and(|served| lists(&served) == [1]),
        "a revocation beside it acts"
    );
    assert!(pending.refusal.is_some_and(|refusal| refusal.is_partial));
    assert_eq!(shown(&watcher), before);
    watcher.order.clock = begin;
    assert!(watcher.look_after(DAY).0.is_some());
    assert!(shown(&watcher) > before);
}

#[tokio::test]
async fn the_first_list_of_a_ca_whose_clients_are_refused_without_one_waits_and_another_one_does_not()
 {
    for (unknown, at_once) in [("deny", false), ("allow", true)] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (_, _, clients) = site(dir);
        let second = Authority::new("second", Validity::days(20)).unwrap();
        fs::create_dir(dir.join("lists")).unwrap();
        fs::write(
            dir.join("clients.pem"),
            clients.certificate().to_owned() + second.certificate(),
        )
        .unwrap();
        fs::write(
            dir.join("lists/clients.crl"),
            list(&clients, 2021, &[], None),
        )
        .unwrap();
        let text = CONFIG.replace("\"clients.crl\"", "\"lists\"");
        let crl = format!("client_auth.crl.unknown = \"{unknown}\"\nclient_auth.crl_files");
        fs::write(
            dir.join("snigate.toml"),
            text.replace("client_auth.crl_files", &crl),
        )
        .unwrap();
        let mut watcher = Watcher::new(dir);
        fs::write(
            dir.join("lists/second.crl"),
            list(&second, 2020, &[7], None),
        )
        .unwrap();
        fs::write(
            dir.join("lists/clients.crl"),
            list(&clients, 2022, &[1], None),
        )
        .unwrap();
        let (served, pending) = watcher.look_after(Duration::ZERO);
        let served = served.expect("a revocation beside it acts");
        assert_eq!(
            lists(&served),
            if at_once { vec![1, 1] } else { vec![1] },
            "{unknown}"
        );
        assert_eq!(pending.waits.is_empty(), at_once, "{unknown}");
        let said = pending.loosens.on_one_line();
        assert_eq!(
            said.contains("lists/second.crl: clients whom no list spoke of would come in"),
            !at_once,
            "{said}"
        );
        if at_once {
            continue;
        }
        // The next one is there before the first one has settled.
        fs::write(
            dir.join("lists/second.crl"),
            list(&second, 2022, &[7, 8], None),
        )
        .unwrap();
        assert!(watcher.look_after(QUIET / 2).0.is_none());
        let served = watcher
            .look_after(QUIET)
            .0
            .expect("it has been as it is for long enough");
        assert_eq!(lists(&served), [1, 2]);
    }
}
