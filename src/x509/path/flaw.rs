//! Flaws of a peer's certificate, in words for its operator: which certificate, what, and what to
//! do.

use std::time::Duration;

use x509_parser::certificate::X509Certificate;

use crate::authz::printable;
use crate::x509::defects::Defect;
use crate::x509::identity::distinguished_name;
use crate::x509::path::{MAX_INTERMEDIATES, MAX_NAMESAKES};
use crate::x509::signed::SignatureFault;

/// One certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The peer's own.
    Peer,
    /// One between it and the trusted authority.
    Intermediate(String),
    /// The trusted authority's.
    Root(String),
}

impl Who {
    /// An intermediate.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        Self::Intermediate(distinguished_name(certificate.subject()))
    }

    fn words(&self) -> String {
        match self {
            Self::Peer => "it".to_owned(),
            Self::Intermediate(name) => format!("the intermediate {name}"),
            Self::Root(name) => format!("the trusted CA {name}"),
        }
    }

    fn possessive(&self) -> String {
        match self {
            Self::Peer => "its".to_owned(),
            other => format!("{}'s", other.words()),
        }
    }
}

/// A limit of what the library looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathLimit {
    /// Certificates beside the peer's own.
    Certificates,
    /// Certificates of one subject.
    Namesakes,
    /// Certificates between the peer's own and the authority's.
    Depth,
    /// Signatures, paths or names to try.
    Work,
}

/// A flaw of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is not what RFC 5280 calls a certificate.
    Malformed(Who),
    /// It has no extensions, so nothing says what it is for.
    Version1(Who),
    /// Something in it cannot be read, or stands there twice.
    Defect(Who, Defect),
    /// Its Netscape certificate type is another one.
    NetscapeType,
    /// It has a critical extension, by this identifier, that is not understood.
    Critical(Who, String),
    /// It has ended.
    Expired(Who, Duration),
    /// It has not begun.
    Early(Who, Duration),
    /// It ends before it begins.
    NoTime(Who),
    /// It is an authority's own, shown by a peer.
    CaAsPeer,
    /// It has issued another one, and is no authority's.
    NotCa(Who),
    /// It has issued another one, and its key must not sign certificates.
    NoCertSign(Who),
    /// There are more authorities below it than it allows.
    PathLength(Who),
    /// The key must not sign, which it does in a handshake.
    KeyUsage,
    /// It is for something else.
    Purpose(Who),
    /// No trusted authority has issued it.
    UnknownIssuer {
        /// The certificate whose issuer is unknown.
        who: Who,
        /// That issuer.
        issuer: String,
        /// It has issued itself.
        self_signed: bool,
    },
    /// Its issuer's name is the text of a known subject, in another encoding.
    NameEncoding {
        /// The certificate.
        who: Who,
        /// The name of both.
        issuer: String,
    },
    /// A signature of its issuer is not one.
    Signature {
        /// The certificate.
        who: Who,
        /// The name of its issuer.
        issuer: String,
        /// The fault.
        fault: SignatureFault,
        /// Whether the issuer is trusted, and did not come with the certificate.
        by_root: bool,
    },
    /// An authority is bound to names of a kind that is not understood.
    ConstraintKind(Who, &'static str),
    /// An authority is bound to names, and this one is not among them.
    Constraint(Who, String),
    /// An authority is bound to DNS names, and this one cannot be compared with them: why.
    NotComparable(Who, String, &'static str),
    /// An authority is bound to names in a way that cannot be read.
    ConstraintMalformed(Who),
    /// Its key is on a list of distrusted keys.
    Distrusted,
    /// There is too much to verify.
    TooMuch(PathLimit),
    /// A server's certificate is for other names: these.
    Name(Vec<crate::authz::AltName>),
    /// It has been revoked.
    Revoked(Who),
    /// There is no list of its issuer.
    NoList {
        /// The certificate.
        who: Who,
        /// The name of its issuer.
        issuer: String,
    },
    /// There are lists of its issuer's name, signed by other keys.
    ListOfOtherKey {
        /// The certificate.
        who: Who,
        /// The name of its issuer.
        issuer: String,
    },
    /// The lists of its issuer are about other certificates.
    OutOfScope {
        /// The certificate.
        who: Who,
        /// The name of its issuer.
        issuer: String,
    },
    /// The list of its issuer should have been replaced.
    ListExpired {
        /// The issuer.
        issuer: String,
        /// How long ago.
        ago: Duration,
    },
    /// The list of its issuer has not begun.
    ListEarly {
        /// The issuer.
        issuer: String,
        /// In how long it does.
        wait: Duration,
    },
    /// It answers for others by a list, and its key must not sign lists.
    NoListSign(Who),
    /// Something that the library has come to say since.
    Other,
}

/// The peer whose certificates are judged, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerWords<'a> {
    /// `client` or `server`.
    pub(crate) peer: &'a str,
    /// The place in the configuration where the trusted authorities are named.
    pub(crate) trust: &'a str,
    /// The usage that the extended key usage must have.
    pub(crate) usage: &'a str,
    /// How the peer comes in without an authority.
    pub(crate) pin: &'a str,
}

