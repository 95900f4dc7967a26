//! Evidence that clients are verified against, so that two configurations can be compared by it.
//! The lists are shared with the verifier that asks them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::tls::pinned::{Dates, Pins};
use crate::x509::ca::CaCertificate;
use crate::x509::crl::{Crl, Revocation};
use crate::x509::identity::sha256;

/// The authorities that are believed, and the revocation lists that are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Certificates of authorities by digest.
    authorities: BTreeMap<[u8; 32], AuthorityEvidence>,
    lists: Vec<ListEvidence>,
    pins: Pins,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AuthorityEvidence {
    subject: String,
    /// The digest of its key.
    key: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ListEvidence {
    crl: Crl,
    /// The digest of the key that has signed it. Nothing of the list of an intermediate, whose key
    /// comes with the client.
    signer: Option<[u8; 32]>,
}

impl ListEvidence {
    /// Whether both are editions of one list. Its issuer is known by its key where that is known,
    /// and otherwise by what the lists say.
    fn is_edition_of(&self, other: &Self) -> bool {
        match (self.signer, other.signer) {
            (Some(own), Some(signer)) => own == signer && self.crl.has_same_scope(&other.crl),
            _ => self.crl.is_edition_of(&other.crl),
        }
    }
}

impl Evidence {
    /// That of clients that are verified against `authorities` and looked up as `revocation` says,
    /// or known by `pins`.
    #[must_use]
    pub fn of(authorities: &[CaCertificate], revocation: &Revocation, pins: &Pins) -> Self {
        let digest = |ca: &CaCertificate| {
            (
                sha256(ca.der()),
                AuthorityEvidence {
                    subject: ca.subject().to_owned(),
                    key: sha256(ca.spki()),
                },
            )
        };
        let list = |crl: &Crl| {
            let signer = crl
                .speaks_for(authorities)
                .ok()
                .and_then(|found| found.first().map(|ca| sha256(ca.spki())));
            ListEvidence {
                crl: crl.clone(),
                signer,
            }
        };
        let lists = revocation
            .counting(authorities, SystemTime::now())
            .into_iter()
            .map(list)
            .collect();
        Self {
            authorities: authorities.iter().map(digest).collect(),
            lists,
            pins: pins.clone(),
        }
    }

    /// The subjects of the authorities that `other` has and this one has not.
    pub fn missing_authorities<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let missing = other
            .authorities
            .iter()
            .filter(|(digest, _)| !self.authorities.contains_key(*digest));
        missing.map(|(_, authority)| authority.subject.as_str())
    }

    /// The issuers of the lists that `before` has and this one has not, although the keys that
    /// signed them still count. An authority that was given another key under its name is another
    /// one.
    ///
    /// Each with whether it is known whose it is: one that none of the authorities has signed may
    /// be that of an intermediate whose certificate comes with a client, or that of no CA at all.
    pub fn lost_lists<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a str, bool)> {
        let now = SystemTime::now();
        let is_lost = move |list: &&ListEvidence| {
            let counts = list.signer.is_none_or(|key| {
                self.authorities
                    .values()
                    .any(|authority| authority.key == key)
            });
            // One whose time has not come says of no certificate that it is good.
            let replaces = |own: &ListEvidence| {
                own.is_edition_of(list) && (!own.crl.is_early(now) || list.crl.is_early(now))
            };
            counts && !self.lists.iter().any(replaces)
        };
        before
            .lists
            .iter()
            .filter(is_lost)
            .map(|list| (list.crl.issuer(), list.signer.is_some()))
    }

    /// The issuers whose lists of `before` would be replaced by older ones, which do not know the
    /// latest revocations.
    pub fn older_lists<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let is_older = move |list: &&ListEvidence| {
            let mut own = self
                .lists
                .iter()
                .filter(|own| own.is_edition_of(list))
                .peekable();
            own.peek().is_some() && own.all(|own| own.crl.age() < list.crl.age())
        };
        before
            .lists
            .iter()
            .filter(is_older)
            .map(|list| list.crl.issuer())
    }

    /// The issuers of lists that revoke less than `before`.
    pub fn shorter_lists<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let now = SystemTime::now();
        let is_over = move |list: &&ListEvidence| {
            let begun = before
                .lists
                .iter()
                .filter(|next| next.crl.this_update() <= now);
            begun
                .filter(|next| next.is_edition_of(list))
                .any(|next| list.crl.is_older_than(&next.crl))
        };
        // One from the future may have begun since.
        let shorter = before
            .lists
            .iter()
            .filter(move |list| !is_over(list))
            .filter(|list| {
                // What it listed may stand in several, of which one signer is not known.
                let own: Vec<&ListEvidence> = self
                    .lists
                    .iter()
                    .filter(|own| own.is_edition_of(list))
                    .collect();
                !own.is_empty()
                    && !list
                        .crl
                        .serials()
                        .all(|serial| own.iter().any(|own| own.crl.revokes(serial)))
            });
        shorter.map(|list| list.crl.issuer())
    }

    /// Whether a client is known that was not known `before`.
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
