//! Files of certificates and keys, PEM (RFC 7468) or DER, read all or nothing.
//!
//! A PEM reader that skips what it does not understand shrinks a trust list without a word: a block whose BEGIN line
//! was glued to the previous END line, was indented, or was cut off at the end of the file simply is not there. So the
//! blocks are found here, and every mark must belong to a block. What is inside of one is decoded here, too: nothing
//! that holds a key is freed before it is overwritten.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::tls::base64;

/// A private key that is overwritten when it is dropped.
pub(super) type Key = Zeroizing<PrivateKeyDer<'static>>;

/// What stands in one block of a file.
pub(super) enum Section {
    Certificate(CertificateDer<'static>),
    RevocationList(CertificateRevocationListDer<'static>),
    Key(Key),
    EncryptedKey,
    Foreign(Foreign),
    /// Something that may stand beside a key or a certificate and says nothing to a server.
    Beside,
}

/// Something that is often given in place of a certificate or a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Foreign {
    /// A PKCS#10 request (RFC 2986).
    #[error("a certificate request (CSR); what belongs here is what a CA made of it")]
    Request,
    /// A public key.
    #[error("a public key")]
    PublicKey,
    /// A list of revoked certificates where a certificate is wanted.
    #[error("a certificate revocation list, which belongs into crl_files")]
    RevocationList,
    /// A private key where a certificate is wanted.
    #[error("a private key")]
    PrivateKey,
    /// A certificate where a private key is wanted.
    #[error("a certificate")]
    Certificate,
    /// A PKCS#12 store (RFC 7292).
    #[error("a PKCS#12 store; convert it with `openssl pkcs12 -in STORE -nodes -out FILE.pem`")]
    Pkcs12,
}

/// Why a file is not a sound sequence of PEM blocks. Blocks are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PemError {
    /// A block has no END line of its own: the file was cut off, or two files were joined in the middle of one.
    #[error("block {0} of the file does not end: its END line is missing or names something else")]
    Unfinished(usize),
    /// An END line without a block, or the beginning of a BEGIN line.
    #[error("after block {0} of the file stands half of another one")]
    Half(usize),
    /// The inside of a block is not base64.
    #[error("block {0} of the file is not base64")]
    Base64(usize),
    /// A kind of block that is not understood, and that may hold certificates or keys.
    #[error("block {0} of the file is a {1:?}{hint}", hint = hint(.1))]
    Label(usize, String),
}

/// Why a file does not give certificates. A file is taken whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// The file is not sound PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// There is no certificate in the file.
    #[error("there is no certificate in the file")]
    NoCertificate,
    /// There is something else in the file, and no certificate.
    #[error("the file holds no certificate but {0}")]
    Instead(Foreign),
    /// One of the certificates cannot be read (RFC 5280 §4.1).
    #[error("certificate {number} of {total} in the file cannot be read: {reason}")]
    Certificate {
        /// Which one, counted from 1.
        number: usize,
        /// How many certificates there are.
        total: usize,
        /// What the parser says.
        reason: String,
    },
}

/// Why a file does not give revocation lists. A file is taken whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CrlFileError {
    /// The file is not sound PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// There is no list in the file.
    #[error("there is no certificate revocation list in the file")]
    None,
    /// There is something else in the file, and no list.
    #[error("the file holds no certificate revocation list but {0}")]
    Instead(Foreign),
    /// One of the lists cannot be read, or is of a kind that is not understood (RFC 5280 §5).
    #[error("revocation list {number} of {total} in the file cannot be used: {reason}")]
    List {
        /// Which one, counted from 1.
        number: usize,
        /// How many lists there are.
        total: usize,
        /// What the parser says.
        reason: String,
    },
}

/// Every certificate of a file, at least one, in the file's order. That each of them parses has been checked.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let mut certificates = Vec::new();
    let mut instead = None;
    for section in sections(bytes)? {
        match section {
            Section::Certificate(certificate) => certificates.push(certificate),
            Section::Key(_) | Section::EncryptedKey => instead = Some(Foreign::PrivateKey),
            Section::Foreign(foreign) => instead = Some(foreign),
            Section::RevocationList(_) => instead = Some(Foreign::RevocationList),
            Section::Beside => {}
        }
    }
    for (position, der) in certificates.iter().enumerate() {
        parse(der).map_err(|reason| BundleError::Certificate {
            number: position + 1,
            total: certificates.len(),
            reason,
        })?;
    }
    match instead {
        _ if !certificates.is_empty() => Ok(certificates),
        Some(foreign) => Err(BundleError::Instead(foreign)),
        None => Err(BundleError::NoCertificate),
    }
}

