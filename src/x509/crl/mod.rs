//! Certificate revocation lists (RFC 5280 §5): which of them count, and for how long.
//!
//! A list speaks for an authority if it has its name and its key has signed it: several authorities
//! may have one name, and each asks its own lists. Of several for the same certificates only the
//! newest counts, because an older one does not know the latest revocations.

mod lists;
mod read;
mod scope;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateRevocationListDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::x509::ca::CaCertificate;
use crate::x509::crl::read::Contents;
use crate::x509::der::significant;
use crate::x509::dname::same_name;
use crate::x509::pem::{self, CrlFileError};
use crate::x509::signed::{SignatureFault, Signed};
use crate::x509::time::CLOCK_SKEW;

pub(crate) use lists::{IssuerKey, ListAnswer, RevocationLists};

/// How certificates are checked against revocation lists.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// The lists. Without any nothing is checked.
    pub lists: Vec<Crl>,
    /// The certificates of a client's chain that are checked.
    pub depth: Depth,
    /// The verdict on a certificate that no list speaks of.
    pub unknown: Unknown,
    /// How a list counts after its next update was due.
    pub expired: Expired,
}

impl Revocation {
    /// The lists that are asked at the time `now`: of several of one of `authorities` and of the
    /// same certificates the newest one that has begun, and beside it those from the future.
    #[must_use]
    pub fn counting(&self, authorities: &[CaCertificate], now: SystemTime) -> Vec<&Crl> {
        let signer = |list: &Crl| match list.speaks_for(authorities) {
            Ok(found) => found.first().map(|authority| authority.spki().to_vec()),
            Err(_) => list.signed.contents.key_id.clone(),
        };
        let mut newest: Vec<(Option<Vec<u8>>, &Crl)> = Vec::new();
        let (begun, early): (Vec<&Crl>, Vec<&Crl>) = self
            .lists
            .iter()
            .partition(|list| list.this_update() <= now);
        for list in begun {
            let signer = signer(list);
            let same = |(other, known): &(Option<Vec<u8>>, &Crl)| {
                *other == signer
                    && known.has_same_scope(list)
                    && known.is_named(&list.signed.contents.issuer_name)
            };
            match newest.iter().position(same) {
                Some(at) if newest[at].1.age() < list.age() => newest[at].1 = list,
                Some(_) => {}
                None => newest.push((signer, list)),
            }
        }
        newest
            .into_iter()
            .map(|(_, list)| list)
            .chain(early)
            .collect()
    }

    /// Those of `authorities` that have a list of everything that they have issued to others than
    /// authorities.
    #[must_use]
    pub fn covered<'a>(&self, authorities: &'a [CaCertificate]) -> Vec<&'a CaCertificate> {
        let whole = self.lists.iter().filter(|list| list.is_whole());
        whole
            .flat_map(|list| list.speaks_for(authorities).unwrap_or_default())
            .collect()
    }
}

/// The certificates of a chain that are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// The client's own.
    #[default]
    Leaf,
    /// The client's own and every intermediate.
    Chain,
}

/// The verdict on a certificate of whose issuer there is no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is refused.
    #[default]
    Deny,
    /// It passes for one that is not revoked.
    Allow,
}

/// The verdict on a certificate whose issuer's list should have been replaced by a newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expired {
    /// It is refused: it may have been revoked since.
    #[default]
    Deny,
    /// The list counts as if it were current.
    Allow,
}

/// A certificate revocation list. Clones share it.
#[derive(Clone)]
pub struct Crl {
    signed: Arc<ListContent>,
    /// The serial numbers that are not on it and were on those before it: sorted, without leading
    /// zeros. They have not been off it for long enough.
    before: Arc<[Box<[u8]>]>,
}

