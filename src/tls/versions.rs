//! Versions of TLS: those that a client offers beside those that a route takes.
//!
//! The question is answered before rustls sees the hello. A client of TLS 1.1 lacks extensions that
//! rustls asks for first, and would be told of those.

use rustls::SupportedProtocolVersion;

use crate::wire::ClientHello;

/// The names of TLS's versions, by their numbers in a hello (RFC 8446 §4.2.1, RFC 5246 §E.1).
const NAMES: [(u16, &str); 5] = [
    (0x0304, "TLS 1.3"),
    (0x0303, "TLS 1.2"),
    (0x0302, "TLS 1.1"),
    (0x0301, "TLS 1.0"),
    (0x0300, "SSL 3.0"),
];

/// The fault in the versions of `hello` where only `taken` are spoken; `None` if one of them is in
/// both.
///
/// The work is linear in the versions that are offered, of which there are at most 127.
pub(super) fn judge(hello: &ClientHello, taken: &[&SupportedProtocolVersion]) -> Option<Box<str>> {
    let taken: Vec<u16> = taken.iter().map(|version| version.version.into()).collect();
    if taken
        .iter()
        .any(|version| hello.versions.contains(*version))
    {
        return None;
    }
    let named = |is_among: &dyn Fn(u16) -> bool| {
        let names: Vec<&str> = NAMES
            .iter()
            .filter(|(number, _)| is_among(*number))
            .map(|(_, name)| *name)
            .collect();
        names.join(" and ")
    };
    let offered = match &*named(&|number| hello.versions.contains(number)) {
        "" => "no version of TLS that is known".to_owned(),
        names => format!("only {names}"),
    };
    let key = if taken.contains(&TLS13) {
        "min_version"
    } else {
        "max_version"
    };
    let taken = named(&|number| taken.contains(&number));
    Some(format!("the client speaks {offered}, and the route {taken}; see `{key}`").into())
}

const TLS13: u16 = 0x0304;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{AlertDescription, ServerConfig, ServerConnection};

    use super::*;
    use crate::tls::SelfSigned;
    use crate::tls::provider::provider;
    use crate::wire::HelloParser;

    /// A hello with this legacy version and, if there are any, `supported_versions`.
    fn hello(legacy: u16, supported: &[u16]) -> Vec<u8> {
        let list: Vec<u8> = supported
            .iter()
            .flat_map(|version| version.to_be_bytes())
            .collect();
        let extension = |kind: u16, content: &[u8]| {
            [
                &kind.to_be_bytes()[..],
                &(content.len() as u16).to_be_bytes(),
                content,
            ]
            .concat()
        };
        let mut extensions = [
            extension(10, &[0, 2, 0, 0x17]),
            extension(13, &[0, 4, 4, 3, 8, 4]),
            extension(23, &[]),
            extension(11, &[1, 0]),
        ]
        .concat();
        if !supported.is_empty() {
            extensions.extend(extension(43, &[&[list.len() as u8], &*list].concat()));
        }
        // TLS_AES_128_GCM_SHA256 and TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.
        let fixed = [
            &legacy.to_be_bytes()[..],
            &[0x55; 32],
            &[0],
            &[0, 4, 0x13, 1, 0xc0, 0x2b],
            &[1, 0],
        ]
        .concat();
        let body = [
            &fixed[..],
            &(extensions.len() as u16).to_be_bytes(),
            &extensions,
        ]
        .concat();
        let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
        [
            &[22, 3, 1][..],
            &(message.len() as u16).to_be_bytes(),
            &message,
        ]
        .concat()
    }

    /// Whether rustls refuses the hello because of its versions.
    fn is_refused(config: &Arc<ServerConfig>, mut hello: &[u8]) -> bool {
        let mut session = ServerConnection::new(Arc::clone(config)).unwrap();
        session.read_tls(&mut hello).unwrap();
        let _ = session.process_new_packets();
        let mut written = Vec::new();
        session.write_tls(&mut written).unwrap();
        written.starts_with(&[21, 3])
            && written.ends_with(&[u8::from(AlertDescription::ProtocolVersion)])
    }

    #[test]
    fn every_combination_of_versions_is_refused_where_rustls_would_and_named() {
        const KNOWN: [u16; 5] = [0x0300, 0x0301, 0x0302, 0x0303, 0x0304];
        let sets = (0u32..32).map(|set| {
            KNOWN
                .into_iter()
                .enumerate()
                .filter(move |(at, _)| set & (1 << at) != 0)
        });
        let sets: Vec<Vec<u16>> = sets
            .map(|set| set.map(|(_, version)| version).collect())
            .collect();
        let own = SelfSigned::new(&["a.example".to_owned()], SystemTime::now()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(own.key.unwrap().as_bytes()).unwrap();
        let mut refusals = 0;
        for taken in [
            &[&rustls::version::TLS12][..],
            &[&rustls::version::TLS13],
            rustls::ALL_VERSIONS,
        ] {
            let config = ServerConfig::builder_with_provider(Arc::clone(provider()));
            let config = config
                .with_protocol_versions(taken)
                .unwrap()
                .with_no_client_auth();
            let config = Arc::new(
                config
                    .with_single_cert(chain.clone(), key.clone_key())
                    .unwrap(),
            );
            for (legacy, supported) in KNOWN
                .iter()
                .flat_map(|legacy| sets.iter().map(move |set| (*legacy, set)))
            {
                let bytes = hello(legacy, supported);
                let parsed = HelloParser::new().feed(&bytes).unwrap().unwrap();
                let said = judge(&parsed, taken);
                assert_eq!(
                    said.is_some(),
                    is_refused(&config, &bytes),
                    "{legacy:#x} {supported:x?}: {said:?}"
                );
                refusals += usize::from(said.is_some());
            }
        }
        assert!(refusals > 100, "{refusals}");
        let said = |legacy, supported: &[u16], taken| {
            judge(
                &HelloParser::new()
                    .feed(&hello(legacy, supported))
                    .unwrap()
                    .unwrap(),
                taken,
            )
            .unwrap()
            .into_string()
        };
        let both = rustls::ALL_VERSIONS;
        assert_eq!(
            said(0x0302, &[], both),
            "the client speaks only TLS 1.1, and the route TLS 1.3 and TLS 1.2; see `min_version`"
        );
        assert!(said(0x0303, &[0x0302, 0x0301], both).contains("only TLS 1.1 and TLS 1.0,"));
        assert!(said(0x0303, &[0x7f1c], both).contains("speaks no version of TLS that is known,"));
        let only_12 = said(0x0303, &[0x0304], &[&rustls::version::TLS12]);
        assert_eq!(
            only_12,
            "the client speaks only TLS 1.3, and the route TLS 1.2; see `max_version`"
        );
    }
}
