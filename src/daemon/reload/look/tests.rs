//! Looks at files, without a process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::pki::{
    Authority, CertificateUse, Issued, Key, KeyKind, PublicKey, RevocationList, Subject, Validity,
};

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) const CONFIG: &str = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[certificates.site]\ncert_file = \"site.pem\"\n\
    key_file = \"site-key.pem\"\n[tls.default]\nclient_auth.ca_files = [\"clients.pem\"]\n\
    client_auth.crl_files = [\"clients.crl\"]\n[routes.app]\nsni = \"app.example\"\naction = \"terminate\"\n\
    upstream = \"127.0.0.1:1\"\n";

pub(super) fn write(dir: &Path, name: &str, issued: &Issued) {
    fs::write(dir.join(format!("{name}.pem")), &issued.certificate).unwrap();
    fs::write(dir.join(format!("{name}-key.pem")), &issued.key).unwrap();
}

/// The configuration that runs, and the next look at its files, a year before the time.
fn a_year_ago(path: &Path) -> (Order, Eyes) {
    let mut loaded = config::load(path);
    let outline = loaded.outline(path, None).unwrap_or_default();
    let texts = loaded.files.take_texts();
    let materials = Arc::new(loaded.files.take_materials());
    let standing = Standing::of(
        loaded
            .config
            .as_ref()
            .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)),
    );
    let order = Order {
        path: path.to_owned(),
        served: Served {
            standing: Arc::new(standing),
            outline: Arc::new(outline),
            texts: Arc::new(texts),
            materials,
        },
        before: CarriedOver::default(),
        requested: false,
        must_load: false,
        only_materials: false,
        confirmed: None,
        renew: false,
        calm: Calm::default(),
        now: Instant::now(),
        clock: SystemTime::now() - 365 * DAY,
    };
    let eyes = Eyes {
        materials: loaded.files.beside_texts(),
        last: loaded.files,
        ..Eyes::default()
    };
    (order, eyes)
}

/// The configuration that serves afterwards, or the reason why it is refused.
fn look(order: Order, mut eyes: Eyes) -> Result<Box<Proposed>, String> {
    match order.look(&mut eyes).files {
        Some(ReloadVerdict::Serve(candidate, _)) => Ok(candidate),
        Some(ReloadVerdict::Stays(Pending {
            refusal: Some(refusal),
            ..
        })) => Err(format!("{:?}", refusal.diagnostics)),
        _ => Err("neither".to_owned()),
    }
}

#[tokio::test]
async fn while_the_clock_is_behind_a_revocation_acts_and_a_certificate_of_the_future_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, validity) = (dir.path(), Validity::days(20));
    let [servers, clients] =
        ["servers", "clients"].map(|name| Authority::new(name, validity).unwrap());
    let issue = || servers.server(&["app.example"], validity).unwrap();
    write(dir, "site", &issue());
    fs::write(dir.join("clients.pem"), clients.certificate()).unwrap();
    let member = clients.client("member", validity).unwrap();
    let mut list = RevocationList::default();
    let mut publish = |revoked: Option<&Issued>| {
        if let Some(revoked) = revoked {
            list.revoke(
                &clients.serial_of(revoked.certificate.as_bytes()).unwrap(),
                None,
            );
        }
        fs::write(
            dir.join("clients.crl"),
            list.sign(&clients, validity).unwrap(),
        )
        .unwrap();
    };
    publish(None);
    let path = dir.join("snigate.toml");
    fs::write(&path, CONFIG).unwrap();

    let (order, eyes) = a_year_ago(&path);
    publish(Some(&member));
    let candidate = look(order, eyes).unwrap_or_else(|refused| panic!("{refused}"));
    let is_urgent = |found: &Diagnostic| {
        found.severity == Severity::Stale && found.message.contains("not valid before")
    };
    assert!(
        candidate.diagnostics.iter().any(is_urgent),
        "{:?}",
        candidate.diagnostics
    );

    // Of two of one key in the file it takes another one when neither has begun.
    let key = Key::generate(KeyKind::P256).unwrap();
    let public = PublicKey::of(&key).unwrap();
    let next = Validity {
        not_before: SystemTime::now() + DAY,
        not_after: SystemTime::now() + 40 * DAY,
    };
    let subject = Subject::server(&["app.example"]).unwrap();
    let both = [validity, next].map(|when| {
        servers
            .issue(&subject, CertificateUse::Server, when, &public)
            .unwrap()
    });
    write(
        dir,
        "site",
        &Issued {
            certificate: both.concat(),
            key: key.pem().to_string(),
        },
    );
    let (order, eyes) = a_year_ago(&path);
    publish(Some(&clients.client("other", validity).unwrap()));
    look(order, eyes).unwrap_or_else(|refused| panic!("{refused}"));

    let (order, eyes) = a_year_ago(&path);
    write(dir, "site", &issue());
    let refused = look(order, eyes)
        .err()
        .expect("another certificate of the same table");
    assert!(
        refused.contains("no other certificate of routes.app covers"),
        "{refused}"
    );
}

