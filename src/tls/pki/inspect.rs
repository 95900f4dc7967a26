//! What files of certificates, keys, requests and revocation lists say, and whether they belong together.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::authz::printable;
use crate::tls::certificate::system_time;
use crate::tls::identity::{alt_names, distinguished_name, fingerprint, hex};
use crate::tls::pki::object::{self, Der, Object};
use crate::tls::pki::request::add;
use crate::tls::pki::revocation::{REASONS, significant};
use crate::tls::pki::{Key, PkiError, Subject, is_issued_by, may_issue};
use crate::tls::{algorithms, pem};

/// Files, as far as they have been read.
#[derive(Default)]
pub struct Inspection {
    certificates: Vec<Placed>,
    keys: Vec<(String, Key)>,
    requests: Vec<(String, Der)>,
    lists: Vec<(String, Der)>,
    report: Report,
}

/// A certificate, the file that it is in, and its place there.
struct Placed {
    file: String,
    place: String,
    der: Der,
}

/// What there is to say.
#[derive(Debug, Default)]
pub struct Report {
    /// Each object, and then how they belong together.
    pub parts: Vec<Part>,
    /// How many things do not match, have expired, or cannot be read.
    pub problems: usize,
}

/// Something with a title and lines, each of which has a label.
#[derive(Debug, Default)]
pub struct Part {
    /// What it is, and where it stands.
    pub title: String,
    /// Labels and values. A problem has the label [`PROBLEM`].
    pub lines: Vec<(&'static str, String)>,
}

/// The label of a line that says what is wrong.
pub const PROBLEM: &str = "!";

impl Inspection {
    /// Reads a file, PEM or DER, and describes what is in it as of `now`.
    ///
    /// # Errors
    ///
    /// When it is not sound PEM; whatever else is wrong with it becomes a part of the report.
    pub fn read(&mut self, file: &str, bytes: &[u8], now: SystemTime) -> Result<(), PkiError> {
        let objects = object::read(bytes)?;
        if objects.is_empty() {
            self.describe(file, "nothing").problem("there is no certificate, key, request or CRL in it");
        }
        for (position, object) in objects.into_iter().enumerate() {
            let place = if position == 0 { file.to_owned() } else { format!("{file} ({})", position + 1) };
            match object {
                Object::Certificate(der) => {
                    certificate(&mut self.describe(&place, "certificate"), &der.der, now);
                    self.certificates.push(Placed { file: file.to_owned(), place, der });
                }
                Object::Key(key) => {
                    self.describe(&place, "private key").spki(&key.public_key());
                    self.keys.push((place, key));
                }
                Object::Request(der) => {
                    request(&mut self.describe(&place, "certificate request"), &der.der);
                    self.requests.push((place, der));
                }
                Object::RevocationList(der) => {
                    revocation_list(&mut self.describe(&place, "revocation list"), &der.der, now);
                    self.lists.push((place, der));
                }
                Object::Other(label) => self.describe(&place, &printable(&label)).line("", "not looked into"),
                Object::Broken(kind, reason) => self.describe(&place, &kind).problem(&printable(&reason)),
            }
        }
        Ok(())
    }

    /// How everything that was read belongs together.
    #[must_use]
    pub fn finish(mut self, now: SystemTime) -> Report {
        let certificates = std::mem::take(&mut self.certificates);
        let parsed: Vec<Given<'_>> = certificates.iter().map(Given::of).collect();
        if self.keys.len() + self.lists.len() > 0 || parsed.len() > 1 {
            let (keys, requests, lists) =
                (std::mem::take(&mut self.keys), std::mem::take(&mut self.requests), std::mem::take(&mut self.lists));
            let mut together = self.describe("together", "");
            keys.iter().for_each(|(place, key)| belongs(&mut together, place, key, &parsed, &requests));
            chains(&mut together, &parsed, now);
            lists.iter().for_each(|(place, list)| listed(&mut together, place, &list.der, &parsed));
        }
        self.report.parts.retain(|part| part.title != "together" || !part.lines.is_empty());
        self.report
    }

