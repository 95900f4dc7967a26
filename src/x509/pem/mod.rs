//! Files of certificates and keys, PEM (RFC 7468) or DER, read all or nothing.
//!
//! A PEM reader that skips what it does not understand shrinks a trust list without a word: a block
//! whose BEGIN line was glued to the previous END line, was indented, lost a dash, or was cut off
//! at the end of the file simply is not there. So the blocks are found here, and whatever may be
//! part of one must belong to one. What is inside of one is decoded here, too: nothing that holds a
//! key is freed before it is overwritten.

mod blocks;
mod form;
#[cfg(test)]
mod tests;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::x509::base64;
use crate::x509::defects::{self, Defect};

pub(crate) use blocks::{Block, blocks};
pub use form::Form;

/// A private key that is overwritten when it is dropped.
pub(crate) type SecretKey = Zeroizing<PrivateKeyDer<'static>>;

/// The content of one block of a file.
pub(crate) enum Section {
    Certificate(CertificateDer<'static>),
    RevocationList(CertificateRevocationListDer<'static>),
    Key(SecretKey),
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
    /// Certificates in PKCS#7 (RFC 5652).
    #[error(
        "PKCS#7; convert it with `openssl pkcs7 -inform DER -in FILE -print_certs -out FILE.pem`"
    )]
    Pkcs7,
    /// A PKCS#12 store (RFC 7292).
    #[error("a PKCS#12 store; convert it with `openssl pkcs12 -in STORE -nodes -out FILE.pem`")]
    Pkcs12,
}

/// Why a file is not a sound sequence of PEM blocks. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PemError {
    /// The file is in another form.
    #[error(transparent)]
    Form(Form),
    /// A block has no END mark of its own: the file was cut off, or two files were joined in the
    /// middle of one.
    #[error(
        "line {line}: the {label} that begins here does not end: its END line is missing, damaged, or names something else"
    )]
    Unfinished {
        /// The line of its BEGIN mark.
        line: usize,
        /// The label of the block.
        label: String,
    },
    /// A damaged mark, or a mark without the other one.
    #[error(
        "line {0}: this looks like the BEGIN or END line of a block and is none, so that the block would not count; such \
         a line has five dashes on either side, its words in capitals, and nothing beside that; each BEGIN has its END"
    )]
    Mark(usize),
    /// base64 between blocks.
    #[error(
        "line {0}: base64 stands outside of a block, so that it would not count; its BEGIN and END lines are missing"
    )]
    Loose(usize),
    /// Zeros in a text.
    #[error(
        "line {0}: zero bytes stand in the text: something was appended as UTF-16, as PowerShell's `>>` does, or lost by \
         the file system"
    )]
    Zeros(usize),
    /// The inside of a block is not base64.
    #[error("line {line}: this is not base64{}", base64_hint(*.newlines))]
    Base64 {
        /// The first line that is not, or the last one of the block.
        line: usize,
        /// Whether there is `\n` where lines should end.
        newlines: bool,
    },
    /// A kind of block that is not understood, and that may hold certificates or keys.
    #[error("line {0}: a {1:?} begins here{hint}", hint = hint(.1))]
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
        /// The block's place in the file, counted from 1.
        number: usize,
        /// How many certificates there are.
        total: usize,
        /// The parser's reason.
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
        /// The block's place in the file, counted from 1.
        number: usize,
        /// How many lists there are.
        total: usize,
        /// The parser's reason.
        reason: String,
    },
}

/// Every certificate of a file, at least one, in the file's order. That each of them parses has
/// been checked.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
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
            reason: match line_of(bytes, position) {
                Some(line) => format!("{reason}; it begins on line {line}"),
                None => reason,
            },
        })?;
    }
    match instead {
        _ if !certificates.is_empty() => Ok(certificates),
        Some(foreign) => Err(BundleError::Instead(foreign)),
        None => Err(BundleError::NoCertificate),
    }
}

/// The line on which one of a PEM file's certificates begins.
fn line_of(bytes: &[u8], position: usize) -> Option<usize> {
    if is_der(bytes) {
        return None;
    }
    let text = text(bytes);
    let blocks = blocks(as_str(&text)).ok()?;
    blocks
        .iter()
        .filter(|block| block.label == "CERTIFICATE")
        .nth(position)
        .map(|block| block.line)
}

