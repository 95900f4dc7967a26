//! `snigate pki init`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use clap::Args;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::pki::{CA_CERTIFICATE, CA_KEY, key_kind};
use crate::cli::print;
use crate::pki::{Authority, Key, Validity, moment, random_hex};

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The directory of the CA; it is made, for its owner alone, if it is missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The CA's name, which its certificates carry. Default: "snigate CA" and a random number.
    #[arg(long, value_name = "CN")]
    name: Option<String>,
    /// For how many days it is valid.
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u64).range(1..=36500))]
    days: u64,
    /// Make an RSA key (3072 bits), for peers that do not know ECDSA.
    #[arg(long)]
    rsa: bool,
    /// Replace a CA that is there. What it has issued will not be accepted any more.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let name = match &options.name {
        Some(name) => name.clone(),
        // Two CAs of one name are hard to tell apart, for verifiers as well.
        None => format!("snigate CA {}", random_hex()?),
    };
    let key = Key::generate(key_kind(options.rsa))?;
    let key_pem = key.pem();
    let authority = Authority::for_leaves(&name, Validity::days(options.days), key)?;
    files::make_dir(&options.dir)?;
    let (certificate, key) = (options.dir.join(CA_CERTIFICATE), options.dir.join(CA_KEY));
    if !options.force && key.exists() && !certificate.exists() {
        bail!(
            "there is {} but no {}: an earlier run was interrupted, or the certificate is elsewhere; \
             --force makes a new CA with a new key",
            key.display(),
            certificate.display()
        );
    }
    files::write(
        &[
            NewFile {
                path: &key,
                content: key_pem.as_bytes(),
                readers: Readers::Owner,
            },
            NewFile {
                path: &certificate,
                content: authority.certificate().as_bytes(),
                readers: Readers::Everybody,
            },
        ],
        options.force,
    )?;
    print(&format!(
        "wrote {}  the CA {name:?}, valid until {}\nwrote {}  its key: whoever has it can issue certificates\n",
        certificate.display(),
        moment(authority.validity().not_after, SystemTime::now()),
        key.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
