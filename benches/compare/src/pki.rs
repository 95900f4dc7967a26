//! Certificates for one run, and the clients that use them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, KeyPair, PKCS_RSA_SHA256, RevokedCertParams,
    RsaKeySize, SerialNumber,
};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use snigate::pki::{Authority, CertificateUse, Issued, Key, KeyKind, PublicKey, Subject, Validity};

use crate::setup::Keys;

/// The entries of the revocation list, which take 3 MB as DER.
pub(crate) const REVOKED: u32 = 100_000;

/// The certificates of a route that has many.
pub(crate) const CERTIFICATES: usize = 64;

/// The common name of the client.
pub(crate) const CLIENT: &str = "benchmark client";

/// Writes for each kind of keys a directory with a CA, a server's certificate for `name` and a
/// client's, as `ca.pem`, `server.pem`, `client.pem` and their keys; beside P-256 also `list.pem`
/// and `many/`.
///
/// `server-both.pem` is the server's certificate and key in one file, as HAProxy reads it.
pub(crate) fn write(dir: &Path, name: &str) -> anyhow::Result<()> {
    for keys in Keys::ALL {
        let dir = dir.join(keys.dir());
        fs::create_dir_all(dir.join("many"))?;
        let root = Authority::for_leaves(
            &format!("benchmark CA {}", keys.dir()),
            validity(),
            key(keys)?,
        );
        let (root, issuer) = if keys == Keys::Chain {
            let root = Authority::new("benchmark root", validity())?;
            let issuer = root.intermediate("benchmark CA", validity())?;
            (root, Some(issuer))
        } else {
            (root?, None)
        };
        let issuer = issuer.as_ref().unwrap_or(&root);
        let server = issue(
            issuer,
            &Subject::server(&[name])?,
            CertificateUse::Server,
            keys,
        )?;
        let client = issue(
            issuer,
            &Subject::common_name(CLIENT),
            CertificateUse::Client,
            keys,
        )?;
        for (file, text) in [
            ("ca.pem", root.certificate()),
            ("ca-key.pem", &root.key_pem()),
            ("server.pem", &server.certificate),
            ("server-key.pem", &server.key),
            (
                "server-both.pem",
                &format!("{}{}", server.certificate, server.key),
            ),
            ("client.pem", &client.certificate),
            ("client-key.pem", &client.key),
        ] {
            fs::write(dir.join(file), text).with_context(|| file.to_owned())?;
        }
        if keys == Keys::P256 {
            fs::write(dir.join("list.pem"), list(&root)?)?;
            for number in 0..CERTIFICATES {
                let server = root.server(&[name], validity())?;
                fs::write(
                    dir.join(format!("many/{number}.pem")),
                    server.certificate + &server.key,
                )?;
            }
        }
    }
    Ok(())
}

fn validity() -> Validity {
    Validity::days(2)
}

fn key(keys: Keys) -> anyhow::Result<Key> {
    Ok(match keys {
        Keys::P256 | Keys::Chain => Key::generate(KeyKind::P256)?,
        Keys::Rsa2048 => {
            let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
            Key::load(key.serialize_pem().as_bytes())?
        }
    })
}

fn issue(
    issuer: &Authority,
    subject: &Subject,
    purpose: CertificateUse,
    keys: Keys,
) -> anyhow::Result<Issued> {
    // Written before it is loaded: a key that was loaded cannot be written.
    let pem = match keys {
        Keys::P256 | Keys::Chain => KeyPair::generate()?.serialize_pem(),
        Keys::Rsa2048 => {
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?.serialize_pem()
        }
    };
    let key = PublicKey::of(&Key::load(pem.as_bytes())?)?;
    Ok(Issued {
        certificate: issuer.issue(subject, purpose, validity(), &key)?,
        key: pem,
    })
}