#[tokio::test]
async fn somebody_who_asks_confirms_what_the_files_say_at_that_time_and_nothing_that_goes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, validity) = (dir.path(), Validity::days(20));
    let [servers, clients] =
        ["servers", "clients"].map(|name| Authority::new(name, validity).unwrap());
    let site = servers.server(&["app.example"], validity).unwrap();
    write(dir, "site", &site);
    fs::write(dir.join("clients.pem"), clients.certificate()).unwrap();
    fs::write(
        dir.join("clients.crl"),
        RevocationList::default().sign(&clients, validity).unwrap(),
    )
    .unwrap();
    let path = dir.join("snigate.toml");
    fs::write(&path, CONFIG).unwrap();
    let now = |(order, eyes): (Order, Eyes)| {
        (
            Order {
                clock: SystemTime::now(),
                ..order
            },
            eyes,
        )
    };
    let without = CONFIG.replace("client_auth.crl_files = [\"clients.crl\"]\n", "");
    // Nothing of it runs that could go on, so all of it is refused.
    let more = "[certificates.more]\ncert_file = \"more.pem\"\n";
    let is_refused = |look: &Look| matches!(&look.files, Some(ReloadVerdict::Stays(pending)) if pending.refusal.is_some());
    for (what, then, is_held) in [
        ("the list goes later", CONFIG, true),
        ("it had gone", &*without, false),
    ] {
        fs::write(&path, CONFIG).unwrap();
        let (order, mut eyes) = now(a_year_ago(&path));
        fs::write(&path, then.to_owned() + more).unwrap();
        let asked = Order {
            requested: true,
            served: order.served.clone(),
            path: path.clone(),
            ..order
        };
        let look = asked.look(&mut eyes);
        assert!(is_refused(&look), "{what}");
        let order = Order {
            requested: false,
            confirmed: look.confirmed,
            must_load: true,
            ..asked
        };
        if !is_held {
            assert!(is_refused(&order.look(&mut eyes)), "{what}: as it was");
        }
        fs::write(&path, &without).unwrap();
        let look = order.look(&mut eyes);
        assert!(
            matches!(&look.files, Some(ReloadVerdict::Stays(pending)) if pending.held.is_some()),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_stands_back_does_not_serve_yet() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, validity) = (dir.path(), Validity::days(20));
    let servers = Authority::new("servers", validity).unwrap();
    write(
        dir,
        "site",
        &servers.server(&["app.example"], validity).unwrap(),
    );
    let later = Validity {
        not_before: SystemTime::now() + DAY,
        ..validity
    };
    write(
        dir,
        "next",
        &servers.server(&["app.example"], later).unwrap(),
    );
    let frame = |table: &str| {
        format!(
            "[listeners.edge]\nbind = \"127.0.0.1:0\"\n{table}[certificates.next]\ncert_file = \"next.pem\"\n\
             key_file = \"next-key.pem\"\n[routes.app]\nsni = \"app.example\"\naction = \"terminate\"\n\
             upstream = \"127.0.0.1:1\"\n"
        )
    };
    let path = dir.join("snigate.toml");
    let both =
        frame("[certificates.site]\ncert_file = \"site.pem\"\nkey_file = \"site-key.pem\"\n");
    fs::write(&path, both).unwrap();
    let (order, eyes) = a_year_ago(&path);
    fs::write(&path, frame("")).unwrap();
    let refused = look(
        Order {
            clock: SystemTime::now(),
            ..order
        },
        eyes,
    )
    .err()
    .expect("nothing would serve");
    assert!(
        refused.contains("no other certificate of routes.app covers"),
        "{refused}"
    );
}

