//! Who can read what was written, and what is never written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use super::{done, has, refused, with_ca};
use crate::support::left_out::lacks;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn keys_are_for_their_owner_alone_whatever_the_umask() {
    for umask in ["0", "022", "077"] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "umask {umask} && $S pki init --dir ca && $S pki issue --dir ca --name a.example && \
             $S pki issue --dir ca --name a.example --force && $S pki csr --dir ca --name b.example && \
             PW=x $S pki p12 --cert ca/a.example.pem --key ca/a.example-key.pem --out ca/a.p12 --password-env PW"
        );
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-ec", &script])
            .env("S", env!("CARGO_BIN_EXE_snigate"))
            .current_dir(dir.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", super::text(&output));
        let ca = dir.path().join("ca");
        assert_eq!(mode(&ca), 0o700, "umask {umask}");
        for name in [
            "ca-key.pem",
            "a.example-key.pem",
            "b.example-key.pem",
            "a.p12",
        ] {
            assert_eq!(mode(&ca.join(name)), 0o600, "{name}, umask {umask}");
        }
        let readable = if umask == "077" { 0o600 } else { 0o644 };
        for name in ["ca.crt", "a.example.pem"] {
            assert_eq!(mode(&ca.join(name)), readable, "{name}, umask {umask}");
        }
    }
}

/// What a trace of the system calls says: a mode that is put right afterwards would have been wrong
/// for a moment.
#[test]
fn keys_are_created_with_their_mode_and_only_under_names_that_did_not_exist() {
    let dir = with_ca();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-e", "trace=openat,open,creat", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_snigate"));
    if lacks(&["strace"]) {
        return;
    }
    let output = strace
        .args(["pki", "issue", "--name", "a.example"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", super::text(&output));
    let trace = fs::read_to_string(trace).unwrap();
    let created: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("a.example-key.pem") && line.contains("O_CREAT"))
        .collect();
    assert!(!created.is_empty(), "{trace}");
    for line in created {
        assert!(line.contains("O_EXCL") && line.contains("0600"), "{line}");
    }
    // Under the names that the files have until they are whole.
    let drafts: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains(".new\"") && line.contains("O_CREAT"))
        .collect();
    assert_eq!(
        drafts.iter().filter(|line| line.contains("0600")).count(),
        1,
        "{trace}"
    );
    assert!(
        drafts.len() == 2 && drafts.iter().all(|line| line.contains("O_EXCL")),
        "{trace}"
    );
}

/// A crash at any moment leaves each name with the old file or the new one, and the new directory
/// with its name.
#[test]
fn what_is_written_is_on_the_disk_before_it_has_its_name_and_so_is_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-e", "trace=/^(mkdir|rename|fsync)", "-o"])
        .arg(&trace);
    strace
        .arg(env!("CARGO_BIN_EXE_snigate"))
        .args(["pki", "init", "--dir", "new/ca"])
        .current_dir(dir.path());
    let Ok(output) = strace.output() else {
        eprintln!("left out: there is no strace");
        return;
    };
    assert!(output.status.success(), "{}", super::text(&output));
    let trace = fs::read_to_string(trace).unwrap();
    // PID CALL(ARGUMENTS) = RESULT
    let calls: Vec<(&str, &str)> = trace
        .lines()
        .filter(|line| line.ends_with("= 0"))
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .collect();
    let below = |path: &str| {
        format!(
            "{}>",
            dir.path().join(path).canonicalize().unwrap().display()
        )
    };
    let mut seen = (0, 0);
    for (at, (call, arguments)) in calls.iter().enumerate() {
        let is_synced_next = |directory: &str| {
            calls
                .get(at + 1)
                .is_some_and(|(call, file)| *call == "fsync" && file.contains(&below(directory)))
        };
        match *call {
            "mkdir" => {
                let directory = if arguments.contains("new/ca") {
                    "new"
                } else {
                    "."
                };
                assert!(is_synced_next(directory), "{trace}");
                seen.0 += 1;
            }
            "fsync" => {}
            rename => {
                assert!(is_synced_next("new/ca"), "{rename}: {trace}");
                let draft = arguments.split('"').nth(1).unwrap();
                let is_synced = |(call, file): &&(&str, &str)| {
                    *call == "fsync" && file.contains(&format!("{draft}>"))
                };
                assert!(
                    calls[..at].iter().any(|call| is_synced(&call)),
                    "{draft}: {trace}"
                );
                seen.1 += 1;
            }
        }
    }
    assert_eq!(seen, (2, 2), "{trace}");
}

