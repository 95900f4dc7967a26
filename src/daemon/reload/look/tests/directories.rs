//! Directories of CAs and lists, and files that are new in them.

use super::*;

#[tokio::test]
async fn a_directory_or_file_that_is_something_else_now_goes_on_as_it_runs_and_a_revocation_beside_it_acts()
 {
    type Fate = fn(&Path);
    let fates: [(&str, &str, Fate); 6] = [
        ("lists", "a directory that is renamed", |path| {
            fs::rename(path, path.with_extension("gone")).unwrap()
        }),
        ("lists", "a link to nowhere", |path| {
            fs::rename(path, path.with_extension("gone")).unwrap();
            std::os::unix::fs::symlink("nowhere", path).unwrap();
        }),
        ("lists", "a directory that is a file", |path| {
            fs::rename(path, path.with_extension("gone")).unwrap();
            fs::write(path, "half").unwrap();
        }),
        ("cas", "a directory of CAs that is renamed", |path| {
            fs::rename(path, path.with_extension("gone")).unwrap()
        }),
        ("second.crl", "a file that is a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        (
            "second.crl",
            "a file that is a directory of what is broken",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
                fs::write(path.join("half.crl"), "half").unwrap();
            },
        ),
    ];
    for (name, what, fate) in fates {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (_, _, clients) = site(dir);
        let second = Authority::new("second", Validity::days(20)).unwrap();
        for name in ["lists", "cas"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        fs::write(dir.join("cas/second.pem"), second.certificate()).unwrap();
        fs::write(dir.join("second.crl"), list(&second, 2021, &[1], None)).unwrap();
        fs::write(dir.join("lists/a.crl"), list(&second, 2020, &[1], None)).unwrap();
        fs::write(dir.join("clients.crl"), list(&clients, 2021, &[], None)).unwrap();
        let all = CONFIG.replace(
            "\"clients.crl\"",
            "\"clients.crl\", \"lists\", \"second.crl\"",
        );
        let all = all.replace("\"clients.pem\"", "\"clients.pem\", \"cas\"");
        fs::write(dir.join("snigate.toml"), all).unwrap();
        let (order, mut eyes) = running(dir);
        fate(&dir.join(name));
        fs::write(dir.join("clients.crl"), list(&clients, 2022, &[1], None)).unwrap();
        let look = order.look(&mut eyes).files;
        let Some(ReloadVerdict::Serve(candidate, pending)) = look else {
            panic!("{what}: a revocation is new")
        };
        assert_eq!(lists(&candidate), [1, 1, 1], "{what}");
        let cas = candidate
            .served
            .materials
            .authorities
            .values()
            .map(Vec::len)
            .sum::<usize>();
        assert_eq!(cas, 2, "{what}");
        let refusal = pending
            .refusal
            .map(|refusal| (refusal.is_partial, format!("{:?}", refusal.diagnostics)));
        assert!(
            refusal.is_some_and(|(is_partial, said)| is_partial && said.contains(name)),
            "{what}"
        );
    }
}

