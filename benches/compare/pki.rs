//! Certificates for one run, all with P-256 keys, and the client that uses them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use snigate::tls::pki::{Authority, Validity};

/// Writes a CA, a server's certificate for `name` and a client's, as `ca.pem`, `server.pem`, `client.pem` and their keys.
///
/// `server-both.pem` is the server's certificate and key in one file, as HAProxy reads it.
pub(crate) fn write(dir: &Path, name: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let authority = Authority::new("benchmark CA", Validity::days(2))?;
    let server = authority.server(&[name], Validity::days(2))?;
    let client = authority.client("benchmark client", Validity::days(2))?;
    for (file, text) in [
        ("ca.pem", authority.certificate()),
        ("server.pem", &server.certificate),
        ("server-key.pem", &server.key),
        ("server-both.pem", &format!("{}{}", server.certificate, server.key)),
        ("client.pem", &client.certificate),
        ("client-key.pem", &client.key),
    ] {
        fs::write(dir.join(file), text).with_context(|| file.to_owned())?;
    }
    Ok(())
}

/// A client with a certificate. It offers one cipher suite and one key exchange, which every proxy has, so that all of them
/// do the same work; and it never resumes a session.
pub(crate) fn client(dir: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem"))?)?;
    let chain = CertificateDer::pem_file_iter(dir.join("client.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("client-key.pem"))?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The hello of a client of today for `name`, with a post-quantum key share.
pub(crate) fn hello(name: &str) -> anyhow::Result<Vec<u8>> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?.write_tls(&mut bytes)?;
    Ok(bytes)
}
