//! Termination with client certificates: who comes in, and what the others see.

mod crowd;
mod endings;
mod materials;
mod matrix;
mod pinned;
mod races;
mod resumption;
mod revocation;
mod rotation;
mod terms;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::Value;
use snigate::pki::{Authority, Issued, Validity};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::openssl::s_client;
use crate::support::proxy::{Proxy, directory};
use crate::support::tls::{
    self, alert, authority, client, client_with, der, sha256, version_1, write,
};

const NAME: &str = "app.example";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The authority that issued the server's certificate, and the one whose clients come in.
struct Site {
    servers: Authority,
    clients: Authority,
    /// A certificate for [`revocation::revoke`].
    revoked: Issued,
}

/// A site, and a directory with everything that [`config`] names.
fn site() -> (Site, TempDir) {
    let dir = directory();
    let [servers, clients] = ["servers", "clients"].map(|name| authority(dir.path(), name));
    write(
        dir.path(),
        "site",
        &servers.server(&[NAME], Validity::days(20)).unwrap(),
    );
    let revoked = clients.client("revoked", Validity::days(20)).unwrap();
    (
        Site {
            servers,
            clients,
            revoked,
        },
        dir,
    )
}

/// One route for [`NAME`] with this `[tls]` table, which may be `open` or `mtls`, and other keys.
fn config(backend: &Backend, tls: &str, keys: &str) -> String {
    format!(
        r#"
        [certificates.site]
        cert_file = "site.pem"
        key_file = "site-key.pem"
        [tls.open]
        client_auth.mode = "none"
        [tls.mtls]
        client_auth.mode = "require_and_verify"
        client_auth.ca_files = ["clients.pem"]
        [routes.app]
        sni = "{NAME}"
        action = "terminate"
        tls = "{tls}"
        upstream = "{}"
        {keys}
        "#,
        backend.addr
    )
}

impl Site {
    /// A client that knows the site, and shows this certificate.
    fn client(
        &self,
        identity: Option<&Issued>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        client(&self.servers, identity, &[version])
    }

    fn revoked(&self) -> Issued {
        Issued {
            certificate: self.revoked.certificate.clone(),
            key: self.revoked.key.clone(),
        }
    }

    /// A certificate that comes in.
    fn member(&self) -> Issued {
        self.clients.client("member", Validity::days(20)).unwrap()
    }
}

/// A whole session with one question, and the answer to it.
fn ask(config: &Arc<ClientConfig>, stream: TcpStream) -> io::Result<Vec<u8>> {
    tls::exchange(config, NAME, stream, b"the question")
}

/// The SHA-256 digest of a certificate as the log has it.
fn fingerprint(issued: &Issued) -> String {
    sha256(&der(&issued.certificate))
}

#[test]
fn what_other_servers_take_for_a_client_certificate_is_refused_and_the_log_says_why() {
    let (site, dir) = site();
    let backend = Backend::echo();
    let mut proxy = Proxy::start_in(dir, &config(&backend, "mtls", ""));
    let member = site.member();
    let authority = Issued {
        certificate: site.clients.certificate().to_owned(),
        key: site.clients.key_pem(),
    };
    for version in VERSIONS {
        for (config, detail) in [
            (
                client_with(&site.servers, Some(version_1(&site.clients)), &[version]),
                "X.509 v1 certificate: issue it with extensions (v3)",
            ),
            (
                site.client(Some(&authority), version),
                "a CA's own certificate (CA:TRUE)",
            ),
        ] {
            let error = ask(&config, proxy.connect()).unwrap_err();
            assert_eq!(alert(&error), Some(46), "{detail}: {error}");
            let line = proxy.next_access();
            assert_eq!(line["outcome"], "untrusted_certificate", "{line}");
            assert_eq!(line["client_cert_verified"], false, "{line}");
            assert!(
                line["detail"].as_str().unwrap_or_default().contains(detail),
                "{line}"
            );
        }
        assert!(ask(&site.client(Some(&member), version), proxy.connect()).is_ok());
        proxy.next_access();
    }
    assert_eq!(backend.accepted(), VERSIONS.len());
}
