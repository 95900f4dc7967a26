//! What `check` says before a client finds out: files as they are found, and what cannot work.

mod against;
mod around;
mod authorities;
mod files;
mod odd;
mod renewal;
mod together;
mod uses;

use std::fs;
use std::path::Path;

use snigate::pki::{RevocationList, Validity};
use tempfile::TempDir;

use crate::cli::{snigate, text};
use crate::support::tls::{authority, write};

const ALL: &str = r#"
include = "routes.toml"

[listeners.edge]
bind = "127.0.0.1:0"

[certificates.a]
cert_file = "server.pem"
key_file = "server-key.pem"

[tls.members]
client_auth.ca_files = "clients.pem"
client_auth.crl_files = "clients.crl"

[upstreams.inside]
servers = ["127.0.0.1:1"]
tls.server_name = "inside.example"
tls.trust = "inside"

[trust.inside]
ca_files = "inside.pem"
"#;

const ROUTE: &str = "[routes.a]\nsni = \"a.example\"\naction = \"terminate\"\nupstream = \"inside\"\ntls = \"members\"\n";

/// A directory with a configuration in which nothing is to be warned of, and that reads a file of
/// every kind.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let clients = authority(path, "clients");
        let servers = authority(path, "servers");
        authority(path, "inside");
        write(
            path,
            "server",
            &servers.server(&["a.example"], Validity::days(80)).unwrap(),
        );
        let list = RevocationList::default()
            .sign(&clients, Validity::days(30))
            .unwrap();
        fs::write(path.join("clients.crl"), list).unwrap();
        fs::write(path.join("snigate.toml"), ALL).unwrap();
        fs::write(path.join("routes.toml"), ROUTE).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// How many errors and warnings `check` has, and all that it prints.
    pub(crate) fn check(&self) -> (usize, usize, String) {
        check(self.dir.path())
    }
}

/// How many errors and warnings `check` has in this directory, and all that it prints.
pub(crate) fn check(dir: &Path) -> (usize, usize, String) {
    // By name: root reads no file by itself that everybody can write to.
    let output = snigate(dir, &["check", "-c", "snigate.toml"]);
    let said = text(&output);
    let verdict = said.lines().last().unwrap_or_default();
    let count = |what: &str| {
        let (before, _) = verdict
            .split_once(&format!(" {what}"))
            .unwrap_or_else(|| panic!("{said}"));
        before
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("{said}"))
    };
    (count("error"), count("warning"), said)
}

#[test]
fn of_a_configuration_that_works_nothing_is_said() {
    let (errors, warnings, said) = Site::new().check();
    assert_eq!((errors, warnings), (0, 0), "{said}");
}
