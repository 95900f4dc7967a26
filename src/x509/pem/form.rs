//! Files that are neither PEM nor DER, and are known by how they begin: what they are, and what to
//! do with them.

use thiserror::Error;

/// A form in which certificates, keys and lists are often found, and in which no program here reads
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Form {
    /// Nothing, or nothing but white space.
    #[error("the file is empty")]
    Empty,
    /// Zeros, as a file system leaves them after a power failure.
    #[error("the file holds nothing but zero bytes; its content was lost: write it again")]
    Zeros,
    /// UTF-16 with a byte order mark.
    #[error(
        "the file is UTF-16, as PowerShell writes it; convert it with `iconv -f UTF-16 -t UTF-8 FILE > NEW`"
    )]
    Utf16,
    /// UTF-16, low bytes first, without a byte order mark.
    #[error(
        "the file is UTF-16 (little-endian, without a mark); convert it with `iconv -f UTF-16LE -t UTF-8 FILE > NEW`"
    )]
    Utf16Le,
    /// UTF-16, high bytes first, without a byte order mark.
    #[error(
        "the file is UTF-16 (big-endian, without a mark); convert it with `iconv -f UTF-16BE -t UTF-8 FILE > NEW`"
    )]
    Utf16Be,
    /// UTF-32.
    #[error("the file is UTF-32; convert it with `iconv -f UTF-32 -t UTF-8 FILE > NEW`")]
    Utf32,
    /// A page that a web server answers in place of a file.
    #[error(
        "the file is an HTML or XML page, as a download that failed leaves it; look into it and fetch it again"
    )]
    Page,
    /// A placeholder of Git LFS.
    #[error("the file is a pointer of Git LFS; fetch its content with `git lfs pull`")]
    LfsPointer,
    /// base64 around a whole PEM file, as secrets of Kubernetes hold it.
    #[error(
        "the file is base64 of a PEM file, as in a Kubernetes secret; decode it with `base64 -d FILE > NEW`"
    )]
    EncodedPem,
    /// base64 of DER, and no marks around it.
    #[error(
        "the file is base64 without the BEGIN and END lines of PEM; decode it with `base64 -d FILE > NEW`, which leaves DER"
    )]
    BareBase64,
    /// A store of Java.
    #[error(
        "the file is a Java keystore; convert it with `keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 \
         -deststoretype pkcs12` and then `openssl pkcs12 -in NEW.p12 -nodes -out NEW.pem`"
    )]
    JavaKeystore,
    /// gzip.
    #[error("the file is compressed; unpack it with `gunzip`")]
    Gzip,
    /// ZIP.
    #[error("the file is a ZIP archive; unpack it with `unzip`")]
    Zip,
    /// A secret that is still encrypted.
    #[error("the file is encrypted by Ansible Vault; decrypt it with `ansible-vault decrypt FILE`")]
    AnsibleVault,
    /// A secret that is still encrypted.
    #[error("the file is encrypted by age; decrypt it with `age -d FILE > NEW`")]
    Age,
    /// An SSH public key.
    #[error("the file is a public key of SSH")]
    SshPublicKey,
    /// JSON, such as the answer of an API or a JWK.
    #[error("the file is JSON; what belongs here is PEM or DER")]
    Json,
}

impl Form {
    /// The form of a whole file, where it is one of these.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.trim_ascii().is_empty() {
            return Some(Self::Empty);
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Self::Zeros);
        }
        if let Some((_, form)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Some(*form);
        }
        if let Some(form) = without_mark(bytes) {
            return Some(form);
        }
        let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
        if let Some((_, form)) = WORDS.iter().find(|(word, _)| text.starts_with(word)) {
            return Some(*form);
        }
        let is_base64 = |byte: &u8| {
            byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=".contains(byte)
        };
        (text.starts_with(b"MI") && text.len() > 64 && text.iter().all(is_base64))
            .then_some(Self::BareBase64)
    }
}

impl Form {
    /// Whether it is text of two or four bytes to a character.
    #[must_use]
    pub fn is_wide(self) -> bool {
        matches!(
            self,
            Self::Utf16 | Self::Utf16Le | Self::Utf16Be | Self::Utf32
        )
    }
}

/// The byte order mark of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The longer ones first: the mark of UTF-32 begins with that of UTF-16.
const MAGIC: [(&[u8], Form); 7] = [
    (b"\xff\xfe\0\0", Form::Utf32),
    (b"\0\0\xfe\xff", Form::Utf32),
    (b"\xff\xfe", Form::Utf16),
    (b"\xfe\xff", Form::Utf16),
    (b"\xfe\xed\xfe\xed", Form::JavaKeystore),
    (b"\x1f\x8b", Form::Gzip),
    (b"PK\x03\x04", Form::Zip),
];

const WORDS: [(&[u8], Form); 9] = [
    (b"<", Form::Page),
    (b"version https://git-lfs.github.com/", Form::LfsPointer),
    (b"$ANSIBLE_VAULT;", Form::AnsibleVault),
    (b"age-encryption.org/", Form::Age),
    // base64 of `-----BEGIN `.
    (b"LS0tLS1CRUdJTi", Form::EncodedPem),
    (b"ssh-", Form::SshPublicKey),
    (b"ecdsa-sha2-", Form::SshPublicKey),
    (b"{", Form::Json),
    (b"[{", Form::Json),
];

/// Text of ASCII characters in UTF-16 has a zero in every pair of bytes, always on the same side.
fn without_mark(bytes: &[u8]) -> Option<Form> {
    let head = &bytes[..bytes.len().min(64) & !1];
    let pairs = || head.chunks_exact(2);
    let is_text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if head.len() < 8 {
        None
    } else if pairs().all(|pair| pair[1] == 0 && is_text(pair[0])) {
        Some(Form::Utf16Le)
    } else if pairs().all(|pair| pair[0] == 0 && is_text(pair[1])) {
        Some(Form::Utf16Be)
    } else {
        None
    }
}