/// A site in a directory, the next look at its files, and the authority of its clients.
pub(super) fn site(dir: &Path) -> (Order, Eyes, Authority) {
    let validity = Validity::days(20);
    let [servers, clients] =
        ["servers", "clients"].map(|name| Authority::new(name, validity).unwrap());
    write(
        dir,
        "site",
        &servers.server(&["app.example"], validity).unwrap(),
    );
    fs::write(dir.join("clients.pem"), clients.certificate()).unwrap();
    fs::write(
        dir.join("clients.crl"),
        RevocationList::default().sign(&clients, validity).unwrap(),
    )
    .unwrap();
    fs::write(dir.join("snigate.toml"), CONFIG).unwrap();
    let (order, eyes) = a_year_ago(&dir.join("snigate.toml"));
    (
        Order {
            clock: SystemTime::now(),
            ..order
        },
        eyes,
        clients,
    )
}

pub(super) fn lists(candidate: &Proposed) -> Vec<usize> {
    candidate
        .served
        .materials
        .lists
        .values()
        .flat_map(|file| &file.lists)
        .map(crate::x509::Crl::revoked)
        .collect()
}

#[tokio::test]
async fn a_broken_certificate_goes_on_as_it_runs_and_a_revocation_beside_it_acts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (order, mut eyes, clients) = site(dir);
    fs::write(dir.join("site-key.pem"), "half").unwrap();
    let Some(ReloadVerdict::Stays(pending)) = order.look(&mut eyes).files else {
        panic!("nothing else is new")
    };
    assert!(
        pending
            .refusal
            .is_some_and(|refusal| format!("{:?}", refusal.diagnostics).contains("site-key.pem"))
    );

    let mut list = RevocationList::default();
    let member = clients.client("member", Validity::days(20)).unwrap();
    list.revoke(
        &clients.serial_of(member.certificate.as_bytes()).unwrap(),
        None,
    );
    fs::write(
        dir.join("clients.crl"),
        list.sign(&clients, Validity::days(20)).unwrap(),
    )
    .unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a revocation is new")
    };
    assert_eq!(lists(&candidate), [1]);
    assert!(
        pending.refusal.is_some_and(|refusal| refusal.is_partial),
        "it is still said"
    );
    let running = &order.served.materials.certificates["site"].certificate;
    assert!(
        Arc::ptr_eq(
            &candidate.served.materials.certificates["site"].certificate,
            running
        ),
        "what runs goes on"
    );
}

#[tokio::test]
async fn a_list_that_is_lost_or_broken_goes_on_as_it_runs_and_a_denial_beside_it_acts() {
    let denies = CONFIG.replace(
        "[routes.app]",
        "client_auth.deny.cn = [\"member\"]\n[routes.app]",
    );
    for lost in [None, Some("garbage")] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (order, mut eyes, _) = site(dir);
        match lost {
            None => fs::remove_file(dir.join("clients.crl")).unwrap(),
            Some(text) => fs::write(dir.join("clients.crl"), text).unwrap(),
        }
        fs::write(dir.join("snigate.toml"), &denies).unwrap();
        let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
            panic!("{lost:?}")
        };
        assert_eq!(lists(&candidate), [0], "{lost:?}: the list that runs");
        assert!(
            !candidate.config.tls["default"]
                .policy
                .deny
                .entries()
                .is_empty(),
            "{lost:?}"
        );
        assert!(
            pending.refusal.is_some_and(|refusal| refusal.is_partial),
            "{lost:?}"
        );
    }
}