/// A site whose table has the CAs of `cas` and the lists of `lists`, and another one with the pins
/// of `pins`; each of these directories has seven files.
fn of_seven(dir: &Path) -> (Order, Eyes) {
    let validity = Validity::days(20);
    let (_, _, clients) = site(dir);
    for name in ["cas", "lists", "pins"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    for number in 0..7 {
        let ca = Authority::new(&format!("ca {number}"), validity).unwrap();
        fs::write(dir.join(format!("cas/{number}.pem")), ca.certificate()).unwrap();
        fs::write(
            dir.join(format!("lists/{number}.crl")),
            list(&ca, 2021, &[1], None),
        )
        .unwrap();
        let pin = clients.client(&number.to_string(), validity).unwrap();
        fs::write(dir.join(format!("pins/{number}.pem")), pin.certificate).unwrap();
    }
    two_tables(dir);
    let text = fs::read_to_string(dir.join("snigate.toml")).unwrap();
    let pinned = "client_auth.mode = \"pinned\"\nclient_auth.cert_files = [\"pins\"]";
    let text = text.replace(
        "client_auth.ca_files = [\"b.pem\"]\nclient_auth.crl_files = [\"b.crl\"]",
        pinned,
    );
    fs::write(
        dir.join("snigate.toml"),
        text.replace("clients.pem", "cas")
            .replace("clients.crl", "lists"),
    )
    .unwrap();
    running(dir)
}

#[tokio::test]
async fn a_directory_that_is_lost_is_one_mistake_however_many_files_it_had() {
    type Fate = fn(&Path);
    let gone: Fate = |path| fs::remove_dir_all(path).unwrap();
    let emptied: Fate = |path| {
        fs::remove_dir_all(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    let broken: Fate = |path| {
        fs::remove_dir_all(path).unwrap();
        fs::write(path, "half").unwrap();
    };
    for (name, what, fate) in [
        ("cas", "gone", gone),
        ("cas", "emptied", emptied),
        ("cas", "a broken file", broken),
        ("lists", "gone", gone),
        ("lists", "emptied", emptied),
        ("lists", "a broken file", broken),
        ("pins", "gone", gone),
        ("pins", "a broken file", broken),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (order, mut eyes) = of_seven(dir);
        fate(&dir.join(name));
        let look = order.look(&mut eyes);
        let refusal = look.files.as_ref().and_then(ReloadVerdict::refusal);
        let said: Vec<&str> = refusal
            .iter()
            .flat_map(|all| &all.diagnostics)
            .map(|one| one.message.as_str())
            .collect();
        let path = dir.join(name).display().to_string();
        assert!(
            said.len() == 1 && said[0].contains(&path),
            "{name} {what}: {said:#?}"
        );
        assert!(
            !said[0].contains(&format!("{path}/")),
            "{name} {what}: {said:#?}"
        );
    }
}

#[tokio::test]
async fn a_directory_in_whose_place_there_is_a_sound_file_waits_and_is_no_mistake() {
    let validity = Validity::days(20);
    let other = Authority::new("other", validity).unwrap();
    let pin = other.client("other", validity).unwrap().certificate;
    for (name, content) in [("cas", other.certificate()), ("pins", &pin)] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        of_seven(dir);
        let text = fs::read_to_string(dir.join("snigate.toml")).unwrap();
        fs::write(
            dir.join("snigate.toml"),
            text.replace("client_auth.crl_files = [\"lists\"]\n", ""),
        )
        .unwrap();
        let (order, mut eyes) = running(dir);
        let path = dir.join(name);
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, content).unwrap();
        let look = order.look(&mut eyes);
        let pending = look
            .files
            .as_ref()
            .and_then(ReloadVerdict::pending)
            .expect("something is new");
        let said = pending
            .refusal
            .as_ref()
            .map(|refusal| format!("{:?}", refusal.diagnostics));
        assert!(said.is_none(), "{name}: {said:?}");
        assert!(
            pending
                .waits
                .contains_key(&WaitingItem::Item(Item::File(path.clone()))),
            "{name}: {:?}",
            pending.loosens
        );
    }
}

#[tokio::test]
async fn a_new_file_of_a_directory_that_is_broken_is_left_by_itself_until_it_is_mended() {
    let validity = Validity::days(20);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let [second, third] = ["second", "third"].map(|name| Authority::new(name, validity).unwrap());
    for name in ["lists", "cas"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    fs::write(dir.join("cas/second.pem"), second.certificate()).unwrap();
    fs::write(dir.join("lists/second.crl"), list(&second, 2021, &[], None)).unwrap();
    fs::write(dir.join("clients.crl"), list(&clients, 2021, &[], None)).unwrap();
    let all = CONFIG.replace("\"clients.crl\"", "\"clients.crl\", \"lists\"");
    fs::write(
        dir.join("snigate.toml"),
        all.replace("\"clients.pem\"", "\"clients.pem\", \"cas\""),
    )
    .unwrap();
    let (order, mut eyes) = running(dir);
    fs::write(dir.join("cas/third.pem"), "half").unwrap();
    fs::write(dir.join("lists/third.crl"), "half").unwrap();
    fs::write(dir.join("clients.crl"), list(&clients, 2022, &[1], None)).unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a revocation is new")
    };
    assert_eq!(lists(&candidate), [1, 0]);
    let refusal = pending.refusal.expect("what is broken is said");
    let said = format!("{:?}", refusal.diagnostics);
    assert!(
        refusal.is_partial && said.contains("third.pem") && said.contains("third.crl"),
        "{said}"
    );

    let (served, materials) = (candidate.served.clone(), candidate.materials.clone());
    let (order, mut eyes) = (Order { served, ..order }, Eyes { materials, ..eyes });
    fs::write(
        dir.join("lists/second.crl"),
        list(&second, 2022, &[1, 2], None),
    )
    .unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("a revocation is new")
    };
    assert_eq!(lists(&candidate), [1, 2]);
    assert!(pending.refusal.is_some_and(|refusal| refusal.is_partial));

    let (served, materials) = (candidate.served.clone(), candidate.materials.clone());
    let (order, mut eyes) = (
        Order {
            served,
            requested: true,
            ..order
        },
        Eyes { materials, ..eyes },
    );
    fs::write(dir.join("cas/third.pem"), third.certificate()).unwrap();
    fs::write(
        dir.join("lists/third.crl"),
        list(&third, 2022, &[7, 8, 9], None),
    )
    .unwrap();
    let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
        panic!("both are mended")
    };
    assert_eq!(lists(&candidate), [1, 2, 3]);
    assert!(pending.refusal.is_none());
    // Named by itself, a new file is a mistake of the text that names it.
    let text = fs::read_to_string(dir.join("snigate.toml")).unwrap();
    fs::write(dir.join("fourth.crl"), "half").unwrap();
    fs::write(
        dir.join("snigate.toml"),
        text.replace("\"lists\"", "\"lists\", \"fourth.crl\""),
    )
    .unwrap();
    let order = Order {
        served: candidate.served.clone(),
        requested: false,
        ..order
    };
    let Some(ReloadVerdict::Stays(pending)) = order.look(&mut eyes).files else {
        panic!("its text names what is broken")
    };
    assert!(pending.refusal.is_some_and(|refusal| !refusal.is_partial));
}

