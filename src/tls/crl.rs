//! Certificate revocation lists (RFC 5280 §5): which of them count, and for how long.
//!
//! A list is signed by the authority whose certificates it names, and verification checks that signature each time. What
//! is decided here is which list is asked: of several for the same certificates only the newest, because an older one
//! does not know the latest revocations, and whoever asks a pile of lists in its order may meet the old one first.

use std::time::SystemTime;

use rustls::pki_types::CertificateRevocationListDer;
use webpki::BorrowedCertRevocationList;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension};

use crate::tls::algorithms;
use crate::tls::ca::CaCertificate;
use crate::tls::certificate::system_time;
use crate::tls::identity::distinguished_name;
use crate::tls::pem::{self, CrlFileError};

/// How certificates are checked against revocation lists.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// The lists. Without any nothing is checked.
    pub lists: Vec<Crl>,
    /// Which certificates of a client's chain are checked.
    pub depth: Depth,
    /// What a certificate is that no list speaks of.
    pub unknown: Unknown,
    /// What a list is after its next update was due.
    pub expired: Expired,
}

impl Revocation {
    /// Of several lists for the same certificates the newest, and of those of one second the one with the higher number
    /// (RFC 5280 §5.2.3).
    #[must_use]
    pub fn newest(&self) -> Vec<&Crl> {
        let mut newest: Vec<&Crl> = Vec::new();
        for list in &self.lists {
            match newest.iter_mut().find(|other| other.scope == list.scope) {
                Some(other) if other.age() < list.age() => *other = list,
                Some(_) => {}
                None => newest.push(list),
            }
        }
        newest
    }

    /// Whether there is a list of what `authority` issues.
    #[must_use]
    pub fn covers(&self, authority: &CaCertificate) -> bool {
        self.lists.iter().any(|list| list.scope.issuer == authority.name())
    }

    /// The newest lists, as the verifier takes them: it asks the first that is about a certificate, and takes several for
    /// that which differ in scope here. An issuer's key identifier, say, may stand in some of its lists only.
    pub(super) fn ders(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> {
        let mut newest = self.newest();
        newest.sort_by(|one, other| other.age().cmp(&one.age()));
        newest.into_iter().map(|list| list.der.clone())
    }
}

/// Which certificates of a chain have to be on no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// The client's own.
    #[default]
    Leaf,
    /// The client's own and every intermediate; trust anchors are believed by themselves.
    Chain,
}

/// What becomes of a certificate of whose issuer there is no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is refused.
    #[default]
    Deny,
    /// It passes for one that is not revoked.
    Allow,
}

/// What becomes of a certificate whose issuer's list should have been replaced by a newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expired {
    /// It is refused: it may have been revoked since.
    #[default]
    Deny,
    /// The list counts as if it were current.
    Allow,
}

/// A certificate revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    der: CertificateRevocationListDer<'static>,
    scope: Scope,
    issuer: String,
    this_update: SystemTime,
    /// As an unsigned integer without leading zeros; nothing where it has none.
    number: Vec<u8>,
    next_update: Option<SystemTime>,
    revoked: usize,
}

/// For which certificates a list speaks: those of one issuer with one key, and of one distribution point.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    issuer: Vec<u8>,
    key: Option<Vec<u8>>,
    point: Option<Vec<u8>>,
}

impl Crl {
    /// Every list of a file: PEM with any number of them, or one in DER.
    ///
    /// # Errors
    ///
    /// When there is none, or when one of them cannot be used: a delta list (RFC 5280 §5.2.4), say.
    pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<Self>, CrlFileError> {
        let lists = pem::revocation_lists(bytes)?;
        let total = lists.len();
        let read = |(position, der)| {
            Self::read(der).map_err(|reason| CrlFileError::List { number: position + 1, total, reason })
        };
        lists.into_iter().enumerate().map(read).collect()
    }

    /// Whose certificates it is about, in the manner of RFC 4514, on one line and fit for a log.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether it has the signature of one of `authorities` that have its issuer's name. Nothing where none of them has:
    /// an authority below them may have issued it.
    #[must_use]
    pub fn is_signed_by(&self, authorities: &[CaCertificate]) -> Option<bool> {
        let mut named = authorities.iter().filter(|authority| self.scope.issuer == authority.name()).peekable();
        named.peek()?;
        let Ok((_, list)) = CertificateRevocationList::from_der(&self.der) else { return Some(false) };
        let (message, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
        let verifies =
            |key: &[u8]| algorithms().all.iter().any(|by| by.verify_signature(key, message, signature).is_ok());
        Some(named.any(|authority| verifies(authority.public_key())))
    }

    /// When it was issued.
    #[must_use]
    pub fn this_update(&self) -> SystemTime {
        self.this_update
    }

    /// When the next one is due at the latest, if it says so.
    #[must_use]
    pub fn next_update(&self) -> Option<SystemTime> {
        self.next_update
    }

    /// How many certificates are on it.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.revoked
    }

    /// Grows from list to list.
    fn age(&self) -> impl Ord + use<'_> {
        (self.this_update, self.number.len(), &self.number)
    }

    fn read(der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        // The verifier's own parser has the last word on what it will be able to use.
        BorrowedCertRevocationList::from_der(&der).map_err(|error| reason(&error))?;
        let (rest, list) = CertificateRevocationList::from_der(&der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow it", rest.len()));
        }
        let key = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        });
        let point = list.extensions().iter().find(|extension| extension.oid.to_id_string() == DISTRIBUTION_POINT);
        Ok(Self {
            scope: Scope {
                issuer: list.issuer().as_raw().to_vec(),
                key,
                point: point.map(|extension| extension.value.to_vec()),
            },
            issuer: distinguished_name(list.issuer()),
            number: list.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
            this_update: system_time(list.last_update()),
            next_update: list.next_update().map(system_time),
            revoked: list.iter_revoked_certificates().count(),
            der,
        })
    }
}

fn reason(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedDeltaCrl => "it is a delta list; give the complete one".to_owned(),
        webpki::Error::UnsupportedIndirectCrl => {
            "it is an indirect list, about certificates of other issuers".to_owned()
        }
        webpki::Error::UnsupportedRevocationReasonsPartitioning => {
            "it is about some reasons only; give one for all reasons".to_owned()
        }
        webpki::Error::UnsupportedCrlVersion => "it is a list of version 1; issue it with extensions (v2)".to_owned(),
        error => error.to_string(),
    }
}

/// id-ce-issuingDistributionPoint (RFC 5280 §5.2.5).
const DISTRIBUTION_POINT: &str = "2.5.29.28";
