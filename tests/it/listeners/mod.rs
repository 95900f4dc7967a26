//! Where clients are awaited: unix sockets, sockets of systemd's, both families, and what is said
//! when it cannot be.

mod bind;
mod notify;
mod systemd;
mod unix;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::PATIENCE;
use crate::support::backend::read_exact;

/// A unix connection whose reads and writes fail instead of waiting for ever.
fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the proxy accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these bytes and reads them back.
fn echo(stream: &mut (impl Write + std::io::Read), bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(
        read_exact(stream, bytes.len()) == bytes,
        "other bytes came back"
    );
}
