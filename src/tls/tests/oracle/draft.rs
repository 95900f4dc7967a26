//! Certificates and lists as they are written, field by field: also such as no library would make.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{KeyPair, PublicKeyData, SigningKey};

use crate::x509::base64;

/// The tags of DER, under the names of their types.
pub(super) const BOOL: u8 = 0x01;
pub(super) const INT: u8 = 0x02;
pub(super) const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8: u8 = 0x0c;
pub(super) const PRINTABLE: u8 = 0x13;
pub(super) const TELETEX: u8 = 0x14;
pub(super) const IA5: u8 = 0x16;
pub(super) const UTC: u8 = 0x17;
pub(super) const GENERALIZED: u8 = 0x18;
pub(super) const BMP: u8 = 0x1e;
pub(super) const SEQ: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// One value, whose content is `parts`.
pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length: &[u8] = match length {
        [0, short] if short < 0x80 => &[short],
        [0, byte] => &[0x81, byte],
        [high, low] => &[0x82, high, low],
    };
    [&[tag], length, &content].concat()
}

/// An identifier from its dots.
pub(super) fn oid(dots: &str) -> Vec<u8> {
    let numbers: Vec<u64> = dots
        .split('.')
        .map(|number| number.parse().unwrap())
        .collect();
    let mut content = Vec::new();
    for number in [40 * numbers[0] + numbers[1]].iter().chain(&numbers[2..]) {
        let groups = (0..10)
            .rev()
            .map(|at| (number >> (7 * at)) as u8 & 0x7f)
            .skip_while(|group| *group == 0);
        let mut groups: Vec<u8> = groups.collect();
        if groups.is_empty() {
            groups.push(0);
        }
        let last = groups.len() - 1;
        groups[..last].iter_mut().for_each(|group| *group |= 0x80);
        content.extend(groups);
    }
    der(OID, &[&content])
}

/// A name of one common name in this type of string.
pub(super) fn name(tag: u8, text: &str) -> Vec<u8> {
    let text: Vec<u8> = if tag == BMP {
        text.encode_utf16().flat_map(u16::to_be_bytes).collect()
    } else {
        text.into()
    };
    of_attribute("2.5.4.3", &der(tag, &[&text]))
}

/// A name of one attribute.
pub(super) fn of_attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    der(SEQ, &[&der(SET, &[&der(SEQ, &[&oid(kind), value])])])
}

/// A date, as it is written.
pub(super) fn date(text: &str) -> Vec<u8> {
    der(
        if text.len() == 13 { UTC } else { GENERALIZED },
        &[text.as_bytes()],
    )
}

#[derive(Clone)]
pub(super) struct Extension {
    pub(super) oid: &'static str,
    pub(super) critical: bool,
    pub(super) value: Vec<u8>,
}

impl Extension {
    fn der(&self) -> Vec<u8> {
        let critical = if self.critical {
            der(BOOL, &[&[0xff]])
        } else {
            Vec::new()
        };
        der(
            SEQ,
            &[&oid(self.oid), &critical, &der(OCTETS, &[&self.value])],
        )
    }
}

/// A key, and how it signs.
pub(super) struct Signer {
    /// The SubjectPublicKeyInfo.
    spki: Vec<u8>,
    /// The algorithm of its signatures.
    algorithm: Vec<u8>,
    kind: Kind,
}

enum Kind {
    P256(KeyPair),
    /// A private key in PEM, and how `openssl pkeyutl` signs with it.
    OpenSsl(String, &'static str),
}

impl Signer {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let algorithm = der(SEQ, &[&oid("1.2.840.10045.4.3.2")]);
        Self {
            spki: key.subject_public_key_info(),
            algorithm,
            kind: Kind::P256(key),
        }
    }

    /// A key that `openssl genpkey` makes with these options, and what `openssl pkeyutl` needs to
    /// sign with it.
    pub(super) fn by_openssl(generate: &str, algorithm: Vec<u8>, sign: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        openssl(dir.path(), &format!("genpkey {generate} -out key"));
        openssl(dir.path(), "pkey -in key -pubout -outform DER -out spki");
        let key = fs::read_to_string(dir.path().join("key")).unwrap();
        Self {
            spki: fs::read(dir.path().join("spki")).unwrap(),
            algorithm,
            kind: Kind::OpenSsl(key, sign),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let (key, options) = match &self.kind {
            Kind::P256(key) => return key.sign(message).unwrap(),
            Kind::OpenSsl(key, options) => (key, options),
        };
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), key).unwrap();
        fs::write(dir.path().join("message"), message).unwrap();
        openssl(
            dir.path(),
            &format!("pkeyutl -sign -rawin -inkey key -in message -out signature{options}"),
        );
        fs::read(dir.path().join("signature")).unwrap()
    }

    /// `content` with the algorithm and the signature behind it.
    fn signed(&self, content: &[u8]) -> Vec<u8> {
        der(
            SEQ,
            &[
                content,
                &self.algorithm,
                &der(BITS, &[&[0], &self.sign(content)]),
            ],
        )
    }
}

