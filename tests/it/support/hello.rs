//! ClientHellos, as rustls writes them and as no library would.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The first flight of a client that asks for `name`, with a post-quantum key share.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    hello_with(name, &[])
}

/// The same, of a client that offers these protocols. An IP address as `name` makes a hello without
/// a server name.
pub(crate) fn hello_with(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same handshake message, of a hello in one record, in records of at most `size` bytes.
pub(crate) fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    records(&hello[5..], size)
}

/// A handshake message in records of at most `size` bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|content| record(22, content))
        .collect()
}

pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], vector(content).as_slice()].concat()
}

/// A ClientHello made by hand: right by default, and wrong wherever a test wants it.
#[derive(Clone, Default)]
pub(crate) struct Handmade {
    extensions: Vec<u8>,
}

impl Handmade {
    /// One that asks for `name`, whatever that is.
    pub(crate) fn named(name: &[u8]) -> Self {
        Self::default().extension(0, &server_names(&[name]))
    }

    pub(crate) fn extension(mut self, kind: u16, content: &[u8]) -> Self {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(vector(content));
        self
    }

    /// Fills up with a padding extension (RFC 7685) until the message has `length` bytes.
    pub(crate) fn padded_to(self, length: usize) -> Self {
        let missing = length - self.clone().extension(21, &[]).message().len();
        self.extension(21, &vec![0; missing])
    }

    /// The handshake message with its header of four bytes.
    pub(crate) fn message(&self) -> Vec<u8> {
        // Version, random, no session, one cipher suite, no compression.
        let fixed = [&[3, 3][..], &[0x55; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
        let body = [fixed, vector(&self.extensions)].concat();
        let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        message[0] = 1;
        message.extend(body);
        message
    }

    /// All of it in as few records as it takes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        records(&self.message(), 1 << 14)
    }
}

/// The content of a `server_name` extension with these host names.
pub(crate) fn server_names(names: &[&[u8]]) -> Vec<u8> {
    vector(
        &names
            .iter()
            .flat_map(|name| [vec![0], vector(name)].concat())
            .collect::<Vec<_>>(),
    )
}

/// The content of an extension that offers these protocols.
pub(crate) fn protocols<'a>(protocols: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let protocol = |protocol: &[u8]| [&[u8::try_from(protocol.len()).unwrap()], protocol].concat();
    vector(&protocols.into_iter().flat_map(protocol).collect::<Vec<_>>())
}

fn vector(content: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(content.len()).unwrap().to_be_bytes(),
        content,
    ]
    .concat()
}

/// What a client reads that is refused before TLS begins: one fatal alert.
pub(crate) fn alert(code: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, code]
}
