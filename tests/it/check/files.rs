//! Files in the forms in which they are found.

use super::*;

fn utf16(bytes: &[u8], low_first: bool, mark: bool) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let units = mark
        .then_some(0xfeff)
        .into_iter()
        .chain(text.encode_utf16());
    units
        .flat_map(|unit| {
            if low_first {
                unit.to_le_bytes()
            } else {
                unit.to_be_bytes()
            }
        })
        .collect()
}

/// What becomes of a file, and the words that `check` has for it.
type Change = (&'static str, fn(&[u8]) -> Vec<u8>, &'static str);

const FORMS: [Change; 5] = [
    (
        "UTF-16, little-endian with a mark",
        |bytes| utf16(bytes, true, true),
        "iconv -f UTF-16 -t UTF-8",
    ),
    (
        "UTF-16, big-endian with a mark",
        |bytes| utf16(bytes, false, true),
        "iconv -f UTF-16 -t UTF-8",
    ),
    (
        "UTF-16, little-endian",
        |bytes| utf16(bytes, true, false),
        "iconv -f UTF-16LE -t UTF-8",
    ),
    (
        "UTF-16, big-endian",
        |bytes| utf16(bytes, false, false),
        "iconv -f UTF-16BE -t UTF-8",
    ),
    // What Windows 7 and 8 wrote: every end of line as UTF-16 has it.
    (
        "UTF-16 with carriage returns",
        |bytes| {
            utf16(
                &String::from_utf8_lossy(bytes)
                    .replace('\n', "\r\n")
                    .into_bytes(),
                true,
                true,
            )
        },
        "is UTF-16",
    ),
];

const MATERIAL: [&str; 5] = [
    "server.pem",
    "server-key.pem",
    "clients.pem",
    "clients.crl",
    "inside.pem",
];

#[test]
fn a_file_in_utf16_is_named_whatever_it_is_for() {
    for file in MATERIAL.into_iter().chain(["snigate.toml", "routes.toml"]) {
        let site = Site::new();
        let sound = site.read(file);
        for (what, change, words) in FORMS {
            site.write(file, change(&sound));
            let (errors, _, said) = site.check();
            assert_eq!(errors, 1, "{file}, {what}: {said}");
            assert!(
                said.contains(words) && said.contains(file),
                "{file}, {what}: {said}"
            );
        }
    }
}

#[test]
fn what_is_no_certificate_key_or_list_is_named_with_its_remedy_and_stops_a_start() {
    let changes: [Change; 9] = [
        ("empty", |_| Vec::new(), "the file is empty"),
        ("blank", |_| b"\n\n".to_vec(), "the file is empty"),
        ("lost", |bytes| vec![0; bytes.len()], "zero bytes"),
        (
            "a web page",
            |_| b"<!DOCTYPE html>\n<title>404 Not Found</title>\n".to_vec(),
            "is an HTML",
        ),
        (
            "LFS",
            |_| b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "git lfs pull",
        ),
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec(), "line 1: "),
        (
            "no marks",
            |bytes| {
                bytes
                    .split(|byte| *byte == b'\n')
                    .skip(1)
                    .collect::<Vec<_>>()
                    .join(&b'\n')
            },
            "line ",
        ),
        (
            "damaged",
            |bytes| {
                String::from_utf8_lossy(bytes)
                    .replacen("\nM", "\n!", 1)
                    .into_bytes()
            },
            "line 2: this is not",
        ),
        (
            "a second block with damaged marks",
            |bytes| {
                let damaged = String::from_utf8_lossy(bytes)
                    .replace("-----BEGIN", "----BEGIN")
                    .replace("-----END", "----END");
                [bytes, damaged.as_bytes()].concat()
            },
            "looks like the BEGIN or END line of a block and is none",
        ),
    ];
    for file in MATERIAL {
        let site = Site::new();
        let sound = site.read(file);
        for (what, change, words) in changes {
            site.write(file, change(&sound));
            let (errors, _, said) = site.check();
            assert_eq!(errors, 1, "{file}, {what}: {said}");
            assert!(
                said.contains(words) && said.contains(file),
                "{file}, {what}: {said}"
            );
            assert_eq!(
                snigate(site.dir.path(), &["run"]).status.code(),
                Some(1),
                "{file}, {what}"
            );
            let inspected = snigate(site.dir.path(), &["pki", "inspect", file]);
            assert_eq!(inspected.status.code(), Some(1), "{file}, {what}");
            assert!(
                text(&inspected).contains(words),
                "{file}, {what}: {}",
                text(&inspected)
            );
        }
    }
}