#[tokio::test]
async fn an_older_list_is_held_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (order, mut eyes, clients) = site(dir);
    let older = Validity {
        not_before: SystemTime::now() - DAY,
        ..Validity::days(20)
    };
    fs::write(
        dir.join("clients.crl"),
        RevocationList::default().sign(&clients, older).unwrap(),
    )
    .unwrap();
    let denies = CONFIG.replace(
        "[routes.app]",
        "client_auth.deny.cn = [\"member\"]\n[routes.app]",
    );
    fs::write(dir.join("snigate.toml"), &denies).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a denial is new")
    };
    let running = order.served.materials.lists.values().next().unwrap();
    let served = candidate.served.materials.lists.values().next().unwrap();
    assert_eq!(served.lists[0], running.lists[0], "the newer one counts");
    assert!(
        pending
            .held
            .is_some_and(|(held, _)| held.on_one_line().contains("replaced by an older one"))
    );
}

#[tokio::test]
async fn what_does_not_act_behind_a_hold_is_named_and_what_the_served_texts_take_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (order, mut eyes, clients) = site(dir);
    let [config, bundle, list] =
        ["snigate.toml", "more.pem", "clients.crl"].map(|name| dir.join(name));
    let without = CONFIG.replace("client_auth.crl_files = [\"clients.crl\"]\n", "");
    fs::write(
        &config,
        without.replace("\"clients.pem\"", "\"clients.pem\", \"more.pem\""),
    )
    .unwrap();
    fs::write(&bundle, clients.certificate()).unwrap();
    let mut behind = || match order.look(&mut eyes).files {
        Some(ReloadVerdict::Stays(Pending {
            held: Some((_, behind)),
            ..
        })) => behind,
        Some(ReloadVerdict::Stays(pending)) => {
            panic!("{:?}", pending.refusal.map(|refusal| refusal.diagnostics))
        }
        _ => panic!("the list would go"),
    };
    let first = behind();
    assert_eq!(
        first.since(&Behind::default()).collect::<Vec<_>>(),
        [&*bundle, &*config]
    );
    fs::write(
        &bundle,
        Authority::new("other", Validity::days(20))
            .unwrap()
            .certificate(),
    )
    .unwrap();
    fs::write(
        &list,
        RevocationList::default()
            .sign(&clients, Validity::days(30))
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        behind().since(&first).collect::<Vec<_>>(),
        [&*bundle],
        "the list acts with the texts that are served"
    );

    // Of texts that are served everything waits, the files that are gone included.
    let mut loaded = config::load_again(
        &config,
        Arc::clone(&order.served.texts),
        &Circumstances::at(order.clock),
    );
    let texts = loaded.files.take_texts();
    let (now, served) = (loaded.files.beside_texts(), Files::default());
    assert!(
        order
            .behind(&texts, &now, &served)
            .since(&Behind::default())
            .any(|path| path == list)
    );
    assert!(
        order
            .behind(&texts, &served, &now)
            .since(&Behind::default())
            .any(|path| path == list),
        "it is gone"
    );
    assert_eq!(order.behind(&texts, &now, &now), Behind::default());
}

#[tokio::test]
async fn a_bundle_that_may_be_half_a_copy_waits_and_a_denial_beside_it_acts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let second = Authority::new("second", Validity::days(20)).unwrap();
    fs::write(
        dir.join("clients.pem"),
        format!("{}{}", clients.certificate(), second.certificate()),
    )
    .unwrap();
    let (order, mut eyes) = a_year_ago(&dir.join("snigate.toml"));
    let order = Order {
        clock: SystemTime::now(),
        ..order
    };
    fs::write(dir.join("clients.pem"), clients.certificate()).unwrap();
    let denies = CONFIG.replace(
        "[routes.app]",
        "client_auth.deny.cn = [\"member\"]\n[routes.app]",
    );
    fs::write(dir.join("snigate.toml"), &denies).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a denial is new")
    };
    assert_eq!(
        candidate
            .served
            .materials
            .authorities
            .values()
            .map(Vec::len)
            .collect::<Vec<_>>(),
        [2],
        "it waits"
    );
    let mut calm = Calm::default();
    calm.wait(pending.waits, order.now, |_| false);
    let now = order.now + Duration::from_secs(2);
    let order = Order {
        calm,
        now,
        must_load: true,
        served: candidate.served,
        ..order
    };
    eyes.materials = candidate.materials;
    let Some(ReloadVerdict::Serve(candidate, _)) = order.look(&mut eyes).files else {
        panic!("nobody writes any more")
    };
    assert_eq!(
        candidate
            .served
            .materials
            .authorities
            .values()
            .map(Vec::len)
            .collect::<Vec<_>>(),
        [1]
    );

    // One that loses another than its last ones is no copy.
    fs::write(
        dir.join("clients.pem"),
        format!("{}{}", clients.certificate(), second.certificate()),
    )
    .unwrap();
    let (order, mut eyes) = a_year_ago(&dir.join("snigate.toml"));
    let order = Order {
        clock: SystemTime::now(),
        ..order
    };
    fs::write(dir.join("clients.pem"), second.certificate()).unwrap();
    assert!(
        matches!(order.look(&mut eyes).files, Some(ReloadVerdict::Serve(..))),
        "a CA that is taken away"
    );
}

