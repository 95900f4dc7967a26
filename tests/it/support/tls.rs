//! Certificates made for one test, and TLS clients.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion};
use snigate::tls::pki::{Authority, Issued, Validity};

/// Writes a certificate and its key as `NAME.pem` and `NAME-key.pem`.
pub(crate) fn write(dir: &Path, name: &str, issued: &Issued) {
    fs::write(dir.join(format!("{name}.pem")), &issued.certificate).unwrap();
    fs::write(dir.join(format!("{name}-key.pem")), &issued.key).unwrap();
}

/// An authority whose certificate is in `NAME.pem`.
pub(crate) fn authority(dir: &Path, name: &str) -> Authority {
    let authority = Authority::new(name, Validity::days(20)).unwrap();
    fs::write(dir.join(format!("{name}.pem")), authority.certificate()).unwrap();
    authority
}

/// A client that trusts `authority` and shows `identity`, where there is one.
pub(crate) fn client(
    authority: &Authority,
    identity: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_root_certificates(roots);
    Arc::new(match identity {
        None => config.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// A server that shows this certificate and asks for none.
pub(crate) fn server(issued: &Issued) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// A TLS session over `stream`. The handshake happens with the first read or write.
pub(crate) fn session(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// Sends `request`, ends the sending direction with a close_notify, and reads the answer to its end.
pub(crate) fn exchange(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
    request: &[u8],
) -> io::Result<Vec<u8>> {
    let mut session = session(config, name, stream);
    session.write_all(request)?;
    session.conn.send_close_notify();
    let mut answer = Vec::new();
    session.read_to_end(&mut answer)?;
    Ok(answer)
}