#[test]
fn nothing_is_replaced_without_force_and_nothing_else_is_written_then() {
    let dir = with_ca();
    let dir = dir.path();
    let ca = fs::read(dir.join("ca.crt")).unwrap();
    has(
        &refused(dir, "init"),
        &["ca-key.pem exists already; --force replaces it"],
    );
    assert_eq!(fs::read(dir.join("ca.crt")).unwrap(), ca);

    fs::write(dir.join("a.example.pem"), "mine").unwrap();
    has(
        &refused(dir, "issue --name a.example"),
        &["a.example.pem exists already"],
    );
    assert_eq!(fs::read(dir.join("a.example.pem")).unwrap(), b"mine");
    assert_eq!(names(dir), ["a.example.pem", "ca-key.pem", "ca.crt"]);
    has(
        &refused(dir, "csr --name ca --out ca"),
        &["ca-key.pem is in use here"],
    );
    // A link that leads nowhere is somebody's name, too.
    std::os::unix::fs::symlink("/nowhere/else", dir.join("b.example-key.pem")).unwrap();
    has(
        &refused(dir, "issue --name b.example"),
        &["b.example-key.pem exists already"],
    );
    assert_eq!(
        names(dir),
        ["a.example.pem", "b.example-key.pem", "ca-key.pem", "ca.crt"]
    );

    done(dir, "issue --name a.example --force");
    assert!(
        fs::read_to_string(dir.join("a.example.pem"))
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE")
    );
    assert_eq!(
        names(dir),
        [
            "a.example-key.pem",
            "a.example.pem",
            "b.example-key.pem",
            "ca-key.pem",
            "ca.crt"
        ]
    );
}

#[test]
fn half_of_a_pair_is_pointed_out() {
    let dir = with_ca();
    let dir = dir.path();
    fs::remove_file(dir.join("ca.crt")).unwrap();
    has(
        &refused(dir, "init"),
        &["there is ./ca-key.pem but no ./ca.crt"],
    );
    has(
        &refused(dir, "issue --name a.example"),
        &["say with --ca where"],
    );
    done(dir, "init --force");
    done(dir, "issue --name a.example");
    fs::remove_file(dir.join("a.example.pem")).unwrap();
    has(
        &refused(dir, "issue --name a.example"),
        &["there is ./a.example-key.pem but no ./a.example.pem"],
    );
    done(dir, "issue --name a.example --force");
}

#[test]
fn a_new_key_is_for_those_who_could_read_the_old_one() {
    let dir = with_ca();
    let key = dir.path().join("a.example-key.pem");
    done(dir.path(), "issue --name a.example");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let is_root = chown(&key, Some(1234), Some(1235)).is_ok();
    done(dir.path(), "issue --name a.example --force");
    let owner = |path: &Path| {
        fs::metadata(path)
            .map(|metadata| (metadata.uid(), metadata.gid()))
            .unwrap()
    };
    assert_eq!(
        mode(&key),
        0o640,
        "the group that could read it can, others cannot"
    );
    if is_root {
        assert_eq!(owner(&key), (1234, 1235));
        // Where everybody can put a file there for it, it is not given away.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        done(dir.path(), "issue --name a.example --force");
        assert_eq!((owner(&key).0, mode(&key)), (0, 0o600));
    }
}

#[test]
fn a_key_that_replaces_a_link_is_for_its_owner_alone() {
    let dir = with_ca();
    let key = dir.path().join("a.example-key.pem");
    std::os::unix::fs::symlink("/nowhere/else", &key).unwrap();
    done(dir.path(), "issue --name a.example --force");
    assert!(fs::symlink_metadata(&key).unwrap().is_file());
    assert_eq!(mode(&key), 0o600);
}

#[test]
fn a_directory_that_cannot_be_written_to_is_an_error_without_remains() {
    let dir = with_ca();
    // Not even root can make a file in it.
    has(
        &refused(dir.path(), "init --dir /proc/snigate"),
        &["cannot make the directory /proc/snigate"],
    );
    fs::write(dir.path().join("file"), "").unwrap();
    has(
        &refused(dir.path(), "init --dir file"),
        &["cannot make the directory file"],
    );
    has(
        &refused(dir.path(), "issue --name a.example --out /proc/x"),
        &["cannot write /proc/x-key.pem"],
    );
    // The second file cannot be written: the first one goes, too.
    fs::create_dir(dir.path().join("b.pem")).unwrap();
    has(
        &refused(dir.path(), "issue --name b.example --out b"),
        &["b.pem exists already"],
    );
    has(
        &refused(dir.path(), "issue --name b.example --out b --force"),
        &["cannot write ./b.pem"],
    );
    assert_eq!(
        names(dir.path())
            .iter()
            .filter(|name| name.starts_with('.'))
            .count(),
        0
    );
}

#[test]
fn no_output_has_a_key_in_it() {
    let dir = with_ca();
    let dir = dir.path();
    let mut printed = done(dir, "issue --name a.example");
    printed += &done(dir, "csr --name b.example");
    printed += &done(dir, "inspect a.example-key.pem a.example.pem ca.crt");
    printed += &refused(dir, "inspect a.example-key.pem ca.crt");
    printed += &refused(
        dir,
        "issue --name c.example --ca a.example.pem --ca-key a.example-key.pem",
    );
    for key in ["a.example-key.pem", "b.example-key.pem", "ca-key.pem"] {
        let key = fs::read_to_string(dir.join(key)).unwrap();
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!printed.contains(line), "{printed}");
        }
    }
}

