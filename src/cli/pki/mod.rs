//! `snigate pki`: a private certificate authority in a directory.
//!
//! The files have the names that `dir` of a `[certificates]` table expects: `ca.crt` beside
//! NAME.pem and NAME-key.pem.

mod crl;
mod csr;
mod init;
mod inspect;
mod issue;
mod names;
mod p12;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::config::files::read_once;
use crate::pki::{Authority, CertificateUse, FileKind, KeyKind};

/// The CA's certificate.
const CA_CERTIFICATE: &str = "ca.crt";
/// The CA's key.
const CA_KEY: &str = "ca-key.pem";

#[derive(Debug, Subcommand)]
pub(super) enum PkiCommand {
    /// Make a CA: ca.crt and ca-key.pem.
    Init(init::Options),
    /// Issue a certificate: NAME.pem and NAME-key.pem.
    Issue(issue::Options),
    /// Make a key and a request for another CA: NAME.csr and NAME-key.pem.
    Csr(csr::Options),
    /// Revoke certificates, and write the list of all that are: ca.crl.
    Crl(crl::Options),
    /// Say what files hold and whether they belong together; exit 1 if something does not match or
    /// has expired.
    Inspect(inspect::Options),
    /// Put a certificate and its key into a PKCS#12 store, as browsers import it.
    P12(p12::Options),
}

pub(super) fn run(command: &PkiCommand) -> anyhow::Result<ExitCode> {
    match command {
        PkiCommand::Init(options) => init::run(options),
        PkiCommand::Issue(options) => issue::run(options),
        PkiCommand::Csr(options) => csr::run(options),
        PkiCommand::Crl(options) => crl::run(options),
        PkiCommand::Inspect(options) => inspect::run(options),
        PkiCommand::P12(options) => p12::run(options),
    }
}

/// The use of a certificate.
#[derive(Debug, Args)]
struct CertificateUsage {
    /// For a client (clientAuth).
    #[arg(long)]
    client: bool,
    /// For a server (serverAuth), which is the default; with --client, for both.
    #[arg(long)]
    server: bool,
}

impl CertificateUsage {
    fn purpose(&self) -> CertificateUse {
        match (self.client, self.server) {
            (false, _) => CertificateUse::Server,
            (true, false) => CertificateUse::Client,
            (true, true) => CertificateUse::Both,
        }
    }
}

/// Where the CA is, and where files are written.
#[derive(Debug, Args)]
struct CaOptions {
    /// The directory of the CA, into which files are written, too.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The CA's certificate, perhaps with those of its own issuers. Default: ca.crt of the
    /// directory.
    #[arg(long = "ca", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The CA's key. Default: ca-key.pem of the directory.
    #[arg(long = "ca-key", value_name = "FILE")]
    key: Option<PathBuf>,
}

impl CaOptions {
    fn certificate(&self) -> PathBuf {
        self.certificate
            .clone()
            .unwrap_or_else(|| self.dir.join(CA_CERTIFICATE))
    }

    fn key(&self) -> PathBuf {
        self.key.clone().unwrap_or_else(|| self.dir.join(CA_KEY))
    }

    fn load(&self) -> anyhow::Result<Authority> {
        let (certificate, key) = (self.certificate(), self.key());
        let dir = self.dir.display();
        if self.certificate.is_none() && !certificate.exists() {
            if key.exists() {
                bail!(
                    "there is {} but no {}: say with --ca where the CA's certificate is; without one the key is of no use, and \
                     `snigate pki init --force` makes another CA in its place",
                    key.display(),
                    certificate.display()
                );
            }
            bail!(
                "there is no CA in {dir}: make one with `snigate pki init --dir {dir}`, or say where it is with --ca"
            );
        }
        let certificates = read(&certificate, "--ca", FileKind::Certificate)?;
        let key_bytes = read(&key, "--ca-key", FileKind::Key)?;
        warn_if_readable(&key);
        Authority::load(&certificates, &key_bytes)
            .with_context(|| format!("the CA {} with {}", certificate.display(), key.display()))
    }
}

/// Reads a file that an `option` names, and that should be of this kind. The one door for them:
/// files of a CA look alike, and what was meant is told by what is there.
fn read(path: &Path, option: &str, kind: FileKind) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let bytes = read_bytes(path)?;
    if let Some(found) = kind.instead(&bytes) {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let help = match kind {
            FileKind::Certificate => {
                "`snigate pki issue` writes one into NAME.pem, and `pki init` that of a CA into ca.crt"
            }
            FileKind::Key => {
                "it stands in NAME-key.pem beside the certificate NAME.pem, that of a CA in ca-key.pem"
            }
            FileKind::SigningRequest => "`snigate pki csr` writes one into NAME.csr",
            FileKind::List => {
                "`snigate pki crl` writes one into ca.crl; move away what stands in its place"
            }
        };
        bail!(
            "{} is {}, and {option} takes {kind}: {help}",
            path.display(),
            found.join(" and ")
        );
    }
    Ok(bytes)
}

/// Refuses to write over one of `kept`, also with `--force`: a renewal must not cost the CA its
/// key.
fn refuse_over(path: &Path, kept: &[&Path]) -> anyhow::Result<()> {
    // A file has many spellings, and one that is not there yet is none of them.
    let Ok(own) = path.canonicalize() else {
        return Ok(());
    };
    if kept
        .iter()
        .any(|kept| kept.canonicalize().is_ok_and(|kept| kept == own))
    {
        bail!(
            "{} is in use here and is not replaced, not even with --force: choose another name with --out",
            path.display()
        );
    }
    Ok(())
}

/// Reads a file that may hold a secret.
fn read_bytes(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    read_once(path).with_context(|| format!("cannot read {}", path.display()))
}

fn warn_if_readable(key: &Path) {
    let Ok(metadata) = fs::metadata(key) else {
        return;
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        let _ = writeln!(
            io::stderr(),
            "warning: others than its owner can read {0}; `chmod 600 {0}` changes that",
            key.display()
        );
    }
}

fn key_kind(rsa: bool) -> KeyKind {
    if rsa { KeyKind::Rsa3072 } else { KeyKind::P256 }
}
