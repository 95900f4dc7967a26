//! The configuration as it is in effect, written as a configuration file that means the same.
//!
//! Each file stands beside the one of the same name in `file`.

mod bind;
mod client_auth;
mod listeners;
mod routes;
pub(super) mod servers;
pub(super) mod settings;
mod tls;
pub(super) mod upstreams;
pub(super) mod value;

use std::collections::BTreeMap;

use crate::config::compile::resolver;
use crate::config::file::{File, Spanned};
use crate::config::model::Config;
use crate::config::show::settings::timeouts;
use crate::config::show::upstreams::upstream;
use crate::config::show::value::text;

impl Config {
    /// A file with every value spelled out: defaults, inheritance and inclusion are resolved.
    #[must_use]
    pub fn to_file(&self) -> File {
        let mut upstreams = BTreeMap::new();
        for options in self
            .routes
            .iter()
            .filter_map(|route| route.action.upstream())
            .filter(|options| options.is_named())
        {
            upstreams.insert(Spanned::from(options.name.to_string()), upstream(options));
        }
        File {
            include: None,
            listeners: self
                .listeners
                .iter()
                .map(|(name, listener)| (name.to_string().into(), listener.into()))
                .collect(),
            routes: self
                .routes
                .iter()
                .map(|route| (route.name.to_string().into(), self.route(route)))
                .collect(),
            upstreams,
            resolver: Some(Spanned::from(resolver::shown(&self.resolver, text))),
            tls: self
                .tls
                .iter()
                .map(|(name, tls)| (name.to_string().into(), tls.into()))
                .collect(),
            certificates: self
                .certificates
                .iter()
                .map(|(name, certificate)| (name.to_string().into(), certificate.into()))
                .collect(),
            storage: Some(Spanned::from(self.storage_section())),
            trust: self
                .trusts
                .named
                .iter()
                .map(|(name, trust)| (name.to_string().into(), trust.into()))
                .collect(),
            timeouts: Some(Spanned::from(timeouts(&self.timeouts))),
            log: Some(Spanned::from(self.log_section())),
        }
    }
}
