//! A revocation acts whatever becomes of what is beside it.

use super::*;

/// A site whose table `t` has the CAs of `cas` and the lists of `lists`, each a directory: those of
/// `clients` and `second`.
fn with_directories(dir: &Path) -> (Order, Eyes, [Authority; 2]) {
    let (_, _, clients) = site(dir);
    let second = Authority::new("second", Validity::days(20)).unwrap();
    for name in ["lists", "cas"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    for (name, ca) in [("clients", &clients), ("second", &second)] {
        fs::write(dir.join(format!("cas/{name}.pem")), ca.certificate()).unwrap();
        fs::write(
            dir.join(format!("lists/{name}.crl")),
            list(ca, 2021, &[], None),
        )
        .unwrap();
    }
    fs::write(dir.join("other.pem"), clients.certificate()).unwrap();
    let trust = "[trust.other]\nca_files = [\"other.pem\"]\n";
    let text = CONFIG
        .replace("\"clients.crl\"", "\"lists\"")
        .replace("\"clients.pem\"", "\"cas\"")
        + trust;
    fs::write(dir.join("snigate.toml"), text).unwrap();
    let (order, eyes) = running(dir);
    (order, eyes, [clients, second])
}

/// The configuration that is served of a look at which a list of `clients` revokes a client.
fn after_a_revocation(
    dir: &Path,
    (order, eyes): (&Order, &mut Eyes),
    clients: &Authority,
    what: &str,
) -> Box<Proposed> {
    fs::write(
        dir.join("lists/clients.crl"),
        list(clients, 2022, &[1], None),
    )
    .unwrap();
    match order.look(eyes).files {
        Some(ReloadVerdict::Serve(candidate, _)) => candidate,
        Some(ReloadVerdict::Stays(Pending { refusal, held, .. })) => {
            panic!(
                "{what}: {:?} {held:?}",
                refusal.map(|refusal| refusal.diagnostics)
            )
        }
        _ => panic!("{what}: a revocation is new"),
    }
}

#[tokio::test]
async fn a_new_list_that_speaks_for_nobody_is_left_by_itself() {
    let other = |name: &str| {
        list(
            &Authority::new(name, Validity::days(20)).unwrap(),
            2022,
            &[7, 8],
            None,
        )
    };
    let uncovered = |dir: &Path| fs::remove_file(dir.join("lists/second.crl")).unwrap();
    let covered = |_: &Path| ();
    type Before = fn(&Path);
    let cases: [(&str, String, Before); 3] = [
        ("of another key", other("second"), covered),
        (
            "of another key while a CA has none",
            other("second"),
            uncovered,
        ),
        (
            "of a stranger while a CA has none",
            other("stranger"),
            uncovered,
        ),
    ];
    for (what, new, before) in cases {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (_, _, [clients, _]) = with_directories(dir);
        before(dir);
        let (order, mut eyes) = running(dir);
        fs::write(dir.join("lists/new.crl"), new).unwrap();
        let candidate = after_a_revocation(dir, (&order, &mut eyes), &clients, what);
        assert_eq!(lists(&candidate)[0], 1, "{what}");
        assert!(
            !candidate
                .served
                .materials
                .is_file(&dir.join("lists/new.crl")),
            "{what}"
        );
    }
}

#[tokio::test]
async fn too_many_cas_of_one_name_keep_no_revocation_waiting() {
    let many: Vec<Authority> = (0..20)
        .map(|_| Authority::new("many", Validity::days(20)).unwrap())
        .collect();
    let all: String = many.iter().map(Authority::certificate).collect();
    type Fate = fn(&Path, &str, &[Authority]);
    let fates: [(&str, Fate); 3] = [
        ("in a file", |dir, all, _| {
            fs::write(dir.join("cas/second.pem"), all).unwrap()
        }),
        ("in files of their own", |dir, _, many| {
            for (number, ca) in many.iter().enumerate() {
                fs::write(dir.join(format!("cas/{number}.pem")), ca.certificate()).unwrap();
            }
        }),
        ("of servers", |dir, all, _| {
            fs::write(dir.join("other.pem"), all).unwrap()
        }),
    ];
    for (what, fate) in fates {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (order, mut eyes, [clients, _]) = with_directories(dir);
        fate(dir, &all, &many);
        let candidate = after_a_revocation(dir, (&order, &mut eyes), &clients, what);
        assert_eq!(lists(&candidate), [1, 0], "{what}");
        let cas = candidate
            .served
            .materials
            .authorities
            .values()
            .map(Vec::len)
            .sum::<usize>();
        assert_eq!(cas, 3, "{what}");
    }
}

#[tokio::test]
async fn the_list_of_a_ca_that_goes_waits_with_its_ca_and_keeps_no_revocation_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, [clients, second]) = with_directories(dir);
    let [all, file] = ["cas/all.pem", "cas/second.pem"].map(|name| dir.join(name));
    fs::remove_file(file).unwrap();
    fs::remove_file(dir.join("cas/clients.pem")).unwrap();
    let both = |other: &Authority| format!("{}{}", clients.certificate(), other.certificate());
    fs::write(&all, both(&second)).unwrap();
    let (order, mut eyes) = running(dir);
    let third = Authority::new("third", Validity::days(20)).unwrap();
    fs::write(&all, both(&third)).unwrap();
    fs::remove_file(dir.join("lists/second.crl")).unwrap();
    fs::write(dir.join("lists/third.crl"), list(&third, 2021, &[], None)).unwrap();
    let candidate = after_a_revocation(dir, (&order, &mut eyes), &clients, "at once");
    let materials = &candidate.served.materials;
    assert!(
        materials.authorities[&all]
            .iter()
            .any(|ca| ca.subject() == "CN=second"),
        "its CA goes on"
    );
    assert!(
        materials.is_file(&dir.join("lists/second.crl")),
        "and so does its list"
    );
}