#[test]
fn habits_of_other_writers_are_no_mistake() {
    let changes: [Change; 6] = [
        (
            "carriage returns",
            |bytes| {
                String::from_utf8_lossy(bytes)
                    .replace('\n', "\r\n")
                    .into_bytes()
            },
            "",
        ),
        (
            "carriage returns alone",
            |bytes| {
                String::from_utf8_lossy(bytes)
                    .replace('\n', "\r")
                    .into_bytes()
            },
            "",
        ),
        (
            "a byte order mark",
            |bytes| [b"\xef\xbb\xbf", bytes].concat(),
            "",
        ),
        (
            "a heading",
            |bytes| {
                [
                    b"Bag Attributes\n    friendlyName: x\nsubject=/CN=x\n\n",
                    bytes,
                ]
                .concat()
            },
            "",
        ),
        (
            "one line",
            |bytes| {
                String::from_utf8_lossy(bytes)
                    .replace('\n', " ")
                    .into_bytes()
            },
            "",
        ),
        (
            "indented",
            |bytes| {
                String::from_utf8_lossy(bytes)
                    .replace('\n', "\n\t")
                    .into_bytes()
            },
            "",
        ),
    ];
    for file in MATERIAL {
        let site = Site::new();
        let sound = site.read(file);
        for (what, change, _) in changes {
            site.write(file, change(&sound));
            let (errors, warnings, said) = site.check();
            assert_eq!((errors, warnings), (0, 0), "{file}, {what}: {said}");
            let inspected = snigate(site.dir.path(), &["pki", "inspect", file]);
            assert!(
                inspected.status.success(),
                "{file}, {what}: {}",
                text(&inspected)
            );
        }
    }
}

/// What may be found where a file is due.
#[test]
fn what_is_no_file_is_told_with_what_is_there() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    for file in MATERIAL.into_iter().chain(["routes.toml"]) {
        let site = Site::new();
        let path = site.path(file);
        fs::remove_file(&path).unwrap();
        let tell = |words: &str| {
            let (errors, _, said) = site.check();
            assert_eq!(errors, 1, "{file}, {words}: {said}");
            assert!(
                said.contains(words) && said.contains(file),
                "{file}, {words}: {said}"
            );
            assert!(!said.contains("os error"), "{said}");
        };
        tell("there is no such file");
        symlink("nowhere.pem", &path).unwrap();
        tell("it is a symbolic link to nowhere.pem, which does not exist");
        fs::remove_file(&path).unwrap();
        symlink(file, &path).unwrap();
        tell("its symbolic links lead to each other");
        fs::remove_file(&path).unwrap();
        symlink("/dev/null", &path).unwrap();
        tell("it is a device, which cannot be read again at a reload");
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        tell("it is a FIFO or the output of a command");
        fs::remove_file(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        tell("it is a socket");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        // CAs and lists may stand in a directory.
        let is_list = file == "clients.pem" || file == "inside.pem" || file == "clients.crl";
        tell(if is_list {
            "there is no file in"
        } else {
            "it is a directory; write the path of a file in it"
        });
        if is_list {
            fs::write(path.join("README"), "").unwrap();
            tell("counts; there is README");
        }
    }
    let site = Site::new();
    let config = String::from_utf8(site.read("snigate.toml")).unwrap();
    for (path, words) in [
        ("no/such/server.pem", "there is no directory"),
        ("inside.pem/server.pem", "is no directory"),
    ] {
        site.write(
            "snigate.toml",
            config.replace("\"server.pem\"", &format!("{path:?}")),
        );
        let (errors, _, said) = site.check();
        assert_eq!(errors, 1, "{said}");
        assert!(said.contains(words) && !said.contains("os error"), "{said}");
    }
}