impl Flaw {
    /// In words, for the operator of this side of the connection.
    #[expect(clippy::too_many_lines, reason = "a table of sentences")]
    pub(crate) fn words(&self, side: &PeerWords<'_>) -> String {
        let PeerWords {
            peer,
            trust,
            usage,
            pin,
        } = side;
        match self {
            Self::Malformed(who) => format!("{} is not a well-formed certificate; issue it anew", who.words()),
            Self::Defect(who, defect) => format!("{} {}; issue it anew", who.words(), defect.fault()),
            Self::NetscapeType => format!(
                "its Netscape certificate type (nsCertType) does not include {peer}; issue it with that, or without nsCertType"
            ),
            Self::Version1(who) => format!("{} is an X.509 v1 certificate: issue it with extensions (v3)", who.words()),
            Self::Critical(who, oid) => format!(
                "{} has a critical extension that is not understood, {oid}; issue it without that, or not critical",
                who.words()
            ),
            Self::Expired(who, ago) => format!("{} has expired, {} ago; renew it", who.words(), span(*ago)),
            Self::Early(who, wait) => {
                format!("{} is not valid before {} from now; compare the clocks", who.words(), span(*wait))
            }
            Self::NoTime(who) => format!("{} ends before it begins; issue it anew", who.words()),
            Self::CaAsPeer => format!(
                "it is a CA's own certificate (CA:TRUE), which identifies no {peer}: issue one with CA:FALSE, or {pin}"
            ),
            Self::NotCa(who) => format!(
                "{} has issued another certificate and is not a CA's (no CA:TRUE); issue that by a CA",
                who.words()
            ),
            Self::NoCertSign(who) => format!(
                "{} must not sign certificates: its keyUsage lacks keyCertSign; issue it anew with that",
                who.words()
            ),
            Self::PathLength(who) => {
                format!("{} allows fewer CAs below it than there are (pathlen of its basicConstraints)", who.words())
            }
            Self::KeyUsage => {
                "its keyUsage lacks digitalSignature, and TLS proves the key by one; issue it with that, or \
                without keyUsage"
                    .to_owned()
            }
            Self::Purpose(who) => format!(
                "{} extended key usage does not include {usage}; issue it with that, or without extendedKeyUsage",
                who.possessive()
            ),
            Self::UnknownIssuer { who: who @ Who::Peer, self_signed: true, .. } => format!(
                "{} is self-signed, so it was issued by none of the trusted CAs, or an intermediate is missing; to take \
                 exactly this one, {pin}",
                who.words()
            ),
            Self::UnknownIssuer { issuer, self_signed: true, .. } => format!(
                "its chain ends at {issuer}, a root that the {peer} sends itself and that is none of the trusted CAs; if it is to \
                 be trusted, add it to {trust}"
            ),
            Self::UnknownIssuer { who, issuer, .. } => format!(
                "{} was issued by none of the trusted CAs, or an intermediate is missing: its issuer is {issuer}; add that \
                 to {trust}, or let the {peer} send the certificates in between",
                who.words()
            ),
            Self::NameEncoding { who, issuer } => format!(
                "{} names its issuer, {issuer}, in another encoding than the CA of that name has (PrintableString, \
                 UTF8String); issue it anew, or the CA's certificate with the same key and the name as it stands here",
                who.words()
            ),
            Self::Signature { who, issuer, fault, by_root } => signature(who, issuer, fault, *by_root, side),
            Self::ConstraintKind(who, kind) => format!(
                "{} has name constraints on {kind}, which are not understood, so nothing with such a name is believed; \
                 constraints on DNS names and IP addresses are",
                who.words()
            ),
            Self::Constraint(who, name) => format!(
                "{} has name constraints, and {} does not keep to them; issue it by another CA",
                who.words(),
                printable(name)
            ),
            Self::NotComparable(who, name, why) => format!(
                "{} has name constraints on DNS names, and \"{}\" cannot be compared with them: {why}; issue it with names \
                 that keep to them",
                who.words(),
                printable(name)
            ),
            Self::ConstraintMalformed(who) => {
                format!("{} has name constraints that cannot be read; issue it anew", who.words())
            }
            Self::Distrusted => "a key in its chain is known to have been misused; issue it by another CA".to_owned(),
            Self::TooMuch(limit) => too_much(*limit, peer),
            Self::Name(_) => format!("it is for another {peer}"),
            Self::Revoked(who) => format!("{} has been revoked", who.words()),
            Self::NoList { who: Who::Peer, issuer } => {
                format!("no revocation list speaks for its issuer, {issuer}; add the issuer's list to crl_files")
            }
            Self::NoList { who, issuer } => format!(
                "no revocation list speaks for the issuer of {}, {issuer}; add its list to crl_files, or write \
                 `crl = {{ depth = \"leaf\" }}`",
                who.words()
            ),
            Self::ListOfOtherKey { who, issuer } => format!(
                "the revocation lists of the name {issuer} were signed by other keys than the one that has issued {}; add \
                 the list of this key to crl_files",
                object(who)
            ),
            Self::OutOfScope { who, issuer } => format!(
                "the revocation lists of {issuer} are about other certificates (issuingDistributionPoint), and \
                 {} names none of their distribution points; add a list that is about all",
                who.words()
            ),
            Self::ListExpired { issuer, ago } => format!(
                "the revocation list of its issuer should have been replaced {} ago; fetch a newer one of {issuer}",
                span(*ago)
            ),
            Self::ListEarly { issuer, wait } => format!(
                "the only revocation list of its issuer is from the future and begins {} from now; compare the clocks of this \
                 machine and of {issuer}, or add the list that counts today",
                span(*wait)
            ),
            Self::NoListSign(who) => format!(
                "{} must not sign revocation lists: its keyUsage lacks cRLSign; issue it anew with that",
                who.words()
            ),
            Self::Other => format!("it cannot be verified; `snigate pki inspect` tells what is in the {peer}'s file"),
        }
    }
}