/// A certificate to be.
#[derive(Clone)]
pub(super) struct Draft {
    /// Nothing where it is not written: version 1.
    pub(super) version: Option<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) extensions: Vec<Extension>,
}

impl Draft {
    pub(super) fn new(issuer: &str, subject: &str, serial: u8) -> Self {
        Self {
            version: Some(2),
            serial: vec![serial],
            issuer: name(UTF8, issuer),
            subject: name(UTF8, subject),
            from: "200101000000Z",
            to: "20990101000000Z",
            extensions: Vec::new(),
        }
    }

    /// Puts an extension in the place of one of its kind, or at the end.
    pub(super) fn set(&mut self, oid: &'static str, critical: bool, value: Vec<u8>) {
        self.extensions.retain(|known| known.oid != oid);
        self.extensions.push(Extension {
            oid,
            critical,
            value,
        });
    }

    pub(super) fn without(&mut self, oid: &str) {
        self.extensions.retain(|known| known.oid != oid);
    }

    /// The certificate of `key`, signed by `signer`.
    pub(super) fn sign(&self, key: &Signer, signer: &Signer) -> Vec<u8> {
        let version = self
            .version
            .map_or_else(Vec::new, |version| der(0xa0, &[&der(INT, &[&[version]])]));
        let extensions: Vec<u8> = self.extensions.iter().flat_map(Extension::der).collect();
        let extensions = if extensions.is_empty() {
            extensions
        } else {
            der(0xa3, &[&der(SEQ, &[&extensions])])
        };
        let content = der(
            SEQ,
            &[
                &version,
                &der(INT, &[&self.serial]),
                &signer.algorithm,
                &self.issuer,
                &der(SEQ, &[&date(self.from), &date(self.to)]),
                &self.subject,
                &key.spki,
                &extensions,
            ],
        );
        signer.signed(&content)
    }
}

/// A revocation list to be.
#[derive(Clone)]
pub(super) struct ListDraft {
    pub(super) version: Option<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) this: &'static str,
    pub(super) next: Option<&'static str>,
    /// The serial number of each entry, and its extensions.
    pub(super) entries: Vec<(Vec<u8>, Vec<Extension>)>,
    pub(super) extensions: Vec<Extension>,
}

impl ListDraft {
    pub(super) fn new(issuer: &str) -> Self {
        let number = Extension {
            oid: "2.5.29.20",
            critical: false,
            value: der(INT, &[&[1]]),
        };
        Self {
            version: Some(1),
            issuer: name(UTF8, issuer),
            this: "200101000000Z",
            next: Some("20990101000000Z"),
            entries: vec![(vec![77], Vec::new())],
            extensions: vec![number],
        }
    }

    pub(super) fn add(&mut self, oid: &'static str, critical: bool, value: Vec<u8>) {
        self.extensions.push(Extension {
            oid,
            critical,
            value,
        });
    }

    pub(super) fn sign(&self, signer: &Signer) -> Vec<u8> {
        let version = self
            .version
            .map_or_else(Vec::new, |version| der(INT, &[&[version]]));
        let entry = |(serial, extensions): &(Vec<u8>, Vec<Extension>)| {
            let extensions: Vec<u8> = extensions.iter().flat_map(Extension::der).collect();
            let extensions = if extensions.is_empty() {
                extensions
            } else {
                der(SEQ, &[&extensions])
            };
            der(SEQ, &[&der(INT, &[serial]), &date(self.this), &extensions])
        };
        let entries: Vec<u8> = self.entries.iter().flat_map(entry).collect();
        let entries = if entries.is_empty() {
            entries
        } else {
            der(SEQ, &[&entries])
        };
        let extensions: Vec<u8> = self.extensions.iter().flat_map(Extension::der).collect();
        let extensions = if extensions.is_empty() {
            extensions
        } else {
            der(0xa0, &[&der(SEQ, &[&extensions])])
        };
        let next = self.next.map_or_else(Vec::new, date);
        let content = [
            version,
            signer.algorithm.clone(),
            self.issuer.clone(),
            date(self.this),
            next,
            entries,
            extensions,
        ]
        .concat();
        signer.signed(&der(SEQ, &[&content]))
    }
}

/// Writes PEM files into `dir`.
pub(super) fn write(dir: &Path, file: &str, label: &str, ders: &[Vec<u8>]) {
    let text: String = ders
        .iter()
        .map(|der| base64::pem(label, der).to_string())
        .collect();
    fs::write(dir.join(file), text).unwrap();
}

/// Runs `openssl` with these arguments in `dir`.
fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(dir)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