#[test]
fn a_ca_key_that_others_can_read_is_pointed_out() {
    let dir = with_ca();
    let quiet = done(dir.path(), "issue --name a.example");
    assert!(!quiet.contains("warning"), "{quiet}");
    fs::set_permissions(dir.path().join("ca-key.pem"), Permissions::from_mode(0o640)).unwrap();
    has(
        &done(dir.path(), "issue --name b.example"),
        &["warning: others than its owner can read ./ca-key.pem"],
    );
}

#[test]
fn a_file_of_another_kind_is_told_what_it_is_and_what_is_wanted_by_every_argument() {
    let dir = with_ca();
    let dir = dir.path();
    done(dir, "issue --name a.example --out a");
    done(dir, "csr --name b.example --out b");
    done(dir, "crl");
    fs::write(dir.join("password"), "secret\n").unwrap();
    let kinds = [
        ("a.pem", "a certificate"),
        ("a-key.pem", "a private key"),
        ("b.csr", "a certificate request"),
        ("ca.crl", "a revocation list"),
    ];
    let p12 = "p12 --out a.p12 --password-file password";
    let mut told = 0;
    for (option, wanted, command) in [
        (
            "--csr",
            "a certificate request",
            "issue --out x --csr FILE".to_owned(),
        ),
        (
            "--ca",
            "a certificate",
            "issue --name x.example --ca FILE".to_owned(),
        ),
        (
            "--ca-key",
            "a private key",
            "issue --name x.example --ca-key FILE".to_owned(),
        ),
        ("--revoke", "a certificate", "crl --revoke FILE".to_owned()),
        (
            "--cert",
            "a certificate",
            format!("{p12} --cert FILE --key a-key.pem"),
        ),
        (
            "--key",
            "a private key",
            format!("{p12} --cert a.pem --key FILE"),
        ),
        (
            "--ca",
            "a certificate",
            format!("{p12} --cert a.pem --key a-key.pem --ca FILE"),
        ),
    ] {
        for (file, kind) in kinds.into_iter().filter(|(_, kind)| *kind != wanted) {
            // PEM or DER.
            let der = format!("{file}.der");
            let what = match kind {
                "a certificate" => "x509",
                "a private key" => "pkey",
                "a certificate request" => "req",
                _ => "crl",
            };
            super::openssl(dir, &format!("{what} -in {file} -outform DER -out {der}"));
            for file in [file, &*der] {
                let said = refused(dir, &command.replace("FILE", file));
                has(
                    &said,
                    &[&format!("{file} is {kind}, and {option} takes {wanted}: ")],
                );
                assert_eq!(said.lines().count(), 1, "{said}");
                told += 1;
            }
        }
    }
    assert_eq!(told, 42);
    assert!(!dir.join("x.pem").exists() && !dir.join("a.p12").exists());
    // What the list would be continued from.
    let list = fs::read(dir.join("ca.crl")).unwrap();
    fs::copy(dir.join("a.pem"), dir.join("ca.crl")).unwrap();
    has(
        &refused(dir, "crl"),
        &["./ca.crl is a certificate, and --dir takes a revocation list"],
    );
    // A file that has what is wanted beside something else is not refused for that.
    fs::write(dir.join("ca.crl"), list).unwrap();
    let both = [
        fs::read(dir.join("ca.crt")).unwrap(),
        fs::read(dir.join("ca-key.pem")).unwrap(),
    ]
    .concat();
    fs::write(dir.join("both.pem"), both).unwrap();
    done(
        dir,
        "issue --name x.example --ca both.pem --ca-key both.pem",
    );
}

#[test]
fn no_command_but_init_replaces_a_file_of_the_ca_nor_one_that_it_reads_also_with_force() {
    let dir = with_ca();
    let dir = dir.path();
    done(dir, "issue --name a.example --out a");
    done(dir, "csr --name b.example --out b");
    fs::write(dir.join("password"), "secret\n").unwrap();
    done(dir, "init --dir other --name other-CA");
    let content = || {
        let files = [
            "ca.crt",
            "ca-key.pem",
            "a.pem",
            "a-key.pem",
            "password",
            "other/ca.crt",
            "other/ca-key.pem",
        ];
        files.map(|file| fs::read(dir.join(file)).unwrap())
    };
    let before = content();
    let p12 = "p12 --cert a.pem --key a-key.pem --ca ca.crt --password-file password --force --out";
    for command in [
        "issue --name x.example --out ca --force".to_owned(),
        "issue --name x.example --out other/ca --ca other/ca.crt --ca-key other/ca-key.pem --force"
            .to_owned(),
        "issue --name x.example --out ca --ca other/ca.crt --ca-key other/ca-key.pem --force"
            .to_owned(),
        "csr --name x.example --out ca --force".to_owned(),
        format!("{p12} a-key.pem"),
        format!("{p12} ./a.pem"),
        format!("{p12} ca.crt"),
        format!("{p12} password"),
    ] {
        let said = refused(dir, &command);
        assert!(said.contains("not even with --force"), "{command}: {said}");
        assert!(content() == before, "{command}");
    }
    // What is issued anew is what the command is for.
    done(dir, "issue --name a.example --out a --force");
    assert!(
        content()[..2] == before[..2] && content()[2] != before[2] && content()[3] != before[3]
    );
}