/// Every revocation list of a file, at least one, in the file's order: PEM with any number of them, or one in DER. That
/// they parse is for the caller to see.
pub(super) fn revocation_lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, CrlFileError> {
    let (mut lists, mut instead) = (Vec::new(), None);
    for section in sections(bytes)? {
        match section {
            Section::RevocationList(list) => lists.push(list),
            // DER does not say what it is.
            Section::Certificate(der) if der.as_ref() == bytes && parse(bytes).is_err() => {
                lists.push(bytes.to_vec().into())
            }
            Section::Certificate(_) => instead = Some(Foreign::Certificate),
            Section::Key(_) | Section::EncryptedKey => instead = Some(Foreign::PrivateKey),
            Section::Foreign(foreign) => instead = Some(foreign),
            Section::Beside => {}
        }
    }
    match instead {
        _ if !lists.is_empty() => Ok(lists),
        Some(foreign) => Err(CrlFileError::Instead(foreign)),
        None => Err(CrlFileError::None),
    }
}

/// Parses one certificate, with nothing after it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} bytes follow it", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// The blocks of a PEM file, or the one value of a DER file. A file that is neither has none.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section>, PemError> {
    let text = ascii(bytes);
    let text = str::from_utf8(&text).unwrap_or_default();
    if !text.contains("-----BEG") {
        return Ok(der_section(bytes).into_iter().collect());
    }
    let mut sections = Vec::new();
    let mut rest = text;
    while let Some((between, block)) = rest.split_once("-----BEGIN ") {
        whole(between, sections.len())?;
        let number = sections.len() + 1;
        let (label, body, after) = split_block(block).ok_or(PemError::Unfinished(number))?;
        sections.push(pem_section(number, label, body)?);
        rest = after;
    }
    whole(rest, sections.len())?;
    Ok(sections)
}

/// The bytes with those that are not ASCII, which only comments have, replaced.
fn ascii(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect())
}

/// The label and the inside of a block that begins after `-----BEGIN `, and what follows it.
pub(super) fn split_block(block: &str) -> Option<(&str, &str, &str)> {
    let (label, block) = block.split_once("-----")?;
    let (body, end) = block.split_once("-----")?;
    let after = end.strip_prefix("END ")?.strip_prefix(label)?.strip_prefix("-----")?;
    Some((label, body, after))
}

/// Checks that no part of a block stands outside of blocks.
pub(super) fn whole(between: &str, blocks: usize) -> Result<(), PemError> {
    if between.contains("-----END") || between.contains("-----BEG") { Err(PemError::Half(blocks)) } else { Ok(()) }
}

fn pem_section(number: usize, label: &str, body: &str) -> Result<Section, PemError> {
    let decode = || base64::decode(body.as_bytes()).ok_or(PemError::Base64(number));
    let key = |key: PrivateKeyDer<'static>| Section::Key(Zeroizing::new(key));
    Ok(match label {
        "CERTIFICATE" => Section::Certificate(decode()?.into()),
        "ENCRYPTED PRIVATE KEY" => Section::EncryptedKey,
        // RFC 1421 §4.6.1.1, as OpenSSL writes it before the base64 of a traditional key.
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" if body.contains("Proc-Type: 4,ENCRYPTED") => Section::EncryptedKey,
        "PRIVATE KEY" => key(PrivateKeyDer::Pkcs8(decode()?.into())),
        "RSA PRIVATE KEY" => key(PrivateKeyDer::Pkcs1(decode()?.into())),
        "EC PRIVATE KEY" => key(PrivateKeyDer::Sec1(decode()?.into())),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Section::Foreign(Foreign::Request),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Section::Foreign(Foreign::PublicKey),
        "X509 CRL" => Section::RevocationList(decode()?.into()),
        "EC PARAMETERS" | "DH PARAMETERS" => Section::Beside,
        _ => return Err(PemError::Label(number, label.to_owned())),
    })
}

/// What a DER value is, by its first bytes; that it parses is for the caller to see.
fn der_section(bytes: &[u8]) -> Option<Section> {
    /// PBES2 (RFC 8018 §A.4), with which every encrypted PKCS#8 key of our days begins.
    const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
    /// The version of a PKCS#12 store (RFC 7292 §4).
    const VERSION_3: &[u8] = &[0x02, 0x01, 0x03];

    if bytes.first() != Some(&0x30) {
        return None;
    }
    let head = &bytes[..bytes.len().min(24)];
    Some(if head.len() > 7 && (head[2..].starts_with(VERSION_3) || head[4..].starts_with(VERSION_3)) {
        Section::Foreign(Foreign::Pkcs12)
    } else if let Ok(key) = PrivateKeyDer::try_from(bytes) {
        Section::Key(Zeroizing::new(key.clone_key()))
    } else if head.windows(PBES2.len()).any(|window| window == PBES2) {
        Section::EncryptedKey
    } else {
        Section::Certificate(bytes.to_vec().into())
    })
}