/// The peer's own is spoken of before it is the object of a sentence.
fn object(who: &Who) -> String {
    match who {
        Who::Peer => "this certificate".to_owned(),
        other => other.words(),
    }
}

fn signature(
    who: &Who,
    issuer: &str,
    fault: &SignatureFault,
    by_root: bool,
    side: &PeerWords<'_>,
) -> String {
    let the_ca = if by_root {
        "the trusted CA"
    } else {
        "the intermediate"
    };
    match fault {
        SignatureFault::Key(key) => format!(
            "{the_ca} that has issued {}, {issuer}, has {key}, and no signature of such a key is verified; the CA needs a \
             key of RSA (2048 to 8192 bits), P-256, P-384, P-521 or Ed25519",
            object(who)
        ),
        SignatureFault::Kind(kind) => {
            format!(
                "the signature of {issuer} on {} is not verified: it is {kind}",
                object(who)
            )
        }
        SignatureFault::OtherKind | SignatureFault::Wrong if by_root => format!(
            "the signature on {} does not verify with the key of the trusted CA of that name, {issuer}; if two CAs have the \
             same subject, both must be trusted (in {})",
            object(who),
            side.trust
        ),
        SignatureFault::OtherKind | SignatureFault::Wrong => format!(
            "the signature on {} does not verify with the key of the intermediate {issuer} that the {} has sent; it has to \
             send the one that belongs to this certificate",
            object(who),
            side.peer
        ),
    }
}

fn too_much(limit: PathLimit, peer: &str) -> String {
    match limit {
        PathLimit::Certificates => format!(
            "the {peer} has sent more than {MAX_INTERMEDIATES} certificates beside its own; it needs those between its own \
             and the trusted CA only"
        ),
        PathLimit::Namesakes => format!(
            "the {peer} has sent more than {MAX_NAMESAKES} certificates of one subject; it needs one of each CA only"
        ),
        PathLimit::Depth => {
            "there are more than 6 certificates between it and a trusted CA; trust one further down"
                .to_owned()
        }
        PathLimit::Work => format!(
            "there are too many ways from it to a trusted CA to try them all; let the {peer} send the certificates in \
             between only, and name constraints only as many as needed"
        ),
    }
}

fn span(time: Duration) -> String {
    crate::x509::time::span(time.as_secs())
}