#[tokio::test]
async fn while_a_list_is_broken_its_table_takes_no_new_ca_and_another_table_does() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, _, clients) = site(dir);
    let [second, third] =
        ["second", "third"].map(|name| Authority::new(name, Validity::days(20)).unwrap());
    two_tables(dir);
    let text = fs::read_to_string(dir.join("snigate.toml")).unwrap();
    let text = text
        .replace("[\"clients.pem\"]", "[\"cas\"]")
        .replace("[\"clients.crl\"]", "[\"clients.crl\", \"lists\"]");
    fs::write(
        dir.join("snigate.toml"),
        text.replace(
            "client_auth.ca_files",
            "client_auth.crl.unknown = \"allow\"\nclient_auth.ca_files",
        ),
    )
    .unwrap();
    for name in ["cas", "lists"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    fs::write(dir.join("cas/clients.pem"), clients.certificate()).unwrap();
    fs::write(
        dir.join("lists/clients.crl"),
        list(&clients, 2021, &[], None),
    )
    .unwrap();
    fs::write(dir.join("clients.crl"), list(&clients, 2021, &[], None)).unwrap();
    fs::write(dir.join("b.pem"), clients.certificate()).unwrap();
    fs::write(dir.join("b.crl"), list(&clients, 2021, &[], None)).unwrap();
    let (order, mut eyes) = running(dir);
    // An operator who asks has asked for nothing that is broken.
    let order = Order {
        requested: true,
        ..order
    };
    let authorities = |candidate: &Proposed| -> Vec<usize> {
        candidate
            .served
            .materials
            .authorities
            .values()
            .map(Vec::len)
            .collect()
    };
    let both = |other: &Authority| format!("{}{}", clients.certificate(), other.certificate());
    for (what, broken, cas) in [
        (
            "a list that runs and a file that is new",
            "clients.crl",
            "cas/third.pem",
        ),
        (
            "a list that is new and a file that runs",
            "lists/third.crl",
            "cas/clients.pem",
        ),
    ] {
        fs::write(dir.join(broken), "half").unwrap();
        fs::write(dir.join(cas), both(&third)).unwrap();
        fs::write(dir.join("b.pem"), both(&second)).unwrap();
        let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
            panic!("{what}: b has a new CA")
        };
        assert_eq!(authorities(&candidate), [2, 1], "{what}");
        let refusal = pending
            .refusal
            .map(|refusal| format!("{:?}", refusal.diagnostics))
            .unwrap_or_default();
        assert!(
            refusal.contains(broken) && refusal.contains(&format!("{cas}: its new CAs wait")),
            "{what}: {refusal}"
        );

        match broken {
            "clients.crl" => fs::write(dir.join(broken), list(&clients, 2021, &[], None)).unwrap(),
            _ => fs::write(dir.join(broken), list(&third, 2021, &[], None)).unwrap(),
        }
        let Some(ReloadVerdict::Serve(candidate, pending)) = order.look(&mut eyes).files else {
            panic!("{what}: it is mended")
        };
        assert_eq!(
            authorities(&candidate).iter().sum::<usize>(),
            if cas == "cas/third.pem" { 5 } else { 4 },
            "{what}"
        );
        assert!(pending.refusal.is_none());
        if cas == "cas/third.pem" {
            fs::remove_file(dir.join(cas)).unwrap();
        }
    }
}
