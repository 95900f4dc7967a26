//! Trust in servers: how a server's certificate is verified.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::x509::ca::{Anchors, CaCertificate};

/// The authorities whose certificates servers may show: at least one. Equal where the authorities
/// are the same, whatever files they came from.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(super) anchors: Arc<Anchors>,
    digest: [u8; 32],
}

impl Trust {
    /// Trust in `authorities`, each of which counts once; nothing if there is none.
    #[must_use]
    pub fn new(authorities: &[CaCertificate]) -> Option<Self> {
        if authorities.is_empty() {
            return None;
        }
        let mut ders: Vec<&[u8]> = authorities.iter().map(CaCertificate::der).collect();
        ders.sort_unstable();
        ders.dedup();
        let mut context = digest::Context::new(&digest::SHA256);
        for der in ders {
            // A certificate says how long it is, so two lists never run into the same bytes.
            context.update(der);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Some(Self {
            anchors: Arc::new(Anchors::new(authorities)),
            digest,
        })
    }

    /// Whether every authority of this one is among those of `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self == other
            || self
                .anchors
                .authorities()
                .iter()
                .all(|one| other.anchors.authorities().contains(one))
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, Validity};

    #[test]
    fn trust_is_equal_where_the_authorities_are() {
        let read = |name| {
            let authority = Authority::new(name, Validity::days(1)).unwrap();
            CaCertificate::parse_bundle(authority.certificate().as_bytes())
                .unwrap()
                .remove(0)
        };
        let (one, two) = (read("one"), read("two"));
        let trust = |list: &[&CaCertificate]| {
            Trust::new(&list.iter().copied().cloned().collect::<Vec<_>>())
        };
        assert_eq!(trust(&[&one, &two]), trust(&[&two, &one, &two]));
        assert_ne!(trust(&[&one]), trust(&[&one, &two]));
        assert_ne!(
            trust(&[&one]),
            trust(&[&read("one")]),
            "another key of the same name"
        );
        assert_eq!(trust(&[]), None);
    }
}
