//! Relations of objects: keys to certificates, certificates to their issuers, lists to both.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::pki::inspect::ReportWriter;
use crate::pki::object::Der;
use crate::pki::{Key, is_issued_by, may_issue};
use crate::x509::ca::Anchors;
use crate::x509::der::significant;
use crate::x509::identity::distinguished_name;
use crate::x509::path::{Paths, PeerWords, Purpose};
use crate::x509::time::system_time;
use crate::x509::{CaCertificate, Crl, NotSpoken, pem};

/// A certificate, the file that it is in, and its place there.
pub(super) struct FileCertificate {
    pub(super) file: String,
    pub(super) place: String,
    pub(super) der: Der,
}

/// A certificate, and where it stands.
pub(super) struct InspectedFile<'a> {
    file: &'a str,
    place: &'a str,
    der: &'a [u8],
    certificate: X509Certificate<'a>,
}

impl<'a> InspectedFile<'a> {
    pub(super) fn of(FileCertificate { file, place, der }: &'a FileCertificate) -> Self {
        let certificate = pem::parse(&der.der).expect("it was parsed when the file was read");
        Self {
            file,
            place,
            der: &der.der,
            certificate,
        }
    }

    fn is_self_issued(&self) -> bool {
        self.certificate.issuer().as_raw() == self.certificate.subject().as_raw()
    }

    fn name(&self) -> String {
        format!(
            "{} ({})",
            distinguished_name(self.certificate.subject()),
            self.place
        )
    }
}

/// The certificates and requests that have the public half of a key.
pub(super) fn belongs(
    out: &mut ReportWriter<'_>,
    place: &str,
    key: &Key,
    given: &[InspectedFile<'_>],
    requests: &[(String, Der)],
) {
    let public_key = key.public_key();
    let certificates = given
        .iter()
        .filter(|given| given.certificate.public_key().raw == public_key);
    let requests_of_key = requests.iter().filter(|(_, der)| {
        let (_, request) = X509CertificationRequest::from_der(&der.der)
            .expect("it was parsed when the file was read");
        request.certification_request_info.subject_pki.raw == public_key
    });
    let owners: Vec<String> = certificates
        .map(InspectedFile::name)
        .chain(requests_of_key.map(|(place, _)| format!("the request {place}")))
        .collect();
    if !owners.is_empty() {
        out.line("key", format!("{place} belongs to {}", owners.join(", ")));
    } else if !given.is_empty() || !requests.is_empty() {
        out.problem(&format!(
            "the key {place} belongs to none of the certificates and requests"
        ));
    }
}

/// The chain of each certificate that has issued no other one, and whether it verifies.
pub(super) fn chains(out: &mut ReportWriter<'_>, given: &[InspectedFile<'_>], now: SystemTime) {
    if given.len() < 2 {
        return;
    }
    let mut is_issuer = vec![false; given.len()];
    let mut chains = Vec::new();
    for start in 0..given.len() {
        let mut chain = vec![start];
        while let Some(issuer) = issuer_of(&chain, given) {
            is_issuer[issuer] = true;
            chain.push(issuer);
        }
        chains.push(chain);
    }
    let a_ca_is_given = given.iter().any(|given| given.certificate.is_ca());
    for chain in chains.iter().filter(|chain| !is_issuer[chain[0]]) {
        let members: Vec<&InspectedFile<'_>> = chain.iter().map(|&at| &given[at]).collect();
        let text = members
            .iter()
            .map(|given| given.name())
            .collect::<Vec<_>>()
            .join(" <- ");
        let is_reversed =
            |pair: &[usize]| pair[0] > pair[1] && given[pair[0]].file == given[pair[1]].file;
        let order = if chain.windows(2).any(is_reversed) {
            "; the file has them in another order"
        } else {
            ""
        };
        let last = members[members.len() - 1];
        let missing = distinguished_name(last.certificate.issuer());
        if chain.len() == 1 && !last.is_self_issued() && a_ca_is_given {
            out.problem(&format!(
                "{text} was issued by none of the given certificates, but by {missing}"
            ));
        } else if !last.is_self_issued() {
            out.line(
                "chain",
                format!("{text} <- {missing}, which is not here{order}"),
            );
        } else if let Err(reason) = verify(&members, now) {
            out.problem(&format!("the chain {text} does not verify: {reason}"));
        } else if chain.len() > 1 {
            out.line("chain", format!("{text}: verifies{order}"));
        }
    }
}

