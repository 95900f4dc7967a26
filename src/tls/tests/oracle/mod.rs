//! The same verdict as `openssl verify -purpose sslclient` on every client's chain and list, or a
//! reason why not.
//!
//! The chains are made from a sound one (root, intermediate, client), with one change each.

mod draft;
mod keys;
mod lists;
mod rows;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use super::*;
use crate::os::tests::assert_readable;
use crate::tls::handshake::Refusal;
use crate::tls::verifier::{ClientVerifier, observed_now};
use crate::x509::ca::Anchors;
use crate::x509::crl::Crl;
use crate::x509::path::{Paths, PeerWords};
use draft::{Draft, ListDraft, Signer};

/// A chain before it is signed.
struct Plan {
    root: Draft,
    issuing: Draft,
    client: Draft,
    /// Further certificates of the root's name and key that are trusted.
    roots: Vec<Draft>,
    /// The list of the client's issuer, and who signs it.
    lists: Vec<(ListDraft, By)>,
    /// The signers in place of the root's key, of the intermediate's, and of the client's.
    signers: [Arc<Signer>; 3],
}

/// Keys of the root, of the intermediate, of the client and of nobody among them.
static KEYS: LazyLock<[Arc<Signer>; 4]> = LazyLock::new(|| [0; 4].map(|_| Arc::new(Signer::new())));

#[derive(Clone, Copy)]
enum By {
    Issuing,
    Root,
    Nobody,
}

const BASIC: &str = "2.5.29.19";
const SKI: &str = "2.5.29.14";
const AKI: &str = "2.5.29.35";

impl Plan {
    fn new() -> Self {
        let [mut root, mut issuing, mut client] = [
            Draft::new("root", "root", 1),
            Draft::new("root", "issuing", 2),
            Draft::new("issuing", "client", 3),
        ];
        for authority in [&mut root, &mut issuing] {
            authority.set(BASIC, true, draft::der(draft::SEQ, &[&[1, 1, 0xff]]));
        }
        let id = |text: &[u8]| draft::der(draft::OCTETS, &[text]);
        let by_id = |text: &[u8]| draft::der(draft::SEQ, &[&draft::der(0x80, &[text])]);
        root.set(SKI, false, id(b"root"));
        issuing.set(SKI, false, id(b"issuing"));
        issuing.set(AKI, false, by_id(b"root"));
        client.set(AKI, false, by_id(b"issuing"));
        let signers = [0, 1, 2].map(|at| Arc::clone(&KEYS[at]));
        Self {
            root,
            issuing,
            client,
            roots: Vec::new(),
            lists: Vec::new(),
            signers,
        }
    }

    /// Our verdict, `None` if the peer comes in, and whether openssl verifies it.
    fn judge(&self, purpose: Purpose) -> (Option<String>, bool) {
        let [root, issuing, client] = &self.signers;
        let roots: Vec<Vec<u8>> = std::iter::once(&self.root)
            .chain(&self.roots)
            .map(|draft| draft.sign(root, root))
            .collect();
        let issuing_der = self.issuing.sign(issuing, root);
        let client_der = self.client.sign(client, issuing);
        let signer = |by: &By| match by {
            By::Issuing => issuing,
            By::Root => root,
            By::Nobody => &KEYS[3],
        };
        let lists: Vec<Vec<u8>> = self
            .lists
            .iter()
            .map(|(list, by)| list.sign(signer(by)))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        draft::write(dir.path(), "root", "CERTIFICATE", &roots);
        draft::write(
            dir.path(),
            "issuing",
            "CERTIFICATE",
            std::slice::from_ref(&issuing_der),
        );
        draft::write(
            dir.path(),
            "client",
            "CERTIFICATE",
            std::slice::from_ref(&client_der),
        );
        draft::write(dir.path(), "lists", "X509 CRL", &lists);
        let ours = match purpose {
            Purpose::Client => ours(dir.path(), issuing_der, client_der),
            Purpose::Server => ours_of_server(dir.path(), issuing_der, client_der),
        };
        (
            ours.err(),
            openssl_verifies(dir.path(), purpose, !lists.is_empty()),
        )
    }
}

