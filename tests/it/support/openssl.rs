//! `openssl s_client`: a client that shares no code with the proxy, and spells a server name as it is told.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::PATIENCE;

/// What the client printed.
pub(crate) struct Printed(pub(crate) String);

/// Connects, says nothing, and reads until the server ends. It verifies nothing unless told to.
pub(crate) fn s_client(addr: SocketAddr, arguments: &[&str]) -> Printed {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).args(["openssl", "s_client", "-ign_eof", "-connect"]);
    let output = command.arg(addr.to_string()).args(arguments).stdin(Stdio::null()).output().expect("openssl");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Printed(format!("{out}{err}"))
}

impl Printed {
    /// The alert that the server sent.
    pub(crate) fn alert(&self) -> Option<u8> {
        let (_, number) = self.0.split_once("SSL alert number ")?;
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        Some(number[..end].parse().expect("a number"))
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.0.as_bytes()).ok()
    }
}
