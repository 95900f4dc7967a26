//! The lists of one set of terms, each with the key that has signed it.

use std::sync::OnceLock;
use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;

use crate::x509::ca::CaCertificate;
use crate::x509::crl::scope::Scope;
use crate::x509::crl::{Crl, Depth, Expired, Revocation, Unknown};

/// The revocation lists that tell whether a certificate has been revoked.
#[derive(Debug)]
pub(crate) struct RevocationLists {
    /// The newest first.
    held: Vec<IndexedList>,
    depth: Depth,
    unknown: Unknown,
    expired: Expired,
}

#[derive(Debug)]
struct IndexedList {
    crl: Crl,
    /// The key that has made the signature, as soon as it is known: a SubjectPublicKeyInfo without
    /// its SEQUENCE. A list of none of the trusted authorities may be one of an intermediate, whose
    /// key comes with the client.
    signer: OnceLock<Box<[u8]>>,
}

/// The issuer of a certificate.
#[derive(Clone, Copy)]
pub(crate) struct IssuerKey<'a> {
    /// The subject with its SEQUENCE.
    pub(crate) name: &'a [u8],
    /// The SubjectPublicKeyInfo without its SEQUENCE.
    pub(crate) spki: &'a [u8],
}

/// The answer of the lists about a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListAnswer {
    /// It is on none.
    Good,
    /// It is on one.
    Revoked,
    /// No list speaks for its issuer.
    NoList,
    /// There are lists of its issuer's name, and other keys have signed them.
    OtherKey,
    /// There are lists of its issuer, and none of them is about it.
    OutOfScope,
    /// Every list that is about it is from the future, the first by this time.
    Early(SystemTime),
    /// Every list that is about it should have been replaced, the newest by this time.
    Expired(SystemTime),
}

impl RevocationLists {
    /// The lists of `revocation`, of which those of `authorities` are known by their keys from now
    /// on.
    pub(crate) fn new(revocation: &Revocation, authorities: &[CaCertificate]) -> Self {
        let mut lists: Vec<&Crl> = revocation.lists.iter().collect();
        lists.sort_by(|one, other| other.age().cmp(&one.age()));
        let held = lists.into_iter().map(|crl| {
            let signer = OnceLock::new();
            if let Some(authority) = crl
                .speaks_for(authorities)
                .ok()
                .as_ref()
                .and_then(|found| found.first())
            {
                signer.get_or_init(|| authority.spki().into());
            }
            IndexedList {
                crl: crl.clone(),
                signer,
            }
        });
        let Revocation {
            depth,
            unknown,
            expired,
            ..
        } = *revocation;
        Self {
            held: held.collect(),
            depth,
            unknown,
            expired,
        }
    }

    /// Whether certificates are looked up at all: those of clients, or those of intermediates.
    pub(crate) fn look_up(&self, intermediate: bool) -> bool {
        !self.held.is_empty() && (!intermediate || self.depth == Depth::Chain)
    }

    /// Whether a certificate is refused of which nothing is known.
    pub(crate) fn refuses_unknown(&self) -> bool {
        self.unknown == Unknown::Deny
    }

    /// The answer of the lists of `issuer` about `certificate` at the time `now`.
    pub(crate) fn ask(
        &self,
        certificate: &X509Certificate<'_>,
        is_authority: bool,
        issuer: IssuerKey<'_>,
        now: SystemTime,
    ) -> ListAnswer {
        let mut own = self
            .held
            .iter()
            .filter(|held| held.is_of(issuer))
            .peekable();
        if own.peek().is_none() {
            let named = self.held.iter().any(|held| held.crl.is_named(issuer.name));
            return if named {
                ListAnswer::OtherKey
            } else {
                ListAnswer::NoList
            };
        }
        let (mut seen, mut fresh, mut due, mut begin) =
            (Vec::<&Scope>::new(), false, None, None::<SystemTime>);
        for IndexedList { crl, .. } in own {
            let scope = &crl.signed.contents.scope;
            // Of several for the same certificates the newest one counts.
            if seen.contains(&scope) {
                continue;
            }
            // Its issuer has used the number once, so it is this certificate, whatever the list is
            // about.
            if crl.revokes(certificate.raw_serial()) {
                return ListAnswer::Revoked;
            }
            // One from the future does not replace one of today: the two of them count.
            if crl.this_update() <= now {
                seen.push(scope);
            }
            if !scope.covers(certificate, is_authority) {
                continue;
            }
            // It revokes already, and does not yet say of the others that they are good.
            if crl.is_early(now) {
                begin = Some(begin.map_or(crl.this_update(), |known| known.min(crl.this_update())));
                continue;
            }
            fresh |= now < crl.next_update() || self.expired == Expired::Allow;
            due = due.max(Some(crl.next_update()));
        }
        match due {
            None => begin.map_or(ListAnswer::OutOfScope, ListAnswer::Early),
            Some(due) if !fresh => ListAnswer::Expired(due),
            Some(_) => ListAnswer::Good,
        }
    }
}

impl IndexedList {
    /// Whether it is a list of `issuer`, by name and key.
    fn is_of(&self, issuer: IssuerKey<'_>) -> bool {
        if let Some(signer) = self.signer.get() {
            return **signer == *issuer.spki && self.crl.is_named(issuer.name);
        }
        let is_signer = self.crl.is_named(issuer.name) && self.crl.signature(issuer.spki).is_ok();
        if is_signer {
            // One key at most can have made the signature.
            self.signer.get_or_init(|| issuer.spki.into());
        }
        is_signer
    }
}
