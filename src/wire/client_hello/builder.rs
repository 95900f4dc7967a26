//! ClientHellos for the tests: right by default, and wrong wherever a test wants it.

/// The parts of a hello. No length is checked, only written.
#[derive(Clone)]
pub(super) struct HelloBuilder {
    pub(super) session_id: Vec<u8>,
    pub(super) suites: Vec<u8>,
    pub(super) compression: Vec<u8>,
    /// The block with its length, as far as there is one.
    pub(super) extensions: Option<Vec<u8>>,
}

impl HelloBuilder {
    /// A hello without extensions, as TLS 1.2 allows it.
    pub(super) fn new() -> Self {
        Self {
            session_id: vec![7; 32],
            suites: vec![0x13, 0x01],
            compression: vec![0],
            extensions: None,
        }
    }

    pub(super) fn named(name: &str) -> Self {
        Self::new().extension(0, &server_name(&[(0, name.as_bytes())]))
    }

    pub(super) fn extension(mut self, kind: u16, content: &[u8]) -> Self {
        let block = self.extensions.get_or_insert_default();
        block.extend(kind.to_be_bytes());
        block.extend(vector(content));
        self
    }

    /// Fills up with a padding extension (RFC 7685) until the message has `length` bytes.
    pub(super) fn padded_to(self, length: usize) -> Self {
        let missing = length - self.clone().extension(21, &[]).message().len();
        self.extension(21, &vec![0; missing])
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([0x55; 32]);
        body.extend(short_vector(&self.session_id));
        body.extend(vector(&self.suites));
        body.extend(short_vector(&self.compression));
        if let Some(extensions) = &self.extensions {
            body.extend(vector(extensions));
        }
        body
    }

    pub(super) fn message(&self) -> Vec<u8> {
        let body = self.body();
        let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        message[0] = 1;
        message.extend(body);
        message
    }

    pub(super) fn records(&self) -> Vec<u8> {
        in_records(&self.message(), 1 << 14)
    }
}

/// The message in records of `size` bytes, the last one perhaps shorter.
pub(super) fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|content| record(22, content))
        .collect()
}

pub(super) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], vector(content).as_slice()].concat()
}

/// The content of a `server_name` extension.
pub(super) fn server_name(names: &[(u8, &[u8])]) -> Vec<u8> {
    vector(
        &names
            .iter()
            .flat_map(|(kind, name)| [vec![*kind], vector(name)].concat())
            .collect::<Vec<_>>(),
    )
}

pub(super) fn vector(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&length.to_be_bytes(), content].concat()
}

pub(super) fn short_vector(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    [&[length], content].concat()
}
