//! Verdict of `snigate check` on a file of certificates.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use crate::pki::inspect::ReportWriter;
use crate::x509::CaCertificate;
use crate::x509::chain::{Given, says_ca};
use crate::x509::issues::issues;
use crate::x509::pem;

/// A chain is judged as a server would send it, CAs by themselves.
pub(super) fn file(out: &mut ReportWriter<'_>, ders: &[CertificateDer<'static>], now: SystemTime) {
    let parsed: Vec<X509Certificate<'_>> = ders
        .iter()
        .map(|der| pem::parse(der).expect("it was parsed when the file was read"))
        .collect();
    let Some(leaf) = parsed.iter().find(|certificate| !says_ca(certificate)) else {
        return authorities(out, ders, now);
    };
    let is_of_key = |at: &usize| parsed[*at].public_key().raw == leaf.public_key().raw;
    let leaves: Vec<usize> = (0..parsed.len()).filter(is_of_key).collect();
    let given = Given {
        ders,
        parsed: &parsed,
    };
    let Some(chain) = given.chains(&leaves, now).into_iter().next() else {
        return;
    };
    let is_for_clients = matches!(leaf.extended_key_usage(), Ok(Some(usage))
        if usage.value.client_auth && !usage.value.server_auth);
    for issue in issues(&chain, &leaves, given, now) {
        if issue.is_fatal() && !(is_for_clients && issue.is_of_servers()) {
            out.problem(&issue.to_string());
        } else if !(is_for_clients && issue.is_of_servers()) {
            out.line("note", issue);
        }
    }
}

fn authorities(out: &mut ReportWriter<'_>, ders: &[CertificateDer<'static>], now: SystemTime) {
    for der in ders {
        let Ok(found) = CaCertificate::parse_bundle(der) else {
            continue;
        };
        for authority in found {
            for fault in authority.faults(now, None) {
                let text = format!("{} {fault}", authority.subject());
                if fault.is_fatal() {
                    out.problem(&text)
                } else {
                    out.line("note", text)
                }
            }
        }
    }
}