/// Whether the client comes in, or why not: by its certificate, or because the files of the CAs or
/// lists cannot be used.
fn ours(dir: &Path, issuing: Vec<u8>, client: Vec<u8>) -> Result<(), String> {
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let authorities =
        CaCertificate::parse_bundle(&read("root")).map_err(|error| error.to_string())?;
    for authority in &authorities {
        if authority
            .issues(SystemTime::now())
            .contains(&CaIssue::NotCa)
        {
            return Err(CaIssue::NotCa.to_string());
        }
    }
    let lists = match read("lists") {
        none if none.is_empty() => Vec::new(),
        some => Crl::parse_bundle(&some).map_err(|error| error.to_string())?,
    };
    let revocation = Revocation {
        lists,
        ..Revocation::default()
    };
    let terms = ClientAuth::RequireAndVerify(Verify {
        authorities,
        revocation,
        ..Verify::default()
    });
    let verifier = ClientVerifier::new(&terms).unwrap();
    let (leaf, between) = (
        CertificateDer::from(client),
        [CertificateDer::from(issuing)],
    );
    let (verdict, fault) =
        observed_now(|| verifier.verify_client_cert(&leaf, &between, UnixTime::now()));
    match verdict {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::Untrusted("no words".to_owned())
            .with(fault)
            .to_string()),
    }
}

/// Whether a server is believed that has the certificate, whatever its name, or why not.
fn ours_of_server(dir: &Path, issuing: Vec<u8>, server: Vec<u8>) -> Result<(), String> {
    let root = std::fs::read(dir.join("root")).unwrap();
    let authorities = CaCertificate::parse_bundle(&root).map_err(|error| error.to_string())?;
    let paths = Paths::new(Arc::new(Anchors::new(&authorities)), None, Purpose::Server);
    let (leaf, between) = (
        CertificateDer::from(server),
        [CertificateDer::from(issuing)],
    );
    let side = PeerWords {
        peer: "server",
        trust: "trust.own",
        usage: "serverAuth",
        pin: "pin it",
    };
    paths
        .verify(&leaf, &between, None, UnixTime::now())
        .map_err(|flaw| flaw.words(&side))
}

fn openssl_verifies(dir: &Path, purpose: Purpose, has_lists: bool) -> bool {
    let mut openssl = Command::new("openssl");
    let purpose = match purpose {
        Purpose::Client => "sslclient",
        Purpose::Server => "sslserver",
    };
    openssl.current_dir(dir).args([
        "verify",
        "-purpose",
        purpose,
        "-CAfile",
        "root",
        "-untrusted",
        "issuing",
    ]);
    if has_lists {
        openssl.args(["-crl_check", "-CRLfile", "lists"]);
    }
    openssl.arg("client").output().unwrap().status.success()
}

type Row = (String, Plan);

/// Where openssl decides otherwise: what the names of such cases have in them, whether it verifies
/// them, and why we do not follow it.
type Difference = (&'static str, bool, &'static str);

const FIRST_OF_TWO: &str = "openssl goes by the first of them, whatever the second allows";