#[tokio::test]
async fn a_list_before_its_time_takes_the_place_of_none_by_another_name() {
    let early = |clients: &Authority| list(clients, 2090, &[], None);
    let revoking = |clients: &Authority| list(clients, 2021, &[1], None);
    // Both count, and the table gets another name.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    fs::write(dir.join("clients.crl"), revoking(&clients)).unwrap();
    let (order, mut eyes) = running(dir);
    fs::write(dir.join("clients.crl"), early(&clients)).unwrap();
    let text = CONFIG
        .replace("[tls.default]", "[tls.other]")
        .replace("\"terminate\"\n", "\"terminate\"\ntls = \"other\"\n");
    fs::write(dir.join("snigate.toml"), text).unwrap();
    let Some(ReloadVerdict::Serve(candidate, _)) = order.look(&mut eyes).files else {
        panic!("it is as strict as before")
    };
    assert_eq!(lists(&candidate), [1, 0]);
    // The text names another file.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    fs::write(dir.join("clients.crl"), revoking(&clients)).unwrap();
    let (order, mut eyes) = running(dir);
    fs::write(dir.join("next.crl"), early(&clients)).unwrap();
    fs::write(
        dir.join("snigate.toml"),
        CONFIG.replace("clients.crl", "next.crl"),
    )
    .unwrap();
    let Some(ReloadVerdict::Stays(pending)) = order.look(&mut eyes).files else {
        panic!("a protection would go")
    };
    assert!(pending.held.is_some_and(|(held, _)| {
        held.on_one_line()
            .contains("the revocation list of CN=clients")
    }));
}

#[tokio::test]
async fn a_list_in_the_file_of_its_ca_keeps_acting_whatever_is_wrong_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let both = |year, revoked: &[u8]| {
        fs::write(
            dir.join("both.pem"),
            clients.certificate().to_owned() + &list(&clients, year, revoked, None),
        )
        .unwrap();
    };
    both(2021, &[]);
    fs::write(dir.join("other.pem"), clients.certificate()).unwrap();
    let text = CONFIG
        .replace("clients.crl", "both.pem")
        .replace("clients.pem", "both.pem");
    fs::write(
        dir.join("snigate.toml"),
        text + "[trust.other]\nca_files = [\"other.pem\"]\n",
    )
    .unwrap();
    let (order, mut eyes) = running(dir);
    let many: Vec<Authority> = (0..20)
        .map(|_| Authority::new("many", Validity::days(20)).unwrap())
        .collect();
    fs::write(
        dir.join("other.pem"),
        many.iter().map(Authority::certificate).collect::<String>(),
    )
    .unwrap();
    both(2022, &[1]);
    let Some(ReloadVerdict::Serve(candidate, _)) = order.look(&mut eyes).files else {
        panic!("a revocation is new")
    };
    assert_eq!(lists(&candidate), [1]);
}
