//! Defects of a certificate, whichever CA has issued it: its encoding, its dates as they are
//! written, its serial number and its extensions, which clients refuse (RFC 5280 §4).
//!
//! Parsers differ in what they take, and the one that reads the file takes most. A certificate that
//! it reads may be one that OpenSSL or rustls cannot even read.

use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::x509::{X509Name, X509Version};

use crate::authz::printable;
use crate::x509::der::{self, DerReader, Value};

/// Something in a certificate that clients refuse.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Defect {
    /// RFC 5280 §4.1.2.5: seconds are given, fractions and offsets are not.
    #[error("{}, so that clients refuse it; issue it anew", self.fault())]
    Date(String),
    /// A date that stands in the calendar of some clients only.
    #[error("{}, so that clients that use rustls refuse it; issue it anew", self.fault())]
    Before1970,
    /// RFC 5280 §4.1.2.2.
    #[error("{}, so that clients refuse it; issue it anew", self.fault())]
    Serial(String),
    /// RFC 5280 §4.1.2.2: positive, and of no more than 20 bytes.
    #[error("{}, so that some clients refuse it; issue it anew", self.fault())]
    OddSerial(&'static str),
    /// Text that is not in the encoding that it says.
    #[error("{}, so that clients refuse it; issue it anew", self.fault())]
    Name,
    /// RFC 5280 §4.2: no extension stands twice.
    #[error("{}, so that {}clients refuse it; issue it with one", self.fault(), if *.all { "" } else { "some " })]
    Twice {
        /// The name of the extension.
        name: String,
        /// Whether all clients do.
        all: bool,
    },
    /// The value of an extension is not what it has to be.
    #[error("{}, so that clients refuse it; issue it anew", self.fault())]
    Extension(String),
    /// RFC 5280 §4.2.1.3: one of the bits is set.
    #[error("{}, so that clients refuse it; issue it with digitalSignature", self.fault())]
    NoUsage,
    /// RFC 5280 §4.2: a client that does not know a critical extension refuses the certificate.
    #[error(
        "{}, which {} do not understand and refuse; issue it without that, or not critical",
        self.fault(),
        clients(*.all)
    )]
    Critical {
        /// The name of the extension.
        name: String,
        /// Whether all clients do.
        all: bool,
    },
    /// RFC 6962 §3.1.
    #[error(
        "{}, made for the logs of Certificate Transparency, and clients refuse it; use the certificate that the CA has issued \
         after it",
        self.fault()
    )]
    Precertificate,
    /// RFC 5480 §2.2 allows it.
    #[error("{}, which clients in Go refuse; issue it with the uncompressed one", self.fault())]
    Compressed,
}

fn clients(all: bool) -> &'static str {
    if all {
        "clients"
    } else {
        "clients that use rustls, among others,"
    }
}

impl Defect {
    /// The fault, without what comes of it: `has the extension keyUsage twice`.
    pub(crate) fn fault(&self) -> String {
        match self {
            Self::Date(date) => format!(
                "has the date `{date}`, which is none (RFC 5280 §4.1.2.5: `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`)"
            ),
            Self::Before1970 => "has a date before 1970".to_owned(),
            Self::Serial(digits) => format!("has a serial number that is none in DER ({digits})"),
            Self::OddSerial(how) => format!("has a serial number that is {how}"),
            Self::Name => "has a name that is not in the encoding that it claims".to_owned(),
            Self::Twice { name, .. } => format!("has the extension {name} twice"),
            Self::Extension(name) => format!("has the extension {name}, which cannot be read"),
            Self::NoUsage => "has a key usage that allows nothing".to_owned(),
            Self::Critical { name, .. } => format!("has the critical extension {name}"),
            Self::Precertificate => "is a precertificate".to_owned(),
            Self::Compressed => "has its EC key in the compressed form".to_owned(),
        }
    }

    /// Whether clients of every kind refuse the certificate.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Before1970 | Self::OddSerial(_) | Self::Compressed => false,
            Self::Twice { all, .. } | Self::Critical { all, .. } => *all,
            _ => true,
        }
    }
}

/// Extensions that are understood where they are critical: by every client, and by OpenSSL and few
/// others.
const UNDERSTOOD: [&str; 6] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.37",
];
const UNDERSTOOD_BY_SOME: [&str; 4] = ["2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54"];
/// RFC 6962 §3.1.
const POISON: &str = "1.3.6.1.4.1.11129.2.4.3";

/// Everything of the kind in one certificate.
pub(crate) fn defects(certificate: &X509Certificate<'_>) -> Vec<Defect> {
    let mut defects = Vec::new();
    defects.extend(bad_date(certificate.as_raw()).map(Defect::Date));
    let validity = certificate.validity();
    if defects.is_empty()
        && validity
            .not_before
            .timestamp()
            .min(validity.not_after.timestamp())
            < 0
    {
        defects.push(Defect::Before1970);
    }
    defects.extend(serial(certificate.raw_serial()));
    if [certificate.subject(), certificate.issuer()]
        .into_iter()
        .any(is_no_text)
    {
        defects.push(Defect::Name);
    }
    if certificate.version() == X509Version::V3 {
        extensions(certificate, &mut defects);
    }
    if matches!(
        certificate.public_key().subject_public_key.data.first(),
        Some(2 | 3)
    ) && certificate.public_key().algorithm.algorithm.to_id_string() == "1.2.840.10045.2.1"
    {
        defects.push(Defect::Compressed);
    }
    defects
}