/// For clients, and in chains for servers, too.
const DIFFERENCES: &[Difference] = &[
    (
        "issuing: nsCertType nothing",
        true,
        "a type without a bit cannot be read",
    ),
    (
        "unknown twice",
        true,
        "RFC 5280 §4.2: no extension stands twice; Go refuses it, too",
    ),
    (
        "client: KU keyAgreement",
        true,
        "RFC 8446 §4.4.2.2: a signature proves the key",
    ),
    (
        "client: nsCertType client, critical",
        true,
        "not understood where it is critical",
    ),
    (
        "issuing: nsCertType client, critical",
        true,
        "not understood where it is critical",
    ),
    ("client: BC CA:TRUE", true, "whoever is a client is no CA"),
    ("client: BC pathlen 0", true, "whoever is a client is no CA"),
    ("client: BC pathlen 1", true, "whoever is a client is no CA"),
    ("BC pathlen 300", true, "nobody has so many CAs"),
    ("BC TRUE as 1", true, "DER has one form of TRUE"),
    (
        "client: policies, critical",
        true,
        "policies are not understood",
    ),
    (
        "issuing: policies, critical",
        true,
        "policies are not understood",
    ),
    (
        "client: policyConstraints",
        true,
        "policies are not understood",
    ),
    (
        "issuing: policyConstraints",
        true,
        "policies are not understood",
    ),
    (
        "client: inhibitAnyPolicy",
        true,
        "policies are not understood",
    ),
    (
        "issuing: inhibitAnyPolicy",
        true,
        "policies are not understood",
    ),
    (
        "SAN of an address of 5 bytes",
        true,
        "a name that cannot be read might be one that is denied",
    ),
    (
        "CRL points, critical",
        false,
        "a point without a name says nothing",
    ),
    (
        "issuing: SKI other",
        false,
        "RFC 4158 §3.5.12: identifiers of keys are hints, and the signature decides",
    ),
    (
        "root: SKI other",
        false,
        "RFC 4158 §3.5.12: identifiers of keys are hints, and the signature decides",
    ),
    (
        "client: AKI",
        false,
        "RFC 4158 §3.5.12: identifiers of keys are hints, and the signature decides",
    ),
    (
        "issuing: AKI",
        false,
        "RFC 4158 §3.5.12: identifiers of keys are hints, and the signature decides",
    ),
    (
        "root: AKI",
        false,
        "nobody is asked who has issued a trusted CA",
    ),
    (
        "root: SKI unreadable",
        false,
        "of a trusted CA name, key, purposes and constraints count",
    ),
    (
        "root: SKI twice",
        false,
        "of a trusted CA name, key, purposes and constraints count",
    ),
    (
        "root: serial",
        false,
        "of a trusted CA name, key, purposes and constraints count",
    ),
    (
        "root: nsCertType no bits",
        false,
        "of a trusted CA name, key, purposes and constraints count",
    ),
    ("before 1970", true, "dates before 1970 are not understood"),
    ("version 1", true, "issue it with extensions"),
    ("version 2", true, "issue it with extensions"),
    ("version 4", true, "no such version is known"),
    (
        "root: KU",
        false,
        "a trusted CA's key usage does not count; `check` warns",
    ),
    (
        "root: expired",
        false,
        "a trusted CA's dates do not count; `check` warns",
    ),
    (
        "root: early",
        false,
        "a trusted CA's dates do not count; `check` warns",
    ),
    (
        "root: ends before",
        false,
        "a trusted CA's dates do not count; `check` warns",
    ),
    (
        "root: a date with fractions",
        false,
        "a trusted CA's dates do not count",
    ),
    (
        "DNS a b.example.net",
        true,
        "a name that is none is not compared",
    ),
    (
        "DNS a..example.net",
        true,
        "a name that is none is not compared",
    ),
    (
        "client DNS *.example.net",
        true,
        "a wildcard stands for an excluded name, too",
    ),
    ("192.0.2.0/255.0.255.0", true, "a mask with a gap is none"),
    (
        "NC +mail \"example.net\", client mail a@example.net",
        true,
        "not understood",
    ),
    (
        "NC -mail \"example.net\", client mail a@example.com",
        true,
        "not understood",
    ),
    (
        "NC +URI \"example.net\", client URI spiffe://example.net/a",
        true,
        "not understood",
    ),
    ("NC +directory \"client\"", true, "not understood"),
    ("NC -directory \"other\"", true, "not understood"),
    (
        "names its issuer in",
        true,
        "names are compared byte by byte, and the log says so",
    ),
    (
        "two roots of one key, the first for servers",
        false,
        FIRST_OF_TWO,
    ),
    (
        "two roots of one key, the first of pathlen 0",
        false,
        FIRST_OF_TWO,
    ),
    (
        "two roots of one key, the first with NC",
        false,
        FIRST_OF_TWO,
    ),
    ("SHA-224", true, "too short a digest"),
    ("SHA-1", true, "a digest that is broken"),
    ("MD5", true, "a digest that is broken"),
    (
        "PSS, salt 20",
        true,
        "a salt that is not as long as the digest is not verified",
    ),
    ("PSS, mask of another digest", true, "one digest for both"),
    ("RSA 1024", true, "too short a key"),
    ("RSA-PSS key", true, "not understood"),
    ("P-224", true, "not understood"),
    ("secp256k1", true, "not understood"),
    ("Ed448", true, "not understood"),
    (
        "list: revoked for reason 8",
        true,
        "removeFromCRL belongs to delta lists; listed is revoked",
    ),
    (
        "list: an entry of another issuer",
        true,
        "indirect lists are not understood",
    ),
    (
        "list: version",
        true,
        "lists of other versions than 2 are not understood",
    ),
    ("list: no extensions", true, "RFC 5280 §5.2"),
    ("list: no nextUpdate", true, "RFC 5280 §5.1.2.5"),
    (
        "list: from the future, beside one of today, revoking",
        true,
        "whom a list of the future names is refused today",
    ),
    (
        "list: AKI of another",
        false,
        "RFC 4158 §3.5.12: identifiers of keys are hints, and the signature decides",
    ),
    ("list: number", true, "a list is read whole or not at all"),
    (
        "list: scope: unreadable",
        true,
        "a list is read whole or not at all",
    ),
];

