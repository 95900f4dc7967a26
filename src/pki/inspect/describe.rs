//! Description of one object in a file.

use std::time::SystemTime;

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::authz::printable;
use crate::pki::Subject;
use crate::pki::inspect::ReportWriter;
use crate::pki::request::add;
use crate::pki::revocation::REASONS;
use crate::x509::Crl;
use crate::x509::der::significant;
use crate::x509::identity::{alt_names, distinguished_name, fingerprint, hex};
use crate::x509::pem;
use crate::x509::time::system_time;

impl ReportWriter<'_> {
    /// A public key.
    pub(super) fn spki(&mut self, der: &[u8]) {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok((_, spki)) => self.line("key", key_type(&spki)),
            Err(_) => self.problem("its public key cannot be read"),
        }
        self.line("spki_sha256", fingerprint(der));
    }
}

pub(super) fn certificate(out: &mut ReportWriter<'_>, der: &[u8], now: SystemTime) {
    let certificate = pem::parse(der).expect("it was parsed when the file was read");
    out.line("subject", distinguished_name(certificate.subject()));
    out.line("issuer", distinguished_name(certificate.issuer()));
    let names: Vec<String> = alt_names(&certificate)
        .iter()
        .map(ToString::to_string)
        .collect();
    out.line(
        "names",
        if names.is_empty() {
            "none (no subjectAltName)".to_owned()
        } else {
            names.join(", ")
        },
    );
    let validity = certificate.validity();
    let (begin, end) = (
        system_time(validity.not_before),
        system_time(validity.not_after),
    );
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
            Err(_) => {
                "unknown: its basicConstraints cannot be read, or stand there twice".to_owned()
            }
        },
    );
    if certificate.version().0 != 2 {
        out.line(
            "version",
            format!(
                "{}, which TLS does not accept of a server or a client",
                certificate.version().0 + 1
            ),
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
    if usages.is_empty() {
        "any".to_owned()
    } else {
        usages.join("; ")
    }
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
    let known = known
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, name)| name.to_owned());
    known
        .chain(usage.other.iter().map(|oid| oid.to_id_string()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn key_type(spki: &SubjectPublicKeyInfo<'_>) -> String {
    let name = |oid| oid2sn(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = spki
                .algorithm
                .parameters
                .as_ref()
                .and_then(|parameters| parameters.as_oid().ok());
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

pub(super) fn request(out: &mut ReportWriter<'_>, der: &[u8]) {
    let (_, request) =
        X509CertificationRequest::from_der(der).expect("it was parsed when the file was read");
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
    let Subject {
        dns,
        ips,
        emails,
        uris,
        ..
    } = subject;
    let dns = dns.iter().map(|name| format!("dns:{name}"));
    let ips = ips.iter().map(|ip| format!("ip:{ip}"));
    let emails = emails
        .iter()
        .map(|email| format!("email:{}", printable(email)));
    let uris = uris.iter().map(|uri| format!("uri:{}", printable(uri)));
    dns.chain(ips).chain(emails).chain(uris).collect()
}

pub(super) fn revocation_list(out: &mut ReportWriter<'_>, der: &[u8], now: SystemTime) {
    let (_, list) =
        CertificateRevocationList::from_der(der).expect("it was parsed when the file was read");
    out.line("issuer", distinguished_name(list.issuer()));
    if let Some(number) = list.crl_number() {
        out.line("number", number);
    }
    let next = list.next_update().map(system_time);
    out.dates(
        system_time(list.last_update()),
        next,
        now,
        ["updated", "next update"],
    );
    // As `check` and the handshake read it.
    if let Err(reason) = Crl::read(der.to_vec().into()) {
        out.problem(&reason);
    }
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
        known.map_or_else(
            || format!(", reason {}", code.0),
            |(name, _)| format!(", {name}"),
        )
    });
    format!(
        "{} since {date}{}",
        hex(significant(revoked.raw_serial())),
        reason.unwrap_or_default()
    )
}