/// A list of `authority` about users or about other authorities, on which these serial numbers are.
/// A list of a later `year` is newer.
pub(super) fn list(
    authority: &Authority,
    year: i32,
    serials: &[u8],
    scope: Option<rcgen::CrlScope>,
) -> String {
    let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
        serial_number: vec![*serial].into(),
        revocation_time: rcgen::date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(year, 1, 1),
        next_update: rcgen::date_time_ymd(2999, 1, 1),
        crl_number: vec![1].into(),
        issuing_distribution_point: scope.map(|scope| rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://own.example/crl".to_owned()],
            },
            scope: Some(scope),
        }),
        revoked_certs: revoked.collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let key = rcgen::KeyPair::from_pem(&authority.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority.certificate(), key).unwrap();
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

/// The next look at a directory of which all that is there runs, at the right time.
pub(super) fn running(dir: &Path) -> (Order, Eyes) {
    let (order, eyes) = a_year_ago(&dir.join("snigate.toml"));
    (
        Order {
            clock: SystemTime::now(),
            ..order
        },
        eyes,
    )
}

#[tokio::test]
async fn no_newer_list_about_other_certificates_takes_the_place_of_one_that_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let [users, cas] = [rcgen::CrlScope::UserCertsOnly, rcgen::CrlScope::CaCertsOnly];
    fs::write(
        dir.join("users.crl"),
        list(&clients, 2020, &[1], Some(users)),
    )
    .unwrap();
    fs::write(dir.join("cas.crl"), list(&clients, 2021, &[], Some(cas))).unwrap();
    fs::create_dir(dir.join("lists")).unwrap();
    for name in ["users.crl", "cas.crl"] {
        fs::rename(dir.join(name), dir.join("lists").join(name)).unwrap();
    }
    fs::write(
        dir.join("snigate.toml"),
        CONFIG.replace("clients.crl", "lists"),
    )
    .unwrap();
    let (order, mut eyes) = running(dir);
    fs::remove_file(dir.join("lists/users.crl")).unwrap();
    let Some(ReloadVerdict::Stays(pending)) = order.look(&mut eyes).files else {
        panic!("nothing else is new")
    };
    assert!(
        pending
            .held
            .is_some_and(|(held, _)| held.on_one_line().contains("revocation list"))
    );
    assert!(pending.waits.is_empty(), "no time makes it right");
}

/// Two tables, each with its own files, and what they are about: `a` and `b`.
fn two_tables(dir: &Path) {
    let second = "[tls.b]\nclient_auth.ca_files = [\"b.pem\"]\nclient_auth.crl_files = [\"b.crl\"]\n[routes.b]\n\
        sni = \"b.app.example\"\naction = \"terminate\"\ntls = \"b\"\nupstream = \"127.0.0.1:1\"\n\
        certificates = [\"site\"]\n";
    let first = CONFIG.replace("upstream = ", "certificates = [\"site\"]\nupstream = ");
    fs::write(dir.join("snigate.toml"), first + second).unwrap();
}