/// The next link. A name alone is not enough: two authorities may have the same one.
fn issuer_of(chain: &[usize], given: &[InspectedFile<'_>]) -> Option<usize> {
    let last = &given[*chain.last()?];
    if last.is_self_issued() {
        return None;
    }
    (0..given.len())
        .find(|at| !chain.contains(at) && is_issued_by(&last.certificate, &given[*at].certificate))
}

/// RFC 5280 §6, as a client that trusts the last of `chain` does it. Of a chain without a leaf, the
/// signatures were enough.
fn verify(chain: &[&InspectedFile<'_>], now: SystemTime) -> Result<(), String> {
    let [leaf, issuers @ .., root] = chain else {
        return Ok(());
    };
    if leaf.certificate.is_ca() {
        return Ok(());
    }
    anchor_allows(root, issuers.len(), now)?;
    let ders: Vec<CertificateDer<'_>> = chain
        .iter()
        .map(|given| CertificateDer::from(given.der))
        .collect();
    let authorities = CaCertificate::parse_bundle(root.der).map_err(|error| error.to_string())?;
    let is_client_only = matches!(leaf.certificate.extended_key_usage(), Ok(Some(usage))
        if usage.value.client_auth && !usage.value.server_auth);
    let (purpose, side) = if is_client_only {
        (Purpose::Client, CLIENT)
    } else {
        (Purpose::Server, SERVER)
    };
    let time = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let paths = Paths::new(Arc::new(Anchors::new(&authorities)), None, purpose);
    paths
        .verify(&ders[0], &ders[1..=issuers.len()], None, time)
        .map_err(|flaw| flaw.words(&side))
}

/// How the chains of files are spoken of.
const CLIENT: PeerWords<'static> = PeerWords {
    peer: "client",
    trust: "the CAs that are trusted",
    usage: "clientAuth",
    pin: "list its key in `client_auth.spki_sha256` with `client_auth.mode = \"pinned\"`",
};
const SERVER: PeerWords<'static> = PeerWords {
    peer: "server",
    usage: "serverAuth",
    pin: "name its key in `tls.pin` of an upstream",
    ..CLIENT
};

/// Checks the conditions that others have for a trust anchor.
fn anchor_allows(root: &InspectedFile<'_>, issuers: usize, now: SystemTime) -> Result<(), String> {
    if system_time(root.certificate.validity().not_after) < now {
        return Err(format!("{} has expired", root.name()));
    }
    if !may_issue(&root.certificate) {
        return Err(format!("{} is not a CA", root.name()));
    }
    let limit = root
        .certificate
        .basic_constraints()
        .ok()
        .flatten()
        .and_then(|limits| limits.value.path_len_constraint);
    match limit {
        Some(limit) if usize::try_from(limit).is_ok_and(|limit| issuers > limit) => Err(format!(
            "{} allows at most {limit} CAs below it",
            root.name()
        )),
        _ => Ok(()),
    }
}

/// The issuer of a list, and the given certificates that are on it.
pub(super) fn listed(
    out: &mut ReportWriter<'_>,
    place: &str,
    der: &[u8],
    given: &[InspectedFile<'_>],
) {
    let (_, list) =
        CertificateRevocationList::from_der(der).expect("it was parsed when the file was read");
    whose(out, place, der, given);
    for given in given {
        let serial = significant(given.certificate.raw_serial());
        let is_listed = list
            .iter_revoked_certificates()
            .any(|revoked| significant(revoked.raw_serial()) == serial);
        if is_listed && given.certificate.issuer().as_raw() == list.issuer().as_raw() {
            out.problem(&format!("{} is revoked: {place} lists it", given.name()));
        }
    }
}

/// The CAs among the given ones that a list speaks for, as `check` finds that out.
fn whose(out: &mut ReportWriter<'_>, place: &str, der: &[u8], given: &[InspectedFile<'_>]) {
    // What is wrong with the list itself stands beside it.
    let Ok(list) = Crl::read(der.to_vec().into()) else {
        return;
    };
    let of_cas = given
        .iter()
        .filter(|given| given.certificate.is_ca() || given.certificate.version().0 != 2);
    let cas: Vec<(&InspectedFile<'_>, Vec<CaCertificate>)> = of_cas
        .filter_map(|given| Some((given, CaCertificate::parse_bundle(given.der).ok()?)))
        .collect();
    let found = cas.iter().find(|(_, ca)| list.speaks_for(ca).is_ok());
    let all: Vec<CaCertificate> = cas.iter().flat_map(|(_, ca)| ca.iter().cloned()).collect();
    match list.speaks_for(&all) {
        Ok(_) => out.line(
            "list",
            format!(
                "{place} was signed by {}",
                found.map_or_else(String::new, |(ca, _)| ca.name())
            ),
        ),
        Err(_) if all.is_empty() => {}
        Err(NotSpoken::OtherKey) => {
            let named = cas
                .iter()
                .find(|(_, ca)| ca.iter().any(|ca| list.is_named(ca.name())));
            let name = named.map_or_else(|| list.issuer().to_owned(), |(ca, _)| ca.name());
            out.problem(&format!(
                "the list {place} was not signed by {name}, although it says so"
            ));
        }
        Err(NotSpoken::Stranger) => {
            out.problem(&format!(
                "the list {place} is of {}, which is none of the given CAs",
                list.issuer()
            ));
        }
        Err(reason) => out.problem(&format!(
            "the list {place} speaks for none of the given CAs: {reason}"
        )),
    }
}
