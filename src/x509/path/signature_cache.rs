//! Signatures of authorities that have been verified before, so that a peer seen again costs one
//! verification less.
//!
//! Whether a signature is right is a function of the key, the algorithm, the message and the
//! signature alone, and each answer is known by a digest of all four. So an answer that is
//! remembered is the one that would be found again. Everything else that decides about a peer
//! (dates, lists, usages, names, the policy, and the proof that it has its key) is judged anew each
//! time, and never comes through here.

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use crate::x509::algorithms::ALGORITHMS;

/// The signatures that are remembered, of which a new generation begins when one is full. One that
/// is asked for is kept, so that those are forgotten first that no peer has shown for the longest
/// time.
///
/// Only signatures that are right are remembered: to push others out takes as many certificates of
/// a trusted authority.
#[derive(Debug, Default)]
pub(super) struct SignatureCache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<SignatureDigest>,
    old: HashSet<SignatureDigest>,
}

/// The digest of a key, an algorithm, a message and a signature.
type SignatureDigest = [u8; 32];

/// The signatures of a generation. A full cache has two of them: some 8,000 peers, in 400 KiB.
const GENERATION: usize = 4096;

impl SignatureCache {
    /// Every algorithm by which signatures are verified, with this cache before it.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = Cached<'_>> {
        ALGORITHMS.iter().map(|algorithm| Cached {
            algorithm: *algorithm,
            cache: self,
        })
    }

    fn knows(&self, key: &SignatureDigest) -> bool {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if generations.young.contains(key) {
            return true;
        }
        let known = generations.old.contains(key);
        if known {
            generations.add(*key);
        }
        known
    }

    fn add(&self, key: SignatureDigest) {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(key);
    }
}

impl Generations {
    fn add(&mut self, key: SignatureDigest) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key);
    }
}

/// An algorithm that remembers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    cache: &'a SignatureCache,
}

impl SignatureVerificationAlgorithm for Cached<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = self.key(public_key, message, signature);
        if !self.cache.knows(&key) {
            self.algorithm
                .verify_signature(public_key, message, signature)?;
            self.cache.add(key);
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

impl Cached<'_> {
    /// Each part with its length before it, so that no two questions have one key.
    fn key(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> SignatureDigest {
        let mut context = digest::Context::new(&digest::SHA256);
        let (of_key, of_signature) = (
            self.algorithm.public_key_alg_id(),
            self.algorithm.signature_alg_id(),
        );
        for part in [
            of_key.as_ref(),
            of_signature.as_ref(),
            public_key,
            signature,
            message,
        ] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls_pki_types::{
        AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
    };

    use super::{Cached, GENERATION, SignatureCache};

    static ASKED: AtomicUsize = AtomicUsize::new(0);

    /// Takes the signature that is the message, of the key that is `key`.
    #[derive(Debug)]
    struct Same;

    impl SignatureVerificationAlgorithm for Same {
        fn verify_signature(
            &self,
            key: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            ASKED.fetch_add(1, Ordering::Relaxed);
            if key == b"key" && message == signature {
                Ok(())
            } else {
                Err(InvalidSignature)
            }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    #[test]
    fn only_what_was_right_is_remembered_and_only_for_the_same_question() {
        let cache = SignatureCache::default();
        let algorithm = Cached {
            algorithm: &Same,
            cache: &cache,
        };
        let asked = |key: &[u8], message: &[u8], signature: &[u8]| {
            let before = ASKED.load(Ordering::Relaxed);
            let right = algorithm.verify_signature(key, message, signature).is_ok();
            (right, ASKED.load(Ordering::Relaxed) - before)
        };
        assert_eq!(asked(b"key", b"one", b"one"), (true, 1));
        assert_eq!(asked(b"key", b"one", b"one"), (true, 0));
        // Whatever differs, and where one part ends and the next begins.
        for (key, message, signature) in [
            (&b"kez"[..], &b"one"[..], &b"one"[..]),
            (b"key", b"onf", b"one"),
            (b"key", b"one", b"onf"),
            (b"keyo", b"ne", b"one"),
            (b"ke", b"one", b"yone"),
        ] {
            for _ in 0..2 {
                assert_eq!(
                    asked(key, message, signature),
                    (false, 1),
                    "{key:?} {message:?} {signature:?}"
                );
            }
        }
        // A generation later it is known, and two later it is not, unless it was asked for.
        let fill = |from: usize, count: usize| {
            for number in from..from + count {
                let message = number.to_be_bytes();
                assert_eq!(asked(b"key", &message, &message), (true, 1));
            }
        };
        fill(0, GENERATION);
        assert_eq!(asked(b"key", b"one", b"one"), (true, 0));
        fill(GENERATION, GENERATION);
        assert_eq!(asked(b"key", b"one", b"one"), (true, 0));
        fill(2 * GENERATION, 2 * GENERATION);
        assert_eq!(asked(b"key", b"one", b"one"), (true, 1));
        let held = cache.generations.lock().unwrap();
        assert!(held.young.len() + held.old.len() <= 2 * GENERATION);
    }
}