    fn describe(&mut self, place: &str, kind: &str) -> Writer<'_> {
        let title = if kind.is_empty() { place.to_owned() } else { format!("{place}: {kind}") };
        self.report.parts.push(Part { title, lines: Vec::new() });
        let part = self.report.parts.last_mut().expect("it was just pushed");
        Writer { part, problems: &mut self.report.problems }
    }
}

struct Writer<'a> {
    part: &'a mut Part,
    problems: &'a mut usize,
}

impl Writer<'_> {
    fn line(&mut self, label: &'static str, value: impl Display) {
        self.part.lines.push((label, value.to_string()));
    }

    fn problem(&mut self, what: &str) {
        *self.problems += 1;
        self.line(PROBLEM, what);
    }

    fn spki(&mut self, der: &[u8]) {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok((_, spki)) => self.line("key", key_type(&spki)),
            Err(error) => self.problem(&format!("its public key cannot be read: {error}")),
        }
        self.line("spki_sha256", fingerprint(der));
    }

    fn dates(&mut self, begin: SystemTime, end: Option<SystemTime>, now: SystemTime, [from, to]: [&'static str; 2]) {
        self.line(from, moment(begin, now));
        if let Some(end) = end {
            self.line(to, moment(end, now));
        }
        if now < begin {
            self.problem("it is not valid yet");
        }
        if end.is_some_and(|end| end < now) {
            self.problem("it has expired");
        }
    }
}

/// A moment, and how far away from `now` it is.
#[must_use]
pub fn moment(time: SystemTime, now: SystemTime) -> String {
    let text = Timestamp::try_from(time).map_or_else(|_| "an unknown time".to_owned(), |time| format!("{time:.0}"));
    let distance = |duration: Duration| match duration.as_secs() {
        seconds if seconds < 60 => "less than a minute".to_owned(),
        seconds if seconds < 2 * 3600 => format!("{} minutes", seconds / 60),
        seconds if seconds < 2 * 86400 => format!("{} hours", seconds / 3600),
        // What was just made for 90 days ends in 90 days.
        seconds => format!("{} days", (seconds + 43200) / 86400),
    };
    match time.duration_since(now) {
        Ok(ahead) => format!("{text}, in {}", distance(ahead)),
        Err(behind) => format!("{text}, {} ago", distance(behind.duration())),
    }
}

fn certificate(out: &mut Writer<'_>, der: &[u8], now: SystemTime) {
    let certificate = pem::parse(der).expect("it was parsed when the file was read");
    out.line("subject", distinguished_name(certificate.subject()));
    out.line("issuer", distinguished_name(certificate.issuer()));
    let names: Vec<String> = alt_names(&certificate).iter().map(ToString::to_string).collect();
    out.line("names", if names.is_empty() { "none (no subjectAltName)".to_owned() } else { names.join(", ") });
    let validity = certificate.validity();
    let (begin, end) = (system_time(validity.not_before), system_time(validity.not_after));
    out.dates(begin, Some(end), now, ["begins", "expires"]);
    out.spki(certificate.public_key().raw);
    out.line("usage", usage(&certificate));
    out.line(
        "CA",
        match certificate.basic_constraints() {
            Ok(Some(limits)) if limits.value.ca => match limits.value.path_len_constraint {
                Some(length) => format!("yes, with at most {length} CAs below it"),
                None => "yes".to_owned(),
            },
            Ok(_) => "no".to_owned(),
            Err(error) => format!("unknown: {error}"),
        },
    );
    if certificate.version().0 != 2 {
        out.line(
            "version",
            format!("{}, which TLS does not accept of a server or a client", certificate.version().0 + 1),
        );
    }
    out.line("serial", hex(significant(certificate.raw_serial())));
    out.line("sha256", fingerprint(der));
}

fn usage(certificate: &X509Certificate<'_>) -> String {
    let mut usages = Vec::new();
    if let Ok(Some(usage)) = certificate.key_usage() {
        usages.push(usage.value.to_string());
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        usages.push(extended_usage(usage.value));
    }
    if usages.is_empty() { "any".to_owned() } else { usages.join("; ") }
}

fn extended_usage(usage: &ExtendedKeyUsage<'_>) -> String {
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let known = known.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned());
    known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect::<Vec<_>>().join(", ")
}