#[tokio::test]
async fn a_list_that_one_table_loses_is_kept_though_another_table_has_it_and_all_else_acts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    two_tables(dir);
    fs::copy(dir.join("clients.pem"), dir.join("b.pem")).unwrap();
    for name in ["clients.crl", "b.crl"] {
        fs::write(dir.join(name), list(&clients, 2021, &[1], None)).unwrap();
    }
    let (order, mut eyes) = running(dir);
    fs::write(dir.join("clients.crl"), list(&clients, 2020, &[], None)).unwrap();
    fs::write(dir.join("b.crl"), list(&clients, 2022, &[1, 2], None)).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a revocation is new")
    };
    assert_eq!(
        lists(&candidate),
        [2, 1, 0],
        "that of b, and both of the other table"
    );
    assert!(
        pending
            .held
            .is_some_and(|(held, _)| held.on_one_line().contains("replaced by an older one"))
    );
}

#[tokio::test]
async fn a_ca_that_another_table_knows_waits_for_its_own_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let second = Authority::new("second", Validity::days(20)).unwrap();
    two_tables(dir);
    fs::write(dir.join("b.pem"), second.certificate()).unwrap();
    fs::write(dir.join("b.crl"), list(&second, 2021, &[], None)).unwrap();
    fs::write(dir.join("clients.crl"), list(&clients, 2021, &[], None)).unwrap();
    let allowed = fs::read_to_string(dir.join("snigate.toml")).unwrap();
    let allowed = allowed.replace(
        "client_auth.crl_files = [\"clients",
        "client_auth.crl.unknown = \"allow\"\n\
        client_auth.crl_files = [\"clients",
    );
    fs::write(dir.join("snigate.toml"), allowed).unwrap();
    let (order, mut eyes) = running(dir);
    fs::write(
        dir.join("clients.pem"),
        format!("{}{}", clients.certificate(), second.certificate()),
    )
    .unwrap();
    fs::write(dir.join("clients.crl"), list(&clients, 2022, &[1], None)).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a revocation is new")
    };
    assert_eq!(
        lists(&candidate),
        [0, 1],
        "that of b, and the newer one of the other table"
    );
    let item = WaitingItem::Item(Item::File(dir.join("clients.pem")));
    assert_eq!(pending.waits.keys().collect::<Vec<_>>(), [&item]);
}

#[tokio::test]
async fn a_bundle_that_loses_a_list_is_kept_once_it_is_quiet_and_all_else_acts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let [second, third] =
        ["second", "third"].map(|name| Authority::new(name, Validity::days(20)).unwrap());
    let cas = [&clients, &second, &third]
        .map(Authority::certificate)
        .concat();
    fs::write(dir.join("clients.pem"), cas).unwrap();
    let bundle = [
        list(&clients, 2021, &[1], None),
        list(&second, 2021, &[7], None),
    ]
    .concat();
    fs::write(dir.join("clients.crl"), bundle).unwrap();
    fs::write(dir.join("third.crl"), list(&third, 2021, &[], None)).unwrap();
    let both = CONFIG.replace("\"clients.crl\"", "\"clients.crl\", \"third.crl\"");
    fs::write(dir.join("snigate.toml"), both).unwrap();
    let (order, mut eyes) = running(dir);

    // It revokes another one and no longer the first, so that this waits; and no time brings back
    // the list of the second.
    fs::write(dir.join("clients.crl"), list(&clients, 2022, &[2, 3], None)).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("revocations are new")
    };
    assert_eq!(
        lists(&candidate),
        [1, 3, 0],
        "the lost one, and what both of the first revoke"
    );
    assert!(pending.held.is_some());
    let mut calm = Calm::default();
    calm.wait(pending.waits, order.now, |_| false);
    let order = Order {
        calm,
        now: order.now + Duration::from_secs(2),
        must_load: true,
        ..order
    };
    fs::write(dir.join("third.crl"), list(&third, 2022, &[9], None)).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("revocations are new")
    };
    assert_eq!(
        lists(&candidate),
        [1, 2, 1],
        "the lost one, the newer one, and that of the third"
    );
    assert!(
        pending
            .held
            .is_some_and(|(held, _)| held.on_one_line().contains("CN=second would go"))
    );
}

mod beside;
mod directories;
