//! How objects belong together: keys to certificates, certificates to those who issued them, lists to both.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::tls::certificate::system_time;
use crate::tls::der::significant;
use crate::tls::identity::distinguished_name;
use crate::tls::pki::inspect::Writer;
use crate::tls::pki::object::Der;
use crate::tls::pki::{Key, is_issued_by, may_issue};
use crate::tls::{algorithms, pem};

/// A certificate, the file that it is in, and its place there.
pub(super) struct Placed {
    pub(super) file: String,
    pub(super) place: String,
    pub(super) der: Der,
}

/// A certificate, and where it stands.
pub(super) struct Given<'a> {
    file: &'a str,
    place: &'a str,
    der: &'a [u8],
    certificate: X509Certificate<'a>,
}

impl<'a> Given<'a> {
    pub(super) fn of(Placed { file, place, der }: &'a Placed) -> Self {
        let certificate = pem::parse(&der.der).expect("it was parsed when the file was read");
        Self { file, place, der: &der.der, certificate }
    }

    fn is_self_issued(&self) -> bool {
        self.certificate.issuer().as_raw() == self.certificate.subject().as_raw()
    }

    fn name(&self) -> String {
        format!("{} ({})", distinguished_name(self.certificate.subject()), self.place)
    }
}

/// Which certificates and requests have the public half of a key.
pub(super) fn belongs(out: &mut Writer<'_>, place: &str, key: &Key, given: &[Given<'_>], requests: &[(String, Der)]) {
    let public_key = key.public_key();
    let certificates = given.iter().filter(|given| given.certificate.public_key().raw == public_key);
    let requests_of_key = requests.iter().filter(|(_, der)| {
        let (_, request) = X509CertificationRequest::from_der(&der.der).expect("it was parsed when the file was read");
        request.certification_request_info.subject_pki.raw == public_key
    });
    let owners: Vec<String> =
        certificates.map(Given::name).chain(requests_of_key.map(|(place, _)| format!("the request {place}"))).collect();
    if !owners.is_empty() {
        out.line("key", format!("{place} belongs to {}", owners.join(", ")));
    } else if !given.is_empty() || !requests.is_empty() {
        out.problem(&format!("the key {place} belongs to none of the certificates and requests"));
    }
}

/// The chain of each certificate that has issued no other one, and whether it verifies.
pub(super) fn chains(out: &mut Writer<'_>, given: &[Given<'_>], now: SystemTime) {
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
        let members: Vec<&Given<'_>> = chain.iter().map(|&at| &given[at]).collect();
        let text = members.iter().map(|given| given.name()).collect::<Vec<_>>().join(" <- ");
        let is_reversed = |pair: &[usize]| pair[0] > pair[1] && given[pair[0]].file == given[pair[1]].file;
        let order = if chain.windows(2).any(is_reversed) { "; the file has them in another order" } else { "" };
        let last = members[members.len() - 1];
        let missing = distinguished_name(last.certificate.issuer());
        if chain.len() == 1 && !last.is_self_issued() && a_ca_is_given {
            out.problem(&format!("{text} was issued by none of the given certificates, but by {missing}"));
        } else if !last.is_self_issued() {
            out.line("chain", format!("{text} <- {missing}, which is not here{order}"));
        } else if let Err(reason) = verify(&members, now) {
            out.problem(&format!("the chain {text} does not verify: {reason}"));
        } else if chain.len() > 1 {
            out.line("chain", format!("{text}: verifies{order}"));
        }
    }
}

/// The next link. A name alone is not enough: two authorities may have the same one.
fn issuer_of(chain: &[usize], given: &[Given<'_>]) -> Option<usize> {
    let last = &given[*chain.last()?];
    if last.is_self_issued() {
        return None;
    }
    (0..given.len()).find(|at| !chain.contains(at) && is_issued_by(&last.certificate, &given[*at].certificate))
}

/// RFC 5280 §6, as a client that trusts the last of `chain` does it. Of a chain without a leaf, the signatures were
/// enough.
fn verify(chain: &[&Given<'_>], now: SystemTime) -> Result<(), String> {
    let [leaf, issuers @ .., root] = chain else { return Ok(()) };
    if leaf.certificate.is_ca() {
        return Ok(());
    }
    let to_text = |error: webpki::Error| error.to_string();
    let ders: Vec<CertificateDer<'_>> = chain.iter().map(|given| CertificateDer::from(given.der)).collect();
    let anchor = webpki::anchor_from_trusted_cert(&ders[chain.len() - 1]).map_err(to_text)?;
    let is_client_only = matches!(leaf.certificate.extended_key_usage(), Ok(Some(usage))
        if usage.value.client_auth && !usage.value.server_auth);
    let usage = if is_client_only { webpki::KeyUsage::client_auth() } else { webpki::KeyUsage::server_auth() };
    let time = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let intermediates = &ders[1..=issuers.len()];
    let leaf = webpki::EndEntityCert::try_from(&ders[0]).map_err(to_text)?;
    leaf.verify_for_usage(algorithms().all, &[anchor], intermediates, time, usage, None, None).map_err(to_text)?;
    anchor_allows(root, issuers.len(), now)
}

/// What webpki does not look at in a trust anchor, and other verifiers do.
fn anchor_allows(root: &Given<'_>, issuers: usize, now: SystemTime) -> Result<(), String> {
    if system_time(root.certificate.validity().not_after) < now {
        return Err(format!("{} has expired", root.name()));
    }
    if !may_issue(&root.certificate) {
        return Err(format!("{} is not a CA", root.name()));
    }
    let limit = root.certificate.basic_constraints().ok().flatten().and_then(|limits| limits.value.path_len_constraint);
    match limit {
        Some(limit) if usize::try_from(limit).is_ok_and(|limit| issuers > limit) => {
            Err(format!("{} allows at most {limit} CAs below it", root.name()))
        }
        _ => Ok(()),
    }
}

/// Whose list it is, and which of the given certificates are on it.
pub(super) fn listed(out: &mut Writer<'_>, place: &str, der: &[u8], given: &[Given<'_>]) {
    let (_, list) = CertificateRevocationList::from_der(der).expect("it was parsed when the file was read");
    let of_its_name = |given: &&Given<'_>| given.certificate.subject().as_raw() == list.issuer().as_raw();
    let issuers: Vec<&Given<'_>> = given.iter().filter(of_its_name).collect();
    match issuers.iter().find(|given| list.verify_signature(given.certificate.public_key()).is_ok()) {
        Some(issuer) => out.line("list", format!("{place} was signed by {}", issuer.name())),
        None if issuers.is_empty() => {}
        None => out.problem(&format!("the list {place} was not signed by {}, although it says so", issuers[0].name())),
    }
    for given in given {
        let serial = significant(given.certificate.raw_serial());
        let is_listed = list.iter_revoked_certificates().any(|revoked| significant(revoked.raw_serial()) == serial);
        if is_listed && given.certificate.issuer().as_raw() == list.issuer().as_raw() {
            out.problem(&format!("{} is revoked: {place} lists it", given.name()));
        }
    }
}