fn hint(label: &str) -> &'static str {
    match label {
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => "; convert it with `openssl x509 -in FILE -out FILE.pem`",
        "PKCS7" => "; convert it with `openssl pkcs7 -in FILE -print_certs -out FILE.pem`",
        "OPENSSH PRIVATE KEY" => "; convert it with `ssh-keygen -p -m PEM -f FILE`",
        _ => ", which is neither a certificate nor a private key",
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tls::pki::{Authority, Validity};

    fn bundle() -> (String, String) {
        let pem = |name| Authority::new(name, Validity::days(1)).unwrap().certificate().to_owned();
        (pem("one"), pem("two"))
    }

    #[test]
    fn comments_blank_lines_and_other_writers_habits_are_no_obstacle() {
        let (one, two) = bundle();
        let glued = format!("{}{}", one.trim_end(), two);
        let indented = format!("{one}{}", two.replace('\n', "\n    ").replace("-----BEGIN", "    -----BEGIN"));
        for (what, text) in [
            ("plain", format!("{one}{two}")),
            ("comments", format!("# CA one ------\n\n{one}\n\n----- CA two -----\n{two}\n# end\n")),
            ("no newline between them", glued),
            ("indented", indented),
            ("carriage returns", format!("{one}{two}").replace('\n', "\r\n")),
            ("byte order mark", format!("\u{feff}{one}{two}")),
            ("one long line", format!("{one}{}", two.replace('\n', "").replace("----M", "----\nM"))),
        ] {
            assert_eq!(certificates(text.as_bytes()).map(|found| found.len()), Ok(2), "{what}");
        }
        let latin1 = [b"# f\xfcr uns\n".as_slice(), one.as_bytes()].concat();
        assert_eq!(certificates(&latin1).map(|found| found.len()), Ok(1));
    }

    #[test]
    fn a_bundle_that_is_cut_off_anywhere_is_an_error() {
        let (one, two) = bundle();
        let text = format!("{one}{two}");
        let end = text.trim_end().len();
        // From the first byte that says that another block begins, to the last one that says that it has ended.
        for cut in one.len() + "-----BEG".len()..end {
            assert!(certificates(&text.as_bytes()[..cut]).is_err(), "cut to {cut} of {end} bytes");
        }
        assert_eq!(certificates(&text.as_bytes()[..end - 9]), Err(PemError::Unfinished(2).into()));
        // The same from the front.
        for cut in 1..one.len() - "-----END CERTIFICATE-----\n".len() {
            assert!(certificates(&text.as_bytes()[cut..]).is_err(), "cut from {cut}");
        }
        assert_eq!(certificates(&text.as_bytes()[1..]), Err(PemError::Half(0).into()));
    }

    #[test]
    fn one_bad_certificate_refuses_the_whole_bundle() {
        let (one, two) = bundle();
        let no_base64 = two.replacen("\nM", "\n!", 1);
        assert_eq!(certificates(format!("{one}{no_base64}").as_bytes()), Err(PemError::Base64(2).into()));

        let no_certificate = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
        let error = certificates(format!("{one}{no_certificate}{two}").as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("certificate 2 of 3 in the file cannot be read: "), "{error}");

        let trusted = two.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        let error = certificates(format!("{one}{trusted}").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("block 2") && error.to_string().contains("openssl x509"), "{error}");
    }

    #[test]
    fn a_file_without_a_certificate_says_what_it_is() {
        let issued = Authority::new("ca", Validity::days(1)).unwrap().client("web", Validity::days(1)).unwrap();
        let request = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
        for (bytes, expected) in [
            (b"".as_slice(), BundleError::NoCertificate),
            (b"\n# nothing\n", BundleError::NoCertificate),
            (b"\0\0", BundleError::NoCertificate),
            (issued.key.as_bytes(), BundleError::Instead(Foreign::PrivateKey)),
            (request.as_bytes(), BundleError::Instead(Foreign::Request)),
        ] {
            assert_eq!(certificates(bytes), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_single_der_certificate_is_a_bundle_and_bytes_after_it_are_an_error() {
        let (one, _) = bundle();
        let der = CertificateDer::from_pem_slice(one.as_bytes()).unwrap();
        assert_eq!(certificates(&der), Ok(vec![der.clone()]));
        let more = [&der[..], b"\0"].concat();
        assert!(matches!(certificates(&more), Err(BundleError::Certificate { number: 1, total: 1, .. })));
        assert!(matches!(certificates(&der[..100]), Err(BundleError::Certificate { .. })));
    }
}
