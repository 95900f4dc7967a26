//! Client authentication, as a configuration file has them.

use crate::authz::Rules;
use crate::config::file::{self};
use crate::config::show::value::some_list;
use crate::x509::{Expired, Unknown};

pub(super) fn crl(tls: &crate::config::Tls) -> file::Crl {
    file::Crl {
        depth: Some(tls.crl_depth),
        unknown: Some(match tls.crl_unknown {
            Unknown::Deny => file::Verdict::Deny,
            Unknown::Allow => file::Verdict::Allow,
        }),
        expired: Some(match tls.crl_expired {
            Expired::Deny => file::Verdict::Deny,
            Expired::Allow => file::Verdict::Allow,
        }),
    }
}

pub(super) fn rules(rules: &Rules) -> file::ClientRules {
    let Rules {
        dns,
        uri,
        email,
        ip,
        upn,
        cn,
        ou,
        o,
        subject,
        issuer,
        spki_sha256,
        serial,
    } = rules;
    file::ClientRules {
        dns: some_list(dns),
        uri: some_list(uri),
        email: some_list(email),
        cn: some_list(cn),
        ip: some_list(ip),
        upn: some_list(upn),
        ou: some_list(ou),
        o: some_list(o),
        subject: some_list(subject),
        issuer: some_list(issuer),
        spki_sha256: some_list(spki_sha256),
        serial: some_list(serial),
    }
}
