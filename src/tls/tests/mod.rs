//! Fixtures of these tests: an authority, an acceptor, and clients over real sockets.

mod certificate;
mod chains;
mod choice;
mod client_auth;
mod connector;
mod handshake;
mod keys;
mod oracle;
mod resumption;
mod revocation;

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::close_in_order;
use crate::pki::{self, Authority, Issued, Validity};
use crate::tls::provider::{algorithms, provider};
use crate::x509::{
    CaCertificate, CaIssue, Crl, Depth, Expired, Purpose, Revocation, Unknown, identity, pem,
};

const NAME: &str = "app.example";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A certificate that was valid until a minute ago.
fn past() -> Validity {
    Validity {
        not_before: UNIX_EPOCH,
        not_after: SystemTime::now() - Duration::from_secs(60),
    }
}

fn authority(name: &str) -> Authority {
    Authority::new(name, Validity::days(1)).unwrap()
}

/// A certificate of `authority` for [`NAME`].
fn server_certificate(authority: &Authority) -> Arc<Certificate> {
    let issued = authority.server(&[NAME], Validity::days(1)).unwrap();
    Arc::new(Certificate::load(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap())
}

fn acceptor(certificate: &Arc<Certificate>, client_auth: ClientAuth) -> Acceptor {
    let options = AcceptorOptions {
        client_auth,
        ..AcceptorOptions::default()
    };
    Acceptor::new(vec![Arc::clone(certificate)], &options, true).unwrap()
}

fn require(authorities: &[&Authority]) -> ClientAuth {
    let read = |authority: &&Authority| {
        CaCertificate::parse_bundle(authority.certificate().as_bytes()).unwrap()
    };
    ClientAuth::RequireAndVerify(Verify {
        authorities: authorities.iter().flat_map(read).collect(),
        ..Verify::default()
    })
}

/// A revocation list of `authority` that is valid from now for a day.
fn revoke(authority: &Authority, revoked: &[&Issued]) -> String {
    revocation_list(authority, revoked, Validity::days(1))
}

fn revocation_list(authority: &Authority, revoked: &[&Issued], validity: Validity) -> String {
    let mut list = pki::RevocationList::default();
    for issued in revoked {
        list.revoke(&serial(issued), None);
    }
    list.sign(authority, validity).unwrap()
}

fn serial(issued: &Issued) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    pem::parse(&der).unwrap().raw_serial().to_vec()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
        .unwrap();
    roots
}

/// A client that believes `authority` and speaks one version.
fn client(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    own: Option<&Issued>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots(authority));
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes())
                .collect::<Result<_, _>>()
                .unwrap();
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            let key = provider().key_provider.load_private_key(key).unwrap();
            // Not `with_client_auth_cert`, which would refuse to send what servers should refuse.
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
                chain, key,
            ))))
        }
    })
}

/// How a handshake looked to the client, once it had read to the end.
#[derive(Debug, PartialEq)]
enum Seen {
    /// A session, and the server's greeting in it.
    Session(HandshakeKind),
    /// A fatal alert.
    Alert(u8),
    /// The end, without a reason.
    End(io::ErrorKind),
}

/// Serves one connection as a proxy would: the first bytes are read, then the handshake is made
/// with them. A client that is accepted is greeted; one that is refused is let go in order.
async fn serve(acceptor: &Acceptor, listener: &TcpListener) -> Result<Accepted, Refusal> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut preface = Vec::with_capacity(16 * 1024);
    stream.read_buf(&mut preface).await.unwrap();
    let name = NAME.parse().unwrap();
    let choice = acceptor.select(Some(&name), || None).unwrap();
    finish(choice.accept(stream.into(), &preface, Some(&name)).await).await
}

/// The rest of a handshake.
async fn finish(result: Result<Accepted, HandshakeError>) -> Result<Accepted, Refusal> {
    match result {
        Ok(mut accepted) => {
            accepted.stream.write_all(b"welcome").await.unwrap();
            accepted.stream.shutdown().await.unwrap();
            Ok(accepted)
        }
        Err(mut error) => {
            close_in_order(&mut error.stream, Instant::now() + Duration::from_secs(30)).await;
            Err(error.refusal)
        }
    }
}

/// The results of both ends, which fail where one waits for ever.
fn within<T>(both: impl Future<Output = T>) -> impl Future<Output = T> {
    // Boxed, because the state of two sessions is large.
    let both = timeout(Duration::from_secs(30), Box::pin(both));
    async { both.await.expect("both ends come to an end") }
}

/// A handshake between `acceptor` and a rustls client.
async fn meet(
    acceptor: &Acceptor,
    config: &Arc<ClientConfig>,
) -> (Result<Accepted, Refusal>, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let look = async {
        let stream = TcpStream::connect(address).await.unwrap();
        look(
            stream,
            ClientConnection::new(Arc::clone(config), NAME.try_into().unwrap()).unwrap(),
        )
        .await
    };
    within(async { tokio::join!(serve(acceptor, &listener), look) }).await
}

/// The view of the client `session` on `stream`. It sends a request as soon as it may, before it
/// has read anything, and one so large that the server has unread input when it refuses: closing on
/// that would destroy the alert.
async fn look(stream: TcpStream, session: ClientConnection) -> Seen {
    let connector = TlsConnector::from(Arc::new(
        ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    ));
    let name = NAME.try_into().unwrap();
    let handshake = connector
        .connect_with(name, stream, |fresh| *fresh = session)
        .into_fallible();
    let mut stream = match handshake.await {
        Ok(stream) => stream,
        Err((error, mut socket)) => return ending(error, &mut socket).await,
    };
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let sent = stream.write_all(&[7; 64 * 1024]).await;
    let mut greeting = Vec::new();
    match stream.read_to_end(&mut greeting).await {
        Ok(_) => {
            assert!(
                greeting == b"welcome" && sent.is_ok(),
                "{greeting:?}, {sent:?}"
            );
            Seen::Session(kind)
        }
        Err(error) => ending(error, stream.get_mut().0).await,
    }
}

/// The meaning of an error to a client. An alert counts only if the connection then ends in order:
/// before a reset, other kernels than this one throw the alert away.
async fn ending(error: io::Error, socket: &mut TcpStream) -> Seen {
    match error.downcast::<rustls::Error>() {
        Ok(rustls::Error::AlertReceived(alert)) => {
            match socket.read_to_end(&mut Vec::new()).await {
                Ok(_) => Seen::Alert(alert.into()),
                Err(error) => Seen::End(error.kind()),
            }
        }
        Ok(error) => panic!("{error}"),
        Err(error) => Seen::End(error.kind()),
    }
}

/// Files for a foreign client.
fn write_files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// Runs `openssl` in `dir` and gives what it wrote.
fn openssl(dir: &tempfile::TempDir, args: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output();
    let output = output.expect("openssl is installed");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
