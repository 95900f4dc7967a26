//! Certificates made for one test, and TLS clients.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};
use snigate::pki::{Authority, Issued, Validity};

/// Writes a certificate and its key as `NAME.pem` and `NAME-key.pem`.
pub(crate) fn write(dir: &Path, name: &str, issued: &Issued) {
    fs::write(dir.join(format!("{name}.pem")), &issued.certificate).unwrap();
    write_key(&dir.join(format!("{name}-key.pem")), &issued.key);
}

/// Writes a private key as keys are kept, for its owner alone.
pub(crate) fn write_key(path: &Path, key: &str) {
    fs::write(path, key).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
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
    let identity = identity.map(|issued| {
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes())
            .map(Result::unwrap)
            .collect();
        (
            chain,
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
    });
    client_with(authority, identity, versions)
}

/// The same, with a certificate that nobody has checked.
pub(crate) fn client_with(
    authority: &Authority,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(der(authority.certificate())).unwrap();
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let config = config.with_root_certificates(roots);
    Arc::new(match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let key = provider.key_provider.load_private_key(key).expect("a key");
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
                chain, key,
            ))))
        }
    })
}

/// The chain and the key.
pub(crate) fn parts(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes())
        .map(Result::unwrap)
        .collect();
    (
        chain,
        PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
    )
}

/// A server that shows this certificate and asks for none.
pub(crate) fn server(issued: &Issued) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let (chain, key) = parts(issued);
    config
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// A client's certificate with this subject and these names, from the authority called `clients`.
pub(crate) fn client_named(
    authority: &Authority,
    [common_name, unit]: [&str; 2],
    names: &[SanType],
) -> Issued {
    let distinguished = |kinds: &[(DnType, &str)]| {
        let mut name = DistinguishedName::new();
        for (kind, text) in kinds {
            name.push(kind.clone(), *text);
        }
        name
    };
    let mut own = CertificateParams::default();
    own.distinguished_name = distinguished(&[(DnType::CommonName, "clients")]);
    let issuer = Issuer::new(own, KeyPair::from_pem(&authority.key_pem()).unwrap());
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ClientAuth);
    params.is_ca = IsCa::ExplicitNoCa;
    params.distinguished_name = distinguished(&[
        (DnType::CommonName, common_name),
        (DnType::OrganizationalUnitName, unit),
    ]);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Issued {
        certificate,
        key: key.serialize_pem(),
    }
}

/// A client's certificate of X.509 version 1: one from `authority` without its version and
/// extensions, signed again.
pub(crate) fn version_1(
    authority: &Authority,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let issued = authority.client("v1", Validity::days(20)).unwrap();
    let v3 = der(&issued.certificate);
    let (_, content, _) = element(&v3);
    let (_, to_be_signed, rest) = element(content);
    let (algorithm, _, _) = element(rest);
    let (_, _, fields) = element(to_be_signed);
    let extensions = (0..6).fold(fields, |rest, _| element(rest).2);
    let to_be_signed = tagged(0x30, &fields[..fields.len() - extensions.len()]);
    let key = PrivateKeyDer::from_pem_slice(authority.key_pem().as_bytes()).unwrap();
    let signer =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_der()).unwrap();
    let signature = signer.sign(&SystemRandom::new(), &to_be_signed).unwrap();
    let signature = tagged(3, &[&[0], signature.as_ref()].concat());
    let certificate = tagged(0x30, &[&to_be_signed, algorithm, &signature].concat());
    (
        vec![certificate.into()],
        PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
    )
}

/// The first DER element of `bytes`, its content, and what follows it.
pub(crate) fn element(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (start, length) = match bytes[1] {
        0x81 => (3, usize::from(bytes[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        short => (2, usize::from(short)),
    };
    let end = start + length;
    (&bytes[..end], &bytes[start..end], &bytes[end..])
}

/// A DER element with this tag and content.
pub(crate) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let header = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, content.to_vec()].concat()
}

/// The first certificate of a PEM text.
pub(crate) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// The digest of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether a peer can tell that this was no end in order: there was no close_notify, or not even a
/// FIN.
pub(crate) fn is_abrupt(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// The alert by which the other side ended a session.
pub(crate) fn alert(error: &io::Error) -> Option<u8> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(u8::from(*alert)),
        _ => None,
    }
}

/// A TLS session over `stream`. The handshake happens with the first read or write.
pub(crate) fn session(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    StreamOwned::new(
        ClientConnection::new(Arc::clone(config), name).unwrap(),
        stream,
    )
}

/// Sends `request`, ends the sending direction with a close_notify, and reads the answer to its
/// end.
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