/// Every revocation list of a file, at least one, in the file's order: PEM with any number of them,
/// or one in DER. That they parse is for the caller to see.
pub(crate) fn revocation_lists(
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, CrlFileError> {
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
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(after(rest)),
        Err(_) => Err(no_certificate(der)),
    }
}

/// The fault in bytes that follow a DER value.
pub(crate) fn after(rest: &[u8]) -> String {
    format!("{} bytes follow its end", rest.len())
}

/// In words: a parser of DER knows at which byte it gave up, and not why.
fn no_certificate(der: &[u8]) -> String {
    let other = if X509CertificationRequest::from_der(der).is_ok() {
        Foreign::Request
    } else if CertificateRevocationList::from_der(der).is_ok() {
        Foreign::RevocationList
    } else if SubjectPublicKeyInfo::from_der(der).is_ok() {
        Foreign::PublicKey
    } else if whole_value(der) == Some(false) {
        return "it is cut off".to_owned();
    } else {
        return match defects::bad_date(der) {
            Some(date) => format!("it {}", Defect::Date(date)),
            None => {
                "it is damaged, or no X.509 certificate (RFC 5280 §4.1); fetch or issue it anew"
                    .to_owned()
            }
        };
    };
    format!("it is {other}")
}

/// Whether a DER sequence has all of its bytes; nothing if it is none.
fn whole_value(der: &[u8]) -> Option<bool> {
    let [0x30, first, rest @ ..] = der else {
        return None;
    };
    let length = usize::from(*first);
    if length < 0x80 {
        return Some(rest.len() >= length);
    }
    // X.690 §8.1.3.5: the number of bytes that hold the length.
    let digits = length & 0x7f;
    if !(1..=4).contains(&digits) {
        return None;
    }
    let Some((digits, content)) = rest.split_at_checked(digits) else {
        return Some(false);
    };
    let length = digits
        .iter()
        .fold(0, |length: u64, digit| length << 8 | u64::from(*digit));
    Some(content.len() as u64 >= length)
}

/// The blocks of a PEM file, or the one value of a DER file. A file that is neither has none.
pub(crate) fn sections(bytes: &[u8]) -> Result<Vec<Section>, PemError> {
    if let Some(form) = Form::of(bytes) {
        return Err(PemError::Form(form));
    }
    if is_der(bytes) {
        return Ok(vec![der_section(bytes)]);
    }
    let text = text(bytes);
    blocks(as_str(&text))?
        .into_iter()
        .map(|block| pem_section(&block))
        .collect()
}

/// Whether a file is DER: every object is a sequence, whose tag is a `0` in ASCII. No text goes on
/// as the length does.
pub(crate) fn is_der(bytes: &[u8]) -> bool {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    bytes.first() == Some(&0x30) && !bytes.iter().take(8).all(is_text)
}

/// The bytes as text: those that are not ASCII, which only comments have, replaced.
pub(crate) fn text(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        // One stands at the beginning of each file of which this one was made.
        if let Some(after) = rest.strip_prefix(BOM) {
            rest = after;
            continue;
        }
        text.push(if byte.is_ascii() { byte } else { b'?' });
        rest = after;
    }
    text
}

/// The string that [`text`] has made.
pub(crate) fn as_str(text: &[u8]) -> &str {
    str::from_utf8(text).unwrap_or_default()
}

/// The inside of a block.
pub(crate) fn decode(block: &Block<'_>) -> Result<Vec<u8>, PemError> {
    base64::decode(block.body.as_bytes()).ok_or_else(|| {
        let is_base64 = |byte: u8| {
            byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=".contains(&byte)
        };
        let end = block.body.trim_ascii_end();
        let found = end
            .bytes()
            .position(|byte| !is_base64(byte))
            .unwrap_or(end.len());
        let line = block.body_line + blocks::line_ends(&block.body[..found]);
        PemError::Base64 {
            line,
            newlines: false,
        }
    })
}

fn base64_hint(newlines: bool) -> &'static str {
    if newlines {
        ": there is `\\n` in place of line ends, as in JSON; write them with `printf '%b' \"$(cat FILE)\" > NEW`"
    } else {
        "; the block is damaged"
    }
}