pub(crate) fn serial(bytes: &[u8]) -> Option<Defect> {
    let is_padded = matches!(bytes, [0, next, ..] if *next < 0x80)
        || matches!(bytes, [0xff, next, ..] if *next >= 0x80);
    if bytes.is_empty() || is_padded {
        if bytes.is_empty() {
            return Some(Defect::Serial("empty".to_owned()));
        }
        let digits: String = bytes
            .iter()
            .take(24)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        return Some(Defect::Serial(digits));
    }
    if bytes[0] >= 0x80 {
        Some(Defect::OddSerial("negative"))
    } else if bytes.len() > 20 {
        Some(Defect::OddSerial("longer than 20 bytes"))
    } else {
        None
    }
}

/// Whether an attribute is not text in the encoding that its tag says.
fn is_no_text(name: &X509Name<'_>) -> bool {
    /// UTF8String, BMPString and UniversalString.
    const UTF8: u32 = 12;
    const BMP: u32 = 30;
    const UNIVERSAL: u32 = 28;
    name.iter_attributes().any(|attribute| {
        let value = attribute.attr_value();
        match value.tag().0 {
            UTF8 => str::from_utf8(value.data).is_err(),
            BMP => value.data.len() % 2 != 0,
            UNIVERSAL => value.data.len() % 4 != 0,
            _ => false,
        }
    })
}

fn extensions(certificate: &X509Certificate<'_>, defects: &mut Vec<Defect>) {
    let mut seen: Vec<String> = Vec::new();
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        let named = name(&oid);
        if seen.contains(&oid) {
            // That of the names is told by itself.
            let twice = Defect::Twice {
                all: UNDERSTOOD.contains(&&*oid),
                name: named,
            };
            if oid != "2.5.29.17" && !defects.contains(&twice) {
                defects.push(twice);
            }
            continue;
        }
        if extension.critical && oid == POISON {
            defects.push(Defect::Precertificate);
        } else if extension.critical && !UNDERSTOOD.contains(&&*oid) {
            defects.push(Defect::Critical {
                all: !UNDERSTOOD_BY_SOME.contains(&&*oid),
                name: named,
            });
        }
        seen.push(oid);
    }
    if matches!(certificate.key_usage(), Ok(Some(usage)) if usage.value.flags == 0) {
        defects.push(Defect::NoUsage);
    }
    // Their values are sequences, but for the bits of the usage.
    for (oid, tag) in [
        ("2.5.29.15", der::BIT_STRING),
        ("2.5.29.19", der::SEQUENCE),
        ("2.5.29.30", der::SEQUENCE),
        ("2.5.29.31", der::SEQUENCE),
        ("2.5.29.37", der::SEQUENCE),
    ] {
        let mut found = certificate
            .extensions()
            .iter()
            .filter(|extension| extension.oid.to_id_string() == oid);
        let is_unreadable = found.any(|extension| {
            der::only(extension.value, tag).is_none()
                || matches!(
                    extension.parsed_extension(),
                    ParsedExtension::ParseError { .. }
                )
        });
        if is_unreadable {
            defects.push(Defect::Extension(name(oid)));
        }
    }
}

/// The name of an extension in RFC 5280, as far as it is one of it.
pub(crate) fn name(oid: &str) -> String {
    let name = match oid {
        "2.5.29.14" => "subjectKeyIdentifier",
        "2.5.29.15" => "keyUsage",
        "2.5.29.17" => "subjectAltName",
        "2.5.29.19" => "basicConstraints",
        "2.5.29.30" => "nameConstraints",
        "2.5.29.31" => "cRLDistributionPoints",
        "2.5.29.32" => "certificatePolicies",
        "2.5.29.33" => "policyMappings",
        "2.5.29.35" => "authorityKeyIdentifier",
        "2.5.29.36" => "policyConstraints",
        "2.5.29.37" => "extendedKeyUsage",
        "2.5.29.54" => "inhibitAnyPolicy",
        oid => return oid.to_owned(),
    };
    name.to_owned()
}

/// A date of a certificate that is in no form of RFC 5280 §4.1.2.5, as it is written; also of a
/// certificate that cannot be parsed for it.
pub(crate) fn bad_date(certificate: &[u8]) -> Option<String> {
    let mut reader = DerReader(der::only(certificate, der::SEQUENCE)?);
    let mut inside = DerReader(reader.expect(der::SEQUENCE)?.content);
    // The version, in front of serial number, signature and issuer.
    inside.optional(0xa0);
    inside.expect(der::INTEGER)?;
    inside.expect(der::SEQUENCE)?;
    inside.expect(der::SEQUENCE)?;
    let mut validity = DerReader(inside.expect(der::SEQUENCE)?.content);
    let dates = [validity.next()?, validity.next()?];
    dates
        .iter()
        .find(|date| !is_date(date))
        .map(|date| printable(&String::from_utf8_lossy(date.content)))
}

fn is_date(date: &Value<'_>) -> bool {
    /// UTCTime and GeneralizedTime, and how many digits the year of each has.
    const FORMS: [(u8, usize); 2] = [(0x17, 2), (0x18, 4)];
    let Some((_, year)) = FORMS.iter().find(|(tag, _)| *tag == date.tag) else {
        return false;
    };
    let Some((b'Z', digits)) = date.content.split_last() else {
        return false;
    };
    if digits.len() != year + 10 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0_i16, |number, digit| number * 10 + i16::from(digit - b'0'))
    };
    let part = |at: usize| number(&digits[year + at..year + at + 2]);
    let year = match number(&digits[..*year]) {
        short if *year == 2 => short + if short < 50 { 2000 } else { 1900 },
        long => long,
    };
    // Each has two digits.
    let part = |at: usize| part(at) as i8;
    jiff::civil::DateTime::new(year, part(0), part(2), part(4), part(6), part(8), 0).is_ok()
}
