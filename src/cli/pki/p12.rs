//! `snigate pki p12`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use zeroize::Zeroizing;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::pki::{read, read_bytes, refuse_over};
use crate::cli::print;
use crate::pki::{FileKind, Protection, pkcs12};

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The certificate, and its chain.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Certificates of CAs that go into the store, too.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The store.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// For the key stores of old Windows and macOS: triple DES and SHA-1, which protect the key
    /// badly.
    #[arg(long)]
    legacy: bool,
    /// A file whose first line is the store's password; /dev/stdin to be asked for it.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "password_env",
        required_unless_present = "password_env"
    )]
    password_file: Option<PathBuf>,
    /// An environment variable whose value is the store's password.
    #[arg(long, value_name = "VAR")]
    password_env: Option<String>,
    /// Replace a store that is there.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let password = password(options)?;
    if password.is_empty() {
        bail!("the password is empty; importers disagree on what that means");
    }
    let given = [
        Some(&options.cert),
        Some(&options.key),
        options.ca.as_ref(),
        options.password_file.as_ref(),
    ];
    refuse_over(
        &options.out,
        &given
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect::<Vec<_>>(),
    )?;
    let certificate = read(&options.cert, "--cert", FileKind::Certificate)?;
    let key = read(&options.key, "--key", FileKind::Key)?;
    let authorities = options
        .ca
        .as_deref()
        .map(|path| read(path, "--ca", FileKind::Certificate))
        .transpose()?;
    let protection = if options.legacy {
        Protection::Legacy
    } else {
        Protection::Modern
    };
    let authorities = authorities.as_ref().map(|bytes| bytes.as_slice());
    let store = pkcs12(&certificate, &key, authorities, &password, protection)
        .with_context(|| format!("{} with {}", options.cert.display(), options.key.display()))?;
    files::write(
        &[NewFile {
            path: &options.out,
            content: &store,
            readers: Readers::Owner,
        }],
        options.force,
    )?;
    print(&format!(
        "wrote {}  the certificate and its key, under the password\n",
        options.out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn password(options: &Options) -> anyhow::Result<Zeroizing<String>> {
    if let Some(variable) = &options.password_env {
        return std::env::var(variable)
            .map(Zeroizing::new)
            .ok()
            .with_context(|| {
                format!("the environment variable {variable} is not set, or is not UTF-8")
            });
    }
    let path = options
        .password_file
        .as_deref()
        .context("a password is needed")?;
    let bytes = read_bytes(path)?;
    let text = str::from_utf8(&bytes)
        .ok()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