/// A list of [`REVOKED`] serial numbers, none of which any certificate has.
fn list(authority: &Authority) -> anyhow::Result<String> {
    let date = |time: SystemTime| {
        anyhow::Ok(rcgen::date_time_ymd(1970, 1, 1) + time.duration_since(SystemTime::UNIX_EPOCH)?)
    };
    let day = Duration::from_secs(24 * 60 * 60);
    let (yesterday, soon) = (
        date(SystemTime::now() - day)?,
        date(SystemTime::now() + 2 * day)?,
    );
    let revoked = (0..REVOKED).map(|number| RevokedCertParams {
        // Sixteen bytes, as those that a CA draws.
        serial_number: SerialNumber::from(Vec::from(
            (0x5e11_u128 << 112 | u128::from(number)).to_be_bytes(),
        )),
        revocation_time: yesterday,
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: yesterday,
        next_update: soon,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let key = KeyPair::from_pem(&authority.key_pem())?;
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority.certificate(), key)?;
    Ok(params.signed_by(&issuer)?.pem()?)
}

/// Who the client is, and what it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Identity {
    /// Without a certificate. It resumes its sessions.
    Resuming,
    /// Always the same one.
    Same(Keys),
    /// With another certificate for each connection, of the same key, of which there are so many.
    Fresh(usize),
    /// Always the same one, and the key exchange is X25519MLKEM768.
    Hybrid,
}

/// A client of TLS. It offers one cipher suite and one key exchange, which every proxy has, so that
/// all of them do the same work; and only one that resumes ever resumes a session.
pub(crate) fn client(dir: &Path, identity: Identity) -> anyhow::Result<Arc<ClientConfig>> {
    let keys = match identity {
        Identity::Same(keys) => keys,
        Identity::Resuming | Identity::Fresh(_) | Identity::Hybrid => Keys::P256,
    };
    let dir = dir.join(keys.dir());
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![if identity == Identity::Hybrid {
        kx_group::X25519MLKEM768
    } else {
        kx_group::X25519
    }];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem"))?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let own = || {
        anyhow::Ok((
            chain(&fs::read(dir.join("client.pem"))?)?,
            PrivateKeyDer::from_pem_file(dir.join("client-key.pem"))?,
        ))
    };
    let mut config = match identity {
        Identity::Resuming => builder.with_no_client_auth(),
        Identity::Same(_) | Identity::Hybrid => {
            let (chain, key) = own()?;
            builder.with_client_auth_cert(chain, key)?
        }
        Identity::Fresh(count) => {
            builder.with_client_cert_resolver(Arc::new(Fresh::issue(&dir, count)?))
        }
    };
    config.resumption = if identity == Identity::Resuming {
        Resumption::in_memory_sessions(64)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

fn chain(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?)
}

/// Certificates of one key, each for one connection.
#[derive(Debug)]
struct Fresh {
    certificates: Vec<Arc<CertifiedKey>>,
    next: AtomicUsize,
}

impl Fresh {
    fn issue(dir: &Path, count: usize) -> anyhow::Result<Self> {
        let authority = Authority::load(
            &fs::read(dir.join("ca.pem"))?,
            &fs::read(dir.join("ca-key.pem"))?,
        )?;
        let pem = fs::read(dir.join("client-key.pem"))?;
        let public = PublicKey::of(&Key::load(&pem)?)?;
        let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_slice(&pem)?)?;
        let certificate = |_| {
            let subject = Subject::common_name(CLIENT);
            let certificate =
                authority.issue(&subject, CertificateUse::Client, validity(), &public)?;
            Ok(Arc::new(CertifiedKey::new(
                chain(certificate.as_bytes())?,
                Arc::clone(&key),
            )))
        };
        Ok(Self {
            certificates: (0..count).map(certificate).collect::<anyhow::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }
}

impl ResolvesClientCert for Fresh {
    /// None when all were used: the handshake then fails, and so does the turn.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certificates
            .get(self.next.fetch_add(1, Ordering::Relaxed))
            .cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The hello of a client of today for `name`, with a post-quantum key share.
pub(crate) fn hello(name: &str) -> anyhow::Result<Vec<u8>> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?
        .write_tls(&mut bytes)?;
    Ok(bytes)
}