fn pem_section(block: &Block<'_>) -> Result<Section, PemError> {
    let decode = || decode(block);
    let key = |key: PrivateKeyDer<'static>| Section::Key(Zeroizing::new(key));
    Ok(match block.label {
        "CERTIFICATE" => Section::Certificate(decode()?.into()),
        "ENCRYPTED PRIVATE KEY" => Section::EncryptedKey,
        // RFC 1421 §4.6.1.1, as OpenSSL writes it before the base64 of a traditional key.
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" if block.body.contains("Proc-Type: 4,ENCRYPTED") => {
            Section::EncryptedKey
        }
        "PRIVATE KEY" => key(PrivateKeyDer::Pkcs8(decode()?.into())),
        "RSA PRIVATE KEY" => key(PrivateKeyDer::Pkcs1(decode()?.into())),
        "EC PRIVATE KEY" => key(PrivateKeyDer::Sec1(decode()?.into())),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Section::Foreign(Foreign::Request),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Section::Foreign(Foreign::PublicKey),
        "X509 CRL" => Section::RevocationList(decode()?.into()),
        "EC PARAMETERS" | "DH PARAMETERS" | "X9.42 DH PARAMETERS" => Section::Beside,
        label => return Err(PemError::Label(block.line, label.to_owned())),
    })
}

/// The kind of a DER value, by its first bytes; that it parses is for the caller to see.
fn der_section(bytes: &[u8]) -> Section {
    /// PBES2 (RFC 8018 §A.4), with which every encrypted PKCS#8 key of our days begins.
    const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
    /// PKCS#12's own schemes (RFC 7292 §C), of older keys.
    const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
    /// The version of a PKCS#12 store (RFC 7292 §4).
    const VERSION_3: &[u8] = &[0x02, 0x01, 0x03];
    /// id-signedData (RFC 5652 §5.1).
    const SIGNED_DATA: &[u8] = &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02,
    ];

    let head = &bytes[..bytes.len().min(32)];
    // Behind the tag and a length of one to five bytes.
    let begins =
        |with: &[u8]| (2..=6).any(|at| head.get(at..).is_some_and(|head| head.starts_with(with)));
    let holds = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
    if begins(VERSION_3) {
        Section::Foreign(Foreign::Pkcs12)
    } else if begins(SIGNED_DATA) {
        Section::Foreign(Foreign::Pkcs7)
    } else if let Ok(key) = PrivateKeyDer::try_from(bytes) {
        Section::Key(Zeroizing::new(key.clone_key()))
    } else if holds(PBES2) || holds(PKCS12_PBE) {
        Section::EncryptedKey
    } else {
        Section::Certificate(bytes.to_vec().into())
    }
}

/// The kind of a DER value that holds no certificate, key or list by itself.
pub(crate) fn foreign_der(bytes: &[u8]) -> Option<Foreign> {
    match der_section(bytes) {
        Section::Foreign(foreign) => Some(foreign),
        _ => None,
    }
}

fn hint(label: &str) -> &'static str {
    match label {
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
            ", which OpenSSL alone reads; convert it with `openssl x509 -in FILE -out FILE.pem`"
        }
        "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA" => {
            "; convert it with `openssl pkcs7 -in FILE -print_certs -out FILE.pem`"
        }
        "OPENSSH PRIVATE KEY" => "; convert it with `ssh-keygen -p -m PEM -f FILE`",
        "DSA PRIVATE KEY" | "DSA PARAMETERS" => ", and TLS 1.3 has no DSA; make an ECDSA key",
        "CERTIFICATE CHAIN" | "CERTIFICATES" => "; the label of each certificate is CERTIFICATE",
        "CRL" | "X.509 CRL" | "CERTIFICATE REVOCATION LIST" => {
            "; the label of a revocation list is X509 CRL"
        }
        "AGE ENCRYPTED FILE" => "; decrypt it with `age -d FILE > NEW`",
        label if label.starts_with("PGP ") => {
            ", which is OpenPGP's; decrypt it with `gpg -d FILE > NEW`"
        }
        _ => ", which is neither a certificate, a private key nor a revocation list",
    }
}
