//! `[tls]`, `[trust]` and `[certificates]`, as a configuration file has them.

use std::path::Path;

use crate::authz::Policy;
use crate::config::file::{self, Spanned};
use crate::config::show::client_auth::{crl, rules};
use crate::config::show::value::{absolute, list, some_list};
use crate::config::trust::Trust;

impl From<&Trust> for file::Trust {
    fn from(trust: &Trust) -> Self {
        let ca_files: Vec<String> = trust.ca_files.iter().map(|path| absolute(path)).collect();
        Self {
            system: Some(trust.system),
            ca_files: some_list(&ca_files),
            pem: trust.pem.clone().map(Spanned::from),
        }
    }
}

impl From<&crate::config::Tls> for file::Tls {
    fn from(tls: &crate::config::Tls) -> Self {
        let ca_files: Vec<String> = tls.ca_files.iter().map(|path| absolute(path)).collect();
        let crl_files: Vec<String> = tls.crl_files.iter().map(|path| absolute(path)).collect();
        let cert_files: Vec<String> = tls.cert_files.iter().map(|path| absolute(path)).collect();
        let Policy { allow, deny } = &tls.policy;
        let client_auth = file::ClientAuth {
            mode: Some(Spanned::from(tls.client_auth)),
            spki_sha256: some_list(&tls.spki_sha256).map(Spanned::from),
            cert_files: some_list(&cert_files).map(Spanned::from),
            dates: (tls.client_auth == file::ClientAuthMode::Pinned)
                .then(|| Spanned::from(tls.dates)),
            ca_files: some_list(&ca_files).map(Spanned::from),
            allow: allow.as_ref().map(|allow| Spanned::from(rules(allow))),
            deny: (!deny.is_empty()).then(|| Spanned::from(rules(deny))),
            crl_files: some_list(&crl_files).map(Spanned::from),
            crl: (!crl_files.is_empty()).then(|| Spanned::from(crl(tls))),
        };
        Self {
            extends: None,
            min_version: Some(tls.min_version),
            max_version: Some(Spanned::from(tls.max_version)),
            alpn: some_list(&tls.alpn),
            client_auth: Some(client_auth),
            on_revoke: Some(Spanned::from(tls.on_revoke)),
        }
    }
}

impl From<&crate::config::NamedCertificate> for file::Certificate {
    fn from(named: &crate::config::NamedCertificate) -> Self {
        let path = |path: &Path| Some(Spanned::from(absolute(path)));
        match &named.self_signed {
            Some(own) => Self {
                self_signed: Some(Spanned::from(true)),
                names: Some(list(own.names())),
                ..Self::default()
            },
            None => Self {
                cert_file: path(&named.cert_file),
                key_file: path(&named.key_file),
                ..Self::default()
            },
        }
    }
}
