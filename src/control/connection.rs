//! Open connections, as they are listed, and the filter that chooses among them.

use serde::Serialize;

use crate::addr::Cidr;
use crate::authz::{ClientCertificate, Identity};
use crate::proxy::Live;

/// An open connection at one moment. What is not known yet is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionStatus {
    /// The `id` of its access line: 16 hexadecimal digits.
    pub id: String,
    /// Its listener.
    pub listener: String,
    /// The client's address: that which a PROXY header names, where one does.
    pub client: String,
    /// The address that connected, where a PROXY header names another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The server name that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// The protocols that the client offers; after a handshake, the one that was agreed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// The route that took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The action of that route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// The version of TLS, where snigate terminates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<&'static str>,
    /// The client, as its verified certificate states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// The upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The server that was reached, as the configuration has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Its address, where that does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_addr: Option<String>,
    /// Bytes to the client so far.
    pub sent: u64,
    /// Bytes from the client so far.
    pub received: u64,
    /// Seconds since it was accepted.
    pub age_s: u64,
}

/// A client, as its verified certificate states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityStatus {
    /// The subject, in the manner of RFC 4514.
    pub subject: String,
    /// The subjectAltNames, each with its kind.
    pub names: Vec<String>,
    /// The issuer, in the manner of RFC 4514.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The SHA-256 digest of the certificate in hexadecimal.
    pub sha256: String,
}

impl ConnectionStatus {
    /// That of an open connection.
    #[must_use]
    pub fn of(live: &Live) -> Self {
        let record = &live.record;
        let client = record.client();
        let route = record.route.get();
        let name = record.hello.get().map(|hello| &hello.server_name);
        Self {
            id: format!("{:016x}", record.id),
            listener: record.listener.to_string(),
            client: client.to_string(),
            peer: (record.peer != client).then(|| record.peer.to_string()),
            sni: name
                .map(ToString::to_string)
                .filter(|name| !name.is_empty()),
            alpn: record.alpn().iter().map(ToString::to_string).collect(),
            route: route.map(|matched| matched.route.to_string()),
            action: route.map(|matched| matched.action),
            tls_version: record.session.get().map(|session| session.version),
            identity: verified(live).map(IdentityStatus::of),
            upstream: record.upstream.get().map(ToString::to_string),
            server: record.server.get().map(ToString::to_string),
            server_addr: record.reached.get().map(ToString::to_string),
            sent: live.sent(),
            received: live.received(),
            age_s: record.accepted.elapsed().as_secs(),
        }
    }
}

impl IdentityStatus {
    fn of(identity: &Identity) -> Self {
        Self {
            subject: identity.subject.clone(),
            names: identity.names.iter().map(ToString::to_string).collect(),
            issuer: identity.issuer.clone(),
            serial: identity.serial.clone(),
            sha256: identity.fingerprint.clone(),
        }
    }
}

/// The filter of connections: those that have everything that is given here. An empty filter means
/// all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The connection of this number.
    pub id: Option<u64>,
    /// Of this listener.
    pub listener: Option<String>,
    /// Of this route.
    pub route: Option<String>,
    /// With this server name, in lower case.
    pub sni: Option<String>,
    /// Whose client's address is in this range.
    pub client: Option<Cidr>,
    /// To this server, as the configuration has it.
    pub server: Option<String>,
    /// Of clients whose verified certificate has this subject.
    pub subject: Option<String>,
    /// Of clients whose verified certificate has this serial number, in lower-case hexadecimal.
    pub serial: Option<String>,
    /// Of clients whose verified certificate has this SHA-256 digest, in lower-case hexadecimal.
    pub sha256: Option<String>,
}

impl Filter {
    /// Whether the filter chooses this connection. What is not known of a connection yet is never
    /// what the filter asks for.
    #[must_use]
    pub fn matches(&self, live: &Live) -> bool {
        let Self {
            id,
            listener,
            route,
            sni,
            client,
            server,
            subject,
            serial,
            sha256,
        } = self;
        let record = &live.record;
        let identity = || verified(live);
        id.is_none_or(|id| id == record.id)
            && is(listener, || Some(&*record.listener))
            && is(route, || record.route.get().map(|matched| &*matched.route))
            && is(sni, || record.server_name().map(|name| name.as_str()))
            && client.is_none_or(|range| record.client().ip().is_some_and(|ip| range.contains(ip)))
            && (server.is_none() || record.server.get().map(ToString::to_string) == *server)
            && is(subject, || identity().map(|identity| &*identity.subject))
            && is(serial, || identity().map(|identity| &*identity.serial))
            && is(sha256, || identity().map(|identity| &*identity.fingerprint))
    }
}

/// Whether nothing is asked for, or what there is.
fn is<'a>(wanted: &Option<String>, actual: impl FnOnce() -> Option<&'a str>) -> bool {
    wanted
        .as_deref()
        .is_none_or(|wanted| actual() == Some(wanted))
}

/// The identity of the client, if it is verified.
fn verified(live: &Live) -> Option<&Identity> {
    live.record
        .certificate
        .get()
        .and_then(|certificate| ClientCertificate::verified(certificate))
}
