//! `snigate pki csr`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::pki::issue::described;
use crate::cli::pki::names::{CertificateNames, stem};
use crate::cli::pki::{CA_CERTIFICATE, CA_KEY, CertificateUsage, key_kind, refuse_over};
use crate::cli::print;
use crate::pki::{CertificateUse, Key, SigningRequest};

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The directory that the files are written into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    names: CertificateNames,
    #[command(flatten)]
    usage: CertificateUsage,
    /// Make an RSA key (3072 bits), for peers that do not know ECDSA.
    #[arg(long)]
    rsa: bool,
    /// How the files are called in the directory: NAME.csr, NAME-key.pem. Default: the first name.
    #[arg(long, value_name = "NAME")]
    out: Option<String>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let purpose = options.usage.purpose();
    let subject = options.names.subject(purpose == CertificateUse::Client)?;
    let stem = match &options.out {
        Some(out) => out.clone(),
        None => stem(&subject)?,
    };
    let key = Key::generate(key_kind(options.rsa))?;
    let request = SigningRequest::make(&subject, purpose, &key)?;
    let (request_path, key_path) = (
        options.dir.join(format!("{stem}.csr")),
        options.dir.join(format!("{stem}-key.pem")),
    );
    for path in [&request_path, &key_path] {
        refuse_over(
            path,
            &[&options.dir.join(CA_CERTIFICATE), &options.dir.join(CA_KEY)],
        )?;
    }
    let key_pem = key.pem();
    files::write(
        &[
            NewFile {
                path: &key_path,
                content: key_pem.as_bytes(),
                readers: Readers::Owner,
            },
            NewFile {
                path: &request_path,
                content: request.as_bytes(),
                readers: Readers::Everybody,
            },
        ],
        options.force,
    )?;
    print(&format!(
        "wrote {}  a request for {}; give it to the CA\nwrote {}  its key, which stays here\n",
        request_path.display(),
        described(&subject),
        key_path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