fn key_type(spki: &SubjectPublicKeyInfo<'_>) -> String {
    let name = |oid| oid2sn(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            let curve = curve.map_or_else(
                || "an unnamed curve".to_owned(),
                |oid| match &*oid.to_id_string() {
                    "1.2.840.10045.3.1.7" => "P-256".to_owned(),
                    "1.3.132.0.34" => "P-384".to_owned(),
                    "1.3.132.0.35" => "P-521".to_owned(),
                    other => other.to_owned(),
                },
            );
            format!("ECDSA, {curve}")
        }
        _ if spki.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".to_owned(),
        _ => name(&spki.algorithm.algorithm),
    }
}

fn request(out: &mut Writer<'_>, der: &[u8]) {
    let (_, request) = X509CertificationRequest::from_der(der).expect("it was parsed when the file was read");
    let info = &request.certification_request_info;
    out.line("subject", distinguished_name(&info.subject));
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                let names: Vec<String> = names.general_names.iter().map(requested_name).collect();
                out.line("names", names.join(", "));
            }
            ParsedExtension::KeyUsage(usage) => out.line("usage", usage),
            ParsedExtension::ExtendedKeyUsage(usage) => out.line("usage", extended_usage(usage)),
            ParsedExtension::BasicConstraints(limits) if limits.ca => out.line("CA", "yes"),
            _ => {}
        }
    }
    out.spki(info.subject_pki.raw);
    if request.verify_signature().is_err() {
        out.problem("its signature is not that of its key, or of a kind that is not known here");
    }
}

/// As the names of certificates are written.
fn requested_name(name: &GeneralName<'_>) -> String {
    let mut subject = Subject::default();
    if add(&mut subject, name).is_err() {
        return printable(&name.to_string());
    }
    let Subject { dns, ips, emails, uris, .. } = subject;
    let dns = dns.iter().map(|name| format!("dns:{name}"));
    let ips = ips.iter().map(|ip| format!("ip:{ip}"));
    let emails = emails.iter().map(|email| format!("email:{}", printable(email)));
    let uris = uris.iter().map(|uri| format!("uri:{}", printable(uri)));
    dns.chain(ips).chain(emails).chain(uris).collect()
}

fn revocation_list(out: &mut Writer<'_>, der: &[u8], now: SystemTime) {
    let (_, list) = CertificateRevocationList::from_der(der).expect("it was parsed when the file was read");
    out.line("issuer", distinguished_name(list.issuer()));
    if let Some(number) = list.crl_number() {
        out.line("number", number);
    }
    let next = list.next_update().map(system_time);
    out.dates(system_time(list.last_update()), next, now, ["updated", "next update"]);
    out.line("revoked", list.iter_revoked_certificates().count());
    for revoked in list.iter_revoked_certificates() {
        out.line("", entry(revoked));
    }
}

fn entry(revoked: &RevokedCertificate<'_>) -> String {
    let date = Timestamp::try_from(system_time(revoked.revocation_date));
    let date = date.map_or_else(|_| String::new(), |date| format!("{date:.0}"));
    let reason = revoked.reason_code().map(|(_, code)| {
        let known = REASONS.iter().find(|(_, reason)| *reason as u8 == code.0);
        known.map_or_else(|| format!(", reason {}", code.0), |(name, _)| format!(", {name}"))
    });
    format!("{} since {date}{}", hex(significant(revoked.raw_serial())), reason.unwrap_or_default())
}

/// A certificate, and where it stands.
struct Given<'a> {
    file: &'a str,
    place: &'a str,
    der: &'a [u8],
    certificate: X509Certificate<'a>,
}

impl<'a> Given<'a> {
    fn of(Placed { file, place, der }: &'a Placed) -> Self {
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
fn belongs(out: &mut Writer<'_>, place: &str, key: &Key, given: &[Given<'_>], requests: &[(String, Der)]) {
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
fn chains(out: &mut Writer<'_>, given: &[Given<'_>], now: SystemTime) {
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
fn listed(out: &mut Writer<'_>, place: &str, der: &[u8], given: &[Given<'_>]) {
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
