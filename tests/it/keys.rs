//! Private keys are where they are needed, and nowhere else: not in what is printed, not in what is
//! left in memory.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use snigate::config::{self, Action};
use snigate::pki::{Authority, Issued, Validity};
use snigate::tls::{Acceptor, AcceptorOptions, Certificate, SelfSigned};

use crate::support::backend::Backend;
use crate::support::openssl::s_client;
use crate::support::proxy::{Proxy, directory};
use crate::support::tls::{der, write};

fn issued() -> Issued {
    Authority::new("ca", Validity::days(20))
        .unwrap()
        .server(&["a.example"], Validity::days(20))
        .unwrap()
}

/// The private part of a P-256 key in PKCS#8, which is what must not be seen; the rest is the same
/// in all of them, or public.
fn secret(key: &str) -> Vec<u8> {
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    der.secret_der()[36..68].to_vec()
}

/// Fails if any eight bytes of the secret are in `text`, in any of the ways that bytes are printed.
pub(crate) fn assert_absent(secret: &[u8], key: &str, text: &str, what: &str) {
    for eight in secret.windows(8) {
        let list = format!("{eight:?}");
        let hex = eight.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let spaced = format!("{eight:x?}");
        for printed in [
            list.trim_matches(['[', ']']),
            &hex,
            &hex.to_uppercase(),
            spaced.trim_matches(['[', ']']),
        ] {
            assert!(!text.contains(printed), "{what} shows {printed}: {text}");
        }
    }
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!text.contains(line), "{what} shows {line}: {text}");
    }
}

#[test]
fn nothing_that_holds_a_key_prints_it() {
    let dir = directory();
    let issued = issued();
    write(dir.path(), "a", &issued);
    let file = dir.path().join("snigate.toml");
    let text = "[listeners.edge]\nbind = \"127.0.0.1:0\"\n[storage]\ndir = \"state\"\n\
        [certificates.a]\ncert_file = \"a.pem\"\nkey_file = \"a-key.pem\"\n[certificates.b]\nself_signed = true\n\
        [routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"127.0.0.1:1\"\n";
    fs::write(&file, text).unwrap();

    let key = issued.key.as_str();
    let absent = |printed: String, what: &str| {
        assert!(printed.len() > 20, "{what}: {printed}");
        assert_absent(&secret(key), key, &printed, what);
    };
    let certificate = Certificate::load(issued.certificate.as_bytes(), key.as_bytes()).unwrap();
    absent(format!("{certificate:?} {certificate:#?}"), "Certificate");
    let acceptor =
        Acceptor::new(vec![certificate.into()], &AcceptorOptions::default(), false).unwrap();
    absent(format!("{acceptor:?} {acceptor:#?}"), "Acceptor");
    absent(format!("{:?}", acceptor.select(None, || None)), "Choice");

    let mut loaded = config::load(&file);
    absent(format!("{loaded:?}"), "Loaded");
    let config = loaded.config.as_ref().unwrap();
    absent(format!("{config:?} {config:#?}"), "Config");
    absent(format!("{:?}", config.certificates), "NamedCertificate");
    let Action::Terminate { acceptor, .. } = &config.routes[0].action else {
        panic!("{config:?}")
    };
    absent(format!("{acceptor:?}"), "Acceptor of the route");
    absent(toml::to_string(&config.to_file()).unwrap(), "show");
    absent(format!("{:?}", loaded.files), "Files");

    // The same for a key that was made, and is nowhere but in there.
    let made = SelfSigned::new(&["a.example".to_owned()], SystemTime::now()).unwrap();
    let key = made.key.as_ref().expect("it is new");
    assert_absent(
        &secret(key),
        key,
        &format!("{made:?} {made:#?}"),
        "SelfSigned",
    );
    let before = format!("{loaded:?}");
    let kept = format!("{:?}", loaded.keep().unwrap());
    let own = fs::read_to_string(dir.path().join("state/self-signed/b.key")).unwrap();
    for (printed, what) in [
        (before, "Loaded before it is kept"),
        (kept, "Made"),
        (format!("{loaded:?}"), "Loaded"),
    ] {
        assert_absent(&secret(&own), &own, &printed, what);
    }

    // What is wrong with a key says so without it.
    let damaged = key.replacen("BEGIN PRIVATE", "BEGIN ODD PRIVATE", 1);
    for (what, key_file) in [
        ("label", damaged.as_str()),
        ("cut", &key[..key.len() / 2]),
        ("no base64", &key.replacen("\nM", "\n!", 1)),
    ] {
        let error =
            Certificate::load(issued.certificate.as_bytes(), key_file.as_bytes()).unwrap_err();
        assert_absent(&secret(key), key, &format!("{error} {error:?}"), what);
        fs::write(dir.path().join("a-key.pem"), key_file).unwrap();
        let diagnostics = config::load(&file).diagnostics;
        let rendered: String = diagnostics
            .iter()
            .map(|found| format!("{found} {}", found.render(false)))
            .collect();
        assert_absent(&secret(key), key, &rendered, what);
    }
}