/// Those of [`DIFFERENCES`] that servers do not meet.
const OF_CLIENTS: &[&str] = &[
    "client: KU keyAgreement",
    "client: nsCertType client, critical",
    "SAN of an address of 5 bytes",
    "two roots of one key, the first for servers",
];

/// Rows of which versions of openssl say different things, what we say, whether the peer comes in,
/// and why.
const OF_VERSIONS: &[Difference] = &[(
    "list: delta",
    false,
    "it lists no more than what has changed; 3.0.19 takes it alone",
)];

/// Those that only servers meet.
const OF_SERVERS: &[Difference] = &[
    (
        "root: BC CA:FALSE",
        false,
        "a server's own certificate is often trusted in place of a CA; `check` warns",
    ),
    (
        "root: BC pathlen -1",
        false,
        "a server's own certificate is often trusted in place of a CA; `check` warns",
    ),
    (
        "root: no extensions",
        false,
        "a server's own certificate is often trusted in place of a CA; `check` warns",
    ),
    (
        "client: subject of",
        false,
        "a server's subject does not count",
    ),
];

#[test]
fn a_client_meets_the_verdict_of_openssl_or_there_is_a_reason() {
    let mut rows = rows::rows();
    rows.extend(keys::rows());
    rows.extend(lists::rows());
    assert!(rows.len() > 500, "{} rows", rows.len());
    assert_verdicts(
        &rows,
        Purpose::Client,
        &DIFFERENCES.iter().collect::<Vec<_>>(),
        131,
    );
}

/// The keys of servers are judged as those of clients are.
#[test]
fn a_server_meets_the_verdict_of_openssl_or_there_is_a_reason() {
    let rows = rows::rows();
    assert!(rows.len() > 400, "{} rows", rows.len());
    let of_chains = DIFFERENCES
        .iter()
        .filter(|(part, ..)| rows.iter().any(|(name, _)| name.contains(part)));
    let of_clients = |part: &str| OF_CLIENTS.contains(&part);
    let differences: Vec<_> = of_chains
        .filter(|(part, ..)| !of_clients(part))
        .chain(OF_SERVERS)
        .collect();
    assert_verdicts(&rows, Purpose::Server, &differences, 99);
}

