//! What clients are verified against, so that two configurations can be compared by it. The lists are shared with the
//! verifier that asks them.

use std::collections::BTreeMap;

use crate::tls::ca::CaCertificate;
use crate::tls::crl::{Crl, Revocation};
use crate::tls::identity::sha256;
use crate::tls::pinned::{Dates, Pins};

/// The authorities that are believed, and the revocation lists that are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Certificates of authorities by digest, with their subjects.
    authorities: BTreeMap<[u8; 32], String>,
    lists: Vec<Crl>,
    pins: Pins,
}

impl Evidence {
    /// That of clients that are verified against `authorities` and looked up as `revocation` says, or known by `pins`.
    #[must_use]
    pub fn of(authorities: &[CaCertificate], revocation: &Revocation, pins: &Pins) -> Self {
        let digest = |ca: &CaCertificate| (sha256(ca.der()), ca.subject().to_owned());
        let lists = revocation.newest(authorities).into_iter().cloned().collect();
        Self { authorities: authorities.iter().map(digest).collect(), lists, pins: pins.clone() }
    }

    /// The subjects of the authorities that `other` has and this one has not.
    pub fn missing_authorities<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let missing = other.authorities.iter().filter(|(digest, _)| !self.authorities.contains_key(*digest));
        missing.map(|(_, subject)| subject.as_str())
    }

    /// The issuers of the lists that `before` has and this one has not, although what they issued is still believed.
    pub fn lost_lists<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let of =
            |evidence: &Self, issuer: &str| evidence.authorities.values().filter(|subject| *subject == issuer).count();
        let is_lost = move |list: &&Crl| {
            let issuer = list.issuer();
            // Nothing is known here of an intermediate. An authority that was given another key under its name is there
            // twice for a while.
            let speaking = self.lists.iter().filter(|own| own.issuer() == issuer).count();
            let is_gone = of(before, issuer) > of(self, issuer) && of(self, issuer) <= speaking;
            !is_gone && !self.lists.iter().any(|own| own.has_same_issuer(list))
        };
        before.lists.iter().filter(is_lost).map(Crl::issuer)
    }

    /// The issuers of lists that revoke less than `before`.
    pub fn shorter_lists<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let shorter = before.lists.iter().filter(|list| {
            // One issuer may have several lists, each about a part of its certificates.
            let own: Vec<&Crl> = self.lists.iter().filter(|own| own.has_same_issuer(list)).collect();
            !own.is_empty() && !list.serials().all(|serial| own.iter().any(|own| own.lists(serial)))
        });
        shorter.map(Crl::issuer)
    }

    /// Whether somebody is known who was not known `before`.
    #[must_use]
    pub fn knows_more(&self, before: &Self) -> bool {
        !self.pins.is_within(&before.pins)
    }

    /// Whether the dates of certificates count no longer that are known.
    #[must_use]
    pub fn ignores_dates(&self, before: &Self) -> bool {
        self.pins.dates() == Dates::Ignore && before.pins.dates() != Dates::Ignore
    }

    /// Whether there is any revocation list.
    #[must_use]
    pub fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }
}