/// How often each of `needles` is in the memory of a process, as far as it may write there.
fn count_in_memory(pid: i32, needles: &[&[u8]]) -> Vec<usize> {
    const PAGE: u64 = 4096;
    let open =
        |name: &str| File::open(format!("/proc/{pid}/{name}")).expect("this process may read it");
    let (memory, pagemap) = (open("mem"), open("pagemap"));
    let mut counts = vec![0; needles.len()];
    let mut count = |bytes: &[u8]| {
        for (count, needle) in counts.iter_mut().zip(needles) {
            *count += occurrences(bytes, needle);
        }
    };
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))
        .unwrap()
        .lines()
    {
        let (range, access) = line.split_once(' ').unwrap();
        if !access.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap() / PAGE);
        // Most of what an allocator reserves was never touched. Pages that are there are searched
        // as one piece.
        let mut piece = Vec::new();
        for page in start..end {
            let mut entry = [0; 8];
            let is_there = pagemap.read_exact_at(&mut entry, page * 8).is_ok()
                && u64::from_ne_bytes(entry) >> 62 != 0;
            let mut bytes = [0; PAGE as usize];
            if is_there && memory.read_exact_at(&mut bytes, page * PAGE).is_ok() {
                piece.extend_from_slice(&bytes);
            } else {
                count(&mem::take(&mut piece));
            }
        }
        count(&piece);
    }
    counts
}

fn occurrences(bytes: &[u8], needle: &[u8]) -> usize {
    let (mut rest, mut count) = (bytes, 0);
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        count += usize::from(rest[at..].starts_with(needle));
        rest = &rest[at + 1..];
    }
    count
}

#[test]
fn a_key_leaves_no_trace_in_memory_beside_that_of_the_cryptographic_library() {
    let backend = Backend::greet(b"welcome");
    let route = format!(
        "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"{}\"\n",
        backend.addr
    );
    let issued = issued();
    let sec1 = sec1(&issued.key);
    for (what, files, table) in [
        (
            "a file of its own",
            vec![
                ("a.pem", issued.certificate.clone()),
                ("a.key", issued.key.clone()),
            ],
            "key_file = \"a.key\"\n",
        ),
        (
            "one file with comments",
            vec![(
                "a.pem",
                format!("# f\u{fc}r uns\n{}{}", issued.certificate, issued.key),
            )],
            "",
        ),
        (
            "SEC1",
            vec![
                ("a.pem", issued.certificate.clone()),
                ("a.key", sec1.clone()),
            ],
            "key_file = \"a.key\"\n",
        ),
    ] {
        let dir = directory();
        for (name, text) in &files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let config = format!("{route}[certificates.a]\ncert_file = \"a.pem\"\n{table}");
        let proxy = Proxy::start_in(dir, &config);
        assert_eq!(
            s_client(proxy.addr(), &["-servername", "a.example"]).certificate(),
            Some(der(&issued.certificate))
        );
        // Everything is read again, and compared.
        proxy.reload_after(|| proxy.signal(Signal::HUP));
        assert_eq!(
            s_client(proxy.addr(), &["-servername", "a.example"]).certificate(),
            Some(der(&issued.certificate))
        );
        let (secret, certificate) = (secret(&issued.key), der(&issued.certificate));
        let text = if what == "SEC1" { &sec1 } else { &issued.key };
        let line = text.lines().nth(1).unwrap();
        let pid = proxy.pid().as_raw_nonzero().get();
        let needles = [
            &certificate[..],
            &secret,
            line.as_bytes(),
            &line.as_bytes()[8..40],
        ];
        let counts = count_in_memory(pid, &needles);
        assert!(
            counts[0] > 0,
            "{what}: the certificate, at least, is there: {counts:?}"
        );
        assert_eq!(counts[1..], [0, 0, 0], "{what}: the key, and its base64");
    }
}

/// The key as openssl used to write them.
fn sec1(key: &str) -> String {
    let dir = directory();
    fs::write(dir.path().join("key"), key).unwrap();
    let mut openssl = Command::new("openssl");
    let output = openssl
        .args(["pkey", "-traditional", "-in"])
        .arg(Path::new("key"))
        .current_dir(dir.path())
        .output();
    let text = String::from_utf8(output.expect("openssl").stdout).unwrap();
    assert!(text.starts_with("-----BEGIN EC PRIVATE KEY-----"), "{text}");
    text
}

/// proc(5): what is in /proc/PID of a process that is not dumpable belongs to root.
#[test]
fn no_other_process_of_its_user_can_look_into_the_memory() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where the other user finds it, whoever may look into the directory of the build.
    let program = dir.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_snigate"), &program).unwrap();
    let proxy = Proxy::start_as(
        dir,
        "[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n",
        |command| {
            let mut started = Command::new(&program);
            started
                .args(command.get_args())
                .stderr(Stdio::piped())
                .stdout(Stdio::null());
            if rustix::process::geteuid().is_root() {
                started.uid(65534).gid(65534);
            }
            *command = started;
        },
    );
    let memory = fs::metadata(format!("/proc/{}/mem", proxy.pid().as_raw_nonzero())).unwrap();
    assert_eq!((memory.uid(), memory.mode() & 0o077), (0, 0));
}
