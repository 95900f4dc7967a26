//! Every way to replace a file is seen, each time.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use snigate::pki::{Authority, Validity};
use tempfile::TempDir;

use super::*;
use crate::support::openssl::s_client;
use crate::support::proxy::directory;
use crate::support::tls::der;

/// How a file gets a new content.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Written beside it, and renamed over it.
    Rename,
    /// Truncated, and written in two pieces.
    InPlace,
    /// A symbolic link to a file in another directory, replaced by another link.
    Link,
}

const WAYS: [Way; 3] = [Way::Rename, Way::InPlace, Way::Link];

/// Gives `path` this content. `elsewhere` is a directory that nobody watches; `version` is new each
/// time.
fn replace(path: &Path, content: &str, way: Way, elsewhere: &Path, version: usize) {
    let new = path.with_file_name(".new");
    match way {
        Way::Rename => {
            fs::write(&new, content).unwrap();
            fs::rename(&new, path).unwrap();
        }
        Way::InPlace => {
            let (first, second) = content.split_at(content.len() / 2);
            let mut file = fs::File::create(path).unwrap();
            file.write_all(first.as_bytes()).unwrap();
            file.write_all(second.as_bytes()).unwrap();
        }
        Way::Link => {
            let target = elsewhere.join(version.to_string());
            fs::write(&target, content).unwrap();
            symlink(&target, &new).unwrap();
            fs::rename(&new, path).unwrap();
        }
    }
}

/// Replaces `path` in every way, twice each, and asserts each time that the version is in effect.
/// At last it is a link into the directory that is returned.
fn replace_in_every_way(
    proxy: &Proxy,
    path: &Path,
    content: impl Fn(usize) -> String,
    assert: impl Fn(usize, &str),
) -> TempDir {
    let elsewhere = directory();
    assert(0, "at first");
    let ways = WAYS.into_iter().flat_map(|way| [way, way]);
    for (version, way) in (1..).zip(ways) {
        proxy.reload_after(|| replace(path, &content(version), way, elsewhere.path(), version));
        assert(version, &format!("version {version}, {way:?}"));
    }
    assert_eq!(
        proxy.count("reloaded"),
        2 * WAYS.len(),
        "once for each version"
    );
    elsewhere
}

