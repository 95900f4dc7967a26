//! `snigate pki issue`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::pki::names::{CertificateNames, stem};
use crate::cli::pki::{
    CA_CERTIFICATE, CA_KEY, CaOptions, CertificateUsage, key_kind, read, refuse_over,
};
use crate::cli::print;
use crate::pki::{
    Authority, CertificateUse, FileKind, Key, PublicKey, SigningRequest, Subject, Validity, moment,
};

/// A year: rotated once and forgotten by nobody; `check` warns before the end. Some clients refuse
/// more than 825 days.
const DEFAULT_DAYS: u64 = 365;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    ca: CaOptions,
    #[command(flatten)]
    names: CertificateNames,
    #[command(flatten)]
    usage: CertificateUsage,
    /// For how many days it is valid, which is never longer than the CA is. Default: 365, or as
    /// many as are left.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36500))]
    days: Option<u64>,
    /// Make an RSA key (3072 bits), for peers that do not know ECDSA.
    #[arg(long, conflicts_with = "csr")]
    rsa: bool,
    /// Issue what this request asks for. Names that are given replace those of the request; of its
    /// subject only the common name is taken over.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// How the files are called in the directory: NAME.pem, NAME-key.pem. Default: the first name.
    /// `server` is what `dir` of a [certificates] table reads.
    #[arg(long, value_name = "NAME")]
    out: Option<String>,
    /// Replace files that are there, as for a renewal; those of the CA never are.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let authority = options.ca.load()?;
    let purpose = options.usage.purpose();
    let validity = authority.within(options.days, DEFAULT_DAYS)?;
    match &options.csr {
        None => with_new_key(options, &authority, purpose, validity),
        Some(csr) => {
            let bytes = read(csr, "--csr", FileKind::SigningRequest)?;
            let request =
                SigningRequest::load(&bytes).with_context(|| csr.display().to_string())?;
            let subject = match options.names.is_empty() {
                true => request
                    .subject()
                    .with_context(|| csr.display().to_string())?,
                false => options.names.subject(purpose == CertificateUse::Client)?,
            };
            let certificate =
                authority.issue(&subject, purpose, validity, &request.public_key()?)?;
            write(options, &subject, &certificate, None, validity)
        }
    }
}

fn with_new_key(
    options: &Options,
    authority: &Authority,
    purpose: CertificateUse,
    validity: Validity,
) -> anyhow::Result<ExitCode> {
    let subject = options.names.subject(purpose == CertificateUse::Client)?;
    let key = Key::generate(key_kind(options.rsa))?;
    let certificate = authority.issue(&subject, purpose, validity, &PublicKey::of(&key)?)?;
    write(options, &subject, &certificate, Some(&key), validity)
}

fn write(
    options: &Options,
    subject: &Subject,
    certificate: &str,
    key: Option<&Key>,
    validity: Validity,
) -> anyhow::Result<ExitCode> {
    let stem = match &options.out {
        Some(out) => out.clone(),
        None => stem(subject)?,
    };
    let certificate_path = options.ca.dir.join(format!("{stem}.pem"));
    let key_path = options.ca.dir.join(format!("{stem}-key.pem"));
    let (ca, ca_key) = (options.ca.certificate(), options.ca.key());
    for path in [&certificate_path, &key_path] {
        refuse_over(
            path,
            &[
                &ca,
                &ca_key,
                &options.ca.dir.join(CA_CERTIFICATE),
                &options.ca.dir.join(CA_KEY),
            ],
        )?;
    }
    if key.is_some() && !options.force && key_path.exists() && !certificate_path.exists() {
        bail!(
            "there is {} but no {}: an earlier run was interrupted, or the key is waiting for its certificate (--csr); \
             --force makes a new key",
            key_path.display(),
            certificate_path.display()
        );
    }
    let pem = key.map(Key::pem);
    let key_file = pem.as_ref().map(|pem| NewFile {
        path: &key_path,
        content: pem.as_bytes(),
        readers: Readers::Owner,
    });
    let certificate_file = NewFile {
        path: &certificate_path,
        content: certificate.as_bytes(),
        readers: Readers::Everybody,
    };
    // The key first: without its certificate it does nothing.
    let files: Vec<NewFile<'_>> = key_file.into_iter().chain([certificate_file]).collect();
    files::write(&files, options.force)?;
    let mut text = format!(
        "wrote {}  for {}, valid until {}\n",
        certificate_path.display(),
        described(subject),
        moment(validity.not_after, SystemTime::now())
    );
    if key.is_some() {
        text.push_str(&format!("wrote {}  its key\n", key_path.display()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The names on one line.
pub(super) fn described(subject: &Subject) -> String {
    let mut names: Vec<String> = subject.dns.iter().map(ToString::to_string).collect();
    names.extend(subject.ips.iter().map(ToString::to_string));
    names.extend(subject.emails.iter().chain(&subject.uris).cloned());
    if names.is_empty() {
        names.push(format!("{:?}", subject.common_name));
    }
    names.join(", ")
}
