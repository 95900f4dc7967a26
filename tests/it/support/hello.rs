//! ClientHellos as rustls writes them.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The first flight of a client that asks for `name`, with a post-quantum key share.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    hello_with(name, &[])
}

/// The same, of a client that offers these protocols. An IP address as `name` makes a hello without a server name.
pub(crate) fn hello_with(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The first flight of a client that spells the server name so, whatever rustls would make of it.
pub(crate) fn hello_verbatim(spelling: &str) -> Vec<u8> {
    let placeholder = "x".repeat(spelling.len());
    let mut bytes = hello(&placeholder);
    let at = bytes.windows(spelling.len()).position(|window| window == placeholder.as_bytes()).expect("the name");
    bytes[at..at + spelling.len()].copy_from_slice(spelling.as_bytes());
    bytes
}

/// The same handshake message in records of at most `size` bytes.
pub(crate) fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |chunk: &[u8]| {
        let length = u16::try_from(chunk.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, length[0], length[1]], chunk].concat()
    };
    hello[5..].chunks(size).flat_map(record).collect()
}

/// What a client reads that is refused before TLS begins: one fatal alert.
pub(crate) fn alert(code: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, code]
}