struct ListContent {
    der: CertificateRevocationListDer<'static>,
    this_update: SystemTime,
    next_update: SystemTime,
    contents: Contents,
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
            Self::read(der).map_err(|reason| CrlFileError::List {
                number: position + 1,
                total,
                reason,
            })
        };
        lists.into_iter().enumerate().map(read).collect()
    }

    /// The issuer whose certificates it is about, in the manner of RFC 4514, on one line and fit
    /// for a log.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.signed.contents.issuer
    }

    /// The CAs among `authorities` that it speaks for, by name and signature, or why it speaks for
    /// none.
    ///
    /// # Errors
    ///
    /// Why it speaks for none of them: in words, for the operator who fetched it.
    pub fn speaks_for<'a>(
        &self,
        authorities: &'a [CaCertificate],
    ) -> Result<Vec<&'a CaCertificate>, NotSpoken> {
        let named: Vec<_> = authorities
            .iter()
            .filter(|authority| self.is_named(authority.name()))
            .collect();
        let signature = |authority: &&&CaCertificate| self.signature(authority.spki()).is_ok();
        let signers: Vec<_> = named.iter().filter(signature).copied().collect();
        if !signers.is_empty() {
            return Ok(signers);
        }
        Err(
            match named
                .first()
                .map(|authority| self.signature(authority.spki()))
            {
                Some(Err(SignatureFault::Key(key))) => NotSpoken::Key(key),
                Some(Err(SignatureFault::Kind(kind))) => NotSpoken::Signature(kind),
                Some(_) => NotSpoken::OtherKey,
                None if authorities
                    .iter()
                    .any(|authority| self.is_by_id(authority.key_id())) =>
                {
                    NotSpoken::OtherName
                }
                None => NotSpoken::Stranger,
            },
        )
    }

    /// Whether it is about everything but authorities that its issuer has issued.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.signed.contents.scope.is_whole()
    }

    /// When it was issued.
    #[must_use]
    pub fn this_update(&self) -> SystemTime {
        self.signed.this_update
    }

    /// When the next one is due at the latest.
    #[must_use]
    pub fn next_update(&self) -> SystemTime {
        self.signed.next_update
    }

    /// Whether it is from the future at the time `now`, by more than clocks differ.
    #[must_use]
    pub fn is_early(&self, now: SystemTime) -> bool {
        self.this_update() > now + CLOCK_SKEW
    }

    /// How many certificates it revokes.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.signed.contents.serials.len() + self.before.len()
    }

    /// The same list, by which whatever any of `before` revokes is revoked as well.
    #[must_use]
    pub fn with_those_of<'a>(&self, before: impl IntoIterator<Item = &'a Self>) -> Self {
        let own = Self {
            signed: Arc::clone(&self.signed),
            before: Arc::default(),
        };
        let serials = before
            .into_iter()
            .flat_map(Self::serials)
            .filter(|serial| !own.revokes(serial));
        let serials: BTreeSet<Box<[u8]>> = serials.map(Box::from).collect();
        Self {
            before: serials.into_iter().collect(),
            ..own
        }
    }

    /// Whether it has the signature of the key in `spki`, a SubjectPublicKeyInfo without its
    /// SEQUENCE.
    pub(crate) fn signature(&self, spki: &[u8]) -> Result<(), SignatureFault> {
        Signed::parse(&self.signed.der)
            .ok_or(SignatureFault::Wrong)?
            .verify(spki)
    }

    /// Whether `name`, a subject with its SEQUENCE, is that of its issuer.
    pub(crate) fn is_named(&self, name: &[u8]) -> bool {
        same_name(&self.signed.contents.issuer_name, name)
    }

    /// Whether it says that the key of its issuer has this identifier.
    fn is_by_id(&self, id: Option<&[u8]>) -> bool {
        id.is_some() && self.signed.contents.key_id.as_deref() == id
    }

    /// Whether `other` of the same issuer was issued later.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.age() < other.age()
    }

    /// Whether it takes the place of `other` in any case: both say that one key has signed them,
    /// and it is no older.
    #[must_use]
    pub fn succeeds(&self, other: &Self) -> bool {
        self.signed.contents.key_id.is_some()
            && self.signed.contents.key_id == other.signed.contents.key_id
            && self.is_edition_of(other)
            && !self.is_older_than(other)
    }

    /// Whether every certificate that is on it is on one of `others`.
    #[must_use]
    pub fn is_within(&self, others: &[&Self]) -> bool {
        self.serials()
            .all(|serial| others.iter().any(|other| other.revokes(serial)))
    }

    /// Whether both are editions of one list: by one issuer, by one key of it where both say which,
    /// and about the same certificates (RFC 5280 §5.2.5). No other list takes the place of one that
    /// is lost.
    #[must_use]
    pub fn is_edition_of(&self, other: &Self) -> bool {
        self.has_same_issuer(other) && self.has_same_scope(other)
    }

    /// Whether both are about the same certificates of their issuers.
    pub(crate) fn has_same_scope(&self, other: &Self) -> bool {
        self.signed.contents.scope == other.signed.contents.scope
    }

    fn has_same_issuer(&self, other: &Self) -> bool {
        let keys = (&self.signed.contents.key_id, &other.signed.contents.key_id);
        let is_same_key = matches!(keys, (Some(one), Some(other)) if one == other)
            || keys.0.is_none()
            || keys.1.is_none();
        is_same_key && self.is_named(&other.signed.contents.issuer_name)
    }

    /// The serial numbers that it revokes.
    pub(crate) fn serials(&self) -> impl Iterator<Item = &[u8]> {
        let own = self
            .signed
            .contents
            .serials
            .iter()
            .map(|place| read::at(&self.signed.der, place));
        own.chain(self.before.iter().map(AsRef::as_ref))
    }

    /// Whether it revokes the certificate with this serial number.
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        let (ListContent { der, contents, .. }, serial) = (&*self.signed, significant(serial));
        contents
            .serials
            .binary_search_by(|place| read::at(der, place).cmp(serial))
            .is_ok()
            || self
                .before
                .binary_search_by(|before| (**before).cmp(serial))
                .is_ok()
    }

    /// Grows from list to list: by its date, and of those of one second by its number (RFC 5280
    /// §5.2.3).
    pub(crate) fn age(&self) -> impl Ord + use<'_> {
        (
            self.signed.this_update,
            self.signed.contents.number.len(),
            &self.signed.contents.number,
        )
    }

    /// The list `der`, or, in words, why it cannot be used.
    pub(crate) fn read(der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        let contents = read::read(&der)?;
        let (this_update, next_update) = contents.dates;
        let signed = Arc::new(ListContent {
            der,
            this_update,
            next_update,
            contents,
        });
        Ok(Self {
            signed,
            before: Arc::default(),
        })
    }
}

impl PartialEq for Crl {
    fn eq(&self, other: &Self) -> bool {
        self.signed.der == other.signed.der && self.before == other.before
    }
}

impl Eq for Crl {}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl")
            .field("issuer", &self.issuer())
            .field("revoked", &self.revoked())
            .finish_non_exhaustive()
    }
}

/// Why a list speaks for none of some authorities.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotSpoken {
    /// None of them has the name of its issuer, or its key.
    #[error("none of ca_files has this name and the key that signed it")]
    Stranger,
    /// One of them has the key of its issuer, and another name.
    #[error("the CA whose key it names has another subject than the list says")]
    OtherName,
    /// Those that have the name of its issuer have other keys.
    #[error("it is not signed by the CA of that name")]
    OtherKey,
    /// The authority of its issuer's name has a key whose signatures are not verified.
    #[error("the CA of that name has {0}, and no signature of such a key is verified")]
    Key(String),
    /// It is signed in a way that is not verified.
    #[error("its signature is not verified: it is {0}")]
    Signature(String),
}
