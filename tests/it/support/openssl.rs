//! `openssl s_client` and `s_server`: a client that shares no code with the proxy, and spells a
//! server name as it is told; a server of the same kind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::support::PATIENCE;

/// What the client printed.
pub(crate) struct Printed(pub(crate) String);

/// Connects, says nothing, and reads until the server ends. It verifies nothing unless told to.
pub(crate) fn s_client(addr: SocketAddr, arguments: &[&str]) -> Printed {
    let mut command = Command::new("timeout");
    command
        .arg(PATIENCE.as_secs().to_string())
        .args(["openssl", "s_client", "-ign_eof", "-connect"]);
    let output = command
        .arg(addr.to_string())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Printed(format!("{out}{err}"))
}

impl Printed {
    /// The alert that the server sent.
    pub(crate) fn alert(&self) -> Option<u8> {
        let (_, number) = self.0.split_once("SSL alert number ")?;
        let end = number
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(number.len());
        Some(number[..end].parse().expect("a number"))
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.0.as_bytes()).ok()
    }
}

/// A running `openssl s_server` with a certificate for `a.example`. Killed when dropped.
pub(crate) struct SServer {
    pub(crate) addr: SocketAddr,
    process: Child,
    _dir: TempDir,
}

impl SServer {
    pub(crate) fn start(dir: TempDir, arguments: &[&str]) -> Self {
        let issued = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        fs::write(dir.path().join("cert.pem"), issued.cert.pem()).unwrap();
        fs::write(
            dir.path().join("key.pem"),
            issued.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-www",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            "cert.pem",
            "-key",
            "key.pem",
        ]);
        command.args(arguments).current_dir(dir.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().expect("openssl");
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let addr = lines
            .find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned))
            .expect("where it listens");
        // It must not wait for somebody who reads what it prints.
        thread::spawn(move || lines.count());
        Self {
            addr: addr.parse().unwrap(),
            process,
            _dir: dir,
        }
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