/// That ours is openssl's verdict on each of `rows`, but for `differences`, of which each is met,
/// and on so many rows all together: of several rows with one reason none becomes another verdict
/// unseen.
fn assert_verdicts(rows: &[Row], purpose: Purpose, differences: &[&Difference], differing: usize) {
    let judged: Vec<(&str, Option<String>, bool)> = std::thread::scope(|scope| {
        let parts: Vec<_> = rows
            .chunks(rows.len().div_ceil(4))
            .map(|part| {
                scope.spawn(|| {
                    part.iter()
                        .map(|(name, plan)| (&**name, plan.judge(purpose)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let judged = parts.into_iter().flat_map(|part| part.join().unwrap());
        judged
            .map(|(name, (ours, theirs))| (name, ours, theirs))
            .collect()
    });
    let (mut used, mut unexplained) = (vec![0; differences.len()], Vec::new());
    for (name, ours, theirs) in judged {
        if let Some(words) = &ours {
            // The forms of dates are no words.
            assert_readable(&words.replace("`YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`", ""));
        }
        let of_versions = OF_VERSIONS.iter().find(|(part, ..)| name.contains(part));
        if ours.is_none() == of_versions.map_or(theirs, |(_, we, _)| *we) {
            continue;
        }
        let explains = |(part, verdict, _): &&Difference| name.contains(part) && *verdict == theirs;
        match differences.iter().position(explains) {
            Some(at) => used[at] += 1,
            None => unexplained.push(format!("{name}: openssl {theirs}, we {ours:?}")),
        }
    }
    let unused: Vec<_> = differences
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == 0)
        .map(|(row, _)| row)
        .collect();
    assert!(
        unexplained.is_empty() && unused.is_empty(),
        "{unexplained:#?}; no such differences: {unused:#?}"
    );
    assert_eq!(used.iter().sum::<usize>(), differing, "rows differ");
}

/// What is told of some of them names the certificate and the fault.
#[test]
fn the_sentence_names_the_certificate_and_what_is_wrong_with_it() {
    let mut rows = rows::rows();
    rows.extend(lists::rows());
    for (name, words) in [
        (
            "client: nsCertType server",
            "its Netscape certificate type (nsCertType) does not include client",
        ),
        (
            "client: nsCertType no bits",
            "it has the extension 2.16.840.1.113730.1.1, which cannot be read",
        ),
        (
            "client: AKI twice",
            "it has the extension authorityKeyIdentifier twice",
        ),
        (
            "client: unknown twice",
            "it has the extension 1.2.3.4.5 twice",
        ),
        (
            "issuing: SKI unreadable",
            "the intermediate CN=issuing has the extension subjectKeyIdentifier, which cannot",
        ),
        (
            "client: serial padded",
            "it has a serial number that is none in DER (0001)",
        ),
        (
            "issuing: BC pathlen 300",
            "the intermediate CN=issuing has the extension basicConstraints, which cannot",
        ),
        (
            "issuing: before 1970",
            "the intermediate CN=issuing has a date before 1970",
        ),
        (
            "root: EKU server",
            "the trusted CA CN=root's extended key usage does not include clientAuth",
        ),
        (
            "root: EKU any",
            "the trusted CA CN=root's extended key usage does not include clientAuth",
        ),
        (
            "root: unknown, critical",
            "the trusted CA CN=root has a critical extension that is not understood, 1.2.3.4.5",
        ),
        (
            "root: NC +DNS \"example.net\", client DNS *.net",
            "a wildcard needs two labels behind it",
        ),
        (
            "issuing: NC +DNS \"example.net\", client DNS a.example.net.",
            "\"a.example.net.\" cannot be compared",
        ),
        (
            "root: NC +DNS \"example.net.\", client DNS a.example.net",
            "the trusted CA CN=root has name constraints that",
        ),
        (
            "root: NC +DNS \".example.net\", client DNS example.net",
            "the DNS name example.net does not keep to them",
        ),
        (
            "list: from the future",
            "the only revocation list of its issuer is from the future",
        ),
    ] {
        let (_, plan) = rows
            .iter()
            .find(|(known, _)| known == name)
            .unwrap_or_else(|| panic!("no row {name}"));
        let said = plan.judge(Purpose::Client).0.unwrap_or_default();
        assert!(said.contains(words), "{name}: {said}");
    }
}
