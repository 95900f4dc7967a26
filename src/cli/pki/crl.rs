//! `snigate pki crl`

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::files::{self, NewFile, Readers};
use crate::cli::pki::{Ca, read};
use crate::cli::print;
use crate::tls::pki::{Authority, REASONS, RevocationList, RevocationReason, Validity, parse_serial};

/// The list, beside the CA.
const CRL: &str = "ca.crl";

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    ca: Ca,
    /// Certificates, or their serial numbers in hexadecimal. Without any, the list is only made anew, for its dates.
    #[arg(long, value_name = "FILE|SERIAL", num_args = 1..)]
    revoke: Vec<String>,
    /// Why: unspecified, keyCompromise, CACompromise, affiliationChanged, superseded, cessationOfOperation,
    /// certificateHold, privilegeWithdrawn or AACompromise.
    #[arg(long, value_name = "REASON", value_parser = reason, requires = "revoke")]
    reason: Option<RevocationReason>,
    /// For how many days the list counts. Before they are over it must be made anew, and given to everybody who uses it.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=36500))]
    days: u64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let authority = options.ca.load()?;
    // Two runs at once would each lose what the other revokes.
    let lock = File::open(&options.ca.dir).and_then(|dir| dir.lock().map(|()| dir));
    let _lock = lock.with_context(|| format!("cannot lock {}", options.ca.dir.display()))?;

    let path = options.ca.dir.join(CRL);
    let mut list = match path.exists() {
        true => RevocationList::load(&read(&path)?, &authority).with_context(|| path.display().to_string())?,
        false => RevocationList::default(),
    };
    let mut text = String::new();
    for which in &options.revoke {
        let serial = serial(which, &authority)?;
        let said = if list.revoke(&serial, options.reason) { "revoked" } else { "was revoked already" };
        text.push_str(&format!("{which}: {said}\n"));
    }
    let now = SystemTime::now();
    let validity = Validity { not_before: now, not_after: now + Duration::from_secs(options.days * 86400) };
    let pem = list.sign(&authority, validity)?;
    files::write(&[NewFile { path: &path, content: pem.as_bytes(), readers: Readers::Everybody }], true)?;
    let (path, count, days) = (path.display(), list.len(), options.days);
    let unit = if days == 1 { "day" } else { "days" };
    print(&format!("{text}wrote {path}  {count} revoked; make it anew within {days} {unit}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// A file, if there is one of that name; otherwise a serial number.
fn serial(which: &str, authority: &Authority) -> anyhow::Result<Vec<u8>> {
    let path = Path::new(which);
    if path.exists() {
        return authority.serial_of(&read(path)?).with_context(|| which.to_owned());
    }
    match parse_serial(which) {
        Some(serial) => Ok(serial),
        None => bail!("{which:?} is neither a file nor a serial number in hexadecimal, as `pki inspect` prints it"),
    }
}

fn reason(text: &str) -> Result<RevocationReason, String> {
    let known = REASONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, reason)| *reason).ok_or_else(|| {
        let names: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
        format!("it is one of {}", names.join(", "))
    })
}