#[test]
fn the_configuration_file_may_be_replaced_in_any_way() {
    let greetings: [&'static [u8]; 2] = [b"even", b"odd"];
    let backends = greetings.map(Backend::greet);
    let content = |version: usize| {
        format!(
            "{FRAME}{}",
            route("a", "a.example", backends[version % 2].addr)
        )
    };
    let proxy = Proxy::start(&content(0));
    replace_in_every_way(
        &proxy,
        &proxy.dir().join("snigate.toml"),
        content,
        |version, row| {
            assert_eq!(
                answer(proxy.connect(), "a.example"),
                greetings[version % 2],
                "{row}"
            );
        },
    );
}

#[test]
fn an_included_file_may_be_replaced_in_any_way_appear_and_vanish() {
    let greetings: [&'static [u8]; 2] = [b"even", b"odd"];
    let backends = greetings.map(Backend::greet);
    let content = |version: usize| route("a", "a.example", backends[version % 2].addr);
    let dir = directory();
    let routes = dir.path().join("routes.d");
    fs::create_dir(&routes).unwrap();
    fs::write(routes.join("a.toml"), content(0)).unwrap();
    let proxy = Proxy::start_in(dir, &format!("include = [\"routes.d/*.toml\"]\n{FRAME}"));
    let elsewhere =
        replace_in_every_way(&proxy, &routes.join("a.toml"), content, |version, row| {
            assert_eq!(
                answer(proxy.connect(), "a.example"),
                greetings[version % 2],
                "{row}"
            );
        });

    for (version, way) in WAYS.into_iter().enumerate() {
        let name = format!("{way:?}").to_lowercase();
        let (path, sni) = (
            routes.join(format!("{name}.toml")),
            format!("{name}.example"),
        );
        assert_eq!(answer(proxy.connect(), &sni), alert(112));
        let content = route(&name, &sni, backends[0].addr);
        proxy.reload_after(|| replace(&path, &content, way, elsewhere.path(), version));
        assert_eq!(answer(proxy.connect(), &sni), greetings[0], "{name}");
        proxy.reload_after(|| fs::remove_file(&path).unwrap());
        assert_eq!(answer(proxy.connect(), &sni), alert(112), "{name}");
    }
}

/// Certificate and key in one text, for as many versions as a test has.
fn issued(name: &str) -> Vec<String> {
    let authority = Authority::new("ca", Validity::days(20)).unwrap();
    let issue = |_| authority.server(&[name], Validity::days(20)).unwrap();
    (0..=2 * WAYS.len())
        .map(issue)
        .map(|issued| issued.certificate + &issued.key)
        .collect()
}

/// The certificate that clients of this name are shown.
fn shown(proxy: &Proxy, name: &str) -> Option<CertificateDer<'static>> {
    s_client(proxy.addr(), &["-servername", name]).certificate()
}

#[test]
fn a_certificate_may_be_replaced_in_any_way() {
    let (dir, backend, issued) = (directory(), Backend::greet(b"welcome"), issued("a.example"));
    fs::write(dir.path().join("site.pem"), &issued[0]).unwrap();
    let config = format!(
        "[certificates.site]\ncert_file = \"site.pem\"\n[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\n\
         upstream = \"{}\"\n",
        backend.addr
    );
    let proxy = Proxy::start_in(dir, &config);
    let content = |version: usize| issued[version].clone();
    replace_in_every_way(
        &proxy,
        &proxy.dir().join("site.pem"),
        content,
        |version, row| {
            assert_eq!(
                shown(&proxy, "a.example"),
                Some(der(&issued[version])),
                "{row}"
            );
        },
    );
}

#[test]
fn a_certificate_that_was_removed_is_shown_to_nobody() {
    let (dir, backend) = (directory(), Backend::greet(b"welcome"));
    let table = |name: &str| format!("[certificates.{name}]\ncert_file = \"{name}.pem\"\n");
    for name in ["a", "b"] {
        fs::write(
            dir.path().join(format!("{name}.pem")),
            &issued(&format!("{name}.example"))[0],
        )
        .unwrap();
    }
    let route = format!(
        "[routes.a]\nsni = [\"a.example\", \"b.example\"]\naction = \"terminate\"\nupstream = \"{}\"\n",
        backend.addr
    );
    let proxy = Proxy::start_in(dir, &[&route, &*table("a"), &table("b")].concat());
    assert!(shown(&proxy, "a.example").is_some() && shown(&proxy, "b.example").is_some());
    proxy.reload(&(route + &table("a")));
    assert!(shown(&proxy, "a.example").is_some());
    assert_eq!(answer(proxy.connect(), "b.example"), alert(112));
}

#[test]
fn a_volume_of_kubernetes_is_replaced_as_a_whole_each_time() {
    let (dir, issued) = (directory(), issued("tls.example"));
    let greetings: [&'static [u8]; 2] = [b"even", b"odd"];
    let backends = greetings.map(Backend::greet);
    let volume = dir.path().join("volume");
    // As the kubelet does it: a directory for each version, one link to the newest, and links
    // through that to the files.
    let publish = |version: usize| {
        let data = volume.join(format!("..version-{version}"));
        fs::create_dir_all(&data).unwrap();
        let (certificate, key) =
            issued[version].split_at(issued[version].find("-----BEGIN PRIVATE").unwrap());
        let plain = route("plain", "a.example", backends[version % 2].addr);
        for (name, content) in [
            ("tls.crt", certificate),
            ("tls.key", key),
            ("routes.toml", &plain),
        ] {
            fs::write(data.join(name), content).unwrap();
        }
        symlink(data.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if version > 0 {
            fs::remove_dir_all(volume.join(format!("..version-{}", version - 1))).unwrap();
        }
    };
    publish(0);
    for name in ["tls.crt", "tls.key", "routes.toml"] {
        symlink(format!("..data/{name}"), volume.join(name)).unwrap();
    }
    let config = format!(
        "include = [\"volume/*.toml\"]\n{FRAME}[certificates.site]\ncert_file = \"volume/tls.crt\"\n\
         key_file = \"volume/tls.key\"\n[routes.tls]\nsni = \"tls.example\"\naction = \"terminate\"\nupstream = \"{}\"\n",
        backends[0].addr
    );
    let proxy = Proxy::start_in(dir, &config);
    for version in 0..4 {
        if version > 0 {
            proxy.reload_after(|| publish(version));
        }
        assert_eq!(
            answer(proxy.connect(), "a.example"),
            greetings[version % 2],
            "version {version}"
        );
        assert_eq!(
            shown(&proxy, "tls.example"),
            Some(der(&issued[version])),
            "version {version}"
        );
    }
    assert_eq!(proxy.count("reloaded"), 3);
    assert!(
        !proxy.log().contains(r#""level":"error""#),
        "{}",
        proxy.log()
    );
}

#[test]
fn a_change_in_a_directory_that_was_just_named_is_seen() {
    for _ in 0..5 {
        let proxy = Proxy::start(FRAME);
        let routes = proxy.dir().join("routes.d");
        fs::create_dir(&routes).unwrap();
        proxy.reload(&format!("include = [\"routes.d/*.toml\"]\n{FRAME}"));
        let reject = "[routes.a]\nsni = \"a.example\"\naction = \"reject\"\n";
        proxy.reload_after(|| fs::write(routes.join("a.toml"), reject).unwrap());
        assert_eq!(answer(proxy.connect(), "a.example"), alert(49));
    }
}
